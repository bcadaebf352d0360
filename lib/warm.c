#include "config.h"

#include "lib/warm.h"

#include <stdio.h>

#include "lib/clock.h"

/*
 * Shorter than the 50 s after which the HTTP engine closes an idle connection,
 * and the 60 s or more after which servers close it.
 */
#define EVERY_US (40 * AIC_S)

/* A GET that takes longer than this has failed. */
#define DEADLINE_US (10 * AIC_S)
#define CONNECT_US (5 * AIC_S)

/* A list of some hundred models is about 50 KB; the rest is not read. */
#define ANSWER_MAX (1024 * 1024)

void
aic_warm_init(struct aic_warm *w)
{
	*w = (struct aic_warm){ .end = AIC_HTTP_ANSWERED };
}

void
aic_warm_done(struct aic_warm *w)
{
	aic_http_drop(w->call);
	w->call = NULL;
}

void
aic_warm_used(struct aic_warm *w, int64_t now_us)
{
	atomic_store_explicit(&w->used_us, now_us, memory_order_relaxed);
}

static struct aic_http_call *
start_get(struct aic_http *http, const struct aic_provider *provider,
    int64_t now_us)
{
	struct aic_http_request req = { .url = provider->models_url,
		/*
		 * No token is fetched for this GET, because any answer will do.
		 */
		.headers = provider->headers + (provider->gigachat ? 1 : 0),
		.proxy = provider->proxy,
		.trust = provider->trust,
		.answer_max = ANSWER_MAX,
		.deadline_us = now_us + DEADLINE_US,
		.connect_us = CONNECT_US };

	return aic_http_start(http, &req);
}

/* An answer that is too large also came over a connection. */
static bool
was_reached(enum aic_http_end end)
{
	return end == AIC_HTTP_ANSWERED || end == AIC_HTTP_TOO_BIG;
}

static enum aic_warm_change
finish_get(struct aic_warm *w, const struct aic_http_answer *a,
    char why[AIC_HTTP_WHY_SIZE])
{
	enum aic_http_end before = w->end, end = a->end;

	snprintf(why, AIC_HTTP_WHY_SIZE, "%s", a->why);
	aic_warm_done(w);
	/* These two outcomes say nothing about the model. */
	if (end == AIC_HTTP_NO_MEMORY || end == AIC_HTTP_GONE)
		return AIC_WARM_SAME;
	w->end = end;
	if (was_reached(before) == was_reached(end))
		return AIC_WARM_SAME;
	return was_reached(end) ? AIC_WARM_FOUND : AIC_WARM_LOST;
}

enum aic_warm_change
aic_warm_look(struct aic_warm *w, struct aic_http *http,
    const struct aic_provider *provider, int64_t now_us,
    char why[AIC_HTTP_WHY_SIZE])
{
	int64_t used = atomic_load_explicit(&w->used_us, memory_order_relaxed);
	const struct aic_http_answer *a;

	if (w->call) {
		a = aic_http_wait(w->call, 0);
		return a ? finish_get(w, a, why) : AIC_WARM_SAME;
	}
	if (used == 0 || now_us - used >= EVERY_US) {
		aic_warm_used(w, now_us);
		w->call = start_get(http, provider, now_us);
	}
	return AIC_WARM_SAME;
}
