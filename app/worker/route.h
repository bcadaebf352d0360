/*
 * route -- the table of routes: method and path to handler.
 *
 * This module also has the order of the steps of every request: API key, route,
 * slot, body, handler, response, log line, deferred work.
 */
#ifndef ROUTE_H
#define ROUTE_H

#include "app/worker/request.h"

/*
 * route_run -- answer one accepted request and log it.
 *
 * rq        worker, fcgi, in and start_us are set; body and out are
 *           initialised, and the caller keeps them for the next request
 */
void route_run(struct request *rq);

/* route_names -- the paths of all routes, which are the labels of the metrics;
 * static. */
const char *const *route_names(int *ret_n);

#endif
