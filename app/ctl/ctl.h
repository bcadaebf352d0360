/*
 * ctl -- ai-chatctl: what an operator does to the service from a shell.
 *
 * A subcommand is a function of a struct ctl. In words it says things as they
 * happen, by ctl_say(); with --json it writes one document into `doc'.
 */
#ifndef CTL_H
#define CTL_H

#include <stdbool.h>
#include <stdint.h>

#include "app/ctl/env.h"
#include "lib/buf.h"
#include "lib/cache.h"
#include "lib/conf.h"
#include "lib/db.h"
#include "lib/err.h"

/* How long a worker may take until it answers: some seconds under sanitizers, and
 * the database's timeout when that is slow. */
#define CTL_READY_S 30

struct ctl {
	struct ctl_conf own; /* AI_CHATCTL_* */
	struct ctl_env env; /* the workers' environment */
	struct aic_conf conf; /* and what it says */
	struct aic_db *db;

	const char *arg; /* of the subcommand; NULL: none */
	int64_t id; /* the argument as a user's number; 0: none */
	int64_t limit, days, older_than; /* --limit ...; 0: not given */
	bool json, yes;

	struct aic_buf doc; /* with --json */
	bool bad; /* it was told, and what was told is not good */
};

typedef enum aic_code ctl_command(struct ctl *c, struct aic_err *err);

/* The subcommands, as the manual page has them. Errors: AIC_EPARAM for a wrong
 * argument, AIC_ECONF for a setting, and whatever goes wrong. */
ctl_command ctl_status, ctl_scale, ctl_restart, ctl_reload, ctl_migrate,
    ctl_check, ctl_limits, ctl_history, ctl_stats, ctl_reset, ctl_forget,
    ctl_prune;

/* ctl_say -- a line on standard output; nothing with --json. */
void ctl_say(const struct ctl *c, const char *fmt, ...) AIC_PRINTF(2, 3);

/* ctl_warn -- a line on standard error. */
void ctl_warn(const char *fmt, ...) AIC_PRINTF(1, 2);

/*
 * ctl_number -- a whole number of decimal digits.
 *
 * what      for the message
 *
 * Errors:   AIC_EPARAM
 */
enum aic_code ctl_number(const char *what, const char *text, int64_t min,
    int64_t max, int64_t *ret, struct aic_err *err) AIC_MUST_CHECK;

/* ctl_catch_signals -- from now on SIGINT, SIGTERM, SIGHUP and nobody who reads what
 * we say do not end us in the middle of something. */
void ctl_catch_signals(void);

/* ctl_interrupted -- one came: what is under way is to be undone. */
bool ctl_interrupted(void);

/* ctl_open_db -- open c->db. Errors: AIC_ECONF, AIC_ENOMEM. */
enum aic_code ctl_open_db(struct ctl *c, struct aic_err *err) AIC_MUST_CHECK;

/*
 * ctl_tell_cache -- tell Redis of c->id, when there is one. It is never what a command is
 * about: when it cannot be told, there is a warning.
 *
 * otherwise what happens then, for the warning
 */
void ctl_tell_cache(struct ctl *c,
    bool (*tell)(struct aic_cache *cache, int64_t telegram_id),
    const char *otherwise);

/* ctl_db -- run a batch on the service's database, within so many seconds. */
enum aic_code ctl_db(struct ctl *c, struct aic_db_call *calls, int n,
    int seconds, struct aic_err *err) AIC_MUST_CHECK;

/*
 * ctl_check_settings -- ai-chat-worker --check, in the workers' environment.
 *
 * Errors:   AIC_ECONF  a setting; AIC_EDB  the database; with the worker's words
 */
enum aic_code
ctl_check_settings(struct ctl *c, struct aic_err *err) AIC_MUST_CHECK;

/* ctl_check_connections -- would the database have enough for so many workers?
 * ret_says  set always. Errors: AIC_EPARAM when it has not; AIC_EDB. */
enum aic_code ctl_check_connections(struct ctl *c, int workers,
    char ret_says[160], struct aic_err *err) AIC_MUST_CHECK;

#endif
