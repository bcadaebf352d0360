/*
 * message -- checks whether Telegram accepts a message with parse_mode=HTML,
 * and whether the message has all of the answer. It is written from the rules
 * of the Bot API and on purpose shares no code with lib/telegram.c and
 * lib/parts.c, which it checks.
 *
 * Source: Bot API, "HTML style"; parse_html() and clean_input_string() of TDLib
 */
#ifndef AIC_MESSAGE_H
#define AIC_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/buf.h"

struct message_limits {
	size_t units; /* UTF-16 units of the visible text */
	size_t bytes; /* bytes of the source */
	size_t entities; /* formatted pieces */
	size_t targets; /* bytes of all link targets together */
};

/*
 * message_wrong -- why Telegram would refuse a message, or show it otherwise
 * than it is written; NULL: it accepts the message.
 *
 * limits    NULL: any length
 * shown     the visible text is appended
 * told      the same with each link target after its text; may be NULL
 */
const char *message_wrong(const char *s, size_t len, bool html,
    const struct message_limits *limits, struct aic_buf *shown,
    struct aic_buf *told);

/*
 * message_lost -- find the first visible character of a text in Markdown that
 * is not markup and is not in `told', in order, or whose loss joins two
 * figures; NULL: none.
 */
const char *
message_lost(const char *markdown, size_t len, const struct aic_buf *told);

/*
 * message_check_answer -- format a text with lib/telegram.c, cut it with
 * lib/parts.c, and check the result.
 *
 * text      valid UTF-8, as a model may write it
 *
 * Returns what is wrong, or NULL. On a fault *ret_at is the text that was
 * checked, which the caller frees.
 */
const char *message_check_answer(const char *text, size_t len, char **ret_at);

/*
 * message_nothing_at -- the length of the invisible character at s; 0: it is
 * visible.
 */
size_t message_nothing_at(const char *s, size_t len);

/* message_says -- a text is *what, after any number of invisible characters. */
bool message_says(const char *s, size_t len, const struct aic_buf *what);

/* message_is_empty -- Telegram would refuse such a text as empty. */
bool message_is_empty(const char *s, size_t len);

#endif
