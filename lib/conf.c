#include "config.h"

#include "lib/conf.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/bounds.h"
#include "lib/file.h"
#include "lib/format.h"
#include "lib/near.h"
#include "lib/paths.h"
#include "lib/retry.h"
#include "lib/value.h"

/* The longest value is a list of keys. */
#define VALUE_MAX 8192

enum kind {
	TEXT,
	KEY, /* for a server that we call */
	KEYS, /* of the callers of the API */
	URL,
	BASE_URL, /* URL of chat completions */
	PROXY,
	PATHS, /* paths of the seller-data API */
	CA, /* path of a file of certificates */
	SCHEMA, /* name of a schema of the database */
	ADDRESSES, /* on which Nginx listens */
	SITE_FILE, /* path of a file that Nginx reads */
	ZONE, /* the last kind that is text */
	NUM,
	REAL,
	LEVEL,
	FORMAT,
	AUTH,
	QUOTED, /* of no row: any kind, but the value is in quotes */
};

enum {
	MUST = 1, /* required */
	SECRET = 2, /* may be set as NAME_FILE; never logged; wiped */
	DIRECT = 4, /* for a PROXY: may be AIC_PROVIDER_DIRECT */
	CREDENTIAL = 8, /* a path; the file may be a systemd credential */
	SITE = 16, /* for the site of Nginx; see aic_conf_load_site() */
	MIGRATE = 32, /* for ai-chat-migrate; see aic_conf_load_url() */
};

struct setting {
	const char *name;
	enum kind kind;
	int flags;
	const char *default_value; /* NULL: none */
	double min, max; /* for NUM and REAL */
	size_t offset; /* in struct aic_conf */
};

#define AT(field) offsetof(struct aic_conf, field)

/*
 * The comment above a row is the reason for its range. A range without a
 * comment is part of the requirements of the service.
 */
