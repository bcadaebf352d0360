/*
 * http_driver -- which thread drives the engine: a caller that waits, or the
 * thread of the engine.
 *
 * Threads: any.
 */
#ifndef AIC_HTTP_DRIVER_H
#define AIC_HTTP_DRIVER_H

#include "lib/http_state.h"

/*
 * aic_http_driver_notify -- make sure that a thread handles a call that was
 * submitted or cancelled, h->stop or h->shed.
 */
void aic_http_driver_notify(struct aic_http *h);

/*
 * aic_http_driver_wait -- wait until a call is over or until_us has passed, and
 * drive the engine meanwhile if no other thread does.
 *
 * The value is whether the call is over.
 */
bool aic_http_driver_wait(struct aic_http_call *call, int64_t until_us);

/*
 * aic_http_driver_run -- the thread of the engine; arg is the engine. It ends
 * when h->stop is set, and then ends all calls.
 */
void *aic_http_driver_run(void *arg);

#endif
