/*
 * http_handle -- the libcurl handles of an engine: those that are kept for
 * later calls, and the TLS sessions that all of them share.
 *
 * Threads: any.
 */
#ifndef AIC_HTTP_HANDLE_H
#define AIC_HTTP_HANDLE_H

#include "lib/http_state.h"

/*
 * aic_http_handle_init -- prepare h->share and its locks.
 *
 * Errors:   false: out of memory; aic_http_handle_done() has to be called
 *           anyway
 */
bool aic_http_handle_init(struct aic_http *h) AIC_MUST_CHECK;

/*
 * aic_http_handle_done -- free the kept handles and what they share, after the
 * multi handle.
 */
void aic_http_handle_done(struct aic_http *h);

/*
 * aic_http_handle_take -- a kept handle, or a new one.
 *
 * Errors:   NULL: out of memory
 * Memory:   gives; aic_http_handle_give() or curl_easy_cleanup()
 */
CURL *aic_http_handle_take(struct aic_http *h) AIC_MUST_CHECK;

/* aic_http_handle_give -- keep a handle for a later call, or free it. */
void aic_http_handle_give(struct aic_http *h, CURL *easy);

#endif