static const struct setting table[] = {
	{ "API_SECRET_KEY", KEYS, MUST | SECRET, NULL, 0, 0, AT(api_keys) },
	{ "API_ADMIN_KEY", KEYS, SECRET, NULL, 0, 0, AT(api_admin_key) },
	{ "AI_CHAT_ADMIN_KEY_NAMES", TEXT, 0, NULL, 0, 0, AT(admin_key_names) },
	{ "DATABASE_URL", TEXT, MUST | SECRET, NULL, 0, 0, AT(database_url) },
	{ "AI_CHAT_MIGRATE_URL", TEXT, MIGRATE | SECRET, NULL, 0, 0,
	    AT(migrate_url) },
	{ "OPENAI_API_KEY", KEY, MUST | SECRET, NULL, 0, 0,
	    AT(openai_api_key) },
	{ "OPENAI_BASE_URL", BASE_URL, 0, "https://api.openai.com/v1", 0, 0,
	    AT(openai_base_url) },
	{ "OPENAI_MODEL", TEXT, 0, "gpt-4o-mini", 0, 0, AT(openai_model) },
	{ "OPENAI_TEMPERATURE", REAL, 0, "0.7", 0, 2, AT(openai_temperature) },
	/* 1,000,000: above the largest token limit of any known model */
	{ "OPENAI_MAX_TOKENS", NUM, 0, "1000", 1, 1000000,
	    AT(openai_max_tokens) },
	{ "OPENAI_AUTH", AUTH, 0, "bearer", 0, 0, AT(openai_auth) },
	{ "OPENAI_AUTH_URL", URL, 0,
	    "https://ngw.devices.sberbank.ru:9443/api/v2/oauth", 0, 0,
	    AT(openai_auth_url) },
	{ "OPENAI_AUTH_SCOPE", TEXT, 0, "GIGACHAT_API_PERS", 0, 0,
	    AT(openai_auth_scope) },
	{ "OPENAI_PROXY", PROXY, SECRET, NULL, 0, 0, AT(openai_proxy) },
	{ "OPENAI_CA_FILE", CA, 0, NULL, 0, 0, AT(openai_ca_file) },
	{ "OPENAI_HEADERS_FILE", TEXT, CREDENTIAL, NULL, 0, 0,
	    AT(openai_headers_file) },
	{ "OPENAI_EXTRA_BODY_FILE", TEXT, CREDENTIAL, NULL, 0, 0,
	    AT(openai_extra_body_file) },
	{ "OPENAI_KEEP_WARM", NUM, 0, "1", 0, 1, AT(openai_keep_warm) },
	{ "OPENAI_FALLBACK_API_KEY", KEY, SECRET, NULL, 0, 0,
	    AT(fallback_api_key) },
	{ "OPENAI_FALLBACK_BASE_URL", BASE_URL, 0, NULL, 0, 0,
	    AT(fallback_base_url) },
	{ "OPENAI_FALLBACK_MODEL", TEXT, 0, NULL, 0, 0, AT(fallback_model) },
	{ "OPENAI_FALLBACK_AUTH", AUTH, 0, NULL, 0, 0, AT(fallback_auth) },
	{ "OPENAI_FALLBACK_AUTH_URL", URL, 0, NULL, 0, 0,
	    AT(fallback_auth_url) },
	{ "OPENAI_FALLBACK_AUTH_SCOPE", TEXT, 0, NULL, 0, 0,
	    AT(fallback_auth_scope) },
	{ "OPENAI_FALLBACK_PROXY", PROXY, SECRET | DIRECT, NULL, 0, 0,
	    AT(fallback_proxy) },
	{ "OPENAI_FALLBACK_CA_FILE", CA, 0, NULL, 0, 0, AT(fallback_ca_file) },
	{ "OPENAI_FALLBACK_HEADERS_FILE", TEXT, CREDENTIAL, NULL, 0, 0,
	    AT(fallback_headers_file) },
	{ "OPENAI_FALLBACK_EXTRA_BODY_FILE", TEXT, CREDENTIAL, NULL, 0, 0,
	    AT(fallback_extra_body_file) },
	{ "REDIS_URL", TEXT, SECRET, NULL, 0, 0, AT(redis_url) },
	/*
	 * 0: the breaker never opens; 10,000: all chats that can be in flight
	 */
	{ "AI_CHAT_BREAKER_FAILURES", NUM, 0, "20", 0, 10000,
	    AT(breaker_failures) },
	/*
	 * 100: a breaker that is open for less time spares the model nothing;
	 * 600,000: the longest AI_CHAT_DEADLINE_MS.
	 */
	{ "AI_CHAT_BREAKER_OPEN_MS", NUM, 0, "10000", 100, 600000,
	    AT(breaker_open_ms) },
	/* 1,000,000: more retries in 10 s than a worker can make */
	{ "AI_CHAT_RETRY_FLOOR", NUM, 0, "10", 0, 1000000, AT(retry_floor) },
	/*
	 * 0: derived from AI_CHAT_THREADS, see http.h. A connection carries 100
	 * calls, so 1,000 carry ten times the measured load of a worker.
	 */
	{ "AI_CHAT_UPSTREAM_CONNECTIONS", NUM, 0, "0", 0, 1000,
	    AT(upstream_connections) },
	{ "SERVER_HOST", URL, 0, NULL, 0, 0, AT(server_host) },
	{ "SERVER_API_KEY", KEY, SECRET, NULL, 0, 0, AT(server_api_key) },
	{ "SERVER_CONTEXT_PATHS", PATHS, 0,
	    "/api/v1/bot/user-context/{telegram_id}", 0, 0, AT(server_paths) },
	/*
	 * 50: few responses arrive sooner; 10,000: no caller waits longer for
	 * the seller's data.
	 */
	{ "AI_CHAT_SERVER_TIMEOUT_MS", NUM, 0, "800", 50, 10000,
	    AT(server_timeout_ms) },
	/*
	 * 200: room for the first of a seller's figures; 16,000: the most that
	 * a caller may send of them.
	 */
	{ "AI_CHAT_USER_CONTEXT_CHARS", NUM, 0, "4000", 200, 16000,
	    AT(user_context_chars) },
	{ "AI_CHAT_ADDRESS", ADDRESSES, SITE, "127.0.0.1", 0, 0, AT(address) },
	{ "AI_CHAT_PORT", NUM, SITE, "9001", 1, 65535, AT(port) },
	/* 1 to 65535: the range of a port */
	{ "AI_CHAT_METRICS_PORT", NUM, SITE, "9002", 1, 65535,
	    AT(metrics_port) },
	{ "AI_CHAT_TLS_CERTIFICATE", SITE_FILE, SITE, NULL, 0, 0,
	    AT(tls_certificate) },
	{ "AI_CHAT_TLS_KEY", SITE_FILE, SITE, NULL, 0, 0, AT(tls_key) },
	{ "AI_CHAT_API_DOCS", NUM, 0, "1", 0, 1, AT(api_docs) },
	{ "AI_CHAT_METRICS_DIR", TEXT, 0, NULL, 0, 0, AT(metrics_dir) },
	/* 9,999: more workers than a host has */
	{ "AI_CHAT_INSTANCE", NUM, 0, "1", 1, 9999, AT(instance) },
	{ "AI_CHAT_DAILY_LIMIT", NUM, 0, "30", 0, 1000000, AT(daily_limit) },
	/* 1,000: a user's reservations are in one row, and 1,000 take 40 KB */
	{ "AI_CHAT_USER_CONCURRENCY", NUM, 0, "0", 0, 1000,
	    AT(user_concurrency) },
	{ "AI_CHAT_TIMEZONE", ZONE, 0, "UTC", 0, 0, AT(timezone) },
	{ "AI_CHAT_CONTEXT_MESSAGES", NUM, 0, "5", 0, 50,
	    AT(context_messages) },
	/* 1,000,000: more than any model accepts; bounds the model's request */
	{ "AI_CHAT_CONTEXT_CHARS", NUM, 0, "12000", 0, 1000000,
	    AT(context_chars) },
	/* 31,536,000: a year; older exchanges are history, not context */
	{ "AI_CHAT_CONTEXT_TTL_S", NUM, 0, "0", 0, 31536000,
	    AT(context_ttl_s) },
	/* 2,592,000: 30 days; an older answer is out of date */
	{ "AI_CHAT_ANSWER_CACHE_S", NUM, 0, "0", 0, 2592000,
	    AT(answer_cache_s) },
	{ "AI_CHAT_PROMPT_FILE", TEXT, 0, AIC_PROMPT_FILE, 0, 0,
	    AT(prompt_file) },
	{ "AI_CHAT_ANSWER_FORMAT", FORMAT, 0, "telegram-html", 0, 0,
	    AT(answer_format) },
	/* 2,048: half of a message; a bot sends longer additions separately */
	{ "AI_CHAT_ANSWER_RESERVE", NUM, 0, "64", 0, 2048, AT(answer_reserve) },
	/* 600,000: no caller waits longer */
	{ "AI_CHAT_DEADLINE_MS", NUM, SITE, "55000", 1000, 600000,
	    AT(deadline_ms) },
	/* 10,000: the most that one worker was measured with */
	{ "AI_CHAT_THREADS", NUM, 0, "64", 1, 10000, AT(threads) },
	{ "AI_CHAT_DB_SCHEMA", SCHEMA, 0, "public", 0, 0, AT(db_schema) },
	/* 1,000: above what PostgreSQL is usually configured for */
	{ "AI_CHAT_DB_POOL", NUM, 0, "4", 1, 1000, AT(db_pool) },
	/*
	 * 5,000: before the worker sends the statement, it computes how long
	 * the reservation lasts: the time left to the deadline plus 5 s. The
	 * statement adds now(). If the statement is delayed by the whole
	 * timeout, the reservation lapses 10 s after the deadline, the most
	 * that the contract allows.
	 */
	{ "AI_CHAT_DB_TIMEOUT_MS", NUM, 0, "3000", 100, 5000,
	    AT(db_timeout_ms) },
	{ "AI_CHAT_DB_PREPARE", NUM, 0, "1", 0, 1, AT(db_prepare) },
	{ "LOG_LEVEL", LEVEL, 0, "info", 0, 0, AT(log_level) },
};

