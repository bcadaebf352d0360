/*
 * ctl_upstream -- Nginx's list of the workers of this machine: a file with one
 * line for each worker, which only ai-chatctl writes.
 */
#ifndef CTL_UPSTREAM_H
#define CTL_UPSTREAM_H

#include <stdbool.h>

#include "app/ctl/env.h"
#include "lib/err.h"
#include "lib/metrics.h"

struct ctl_upstream {
	int number[AIC_METRICS_WORKERS]; /* in the order of the lines */
	int n;
	char *text; /* the content of the file; NULL: there was no file */
};

/*
 * ctl_upstream_read -- read the list.
 *
 * Errors:   AIC_ECONF  the file cannot be read, or has a line that ai-chatctl
 *                      has not written, and that the next write would lose;
 *           AIC_ENOMEM
 * Memory:   gives; ctl_upstream_done()
 */
enum aic_code ctl_upstream_read(struct ctl_upstream *ret,
    const struct ctl_conf *conf, struct aic_err *err) AIC_MUST_CHECK;
void ctl_upstream_done(struct ctl_upstream *list);

/* ctl_upstream_has -- true if the worker is in the list. */
bool ctl_upstream_has(const struct ctl_upstream *list, int number);

/*
 * ctl_upstream_write -- write a list of these workers. The write is atomic and
 * durable; if it fails, the old file remains.
 *
 * Errors:   AIC_ECONF
 */
enum aic_code ctl_upstream_write(const struct ctl_conf *conf, const int *number,
    int n, struct aic_err *err) AIC_MUST_CHECK;

/* ctl_upstream_restore -- write the list that was read. Errors: AIC_ECONF. */
enum aic_code ctl_upstream_restore(const struct ctl_conf *conf,
    const struct ctl_upstream *list, struct aic_err *err) AIC_MUST_CHECK;

/* ctl_upstream_socket -- the path of a worker's socket. */
void ctl_upstream_socket(const struct ctl_conf *conf, int number, char *to,
    size_t size);

#endif
