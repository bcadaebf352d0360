/*
 * http_transfer -- one HTTP exchange over a libcurl handle: the options of the
 * handle, reading the response, and interpreting the result of libcurl.
 *
 * Threads, connections and other transfers are not handled here. http_flight
 * runs the transfer.
 */
#ifndef AIC_HTTP_TRANSFER_H
#define AIC_HTTP_TRANSFER_H

#include <curl/curl.h>

#include "lib/http_call.h"

/*
 * Providers close idle connections after a minute or more. This program closes
 * them earlier, so that it sends no request over a connection that the provider
 * is closing.
 */
#define AIC_HTTP_IDLE_MAX_S 50

struct aic_http_transfer {
	CURL *easy; /* from aic_http_transfer_handle(); owned by the caller */
	struct curl_slist *headers;
	bool has_body; /* a POST */
	struct aic_buf body; /* of the request */
	struct aic_http_answer answer;
	/* requests sent, or about to be, that the server may process */
	int requests;
	bool http2; /* a stream of HTTP/2; set by the owner */
	size_t header_bytes;
	bool header_done;
	bool too_big;
	bool no_socket; /* no descriptor or no memory for a connection */
	char why[CURL_ERROR_SIZE]; /* written by libcurl */
};

/*
 * aic_http_transfer_handle -- make a libcurl handle with the options that all
 * transfers share.
 *
 * Errors:   NULL: out of memory
 * Memory:   gives; curl_easy_cleanup()
 */
CURL *aic_http_transfer_handle(CURLSH *share) AIC_MUST_CHECK;

/*
 * aic_http_transfer_init -- set the options of a request.
 *
 * trust     for https; kept
 *
 * The bytes of req->body are not taken; aic_http_transfer_take_body() does
 * that.
 *
 * Errors:   false: out of memory; aic_http_transfer_done() has to be called
 *           anyway
 */
bool aic_http_transfer_init(struct aic_http_transfer *t,
    const struct aic_http_request *req,
    struct aic_http_trust *trust) AIC_MUST_CHECK;

/*
 * aic_http_transfer_take_body -- take the bytes of req->body, if it is set, and
 * leave the buffer empty.
 */
void aic_http_transfer_take_body(struct aic_http_transfer *t,
    const struct aic_http_request *req);

/*
 * aic_http_transfer_may_send -- whether a request that is about to be sent may
 * be sent.
 *
 * When a kept connection ends before the answer, libcurl sends the same request
 * again on another one. By then the server may have processed the request, and
 * charged for it, so a request with a body is not sent a second time. A GET
 * changes nothing and may be repeated.
 */
bool aic_http_transfer_may_send(struct aic_http_transfer *t);

/*
 * aic_http_transfer_watch_refusals -- enable or disable reading the log of
 * libcurl, to detect a stream that the server refused. Such a request was not
 * processed and may be sent again. Producing the log costs some percent of the
 * CPU of an exchange.
 */
void aic_http_transfer_watch_refusals(struct aic_http_transfer *t, bool on);

/*
 * aic_http_transfer_may_connect -- whether a connection may be opened for the
 * transfer. A request that may not be sent needs none.
 */
bool aic_http_transfer_may_connect(const struct aic_http_transfer *t);

/*
 * aic_http_transfer_free_sent -- free the send buffer of libcurl once the body
 * has been sent. The buffer is larger than everything else that a call needs
 * while it waits for the answer.
 *
 * The value is false while part of the body is unsent.
 */
bool aic_http_transfer_free_sent(struct aic_http_transfer *t);

/*
 * aic_http_transfer_end -- set the answer, except for took_us, from the result
 * of libcurl. Call it before the handle leaves the multi handle.
 */
void aic_http_transfer_end(struct aic_http_transfer *t, CURLcode rc);

/*
 * aic_http_transfer_fail -- set the answer of a transfer that did not begin, or
 * that is given up.
 */
void aic_http_transfer_fail(struct aic_http_transfer *t, enum aic_http_end end,
    const char *why);

/* aic_http_transfer_done -- free everything except the handle. */
void aic_http_transfer_done(struct aic_http_transfer *t);

/*
 * aic_http_retry_after -- the delay before the next request that a server asks
 * for.
 *
 * ms        value of retry-after-ms; NULL: none
 * after     value of Retry-After, seconds or a date; NULL: none
 * now       time(2)
 *
 * The value is in microseconds, a day at most. -1: neither header can be
 * parsed, or the time is not in the future.
 *
 * Source:   RFC 9110, 10.2.3; openai-python, which reads both headers, with
 *           fractions
 */
int64_t aic_http_retry_after(const char *ms, const char *after, time_t now);

#endif
