#include "config.h"

#include "lib/http.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/clock.h"
#include "lib/http_driver.h"
#include "lib/http_engine.h"
#include "lib/http_flight.h"
#include "lib/http_handle.h"
#include "lib/http_memory.h"
#include "lib/http_sock.h"

/* How often a waiting caller checks whether the response is still needed. */
#define GONE_EVERY_US (1 * AIC_S)

/*
 * How long a caller waits for the engine to end a cancelled call. Usually this
 * takes milliseconds.
 */
#define GRACE_US (1 * AIC_S)

/* --- open and close ---------------------------------------------------- */

/*
 * Free the engine; its thread must have ended. An engine that was opened in
 * part is allowed.
 */
static void
free_engine(struct aic_http *h)
{
	aic_http_engine_done(h);
	aic_http_handle_done(h);
	aic_http_sock_done(h);
	aic_http_trust_close(h->trust);
	pthread_cond_destroy(&h->idle);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

static int
connections_for(const struct aic_http_conf *conf)
{
	int need = (conf->calls_max + AIC_HTTP_STREAMS - 1) / AIC_HTTP_STREAMS;

	if (conf->connections_max > 0)
		return conf->connections_max;
	return need > AIC_HTTP_CONNECTIONS ? need : AIC_HTTP_CONNECTIONS;
}

enum aic_code
aic_http_open(struct aic_http **ret_http, const struct aic_http_conf *conf,
    struct aic_err *err)
{
	struct aic_http *h;
	enum aic_code rc = AIC_OK;

	if (!aic_http_memory_init())
		return aic_fail(err, AIC_ENOMEM,
		    "could not initialize libcurl");
	h = calloc(1, sizeof(*h));
	if (!h)
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	h->calls_max = conf->calls_max;
	h->connections_max = connections_for(conf);
	h->connections_kept = conf->calls_max + AIC_HTTP_CONNECTIONS;
	h->epoll = h->wakeup = -1;
	pthread_cond_init(&h->idle, NULL);
	pthread_mutex_init(&h->lock, NULL);
	if (!aic_http_handle_init(h) || !aic_http_sock_init(h) ||
	    !aic_http_engine_init(h))
		rc = aic_fail(err, AIC_ENOMEM,
		    "could not initialize a libcurl multi handle");
	if (!rc)
		rc = aic_http_trust_open(&h->trust, NULL, err);
	if (!rc &&
	    pthread_create(&h->thread, NULL, aic_http_driver_run, h) != 0)
		rc = aic_fail(err, AIC_ENOMEM, "could not start a thread");
	if (rc) {
		free_engine(h);
		return rc;
	}
	*ret_http = h;
	return AIC_OK;
}

void
aic_http_close(struct aic_http *h)
{
	if (!h)
		return;
	atomic_store(&h->stop, true);
	aic_http_driver_notify(h);
	pthread_join(h->thread, NULL);
	free_engine(h);
}

void
aic_http_close_idle(struct aic_http *h)
{
	atomic_store(&h->shed, true);
	aic_http_driver_notify(h);
}

/* --- callers ----------------------------------------------------------- */

/*
 * Submit a call. The driver has to be notified afterwards. NULL: out of memory,
 * or too many calls.
 */
static struct aic_http_call *
submit_call(struct aic_http *h, const struct aic_http_request *req)
{
	struct aic_http_call *call = NULL;

	if (atomic_fetch_add(&h->calls, 1) < h->calls_max)
		call = aic_http_flight_new(h, req);
	if (!call) {
		atomic_fetch_sub(&h->calls, 1);
		return NULL;
	}
	aic_http_transfer_take_body(&call->transfer, req);
	aic_http_engine_submit(h, call);
	return call;
}

struct aic_http_call *
aic_http_start(struct aic_http *h, const struct aic_http_request *req)
{
	struct aic_http_call *call = submit_call(h, req);

	if (call)
		aic_http_driver_notify(h);
	return call;
}

const struct aic_http_answer *
aic_http_wait(struct aic_http_call *call, int64_t until_us)
{
	if (until_us > call->deadline_us)
		until_us = call->deadline_us;
	return aic_http_driver_wait(call, until_us) ? &call->transfer.answer
						    : NULL;
}

static void
cancel_call(struct aic_http_call *call, enum aic_http_end as)
{
	if (atomic_load(&call->cancelled))
		return;
	aic_http_engine_cancel(call->http, call, as);
	aic_http_driver_notify(call->http);
}

void
aic_http_drop(struct aic_http_call *call)
{
	if (!call)
		return;
	if (!atomic_load(&call->over))
		cancel_call(call, AIC_HTTP_GONE);
	aic_http_flight_release(call);
}

/*
 * Wait for the end of a call, and cancel it if its response is not needed.
 * False: the engine did not end the call.
 */
static bool
wait_or_cancel(struct aic_http_call *call, bool (*gone)(void *), void *arg)
{
	int64_t end = call->deadline_us, until;
	bool late = false, left = false;

	while (!late && !left) {
		until = gone ? aic_clock_us() + GONE_EVERY_US : end;
		if (aic_http_driver_wait(call, until < end ? until : end))
			return true;
		late = aic_clock_us() >= end;
		left = !late && gone && gone(arg);
	}
	cancel_call(call, late ? AIC_HTTP_TIMEOUT : AIC_HTTP_GONE);
	return aic_http_driver_wait(call, aic_clock_us() + GRACE_US);
}

void
aic_http_run(struct aic_http *h, const struct aic_http_request *req,
    bool (*gone)(void *), void *arg, struct aic_http_answer *ret_answer)
{
	struct aic_http_call *call;

	*ret_answer = (struct aic_http_answer){ .end = AIC_HTTP_NO_MEMORY,
		.retry_after_us = -1 };
	if (aic_clock_left_ms(req->deadline_us) == 0) {
		ret_answer->end = AIC_HTTP_TIMEOUT;
		return;
	}
	call = submit_call(h, req);
	if (!call)
		return;
	if (wait_or_cancel(call, gone, arg)) {
		*ret_answer = call->transfer.answer;
		aic_buf_init(&call->transfer.answer.body, 0);
		if (req->body) {
			*req->body = call->transfer.body;
			aic_buf_init(&call->transfer.body, 0);
		}
	} else {
		ret_answer->end = AIC_HTTP_TIMEOUT;
		snprintf(ret_answer->why, sizeof(ret_answer->why),
		    "the engine did not end the call in time");
		if (req->body)
			req->body->failed = true;
	}
	aic_http_flight_release(call);
}
