/*
 * telegram_text -- what the formats for Telegram have in common. A part of telegram.h.
 *
 * Threads: any.
 */
#ifndef AIC_TELEGRAM_TEXT_H
#define AIC_TELEGRAM_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "buf.h"

/* aic_telegram_is_seen -- there is a character in it that makes a message. */
bool aic_telegram_is_seen(const char *s, size_t n);

/* aic_telegram_escape -- write text as HTML; with quotes, for an attribute.
 * Errors: to->failed */
void
aic_telegram_escape(struct aic_buf *to, const char *s, size_t n, bool quotes);

enum aic_telegram_target {
	AIC_TELEGRAM_WEB, /* http, https */
	AIC_TELEGRAM_MAIL,
	AIC_TELEGRAM_PHONE,
	AIC_TELEGRAM_ELSEWHERE, /* no link, or one that is too long */
};

/* aic_telegram_leads -- where a link with this target leads to. */
enum aic_telegram_target aic_telegram_leads(const struct aic_buf *target);

/*
 * aic_telegram_address -- what stands behind the text of a link that leads nowhere.
 *
 * Where in the target that begins, behind mailto: or tel:; its length when there is
 * nothing to see, or the text says it.
 */
size_t
aic_telegram_address(const struct aic_buf *target, const struct aic_buf *text);

#endif
