/*
 * history -- the stored exchanges: a page of those of a user, and sums over the
 * last days.
 */
#ifndef AIC_HISTORY_H
#define AIC_HISTORY_H

#include <stdint.h>

#include "lib/db.h"

struct aic_history_item {
	int64_t id;
	const char *message;
	const char *response;
	int64_t tokens;
	const char *created_at; /* ISO 8601, UTC */
};

/*
 * aic_history_bind -- query a page of a user's exchanges, newest first, and
 * their total number: two calls for one batch.
 */
void aic_history_bind(struct aic_db_call calls[2], int64_t telegram_id,
    int64_t limit, int64_t offset);

int64_t aic_history_total(const struct aic_db_call calls[2]);

/* aic_history_count -- the number of items on this page. */
int aic_history_count(const struct aic_db_call calls[2]);

/*
 * aic_history_get -- item i of the page.
 *
 * Memory:   the texts are valid as long as the results of the calls
 */
struct aic_history_item
aic_history_get(const struct aic_db_call calls[2], int i);

struct aic_history_stats {
	int64_t users; /* users with a chat; 0 in the stats of one user */
	int64_t requests;
	int64_t tokens;
	/* Text with two decimals; valid as long as the call's result. */
	const char *requests_per_day;
	const char *tokens_per_request;
};

/*
 * aic_history_stats_bind -- the last `days' calendar days, including today.
 *
 * days      1..365
 * zone      the time zone whose midnight begins a day; borrowed until the call
 *           has run
 */
void aic_history_stats_bind(struct aic_db_call *call, int64_t telegram_id,
    int64_t days, const char *zone);

/*
 * aic_history_stats_all_bind -- the same over all users. The statement reads
 * the whole table, because there is no index for it. It is for an operator's
 * occasional use, not for an endpoint.
 */
void aic_history_stats_all_bind(struct aic_db_call *call, int64_t days,
    const char *zone);

/* aic_history_stats_read -- read the result of either. */
struct aic_history_stats aic_history_stats_read(const struct aic_db_call *call);

#endif
