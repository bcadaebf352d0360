/*
 * warm -- a connection to a model that is kept open while nobody asks anything, so
 * that the first question after a quiet hour pays for no name resolution, no TCP and
 * no TLS handshake.
 *
 * Providers close a connection that is idle for a minute or more, and libcurl 7.88
 * cannot send a PING of HTTP/2 for a multi handle. So when no call was made for a
 * while, one GET of /models goes out, which costs no money. Its answer is of no
 * interest, whatever the status. The first one goes out when the worker starts: an
 * operator sees at once when the model cannot be reached, or its certificate is not
 * accepted.
 *
 * Threads: aic_warm_used() any; all else one, which need not be the same.
 */
#ifndef AIC_WARM_H
#define AIC_WARM_H

#include <stdatomic.h>
#include <stdint.h>

#include "lib/http.h"
#include "lib/provider.h"

struct aic_warm {
	_Atomic int64_t
	    used_us; /* when the connection was used last; 0: never */
	struct aic_http_call *call; /* NULL: none in flight */
	enum aic_http_end end; /* of the last GET */
};

/* What a look came to. */
enum aic_warm_change {
	AIC_WARM_SAME,
	AIC_WARM_LOST, /* the model could be reached before, or is the first time tried */
	AIC_WARM_FOUND, /* it could not be reached before */
};

/* aic_warm_init -- no GET has been made. */
void aic_warm_init(struct aic_warm *w);

/* aic_warm_done -- drop the GET that is in flight. */
void aic_warm_done(struct aic_warm *w);

/* aic_warm_used -- a call is made, which keeps the connection warm itself. */
void aic_warm_used(struct aic_warm *w, int64_t now_us);

/*
 * aic_warm_look -- make a GET when it is due, and see what became of the last one.
 *
 * why       set to what went wrong, with AIC_WARM_LOST
 *
 * Blocks:   never
 */
enum aic_warm_change aic_warm_look(struct aic_warm *w, struct aic_http *http,
    const struct aic_provider *provider, int64_t now_us,
    char why[AIC_HTTP_WHY_SIZE]);

#endif
