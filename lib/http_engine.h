/*
 * http_engine -- the work of the engine: libcurl's multi handle, the calls that
 * were submitted or cancelled, the admission of waiting calls, and the events.
 *
 * Threads: aic_http_engine_submit() and aic_http_engine_cancel(): any.
 * aic_http_engine_has_work(): one that drives, or that has the lock while no
 * thread drives. The others: only the one that drives.
 */
#ifndef AIC_HTTP_ENGINE_H
#define AIC_HTTP_ENGINE_H

#include "lib/http_state.h"

/*
 * aic_http_engine_init -- make the multi handle.
 *
 * Errors:   false: out of memory
 */
bool aic_http_engine_init(struct aic_http *h) AIC_MUST_CHECK;

/* aic_http_engine_done -- free the multi handle and the upstreams. */
void aic_http_engine_done(struct aic_http *h);

/*
 * aic_http_engine_submit, aic_http_engine_cancel -- put a call into the list of
 * submitted or of cancelled calls. The driver has to be notified afterwards.
 *
 * as        AIC_HTTP_GONE or AIC_HTTP_TIMEOUT
 */
void aic_http_engine_submit(struct aic_http *h, struct aic_http_call *call);
void aic_http_engine_cancel(struct aic_http *h, struct aic_http_call *call,
    enum aic_http_end as);

/* aic_http_engine_step -- do all work that is due, without waiting. */
void aic_http_engine_step(struct aic_http *h);

/*
 * aic_http_engine_wait -- wait for events until until_us and handle them; 0: do
 * not wait.
 */
void aic_http_engine_wait(struct aic_http *h, int64_t until_us);

/*
 * aic_http_engine_has_work -- whether there is work that must not wait for the
 * next caller.
 */
bool aic_http_engine_has_work(const struct aic_http *h);

/* aic_http_engine_cancel_all -- end all calls. */
void aic_http_engine_cancel_all(struct aic_http *h);

#endif
