#include "config.h"

#include "lib/http_engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/http_flight.h"
#include "lib/http_sock.h"

/* Events that one epoll_wait() reads. */
#define EVENTS 64

/* Pause before the next attempt to allocate a multi handle. */
#define RENEW_US (10 * AIC_MS)

/*
 * Interval of the search for calls that have waited too long. A call without a
 * connection ends this long after its deadline at most.
 */
#define SWEEP_US (50 * AIC_MS)

/* --- the multi handle ------------------------------------------------- */

static void
run_libcurl(struct aic_http *h, int fd, int mask)
{
	CURLMcode rc;
	int running;

	/* libcurl does not call on_timer() when no timeout is left. */
	if (fd == CURL_SOCKET_TIMEOUT)
		h->timer_us = INT64_MAX;
	errno = 0;
	rc = curl_multi_socket_action(h->multi, fd, mask, &running);
	if (rc != CURLM_OK)
		h->broken = true;
}

static void
finish_ended(struct aic_http *h)
{
	struct aic_http_call *call;
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(h->multi, &left))) {
		if (m->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &call);
		aic_http_flight_finish(h, call, m->data.result);
	}
}

/*
 * Make libcurl examine the other streams of a connection on which a stream has
 * failed. If the connection itself failed, nghttp2 expects no more data from
 * it. libcurl 7.88 detects this only when it reads for a stream, and there is
 * no reason to read while the server leaves the connection open and sends
 * nothing. On a sound connection without new data, the read changes nothing.
 * True: libcurl has read.
 */
static bool
check_suspect(struct aic_http *h)
{
	const void *suspect = h->suspect;
	int fd;

	h->suspect = NULL;
	if (!suspect || !aic_http_flight_uses(h, suspect))
		return false;
	fd = aic_http_sock_find(h, suspect);
	if (fd < 0)
		return false;
	run_libcurl(h, fd, CURL_CSELECT_IN);
	return true;
}

static void
finish_transfers(struct aic_http *h)
{
	do {
		finish_ended(h);
	} while (check_suspect(h));
}

static int
on_timer(CURLM *multi, long ms, void *arg)
{
	struct aic_http *h = arg;

	(void)multi;
	h->timer_us = ms < 0 ? INT64_MAX : aic_clock_us() + ms * AIC_MS;
	return 0;
}

bool
aic_http_engine_init(struct aic_http *h)
{
	h->timer_us = INT64_MAX;
	h->multi = curl_multi_init();
	if (!h->multi)
		return false;
	curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION,
	    aic_http_sock_on_watch);
	curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
	curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
	/*
	 * All connections of a burst are kept for the next one, until they are
	 * AIC_HTTP_IDLE_MAX_S old.
	 */
	curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS,
	    (long)h->connections_kept);
	return true;
}

void
aic_http_engine_done(struct aic_http *h)
{
	struct aic_http_upstream *up;

	/*
	 * Before the upstreams are freed, because closing the connections
	 * changes their counts.
	 */
	curl_multi_cleanup(h->multi);
	while ((up = h->upstreams)) {
		h->upstreams = up->next;
		/* The key contains the password of the proxy. */
		explicit_bzero(up->key, strlen(up->key));
		free(up->key);
		free(up);
	}
}

/*
 * Replace the multi handle if necessary. There are two reasons.
 *
 * The first is an allocation failure. libcurl 7.88 does not report which
 * transfers it affected. Some would wait until their deadline for an event that
 * epoll does not watch for, and the socket table of libcurl may lack entries.
 * All calls in flight therefore fail, and the old handle is not used again.
 *
 * The second is a shortage of descriptors: libcurl has no call that closes idle
 * connections. This replacement waits until no transfer uses the old handle.
 */
static void
renew_multi(struct aic_http *h)
{
	if (!h->broken && (h->n_begun > 0 || !atomic_load(&h->shed)))
		return;
	aic_http_flight_fail_begun(h);
	curl_multi_cleanup(h->multi);
	h->broken = !aic_http_engine_init(h);
	atomic_store(&h->shed, false);
}

/* --- submitted and cancelled calls ------------------------------------ */

