#include "config.h"

#include "app/ctl/ctl.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app/ctl/ask.h"
#include "app/ctl/change.h"
#include "app/ctl/nginx.h"
#include "app/ctl/service.h"
#include "app/ctl/upstream.h"
#include "lib/clock.h"

/* The intervals of two polls: whether a worker is ready, and whether the
 * service manager still runs the worker. The second is longer, because the
 * service manager is a program to run. */
#define PAUSE_US (20 * AIC_MS)
#define ASK_US (1 * AIC_S)

/* Nginx reads its configuration in a second, and on a busy host in some
 * seconds. */
#define RELOAD_US (30 * AIC_S)

/* A request that an old process of Nginx has accepted ends at the worker's
 * deadline. This margin is for receiving the request and sending the
 * response. */
#define LAST_SPARE_US (15 * AIC_S)

/* The change in progress, and what must be undone if the change fails. */
struct change {
	struct ctl *c;
	int lock;
	struct ctl_workers now;
	struct ctl_upstream old; /* the list before the change */
	bool written; /* the new list was written */
	bool reloaded; /* Nginx has reloaded the new list */
	int started[AIC_METRICS_WORKERS];
	int n_started;
};

static enum aic_code
begin_change(struct change *ch, struct ctl *c, struct aic_err *err)
{
	enum aic_code rc;

	memset(ch, 0, sizeof(*ch));
	ch->c = c;
	ch->lock = -1;
	rc = ctl_change_lock(&c->own, &ch->lock, err);
	ctl_catch_signals();
	if (!rc)
		rc = ctl_service_list(c, &ch->now, err);
	if (!rc)
		rc = ctl_upstream_read(&ch->old, &c->own, err);
	return rc;
}

static void
end_change(struct change *ch)
{
	ctl_upstream_done(&ch->old);
	if (ch->lock >= 0)
		close(ch->lock);
}

/* --- the steps of a change ------------------------------------------------ */

static bool
is_running(const struct ctl_workers *all, int number)
{
	int i = ctl_service_find(all, number);

	return i >= 0 && all->w[i].pid > 0;
}

static enum aic_code
wait_until_ready(struct change *ch, int number, struct aic_err *err)
{
	int64_t until = aic_clock_us() + CTL_READY_S * AIC_S;
	int64_t ask = aic_clock_us() + ASK_US;
	struct ctl_workers now;
	char path[PATH_MAX];
	enum aic_code rc;

	ctl_upstream_socket(&ch->c->own, number, path, sizeof(path));
	while (!ctl_ask_ready(path)) {
		if (ctl_interrupted())
			return aic_fail(err, AIC_EBUSY, "interrupted");
		if (aic_clock_us() >= until)
			return aic_fail(err, AIC_EBUSY,
			    "worker %d is not ready after %d s; see its log",
			    number, CTL_READY_S);
		if (aic_clock_us() >= ask) {
			rc = ctl_service_list(ch->c, &now, err);
			if (rc)
				return rc;
			if (!is_running(&now, number))
				return aic_fail(err, AIC_EBUSY,
				    "worker %d exited after its start; see its "
				    "log",
				    number);
			ask = aic_clock_us() + ASK_US;
		}
		aic_clock_sleep(aic_clock_us() + PAUSE_US);
	}
	return AIC_OK;
}

static enum aic_code
start_worker(struct change *ch, int number, struct aic_err *err)
{
	enum aic_code rc;

	/* A worker that fails to start is recorded as well, because the service
	 * manager can try again. So undo_change() stops the worker. */
	ch->started[ch->n_started++] = number;
	rc = ctl_service_start(ch->c, number, err);
	if (!rc)
		rc = wait_until_ready(ch, number, err);
	if (!rc)
		ctl_say(ch->c, "started worker %d", number);
	return rc;
}

static enum aic_code
stop_worker(struct change *ch, int number, struct aic_err *err)
{
	enum aic_code rc = ctl_service_stop(ch->c, number, err);

	if (!rc) {
		aic_metrics_end(ctl_env_get(&ch->c->env, "AI_CHAT_METRICS_DIR"),
		    number);
		ctl_say(ch->c, "stopped worker %d", number);
	}
	return rc;
}

static enum aic_code
check_nginx_runs(const struct change *ch, struct aic_err *err)
{
	if (ch->now.nginx != 0)
		return AIC_OK;
	return aic_fail(err, AIC_EBUSY,
	    "Nginx is not running, so nothing was changed; start Nginx%s",
	    ch->c->own.hook ? "" : " with: systemctl start nginx");
}

