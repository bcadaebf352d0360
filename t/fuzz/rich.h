/*
 * rich -- what Telegram takes for the html of a rich message. As message.h, it shares
 * nothing with the formatter.
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
 * rich_wrong -- why Telegram would refuse it, or we would not send it; NULL: fine.
 *
 * 16 levels and 20 columns are looked at whatever the limits are. Only text, lists,
 * tables, quotations, code, rules and links to the web, to addresses and to phones are
 * taken.
 *
 * limits    NULL: any size
 * shown     gets what is shown, each block and cell on a line
 * told      the same with the targets of links behind their text; may be NULL
 */
const char *
rich_wrong(const char *s, size_t len, const struct rich_limits *limits,
    struct aic_buf *shown, struct aic_buf *told);

/* rich_check_answer -- as message_check_answer(), for rich messages. */
const char *rich_check_answer(const char *text, size_t len, char **ret_at);

#endif