void
aic_http_engine_submit(struct aic_http *h, struct aic_http_call *call)
{
	call->next_submitted = atomic_load(&h->submitted);
	while (!atomic_compare_exchange_weak(&h->submitted,
	    &call->next_submitted, call))
		;
}

void
aic_http_engine_cancel(struct aic_http *h, struct aic_http_call *call,
    enum aic_http_end as)
{
	call->cancelled_as = as;
	atomic_store(&call->cancelled, true);
	atomic_fetch_add(&call->owners, 1); /* the list */
	call->next_cancelled = atomic_load(&h->cancelled);
	while (!atomic_compare_exchange_weak(&h->cancelled,
	    &call->next_cancelled, call))
		;
}

/* Reverse the list, so that the oldest call is first. */
static struct aic_http_call *
reverse_list(struct aic_http_call *newest)
{
	struct aic_http_call *first = NULL, *next;

	for (; newest; newest = next) {
		next = newest->next_submitted;
		newest->next_submitted = first;
		first = newest;
	}
	return first;
}

static struct aic_http_upstream *
find_upstream(struct aic_http *h, struct aic_http_call *call)
{
	struct aic_http_upstream *up;

	for (up = h->upstreams; up; up = up->next)
		if (strcmp(up->key, call->upstream_key) == 0)
			return up;
	up = calloc(1, sizeof(*up));
	if (!up)
		return NULL;
	up->key = call->upstream_key;
	call->upstream_key = NULL;
	aic_http_route_init(&up->route, call->plain, h->connections_max);
	up->next = h->upstreams;
	h->upstreams = up;
	return up;
}

static void
receive_call(struct aic_http *h, struct aic_http_call *call)
{
	struct aic_http_upstream *up = find_upstream(h, call);

	if (up)
		aic_http_flight_queue(call, up);
	else
		aic_http_flight_fail(h, call, AIC_HTTP_NO_MEMORY,
		    "out of memory");
}

static void
take_orders(struct aic_http *h)
{
	struct aic_http_call *call, *cancelled, *next;

	/*
	 * The cancelled calls are read first, because a call is submitted
	 * before it is cancelled. Each of them is then among the submitted
	 * calls that are read next, or was received earlier.
	 */
	cancelled = atomic_exchange(&h->cancelled, NULL);
	call = reverse_list(atomic_exchange(&h->submitted, NULL));
	for (; call; call = next) {
		next = call->next_submitted;
		receive_call(h, call);
	}
	for (call = cancelled; call; call = next) {
		next = call->next_cancelled;
		aic_http_flight_cancel(h, call);
		aic_http_flight_release(call);
	}
}

/* Whether another thread left something to do. */
static bool
has_orders(const struct aic_http *h)
{
	return atomic_load(&h->submitted) || atomic_load(&h->cancelled) ||
	    atomic_load(&h->stop) || (h->n_begun == 0 && atomic_load(&h->shed));
}

/* --- due work --------------------------------------------------------- */

/* Begin the calls for which there is room. True: libcurl has work to do. */
static bool
admit_calls(struct aic_http *h, struct aic_http_upstream *up)
{
	enum aic_http_admission how;
	bool any = false;

	if (up->route.calls == 0 && up->route.sockets > up->route.stale &&
	    aic_clock_us() - up->used_us > AIC_HTTP_IDLE_MAX_S * AIC_S)
		aic_http_sock_age_idle(h, up);
	while (up->waiting.head) {
		how = aic_http_route_admit(&up->route);
		if (how == AIC_HTTP_WAIT)
			break;
		aic_http_flight_begin(h, up->waiting.head,
		    how == AIC_HTTP_OPEN);
		any = true;
	}
	if (any)
		curl_multi_setopt(h->multi, CURLMOPT_MAX_CONCURRENT_STREAMS,
		    (long)aic_http_route_streams(&up->route));
	return any;
}

/* Fail the calls that have waited for too long. */
static void
sweep_waiting(struct aic_http *h, struct aic_http_upstream *up, int64_t now)
{
	struct aic_http_call *call, *next;
	bool none = !aic_http_route_connected(&up->route);

	for (call = up->waiting.head; call; call = next) {
		next = call->next;
		if (now >= call->deadline_us ||
		    (none && now - call->start_us >= call->connect_us))
			aic_http_flight_fail(h, call, AIC_HTTP_CONNECT,
			    "no connection was free in time");
	}
}

