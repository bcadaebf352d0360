/*
 * http -- the HTTP engine: it carries out all upstream calls of a worker, to
 * models and to the seller-data API, over one libcurl multi handle.
 *
 * Calls to one server share its connections: several streams per connection
 * with HTTP/2, kept-alive connections with HTTP/1.1. A caller starts a call and
 * waits for it, or continues and collects the response later.
 *
 * One thread at a time drives libcurl for all calls. It is one of the callers
 * that wait, so that a single caller needs no switch between threads, or else
 * the thread of the engine.
 *
 * The engine follows no redirect, takes no proxy from the environment and uses
 * no signals. A request with a body is sent once. If libcurl is about to send
 * it a second time on another connection, the call ends as AIC_HTTP_BROKEN,
 * because the server may have processed the request. The caller decides about
 * another attempt.
 *
 * Threads: any thread may start, wait for and drop calls. aic_http_open()
 * creates the thread of the engine with the signal mask of its caller.
 */
#ifndef AIC_HTTP_H
#define AIC_HTTP_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "lib/err.h"
#include "lib/http_call.h"

struct aic_http;
struct aic_http_call;

/*
 * AIC_HTTP_CONNECTIONS is the smallest default of connections_max.
 * AIC_HTTP_STREAMS is the number of streams that each connection then has when
 * all calls are in flight.
 *
 * Fewer connections make each event on one of them more expensive, because
 * libcurl examines all of its streams: with 10,000 calls in flight, 100 streams
 * per connection cost a sixth more CPU than 32. More connections cost memory
 * and handshakes.
 */
#define AIC_HTTP_CONNECTIONS 64
#define AIC_HTTP_STREAMS 32

struct aic_http_conf {
	/* calls in flight and waiting, to all servers together; 1.. */
	int calls_max;
	/*
	 * HTTP/2 connections to one server, unless their streams are too few;
	 * 1.., 0: AIC_HTTP_CONNECTIONS, or calls_max / AIC_HTTP_STREAMS if that
	 * is more.
	 */
	int connections_max;
};

/*
 * aic_http_open -- start the engine.
 *
 * Errors:   AIC_ENOMEM
 * Memory:   gives; aic_http_close()
 */
enum aic_code aic_http_open(struct aic_http **ret_http,
    const struct aic_http_conf *conf, struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_http_close -- end the thread of the engine and all calls in flight.
 *
 * No thread may be waiting for a call, and no call may be dropped later. NULL
 * is allowed.
 */
void aic_http_close(struct aic_http *http);

/*
 * aic_http_run -- send a request and wait for the response, whatever its
 * status.
 *
 * gone      called about once a second during the wait; true ends the call.
 *           NULL: not called
 * ret_answer  always set
 *
 * req->body contains its bytes again on return. The one exception is an engine
 * that does not end a call at its deadline, which is a bug: the engine then
 * keeps the bytes, and the buffer is marked as failed.
 *
 * Errors:   in ret_answer->end
 * Blocks:   until the deadline, plus the milliseconds that the cancellation
 *           takes; a second at most
 * Memory:   gives ret_answer->body
 */
void aic_http_run(struct aic_http *http, const struct aic_http_request *req,
    bool (*gone)(void *arg), void *arg, struct aic_http_answer *ret_answer);

/*
 * aic_http_start -- start a call and return.
 *
 * Errors:   NULL: calls_max calls are in flight, or out of memory; req->body is
 *           unchanged
 * Memory:   gives; aic_http_drop(). The bytes of req->body are freed with the
 *           call.
 */
struct aic_http_call *aic_http_start(struct aic_http *http,
    const struct aic_http_request *req) AIC_MUST_CHECK;

/*
 * aic_http_wait -- wait for the response until until_us, or until the deadline
 * of the call if that is earlier.
 *
 * The response belongs to the call. NULL: no response yet.
 *
 * Blocks:   as described. The caller may drive other calls meanwhile, each step
 *           of which takes milliseconds.
 */
const struct aic_http_answer *
aic_http_wait(struct aic_http_call *call, int64_t until_us) AIC_MUST_CHECK;

/*
 * aic_http_drop -- cancel a call if it is still in flight, and free it. NULL is
 * allowed.
 */
void aic_http_drop(struct aic_http_call *call);

/*
 * aic_http_close_idle -- close the connections that no call uses, because their
 * descriptors are needed.
 *
 * Blocks:   never; they are closed as soon as no call is in flight
 */
void aic_http_close_idle(struct aic_http *http);

#endif
