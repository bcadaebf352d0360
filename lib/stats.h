/*
 * stats -- sums over the last days: a user's, or the whole service's.
 */
#ifndef AIC_STATS_H
#define AIC_STATS_H

#include <stdint.h>

#include "lib/db.h"

struct aic_stats {
	int64_t users; /* that asked; 0 in those of one user */
	int64_t requests;
	int64_t tokens;
	/* two decimals, as text; they live as long as the call's result */
	const char *requests_per_day;
	const char *tokens_per_request;
};

/*
 * aic_stats_bind -- the last `days' calendar days, today included.
 *
 * days      1..365
 * zone      whose midnight; borrowed until the call has run
 */
void aic_stats_bind(struct aic_db_call *call, int64_t telegram_id, int64_t days,
    const char *zone);

/*
 * aic_stats_all_bind -- the same over all users. There is no index for it: it reads
 * the whole table, which is for an operator now and then, and no endpoint.
 */
void
aic_stats_all_bind(struct aic_db_call *call, int64_t days, const char *zone);

/* aic_stats_read -- of either. */
struct aic_stats aic_stats_read(const struct aic_db_call *call);

#endif
