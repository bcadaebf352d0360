/*
 * Settings: a line is NAME=value of an environment. NAME_FILE=text stands for a
 * file with that text, in which a | is a line break.
 */
#include "config.h"

#include "lib/conf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"

#define LINES_MAX 64
#define FILES_MAX 4

/* A marker inside secrets, which no message may quote. */
#define CANARY "CANARY"

struct env {
	char *all; /* the lines, each ends with a NUL */
	char *line[LINES_MAX + 1];
	char path[FILES_MAX][64]; /* NAME_FILE=/proc/self/fd/N */
	int n_files;
	bool open_canary; /* a setting that is no secret contains it, too */
};

static bool
is_secret(const char *line)
{
	static const char *const names[] = { "API_SECRET_KEY", "API_ADMIN_KEY",
		"DATABASE_URL", "OPENAI_API_KEY", "OPENAI_PROXY",
		"OPENAI_FALLBACK_API_KEY", "OPENAI_FALLBACK_PROXY", "REDIS_URL",
		"SERVER_API_KEY" };
	size_t i, n;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		n = strlen(names[i]);
		if (strncmp(line, names[i], n) == 0 &&
		    (line[n] == '=' || strncmp(line + n, "_FILE=", 6) == 0))
			return true;
	}
	return false;
}

/* Creates each file once and fills it anew for each input. */
static int
fill_file(int i, char *text, size_t len)
{
	static int fds[FILES_MAX] = { -1, -1, -1, -1 };
	size_t k;

	if (fds[i] < 0)
		fds[i] = memfd_create("secret", MFD_CLOEXEC);
	assert(fds[i] >= 0);
	for (k = 0; k < len; k++)
		if (text[k] == '|')
			text[k] = '\n';
	assert(ftruncate(fds[i], 0) == 0);
	assert(pwrite(fds[i], text, len, 0) == (ssize_t)len);
	return fds[i];
}

/*
 * Copies one line of len bytes. A name of a file on the machine itself is left
 * out, because reading that file might never end.
 */
static char *
make_line(struct env *e, char *line, size_t len)
{
	char *eq = memchr(line, '=', len), *text;
	size_t n = eq ? (size_t)(eq - line) : 0;
	int fd, i;

	if (n < 5 || !is_secret(line) || memcmp(eq - 5, "_FILE", 5) != 0)
		return line;
	if (e->n_files == FILES_MAX)
		return NULL;
	i = e->n_files++;
	text = eq + 1;
	fd = fill_file(i, text, len - n - 1);
	snprintf(e->path[i], sizeof(e->path[i]), "%.*s=/proc/self/fd/%d",
	    (int)n, line, fd);
	return e->path[i];
}

static void
make_env(struct env *e, const char *data, size_t len)
{
	char *p, *end;
	int n = 0;

	memset(e, 0, sizeof(*e));
	e->all = malloc(len + 1);
	assert(e->all);
	memcpy(e->all, data, len);
	e->all[len] = '\0';
	for (p = e->all; n < LINES_MAX && p < e->all + len; p = end + 1) {
		end = memchr(p, '\n', (size_t)(e->all + len - p));
		if (!end)
			end = e->all + len;
		*end = '\0';
		if (!is_secret(p) && memmem(p, (size_t)(end - p), CANARY, 6))
			e->open_canary = true;
		e->line[n] = make_line(e, p, (size_t)(end - p));
		n += e->line[n] != NULL;
	}
	e->line[n] = NULL;
}

static void
check_text(const char *s, bool must)
{
	assert(s || !must);
	if (s)
		assert(*s && !strpbrk(s, "\r\n"));
}

static void
check_number(int64_t n, int64_t least, int64_t most)
{
	assert(n >= least && n <= most);
}

static void
check_keys(const char *keys, const char *admin)
{
	const char *end;
	size_t n;

	for (;; keys = end + 1) {
		end = keys + strcspn(keys, ",");
		keys += strspn(keys, " \t");
		assert(keys < end);
		for (n = (size_t)(end - keys); strchr(" \t", keys[n - 1]); n--)
			;
		assert(!admin || strlen(admin) != n ||
		    memcmp(keys, admin, n) != 0);
		if (*end == '\0')
			return;
	}
}

/*
 * The ranges of docs/configuration.md, as far as a value can be outside of
 * them.
 */
static void
check_taken(const struct aic_conf *c)
{
	const char *url = c->openai_base_url;

	check_text(c->api_keys, true);
	check_text(c->api_admin_key, false);
	check_text(c->database_url, true);
	check_text(c->openai_api_key, true);
	check_text(c->openai_base_url, true);
	check_text(c->openai_model, true);
	check_text(c->openai_proxy, false);
	check_text(c->timezone, true);
	check_text(c->prompt_file, true);
	check_keys(c->api_keys, c->api_admin_key);
	assert(strncmp(url, "http://", 7) == 0 ||
	    strncmp(url, "https://", 8) == 0);
	assert(url[strlen(url) - 1] != '/' && !strpbrk(url, " \t?#"));
	assert(*c->db_schema && strlen(c->db_schema) < 64 &&
	    !strpbrk(c->db_schema, "\"'\\ ,;"));
	assert(*c->timezone != '/' && !strpbrk(c->timezone, ". '\"\\;"));

	assert(isfinite(c->openai_temperature));
	assert(c->openai_temperature >= 0 && c->openai_temperature <= 2);
	check_number(c->openai_max_tokens, 1, 1000000);
	check_number(c->port, 1, 65535);
	check_number(c->daily_limit, 0, 1000000);
	check_number(c->context_messages, 0, 50);
	check_number(c->deadline_ms, 1000, 600000);
	check_number(c->threads, 1, 10000);
	check_number(c->db_pool, 1, 1000);
	check_number(c->db_timeout_ms, 100, 5000);
	check_number(c->db_prepare, 0, 1);
	check_number((int64_t)c->log_level, 0, AIC_LOG__MAX - 1);
	assert(c->deadline_ms >= 2 * c->db_timeout_ms + 1000);
}

bool
fuzz_one(const char *data, size_t len)
{
	struct aic_err err = AIC_ERR_INIT;
	struct aic_conf conf = { .port = -1 };
	struct env e;
	bool taken;

	make_env(&e, data, len);
	taken = aic_conf_load(&conf, e.line, &err) == AIC_OK;
	if (taken) {
		check_taken(&conf);
		aic_conf_done(&conf);
	} else {
		assert(conf.port == -1);
		assert(err.code == AIC_ECONF);
		assert(err.detail[0] && !strpbrk(err.detail, "\r\n"));
		assert(e.open_canary || !strstr(err.detail, CANARY));
	}
	free(e.all);
	return taken;
}
