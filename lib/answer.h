/*
 * answer -- what there is to know about one user, as JSON: the answers of the
 * service, and what ai-chatctl --json prints.
 */
#ifndef ANSWER_H
#define ANSWER_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/history.h"
#include "lib/limit.h"
#include "lib/stats.h"

/* answer_history -- calls: as aic_history_ask() made them, and run. */
void answer_history(struct aic_buf *to, const struct aic_db_call calls[2],
    int64_t limit, int64_t offset);

void answer_limits(struct aic_buf *to, int64_t telegram_id,
    const struct aic_limit_state *s);

/* answer_reset -- known: there was somebody to reset. */
void answer_reset(struct aic_buf *to, int64_t telegram_id, bool known);

void answer_stats(struct aic_buf *to, int64_t telegram_id, int64_t days,
    const struct aic_stats *s);

#endif
