/*
 * http_transfer -- one HTTP exchange over a libcurl handle: how the handle is set up,
 * what is read, and how libcurl's result is to be understood.
 *
 * It knows nothing of threads, connections and other transfers; http.c carries it
 * out.
 */
#ifndef AIC_HTTP_TRANSFER_H
#define AIC_HTTP_TRANSFER_H

#include <curl/curl.h>

#include "lib/http_call.h"

/* Providers close idle connections after a minute or more; ours are closed first. */
#define AIC_HTTP_IDLE_MAX_S 50

struct aic_http_transfer {
	CURL *easy; /* of aic_http_transfer_handle(); the owner's */
	struct curl_slist *headers;
	bool has_body; /* a POST */
	struct aic_buf body; /* of the request */
	struct aic_http_answer answer;
	int requests; /* that went out, or were about to, and may be processed */
	bool http2; /* it is a stream of HTTP/2; set by the owner */
	size_t header_bytes;
	bool header_done;
	bool too_big;
	bool no_socket; /* no descriptor, or no memory, for a connection */
	char why[CURL_ERROR_SIZE]; /* written by libcurl */
};

/* aic_http_transfer_handle -- a libcurl handle with all that is the same for every
 * transfer. Errors: NULL, no memory. Memory: gives; curl_easy_cleanup(). */
CURL *aic_http_transfer_handle(CURLSH *share) AIC_MUST_CHECK;

/*
 * aic_http_transfer_init -- what the request says.
 *
 * trust     for https; kept
 *
 * req->body is not taken yet: aic_http_transfer_take_body() does that.
 *
 * Errors:   false: no memory; aic_http_transfer_done() is due all the same
 */
bool aic_http_transfer_init(struct aic_http_transfer *t,
    const struct aic_http_request *req,
    struct aic_http_trust *trust) AIC_MUST_CHECK;

/* aic_http_transfer_take_body -- take the bytes of req->body, if there is one, and
 * leave it empty. */
void aic_http_transfer_take_body(struct aic_http_transfer *t,
    const struct aic_http_request *req);

/*
 * aic_http_transfer_may_send -- the request is about to go out; may it?
 *
 * When a kept connection ends before the answer, libcurl sends the same request
 * again on another one. A request with a body may have been processed by then, and
 * paid for, so that one is refused. A GET changes nothing and may be repeated.
 */
bool aic_http_transfer_may_send(struct aic_http_transfer *t);

/* aic_http_transfer_watch_refusals -- have libcurl's log read, or not, for a stream that
 * the server refused, because such a request was not processed and may be sent again. To
 * write the log costs some percent of an exchange's CPU. */
void aic_http_transfer_watch_refusals(struct aic_http_transfer *t, bool on);

/* aic_http_transfer_may_connect -- likewise, about a connection to be opened for it:
 * none is needed for a request that may not be sent. */
bool aic_http_transfer_may_connect(const struct aic_http_transfer *t);

/*
 * aic_http_transfer_free_sent -- free libcurl's buffer for sending once the body has gone
 * out, because it is larger than all else that a call needs while it waits for the answer.
 *
 * The value is false while there is more to send.
 */
bool aic_http_transfer_free_sent(struct aic_http_transfer *t);

/* aic_http_transfer_end -- set the answer, except for took_us, from how libcurl ended
 * it; before the handle leaves the multi handle. */
void aic_http_transfer_end(struct aic_http_transfer *t, CURLcode rc);

/* aic_http_transfer_fail -- the same for a transfer that never began, or is given
 * up. */
void aic_http_transfer_fail(struct aic_http_transfer *t, enum aic_http_end end,
    const char *why);

/* aic_http_transfer_done -- free all but the handle. */
void aic_http_transfer_done(struct aic_http_transfer *t);

/*
 * aic_http_retry_after -- how long a server asks its callers to wait.
 *
 * ms        value of retry-after-ms; NULL: there is none
 * after     value of Retry-After, seconds or a date; NULL: there is none
 * now       time(2)
 *
 * The value is in microseconds, a day at most; -1: neither can be read, or they
 * say nothing about the future.
 *
 * Source:   RFC 9110, 10.2.3; openai-python, which reads both, fractions too
 */
int64_t aic_http_retry_after(const char *ms, const char *after, time_t now);

#endif