#define N_SETTINGS (sizeof(table) / sizeof(table[0]))

const char *
aic_conf_name(unsigned n)
{
	return n < N_SETTINGS ? table[n].name : NULL;
}

enum aic_conf_file
aic_conf_file(unsigned n)
{
	if (n < N_SETTINGS && table[n].flags & SECRET)
		return AIC_CONF_FILE_SECRET;
	if (n < N_SETTINGS && table[n].flags & CREDENTIAL)
		return AIC_CONF_FILE_PATH;
	return AIC_CONF_FILE_NONE;
}

static void *
field_at(struct aic_conf *conf, const struct setting *s)
{
	return (char *)conf + s->offset;
}

static bool
is_text(const struct setting *s)
{
	return s->kind <= ZONE;
}

/* The value of NAME or NAME_FILE in the environment; NULL: not set. */
static const char *
env_get(char *const *env, const char *name, const char *suffix)
{
	size_t n = strlen(name), m = strlen(suffix);

	for (; *env; env++)
		if (strncmp(*env, name, n) == 0 &&
		    strncmp(*env + n, suffix, m) == 0 && (*env)[n + m] == '=')
			return *env + n + m + 1;
	return NULL;
}

/*
 * The name that differs least, if it differs so little that a typing error is
 * likely: in a quarter of its characters. AI_CHAT_ before a name that does not
 * begin with it is an error that is likely, too.
 */
