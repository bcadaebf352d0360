/*
 * ctl_service -- the service manager, as far as ai-chatctl needs one: systemd, or a
 * hook program that is called with the same verbs.
 *
 *   HOOK start N         start worker N; it may come back before the worker serves
 *   HOOK stop N          drain it; come back when it has ended
 *   HOOK list            a line "N PID RESTARTS" for each worker that there is (PID
 *                        0: it does not run just now; how often it had to be
 *                        started again, which may be left out), and "nginx PID" of
 *                        Nginx's master
 *   HOOK test-nginx      test Nginx's configuration and print all of it, as nginx -T
 *   HOOK reload-nginx    have Nginx read it again
 *
 * Each says why on standard error, and exits with another status than 0, when it
 * could not.
 */
#ifndef CTL_SERVICE_H
#define CTL_SERVICE_H

#include <stdbool.h>
#include <sys/types.h>

#include "app/ctl/ctl.h"
#include "lib/buf.h"
#include "lib/metrics.h"

struct ctl_workers {
	struct {
		int number;
		pid_t pid; /* 0: it does not run just now */
		int restarts; /* because it had died */
	} w[AIC_METRICS_WORKERS]; /* in the order of their numbers */
	int n;
	pid_t nginx; /* its master; 0: not known */
};

/* Errors of all: AIC_EBUSY  it was not done, with the manager's words; AIC_ECONF
 * the manager itself cannot be run. Blocks: as long as it takes. */
enum aic_code ctl_service_start(struct ctl *c, int number,
    struct aic_err *err) AIC_MUST_CHECK;
enum aic_code
ctl_service_stop(struct ctl *c, int number, struct aic_err *err) AIC_MUST_CHECK;
enum aic_code ctl_service_list(struct ctl *c, struct ctl_workers *ret,
    struct aic_err *err) AIC_MUST_CHECK;
enum aic_code
ctl_service_reload(struct ctl *c, struct aic_err *err) AIC_MUST_CHECK;

/* ctl_service_test -- to: NULL, or what the whole configuration is, when it is
 * valid; initialised by the caller. */
enum aic_code ctl_service_test(struct ctl *c, struct aic_buf *to,
    struct aic_err *err) AIC_MUST_CHECK;

/* ctl_service_keep -- whether it is to be there after the machine was started
 * again. With a hook that is the hook's own affair. */
enum aic_code ctl_service_keep(struct ctl *c, int number, bool keep,
    struct aic_err *err) AIC_MUST_CHECK;

/* ctl_service_stop_ms -- how long one may take to stop before it is killed.
 * -1: for ever, or not known. */
enum aic_code ctl_service_stop_ms(struct ctl *c, int number, int64_t *ret_ms,
    struct aic_err *err) AIC_MUST_CHECK;

/* ctl_service_find -- its place in the list; -1: there is none. */
int ctl_service_find(const struct ctl_workers *all, int number);

#endif
