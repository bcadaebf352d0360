#include "config.h"

#include "fetch.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

/* Answers take milliseconds, so even hundreds of calls a second share these; more
 * are made when they are needed, and closed afterwards. */
#define CONNECTIONS_KEPT 16L

/* Handles cost some 10 KB each, and are made anew for a crowd. */
#define HANDLES_KEPT 16

/* There is nothing to do until somebody wakes the thread. */
#define IDLE_MS 60000

/*
 * A call has two owners, its caller and the thread. A caller who is done before the
 * thread is leaves it in `drops', and the thread frees it; in all other cases the
 * caller does.
 */
struct aic_fetch_call {
	struct aic_fetch *f;
	char *url;
	int64_t start_us, deadline_us;
	struct aic_fetch_call *next_new, *next_drop; /* in news, in drops */

	/* The thread's, until it is over; then the caller's. */
	struct aic_http *http;
	CURL *easy;
	struct aic_http_request req;
	struct aic_http_answer answer;
	struct aic_fetch_call *prev_active, *next_active;

	/* Under the lock. */
	bool taken; /* by the thread */
	bool over;
	int64_t took_us;
	pthread_cond_t ended;
};

struct aic_fetch {
	struct aic_fetch_conf conf;
	pthread_t thread;
	CURLM *multi;

	/* Of the thread alone. */
	struct aic_http *handles[HANDLES_KEPT];
	int n_handles;
	struct aic_fetch_call *active;

	pthread_mutex_t lock; /* of all below */
	struct aic_fetch_call *news; /* handed over */
	struct aic_fetch_call *drops; /* dropped while they are carried out */
	int calls;
	bool stop;
};

static void
free_call(struct aic_fetch_call *call)
{
	pthread_cond_destroy(&call->ended);
	aic_buf_done(&call->answer.body);
	free(call->url);
	free(call);
}

/* --- the thread -------------------------------------------------------- */

static struct aic_http *
take_handle(struct aic_fetch *f)
{
	return f->n_handles > 0 ? f->handles[--f->n_handles] : aic_http_new();
}

static void
keep_handle(struct aic_fetch *f, struct aic_http *http)
{
	if (http && f->n_handles < HANDLES_KEPT)
		f->handles[f->n_handles++] = http;
	else
		aic_http_free(http);
}

/* The thread has done what it can for this one. */
static void
end_call(struct aic_fetch *f, struct aic_fetch_call *call)
{
	keep_handle(f, call->http);
	call->http = NULL;
	call->easy = NULL;
	pthread_mutex_lock(&f->lock);
	f->calls--;
	call->over = true;
	call->took_us = aic_clock_us() - call->start_us;
	pthread_cond_signal(&call->ended);
	pthread_mutex_unlock(&f->lock);
}

static void
begin_call(struct aic_fetch *f, struct aic_fetch_call *call)
{
	call->answer.end = AIC_HTTP_NO_MEMORY;
	call->http = take_handle(f);
	if (call->http)
		call->easy = aic_http_begin(call->http, &call->req,
		    &call->answer);
	if (!call->easy) {
		end_call(f, call);
		return;
	}
	curl_easy_setopt(call->easy, CURLOPT_PRIVATE, call);
	if (curl_multi_add_handle(f->multi, call->easy) != CURLM_OK) {
		aic_http_finish(call->http, CURLE_FAILED_INIT);
		call->answer.end = AIC_HTTP_NO_MEMORY;
		end_call(f, call);
		return;
	}
	call->next_active = f->active;
	if (f->active)
		f->active->prev_active = call;
	f->active = call;
}

static void
finish_call(struct aic_fetch *f, struct aic_fetch_call *call, CURLcode rc)
{
	/* Before it leaves: afterwards the handle could not tell any more. */
	aic_http_finish(call->http, (int)rc);
	curl_multi_remove_handle(f->multi, call->easy);
	if (call->prev_active)
		call->prev_active->next_active = call->next_active;
	else
		f->active = call->next_active;
	if (call->next_active)
		call->next_active->prev_active = call->prev_active;
	end_call(f, call);
}

static void
finish_ended(struct aic_fetch *f)
{
	struct aic_fetch_call *call;
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(f->multi, &left))) {
		if (m->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &call);
		finish_call(f, call, m->data.result);
	}
}

/* What callers have ordered since the last look; false: to stop. */
static bool
take_orders(struct aic_fetch *f)
{
	struct aic_fetch_call *news, *drops, *call;
	bool stop;

	pthread_mutex_lock(&f->lock);
	news = f->news;
	drops = f->drops;
	f->news = f->drops = NULL;
	for (call = news; call; call = call->next_new)
		call->taken = true;
	stop = f->stop;
	pthread_mutex_unlock(&f->lock);
	/* Once begun a call may be over, and its caller may have freed it. */
	while ((call = news)) {
		news = call->next_new;
		begin_call(f, call);
	}
	while ((call = drops)) {
		drops = call->next_drop;
		if (!call->over)
			finish_call(f, call, CURLE_ABORTED_BY_CALLBACK);
		free_call(call);
	}
	return !stop;
}

