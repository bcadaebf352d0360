#include "config.h"

#include "lib/conf_hints.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/near.h"

/* The directory of the settings on a host of the package. */
#define ETC "/etc/ai-chat"
#define ENV_FILE ETC "/ai-chat.env"
#define CREDENTIALS ETC "/credentials"

#define FILE_SUFFIX "_FILE"

/* --- lists ---------------------------------------------------------------- */

struct list {
	char *to;
	size_t size, n;
	bool full;
};

/* Add "NAME (word OTHER)", or only the name if `other' is NULL. */
static void
add_name(struct list *l, const char *name, size_t len, const char *word,
    const char *other)
{
	int n;

	if (l->full)
		return;
	n = snprintf(l->to + l->n, l->size - l->n, "%s%.*s%s%s%s%s%s",
	    l->n ? ", " : "", (int)(len > AIC_NEAR_MAX ? AIC_NEAR_MAX : len),
	    name, other ? " (" : "", other ? word : "", other ? " " : "",
	    other ? other : "", other ? ")" : "");
	if ((size_t)n < l->size - l->n) {
		l->n += (size_t)n;
		return;
	}
	l->to[l->n] = '\0';
	l->full = true;
}

/* --- variables that are no settings --------------------------------------- */

static const struct {
	const char *name;
	const char *here; /* NULL: no corresponding setting */
} foreign[] = {
	{ "DAILY_LIMIT", "AI_CHAT_DAILY_LIMIT" },
	{ "RAG_USAGE", "AI_CHAT_DAILY_LIMIT" },
	{ "OPENAI_SYSTEM_PROMPT", "AI_CHAT_PROMPT_FILE" },
	{ "OPENAI_TIMEOUT", "AI_CHAT_DEADLINE_MS" },
	{ "OPENAI_MAX_RETRIES", NULL },
	{ "OPENAI_MAX_RETRIES_CONNECTION", NULL },
	{ "OPENAI_RETRY_DELAY_MS", NULL },
	{ "OPENAI_RETRY_DELAY_CONNECTION_MS", NULL },
	{ "OPENAI_RETRY_BACKOFF", NULL },
	{ "COMET_API_KEY", "OPENAI_API_KEY" },
	{ "COMET_TEXT_BASE_URL", "OPENAI_BASE_URL" },
	{ "COMET_TEXT_MODEL", "OPENAI_MODEL" },
	{ "COMET_TEMPERATURE", "OPENAI_TEMPERATURE" },
	{ "COMET_MAX_TOKENS", "OPENAI_MAX_TOKENS" },
};

#define N_FOREIGN (sizeof(foreign) / sizeof(foreign[0]))

static bool
is_foreign(const char *name, size_t n)
{
	size_t i;

	for (i = 0; i < N_FOREIGN; i++)
		if (strlen(foreign[i].name) == n &&
		    strncmp(foreign[i].name, name, n) == 0)
			return true;
	return false;
}

/*
 * A name that begins with OPENAI_ is meant for us or for OpenAI's own library,
 * which this service does not use. Another name can belong to any program, so
 * only one that differs by a single step is reported.
 */
static void
add_mistake(struct list *l, const char *name, size_t n)
{
	const char *near;

	if (strncmp(name, "AI_CHAT_", 8) == 0 || is_foreign(name, n) ||
	    aic_conf_is_name(name, n))
		return;
	near = aic_conf_near(name, n);
	if (strncmp(name, "OPENAI_", 7) == 0 ||
	    (near && aic_near_steps(name, n, near, strlen(near)) == 1))
		add_name(l, name, n, "the nearest is", near);
}

bool
aic_conf_hints_unknown(char *const *env, char *to, size_t size)
{
	struct list l = { .to = to, .size = size };
	size_t i;

	for (i = 0; i < N_FOREIGN; i++)
		if (aic_conf_env(env, foreign[i].name))
			add_name(&l, foreign[i].name, strlen(foreign[i].name),
			    "here", foreign[i].here);
	for (; *env; env++)
		add_mistake(&l, *env, strcspn(*env, "="));
	return l.n > 0;
}

/* --- settings without effect ---------------------------------------------- */

static bool
has_redis(const struct aic_conf *c)
{
	return c->redis_url || c->answer_cache_s == 0;
}

