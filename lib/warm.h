/*
 * warm -- keep a connection to a model open while there are no chats, so that
 * the first chat after a quiet hour needs no name resolution, no TCP handshake
 * and no TLS handshake.
 *
 * Providers close a connection that is idle for a minute or more, and libcurl
 * 7.88 cannot send an HTTP/2 PING on a multi handle. So after a time without
 * calls, the module sends one GET of /models, which costs no money. The status
 * and the body of the answer do not matter. The first GET is sent when the
 * worker starts, so that an operator sees at once if the model cannot be
 * reached or if its certificate is not accepted.
 *
 * Threads: aic_warm_used() any; all others one, which can be another thread.
 */
#ifndef AIC_WARM_H
#define AIC_WARM_H

#include <stdatomic.h>
#include <stdint.h>

#include "lib/http.h"
#include "lib/provider.h"

struct aic_warm {
	/* time of the last use of the connection; 0: never */
	_Atomic int64_t used_us;
	struct aic_http_call *call; /* NULL: none in flight */
	enum aic_http_end end; /* of the last GET */
};

/* The result of aic_warm_look(). */
enum aic_warm_change {
	AIC_WARM_SAME,
	AIC_WARM_LOST, /* unreachable; reachable before, or the first attempt */
	AIC_WARM_FOUND, /* reachable; unreachable before */
};

/* aic_warm_init -- set the initial state; no GET has been made. */
void aic_warm_init(struct aic_warm *w);

/* aic_warm_done -- cancel the GET that is in flight. */
void aic_warm_done(struct aic_warm *w);

/* aic_warm_used -- note a call, which keeps the connection warm itself. */
void aic_warm_used(struct aic_warm *w, int64_t now_us);

/*
 * aic_warm_look -- send a GET if it is due, and check the result of the last
 * one.
 *
 * why       with AIC_WARM_LOST: set to the reason
 *
 * Blocks:   never
 */
enum aic_warm_change aic_warm_look(struct aic_warm *w, struct aic_http *http,
    const struct aic_provider *provider, int64_t now_us,
    char why[AIC_HTTP_WHY_SIZE]);

#endif
