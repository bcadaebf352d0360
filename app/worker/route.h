/*
 * route -- the table of routes: from method and path to a handler.
 *
 * It also holds the order of what every request goes through: API key, route, slot, body,
 * handler, response, log line, deferred work.
 */
#ifndef ROUTE_H
#define ROUTE_H

#include "app/worker/request.h"

/*
 * route_run -- answer one accepted request and log it.
 *
 * rq        worker, fcgi, in and start_us are set; body and out are initialised, and
 *           kept by the caller for the next request
 */
void route_run(struct request *rq);

/* route_names -- of all routes, as the metrics label them; static. */
const char *const *route_names(int *ret_n);

#endif