static void *
carry_out(void *arg)
{
	struct aic_fetch *f = arg;
	int running;

	while (take_orders(f)) {
		curl_multi_perform(f->multi, &running);
		finish_ended(f);
		curl_multi_poll(f->multi, NULL, 0, IDLE_MS, NULL);
	}
	while (f->active)
		finish_call(f, f->active, CURLE_ABORTED_BY_CALLBACK);
	return NULL;
}

/* --- its callers ------------------------------------------------------- */

enum aic_code
aic_fetch_open(struct aic_fetch **ret_fetch, const struct aic_fetch_conf *conf,
    struct aic_err *err)
{
	struct aic_fetch *f = calloc(1, sizeof(*f));

	if (!f)
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	f->conf = *conf;
	f->multi = curl_multi_init();
	/* Without descriptors for it there would be no waking the thread. */
	if (!f->multi || curl_multi_wakeup(f->multi) != CURLM_OK) {
		curl_multi_cleanup(f->multi);
		free(f);
		return aic_fail(err, AIC_ENOMEM,
		    "could not set libcurl up for many calls");
	}
	curl_multi_setopt(f->multi, CURLMOPT_MAXCONNECTS, CONNECTIONS_KEPT);
	pthread_mutex_init(&f->lock, NULL);
	if (pthread_create(&f->thread, NULL, carry_out, f) != 0) {
		pthread_mutex_destroy(&f->lock);
		curl_multi_cleanup(f->multi);
		free(f);
		return aic_fail(err, AIC_ENOMEM, "could not start a thread");
	}
	*ret_fetch = f;
	return AIC_OK;
}

void
aic_fetch_close(struct aic_fetch *f)
{
	if (!f)
		return;
	pthread_mutex_lock(&f->lock);
	f->stop = true;
	pthread_mutex_unlock(&f->lock);
	curl_multi_wakeup(f->multi);
	pthread_join(f->thread, NULL);
	while (f->n_handles > 0)
		aic_http_free(f->handles[--f->n_handles]);
	curl_multi_cleanup(f->multi);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

static struct aic_fetch_call *
new_call(struct aic_fetch *f, const char *url, int64_t deadline_us)
{
	struct aic_fetch_call *call = calloc(1, sizeof(*call));

	if (!call)
		return NULL;
	call->url = strdup(url);
	if (!call->url) {
		free(call);
		return NULL;
	}
	call->f = f;
	call->start_us = aic_clock_us();
	call->deadline_us = deadline_us;
	call->req = (struct aic_http_request){ .url = call->url,
		.headers = f->conf.headers,
		.deadline_us = deadline_us,
		.connect_us = deadline_us - call->start_us };
	aic_buf_init(&call->answer.body, f->conf.answer_max);
	pthread_cond_init(&call->ended, NULL);
	return call;
}

struct aic_fetch_call *
aic_fetch_start(struct aic_fetch *f, const char *url, int64_t deadline_us)
{
	struct aic_fetch_call *call = new_call(f, url, deadline_us);
	bool room;

	if (!call)
		return NULL;
	pthread_mutex_lock(&f->lock);
	room = f->calls < f->conf.calls_max;
	if (room) {
		f->calls++;
		call->next_new = f->news;
		f->news = call;
	}
	pthread_mutex_unlock(&f->lock);
	if (!room) {
		free_call(call);
		return NULL;
	}
	curl_multi_wakeup(f->multi);
	return call;
}

const struct aic_http_answer *
aic_fetch_wait(struct aic_fetch_call *call, int64_t until_us,
    int64_t *ret_took_us)
{
	struct timespec until;
	bool over;

	if (until_us > call->deadline_us)
		until_us = call->deadline_us;
	until = aic_clock_spec(until_us);
	pthread_mutex_lock(&call->f->lock);
	while (!call->over && aic_clock_us() < until_us)
		pthread_cond_clockwait(&call->ended, &call->f->lock,
		    CLOCK_MONOTONIC, &until);
	over = call->over;
	pthread_mutex_unlock(&call->f->lock);
	if (!over)
		return NULL;
	*ret_took_us = call->took_us;
	return &call->answer;
}

/* Handed over and not yet taken; with the lock held. */
static void
take_back(struct aic_fetch_call *call)
{
	struct aic_fetch_call **at = &call->f->news;

	while (*at != call)
		at = &(*at)->next_new;
	*at = call->next_new;
	call->f->calls--;
}

void
aic_fetch_drop(struct aic_fetch_call *call)
{
	struct aic_fetch *f;
	bool ours;

	if (!call)
		return;
	f = call->f;
	pthread_mutex_lock(&f->lock);
	ours = call->over || !call->taken;
	if (!call->over && !call->taken) {
		take_back(call);
	} else if (!ours) {
		call->next_drop = f->drops;
		f->drops = call;
	}
	pthread_mutex_unlock(&f->lock);
	if (ours)
		free_call(call);
	else
		curl_multi_wakeup(f->multi);
}
