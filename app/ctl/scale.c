#include "config.h"

#include "app/ctl/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "app/ctl/ask.h"
#include "app/ctl/nginx.h"
#include "app/ctl/service.h"
#include "app/ctl/upstream.h"
#include "lib/clock.h"

/* Between two looks whether a worker answers; the service manager, which is a
 * program to run, is asked more rarely. */
#define PAUSE_US (20 * AIC_MS)
#define ASK_US (1 * AIC_S)

/* Nginx reads its configuration in a second, on a busy host in some. */
#define RELOAD_US (30 * AIC_S)

/* A request that an old process of Nginx has taken ends at the worker's deadline;
 * this is for its way in and out. */
#define LAST_SPARE_US (15 * AIC_S)

/* What is being done, and what is to be undone when it fails. */
struct change {
	struct ctl *c;
	int lock;
	struct ctl_workers now;
	struct ctl_upstream old; /* the list as it was */
	bool written; /* there is another list now */
	bool reloaded; /* and Nginx was told */
	int started[AIC_METRICS_WORKERS];
	int n_started;
};

/* Two who change something at once would undo each other's. The kernel lets go of
 * the lock of one that was killed. */
static enum aic_code
take_lock(struct change *ch, struct aic_err *err)
{
	const char *path = ch->c->own.lock;

	ch->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (ch->lock < 0)
		return aic_fail(err, AIC_ECONF, "could not open \"%s\": %s",
		    path, strerror(errno));
	if (flock(ch->lock, LOCK_EX | LOCK_NB) == 0)
		return AIC_OK;
	if (errno == EWOULDBLOCK)
		return aic_fail(err, AIC_EBUSY,
		    "another ai-chatctl is at work; try again when it is done");
	return aic_fail(err, AIC_ECONF, "could not lock \"%s\": %s", path,
	    strerror(errno));
}

static enum aic_code
begin(struct change *ch, struct ctl *c, struct aic_err *err)
{
	enum aic_code rc;

	memset(ch, 0, sizeof(*ch));
	ch->c = c;
	rc = take_lock(ch, err);
	ctl_catch_signals();
	if (!rc)
		rc = ctl_service_list(c, &ch->now, err);
	if (!rc)
		rc = ctl_upstream_read(&ch->old, &c->own, err);
	return rc;
}

static void
end(struct change *ch)
{
	ctl_upstream_done(&ch->old);
	if (ch->lock >= 0)
		close(ch->lock);
}

/* --- single steps ------------------------------------------------------- */

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
			    "worker %d is not ready after %d s; its log says "
			    "why",
			    number, CTL_READY_S);
		if (aic_clock_us() >= ask) {
			rc = ctl_service_list(ch->c, &now, err);
			if (rc)
				return rc;
			if (!is_running(&now, number))
				return aic_fail(err, AIC_EBUSY,
				    "worker %d has ended again; its log says "
				    "why",
				    number);
			ask = aic_clock_us() + ASK_US;
		}
		aic_clock_sleep(aic_clock_us() + PAUSE_US);
	}
	return AIC_OK;
}

static enum aic_code
start(struct change *ch, int number, struct aic_err *err)
{
	enum aic_code rc;

	/* To be stopped even if it does not start: it may be tried again. */
	ch->started[ch->n_started++] = number;
	rc = ctl_service_start(ch->c, number, err);
	if (!rc)
		rc = wait_until_ready(ch, number, err);
	if (!rc)
		ctl_say(ch->c, "started worker %d", number);
	return rc;
}

static enum aic_code
stop(struct change *ch, int number, struct aic_err *err)
{
	enum aic_code rc = ctl_service_stop(ch->c, number, err);

	if (!rc)
		ctl_say(ch->c, "stopped worker %d", number);
	return rc;
}

/* Nginx reads its files again; with `ended', until nobody uses the old ones. */
static enum aic_code
reload(struct change *ch, bool ended, struct aic_err *err)
{
	struct ctl_nginx old;
	enum aic_code rc;

	ctl_nginx_note(&old, ch->now.nginx);
	rc = ctl_service_reload(ch->c, err);
	if (rc)
		return rc;
	if (!ctl_nginx_wait(&old, false, aic_clock_us() + RELOAD_US))
		return aic_fail(err, AIC_EBUSY,
		    "Nginx has not taken its new configuration; its error log "
		    "says why");
	/* What they have taken they hand out by the old list: a worker that is
	 * gone costs them a second try, several cost a caller his answer. */
	if (ended &&
	    !ctl_nginx_wait(&old, true,
		aic_clock_us() + ch->c->conf.deadline_ms * AIC_MS +
		    LAST_SPARE_US))
		ctl_warn("an old process of Nginx does not end; going on");
	return AIC_OK;
}

