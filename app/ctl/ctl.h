/*
 * ctl -- ai-chatctl, the command-line tool for operators.
 *
 * Each subcommand is a function with a struct ctl. Without --json, a subcommand
 * prints its progress with ctl_say(). With --json, a subcommand writes one
 * document to `doc'.
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

/* The time that a worker may take until the worker is ready: some seconds under
 * sanitizers, plus the timeout of the database if the database is slow. */
#define CTL_READY_S 30

struct ctl {
	struct ctl_conf own; /* AI_CHATCTL_* */
	struct ctl_env env; /* the environment of the workers */
	struct aic_conf conf; /* the settings in that environment */
	struct aic_db *db;

	const char *arg; /* the argument of the subcommand; NULL: none */
	int64_t id; /* the argument as a telegram_id; 0: none */
	int64_t limit, days, older_than; /* --limit ...; 0: not given */
	int64_t offset; /* --offset */
	bool json, yes;
	bool model; /* --model: call the model, which costs money */
	bool print, force, no_reload; /* of the command nginx */

	struct aic_buf doc; /* with --json */
	bool bad; /* the command has printed a result that is not good */
	bool warned; /* the command has printed why it failed */
};

typedef enum aic_code ctl_command(struct ctl *c, struct aic_err *err);

/* The subcommands, as the manual page describes them. Errors: AIC_EPARAM for a
 * wrong argument, AIC_ECONF for a setting, and those of the functions
 * called. */
ctl_command ctl_status, ctl_scale, ctl_restart, ctl_reload, ctl_migrate,
    ctl_check, ctl_limits, ctl_history, ctl_stats, ctl_reset, ctl_clear,
    ctl_forget, ctl_prune, ctl_site;

/* ctl_print_workers -- print the workers after a change of them. In contrast to
 * ctl_status(), the result is bad only if a worker does not run or is not in
 * Nginx's list, because the change has nothing to do with other problems.
 * Errors: AIC_ENOMEM. */
enum aic_code
ctl_print_workers(struct ctl *c, struct aic_err *err) AIC_MUST_CHECK;

/* ctl_say -- print a line on standard output; with --json, print nothing. */
void ctl_say(const struct ctl *c, const char *fmt, ...) AIC_PRINTF(2, 3);

/* ctl_warn -- print a line on standard error. */
void ctl_warn(const char *fmt, ...) AIC_PRINTF(1, 2);

/*
 * ctl_number -- parse a whole number of decimal digits.
 *
 * what      the name of the number, for the message
 *
 * Errors:   AIC_EPARAM
 */
enum aic_code ctl_number(const char *what, const char *text, int64_t min,
    int64_t max, int64_t *ret, struct aic_err *err) AIC_MUST_CHECK;

/* ctl_catch_signals -- from now on SIGINT, SIGTERM and SIGHUP do not end the
 * process in the middle of a change. */
void ctl_catch_signals(void);

/* ctl_interrupted -- true if a signal has arrived: the change in progress must
 * be undone. */
bool ctl_interrupted(void);

/*
 * ctl_open_db -- open c->db, and check that the database answers.
 *
 * Errors:   AIC_ECONF, AIC_EDB, AIC_ENOMEM
 * Blocks:   3 s at most, except for DNS
 */
enum aic_code ctl_open_db(struct ctl *c, struct aic_err *err) AIC_MUST_CHECK;

/*
 * ctl_update_cache -- change the values of c->id in Redis, if Redis is
 * configured. A failure prints a warning and does not fail the command.
 *
 * update    what to change
 * otherwise the consequence of a failure, for the warning
 */
void ctl_update_cache(struct ctl *c,
    bool (*update)(struct aic_cache *cache, int64_t telegram_id),
    const char *otherwise);

/* ctl_db -- run a batch on the database of the service, with this timeout. */
enum aic_code ctl_db(struct ctl *c, struct aic_db_call *calls, int n,
    int seconds, struct aic_err *err) AIC_MUST_CHECK;

/*
 * ctl_check_settings -- run ai-chat-worker --check in the environment of the
 * workers.
 *
 * Errors:   AIC_ECONF  a setting; AIC_EDB  the database; with the worker's text
 */
enum aic_code
ctl_check_settings(struct ctl *c, struct aic_err *err) AIC_MUST_CHECK;

/* ctl_check_connections -- check that the database has enough connections for
 * so many workers. ret_says is always set. Errors: AIC_EBUSY if there are too
 * few; AIC_EDB. */
enum aic_code ctl_check_connections(struct ctl *c, int workers,
    char ret_says[160], struct aic_err *err) AIC_MUST_CHECK;

#endif
