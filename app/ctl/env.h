/*
 * ctl_env -- what ai-chatctl is told: its own settings, AI_CHATCTL_*, and the
 * environment of the workers, which is that of their unit.
 */
#ifndef CTL_ENV_H
#define CTL_ENV_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/err.h"

/* What stands for the number of a worker, as in a unit. */
#define CTL_NUMBER "%i"

/* Our own settings; texts belong to the environment. */
struct ctl_conf {
	const char *hook; /* in place of systemd; NULL: none */
	const char *upstream; /* Nginx's list of workers */
	const char *socket; /* of a worker, with one CTL_NUMBER */
	const char *env_file; /* the workers' settings */
	const char
	    *credentials; /* the directory of their secrets; NULL: none */
	const char *lock; /* who changes something holds it */
	const char *sql_dir;
	const char *bin_dir; /* of ai-chat-worker and ai-chat-migrate */
};

/*
 * ctl_conf_load -- read our own settings.
 *
 * Errors:   AIC_ECONF  names the setting
 */
enum aic_code
ctl_conf_load(struct ctl_conf *ret_conf, struct aic_err *err) AIC_MUST_CHECK;

struct ctl_env {
	char **v; /* as environ(7) has it */
	size_t n;
};

/*
 * ctl_env_load -- the workers' environment: AI_CHATCTL_ENV_FILE as systemd reads
 * an EnvironmentFile=, on top of what the unit sets. Where there is no such file
 * and none was asked for, it is our own environment.
 *
 * Errors:   AIC_ECONF  the file cannot be read; AIC_ENOMEM
 * Memory:   gives; ctl_env_done()
 * Source:   systemd.exec(5), "EnvironmentFile="
 */
enum aic_code ctl_env_load(struct ctl_env *ret_env, const struct ctl_conf *conf,
    struct aic_err *err) AIC_MUST_CHECK;

/* ctl_env_get -- a value; NULL or empty: not set. It belongs to the environment. */
const char *ctl_env_get(const struct ctl_env *env, const char *name);

/* ctl_env_done -- wipe and free. Copes with a zeroed struct. */
void ctl_env_done(struct ctl_env *env);

/* ctl_env_parse -- add what a file of settings says, `text' of it. False: no
 * memory. */
bool ctl_env_parse(struct ctl_env *env, const char *text) AIC_MUST_CHECK;

#endif
