/*
 * fcgi -- reading requests and writing responses. No other module uses libfcgi.
 *
 * Threads: each thread has its own struct fcgi; fcgi_init() runs once before;
 *          fcgi_stop() runs in any thread.
 */
#ifndef FCGI_H
#define FCGI_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/buf.h"
#include "lib/err.h"

struct fcgi;

/* A request as Nginx passes it. The texts are valid until fcgi_finish(). */
struct fcgi_request {
	const char *method;
	const char *path; /* decoded and normalised by Nginx */
	const char *query;
	const char *api_key; /* NULL: none */
	const char *key; /* Idempotency-Key; NULL or empty: none */
	/* NULL or empty: the request is from the listener for the local
	 * monitoring. */
	const char *is_public;
	const char *id; /* X-Request-Id, of the caller or of Nginx */
	const char *traceparent, *tracestate; /* NULL or empty: none */
	size_t content_length;
};

enum fcgi_got {
	FCGI_REQUEST, /* a request was accepted */
	FCGI_NONE, /* a shortage of descriptors or memory; try again */
	FCGI_NOISE, /* a connection was accepted, but brought no request */
	FCGI_STOPPED, /* fcgi_stop() was called, and the queue is empty */
	FCGI_BROKEN, /* the listening socket cannot be used */
};

/* fcgi_init -- initialise libfcgi, once. Signals must be blocked already,
 * because libfcgi's signal handlers truncate responses. False: standard input
 * is not a listening socket. */
bool fcgi_init(void);

/* fcgi_new -- allocate the state of a thread. Errors: NULL, out of memory.
 * Memory: gives; fcgi_free(). */
struct fcgi *fcgi_new(void) AIC_MUST_CHECK;
void fcgi_free(struct fcgi *f);

/*
 * fcgi_accept -- wait for the next request.
 *
 * err       set unless the result is FCGI_REQUEST or FCGI_STOPPED
 *
 * Blocks:   until a request arrives, or fcgi_stop() is called; then, if a peer
 *           does not send the whole request, for 4 s, and for the 2 s that
 *           libfcgi needs to close
 */
enum fcgi_got fcgi_accept(struct fcgi *f, struct fcgi_request *rq,
    struct aic_err *err) AIC_MUST_CHECK;

/*
 * fcgi_body -- read the whole body.
 *
 * Errors:   AIC_EBIG; AIC_EGONE if the body is shorter than announced;
 *           AIC_ENOMEM
 */
enum aic_code fcgi_body(struct fcgi *f, const struct fcgi_request *rq,
    struct aic_buf *to, struct aic_err *err) AIC_MUST_CHECK;

/* fcgi_gone -- true if the caller has disconnected. Blocks: never. */
bool fcgi_gone(const struct fcgi *f);

/*
 * fcgi_answer -- send a complete response, which the caller receives at once.
 *
 * headers   complete lines, each with CR LF; status and length are added
 *
 * False: the response was not sent completely.
 */
bool fcgi_answer(struct fcgi *f, int status, const char *reason,
    const char *headers, const char *body, size_t len);

/* fcgi_finish -- end a request that was answered. The request's texts are
 * invalid afterwards. */
void fcgi_finish(struct fcgi *f);

/* fcgi_stop -- accept no new connections. Connections in the queue are still
 * served. */
void fcgi_stop(void);

#endif