/* Nginx can exit while it reads its configuration, and then has no old process
 * either. */
static enum aic_code
check_nginx_survived(struct change *ch, struct aic_err *err)
{
	struct ctl_workers now;
	enum aic_code rc = ctl_service_list(ch->c, &now, err);

	if (!rc && now.nginx == 0)
		rc = aic_fail(err, AIC_EBUSY,
		    "Nginx has exited during the reload; see its error log");
	return rc;
}

/* Make Nginx read its configuration again, and wait until the old processes
 * accept no new requests. If `ended' is true, wait until the old processes have
 * ended. */
static enum aic_code
reload_nginx(struct change *ch, bool ended, struct aic_err *err)
{
	struct ctl_nginx old;
	enum aic_code rc;

	ctl_nginx_note(&old, ch->now.nginx);
	rc = ctl_service_reload(ch->c, err);
	if (rc)
		return rc;
	if (!ctl_nginx_wait(&old, false, aic_clock_us() + RELOAD_US))
		return aic_fail(err, AIC_EBUSY,
		    "Nginx did not apply the new configuration; see its error "
		    "log");
	rc = check_nginx_survived(ch, err);
	if (rc)
		return rc;
	/* The old processes pass their requests by the old list. A missing
	 * worker costs such a request a second try; several missing workers can
	 * cost the caller the response. */
	if (ended &&
	    !ctl_nginx_wait(&old, true,
		aic_clock_us() + ch->c->conf.deadline_ms * AIC_MS +
		    LAST_SPARE_US))
		ctl_warn("an old Nginx process has not exited; continuing");
	return AIC_OK;
}

static enum aic_code
publish_list(struct change *ch, const int *number, int n, bool ended,
    struct aic_err *err)
{
	enum aic_code rc;

	ch->written = true;
	rc = ctl_upstream_write(&ch->c->own, number, n, err);
	if (!rc)
		rc = ctl_service_test(ch->c, NULL, err);
	if (rc)
		return rc;
	ch->reloaded = true;
	rc = reload_nginx(ch, ended, err);
	if (!rc)
		ctl_say(ch->c,
		    n == 1 ? "Nginx uses %d worker" : "Nginx uses %d workers",
		    n);
	return rc;
}

/* Restore the old list, reload Nginx, and then stop the workers that were
 * started, which the old list does not contain. The cause is printed first,
 * because the same cause can make a step of this function fail. */
static void
undo_change(struct change *ch, const struct aic_err *cause)
{
	struct aic_err err = AIC_ERR_INIT;
	struct ctl_workers now;
	enum aic_code rc = AIC_OK;
	bool failed;

	ctl_warn("%s", cause->detail);
	ch->c->warned = true;
	if (ch->written)
		rc = ctl_upstream_restore(&ch->c->own, &ch->old, &err);
	if (!rc && ch->reloaded)
		rc = ctl_service_list(ch->c, &now, &err);
	/* An Nginx that has exited reads the list when it is started. */
	if (!rc && ch->reloaded && now.nginx != 0)
		rc = reload_nginx(ch, true, &err);
	failed = rc != AIC_OK;
	if (failed)
		ctl_warn("could not undo the change: %s", err.detail);
	while (ch->n_started > 0) {
		ch->n_started--;
		rc = ctl_service_stop(ch->c, ch->started[ch->n_started], &err);
		if (rc)
			ctl_warn("could not undo the change: %s", err.detail);
		failed = failed || rc;
	}
	if (!failed)
		ctl_warn("the change was undone");
}

/* --- scale ---------------------------------------------------------------- */

/* Before any change, check that settings and database allow more workers. */
static enum aic_code
check_more(struct change *ch, int want, struct aic_err *err)
{
	char says[160];
	enum aic_code rc;

	rc = ctl_check_settings(ch->c, err);
	if (!rc)
		rc = ctl_check_connections(ch->c, want, says, err);
	return rc;
}

static int
count_missing(const struct change *ch, int want)
{
	int i, n = 0;

	for (i = 1; i <= want; i++)
		n += !is_running(&ch->now, i);
	return n;
}

static bool
has_surplus(const struct change *ch, int want)
{
	return ch->now.n > 0 && ch->now.w[ch->now.n - 1].number > want;
}

static bool
is_listed(const struct change *ch, int want)
{
	int i;

	if (ch->old.n != want)
		return false;
	for (i = 0; i < want; i++)
		if (ch->old.number[i] != i + 1)
			return false;
	return true;
}

