/*
 * ctl_env -- the input of ai-chatctl: its own settings, AI_CHATCTL_*, and the
 * environment of the workers, which is that of their unit.
 */
#ifndef CTL_ENV_H
#define CTL_ENV_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/err.h"

/* The placeholder for the number of a worker, as in a unit. */
#define CTL_NUMBER "%i"

/* The settings of ai-chatctl. The environment owns the texts. */
struct ctl_conf {
	const char *hook; /* program to call instead of systemd; NULL: none */
	const char *upstream; /* the file with Nginx's list of workers */
	const char *socket; /* of a worker, with one CTL_NUMBER */
	const char *env_file; /* the file with the settings of the workers */
	/* The directory with the secrets of the workers; NULL: none. */
	const char *credentials;
	const char *lock; /* the lock file of a change */
	const char *site; /* the file with Nginx's site */
	/* The directory of the template and of the files that it includes. */
	const char *nginx_dir;
	const char *extras; /* a pattern: the operator's files for the site */
	const char *sql_dir;
	const char *bin_dir; /* of ai-chat-worker and ai-chat-migrate */
};

/*
 * ctl_conf_load -- read the settings of ai-chatctl.
 *
 * Errors:   AIC_ECONF  with the name of the setting
 */
enum aic_code
ctl_conf_load(struct ctl_conf *ret_conf, struct aic_err *err) AIC_MUST_CHECK;

struct ctl_env {
	char **v; /* in the form of environ(7) */
	size_t n;
	/* A message about the first line of the file that is ignored; "":
	 * none. */
	char ignored[320];
};

/*
 * ctl_env_load -- read the environment of the workers: AI_CHATCTL_ENV_FILE,
 * parsed as systemd parses an EnvironmentFile=, in addition to what the unit
 * sets. If the file does not exist and was not set explicitly, the environment
 * of this process is used. systemd ignores a line that is not NAME=value, such
 * as "export NAME=value"; so does this function, and sets `ignored'.
 *
 * Errors:   AIC_ECONF  the file cannot be read; AIC_ENOMEM
 * Memory:   gives; ctl_env_done()
 * Source:   systemd.exec(5), "EnvironmentFile="
 */
enum aic_code ctl_env_load(struct ctl_env *ret_env, const struct ctl_conf *conf,
    struct aic_err *err) AIC_MUST_CHECK;

/* ctl_env_get -- the value of a variable; NULL or empty: not set. The
 * environment owns the text. */
const char *ctl_env_get(const struct ctl_env *env, const char *name);

/* ctl_env_done -- wipe and free the environment. A zeroed struct is
 * accepted. */
void ctl_env_done(struct ctl_env *env);

/* ctl_env_parse -- add the settings in `text', the content of the file `path'.
 * False: out of memory. */
bool ctl_env_parse(struct ctl_env *env, const char *path,
    const char *text) AIC_MUST_CHECK;

#endif
