/*
 * reply -- the table that maps an error code to status, headers and body.
 */
#ifndef REPLY_H
#define REPLY_H

#include <stdbool.h>

#include "app/worker/request.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/shape.h"

/*
 * reply_send -- send the output of a handler, or the error of a failed one.
 *
 * rq        rq->status is set to the status that was sent
 *
 * False: the response was not sent completely.
 */
bool
reply_send(struct request *rq, enum aic_code rc, const struct aic_err *err);

/* reply_status -- the status of an error. */
int reply_status(enum aic_code rc);

/* reply_about -- when the error occurs, for the document; static. */
const char *reply_about(enum aic_code rc);

/* reply_shape -- the body of an error. */
const struct aic_shape *reply_shape(enum aic_code rc);

/* The body of the 5xx and the 429 that Nginx generates. */
extern const struct aic_shape reply_refusal_shape;

/*
 * reply_example -- write the body of an error, with the code that writes the
 * real one, and with sample values.
 *
 * says      err->says of the real error; NULL: a sample
 */
void reply_example(struct aic_buf *out, enum aic_code rc, const char *says);

#endif