/* A failure up to the end of this function is undone. */
static enum aic_code
add_and_publish(struct change *ch, int want, struct aic_err *err)
{
	int number[AIC_METRICS_WORKERS], i;
	enum aic_code rc = AIC_OK;

	for (i = 1; !rc && i <= want; i++) {
		number[i - 1] = i;
		if (!is_running(&ch->now, i))
			rc = start_worker(ch, i, err);
	}
	if (!rc && ctl_interrupted())
		rc = aic_fail(err, AIC_EBUSY, "interrupted");
	if (!rc && !is_listed(ch, want))
		rc = publish_list(ch, number, want, has_surplus(ch, want), err);
	return rc;
}

static enum aic_code
drain_surplus(struct change *ch, int want, struct aic_err *err)
{
	enum aic_code rc = AIC_OK;
	int i;

	for (i = 0; !rc && i < ch->now.n; i++) {
		if (ch->now.w[i].number <= want)
			continue;
		rc = ctl_service_keep(ch->c, ch->now.w[i].number, false, err);
		if (!rc)
			rc = stop_worker(ch, ch->now.w[i].number, err);
	}
	return rc;
}

static enum aic_code
scale_workers(struct change *ch, int want, struct aic_err *err)
{
	enum aic_code rc = AIC_OK;
	int i;

	if (!is_listed(ch, want))
		rc = check_nginx_runs(ch, err);
	if (!rc && count_missing(ch, want) > 0)
		rc = check_more(ch, want, err);
	if (rc)
		return rc;
	rc = add_and_publish(ch, want, err);
	if (rc) {
		if (ch->n_started > 0 || ch->written)
			undo_change(ch, err);
		return rc;
	}
	for (i = 1; !rc && i <= want; i++)
		rc = ctl_service_keep(ch->c, i, true, err);
	if (!rc)
		rc = drain_surplus(ch, want, err);
	return rc;
}

enum aic_code
ctl_scale(struct ctl *c, struct aic_err *err)
{
	struct change ch;
	enum aic_code rc;
	int64_t want;

	rc = ctl_number("the number of workers", c->arg, 1, AIC_METRICS_WORKERS,
	    &want, err);
	if (rc)
		return rc;
	rc = begin_change(&ch, c, err);
	if (!rc)
		rc = scale_workers(&ch, (int)want, err);
	if (!rc)
		rc = ctl_print_workers(c, err);
	end_change(&ch);
	return rc;
}

/* --- restart -------------------------------------------------------------- */

/* The workers to which Nginx passes requests, and which can answer them: those
 * of its list that run. Returns their number. */
static int
list_serving(const struct change *ch, int number[AIC_METRICS_WORKERS])
{
	int i, n = 0;

	for (i = 0; i < ch->old.n; i++)
		if (is_running(&ch->now, ch->old.number[i]))
			number[n++] = ch->old.number[i];
	return n;
}

static bool
is_serving(const struct change *ch, int number)
{
	return is_running(&ch->now, number) &&
	    ctl_upstream_has(&ch->old, number);
}

/* Restart one worker, or all if `only' is 0. */
static enum aic_code
restart_running(struct change *ch, int only, struct aic_err *err)
{
	enum aic_code rc = AIC_OK;
	int i, number;

	for (i = 0; !rc && i < ch->now.n; i++) {
		number = ch->now.w[i].number;
		if (only != 0 && number != only)
			continue;
		rc = ctl_interrupted() ? aic_fail(err, AIC_EBUSY, "interrupted")
				       : ctl_service_stop(ch->c, number, err);
		if (!rc)
			rc = ctl_service_start(ch->c, number, err);
		if (!rc)
			rc = wait_until_ready(ch, number, err);
		if (!rc)
			ctl_say(ch->c, "restarted worker %d", number);
	}
	if (rc && only == 0 && i < ch->now.n)
		ctl_warn("the remaining workers were not restarted");
	return rc;
}

/* A number that no worker has, and that is not in Nginx's list, because a
 * stopped worker keeps its place in the list. */
static int
find_free_number(const struct change *ch)
{
	int number = 1;

	while (ctl_service_find(&ch->now, number) >= 0 ||
	    ctl_upstream_has(&ch->old, number))
		number++;
	return number;
}

/*
 * Nginx tries two workers of its list for a request, so one missing worker
 * costs no request. While a worker is restarted, all others of the list must
 * therefore run: the stopped ones are removed from the list for that time. A
 * second worker runs in the place of an only one.
 */
