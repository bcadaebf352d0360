/* stats -- sums over the last days, for one user or for the whole service. */
#ifndef AIC_STATS_H
#define AIC_STATS_H

#include <stdint.h>

#include "lib/db.h"

struct aic_stats {
	int64_t users; /* users with a chat; 0 in the stats of one user */
	int64_t requests;
	int64_t tokens;
	/* Text with two decimals; valid as long as the call's result. */
	const char *requests_per_day;
	const char *tokens_per_request;
};

/*
 * aic_stats_bind -- the last `days' calendar days, including today.
 *
 * days      1..365
 * zone      the time zone whose midnight begins a day; borrowed until the call
 *           has run
 */
void aic_stats_bind(struct aic_db_call *call, int64_t telegram_id, int64_t days,
    const char *zone);

/*
 * aic_stats_all_bind -- the same over all users. It reads the whole table,
 * because there is no index for it; it is for an operator's occasional use, not
 * for an endpoint.
 */
void
aic_stats_all_bind(struct aic_db_call *call, int64_t days, const char *zone);

/* aic_stats_read -- read the result of either. */
struct aic_stats aic_stats_read(const struct aic_db_call *call);

#endif
