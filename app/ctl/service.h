/*
 * ctl_service -- the service manager: systemd, or a hook program that is called
 * with the same verbs.
 *
 *   HOOK start N         start worker N; may return before the worker serves
 *   HOOK stop N          drain worker N; return when the worker has ended
 *   HOOK list            print a line "N PID RESTARTS" for each worker, and a
 *                        line "nginx PID" with Nginx's master. PID 0: the
 *                        process is not running. RESTARTS is the number of
 *                        restarts after a crash, and may be omitted.
 *   HOOK test-nginx      test Nginx's configuration and print all of it, as
 *                        nginx -T does
 *   HOOK reload-nginx    make Nginx read its configuration again
 *
 * A verb that fails prints the reason on standard error and exits with a status
 * other than 0.
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
		pid_t pid; /* 0: the worker is not running */
		int restarts; /* after a crash */
	} w[AIC_METRICS_WORKERS]; /* in ascending order of the numbers */
	int n;
	/* The master process of Nginx. 0: Nginx is not running. -1: unknown. */
	pid_t nginx;
};

/* Errors of all functions: AIC_EBUSY, with the text of the service manager, if
 * the verb failed; AIC_ECONF if the service manager cannot be run. Blocks:
 * until the verb ends. */
enum aic_code ctl_service_start(struct ctl *c, int number,
    struct aic_err *err) AIC_MUST_CHECK;
enum aic_code
ctl_service_stop(struct ctl *c, int number, struct aic_err *err) AIC_MUST_CHECK;
enum aic_code ctl_service_list(struct ctl *c, struct ctl_workers *ret,
    struct aic_err *err) AIC_MUST_CHECK;
enum aic_code
ctl_service_reload(struct ctl *c, struct aic_err *err) AIC_MUST_CHECK;

/* ctl_service_test -- test Nginx's configuration. to: NULL, or a buffer that
 * the caller has initialised and that receives the configuration if it is
 * valid. */
enum aic_code ctl_service_test(struct ctl *c, struct aic_buf *to,
    struct aic_err *err) AIC_MUST_CHECK;

/* ctl_service_keep -- set whether the worker starts when the machine boots. A
 * hook program does that by itself. */
enum aic_code ctl_service_keep(struct ctl *c, int number, bool keep,
    struct aic_err *err) AIC_MUST_CHECK;

/* ctl_service_stop_ms -- the time that a worker may take to stop before the
 * service manager kills the worker. -1: unlimited, or unknown. */
enum aic_code ctl_service_stop_ms(struct ctl *c, int number, int64_t *ret_ms,
    struct aic_err *err) AIC_MUST_CHECK;

/* ctl_service_find -- the index of a worker in the list; -1: there is none. */
int ctl_service_find(const struct ctl_workers *all, int number);

#endif
