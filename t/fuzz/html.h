/*
 * html -- the common part of the readers of messages and of rich messages:
 * entities, links, names and characters of HTML. It shares no code with the
 * formatter that it checks.
 */
#ifndef AIC_HTML_H
#define AIC_HTML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"

struct html_cursor {
	const char *at, *end;
};

/* html_take -- skip this text, if the input continues with it. */
bool html_take(struct html_cursor *c, const char *what);

/* html_take_name -- skip letters and digits; returns their number. */
size_t html_take_name(struct html_cursor *c, const char **ret_name);

struct html_character {
	char bytes[4];
	size_t n;
	uint32_t cp;
};

/*
 * html_take_character -- skip a character of text; returns what is wrong with
 * it, or NULL.
 *
 * html      & begins one of four entities
 */
const char *html_take_character(struct html_cursor *c, bool html,
    struct html_character *ret_character);

/* The target as it is written, with its entities. */
struct html_target {
	const char *s;
	size_t len;
};

/*
 * html_take_target -- skip the href of an a; returns what is wrong with it, or
 * NULL.
 *
 * schemes   in lower case, each with its colon; a NULL ends the list
 */
const char *html_take_target(struct html_cursor *c, const char *const schemes[],
    struct html_target *ret_target);

/*
 * html_tell_target -- append a target as a line, unless it equals the text
 * shown.
 */
void html_tell_target(const struct html_target *target, const char *shown,
    size_t shown_len, struct aic_buf *told);

/*
 * html_take_language -- skip the rest of a class "language-"; returns what is
 * wrong with it, or NULL.
 */
const char *html_take_language(struct html_cursor *c);

#endif
