/*
 * show -- the answer as the caller asked for it: the format, and the parts.
 */
#ifndef SHOW_H
#define SHOW_H

#include <stdint.h>

#include "buf.h"
#include "err.h"
#include "telegram.h"

/*
 * show_answer -- "response":"...", and ,"parts":["...", ...] where that is more than
 * fits into one message.
 *
 * text      as the model wrote it
 * reserve   units of UTF-16 to leave free in each part
 *
 * Errors:   AIC_ENOMEM
 */
enum aic_code
show_answer(struct aic_buf *to, const char *text, enum aic_format format,
    int64_t reserve, struct aic_err *err) AIC_MUST_CHECK;

#endif
