/*
 * route -- the order of the steps of every request: API key, endpoint, slot,
 * body, handler, response, log line, deferred work. The endpoints are in api.c.
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

#endif
