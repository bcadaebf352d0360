/*
 * http_call -- what an HTTP call is asked for and what comes of it: the types that the
 * engine, its transfers and their callers share.
 */
#ifndef AIC_HTTP_CALL_H
#define AIC_HTTP_CALL_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/buf.h"

struct aic_http_trust;

/* How a call ended, as far as a retry is concerned. */
enum aic_http_end {
	AIC_HTTP_ANSWERED, /* `status' and `body' are set */
	AIC_HTTP_CONNECT, /* never reached the server; nothing was sent */
	AIC_HTTP_UNTRUSTED, /* the server's certificate was not accepted */
	AIC_HTTP_BROKEN, /* sent, perhaps in part, and no whole answer came */
	AIC_HTTP_TIMEOUT, /* the deadline passed */
	AIC_HTTP_TOO_BIG, /* the answer is over its ceiling */
	AIC_HTTP_GONE, /* the caller does not need the answer any more */
	AIC_HTTP_FAILED, /* cannot work as it is configured */
	AIC_HTTP_NO_MEMORY,
	AIC_HTTP__MAX
};

struct aic_http_request {
	const char *url; /* copied */
	const char *const *headers; /* "Name: value", NULL at the end; copied */
	const char *proxy; /* URL, with user and password; NULL: none; copied */
	struct aic_http_trust *trust; /* NULL: the system's roots; held */
	/* Of a POST; NULL: the request is a GET. The bytes belong to the call
	 * while it is in flight, and the buffer is empty meanwhile. */
	struct aic_buf *body;
	size_t answer_max; /* bytes of the answer's body, after decoding */
	int64_t deadline_us; /* for everything, name resolution included */
	int64_t connect_us; /* of it for the connection */
};

#define AIC_HTTP_WHY_SIZE 128

struct aic_http_answer {
	enum aic_http_end end;
	int status; /* 0 when none came */
	/* With AIC_HTTP_CONNECT: there was no descriptor for a connection, which
	 * says nothing about the server. */
	bool no_descriptor;
	/* retry-after-ms, else Retry-After; -1: none, or not in the future */
	int64_t retry_after_us;
	struct aic_buf body; /* aic_buf_done() it */
	int64_t took_us; /* from the start of the call to its end */
	/* what went wrong, for the log; "" when nothing did */
	char why[AIC_HTTP_WHY_SIZE];
};

#endif
