#include "config.h"

#include "app/ctl/check.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "app/ctl/run.h"
#include "lib/bounds.h"
#include "lib/conf_hints.h"
#include "lib/json.h"

/* The file of a worker has some kilobytes. */
#define METRICS_BYTES 65536

/* --- running our own programs --------------------------------------------- */

/* Extract the text from a line of a worker's log: the value between text=" and
 * the next quote that is not escaped, without the backslashes. */
static void
unwrap_log_line(char *line)
{
	static const char begin[] = "text=";
	char *from = strstr(line, begin), *to = line;

	if (!from)
		return;
	from += strlen(begin);
	if (*from == '"')
		from++;
	for (; *from && *from != '"'; from++) {
		if (*from == '\\' && from[1])
			from++;
		*to++ = *from;
	}
	*to = '\0';
}

static enum aic_code
run_program(struct ctl *c, struct ctl_run *r, const char *name,
    const char *const *args, struct aic_err *err)
{
	char path[PATH_MAX];
	const char *argv[8] = { path };
	int n = 1;

	snprintf(path, sizeof(path), "%s/%s", c->own.bin_dir, name);
	while (*args && n < 7)
		argv[n++] = *args++;
	return ctl_run(r, argv, c->env.v, err);
}

enum aic_code
ctl_check_settings(struct ctl *c, struct aic_err *err)
{
	static const char *const args[] = { "--check", NULL };
	char why[400];
	enum aic_code rc;
	struct ctl_run r;

	rc = run_program(c, &r, "ai-chat-worker", args, err);
	if (!rc && r.status != 0) {
		ctl_run_why(&r, "event=start", why, sizeof(why));
		unwrap_log_line(why);
		rc = aic_fail(err, r.status == 2 ? AIC_ECONF : AIC_EDB, "%s",
		    why);
	}
	ctl_run_done(&r);
	return rc;
}

enum aic_code
ctl_migrate(struct ctl *c, struct aic_err *err)
{
	const char *const args[] = { "--dir", c->own.sql_dir, NULL };
	char why[300];
	enum aic_code rc;
	struct ctl_run r;
	char *p, *end;
	int n = 0;

	rc = run_program(c, &r, "ai-chat-migrate", args, err);
	if (!rc && r.status != 0) {
		ctl_run_why(&r, "ai-chat-migrate: ", why, sizeof(why));
		rc = aic_fail(err, r.status == 2 ? AIC_ECONF : AIC_EDB, "%s",
		    why);
	}
	aic_buf_puts(&c->doc, rc ? "" : "{\"applied\":[");
	for (p = rc || r.out.len == 0 ? NULL : r.out.data; p && *p; p = end) {
		end = p + strcspn(p, "\n");
		if (*end)
			*end++ = '\0';
		ctl_say(c, "%s", p);
		if (n++ > 0)
			aic_buf_putc(&c->doc, ',');
		aic_json_put_str(&c->doc,
		    strncmp(p, "applied ", 8) == 0 ? p + 8 : p);
	}
	aic_buf_puts(&c->doc, rc ? "" : "]}");
	if (!rc && n == 0)
		ctl_say(c, "the database is up to date");
	ctl_run_done(&r);
	return rc;
}

/* --- the single checks ---------------------------------------------------- */

