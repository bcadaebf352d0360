/*
 * http -- the upstream engine: it carries out all HTTP calls of a worker, to models
 * and to the seller-data API, over one libcurl multi handle.
 *
 * Calls to one server share its connections: several streams a connection where the
 * server speaks HTTP/2, kept-alive connections where it speaks HTTP/1.1. A caller
 * hands a call over and waits for it, or does something else meanwhile.
 *
 * One thread at a time drives libcurl for all calls: one of the callers that wait, so
 * that a single caller pays for no switch between threads, or else the engine's own
 * thread.
 *
 * The engine follows no redirect, takes no proxy from the environment and uses
 * no signals. A request with a body goes out once: when libcurl would send it a
 * second time on another connection, the call ends as AIC_HTTP_BROKEN instead,
 * because the server may have processed it, and the caller decides about another
 * attempt.
 *
 * Threads: any thread may start, wait for and drop calls. The engine's own thread
 * is created by aic_http_open() with the signal mask of its caller.
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

/* The least default of aic_http_conf.connections_max, and the streams that each
 * connection then has when all calls are in flight. Fewer connections make each event
 * on one of them more expensive, because libcurl looks at all of its streams: with
 * 10,000 calls in flight 100 streams a connection cost a sixth more CPU than 32. More
 * connections cost memory and handshakes. */
#define AIC_HTTP_CONNECTIONS 64
#define AIC_HTTP_STREAMS 32

struct aic_http_conf {
	int calls_max; /* in flight and waiting, all servers together; 1.. */
	/* HTTP/2 connections to one server, as long as their streams suffice;
	 * 1.., 0: AIC_HTTP_CONNECTIONS, or calls_max / AIC_HTTP_STREAMS where
	 * that is more */
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
 * aic_http_close -- end the thread, and at once all calls that are in flight.
 *
 * No thread may wait for a call any more, nor drop one afterwards. NULL is fine.
 */
void aic_http_close(struct aic_http *http);

/*
 * aic_http_run -- send a request and wait for the answer, whatever its status.
 *
 * gone      called about once a second while waiting; true ends the call.
 *           NULL: never called
 * ret_answer  set
 *
 * req->body has its bytes again afterwards. The one exception is an engine that
 * does not end a call at its deadline, which is a bug: the bytes then stay with
 * the engine, and the buffer has failed.
 *
 * Errors:   in ret_answer->end
 * Blocks:   until the deadline, and then for the milliseconds that it takes to cancel
 *           the call; a second at most
 * Memory:   gives ret_answer->body
 */
void aic_http_run(struct aic_http *http, const struct aic_http_request *req,
    bool (*gone)(void *arg), void *arg, struct aic_http_answer *ret_answer);

/*
 * aic_http_start -- hand a call over and go on.
 *
 * Errors:   NULL: calls_max calls are in flight, or no memory; req->body is as it
 *           was
 * Memory:   gives; aic_http_drop(). What req->body held is freed with the call.
 */
struct aic_http_call *aic_http_start(struct aic_http *http,
    const struct aic_http_request *req) AIC_MUST_CHECK;

/*
 * aic_http_wait -- wait for the answer until until_us, or until the deadline of the
 * call.
 *
 * The answer belongs to the call; NULL: it is not there yet.
 *
 * Blocks:   as said; the caller may carry out other calls meanwhile, each step of
 *           which takes milliseconds
 */
const struct aic_http_answer *
aic_http_wait(struct aic_http_call *call, int64_t until_us) AIC_MUST_CHECK;

/* aic_http_drop -- the caller does not need the call any more: cancel it when it is
 * still in flight, and free it. NULL is fine. */
void aic_http_drop(struct aic_http_call *call);

/*
 * aic_http_close_idle -- close connections that no call uses, because their
 * descriptors are needed.
 *
 * Blocks:   never; they are closed as soon as no call is in flight
 */
void aic_http_close_idle(struct aic_http *http);

#endif