static bool
has_token(const struct aic_conf *c)
{
	return c->openai_auth == AIC_PROVIDER_GIGACHAT;
}

static bool
has_fallback(const struct aic_conf *c)
{
	return c->fallback_api_key || c->fallback_base_url || c->fallback_model;
}

static bool
has_fallback_token(const struct aic_conf *c)
{
	return c->fallback_auth == AIC_PROVIDER_GIGACHAT ||
	    (c->fallback_auth == AIC_PROVIDER_AUTH_UNSET && has_token(c));
}

static bool
has_seller_api(const struct aic_conf *c)
{
	return c->server_host != NULL;
}

static bool
has_breaker(const struct aic_conf *c)
{
	return c->breaker_failures > 0;
}

static bool
has_context(const struct aic_conf *c)
{
	return c->context_messages > 0;
}

static const struct {
	const char *name;
	bool (*has)(const struct aic_conf *c);
	const char *needs;
} dependent[] = {
	{ "AI_CHAT_ANSWER_CACHE_S", has_redis, "REDIS_URL" },
	{ "OPENAI_AUTH_URL", has_token, "OPENAI_AUTH=gigachat" },
	{ "OPENAI_AUTH_SCOPE", has_token, "OPENAI_AUTH=gigachat" },
	{ "OPENAI_FALLBACK_AUTH", has_fallback, "OPENAI_FALLBACK_MODEL" },
	{ "OPENAI_FALLBACK_AUTH_URL", has_fallback_token,
	    "OPENAI_FALLBACK_AUTH=gigachat" },
	{ "OPENAI_FALLBACK_AUTH_SCOPE", has_fallback_token,
	    "OPENAI_FALLBACK_AUTH=gigachat" },
	{ "OPENAI_FALLBACK_PROXY", has_fallback, "OPENAI_FALLBACK_MODEL" },
	{ "OPENAI_FALLBACK_CA_FILE", has_fallback, "OPENAI_FALLBACK_MODEL" },
	{ "OPENAI_FALLBACK_HEADERS_FILE", has_fallback,
	    "OPENAI_FALLBACK_MODEL" },
	{ "OPENAI_FALLBACK_EXTRA_BODY_FILE", has_fallback,
	    "OPENAI_FALLBACK_MODEL" },
	{ "SERVER_API_KEY", has_seller_api, "SERVER_HOST" },
	{ "SERVER_CONTEXT_PATHS", has_seller_api, "SERVER_HOST" },
	{ "AI_CHAT_SERVER_TIMEOUT_MS", has_seller_api, "SERVER_HOST" },
	{ "AI_CHAT_BREAKER_OPEN_MS", has_breaker,
	    "AI_CHAT_BREAKER_FAILURES above 0" },
	{ "AI_CHAT_CONTEXT_CHARS", has_context,
	    "AI_CHAT_CONTEXT_MESSAGES above 0" },
	{ "AI_CHAT_CONTEXT_TTL_S", has_context,
	    "AI_CHAT_CONTEXT_MESSAGES above 0" },
};

bool
aic_conf_hints_idle(const struct aic_conf *conf, char *const *env, char *to,
    size_t size)
{
	struct list l = { .to = to, .size = size };
	const char *value;
	size_t i;

	for (i = 0; i < sizeof(dependent) / sizeof(dependent[0]); i++) {
		value = aic_conf_env(env, dependent[i].name);
		if (value && *value && !dependent[i].has(conf))
			add_name(&l, dependent[i].name,
			    strlen(dependent[i].name), "needs",
			    dependent[i].needs);
	}
	return l.n > 0;
}

/* --- the place of a setting ----------------------------------------------- */

/*
 * Only the units of the package, and ai-chatctl with the settings of the
 * package, set this directory; see ctl_env_load().
 */
const char *
aic_conf_hints_file(char *const *env)
{
	static const char unit[] = "/run/credentials/ai-chat-";
	const char *dir = aic_conf_env(env, "CREDENTIALS_DIRECTORY");

	return dir &&
		(strcmp(dir, CREDENTIALS) == 0 ||
		    strncmp(dir, unit, strlen(unit)) == 0)
	    ? ENV_FILE
	    : NULL;
}