const char *
aic_conf_near(const char *name, size_t n)
{
	const size_t prefix = strlen("AI_CHAT_");
	size_t i, len, steps, least = n / 4 + 1;
	const char *near = NULL;

	for (i = 0; i < N_SETTINGS; i++) {
		len = strlen(table[i].name);
		if (n == prefix + len &&
		    strncmp(name, "AI_CHAT_", prefix) == 0 &&
		    strncmp(name + prefix, table[i].name, len) == 0)
			return table[i].name;
		steps = aic_near_steps(name, n, table[i].name, len);
		if (steps < least) {
			least = steps;
			near = table[i].name;
		}
	}
	return near;
}

const char *
aic_conf_env(char *const *env, const char *name)
{
	return env_get(env, name, "");
}

static enum aic_code
read_secret(const struct setting *s, const char *form, const char *path,
    char *value, struct aic_err *err)
{
	char name[64], *text = NULL;
	size_t len = 0;
	enum aic_code rc;

	snprintf(name, sizeof(name), "%s%s", s->name, form);
	rc = aic_file_read_any(name, path, VALUE_MAX - 1, &text, &len, err);
	if (rc)
		return rc;
	memcpy(value, text, len + 1);
	if (strlen(value) != len)
		rc = aic_fail(err, AIC_ECONF, "%s \"%s\" contains a NUL byte",
		    name, path);
	else if (len > 0 && value[len - 1] == '\n')
		value[len - 1] = '\0';
	aic_file_wipe(text, len);
	return rc;
}

/*
 * The path of a credential of systemd: the directory of the credentials, and
 * the first n bytes of the name in lower case. False: the file does not exist.
 */
