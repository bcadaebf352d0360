#include "config.h"

#include "app/ctl/upstream.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/ctl/change.h"
#include "lib/buf.h"
#include "lib/file.h"

/* As in nginx/ai-chat-upstream.conf.in; a test compares the two. */
#define BEFORE "server unix:"
#define AFTER " max_fails=0;"

/* A line contains the path of a socket, which has 107 bytes at most. */
#define FILE_MAX (AIC_METRICS_WORKERS * 256)

void
ctl_upstream_socket(const struct ctl_conf *conf, int number, char *to,
    size_t size)
{
	const char *mark = strstr(conf->socket, CTL_NUMBER);

	snprintf(to, size, "%.*s%d%s", (int)(mark - conf->socket), conf->socket,
	    number, mark + strlen(CTL_NUMBER));
}

static void
put_line(struct aic_buf *to, const struct ctl_conf *conf, int number)
{
	char path[PATH_MAX];

	ctl_upstream_socket(conf, number, path, sizeof(path));
	aic_buf_printf(to, BEFORE "%s" AFTER "\n", path);
}

/* The number of the worker whose line this is; 0: none. */
static int
parse_line(const struct ctl_conf *conf, const char *line, size_t n)
{
	size_t at = strlen(BEFORE) +
	    (size_t)(strstr(conf->socket, CTL_NUMBER) - conf->socket);
	struct aic_buf want;
	int number;
	bool same;

	if (n <= at)
		return 0;
	number = (int)strtol(line + at, NULL, 10);
	if (number < 1 || number > 9999)
		return 0;
	aic_buf_init(&want, PATH_MAX + 64);
	put_line(&want, conf, number);
	same = !want.failed && want.len == n + 1 &&
	    memcmp(want.data, line, n) == 0;
	aic_buf_done(&want);
	return same ? number : 0;
}

static enum aic_code
parse_list(struct ctl_upstream *list, const struct ctl_conf *conf,
    struct aic_err *err)
{
	const char *p = list->text;
	int line, number;
	size_t n;

	for (line = 1; *p; line++, p += n, p += *p == '\n') {
		n = strcspn(p, "\n");
		if (n == 0 || *p == '#')
			continue;
		number = parse_line(conf, p, n);
		if (number == 0)
			return aic_fail(err, AIC_ECONF,
			    "line %d of \"%s\" was not written by "
			    "ai-chatctl: %.*s",
			    line, conf->upstream, n > 80 ? 80 : (int)n, p);
		if (list->n < AIC_METRICS_WORKERS)
			list->number[list->n++] = number;
	}
	return AIC_OK;
}

enum aic_code
ctl_upstream_read(struct ctl_upstream *ret, const struct ctl_conf *conf,
    struct aic_err *err)
{
	enum aic_code rc;
	size_t len = 0;

	memset(ret, 0, sizeof(*ret));
	if (access(conf->upstream, F_OK) != 0 && errno == ENOENT)
		return AIC_OK;
	rc = aic_file_read_any("list of workers", conf->upstream, FILE_MAX,
	    &ret->text, &len, err);
	if (!rc && strlen(ret->text) != len)
		rc = aic_fail(err, AIC_ECONF,
		    "list of workers \"%s\" has a NUL byte", conf->upstream);
	if (!rc)
		rc = parse_list(ret, conf, err);
	if (rc)
		ctl_upstream_done(ret);
	return rc;
}

void
ctl_upstream_done(struct ctl_upstream *list)
{
	free(list->text);
	list->text = NULL;
}

bool
ctl_upstream_has(const struct ctl_upstream *list, int number)
{
	int i;

	for (i = 0; i < list->n; i++)
		if (list->number[i] == number)
			return true;
	return false;
}

/* --- writing the list ----------------------------------------------------- */

enum aic_code
ctl_upstream_write(const struct ctl_conf *conf, const int *number, int n,
    struct aic_err *err)
{
	struct aic_buf text;
	enum aic_code rc;
	int i;

	aic_buf_init(&text, FILE_MAX);
	for (i = 0; i < n; i++)
		put_line(&text, conf, number[i]);
	rc = text.failed || text.len == 0
	    ? aic_fail(err, AIC_ECONF, "a list of %d workers is too large", n)
	    : ctl_change_file(conf->upstream, text.data, err);
	aic_buf_done(&text);
	return rc;
}

enum aic_code
ctl_upstream_restore(const struct ctl_conf *conf,
    const struct ctl_upstream *list, struct aic_err *err)
{
	if (list->text)
		return ctl_change_file(conf->upstream, list->text, err);
	return ctl_change_remove(conf->upstream, err);
}
