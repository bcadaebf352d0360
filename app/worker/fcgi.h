/*
 * fcgi -- requests in, answers out. The only module that knows libfcgi.
 *
 * Threads: one struct fcgi a thread; fcgi_init() once before, fcgi_stop() from any.
 */
#ifndef FCGI_H
#define FCGI_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/buf.h"
#include "lib/err.h"

struct fcgi;

/* A request as Nginx passes it; the texts live until fcgi_finish(). */
struct fcgi_request {
	const char *method;
	const char *path; /* decoded and normalised by Nginx */
	const char *query;
	const char *api_key; /* NULL: none */
	const char *key; /* Idempotency-Key; NULL or empty: none */
	const char
	    *is_public; /* NULL or empty: it is from this machine's monitor */
	const char *id; /* X-Request-Id, made by Nginx when need be */
	size_t content_length;
};

enum fcgi_got {
	FCGI_REQUEST, /* there is one */
	FCGI_NONE, /* not now: out of descriptors, memory; try again */
	FCGI_NOISE, /* there was a connection, and no request on it */
	FCGI_STOPPED, /* fcgi_stop() was called and the queue is empty */
	FCGI_BROKEN, /* the listening socket is of no use */
};

/* fcgi_init -- once, with signals blocked already: libfcgi's handlers cut answers
 * off. False: standard input is not a listening socket. */
bool fcgi_init(void);

/* fcgi_new -- Errors: NULL, out of memory. Memory: gives; fcgi_free(). */
struct fcgi *fcgi_new(void) AIC_MUST_CHECK;
void fcgi_free(struct fcgi *f);

/*
 * fcgi_accept -- wait for the next request.
 *
 * err       what is wrong, unless there is a request or it is stopped
 *
 * Blocks:   until there is one, or fcgi_stop(); then on a peer that does not send
 *           what it began, 4 s and 2 s of libfcgi's for closing
 */
enum fcgi_got fcgi_accept(struct fcgi *f, struct fcgi_request *rq,
    struct aic_err *err) AIC_MUST_CHECK;

/*
 * fcgi_body -- read the whole body.
 *
 * Errors:   AIC_EBIG; AIC_EGONE when it is shorter than announced; AIC_ENOMEM
 */
enum aic_code fcgi_body(struct fcgi *f, const struct fcgi_request *rq,
    struct aic_buf *to, struct aic_err *err) AIC_MUST_CHECK;

/* fcgi_gone -- has the caller left? Does not block. */
bool fcgi_gone(const struct fcgi *f);

/*
 * fcgi_answer -- send an answer, whole; the caller has it then.
 *
 * headers   whole lines, each ended by CR LF; status and length are added
 *
 * False means that it did not get out whole.
 */
bool fcgi_answer(struct fcgi *f, int status, const char *reason,
    const char *headers, const char *body, size_t len);

/* fcgi_finish -- end a request that was answered; its texts are gone. */
void fcgi_finish(struct fcgi *f);

/* fcgi_stop -- accept no new connections; what is queued is still served. */
void fcgi_stop(void);

#endif