static enum aic_code
publish(struct change *ch, const int *number, int n, bool ended,
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
	rc = reload(ch, ended, err);
	if (!rc)
		ctl_say(ch->c,
		    n == 1 ? "Nginx has %d worker" : "Nginx has %d workers", n);
	return rc;
}

/* The old list, then Nginx, then the workers that are in it no more. */
static void
undo(struct change *ch)
{
	struct aic_err err = AIC_ERR_INIT;
	enum aic_code rc = AIC_OK;

	if (ch->written)
		rc = ctl_upstream_restore(&ch->c->own, &ch->old, &err);
	if (!rc && ch->reloaded)
		rc = reload(ch, true, &err);
	if (rc)
		ctl_warn("while undoing: %s", err.detail);
	while (ch->n_started > 0) {
		ch->n_started--;
		if (ctl_service_stop(ch->c, ch->started[ch->n_started], &err))
			ctl_warn("while undoing: %s", err.detail);
	}
	ctl_warn("all is as it was before");
}

/* --- scale -------------------------------------------------------------- */

/* Before anything is touched: would more of them work? */
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
missing(const struct change *ch, int want)
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

/* Up to here a failure is undone. */
static enum aic_code
add_and_publish(struct change *ch, int want, struct aic_err *err)
{
	int number[AIC_METRICS_WORKERS], i;
	enum aic_code rc = AIC_OK;

	for (i = 1; !rc && i <= want; i++) {
		number[i - 1] = i;
		if (!is_running(&ch->now, i))
			rc = start(ch, i, err);
	}
	if (!rc && ctl_interrupted())
		rc = aic_fail(err, AIC_EBUSY, "interrupted");
	if (!rc && !is_listed(ch, want))
		rc = publish(ch, number, want, has_surplus(ch, want), err);
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
			rc = stop(ch, ch->now.w[i].number, err);
	}
	return rc;
}

static enum aic_code
scale(struct change *ch, int want, struct aic_err *err)
{
	enum aic_code rc = AIC_OK;
	int i;

	if (missing(ch, want) > 0)
		rc = check_more(ch, want, err);
	if (rc)
		return rc;
	rc = add_and_publish(ch, want, err);
	if (rc) {
		if (ch->n_started > 0 || ch->written)
			undo(ch);
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
	rc = begin(&ch, c, err);
	if (!rc)
		rc = scale(&ch, (int)want, err);
	if (!rc)
		rc = ctl_status(c, err);
	end(&ch);
	return rc;
}

/* --- restart ------------------------------------------------------------ */

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
		ctl_warn("the workers after this one were left as they are");
	return rc;
}

/* One alone has nobody to answer in its place, so another one is there meanwhile. */
static enum aic_code
restart_one(struct change *ch, struct aic_err *err)
{
	int pair[2] = { ch->now.w[0].number, ch->now.w[0].number + 1 };
	enum aic_code rc;

	rc = start(ch, pair[1], err);
	if (!rc)
		rc = publish(ch, pair, 2, false, err);
	if (rc) {
		undo(ch);
		return rc;
	}
	rc = restart_all(ch, err);
	if (rc) {
		ctl_warn("worker %d answers in its place", pair[1]);
		return rc;
	}
	rc = publish(ch, pair, 1, true, err);
	if (!rc)
		rc = stop(ch, pair[1], err);
	return rc;
}

enum aic_code
ctl_restart(struct ctl *c, struct aic_err *err)
{
	struct change ch;
	enum aic_code rc;

	rc = begin(&ch, c, err);
	/* A worker that runs is not stopped for one that would not start. */
	if (!rc)
		rc = ctl_check_settings(c, err);
	if (!rc && ch.now.n == 0)
		rc = aic_fail(err, AIC_EBUSY,
		    "there is no worker; ai-chatctl scale N starts some");
	if (!rc)
		rc = ch.now.n == 1 ? restart_one(&ch, err)
				   : restart_all(&ch, err);
	if (!rc)
		rc = ctl_status(c, err);
	end(&ch);
	return rc;
}

enum aic_code
ctl_reload(struct ctl *c, struct aic_err *err)
{
	struct change ch;
	enum aic_code rc;

	rc = begin(&ch, c, err);
	if (!rc)
		rc = ctl_service_test(c, NULL, err);
	if (!rc)
		rc = reload(&ch, false, err);
	end(&ch);
	if (rc)
		return rc;
	ctl_say(c, "Nginx has taken its configuration");
	aic_buf_puts(&c->doc, "{\"reloaded\":true}");
	return AIC_OK;
}
