/*
 * message -- what Telegram takes for a message with parse_mode=HTML, and what of an
 * answer has to be in it. Written from the Bot API's rules, and on purpose with
 * nothing of lib/telegram.c and lib/parts.c, which it judges.
 *
 * Source: Bot API, "HTML style"; parse_html() and clean_input_string() of TDLib
 */
#ifndef AIC_MESSAGE_H
#define AIC_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/buf.h"

struct message_limits {
	size_t units; /* UTF-16, as shown */
	size_t bytes; /* of the source */
	size_t entities; /* pieces that are formatted */
	size_t targets; /* bytes of all targets of links */
};

/*
 * message_wrong -- why Telegram would refuse a message, or show it otherwise than it
 * is written; NULL: it would not.
 *
 * limits    NULL: any length
 * shown     gets what is shown, behind what it has
 * told      the same with the targets of links behind their text; may be NULL
 */
const char *message_wrong(const char *s, size_t len, bool html,
    const struct message_limits *limits, struct aic_buf *shown,
    struct aic_buf *told);

/*
 * message_lost -- the first visible character of a text in Markdown that is neither
 * markup nor told, in its order, or that makes another figure of two; NULL: none.
 */
const char *
message_lost(const char *markdown, size_t len, const struct aic_buf *told);

/*
 * message_check_answer -- bring a text, as a model may write it, through
 * lib/telegram.c and lib/parts.c, and look at all that comes of it.
 *
 * text      valid UTF-8
 *
 * What is wrong, or NULL; and what was looked at then stands in *ret_at, which is
 * the caller's to free().
 */
const char *message_check_answer(const char *text, size_t len, char **ret_at);

/* message_nothing_at -- the length of the character at s when it shows nothing, else 0. */
size_t message_nothing_at(const char *s, size_t len);

/* message_says -- a text is just this, but for what shows nothing before it. */
bool message_says(const char *s, size_t len, const struct aic_buf *what);

/* message_is_empty -- Telegram would call such a text empty. */
bool message_is_empty(const char *s, size_t len);

#endif
