#include "config.h"

#include "app/ctl/env.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/file.h"

/* The maximum size of the file: thirty settings, one of 8 KiB, and comments. */
#define FILE_MAX (256 * 1024)

#define ENV_FILE "/etc/ai-chat/ai-chat.env"

/* As the unit sets it. */
#define METRICS_DIR "/run/ai-chat/metrics"

/* The directories from which the units load credentials, beside the file of
 * settings. */
#define CREDENTIALS_DIR "/etc/ai-chat/credentials"

#define AT(field) offsetof(struct ctl_conf, field)

static const struct {
	const char *name;
	const char *preset; /* NULL: none */
	size_t offset;
} table[] = {
	{ "AI_CHATCTL_HOOK", NULL, AT(hook) },
	{ "AI_CHATCTL_UPSTREAM", "/etc/nginx/ai-chat-upstream.conf",
	    AT(upstream) },
	{ "AI_CHATCTL_SOCKET", "/run/ai-chat/" CTL_NUMBER ".sock", AT(socket) },
	{ "AI_CHATCTL_ENV_FILE", NULL, AT(env_file) },
	{ "AI_CHATCTL_CREDENTIALS", NULL, AT(credentials) },
	{ "AI_CHATCTL_LOCK", "/run/ai-chatctl.lock", AT(lock) },
	{ "AI_CHATCTL_SITE", "/etc/nginx/sites-available/ai-chat", AT(site) },
	{ "AI_CHATCTL_NGINX_DIR", AIC_NGINX_DIR, AT(nginx_dir) },
	{ "AI_CHATCTL_EXTRAS", "/etc/ai-chat/nginx/*.conf", AT(extras) },
	{ "AI_CHATCTL_SQL_DIR", AIC_SQL_DIR, AT(sql_dir) },
	{ "AI_CHATCTL_BIN_DIR", AIC_BIN_DIR, AT(bin_dir) },
};

#define N_SETTINGS (sizeof(table) / sizeof(table[0]))

static enum aic_code
set_setting(struct ctl_conf *conf, const char *pair, struct aic_err *err)
{
	size_t n = strcspn(pair, "="), i;

	for (i = 0; i < N_SETTINGS; i++)
		if (strlen(table[i].name) == n &&
		    strncmp(table[i].name, pair, n) == 0)
			break;
	if (i == N_SETTINGS)
		return aic_fail(err, AIC_ECONF, "%.*s is not a setting",
		    (int)(n > 64 ? 64 : n), pair);
	if (pair[n] == '=' && pair[n + 1])
		*(const char **)(void *)((char *)conf +
		    table[i].offset) = pair + n + 1;
	return AIC_OK;
}

enum aic_code
ctl_conf_load(struct ctl_conf *ret_conf, struct aic_err *err)
{
	const char *number;
	enum aic_code rc = AIC_OK;
	char **env;
	size_t i;

	for (i = 0; i < N_SETTINGS; i++)
		*(const char **)(void *)((char *)ret_conf +
		    table[i].offset) = table[i].preset;
	for (env = environ; !rc && *env; env++)
		if (strncmp(*env, "AI_CHATCTL_", 11) == 0)
			rc = set_setting(ret_conf, *env, err);
	if (rc)
		return rc;
	number = strstr(ret_conf->socket, CTL_NUMBER);
	if (!number || strchr(number + 1, '%') ||
	    strpbrk(ret_conf->socket, " \t\r\n;{}'\"\\$#"))
		return aic_fail(err, AIC_ECONF,
		    "AI_CHATCTL_SOCKET must be a socket path that contains "
		    "\"%s\" once",
		    CTL_NUMBER);
	return AIC_OK;
}

/* --- the environment of the workers --------------------------------------- */

/* Add a pair. The pair replaces one of the same name. False: out of memory. */
static bool
put_pair(struct ctl_env *env, const char *pair)
{
	size_t n = strcspn(pair, "="), i;
	char **more, *copy = strdup(pair);

	if (!copy)
		return false;
	for (i = 0; i < env->n; i++)
		if (strncmp(env->v[i], pair, n + 1) == 0)
			break;
	if (i < env->n) {
		explicit_bzero(env->v[i], strlen(env->v[i]));
		free(env->v[i]);
		env->v[i] = copy;
		return true;
	}
	more = realloc(env->v, (env->n + 2) * sizeof(*more));
	if (!more) {
		free(copy);
		return false;
	}
	env->v = more;
	env->v[env->n++] = copy;
	env->v[env->n] = NULL;
	return true;
}

const char *
ctl_env_get(const struct ctl_env *env, const char *name)
{
	size_t n = strlen(name), i;

	for (i = 0; i < env->n; i++)
		if (strncmp(env->v[i], name, n) == 0 && env->v[i][n] == '=')
			return env->v[i] + n + 1;
	return NULL;
}

void
ctl_env_done(struct ctl_env *env)
{
	while (env->n > 0) {
		env->n--;
		explicit_bzero(env->v[env->n], strlen(env->v[env->n]));
		free(env->v[env->n]);
	}
	free(env->v);
	env->v = NULL;
}

/* Read a quoted part up to its quote. Returns the position after the quote. */
static const char *
parse_quoted(struct aic_buf *to, const char *p, char quote)
{
	for (; *p && *p != quote; p++) {
		if (*p != '\\' || quote == '\'' || !p[1]) {
			aic_buf_putc(to, *p);
			continue;
		}
		p++;
		if (*p == '\n')
			continue;
		if (!strchr("\"\\`$", *p))
			aic_buf_putc(to, '\\');
		aic_buf_putc(to, *p);
	}
	return *p ? p + 1 : p;
}

/* Read a value from the position after the equals sign to the end of its line.
 * Returns that position. */
