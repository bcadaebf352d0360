/*
 * http_call -- the request and the result of an HTTP call: the types that the
 * engine, its transfers and their callers share.
 */
#ifndef AIC_HTTP_CALL_H
#define AIC_HTTP_CALL_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/buf.h"

struct aic_http_trust;

/* How a call ended, as a retry has to distinguish it. */
enum aic_http_end {
	AIC_HTTP_ANSWERED, /* `status' and `body' are set */
	AIC_HTTP_CONNECT, /* the server was not reached; nothing was sent */
	AIC_HTTP_UNTRUSTED, /* the certificate of the server was not accepted */
	AIC_HTTP_BROKEN, /* sent, at least in part, without a complete answer */
	AIC_HTTP_TIMEOUT, /* the deadline passed */
	AIC_HTTP_TOO_BIG, /* the answer exceeds answer_max */
	AIC_HTTP_GONE, /* the caller does not need the answer any more */
	AIC_HTTP_FAILED, /* the configuration cannot work */
	AIC_HTTP_NO_MEMORY,
	AIC_HTTP__MAX
};

struct aic_http_request {
	const char *url; /* copied */
	const char *const *headers; /* "Name: value", NULL at the end; copied */
	const char *const *more; /* further headers; NULL: none; copied */
	const char *proxy; /* URL with user and password; NULL: none; copied */
	/* NULL: the roots of the system; kept until the call ends */
	struct aic_http_trust *trust;
	/*
	 * The body of a POST; NULL: the request is a GET. The call owns the
	 * bytes while it is in flight, and the buffer is empty meanwhile.
	 */
	struct aic_buf *body;
	size_t answer_max; /* bytes of the body of the answer, after decoding */
	int64_t deadline_us; /* of the whole call, with name resolution */
	int64_t connect_us; /* the share of it for connecting */
};

#define AIC_HTTP_WHY_SIZE 128

struct aic_http_answer {
	enum aic_http_end end;
	int status; /* 0: no answer */
	/*
	 * With AIC_HTTP_CONNECT: no descriptor was available for a connection.
	 * The failure does not concern the server.
	 */
	bool no_descriptor;
	/* retry-after-ms, else Retry-After; -1: none, or not in the future */
	int64_t retry_after_us;
	struct aic_buf body; /* free with aic_buf_done() */
	int64_t took_us; /* from the start of the call to its end */
	/* the reason of a failure, for the log; "" on success */
	char why[AIC_HTTP_WHY_SIZE];
};

#endif