/* A setting as a message names it. */
struct named {
	unsigned n; /* for aic_conf_name() */
	bool known; /* false: the name begins with AI_CHAT_ and is unknown */
	bool file; /* the message is about NAME_FILE itself */
};

static bool
match_name(const char *p, size_t len, struct named *ret)
{
	size_t m;

	*ret = (struct named){ .known = false };
	for (; aic_conf_name(ret->n); ret->n++) {
		m = strlen(aic_conf_name(ret->n));
		if (strncmp(p, aic_conf_name(ret->n), m) != 0)
			continue;
		ret->file = len == m + strlen(FILE_SUFFIX) &&
		    strncmp(p + m, FILE_SUFFIX, strlen(FILE_SUFFIX)) == 0 &&
		    aic_conf_file(ret->n) == AIC_CONF_FILE_SECRET;
		ret->known = ret->file || len == m;
		if (ret->known)
			return true;
	}
	return strncmp(p, "AI_CHAT_", 8) == 0;
}

/* Find the first setting in a message. */
static bool
find_name(const char *text, struct named *ret)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ_"
				      "abcdefghijklmnopqrstuvwxyz0123456789";
	size_t len;

	for (; *text; text += len + strcspn(text + len, letters)) {
		len = strspn(text, letters);
		if (len > 0 && match_name(text, len, ret))
			return true;
	}
	return false;
}

/*
 * The credential of a setting, as the path that an operator changes, and
 * whether it exists. A unit provides an empty line, a file of one byte, for a
 * credential that does not exist.
 */
static bool
find_credential(const struct named *s, char *const *env, char path[128])
{
	const char *name = aic_conf_name(s->n);
	const size_t start = strlen(CREDENTIALS "/");
	size_t len = strlen(name);
	char copy[PATH_MAX], *p;
	struct stat st;

	if (aic_conf_file(s->n) == AIC_CONF_FILE_PATH)
		len -= strlen(FILE_SUFFIX);
	snprintf(path, 128, CREDENTIALS "/%.*s", (int)len, name);
	for (p = path + start; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	snprintf(copy, sizeof(copy), "%s/%s",
	    aic_conf_env(env, "CREDENTIALS_DIRECTORY"), path + start);
	return stat(copy, &st) == 0 && st.st_size >= 2;
}

/* The path in NAME_FILE; NULL: not set. */
static const char *
find_file(const struct named *s, char *const *env)
{
	char name[80];
	const char *path;

	if (!s->known || aic_conf_file(s->n) != AIC_CONF_FILE_SECRET)
		return NULL;
	snprintf(name, sizeof(name), "%s" FILE_SUFFIX, aic_conf_name(s->n));
	path = aic_conf_env(env, name);
	return path && *path ? path : NULL;
}

/* The place of a setting on a host of the package. */
static void
describe_place(const struct named *s, char *const *env, bool both, char *to,
    size_t size)
{
	char credential[128];
	const char *plain;
	bool exists;

	if (!s->known || aic_conf_file(s->n) == AIC_CONF_FILE_NONE) {
		snprintf(to, size, "correct it in " ENV_FILE);
		return;
	}
	exists = find_credential(s, env, credential);
	plain = aic_conf_env(env, aic_conf_name(s->n));
	if (both && exists)
		snprintf(to, size, "they are in " ENV_FILE " and %s",
		    credential);
	else if (exists && !s->file)
		snprintf(to, size, "correct it in %s", credential);
	else if (both || s->file || (plain && *plain))
		snprintf(to, size, "correct it in " ENV_FILE);
	else
		snprintf(to, size, "set it in " ENV_FILE " or %s", credential);
}

void
aic_conf_hints_place(char *text, size_t size, char *const *env)
{
	bool both = strncmp(text, "both ", 5) == 0;
	char place[PATH_MAX + 32];
	size_t n = strlen(text);
	const char *file;
	struct named s;

	if (strstr(text, ETC "/") || !find_name(text, &s))
		return;
	file = s.file || both ? NULL : find_file(&s, env);
	if (file)
		snprintf(place, sizeof(place), "correct it in %s", file);
	else if (aic_conf_hints_file(env))
		describe_place(&s, env, both, place, sizeof(place));
	else
		return;
	snprintf(text + n, size - n, "; %s", place);
}