static void
advance_calls(struct aic_http *h)
{
	int64_t now = aic_clock_us();
	bool sweep = now >= h->sweep_us, any = false;
	struct aic_http_upstream *up;

	if (sweep)
		h->sweep_us = now + SWEEP_US;
	if (sweep && h->n_unsent > 0)
		aic_http_flight_sweep(h, now);
	for (up = h->upstreams; up; up = up->next) {
		if (!up->waiting.head)
			continue;
		if (sweep)
			sweep_waiting(h, up, now);
		if (!h->broken && admit_calls(h, up)) {
			run_libcurl(h, CURL_SOCKET_TIMEOUT, 0);
			any = true;
		}
	}
	if (!any && !h->broken && h->timer_us <= now)
		run_libcurl(h, CURL_SOCKET_TIMEOUT, 0);
	finish_transfers(h);
	aic_http_flight_free_sent(h);
}

void
aic_http_engine_step(struct aic_http *h)
{
	take_orders(h);
	renew_multi(h);
	advance_calls(h);
}

bool
aic_http_engine_has_work(const struct aic_http *h)
{
	const struct aic_http_upstream *up;

	for (up = h->upstreams; up; up = up->next)
		if (up->waiting.head)
			return true;
	return h->n_begun > 0 || h->broken || has_orders(h);
}

void
aic_http_engine_cancel_all(struct aic_http *h)
{
	struct aic_http_upstream *up;

	take_orders(h);
	while (h->begun.head)
		aic_http_flight_cancel(h, h->begun.head);
	for (up = h->upstreams; up; up = up->next)
		while (up->waiting.head)
			aic_http_flight_cancel(h, up->waiting.head);
}

/* --- events ----------------------------------------------------------- */

static int
sleep_ms(const struct aic_http *h, int64_t until_us)
{
	const struct aic_http_upstream *up;

	if (h->timer_us < until_us)
		until_us = h->timer_us;
	if (h->n_unsent > 0 && h->sweep_us < until_us)
		until_us = h->sweep_us;
	if (h->broken && aic_clock_us() + RENEW_US < until_us)
		until_us = aic_clock_us() + RENEW_US;
	for (up = h->upstreams; up; up = up->next)
		if (up->waiting.head && h->sweep_us < until_us)
			until_us = h->sweep_us;
	return aic_clock_left_ms(until_us);
}

static void
handle_event(struct aic_http *h, const struct epoll_event *e)
{
	int fd = e->data.fd, mask = 0;
	uint64_t count;

	if (fd == h->wakeup) {
		if (read(h->wakeup, &count, sizeof(count)) < 0)
			return; /* another thread has read it */
		return;
	}
	if (aic_http_sock_note_idle(h, fd, e->events))
		return;
	if (e->events & (EPOLLIN | EPOLLHUP))
		mask |= CURL_CSELECT_IN;
	if (e->events & EPOLLOUT)
		mask |= CURL_CSELECT_OUT;
	if (e->events & EPOLLERR)
		mask |= CURL_CSELECT_ERR;
	run_libcurl(h, fd, mask);
	finish_transfers(h);
}

/*
 * A thread that submits or cancels a call during the wait finds `asleep' set
 * and writes to the eventfd. has_orders() finds earlier calls, because it is
 * evaluated after `asleep' has been set.
 */
void
aic_http_engine_wait(struct aic_http *h, int64_t until_us)
{
	struct epoll_event events[EVENTS];
	int i, n, ms = 0;

	if (until_us > 0) {
		ms = sleep_ms(h, until_us);
		atomic_store(&h->asleep, true);
		if (has_orders(h))
			ms = 0;
	}
	n = epoll_wait(h->epoll, events, EVENTS, ms);
	atomic_store(&h->asleep, false);
	h->polled_us = aic_clock_us();
	for (i = 0; i < n; i++)
		handle_event(h, &events[i]);
}
