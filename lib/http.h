/*
 * http -- one call over libcurl, with a deadline, a ceiling on the answer and no
 * surprises: no redirects, no proxy from the environment, no silent second send
 * on a kept connection that died, no signals.
 *
 * Threads: one struct aic_http a thread; it keeps its connection for the next
 * call, and those of two servers when calls alternate. aic_http_init() once, before there are threads.
 */
#ifndef AIC_HTTP_H
#define AIC_HTTP_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "buf.h"
#include "err.h"

struct aic_http;

/* How a call ended, as far as a retry cares. */
enum aic_http_end {
	AIC_HTTP_ANSWERED, /* `status' and `body' are set */
	AIC_HTTP_CONNECT, /* never reached the server; nothing was sent */
	AIC_HTTP_BROKEN, /* sent, perhaps in part, and no whole answer came */
	AIC_HTTP_TIMEOUT, /* the deadline passed */
	AIC_HTTP_TOO_BIG, /* the answer is over its ceiling */
	AIC_HTTP_GONE, /* `gone' said so */
	AIC_HTTP_FAILED, /* cannot work as it is set up: a bad certificate */
	AIC_HTTP_NO_MEMORY,
	AIC_HTTP__MAX
};

struct aic_http_request {
	const char *url;
	const char *const *headers; /* "Name: value", NULL at the end */
	const char *proxy; /* NULL: none */
	const char *body; /* of a POST; NULL: it is a GET */
	size_t body_len;
	int64_t deadline_us; /* for everything, name resolution included */
	int64_t connect_us; /* of it for the connection */
	/* Asked about once a second while waiting; NULL: nobody asks. */
	bool (*gone)(void *arg);
	void *gone_arg;
};

#define AIC_HTTP_WHY_SIZE 128

struct aic_http_answer {
	enum aic_http_end end;
	int status;
	/* retry-after-ms, else Retry-After; -1: none, or not in the future */
	int64_t retry_after_us;
	struct aic_buf
	    body; /* aic_buf_init() it with the ceiling; appended to */
	char why[AIC_HTTP_WHY_SIZE]; /* what broke, for the log */
};

/* aic_http_init -- set libcurl up. Errors: AIC_ENOMEM */
enum aic_code aic_http_init(struct aic_err *err) AIC_MUST_CHECK;

/* aic_http_new -- Errors: NULL, out of memory. Memory: gives. */
struct aic_http *aic_http_new(void) AIC_MUST_CHECK;

/* aic_http_free -- closes the kept connection. NULL is fine. */
void aic_http_free(struct aic_http *http);

/*
 * aic_http_hang_up -- close the kept connection: its descriptor is needed.
 *
 * Without memory it stays.
 */
void aic_http_hang_up(struct aic_http *http);

/*
 * aic_http_retry_after -- for how long a server asks to be left alone.
 *
 * ms        value of retry-after-ms; NULL: there is none
 * after     value of Retry-After, seconds or a date; NULL: there is none
 * now       time(2)
 *
 * The value is in microseconds, a day at most; -1: it says nothing that can be
 * read, or nothing about the future.
 *
 * Source:   RFC 9110, 10.2.3; openai-python, which reads both, fractions too
 */
int64_t aic_http_retry_after(const char *ms, const char *after, time_t now);

/*
 * aic_http_post -- send a request and read the answer, whatever its status.
 *
 * req       borrowed
 * answer    its body must have been initialised; all else is set
 *
 * Errors:   in answer->end
 * Blocks:   until the deadline at most
 * Source:   libcurl 7.88: CURLOPT_PREREQFUNCTION, which sees a silent second send
 *           coming; CURLOPT_QUICK_EXIT
 */
void aic_http_post(struct aic_http *http, const struct aic_http_request *req,
    struct aic_http_answer *answer);

/*
 * aic_http_begin, aic_http_finish -- the two halves of a call, for who lets libcurl
 * carry out many of them at once.
 *
 * req, answer  borrowed until the second one
 * rc           the CURLcode that it ended with
 *
 * The value of the first is libcurl's handle, a CURL *; NULL: there is nothing to
 * carry out, and answer->end says why.
 */
void *aic_http_begin(struct aic_http *http, const struct aic_http_request *req,
    struct aic_http_answer *answer) AIC_MUST_CHECK;
void aic_http_finish(struct aic_http *http, int rc);

#endif
