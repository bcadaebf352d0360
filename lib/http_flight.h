/*
 * http_flight -- a call from its start to its end: made, queued for its
 * upstream, begun as a transfer of libcurl, ended.
 *
 * Threads: aic_http_flight_new() and aic_http_flight_release(): any. The
 * others: only the one that drives the engine.
 */
#ifndef AIC_HTTP_FLIGHT_H
#define AIC_HTTP_FLIGHT_H

#include "lib/http_state.h"

/*
 * aic_http_flight_new -- make a call for a request. The body is not taken yet;
 * aic_http_transfer_take_body() does that.
 *
 * Errors:   NULL: out of memory
 * Memory:   gives, to two owners; aic_http_flight_release() for each
 */
struct aic_http_call *aic_http_flight_new(struct aic_http *h,
    const struct aic_http_request *req) AIC_MUST_CHECK;
void aic_http_flight_release(struct aic_http_call *call);

/* aic_http_flight_queue -- put a submitted call into its upstream's queue. */
void
aic_http_flight_queue(struct aic_http_call *call, struct aic_http_upstream *up);

/*
 * aic_http_flight_begin -- begin a call of the queue, or end it for lack of
 * memory.
 *
 * own       with a connection of its own; false: on an existing one
 */
void
aic_http_flight_begin(struct aic_http *h, struct aic_http_call *call, bool own);

/* aic_http_flight_finish -- end a call whose transfer libcurl has ended. */
void aic_http_flight_finish(struct aic_http *h, struct aic_http_call *call,
    CURLcode rc);

/* aic_http_flight_fail -- end a call that libcurl does not have. */
void aic_http_flight_fail(struct aic_http *h, struct aic_http_call *call,
    enum aic_http_end end, const char *why);

/*
 * aic_http_flight_cancel -- end a call, whatever its state. If it has begun,
 * its stream is reset at once. Nothing happens if it has ended.
 */
void aic_http_flight_cancel(struct aic_http *h, struct aic_http_call *call);

/* aic_http_flight_fail_begun -- end all begun calls for lack of memory. */
void aic_http_flight_fail_begun(struct aic_http *h);

/*
 * aic_http_flight_sweep -- end the begun calls whose requests could not be sent
 * in time. libcurl has no timeout for a transfer that waits for the connection
 * of another one (CURLOPT_PIPEWAIT).
 */
void aic_http_flight_sweep(struct aic_http *h, int64_t now);

/* aic_http_flight_uses -- whether a begun call is a stream of a connection. */
bool aic_http_flight_uses(struct aic_http *h, const void *connection);

/* aic_http_flight_free_sent -- free the send buffers of sent requests. */
void aic_http_flight_free_sent(struct aic_http *h);

#endif
