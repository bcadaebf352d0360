/*
 * answer -- what there is to know about one user, as JSON: the answers of the
 * service, and what ai-chatctl --json prints.
 */
#ifndef AIC_RENDER_H
#define AIC_RENDER_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/history.h"
#include "lib/limit.h"
#include "lib/stats.h"

/* answer_history -- calls: as aic_history_bind() made them, and run. */
void aic_render_history(struct aic_buf *to, const struct aic_db_call calls[2],
    int64_t limit, int64_t offset);

void aic_render_limits(struct aic_buf *to, int64_t telegram_id,
    const struct aic_limit_state *s);

/* answer_reset -- known: there was somebody to reset. */
void aic_render_reset(struct aic_buf *to, int64_t telegram_id, bool known);

void aic_render_stats(struct aic_buf *to, int64_t telegram_id, int64_t days,
    const struct aic_stats *s);

#endif
