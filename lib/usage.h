/*
 * usage -- the sums of days and months that operators look at: chats, tokens
 * and users, the users with the most, and the chats that were not answered.
 *
 * The sums of chats and tokens come from the stored exchanges. A worker counts
 * them in the background, in the order of their ids: aic_usage_mark_bind()
 * marks the newest exchange, and aic_usage_step_bind() counts a few of those
 * up to the mark. Each exchange is counted once, also by several workers, and
 * also when a worker is killed at any moment, because the sums and the position
 * are changed in one transaction. A chat runs no statement of this module.
 *
 * Exchanges that were pruned or erased before they were counted are in no sum.
 *
 * Threads: any.
 */
#ifndef AIC_USAGE_H
#define AIC_USAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/db.h"
#include "lib/err.h"

/* The most exchanges that one step counts. 500 take about 20 ms. */
#define AIC_USAGE_STEP 500

/*
 * aic_usage_step_bind -- count the next exchanges up to the mark,
 * AIC_USAGE_STEP at most.
 */
void aic_usage_step_bind(struct aic_db_call *call);

/*
 * aic_usage_step_read -- read whether exchanges up to the mark remain that can
 * be counted now. False also when another session is counting.
 */
bool aic_usage_step_read(const struct aic_db_call *call);

/*
 * aic_usage_mark_bind -- when all exchanges up to the mark are counted, move
 * the mark to the newest exchange. For the same batch as a step, after the
 * step.
 */
void aic_usage_mark_bind(struct aic_db_call *call);

/* Chats of the day that were not answered, since the last addition. */
struct aic_usage_unanswered {
	const char *worker; /* a UUID of this process */
	int64_t seq; /* number of the addition, 1.. */
	const char *outcomes; /* an array of PostgreSQL: {limited,busy} */
	const char *counts; /* an array of as many numbers */
	const char *zone;
};

/*
 * aic_usage_add_bind -- add chats that were not answered to the sums of today;
 * borrows the texts until the call has run. An addition that is repeated with
 * the same seq counts once, except when midnight was in between.
 */
void aic_usage_add_bind(struct aic_db_call *call,
    const struct aic_usage_unanswered *u);

/* How far the exchanges are counted. */
struct aic_usage_state {
	const char *counted_until; /* ISO 8601, UTC; NULL: none counted yet */
	bool complete; /* at most a minute is not counted */
	const char *refusals_since; /* a day; NULL: there were none so far */
};

void aic_usage_state_bind(struct aic_db_call *call);

/* aic_usage_state_read -- the texts are valid as long as the call's result. */
struct aic_usage_state aic_usage_state_read(const struct aic_db_call *call);

/* The chats of a day that were not answered, by outcome. */
enum aic_usage_outcome {
	AIC_USAGE_LIMITED,
	AIC_USAGE_CROWDED,
	AIC_USAGE_MODEL_FAILED, /* the first of the failures */
	AIC_USAGE_MODEL_OPEN,
	AIC_USAGE_DATABASE_FAILED,
	AIC_USAGE_BUSY,
	AIC_USAGE_FAILED,
	AIC_USAGE_OUTCOME__MAX
};

/* The names of the outcomes, as in the table and as metrics have them. */
extern const char *const aic_usage_outcomes[AIC_USAGE_OUTCOME__MAX];

struct aic_usage_day {
	const char *date;
	int64_t chats, tokens, users;
	int64_t unanswered[AIC_USAGE_OUTCOME__MAX];
};

/*
 * aic_usage_days_bind -- query the sums of the last `days' days; each day is a
 * row, the oldest is the first.
 *
 * days      1..
 * zone      the time zone whose midnight begins a day; borrowed until the call
 *           has run
 */
void
aic_usage_days_bind(struct aic_db_call *call, int64_t days, const char *zone);

/* aic_usage_day_get -- day i. Its text is valid as long as the call's
 * result. */
struct aic_usage_day aic_usage_day_get(const struct aic_db_call *call, int i);

/* Since when a user is known; NULL: not known, or never. */
struct aic_usage_since {
	const char *first_seen; /* ISO 8601, UTC, as the next one */
	const char *conversation; /* when it was begun anew */
};

void aic_usage_since_bind(struct aic_db_call *call, int64_t telegram_id);

/* aic_usage_since_read -- the texts are valid as long as the call's result. */
struct aic_usage_since aic_usage_since_read(const struct aic_db_call *call);

/*
 * aic_usage_user_days_bind -- as aic_usage_days_bind(), for one user, from the
 * stored exchanges. The days have no `users' and no `unanswered'.
 */
void aic_usage_user_days_bind(struct aic_db_call *call, int64_t telegram_id,
    int64_t days, const char *zone);
struct aic_usage_day
aic_usage_user_day_get(const struct aic_db_call *call, int i);

/* A day or a month. */
struct aic_usage_period {
	bool month;
	char first_day[12]; /* YYYY-MM-DD; "": the current one */
};

/*
 * aic_usage_period_parse -- parse YYYY-MM or YYYY-MM-DD, of the years 2000 to
 * 2999. False: the text is no month and no day.
 */
bool
aic_usage_period_parse(const char *text, struct aic_usage_period *ret_period);

/* The sums of a period. */
struct aic_usage_sum {
	const char *period; /* YYYY-MM or YYYY-MM-DD */
	int64_t chats, tokens, users;
};

struct aic_usage_user {
	int64_t telegram_id, chats, tokens;
};

/*
 * aic_usage_top_bind -- query the sums of a period, and the users with the most
 * chats or tokens in it: two calls for one batch. Borrows the texts until the
 * calls have run.
 *
 * by_tokens  the order; false: by chats
 */
void aic_usage_top_bind(struct aic_db_call calls[2],
    const struct aic_usage_period *period, const char *zone, bool by_tokens,
    int64_t limit, int64_t offset);

/* aic_usage_top_sum -- the text is valid as long as the results. */
struct aic_usage_sum aic_usage_top_sum(const struct aic_db_call calls[2]);

int aic_usage_top_count(const struct aic_db_call calls[2]);
struct aic_usage_user
aic_usage_top_get(const struct aic_db_call calls[2], int i);

#endif
