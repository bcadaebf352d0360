/*
 * rich -- checks whether Telegram accepts the html of a rich message. Like
 * message.h, it shares no code with the formatter.
 *
 * Source: Bot API 10.1, "Rich HTML style" and "Rich Message Limits"
 */
#ifndef AIC_RICH_H
#define AIC_RICH_H

#include <stddef.h>

#include "lib/buf.h"

struct rich_limits {
	size_t characters, blocks;
};

/*
 * rich_wrong -- why Telegram would refuse the html, or the worker must not send
 * it; NULL: neither.
 *
 * Depth (16 levels) and width (20 columns) are checked whatever the limits are.
 * The html may contain only text, lists, tables, quotations, code, rules, and
 * links to web addresses, mail addresses and telephone numbers.
 *
 * limits    NULL: any size
 * shown     gets the visible text, each block and each cell on a line
 * told      the same with each link target after its text; may be NULL
 */
const char *
rich_wrong(const char *s, size_t len, const struct rich_limits *limits,
    struct aic_buf *shown, struct aic_buf *told);

/* rich_check_answer -- like message_check_answer(), for rich messages. */
const char *rich_check_answer(const char *text, size_t len, char **ret_at);

#endif
