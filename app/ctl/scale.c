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

	if (!rc)
		ctl_say(ch->c, "stopped worker %d", number);
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
 * started, which the old list does not contain. */
static void
undo_change(struct change *ch)
{
	struct aic_err err = AIC_ERR_INIT;
	enum aic_code rc = AIC_OK;
	bool failed;

	if (ch->written)
		rc = ctl_upstream_restore(&ch->c->own, &ch->old, &err);
	if (!rc && ch->reloaded)
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

	if (count_missing(ch, want) > 0)
		rc = check_more(ch, want, err);
	if (rc)
		return rc;
	rc = add_and_publish(ch, want, err);
	if (rc) {
		if (ch->n_started > 0 || ch->written)
			undo_change(ch);
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
		rc = ctl_status(c, err);
	end_change(&ch);
	return rc;
}

/* --- restart -------------------------------------------------------------- */

static enum aic_code
restart_all(struct change *ch, struct aic_err *err)
{
	enum aic_code rc = AIC_OK;
	int i, number;

	for (i = 0; !rc && i < ch->now.n; i++) {
		number = ch->now.w[i].number;
		rc = ctl_interrupted() ? aic_fail(err, AIC_EBUSY, "interrupted")
				       : ctl_service_stop(ch->c, number, err);
		if (!rc)
			rc = ctl_service_start(ch->c, number, err);
		if (!rc)
			rc = wait_until_ready(ch, number, err);
		if (!rc)
			ctl_say(ch->c, "restarted worker %d", number);
	}
	if (rc && i < ch->now.n)
		ctl_warn("the remaining workers were not restarted");
	return rc;
}

/* A single worker has no other worker to answer in its place, so a second
 * worker runs during the restart. */
static enum aic_code
restart_one(struct change *ch, struct aic_err *err)
{
	int pair[2] = { ch->now.w[0].number, ch->now.w[0].number + 1 };
	enum aic_code rc;

	rc = start_worker(ch, pair[1], err);
	if (!rc)
		rc = publish_list(ch, pair, 2, false, err);
	if (rc) {
		undo_change(ch);
		return rc;
	}
	rc = restart_all(ch, err);
	if (rc) {
		ctl_warn("worker %d continues to run in its place", pair[1]);
		return rc;
	}
	rc = publish_list(ch, pair, 1, true, err);
	if (!rc)
		rc = stop_worker(ch, pair[1], err);
	return rc;
}

enum aic_code
ctl_restart(struct ctl *c, struct aic_err *err)
{
	struct change ch;
	enum aic_code rc;

	rc = begin_change(&ch, c, err);
	/* First check that a new worker could start, before a running worker is
	 * stopped. */
	if (!rc)
		rc = ctl_check_settings(c, err);
	if (!rc && ch.now.n == 0)
		rc = aic_fail(err, AIC_EBUSY,
		    "no worker is running; start workers with ai-chatctl scale "
		    "N");
	if (!rc)
		rc = ch.now.n == 1 ? restart_one(&ch, err)
				   : restart_all(&ch, err);
	if (!rc)
		rc = ctl_status(c, err);
	end_change(&ch);
	return rc;
}

enum aic_code
ctl_reload(struct ctl *c, struct aic_err *err)
{
	struct change ch;
	enum aic_code rc;

	rc = begin_change(&ch, c, err);
	if (!rc)
		rc = ctl_service_test(c, NULL, err);
	if (!rc)
		rc = reload_nginx(&ch, false, err);
	end_change(&ch);
	if (rc)
		return rc;
	ctl_say(c, "Nginx has applied its configuration");
	aic_buf_puts(&c->doc, "{\"reloaded\":true}");
	return AIC_OK;
}
