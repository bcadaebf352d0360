/*
 * reply -- from a verdict to status, headers and body: one table.
 */
#ifndef REPLY_H
#define REPLY_H

#include <stdbool.h>

#include "app/worker/request.h"
#include "lib/err.h"

/*
 * reply_send -- send what a handler has written, or what its failure means.
 *
 * rq        rq->status is set to what was sent
 *
 * False means that the answer did not get out whole.
 */
bool
reply_send(struct request *rq, enum aic_code rc, const struct aic_err *err);

#endif