static bool
credential_path(char *const *env, const char *name, size_t n,
    char path[PATH_MAX])
{
	const char *dir = env_get(env, "CREDENTIALS_DIRECTORY", "");
	int len;
	char *p;

	if (!dir || !*dir)
		return false;
	len = snprintf(path, PATH_MAX, "%s/%.*s", dir, (int)n, name);
	if (len >= PATH_MAX)
		return false;
	for (p = path + len - n; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	return access(path, F_OK) == 0 || errno != ENOENT;
}

/*
 * The value of a secret, or the path of a file; "": not set. A unit of systemd
 * has to list every credential, so it provides an empty line (a file of one
 * byte) for a credential that does not exist. Such a file counts as not set.
 */
static enum aic_code
find_credential(const struct setting *s, char *const *env, char *value,
    struct aic_err *err)
{
	size_t n = strlen(s->name);
	char path[PATH_MAX];
	struct stat st;

	*value = '\0';
	if (s->flags & CREDENTIAL)
		n -= strlen("_FILE");
	else if (!(s->flags & SECRET))
		return AIC_OK;
	if (!credential_path(env, s->name, n, path))
		return AIC_OK;
	if (s->flags & SECRET)
		return read_secret(s, "'s credential", path, value, err);
	if ((stat(path, &st) == 0 && st.st_size < 2) ||
	    strlen(path) >= VALUE_MAX)
		return AIC_OK;
	memcpy(value, path, strlen(path) + 1);
	return AIC_OK;
}

static enum aic_code
find_value(const struct setting *s, char *const *env, char *value,
    bool *ret_found, struct aic_err *err)
{
	const char *plain = env_get(env, s->name, "");
	const char *file = s->flags & SECRET ? env_get(env, s->name, "_FILE")
					     : NULL;

	enum aic_code rc;

	*ret_found = true;
	if (plain && file)
		return aic_fail(err, AIC_ECONF,
		    "both %s and %s_FILE are set; set only one", s->name,
		    s->name);
	rc = find_credential(s, env, value, err);
	if (rc)
		return rc;
	if (*value && (file || (plain && *plain)))
		return aic_fail(err, AIC_ECONF,
		    "both %s%s and its systemd credential are set; set only "
		    "one",
		    s->name, file ? "_FILE" : "");
	if (*value)
		return AIC_OK;
	if (file)
		return read_secret(s, "_FILE", file, value, err);
	if (!plain || !*plain) {
		if (plain && s->flags & MUST)
			return aic_fail(err, AIC_ECONF, "%s is empty", s->name);
		plain = s->default_value;
	}
	if (!plain) {
		*ret_found = false;
		return AIC_OK;
	}
	if (strlen(plain) >= VALUE_MAX)
		return aic_fail(err, AIC_ECONF, "%s is longer than %d bytes",
		    s->name, VALUE_MAX - 1);
	memcpy(value, plain, strlen(plain) + 1);
	return AIC_OK;
}

/*
 * PostgreSQL decides whether the name is valid; `ai-chat-worker --check`
 * queries PostgreSQL for that. This check finds a typing error without
 * PostgreSQL, on a host that has the files of time zones.
 */
static enum aic_code
check_zone(const struct setting *s, const char *value, struct aic_err *err)
{
	static const char dir[] = "/usr/share/zoneinfo/";
	char path[sizeof(dir) + 64];
	struct stat st;
	const char *p;

	for (p = value; *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr("_+-/", *p))
			break;
	if (*p || *value == '/' || strlen(value) > 63)
		return aic_fail(err, AIC_ECONF,
		    "%s \"%.64s\" is not the name of a time zone", s->name,
		    value);
	snprintf(path, sizeof(path), "%s%s", dir, value);
	if (access(dir, X_OK) == 0 &&
	    (stat(path, &st) != 0 || !S_ISREG(st.st_mode)))
		return aic_fail(err, AIC_ECONF,
		    "%s \"%s\" is not a time zone of this system", s->name,
		    value);
	return AIC_OK;
}

static enum aic_code
check_paths(const struct setting *s, const char *value, struct aic_err *err)
{
	struct aic_err why = AIC_ERR_INIT;
	struct aic_paths paths;
	enum aic_code rc;

	rc = aic_paths_read(&paths, value, &why);
	if (rc)
		return aic_fail(err, rc, "%s: %s", s->name, why.detail);
	aic_paths_done(&paths);
	return AIC_OK;
}

static enum aic_code
set_num(struct aic_conf *conf, const struct setting *s, const char *value,
    struct aic_err *err)
{
	char *end;
	long long n;

	errno = 0;
	n = strtoll(value, &end, 10);
	if (!isdigit((unsigned char)value[0]) || *end || errno ||
	    (double)n < s->min || (double)n > s->max)
		return aic_fail(err, AIC_ECONF,
		    "%s must be a whole number from %.0f to %.0f, "
		    "not \"%.40s\"",
		    s->name, s->min, s->max, value);
	*(int64_t *)field_at(conf, s) = n;
	return AIC_OK;
}

static enum aic_code
set_real(struct aic_conf *conf, const struct setting *s, const char *value,
    struct aic_err *err)
{
	char *end;
	double x;

	x = strtod(value, &end);
	/*
	 * Digits and a point only: no blanks, hexadecimal numbers or infinity.
	 */
	if (strspn(value, "0123456789.") != strlen(value) || end == value ||
	    *end || !(x >= s->min && x <= s->max))
		return aic_fail(err, AIC_ECONF,
		    "%s must be a number from %g to %g, not \"%.40s\"", s->name,
		    s->min, s->max, value);
	*(double *)field_at(conf, s) = x;
	return AIC_OK;
}

static enum aic_code
set_level(struct aic_conf *conf, const struct setting *s, const char *value,
    struct aic_err *err)
{
	/* The names of Python's logging module. */
	static const struct {
		const char *name;
		enum aic_level level;
	} others[] = { { "warning", AIC_LOG_WARN },
		{ "critical", AIC_LOG_ERROR } };
	enum aic_level *to = field_at(conf, s);
	int level;
	size_t i;

	for (level = 0; level < AIC_LOG__MAX; level++)
		if (strcasecmp(value, aic_log_level_name(level)) == 0) {
			*to = level;
			return AIC_OK;
		}
	for (i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (strcasecmp(value, others[i].name) == 0) {
			*to = others[i].level;
			return AIC_OK;
		}
	return aic_fail(err, AIC_ECONF,
	    "%s must be error, warn, info or debug, not \"%.40s\"", s->name,
	    value);
}

static enum aic_code
set_format(struct aic_conf *conf, const struct setting *s, const char *value,
    struct aic_err *err)
{
	int i;

	for (i = 0; i < AIC_FORMAT__MAX; i++)
		if (strcmp(value, aic_format_names[i]) == 0) {
			*(enum aic_format *)field_at(conf, s) = i;
			return AIC_OK; /* NOLINT(clang-analyzer-unix.Malloc) */
		}
	return aic_fail(err, AIC_ECONF,
	    "%s must be plain, telegram-html or telegram-rich, not \"%.40s\"",
	    s->name, value);
}

static enum aic_code
set_auth(struct aic_conf *conf, const struct setting *s, const char *value,
    struct aic_err *err)
{
	int i;

	for (i = AIC_PROVIDER_BEARER; i < AIC_PROVIDER_AUTH__MAX; i++)
		if (strcmp(value, aic_provider_auth_names[i]) == 0) {
			*(enum aic_provider_auth *)field_at(conf, s) = i;
			return AIC_OK; /* NOLINT(clang-analyzer-unix.Malloc) */
		}
	/* Do not quote the value, which may be a misplaced key. */
	return aic_fail(err, AIC_ECONF,
	    "%s must be bearer, api-key or gigachat", s->name);
}

static enum aic_code
set_text(struct aic_conf *conf, const struct setting *s, char *value,
    struct aic_err *err)
{
	enum aic_code rc = AIC_OK;
	char *copy;

	switch (s->kind) {
	case KEY:
		rc = aic_value_key(s->name, value, AIC_VALUE_KEY_SENT, err);
		break;
	case KEYS:
		rc = aic_value_key(s->name, value, AIC_VALUE_KEY_TAKEN, err);
		break;
	case URL:
		rc = aic_value_url(s->name, value, err);
		break;
	case BASE_URL:
		rc = aic_value_base_url(s->name, value, err);
		break;
	case PROXY:
		if (!(s->flags & DIRECT) ||
		    strcmp(value, AIC_PROVIDER_DIRECT) != 0)
			rc = aic_value_proxy(s->name, value, err);
		break;
	case PATHS:
		rc = check_paths(s, value, err);
		break;
	case CA:
		rc = aic_value_ca(s->name, value, err);
		break;
	case SCHEMA:
		rc = aic_value_schema(s->name, value, err);
		break;
	case ADDRESSES:
		rc = aic_value_addresses(s->name, value, err);
		break;
	case SITE_FILE:
		rc = aic_value_site_file(s->name, value, err);
		break;
	case ZONE:
		rc = check_zone(s, value, err);
		break;
	default:
		break;
	}
	if (rc)
		return rc;
	if (*value == '\0')
		return aic_fail(err, AIC_ECONF, "%s is empty", s->name);
	/*
	 * Some values are sent in a header, where a line break would start
	 * another header.
	 */
	if (strpbrk(value, "\r\n"))
		return aic_fail(err, AIC_ECONF, "%s contains a line break",
		    s->name);
	copy = strdup(value);
	if (!copy)
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	*(char **)field_at(conf, s) = copy;
	return AIC_OK; /* NOLINT(clang-analyzer-unix.Malloc): conf has it */
}

/*
 * systemd removes the quotes around a value in its EnvironmentFile=, but quotes
 * in a file of a secret, or in an env-file of a container, are part of the
 * value. Callers choose their keys themselves, so these can have quotes.
 */
static bool
is_quoted(const struct setting *s, const char *value)
{
	size_t len = strlen(value);

	return s->kind != KEYS && len >= 2 &&
	    (*value == '"' || *value == '\'') && value[len - 1] == *value;
}

static enum aic_code
load_one(struct aic_conf *conf, const struct setting *s, char *const *env,
    struct aic_err *err)
{
	char value[VALUE_MAX] = "";
	enum aic_code rc;
	bool found;

	rc = find_value(s, env, value, &found, err);
	if (rc)
		return rc;
	if (!found) {
		if (s->flags & MUST)
			return aic_fail(err, AIC_ECONF, "%s is not set",
			    s->name);
		return AIC_OK;
	}
	switch (is_quoted(s, value) ? QUOTED : s->kind) {
	case QUOTED:
		rc = aic_fail(err, AIC_ECONF,
		    "%s is enclosed in quotes, which are part of the value "
		    "here; remove them",
		    s->name);
		break;
	case NUM:
		rc = set_num(conf, s, value, err);
		break;
	case REAL:
		rc = set_real(conf, s, value, err);
		break;
	case LEVEL:
		rc = set_level(conf, s, value, err);
		break;
	case FORMAT:
		rc = set_format(conf, s, value, err);
		break;
	case AUTH:
		rc = set_auth(conf, s, value, err);
		break;
	default:
		rc = set_text(conf, s, value, err);
		break;
	}
	explicit_bzero(value, sizeof(value));
	return rc;
}

bool
aic_conf_is_name(const char *name, size_t n)
{
	static const char file[] = "_FILE";
	size_t i, len;

	for (i = 0; i < N_SETTINGS; i++) {
		len = strlen(table[i].name);
		if (n < len || strncmp(name, table[i].name, len) != 0)
			continue;
		if (n == len ||
		    (table[i].flags & SECRET && n == len + strlen(file) &&
			strncmp(name + len, file, strlen(file)) == 0))
			return true;
	}
	return false;
}

/* Reject an unknown name that begins with AI_CHAT_: it is a typing error. */
static enum aic_code
check_names(char *const *env, struct aic_err *err)
{
	const char *near;
	size_t n;

	for (; *env; env++) {
		n = strcspn(*env, "=");
		if (strncmp(*env, "AI_CHAT_", 8) != 0 ||
		    aic_conf_is_name(*env, n))
			continue;
		near = aic_conf_near(*env, n);
		return aic_fail(err, AIC_ECONF, "%.*s is not a setting%s%s",
		    (int)(n > 64 ? 64 : n), *env,
		    near ? "; the nearest name is " : "", near ? near : "");
	}
	return AIC_OK;
}

/* A key is sent only to the server that it was issued for. */
static enum aic_code
check_fallback(const struct aic_conf *conf, struct aic_err *err)
{
	if (!conf->fallback_base_url || conf->fallback_api_key ||
	    strcmp(conf->fallback_base_url, conf->openai_base_url) == 0)
		return AIC_OK;
	return aic_fail(err, AIC_ECONF,
	    "OPENAI_FALLBACK_BASE_URL requires OPENAI_FALLBACK_API_KEY, "
	    "because OPENAI_API_KEY is not sent to another server");
}

/*
 * SERVER_API_KEY without SERVER_HOST is no error: to switch the API off, an
 * operator only removes SERVER_HOST.
 */
static enum aic_code
check_server(const struct aic_conf *conf, struct aic_err *err)
{
	if (!conf->server_host || conf->server_api_key)
		return AIC_OK;
	return aic_fail(err, AIC_ECONF,
	    "SERVER_HOST requires SERVER_API_KEY, the key of the seller-data "
	    "API (for wb_assist: the value of its API_SECRET_KEY)");
}

static enum aic_code
check_tls(const struct aic_conf *conf, struct aic_err *err)
{
	bool has_key = conf->tls_key != NULL;

	if (has_key != (conf->tls_certificate != NULL))
		return aic_fail(err, AIC_ECONF,
		    "%s is not set, but %s is: TLS requires both",
		    has_key ? "AI_CHAT_TLS_CERTIFICATE" : "AI_CHAT_TLS_KEY",
		    has_key ? "AI_CHAT_TLS_KEY" : "AI_CHAT_TLS_CERTIFICATE");
	return AIC_OK;
}

/* The workers do not use the ports, so they start with equal ones as well. */
static enum aic_code
check_ports(const struct aic_conf *conf, struct aic_err *err)
{
	if (conf->metrics_port != conf->port)
		return AIC_OK;
	return aic_fail(err, AIC_ECONF,
	    "AI_CHAT_METRICS_PORT and AI_CHAT_PORT are both %lld, but the "
	    "metrics need a port of their own",
	    (long long)conf->port);
}

/*
 * Reserving and saving take up to a database timeout each, and sending the
 * response takes AIC_BOUNDS_ANSWER_MS. The rest of the time is for the model,
 * and a call needs at least AIC_RETRY_LEAST_US.
 */
static enum aic_code
check_times(const struct aic_conf *conf, struct aic_err *err)
{
	const long long model = AIC_RETRY_LEAST_US / AIC_MS;
	const long long least = 2 * conf->db_timeout_ms + model +
	    AIC_BOUNDS_ANSWER_MS;

	if (conf->deadline_ms >= least)
		return AIC_OK;
	return aic_fail(err, AIC_ECONF,
	    "AI_CHAT_DEADLINE_MS is %lld, but must be at least %lld = 2 x %lld "
	    "(AI_CHAT_DB_TIMEOUT_MS, to reserve and to save) + %lld (the "
	    "model) + %d (the response)",
	    (long long)conf->deadline_ms, least, (long long)conf->db_timeout_ms,
	    model, AIC_BOUNDS_ANSWER_MS);
}

enum aic_code
aic_conf_load(struct aic_conf *ret_conf, char *const *env, struct aic_err *err)
{
	struct aic_conf conf = { .port = 0 };
	enum aic_code rc;
	size_t i;

	rc = check_names(env, err);
	for (i = 0; !rc && i < N_SETTINGS; i++)
		if (!(table[i].flags & MIGRATE))
			rc = load_one(&conf, &table[i], env, err);
	if (!rc)
		rc = aic_auth_open(&conf.auth, conf.api_keys,
		    conf.api_admin_key, conf.admin_key_names, err);
	if (!rc)
		rc = check_fallback(&conf, err);
	if (!rc)
		rc = check_server(&conf, err);
	if (!rc)
		rc = check_tls(&conf, err);
	if (!rc)
		rc = check_times(&conf, err);
	if (rc) {
		aic_conf_done(&conf);
		return rc;
	}
	*ret_conf = conf;
	return AIC_OK;
}

enum aic_code
aic_conf_load_url(struct aic_conf *ret_conf, char *const *env,
    struct aic_err *err)
{
	struct aic_conf conf = { .port = 0 };
	enum aic_code rc = AIC_OK;
	struct setting row;
	size_t i;

	for (i = 0; !rc && i < N_SETTINGS; i++)
		if (table[i].flags & MIGRATE)
			rc = load_one(&conf, &table[i], env, err);
	for (i = 0; !rc && i < N_SETTINGS; i++) {
		if (table[i].offset != AT(database_url) &&
		    table[i].offset != AT(db_schema))
			continue;
		row = table[i];
		if (conf.migrate_url)
			row.flags &= ~MUST;
		rc = load_one(&conf, &row, env, err);
	}
	if (rc) {
		aic_conf_done(&conf);
		return rc;
	}
	*ret_conf = conf;
	return AIC_OK;
}

enum aic_code
aic_conf_load_site(struct aic_conf *ret_conf, char *const *env,
    struct aic_err *err)
{
	struct aic_conf conf = { .port = 0 };
	enum aic_code rc;
	size_t i;

	rc = check_names(env, err);
	for (i = 0; !rc && i < N_SETTINGS; i++)
		if (table[i].flags & SITE)
			rc = load_one(&conf, &table[i], env, err);
	if (!rc)
		rc = check_tls(&conf, err);
	if (!rc)
		rc = check_ports(&conf, err);
	if (rc) {
		aic_conf_done(&conf);
		return rc;
	}
	*ret_conf = conf;
	return AIC_OK;
}

void
aic_conf_models(const struct aic_conf *conf, struct aic_provider_conf *to)
{
	to[0] = (struct aic_provider_conf){ .base_url = conf->openai_base_url,
		.api_key = conf->openai_api_key,
		.name = conf->openai_model,
		.proxy = conf->openai_proxy,
		.ca_file = conf->openai_ca_file,
		.headers_file = conf->openai_headers_file,
		.extra_body_file = conf->openai_extra_body_file,
		.auth = conf->openai_auth,
		.auth_url = conf->openai_auth_url,
		.auth_scope = conf->openai_auth_scope,
		.prefix = "OPENAI_" };
	to[1] = (struct aic_provider_conf){ .base_url = conf->fallback_base_url,
		.api_key = conf->fallback_api_key,
		.name = conf->fallback_model,
		.proxy = conf->fallback_proxy,
		.ca_file = conf->fallback_ca_file,
		.headers_file = conf->fallback_headers_file,
		.extra_body_file = conf->fallback_extra_body_file,
		.auth = conf->fallback_auth,
		.auth_url = conf->fallback_auth_url,
		.auth_scope = conf->fallback_auth_scope,
		.prefix = "OPENAI_FALLBACK_" };
}

void
aic_conf_done(struct aic_conf *conf)
{
	size_t i;
	char **text;

	for (i = 0; i < N_SETTINGS; i++) {
		if (!is_text(&table[i]))
			continue;
		text = field_at(conf, &table[i]);
		if (*text && table[i].flags & SECRET)
			explicit_bzero(*text, strlen(*text));
		free(*text);
		*text = NULL;
	}
	aic_auth_close(conf->auth);
	conf->auth = NULL;
}