static enum aic_code
restart_with_list(struct change *ch, const int *serving, int n, int only,
    struct aic_err *err)
{
	int number[AIC_METRICS_WORKERS + 1];
	int second = n == 1 ? find_free_number(ch) : 0;
	enum aic_code rc = AIC_OK;

	memcpy(number, serving, (size_t)n * sizeof(*number));
	if (second != 0) {
		number[n++] = second;
		rc = start_worker(ch, second, err);
	}
	if (!rc)
		rc = publish_list(ch, number, n, false, err);
	if (rc) {
		undo_change(ch, err);
		return rc;
	}
	rc = restart_running(ch, only, err);
	if (rc && second != 0)
		ctl_warn("worker %d continues to run in its place", second);
	else if (rc)
		ctl_warn("Nginx's list is without the stopped workers; "
			 "ai-chatctl scale N starts and adds them");
	if (!rc)
		rc = publish_list(ch, ch->old.number, ch->old.n, true, err);
	if (!rc && second != 0)
		rc = stop_worker(ch, second, err);
	return rc;
}

/* A worker in Nginx's list that was stopped on purpose: it stays in the list,
 * and only a restart of this worker starts it. */
static enum aic_code
start_stopped(struct change *ch, int only, struct aic_err *err)
{
	enum aic_code rc;
	int i;

	for (i = 0; only == 0 && i < ch->old.n; i++)
		if (ctl_service_find(&ch->now, ch->old.number[i]) < 0)
			ctl_warn("worker %d is in Nginx's list, but was "
				 "stopped; ai-chatctl restart %d starts it",
			    ch->old.number[i], ch->old.number[i]);
	if (only == 0 || ctl_service_find(&ch->now, only) >= 0)
		return AIC_OK;
	if (!ctl_upstream_has(&ch->old, only))
		return aic_fail(err, AIC_EBUSY, "there is no worker %d", only);
	rc = start_worker(ch, only, err);
	if (rc)
		undo_change(ch, err);
	return rc;
}

static enum aic_code
restart_workers(struct change *ch, int only, struct aic_err *err)
{
	int serving[AIC_METRICS_WORKERS], n;
	enum aic_code rc;

	/* First check that a new worker could start, before a running worker is
	 * stopped. */
	rc = ctl_check_settings(ch->c, err);
	if (rc)
		return rc;
	if (ch->now.n == 0 && only == 0)
		return aic_fail(err, AIC_EBUSY,
		    "no worker is running; start workers with ai-chatctl scale "
		    "N");
	rc = start_stopped(ch, only, err);
	if (rc || (only != 0 && ctl_service_find(&ch->now, only) < 0))
		return rc;
	if (ch->now.nginx == 0)
		ctl_warn("Nginx is not running");
	n = list_serving(ch, serving);
	/* Without Nginx, no requests arrive. A worker that does not serve can
	 * be stopped without further measures. */
	if (ch->now.nginx == 0 || n == 0 || (n > 1 && n == ch->old.n) ||
	    (only != 0 && !is_serving(ch, only)))
		return restart_running(ch, only, err);
	return restart_with_list(ch, serving, n, only, err);
}

enum aic_code
ctl_restart(struct ctl *c, struct aic_err *err)
{
	struct change ch;
	enum aic_code rc;
	int64_t only = 0;

	rc = c->arg
	    ? ctl_number("the number of a worker", c->arg, 1, 9999, &only, err)
	    : AIC_OK;
	if (rc)
		return rc;
	rc = begin_change(&ch, c, err);
	if (!rc)
		rc = restart_workers(&ch, (int)only, err);
	if (!rc)
		rc = ctl_print_workers(c, err);
	end_change(&ch);
	return rc;
}

enum aic_code
ctl_reload(struct ctl *c, struct aic_err *err)
{
	struct change ch;
	enum aic_code rc;

	rc = begin_change(&ch, c, err);
	/* The configuration is tested first, because an invalid one can be the
	 * reason why Nginx is not running. */
	if (!rc)
		rc = ctl_service_test(c, NULL, err);
	if (!rc)
		rc = check_nginx_runs(&ch, err);
	if (!rc)
		rc = reload_nginx(&ch, false, err);
	end_change(&ch);
	if (rc)
		return rc;
	ctl_say(c, "Nginx has applied its configuration");
	aic_buf_puts(&c->doc, "{\"reloaded\":true}");
	return AIC_OK;
}
