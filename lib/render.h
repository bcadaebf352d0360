/*
 * render -- the JSON of responses: the answer to a chat, and the data of one
 * user, which ai-chatctl --json also prints.
 *
 * Threads: any.
 */
#ifndef AIC_RENDER_H
#define AIC_RENDER_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/format.h"
#include "lib/history.h"
#include "lib/limit.h"
#include "lib/retain.h"
#include "lib/shape.h"
#include "lib/telegram.h"

struct aic_render_form {
	enum aic_format format;
	int64_t reserve; /* UTF-16 units to leave free in each part */
	/*
	 * The caller has no support for parts: if there are several, the
	 * response is the first part, with a note in Russian that there is
	 * more.
	 */
	bool one_message;
};

/*
 * aic_render_answer -- write "response":"...", and ,"parts":["...", ...] if the
 * answer does not fit into one message. The parts together always contain the
 * whole answer.
 *
 * text      as the model wrote it
 *
 * Errors:   AIC_ENOMEM
 */
enum aic_code aic_render_answer(struct aic_buf *to, const char *text,
    const struct aic_render_form *form, struct aic_err *err) AIC_MUST_CHECK;

/* aic_render_history -- calls: from aic_history_bind(), after they have run. */
void aic_render_history(struct aic_buf *to, const struct aic_db_call calls[2],
    int64_t limit, int64_t offset);

void aic_render_limits(struct aic_buf *to, int64_t telegram_id,
    const struct aic_limit_state *s);

/* aic_render_reset -- known: the database had the user. */
void aic_render_reset(struct aic_buf *to, int64_t telegram_id, bool known);

void aic_render_stats(struct aic_buf *to, int64_t telegram_id, int64_t days,
    const struct aic_history_stats *s);

/*
 * aic_render_forgotten -- write the members of the result of an erasure,
 * without the braces around them.
 */
void aic_render_forgotten(struct aic_buf *to, int64_t telegram_id,
    const struct aic_forgotten *f);

/* The shapes of what these functions write. */
extern const struct aic_shape aic_render_answer_shape;
extern const struct aic_shape aic_render_history_shape;
extern const struct aic_shape aic_render_limits_shape;
extern const struct aic_shape aic_render_reset_shape;
extern const struct aic_shape aic_render_stats_shape;

#endif
