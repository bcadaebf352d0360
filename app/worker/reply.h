/*
 * reply -- the table that maps an error code to status, headers and body.
 */
#ifndef REPLY_H
#define REPLY_H

#include <stdbool.h>

#include "app/worker/request.h"
#include "lib/err.h"

/*
 * reply_send -- send the output of a handler, or the error of a failed one.
 *
 * rq        rq->status is set to the status that was sent
 *
 * False: the response was not sent completely.
 */
bool
reply_send(struct request *rq, enum aic_code rc, const struct aic_err *err);

#endif
