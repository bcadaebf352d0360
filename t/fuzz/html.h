/*
 * html -- what the readers of messages and of rich messages have in common: entities,
 * links, names and characters of HTML. As they do, it shares nothing with the formatter.
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

/* html_take -- move behind this, if it stands there. */
bool html_take(struct html_cursor *c, const char *what);

/* html_take_name -- the letters and digits there; their number. */
size_t html_take_name(struct html_cursor *c, const char **ret_name);

struct html_character {
	char bytes[4];
	size_t n;
	uint32_t cp;
};

/*
 * html_take_character -- a character of text; what is wrong with it, or NULL.
 *
 * html      & begins one of four entities
 */
const char *html_take_character(struct html_cursor *c, bool html,
    struct html_character *ret_character);

/* As it is written, escaped. */
struct html_target {
	const char *s;
	size_t len;
};

/*
 * html_take_target -- the href of an a; what is wrong with it, or NULL.
 *
 * schemes   in lower case, each with its colon; a NULL ends them
 */
const char *html_take_target(struct html_cursor *c, const char *const schemes[],
    struct html_target *ret_target);

/* html_tell_target -- a target in a line of its own, unless it is what is shown. */
void html_tell_target(const struct html_target *target, const char *shown,
    size_t shown_len, struct aic_buf *told);

/* html_take_language -- the rest of a class "language-"; what is wrong, or NULL. */
const char *html_take_language(struct html_cursor *c);

#endif
