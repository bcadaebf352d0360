/*
 * traceparent -- the W3C Trace Context of a request: read the caller's headers,
 * and make those of the calls that the request causes.
 *
 * A request with a valid traceparent is a span of the caller's trace, with an
 * id of its own. The calls of the request name this span as their parent, so
 * that all of them are below it in the trace. A request without a valid
 * traceparent has no trace: the worker exports no spans, so a trace that begins
 * here would have no reader.
 *
 * Threads: each request has its own struct.
 */
#ifndef AIC_TRACEPARENT_H
#define AIC_TRACEPARENT_H

#include <stdbool.h>

#include "lib/id.h"

#define AIC_TRACEPARENT_TRACE_SIZE 33 /* 32 hexadecimal digits and a NUL */

/* "traceparent: 00-" TRACE "-" SPAN "-" FLAGS and a NUL */
#define AIC_TRACEPARENT_LINE_SIZE 72

/*
 * The longest tracestate that is passed on. The standard demands 512
 * characters, and the limit of the largest providers for all headers of a
 * request is 8 KiB.
 */
#define AIC_TRACEPARENT_STATE_MAX 512

/* Zeroed: no trace. Not to be moved, because `headers' points into it. */
struct aic_traceparent {
	char trace_id[AIC_TRACEPARENT_TRACE_SIZE];
	char span_id[AIC_ID_SPAN_SIZE]; /* of this request */
	/* The headers of calls, "name: value"; NULL at the end. */
	const char *headers[3];
	char line[AIC_TRACEPARENT_LINE_SIZE];
	char state_line[sizeof("tracestate: ") + AIC_TRACEPARENT_STATE_MAX];
};

/*
 * aic_traceparent_read -- read the headers of a request.
 *
 * t         set; without a trace it is zeroed
 * parent    the header traceparent; NULL or empty: none
 * state     the header tracestate; NULL or empty: none. It is passed on as it
 *           is, except that one with invalid characters or of more than
 *           AIC_TRACEPARENT_STATE_MAX characters is dropped.
 *
 * False: there is no valid traceparent, or there are no random bytes for the id
 * of the span.
 *
 * Source:   W3C Trace Context, Level 2, 3 and 4
 */
bool aic_traceparent_read(struct aic_traceparent *t, const char *parent,
    const char *state);

#endif