void
check_report(struct check *k, const char *what, bool ok, const char *fmt, ...)
{
	struct ctl *c = k->c;
	char says[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(says, sizeof(says), fmt, ap);
	va_end(ap);
	if (!ok)
		aic_conf_hints_place(says, sizeof(says), c->env.v);
	ctl_say(c, "%-5s  %s: %s", ok ? "ok" : "wrong", what, says);
	if (k->n++ > 0)
		aic_buf_putc(&c->doc, ',');
	aic_buf_printf(&c->doc, "{\"check\":\"%s\",\"ok\":%s,\"says\":", what,
	    ok ? "true" : "false");
	aic_json_put_str(&c->doc, says);
	aic_buf_putc(&c->doc, '}');
	if (!ok)
		c->bad = true;
}

/* Let a worker check settings and database. The other checks of the database
 * need the settings. False: c->conf is not valid. *ret_db: the database is
 * usable. */
static bool
check_settings(struct check *k, bool *ret_db)
{
	struct aic_err err = AIC_ERR_INIT;
	enum aic_code rc = ctl_check_settings(k->c, &err);

	*ret_db = !rc;
	/* The setting of this line may be the one that is missing. */
	if (*k->c->env.ignored)
		check_report(k, "settings", false, "%s", k->c->env.ignored);
	if (rc && rc != AIC_EDB) {
		check_report(k, "settings", false, "%s", err.detail);
		return false;
	}
	if (!*k->c->env.ignored)
		check_report(k, "settings", true, "valid");
	check_report(k, "database", !rc, "%s", rc ? err.detail : "usable");
	/* The worker has accepted the same settings. */
	return aic_conf_load(&k->c->conf, k->c->env.v, &err) == AIC_OK;
}

static void
check_schema(struct check *k)
{
	const char *const args[] = { "--dir", k->c->own.sql_dir, "--status",
		NULL };
	struct aic_err err = AIC_ERR_INIT;
	char why[300];
	enum aic_code rc;
	struct ctl_run r;

	rc = run_program(k->c, &r, "ai-chat-migrate", args, &err);
	if (rc) {
		check_report(k, "schema", false, "%s", err.detail);
	} else if (r.status == 0) {
		check_report(k, "schema", true, "all migrations are applied");
	} else if (r.status == 3) {
		check_report(k, "schema", false,
		    "migrations are pending: run ai-chatctl migrate");
	} else {
		ctl_run_why(&r, "ai-chat-migrate: ", why, sizeof(why));
		check_report(k, "schema", false, "%s", why);
	}
	ctl_run_done(&r);
}

/* The drain of a worker can last as long as the deadline of a request. */
static void
check_stop_timeout(struct check *k)
{
	long long need = (long long)k->c->conf.deadline_ms +
	    AIC_BOUNDS_DRAIN_SPARE_MS;
	struct aic_err err = AIC_ERR_INIT;
	int number = k->state->n > 0 ? k->state->w[0].number : 1;
	int64_t ms;

	if (ctl_service_stop_ms(k->c, number, &ms, &err))
		check_report(k, "stop", false, "%s", err.detail);
	else if (ms >= 0)
		check_report(k, "stop", ms > need,
		    "TimeoutStopSec (%lld ms) is %s than AI_CHAT_DEADLINE_MS "
		    "plus %d (%lld ms)",
		    (long long)ms, ms > need ? "greater" : "not greater",
		    AIC_BOUNDS_DRAIN_SPARE_MS, need);
}

/* Workers export their metrics there, and other workers and ai-chatctl read
 * them. A worker that cannot create its file exports nothing. */
static void
check_metrics_dir(struct check *k)
{
	const char *dir = k->c->conf.metrics_dir;
	struct statvfs fs;
	uint64_t bytes;

	if (!dir || statvfs(dir, &fs) != 0)
		return;
	bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (bytes < METRICS_BYTES || (fs.f_files > 0 && fs.f_favail == 0))
		check_report(k, "metrics", false,
		    "the volume of AI_CHAT_METRICS_DIR, %s, is full", dir);
	else
		check_report(k, "metrics", true, "%s has room", dir);
}

/* The checks that the problems of a worker belong to. */
static const char *
name_check(enum ctl_problem problem)
{
	switch (problem) {
	case CTL_SAVES_OPEN:
	case CTL_PRIMARY_OPEN:
	case CTL_FALLBACK_OPEN:
	case CTL_REDIS_OPEN:
	case CTL_SELLER_OPEN:
		return "breakers";
	default:
		return "workers";
	}
}

static void
report_worker(struct check *k, const struct ctl_worker *w, bool *ret_workers,
    bool *ret_breakers)
{
	const char *what;
	char text[80];
	int i;

	for (i = 0; i < CTL_PROBLEM__MAX; i++) {
		if (!ctl_state_has(w, i))
			continue;
		what = name_check(i);
		ctl_state_text(w, i, text, sizeof(text));
		check_report(k, what, false, "worker %d: %s", w->number, text);
		*(*what == 'b' ? ret_breakers : ret_workers) = false;
	}
	if (w->counted && w->m.up &&
	    strncmp(w->m.version, PACKAGE_VERSION, sizeof(w->m.version) - 1) !=
		0) {
		check_report(k, "workers", false,
		    "worker %d runs version %s, but %s is installed: run "
		    "ai-chatctl restart",
		    w->number, w->m.version, PACKAGE_VERSION);
		*ret_workers = false;
	}
}

/* The state of each worker, as status shows it. */
static void
check_workers(struct check *k)
{
	bool workers = true, breakers = true;
	int i, listed = 0, running = 0;

	if (k->state->managed_why[0])
		check_report(k, "workers", false, "%s", k->state->managed_why);
	if (k->state->listed_why[0])
		check_report(k, "workers", false, "%s", k->state->listed_why);
	for (i = 0; i < k->state->n; i++) {
		listed += k->state->w[i].listed;
		running += k->state->w[i].phase == CTL_RUNNING;
		report_worker(k, &k->state->w[i], &workers, &breakers);
	}
	if (listed == 0 && !k->state->listed_why[0])
		check_report(k, "workers", false,
		    "Nginx's list has no workers: run ai-chatctl scale N");
	else if (listed > 0 && workers && !k->state->managed_why[0])
		check_report(k, "workers", true,
		    "%d in Nginx's list, all of them ready", listed);
	if (breakers && running > 0)
		check_report(k, "breakers", true,
		    "all circuit breakers are closed");
}

static void
check_with_conf(struct check *k, bool db_usable)
{
	check_connections(k, !db_usable);
	if (k->has_db) {
		check_schema(k);
		check_durability(k);
		check_search_path(k);
		check_disk(k);
	}
	check_redis(k);
	check_models(k);
	check_seller_api(k);
}

enum aic_code
ctl_check(struct ctl *c, struct aic_err *err)
{
	struct ctl_state *state = ctl_state_read(c);
	struct check k = { .c = c, .state = state };
	bool valid, db_usable;

	if (!state)
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	aic_buf_puts(&c->doc, "{\"checks\":[");
	valid = check_settings(&k, &db_usable);
	if (valid)
		check_with_conf(&k, db_usable);
	check_nginx(&k, !valid);
	if (valid) {
		check_stop_timeout(&k);
		check_metrics_dir(&k);
	}
	check_workers(&k);
	aic_buf_printf(&c->doc, "],\"ok\":%s}", c->bad ? "false" : "true");
	free(state);
	return AIC_OK;
}
