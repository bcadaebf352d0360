#include "config.h"

#include "app/ctl/ctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "app/ctl/state.h"
#include "lib/clock.h"
#include "lib/json.h"

/* The columns of the table. With the largest common values a line has 78
 * columns. */
#define ROW "%6s %7s  %-8s  %-9s %5s %9s %10s %7s %8s"

static int64_t
compute_uptime_s(const struct ctl_worker *w)
{
	int64_t s = (int64_t)time(NULL) - w->m.started_s;

	return s > 0 ? s : 0;
}

/* Write a duration in its largest unit: "59s", "5m", "23h", "412d". */
static void
format_uptime(int64_t s, char *to, size_t size)
{
	static const struct {
		int64_t s;
		char unit;
	} units[] = { { 86400, 'd' }, { 3600, 'h' }, { 60, 'm' }, { 1, 's' } };
	int i = 0;

	while (i < 3 && s < units[i].s)
		i++;
	snprintf(to, size, "%lld%c", (long long)(s / units[i].s),
	    units[i].unit);
}

/* The circuit breakers of both models. While that of the primary model is open,
 * the fallback model answers. */
static const char *
breaker_state(const struct ctl_worker *w)
{
	return w->m.now.open[1] ? w->m.now.open[0] ? "both open" : "second open"
	    : w->m.now.open[0]	? "open"
				: "closed";
}

static void
print_worker(struct ctl *c, const struct ctl_worker *w)
{
	char number[12], pid[12] = "-", up[24] = "-", slots[44] = "-";
	char answered[24] = "-", failed[24] = "-", restarts[12] = "-";
	char text[80];
	int i;

	snprintf(number, sizeof(number), "%d", w->number);
	if (w->pid > 0)
		snprintf(pid, sizeof(pid), "%ld", (long)w->pid);
	if (w->counted && w->phase == CTL_RUNNING) {
		format_uptime(compute_uptime_s(w), up, sizeof(up));
		snprintf(slots, sizeof(slots), "%lld/%lld",
		    (long long)w->m.now.slots_used, (long long)w->m.now.slots);
	}
	if (w->counted) {
		snprintf(answered, sizeof(answered), "%lld",
		    (long long)w->m.answered);
		snprintf(failed, sizeof(failed), "%lld",
		    (long long)w->m.failed);
	}
	if (w->managed)
		snprintf(restarts, sizeof(restarts), "%d", w->restarts);
	ctl_say(c, ROW, number, pid, ctl_phase_names[w->phase],
	    w->counted && w->phase == CTL_RUNNING ? w->m.version : "-", up,
	    slots, answered, failed, restarts);
	for (i = CTL_NOT_RUNNING + 1; i < CTL_PROBLEM__MAX; i++) {
		if (!ctl_state_has(w, i))
			continue;
		ctl_state_text(w, i, text, sizeof(text));
		ctl_say(c, "                %s", text);
	}
}

static void
append_problems(struct aic_buf *to, const struct ctl_worker *w)
{
	char text[80];
	int i, n = 0;

	aic_buf_puts(to, ",\"problems\":[");
	for (i = 0; i < CTL_PROBLEM__MAX; i++) {
		if (!ctl_state_has(w, i))
			continue;
		if (n++ > 0)
			aic_buf_putc(to, ',');
		ctl_state_text(w, i, text, sizeof(text));
		aic_json_put_str(to, text);
	}
	aic_buf_putc(to, ']');
}

static void
append_worker(struct aic_buf *to, const struct ctl_state *s,
    const struct ctl_worker *w)
{
	aic_buf_printf(to, "{\"worker\":%d,\"state\":\"%s\"", w->number,
	    ctl_phase_names[w->phase]);
	if (w->pid > 0)
		aic_buf_printf(to, ",\"pid\":%ld", (long)w->pid);
	if (w->managed)
		aic_buf_printf(to, ",\"restarts\":%d", w->restarts);
	if (s->listed)
		aic_buf_printf(to, ",\"listed\":%s",
		    w->listed ? "true" : "false");
	if (w->phase == CTL_RUNNING)
		aic_buf_printf(to, ",\"database\":\"%s\"",
		    w->database ? "up" : "down");
	if (w->counted && w->phase == CTL_RUNNING) {
		aic_buf_puts(to, ",\"version\":");
		aic_json_put_str(to, w->m.version);
		aic_buf_printf(to,
		    ",\"uptime_s\":%lld,\"slots_used\":%lld,\"slots\":%lld,"
		    "\"breaker\":\"%s\",\"age_s\":%lld",
		    (long long)compute_uptime_s(w),
		    (long long)w->m.now.slots_used, (long long)w->m.now.slots,
		    breaker_state(w), (long long)(w->m.age_us / AIC_S));
	}
	if (w->counted)
		aic_buf_printf(to, ",\"answered\":%lld,\"failed\":%lld",
		    (long long)w->m.answered, (long long)w->m.failed);
	append_problems(to, w);
	aic_buf_putc(to, '}');
}

/* Without a source the state is incomplete. */
static void
warn_of(struct ctl *c, const char *why)
{
	if (!*why)
		return;
	ctl_warn("%s", why);
	c->bad = true;
}

/* Print all workers. all: any problem is a bad result; otherwise only a worker
 * that does not run or is not in Nginx's list. */
static enum aic_code
print_workers(struct ctl *c, bool all, struct aic_err *err)
{
	const unsigned least = 1U << CTL_NOT_RUNNING | 1U << CTL_UNLISTED;
	struct ctl_state *s = ctl_state_read(c);
	int i;

	if (!s)
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	warn_of(c, s->managed_why);
	warn_of(c, s->listed_why);
	if (s->n > 0)
		ctl_say(c, ROW, "worker", "pid", "state", "version", "up",
		    "slots", "answered", "failed", "restarts");
	aic_buf_puts(&c->doc, "{\"workers\":[");
	for (i = 0; i < s->n; i++) {
		print_worker(c, &s->w[i]);
		if (i > 0)
			aic_buf_putc(&c->doc, ',');
		append_worker(&c->doc, s, &s->w[i]);
		if (s->w[i].problems & (all ? ~0U : least))
			c->bad = true;
	}
	aic_buf_printf(&c->doc, "]%s}",
	    s->nginx_stopped ? ",\"nginx\":\"stopped\"" : "");
	if (s->n == 0)
		ctl_say(c, "no workers");
	if (s->nginx_stopped)
		ctl_say(c, "Nginx is not running");
	if (s->n == 0 || (all && s->nginx_stopped))
		c->bad = true;
	free(s);
	return AIC_OK;
}

enum aic_code
ctl_status(struct ctl *c, struct aic_err *err)
{
	return print_workers(c, true, err);
}

enum aic_code
ctl_print_workers(struct ctl *c, struct aic_err *err)
{
	return print_workers(c, false, err);
}
