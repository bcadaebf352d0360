#include "config.h"

#include "app/ctl/ctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "app/ctl/service.h"
#include "app/ctl/upstream.h"
#include "lib/json.h"
#include "lib/metrics.h"

/* The state of a worker. The state is derived from three sources: the service
 * manager (there is a process), the metrics (the process serves), and Nginx's
 * list (the worker is expected). */
enum state { RUNNING, STARTING, DOWN, DEAD, MISSING, STATES };

static const char *const states[STATES] = {
	[RUNNING] = "running",
	[STARTING] = "starting",
	[DOWN] = "down", /* not running; a restart is due or given up */
	[DEAD] = "dead", /* crashed, and no service manager restarts it */
	[MISSING] = "missing", /* in Nginx's list, but does not exist */
};

struct row {
	int number;
	bool managed, listed, counted;
	pid_t pid;
	int restarts;
	struct aic_metrics_worker m; /* only if counted */
};

struct overview {
	bool managed, listed; /* the source could be read */
	struct row row[3 * AIC_METRICS_WORKERS];
	int n;
};

static struct row *
find_row(struct overview *l, int number)
{
	int i;

	for (i = 0; i < l->n; i++)
		if (l->row[i].number == number)
			return &l->row[i];
	l->row[l->n].number = number;
	return &l->row[l->n++];
}

static int
by_number(const void *a, const void *b)
{
	return ((const struct row *)a)->number -
	    ((const struct row *)b)->number;
}

static void
add_managed(struct overview *l, const struct ctl_workers *all)
{
	struct row *row;
	int i;

	l->managed = true;
	for (i = 0; i < all->n; i++) {
		row = find_row(l, all->w[i].number);
		row->managed = true;
		row->pid = all->w[i].pid;
		row->restarts = all->w[i].restarts;
	}
}

/* A worker that has ended normally is omitted, unless another source has the
 * worker. */
static void
add_counted(struct overview *l, const char *dir)
{
	struct aic_metrics_worker *m = calloc(AIC_METRICS_WORKERS, sizeof(*m));
	struct row *row;
	int i, n = m && dir && *dir ? aic_metrics_read(dir, m) : 0;

	for (i = 0; i < n; i++) {
		row = find_row(l, m[i].number);
		if (m[i].ended && !row->managed && !row->listed) {
			l->n--; /* find_row() has just added this row */
			continue;
		}
		row->counted = true;
		row->m = m[i];
	}
	free(m);
}

static void
collect_rows(struct ctl *c, struct overview *l)
{
	struct aic_err err = AIC_ERR_INIT;
	struct ctl_workers all;
	struct ctl_upstream list;
	int i;

	memset(l, 0, sizeof(*l));
	if (ctl_service_list(c, &all, &err) == AIC_OK)
		add_managed(l, &all);
	else
		ctl_warn("%s", err.detail);
	if (ctl_upstream_read(&list, &c->own, &err) == AIC_OK) {
		l->listed = list.text != NULL;
		for (i = 0; i < list.n; i++)
			find_row(l, list.number[i])->listed = true;
		ctl_upstream_done(&list);
	} else {
		ctl_warn("%s", err.detail);
	}
	add_counted(l, ctl_env_get(&c->env, "AI_CHAT_METRICS_DIR"));
	qsort(l->row, (size_t)l->n, sizeof(l->row[0]), by_number);
}

static enum state
select_state(const struct overview *l, const struct row *row)
{
	if (row->counted && row->m.up && (row->pid > 0 || !l->managed))
		return RUNNING;
	if (row->pid > 0)
		return row->counted ? STARTING : RUNNING;
	if (row->managed)
		return DOWN;
	return row->counted && !row->m.ended ? DEAD : MISSING;
}

static int64_t
compute_uptime_s(const struct row *row)
{
	int64_t s = (int64_t)time(NULL) - row->m.started_s;

	return s > 0 ? s : 0;
}

/* The circuit breakers of both models. While that of the primary model is open,
 * the fallback model answers. */
static const char *
breaker_state(const struct row *row)
{
	return row->m.now.open[1]
	    ? row->m.now.open[0] ? "both open" : "second open"
	    : row->m.now.open[0] ? "open"
				 : "closed";
}

static void
print_row(struct ctl *c, const struct overview *l, const struct row *row)
{
	enum state state = select_state(l, row);
	char pid[24] = "-", live[200] = "", counted[100] = "", managed[32] = "";

	if (row->pid > 0)
		snprintf(pid, sizeof(pid), "%ld", (long)row->pid);
	if (row->counted && state == RUNNING)
		snprintf(live, sizeof(live),
		    " version %s up %lld s slots %lld/%lld", row->m.version,
		    (long long)compute_uptime_s(row),
		    (long long)row->m.now.slots_used,
		    (long long)row->m.now.slots);
	if (row->counted)
		snprintf(counted, sizeof(counted), " answered %lld failed %lld",
		    (long long)row->m.answered, (long long)row->m.failed);
	if (row->managed)
		snprintf(managed, sizeof(managed), " restarts %d",
		    row->restarts);
	ctl_say(c, "worker %d pid %s %s%s%s%s%s%s%s%s", row->number, pid,
	    states[state], live, managed, counted, *live ? " database " : "",
	    *live ? row->m.now.db_up ? "up" : "down" : "",
	    *live ? " breaker " : "", *live ? breaker_state(row) : "");
	if (l->listed && !row->listed)
		ctl_say(c, "  not in Nginx's list");
}

static void
append_row(struct aic_buf *to, const struct overview *l, const struct row *row)
{
	enum state state = select_state(l, row);

	aic_buf_printf(to, "{\"worker\":%d,\"state\":\"%s\"", row->number,
	    states[state]);
	if (row->pid > 0)
		aic_buf_printf(to, ",\"pid\":%ld", (long)row->pid);
	if (row->managed)
		aic_buf_printf(to, ",\"restarts\":%d", row->restarts);
	if (l->listed)
		aic_buf_printf(to, ",\"listed\":%s",
		    row->listed ? "true" : "false");
	if (row->counted && state == RUNNING) {
		aic_buf_puts(to, ",\"version\":");
		aic_json_put_str(to, row->m.version);
		aic_buf_printf(to,
		    ",\"uptime_s\":%lld,\"slots_used\":%lld,\"slots\":%lld,"
		    "\"database\":\"%s\",\"breaker\":\"%s\"",
		    (long long)compute_uptime_s(row),
		    (long long)row->m.now.slots_used,
		    (long long)row->m.now.slots,
		    row->m.now.db_up ? "up" : "down", breaker_state(row));
	}
	if (row->counted)
		aic_buf_printf(to, ",\"answered\":%lld,\"failed\":%lld",
		    (long long)row->m.answered, (long long)row->m.failed);
	aic_buf_putc(to, '}');
}

enum aic_code
ctl_status(struct ctl *c, struct aic_err *err)
{
	struct overview *l = malloc(sizeof(*l));
	int i;

	if (!l)
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	collect_rows(c, l);
	aic_buf_puts(&c->doc, "{\"workers\":[");
	for (i = 0; i < l->n; i++) {
		print_row(c, l, &l->row[i]);
		if (i > 0)
			aic_buf_putc(&c->doc, ',');
		append_row(&c->doc, l, &l->row[i]);
		if (select_state(l, &l->row[i]) != RUNNING ||
		    (l->listed && !l->row[i].listed))
			c->bad = true;
	}
	aic_buf_puts(&c->doc, "]}");
	if (l->n == 0) {
		ctl_say(c, "no workers");
		c->bad = true;
	}
	free(l);
	return AIC_OK;
}
