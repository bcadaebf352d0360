/*
 * show -- the answer as the caller asked for it: the format, and the parts.
 */
#ifndef SHOW_H
#define SHOW_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/telegram.h"

struct aic_render_form {
	enum aic_format format;
	int64_t reserve; /* UTF-16 units to leave free in each part */
	/* The caller knows nothing of parts: where there are several, the response is
	 * the first one, with a note in Russian that there is more. */
	bool one_message;
};

/*
 * aic_render_answer -- "response":"...", and ,"parts":["...", ...] where that is more than
 * fits into one message. The parts always hold the whole answer.
 *
 * text      as the model wrote it
 *
 * Errors:   AIC_ENOMEM
 */
enum aic_code aic_render_answer(struct aic_buf *to, const char *text,
    const struct aic_render_form *form, struct aic_err *err) AIC_MUST_CHECK;

#endif
