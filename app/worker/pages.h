/*
 * pages -- the static pages: the worker decides whether a page exists, and
 * Nginx sends the file (X-Accel-Redirect to the location /.pages/).
 */
#ifndef PAGES_H
#define PAGES_H

#include "app/worker/request.h"

/* pages_get -- the file of a path. Errors: AIC_ENOROUTE. */
enum aic_code pages_get(struct request *rq, struct aic_err *err);

#endif