static const char *
parse_value(struct aic_buf *to, const char *p)
{
	size_t keep = to->len; /* the value has the blanks before it */
	bool bare = false; /* unquoted: a quote is a character */

	for (;;) {
		if (!bare) {
			p += strspn(p, " \t\r");
			if (*p == '"' || *p == '\'') {
				p = parse_quoted(to, p + 1, *p);
				keep = to->len;
				continue;
			}
		}
		if (*p == '\0' || *p == '\n')
			break;
		bare = true;
		if (*p == '\\' && p[1]) {
			p++;
			if (*p != '\n')
				aic_buf_putc(to, *p);
			keep = to->len;
			p++;
			continue;
		}
		aic_buf_putc(to, *p);
		if (!strchr(" \t\r", *p))
			keep = to->len;
		p++;
	}
	if (!to->failed && to->len > keep) {
		to->len = keep;
		to->data[keep] = '\0';
	}
	return p;
}

static size_t
scan_name(const char *p)
{
	size_t n = 0;

	if (isdigit((unsigned char)*p))
		return 0;
	while (isalnum((unsigned char)p[n]) || p[n] == '_')
		n++;
	return n;
}

/* Report a line that is no setting and no comment, by its number and its name.
 * The message never contains a value, which may be a secret. */
static void
note_ignored(struct ctl_env *env, const char *path, const char *text,
    const char *p)
{
	static const char export[] = "export";
	size_t len = strlen(export), blanks, n;
	const char *q;
	int line = 1;

	if (*env->ignored || !*p || strchr("#;", *p))
		return;
	for (q = text; q < p; q++)
		line += *q == '\n';
	blanks = strncmp(p, export, len) == 0 ? strspn(p + len, " \t") : 0;
	n = blanks > 0 ? scan_name(p + len + blanks) : 0;
	if (n > 0)
		snprintf(env->ignored, sizeof(env->ignored),
		    "%.*s has no effect, because systemd ignores a line that "
		    "begins with \"export\": remove this word from line %d of "
		    "%.128s",
		    n > 64 ? 64 : (int)n, p + len + blanks, line, path);
	else
		snprintf(env->ignored, sizeof(env->ignored),
		    "line %d of %.128s has no effect, because it is not "
		    "NAME=value",
		    line, path);
}

bool
ctl_env_parse(struct ctl_env *env, const char *path, const char *text)
{
	const char *p = text;
	struct aic_buf pair;
	bool ok = true;
	size_t n;

	while (ok && *p) {
		p += strspn(p, " \t\r\n");
		n = scan_name(p);
		/* Skip comments, and lines that systemd would not accept
		 * either. */
		if (n == 0 || p[n + strspn(p + n, " \t")] != '=') {
			note_ignored(env, path, text, p);
			p += strcspn(p, "\n");
			continue;
		}
		aic_buf_init(&pair, FILE_MAX);
		aic_buf_put(&pair, p, n);
		aic_buf_putc(&pair, '=');
		p += n;
		p = parse_value(&pair, p + strspn(p, " \t") + 1);
		ok = !pair.failed && put_pair(env, pair.data);
		if (pair.data)
			explicit_bzero(pair.data, pair.len);
		aic_buf_done(&pair);
	}
	return ok;
}

static enum aic_code
read_settings(const char *path, char **ret_text, size_t *ret_len,
    struct aic_err *err)
{
	enum aic_code rc = aic_file_read_any("settings file", path, FILE_MAX,
	    ret_text, ret_len, err);

	if (rc || strlen(*ret_text) == *ret_len)
		return rc;
	return aic_fail(err, AIC_ECONF, "settings file \"%s\" has a NUL byte",
	    path);
}

/* Add the variables that every process has, and those that the unit sets for a
 * worker. A unit that runs this program passes its own credentials. */
static bool
put_base_env(struct ctl_env *env, const char *credentials, bool all)
{
	static const char *const kept[] = {
		"PATH=", "HOME=", "LANG=", "CREDENTIALS_DIRECTORY="
	};
	char pair[PATH_MAX];
	bool ok = put_pair(env, "AI_CHAT_METRICS_DIR=" METRICS_DIR);
	char **e;
	size_t i;

	if (credentials) {
		snprintf(pair, sizeof(pair), "CREDENTIALS_DIRECTORY=%s",
		    credentials);
		ok = ok && put_pair(env, pair);
	}

	for (e = environ; ok && *e; e++) {
		for (i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
			if (strncmp(*e, kept[i], strlen(kept[i])) == 0)
				break;
		if (all || i < sizeof(kept) / sizeof(kept[0]))
			ok = put_pair(env, *e);
	}
	return ok;
}

enum aic_code
ctl_env_load(struct ctl_env *ret_env, const struct ctl_conf *conf,
    struct aic_err *err)
{
	const char *path = conf->env_file ? conf->env_file : ENV_FILE;
	bool ours = !conf->env_file && access(path, F_OK) != 0 &&
	    errno == ENOENT;
	const char *credentials = conf->credentials || conf->env_file || ours
	    ? conf->credentials
	    : CREDENTIALS_DIR;
	struct ctl_env env = { .n = 0 };
	enum aic_code rc = AIC_OK;
	char *text = NULL;
	size_t len = 0;

	if (!ours)
		rc = read_settings(path, &text, &len, err);
	if (!rc &&
	    !(put_base_env(&env, credentials, ours) &&
		(!text || ctl_env_parse(&env, path, text))))
		rc = aic_fail(err, AIC_ENOMEM, "out of memory");
	aic_file_wipe(text, len);
	if (rc)
		ctl_env_done(&env);
	else
		*ret_env = env;
	return rc;
}
