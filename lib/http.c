#include "config.h"

#include "lib/http.h"

#include <curl/curl.h>
#include <errno.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/http_route.h"
#include "lib/http_transfer.h"
#include "lib/http_trust.h"

/*
 * libcurl handles that are kept for later calls. One takes some 6 KB and 10 us
 * to make. Handles beyond this number are made and freed.
 */
#define HANDLES_KEPT 64

/* Events that one epoll_wait() reads. */
#define EVENTS 64

/* Pause before the next attempt to allocate a multi handle. */
#define RENEW_US (10 * AIC_MS)

/*
 * How late a call is ended that has no connection at its deadline; and the
 * longest sleep of the driving thread.
 */
#define SWEEP_US (50 * AIC_MS)
#define SLEEP_MAX_US (60 * AIC_S)

/* How often a waiting caller checks whether the response is still needed. */
#define GONE_EVERY_US (1 * AIC_S)

/*
 * With more calls in flight than this, the thread of the engine drives. It
 * hardly ever sleeps under such a load, so callers rarely wait for it to wake
 * up. The stacks of the callers also stay small: TLS would make each of
 * thousands 25 KB larger.
 */
#define CROWD 48

/*
 * How long after a request was sent again libcurl's log is read, to detect
 * whether the server had refused the request. The first repetition counts as an
 * attempt in any case.
 */
#define REFUSALS_US (600 * AIC_S)

/* How old the knowledge may be that no idle connection has ended. */
#define LOOK_US (5 * AIC_MS)

/* libcurl ends a call this long after its deadline, if the caller has not. */
#define LATE_MS 500

/*
 * How long a caller waits for the engine to end a cancelled call. Usually this
 * takes milliseconds.
 */
#define GRACE_US (1 * AIC_S)

/*
 * A call has two owners, its caller and the engine. It is freed when both have
 * released it. After submit_call(), only the thread that drives uses the
 * members marked `engine'. Once `over' is set, the response belongs to the
 * caller.
 */
struct aic_http_call {
	struct aic_http *http;
	struct aic_http_transfer transfer;
	struct aic_http_trust *trust;
	char *route_key;
	bool plain;
	int64_t start_us, deadline_us, connect_us;

	atomic_int owners;
	atomic_bool over;
	atomic_bool cancelled;
	/* GONE or TIMEOUT; set before `cancelled' */
	enum aic_http_end cancelled_as;
	sem_t wake; /* the call is over, or its caller is to drive */
	struct aic_http_call *next_news, *next_drop;

	/* Guarded by http->lock. */
	bool follows; /* in http->followers */
	bool promoted; /* its caller is to drive the engine */
	struct aic_http_call *prev_follower, *next_follower;

	/* Engine: used by the driving thread alone. */
	struct route *route;
	enum { HANDED_OVER, WAITING, BEGUN, ENDED } state;
	bool opening; /* counted in route->now.opening */
	bool resent; /* libcurl was about to send the request again */
	bool unsent; /* begun, but the request has not been sent */
	int64_t give_up_us; /* when to end the call if it is still unsent */
	int connecting; /* sockets that are connecting for it */
	int fd; /* the latest of these sockets */
	const void *stream_of; /* the HTTP/2 connection; NULL: none */
	struct aic_http_call *prev, *next; /* in the list of its state */
	struct aic_http_call *next_sending; /* in http->sending */
};

struct list {
	struct aic_http_call *head, *tail;
};

/*
 * A server, identified by its address, the proxy and the store of roots. There
 * are as many routes as the settings name.
 */
struct route {
	struct route *next;
	char *key;
	struct aic_http_route now;
	struct list waiting;
	int64_t used_us; /* when a call last ended */
	/* when libcurl last was about to send a request again; 0: never */
	int64_t resent_us;
};

/* The state of a descriptor. */
struct sock {
	struct route *route; /* NULL: not an upstream connection */
	uint32_t events; /* the events that epoll waits for; 0: none */
	bool watched; /* registered with epoll */
	bool idle; /* no transfer uses it */
	bool connected; /* connected; libcurl then reports its close */
	bool stale; /* counted in route->now.stale */
	const void *stream_of; /* the HTTP/2 connection, if known */
};

struct aic_http {
	struct aic_http_conf conf;
	struct aic_http_trust *trust; /* the roots of the system */
	CURLSH *share;
	pthread_mutex_t share_locks[CURL_LOCK_DATA_LAST];
	pthread_t thread;
	int epoll, wakeup; /* wakeup: an eventfd */
	atomic_int calls;
	atomic_bool asleep;
	atomic_bool stop;
	atomic_bool shed; /* close the idle connections */
	struct aic_http_call *_Atomic news; /* started calls, newest first */
	struct aic_http_call *_Atomic drops; /* cancelled calls, newest first */

	pthread_mutex_t lock; /* guards the members of this block */
	CURL *handles[HANDLES_KEPT];
	int n_handles;
	bool driven; /* a thread drives */
	bool alone; /* ... and it is the thread of the engine */
	struct aic_http_call *followers; /* callers that wait, newest first */
	pthread_cond_t idle; /* signals work for the engine's thread */

	/* Used by the driving thread alone. */
	CURLM *multi;
	int64_t timer_us; /* timeout of libcurl; INT64_MAX: none */
	int64_t sweep_us; /* next sweep of waiting and unsent calls */
	int64_t looked_us; /* time of the last epoll_wait() */
	bool broken; /* the multi handle is; see renew_multi() */
	struct route *routes;
	struct list begun;
	atomic_int n_begun; /* any thread may read it */
	struct aic_http_call *sending; /* calls whose requests are being sent */
	int n_unsent;
	const void *suspect; /* an HTTP/2 connection that may have failed */
	struct sock *socks; /* by descriptor */
	int n_socks;
};

/* --- helpers --------------------------------------------------------- */

static void
list_add(struct list *l, struct aic_http_call *call)
{
	call->next = NULL;
	call->prev = l->tail;
	if (l->tail)
		l->tail->next = call;
	else
		l->head = call;
	l->tail = call;
}

static void
list_remove(struct list *l, struct aic_http_call *call)
{
	if (call->prev)
		call->prev->next = call->next;
	else
		l->head = call->next;
	if (call->next)
		call->next->prev = call->prev;
	else
		l->tail = call->prev;
}

static void
lock_share(CURL *easy, curl_lock_data data, curl_lock_access access, void *arg)
{
	struct aic_http *h = arg;

	(void)easy, (void)access;
	pthread_mutex_lock(&h->share_locks[data]);
}

static void
unlock_share(CURL *easy, curl_lock_data data, void *arg)
{
	struct aic_http *h = arg;

	(void)easy;
	pthread_mutex_unlock(&h->share_locks[data]);
}

/*
 * Wipe and free a route key, which contains the password of the proxy. NULL is
 * allowed.
 */
static void
wipe_text(char *s)
{
	if (s)
		explicit_bzero(s, strlen(s));
	free(s);
}

static CURL *
take_handle(struct aic_http *h)
{
	CURL *easy = NULL;

	pthread_mutex_lock(&h->lock);
	if (h->n_handles > 0)
		easy = h->handles[--h->n_handles];
	pthread_mutex_unlock(&h->lock);
	return easy ? easy : aic_http_transfer_handle(h->share);
}

static void
give_handle(struct aic_http *h, CURL *easy)
{
	/* These options point into a call that will be freed. */
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, NULL);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, NULL);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDS, NULL);
	pthread_mutex_lock(&h->lock);
	if (h->n_handles < HANDLES_KEPT) {
		h->handles[h->n_handles++] = easy;
		easy = NULL;
	}
	pthread_mutex_unlock(&h->lock);
	if (easy)
		curl_easy_cleanup(easy);
}

static void
free_call(struct aic_http_call *call)
{
	if (call->transfer.easy)
		give_handle(call->http, call->transfer.easy);
	aic_http_transfer_done(&call->transfer);
	aic_http_trust_close(call->trust);
	sem_destroy(&call->wake);
	wipe_text(call->route_key);
	free(call);
}

static void
release_call(struct aic_http_call *call)
{
	if (atomic_fetch_sub(&call->owners, 1) == 1)
		free_call(call);
}

/* Wake the driving thread if it sleeps. */
static void
wake_driver(struct aic_http *h)
{
	static const uint64_t one = 1;
	ssize_t n;

	if (!atomic_exchange(&h->asleep, false))
		return;
	do {
		n = write(h->wakeup, &one, sizeof(one));
	} while (n < 0 && errno == EINTR);
}

/* A call was started or cancelled: make sure that a thread handles it. */
static void
notify_driver(struct aic_http *h)
{
	bool driven;

	pthread_mutex_lock(&h->lock);
	driven = h->driven;
	if (!driven)
		pthread_cond_signal(&h->idle);
	pthread_mutex_unlock(&h->lock);
	if (driven)
		wake_driver(h);
}

/* --- descriptors ------------------------------------------------------- */

/* The state of descriptor fd. NULL: out of memory. */
static struct sock *
get_sock(struct aic_http *h, int fd)
{
	struct sock *more;
	int n = h->n_socks ? h->n_socks : 64;

	if (fd < h->n_socks)
		return &h->socks[fd];
	while (n <= fd)
		n *= 2;
	more = realloc(h->socks, (size_t)n * sizeof(*more));
	if (!more)
		return NULL;
	memset(more + h->n_socks, 0, (size_t)(n - h->n_socks) * sizeof(*more));
	h->socks = more;
	h->n_socks = n;
	return &h->socks[fd];
}

static void
set_stale(struct sock *s, bool stale)
{
	if (s->route && s->stale != stale)
		s->route->now.stale += stale ? 1 : -1;
	s->stale = stale;
}

/* The descriptor is closed, or has been reused for another socket. */
static void
reset_sock(struct sock *s)
{
	set_stale(s, false);
	if (s->route)
		s->route->now.sockets--;
	*s = (struct sock){ .route = NULL };
}

/* Register with epoll the events that the entry of the descriptor lists. */
static void
update_epoll(struct aic_http *h, int fd, struct sock *s)
{
	struct epoll_event e = { .events = s->events, .data = { .fd = fd } };
	int op = s->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

	if (s->events == 0) {
		if (s->watched)
			epoll_ctl(h->epoll, EPOLL_CTL_DEL, fd, NULL);
		s->watched = false;
		return;
	}
	s->watched = epoll_ctl(h->epoll, op, fd, &e) == 0;
	if (s->watched)
		return;
	/*
	 * libcurl closes a socket that has not connected yet without calling
	 * on_close_socket(), and then reports that it no longer waits for it.
	 * The failure of epoll_ctl() is expected in that case.
	 */
	if (s->idle)
		reset_sock(s);
	else
		h->broken = true;
}

/*
 * libcurl reports the events that it waits for. A kept connection that it no
 * longer waits for stays registered as it is, because the next call usually
 * waits for the same events. handle_event() notices meanwhile when the
 * connection ends.
 */
static int
on_watch(CURL *easy, curl_socket_t fd, int what, void *arg, void *sock_arg)
{
	struct aic_http *h = arg;
	struct sock *s = get_sock(h, fd);
	struct aic_http_call *call = NULL;
	uint32_t events = 0;

	(void)sock_arg;
	/*
	 * Every connection has an entry, made by on_open_socket(). If there is
	 * none for a descriptor of libcurl's resolver, libcurl polls it with a
	 * timer instead.
	 */
	if (!s)
		return 0;
	s->idle = what == CURL_POLL_REMOVE;
	if (s->idle && s->route && s->connected)
		return 0;
	if (s->idle) {
		events = s->route ? EPOLLRDHUP : 0;
	} else {
		set_stale(s, false);
		curl_easy_getinfo(easy, CURLINFO_PRIVATE, &call);
		if (call && call->stream_of && call->connecting == 0)
			s->stream_of = call->stream_of;
		events = EPOLLRDHUP | (what & CURL_POLL_IN ? EPOLLIN : 0) |
		    (what & CURL_POLL_OUT ? EPOLLOUT : 0);
	}
	if (s->watched ? s->events == events : events == 0)
		return 0;
	s->events = events;
	update_epoll(h, fd, s);
	return 0;
}

/*
 * libcurl is about to send a request. If it has sent the request before, the
 * connection ended or the server refused the stream.
 */
static void
note_resent(struct aic_http_call *call)
{
	if (!call->stream_of)
		return;
	call->resent = true;
	call->http->suspect = call->stream_of;
	call->route->resent_us = aic_clock_us();
}

static curl_socket_t
on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct aic_http_call *call = arg;
	struct sock *s;
	int fd;

	(void)purpose;
	note_resent(call);
	if (!aic_http_transfer_may_connect(&call->transfer))
		return CURL_SOCKET_BAD;
	fd = socket(address->family, address->socktype | SOCK_CLOEXEC,
	    address->protocol);
	s = fd >= 0 ? get_sock(call->http, fd) : NULL;
	if (!s) {
		/*
		 * A host without IPv6 cannot open its sockets, but can open
		 * those of IPv4.
		 */
		call->transfer.no_socket = fd >= 0 || errno != EAFNOSUPPORT;
		if (fd >= 0)
			close(fd);
		return CURL_SOCKET_BAD;
	}
	reset_sock(s);
	s->route = call->route;
	call->route->now.sockets++;
	call->route->now.connecting++;
	call->connecting++;
	call->fd = fd;
	return fd;
}

static int
on_close_socket(void *arg, curl_socket_t fd)
{
	struct aic_http *h = arg;
	struct sock *s = get_sock(h, fd);

	if (s)
		reset_sock(s);
	return close(fd);
}

/* --- transfers --------------------------------------------------------- */

static void
set_unsent(struct aic_http_call *call, bool unsent)
{
	if (call->unsent != unsent)
		call->http->n_unsent += unsent ? 1 : -1;
	call->unsent = unsent;
}

/* The connection of the call is open, or the call has ended without one. */
static void
leave_opening(struct aic_http_call *call)
{
	struct aic_http_route *r = &call->route->now;

	if (call->opening)
		r->opening--;
	r->connecting -= call->connecting;
	call->opening = false;
	call->connecting = 0;
}

static void
detect_protocol(struct aic_http_call *call)
{
	struct curl_tlssessioninfo *tls = NULL;
	const unsigned char *name = NULL;
	unsigned len = 0;

	if (curl_easy_getinfo(call->transfer.easy, CURLINFO_TLS_SSL_PTR,
		&tls) != CURLE_OK ||
	    !tls || !tls->internals)
		return;
	SSL_get0_alpn_selected(tls->internals, &name, &len);
	call->transfer.http2 = len == 2 && memcmp(name, "h2", 2) == 0;
	if (call->transfer.http2) {
		call->route->now.protocol = AIC_HTTP_2;
		call->stream_of = tls->internals;
	} else {
		call->route->now.protocol = AIC_HTTP_1;
	}
}

/*
 * A linear search: a request stays in this list for milliseconds, unless the
 * server is slow to read it.
 */
static void
leave_sending(struct aic_http_call *call)
{
	struct aic_http_call **p = &call->http->sending;

	while (*p && *p != call)
		p = &(*p)->next_sending;
	if (*p)
		*p = call->next_sending;
}

static void
free_sent(struct aic_http *h)
{
	struct aic_http_call **p = &h->sending, *call;

	while ((call = *p)) {
		if (aic_http_transfer_free_sent(&call->transfer))
			*p = call->next_sending;
		else
			p = &call->next_sending;
	}
}

/* A connection is open, and the request is about to be sent. */
static int
on_request(void *arg, char *ip, char *local_ip, int port, int local_port)
{
	struct aic_http_call *call = arg;
	struct sock *s = NULL;

	(void)ip, (void)local_ip, (void)port, (void)local_port;
	/*
	 * With several sockets, for several addresses, it is unknown which of
	 * them connected.
	 */
	if (call->connecting == 1) {
		s = &call->http->socks[call->fd];
		s->connected = true;
	}
	leave_opening(call);
	set_unsent(call, false);
	note_resent(call);
	if (!aic_http_transfer_may_send(&call->transfer))
		return CURL_PREREQFUNC_ABORT;
	if (!call->plain)
		detect_protocol(call);
	if (s)
		s->stream_of = call->stream_of;
	if (call->transfer.has_body) {
		/*
		 * The call may be in the list: libcurl sends a refused request
		 * again.
		 */
		leave_sending(call);
		call->next_sending = call->http->sending;
		call->http->sending = call;
	}
	return CURL_PREREQFUNC_OK;
}

/* End a call whose answer has been set. */
static void
end_call(struct aic_http *h, struct aic_http_call *call)
{
	if (call->state == WAITING)
		list_remove(&call->route->waiting, call);
	call->state = ENDED;
	call->transfer.answer.took_us = aic_clock_us() - call->start_us;
	/*
	 * Do not reuse the handle of a request that was sent again. libcurl
	 * 7.88 keeps in the handle that a stream was refused, and would treat
	 * the next connection that ends as another refusal.
	 */
	if (call->transfer.answer.end == AIC_HTTP_ANSWERED && !call->resent)
		give_handle(h, call->transfer.easy);
	else
		curl_easy_cleanup(call->transfer.easy);
	call->transfer.easy = NULL;
	atomic_fetch_sub(&h->calls, 1);
	atomic_store(&call->over, true);
	sem_post(&call->wake);
	release_call(call);
}

static void
fail_call(struct aic_http *h, struct aic_http_call *call, enum aic_http_end end,
    const char *why)
{
	aic_http_transfer_fail(&call->transfer, end, why);
	end_call(h, call);
}

static struct aic_http_call *
find_neighbour(struct aic_http *h, const void *stream_of,
    const struct aic_http_call *call)
{
	struct aic_http_call *other;

	for (other = h->begun.head; other; other = other->next)
		if (other != call && other->stream_of == stream_of)
			return other;
	return NULL;
}

/*
 * Make libcurl read and write on the connection of the call, although no event
 * has arrived. Pausing and resuming a transfer does this.
 */
static void
flush_connection(struct aic_http_call *call)
{
	curl_easy_pause(call->transfer.easy, CURLPAUSE_RECV);
	curl_easy_pause(call->transfer.easy, CURLPAUSE_CONT);
}

/* Remove the call from libcurl, whatever its state. */
static void
remove_transfer(struct aic_http *h, struct aic_http_call *call)
{
	curl_multi_remove_handle(h->multi, call->transfer.easy);
	leave_opening(call);
	leave_sending(call);
	set_unsent(call, false);
	call->route->now.calls--;
	call->route->used_us = aic_clock_us();
	list_remove(&h->begun, call);
	h->n_begun--;
}

static void
begin_call(struct aic_http *h, struct aic_http_call *call, bool own)
{
	struct route *r = call->route;
	CURL *e = call->transfer.easy;
	long left_ms = aic_clock_left_ms(call->deadline_us);
	long connect_ms = (long)(call->connect_us / AIC_MS);

	list_remove(&r->waiting, call);
	call->state = BEGUN;
	if (connect_ms > left_ms)
		connect_ms = left_ms;
	/*
	 * The caller ends the call at its deadline, see abort_transfer(). This
	 * is the fallback. 0 would mean no limit.
	 */
	curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, left_ms + LATE_MS);
	curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS,
	    connect_ms > 0 ? connect_ms : 1L);
	curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, own ? 1L : 0L);
	/*
	 * If all connections have ended meanwhile, one of the calls that were
	 * to share them opens a connection, and the others wait for it.
	 */
	curl_easy_setopt(e, CURLOPT_PIPEWAIT,
	    r->now.protocol == AIC_HTTP_2 && !own ? 1L : 0L);
	aic_http_transfer_watch_refusals(&call->transfer,
	    r->resent_us > 0 && aic_clock_us() - r->resent_us < REFUSALS_US);
	if (curl_multi_add_handle(h->multi, e) != CURLM_OK) {
		fail_call(h, call, AIC_HTTP_NO_MEMORY, "out of memory");
		return;
	}
	list_add(&h->begun, call);
	h->n_begun++;
	r->now.calls++;
	set_unsent(call, true);
	call->give_up_us = aic_clock_us() + (connect_ms + LATE_MS) * AIC_MS;
	call->opening = own;
	if (own)
		r->now.opening++;
}

/*
 * Mark idle connections as stale that libcurl no longer uses because of their
 * age. Calls that relied on them would all have to wait for a new connection.
 */
static void
age_idle(struct aic_http *h, struct route *r)
{
	int fd;

	for (fd = 0; fd < h->n_socks; fd++)
		if (h->socks[fd].route == r && h->socks[fd].idle)
			set_stale(&h->socks[fd], true);
}

/* Begin the calls for which there is room. True: libcurl has work to do. */
static bool
admit_calls(struct aic_http *h, struct route *r)
{
	enum aic_http_admission how;
	bool any = false;

	if (r->now.calls == 0 && r->now.sockets > r->now.stale &&
	    aic_clock_us() - r->used_us > AIC_HTTP_IDLE_MAX_S * AIC_S)
		age_idle(h, r);
	while (r->waiting.head) {
		how = aic_http_route_admit(&r->now);
		if (how == AIC_HTTP_WAIT)
			break;
		begin_call(h, r->waiting.head, how == AIC_HTTP_OPEN);
		any = true;
	}
	if (any)
		curl_multi_setopt(h->multi, CURLMOPT_MAX_CONCURRENT_STREAMS,
		    (long)aic_http_route_streams(&r->now));
	return any;
}

/* Fail the calls that have waited for too long. */
static void
sweep_route(struct aic_http *h, struct route *r, int64_t now)
{
	struct aic_http_call *call, *next;
	bool none = !aic_http_route_connected(&r->now);

	for (call = r->waiting.head; call; call = next) {
		next = call->next;
		if (now >= call->deadline_us ||
		    (none && now - call->start_us >= call->connect_us))
			fail_call(h, call, AIC_HTTP_CONNECT,
			    "no connection was free in time");
	}
}

/* --- the engine -------------------------------------------------------- */

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
		aic_http_transfer_end(&call->transfer, m->data.result);
		if (call->transfer.answer.end != AIC_HTTP_ANSWERED &&
		    call->stream_of)
			h->suspect = call->stream_of;
		remove_transfer(h, call);
		end_call(h, call);
	}
}

/*
 * Make libcurl examine the other streams of a connection on which a stream has
 * failed. If the connection itself failed, nghttp2 expects nothing more from
 * it, but libcurl 7.88 detects this only when it reads for a stream, and a
 * server that leaves the connection open causes no read. On a sound connection
 * without new data, the read changes nothing. True: libcurl has read.
 */
static bool
check_suspect(struct aic_http *h)
{
	const void *suspect = h->suspect;
	int fd;

	h->suspect = NULL;
	if (!suspect || !find_neighbour(h, suspect, NULL))
		return false;
	for (fd = 0; fd < h->n_socks; fd++) {
		if (h->socks[fd].stream_of == suspect) {
			run_libcurl(h, fd, CURL_CSELECT_IN);
			return true;
		}
	}
	return false;
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

/* False: out of memory. */
static bool
make_multi(struct aic_http *h)
{
	h->timer_us = INT64_MAX;
	h->multi = curl_multi_init();
	if (!h->multi)
		return false;
	curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, on_watch);
	curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
	curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
	/*
	 * All connections of a burst are kept for the next one, until they are
	 * AIC_HTTP_IDLE_MAX_S old.
	 */
	curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS,
	    (long)h->conf.calls_max + AIC_HTTP_CONNECTIONS);
	return true;
}

static struct route *
find_route(struct aic_http *h, struct aic_http_call *call)
{
	struct route *r;

	for (r = h->routes; r; r = r->next)
		if (strcmp(r->key, call->route_key) == 0)
			return r;
	r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	r->key = call->route_key;
	call->route_key = NULL;
	aic_http_route_init(&r->now, call->plain, h->conf.connections_max);
	r->next = h->routes;
	h->routes = r;
	return r;
}

static void
receive_call(struct aic_http *h, struct aic_http_call *call)
{
	call->route = find_route(h, call);
	if (!call->route) {
		fail_call(h, call, AIC_HTTP_NO_MEMORY, "out of memory");
		return;
	}
	call->state = WAITING;
	list_add(&call->route->waiting, call);
}

/* Reverse the list, so that the oldest call is first. */
static struct aic_http_call *
reverse_list(struct aic_http_call *newest)
{
	struct aic_http_call *first = NULL, *next;

	for (; newest; newest = next) {
		next = newest->next_news;
		newest->next_news = first;
		first = newest;
	}
	return first;
}

/*
 * End a transfer and reset its stream at once, because the server charges for
 * the tokens that it still generates.
 *
 * libcurl 7.88 writes RST_STREAM into a buffer of the connection. The buffer is
 * sent with the next bytes of another stream, which may be a call that begins
 * or a reply to the server. flush_connection() on another stream sends it
 * immediately. A connection without other streams is closed instead.
 */
static void
abort_transfer(struct aic_http *h, struct aic_http_call *call)
{
	struct aic_http_call *other = NULL;

	if (call->stream_of)
		other = find_neighbour(h, call->stream_of, call);
	if (!other)
		curl_easy_setopt(call->transfer.easy, CURLOPT_FORBID_REUSE, 1L);
	remove_transfer(h, call);
	if (other)
		flush_connection(other);
	curl_easy_setopt(call->transfer.easy, CURLOPT_FORBID_REUSE, 0L);
}

static void
cancel_call(struct aic_http *h, struct aic_http_call *call)
{
	enum aic_http_end end = call->cancelled_as;

	/* Nothing was sent, so another attempt is safe. */
	if (end == AIC_HTTP_TIMEOUT && call->transfer.requests == 0)
		end = AIC_HTTP_CONNECT;
	if (call->state == BEGUN)
		abort_transfer(h, call);
	if (call->state != ENDED)
		fail_call(h, call, end,
		    end == AIC_HTTP_GONE ? "cancelled" : "the time was over");
}

static void
take_orders(struct aic_http *h)
{
	struct aic_http_call *news, *drops, *next;

	/*
	 * `drops' is read first, because a call is started before it is
	 * cancelled. Every cancelled call is then among `news' or known
	 * already.
	 */
	drops = atomic_exchange(&h->drops, NULL);
	news = reverse_list(atomic_exchange(&h->news, NULL));
	for (; news; news = next) {
		next = news->next_news;
		receive_call(h, news);
	}
	for (; drops; drops = next) {
		next = drops->next_drop;
		cancel_call(h, drops);
		release_call(drops);
	}
}

/*
 * Replace the multi handle if necessary. There are two reasons.
 *
 * The first is an allocation failure. libcurl 7.88 does not report which
 * transfers it affected. Some would wait until their deadline for an event that
 * nothing waits for, and the socket table of libcurl may lack entries. All
 * calls in flight therefore fail, and the old handle is not used again.
 *
 * The second is a shortage of descriptors: libcurl has no call that closes idle
 * connections. This replacement waits until no transfer uses the old handle.
 */
static void
renew_multi(struct aic_http *h)
{
	struct aic_http_call *call;

	if (!h->broken && (h->n_begun > 0 || !atomic_load(&h->shed)))
		return;
	while ((call = h->begun.head)) {
		remove_transfer(h, call);
		fail_call(h, call, AIC_HTTP_NO_MEMORY, "out of memory");
	}
	curl_multi_cleanup(h->multi);
	h->broken = !make_multi(h);
	atomic_store(&h->shed, false);
}

/*
 * libcurl has no timeout for a transfer that waits for the connection of
 * another one (CURLOPT_PIPEWAIT).
 */
static void
sweep_unsent(struct aic_http *h, int64_t now)
{
	struct aic_http_call *call, *next;

	for (call = h->begun.head; call; call = next) {
		next = call->next;
		if (!call->unsent || now < call->give_up_us)
			continue;
		abort_transfer(h, call);
		fail_call(h, call, AIC_HTTP_CONNECT,
		    "no connection was made in time");
	}
}

static void
work_off(struct aic_http *h)
{
	int64_t now = aic_clock_us();
	bool sweep = now >= h->sweep_us, any = false;
	struct route *r;

	if (sweep)
		h->sweep_us = now + SWEEP_US;
	if (sweep && h->n_unsent > 0)
		sweep_unsent(h, now);
	for (r = h->routes; r; r = r->next) {
		if (!r->waiting.head)
			continue;
		if (sweep)
			sweep_route(h, r, now);
		if (!h->broken && admit_calls(h, r)) {
			run_libcurl(h, CURL_SOCKET_TIMEOUT, 0);
			any = true;
		}
	}
	if (!any && !h->broken && h->timer_us <= now)
		run_libcurl(h, CURL_SOCKET_TIMEOUT, 0);
	finish_transfers(h);
	free_sent(h);
}

static int
sleep_ms(const struct aic_http *h, int64_t until_us)
{
	const struct route *r;

	if (h->timer_us < until_us)
		until_us = h->timer_us;
	if (h->n_unsent > 0 && h->sweep_us < until_us)
		until_us = h->sweep_us;
	if (h->broken && aic_clock_us() + RENEW_US < until_us)
		until_us = aic_clock_us() + RENEW_US;
	for (r = h->routes; r; r = r->next)
		if (r->waiting.head && h->sweep_us < until_us)
			until_us = h->sweep_us;
	return aic_clock_left_ms(until_us);
}

static bool
has_orders(const struct aic_http *h)
{
	return atomic_load(&h->news) || atomic_load(&h->drops) ||
	    atomic_load(&h->stop) || (h->n_begun == 0 && atomic_load(&h->shed));
}

static void
handle_event(struct aic_http *h, const struct epoll_event *e)
{
	int fd = e->data.fd, mask = 0;
	struct sock *s;
	uint64_t count;

	if (fd == h->wakeup) {
		if (read(h->wakeup, &count, sizeof(count)) < 0)
			return; /* another thread has read it */
		return;
	}
	s = get_sock(h, fd);
	if (s && s->idle) {
		/*
		 * Another event of this epoll_wait() may have made the
		 * connection idle. Data on it is read when it is used next.
		 * Until then only its end matters, and is reported once.
		 */
		if (e->events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
			set_stale(s, true);
		s->events = s->stale ? 0 : EPOLLRDHUP;
		update_epoll(h, fd, s);
		return;
	}
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
 * Wait for events until until_us and handle them; 0: do not wait. A thread that
 * starts or cancels a call during the wait finds `asleep' set and writes to the
 * eventfd. has_orders() finds earlier calls, because it is evaluated after
 * `asleep' has been set.
 */
static void
handle_events(struct aic_http *h, int64_t until_us)
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
	h->looked_us = aic_clock_us();
	for (i = 0; i < n; i++)
		handle_event(h, &events[i]);
}

/* --- the driver -------------------------------------------------------- */

/*
 * Which thread drives libcurl
 *
 * Invariant: at most one thread drives, that is, calls libcurl's multi
 * functions. `driven' says whether one does.
 *
 * A caller that waits drives by itself if no other thread does. With one caller
 * at a time, an exchange then costs no switch between threads, each of which
 * takes longer than the exchange itself. When its own call is over,
 * hand_on_driving() makes another waiting caller the driver. The thread of the
 * engine drives in two cases: calls are in flight that no caller waits for
 * (started ahead, or cancelled), and more than CROWD calls are in flight.
 *
 * Example: A waits and drives. B starts a call, wakes A through the eventfd,
 * and sleeps as a follower. A sends the request of B along with its own. The
 * response for A arrives first: A sets `promoted' of B, posts its semaphore and
 * returns. B wakes up, drives until its response arrives, and finds no
 * follower. No work is left, so no thread drives.
 *
 * A promoted caller that is done at the same moment must pass the role on,
 * because no other thread would drive; see wait_until().
 */

static bool
is_crowd(const struct aic_http *h)
{
	return atomic_load_explicit(&h->n_begun, memory_order_relaxed) > CROWD;
}

/* The lock is held. */
static void
add_follower(struct aic_http *h, struct aic_http_call *call)
{
	call->follows = true;
	call->prev_follower = NULL;
	call->next_follower = h->followers;
	if (h->followers)
		h->followers->prev_follower = call;
	h->followers = call;
}

/* The lock is held. */
static void
remove_follower(struct aic_http *h, struct aic_http_call *call)
{
	if (!call->follows)
		return;
	if (call->prev_follower)
		call->prev_follower->next_follower = call->next_follower;
	else
		h->followers = call->next_follower;
	if (call->next_follower)
		call->next_follower->prev_follower = call->prev_follower;
	call->follows = false;
}

/* Whether there is work that must not wait for the next caller. */
static bool
has_work(const struct aic_http *h)
{
	const struct route *r;

	for (r = h->routes; r; r = r->next)
		if (r->waiting.head)
			return true;
	return h->n_begun > 0 || h->broken || has_orders(h);
}

/*
 * The driving thread stops driving and passes the role on if there is work. The
 * newest follower is chosen, because it probably waits longest. A follower
 * whose call is over is about to return. The lock is held.
 */
static void
hand_on_driving(struct aic_http *h)
{
	struct aic_http_call *next = h->followers;

	while (next && atomic_load(&next->over))
		next = next->next_follower;
	if (next && !is_crowd(h)) {
		remove_follower(h, next);
		next->promoted = true;
		sem_post(&next->wake);
		return;
	}
	h->driven = false;
	if (has_work(h))
		pthread_cond_signal(&h->idle);
}

/* Drive all calls until this one is over or until_us has passed. */
static void
drive_engine(struct aic_http *h, const struct aic_http_call *call,
    int64_t until_us)
{
	/* Find the idle connections that have ended since the last check. */
	if (aic_clock_us() - h->looked_us > LOOK_US)
		handle_events(h, 0);
	for (;;) {
		take_orders(h);
		renew_multi(h);
		work_off(h);
		if (atomic_load(&call->over) || aic_clock_us() >= until_us)
			return;
		handle_events(h, until_us);
	}
}

/*
 * Drive with the thread of the engine, until a caller waits and can drive, or
 * no work is left.
 */
static void
drive_alone(struct aic_http *h)
{
	bool more;

	handle_events(h, 0);
	do {
		take_orders(h);
		renew_multi(h);
		work_off(h);
		pthread_mutex_lock(&h->lock);
		more = (!h->followers || is_crowd(h)) && has_work(h);
		pthread_mutex_unlock(&h->lock);
		if (more)
			handle_events(h, aic_clock_us() + SLEEP_MAX_US);
	} while (more && !atomic_load(&h->stop));
}

static void
cancel_all(struct aic_http *h)
{
	struct route *r;

	take_orders(h);
	while (h->begun.head)
		cancel_call(h, h->begun.head);
	for (r = h->routes; r; r = r->next)
		while (r->waiting.head)
			cancel_call(h, r->waiting.head);
}

static void *
run_engine_thread(void *arg)
{
	struct aic_http *h = arg;

	pthread_mutex_lock(&h->lock);
	while (!atomic_load(&h->stop)) {
		if (h->driven || !has_work(h)) {
			pthread_cond_wait(&h->idle, &h->lock);
			continue;
		}
		h->driven = h->alone = true;
		pthread_mutex_unlock(&h->lock);
		drive_alone(h);
		pthread_mutex_lock(&h->lock);
		h->alone = false;
		hand_on_driving(h);
	}
	pthread_mutex_unlock(&h->lock);
	/* No caller waits for a call any more. */
	cancel_all(h);
	return NULL;
}

/* --- open and close ---------------------------------------------------- */

static bool
make_share(struct aic_http *h)
{
	h->share = curl_share_init();
	return h->share &&
	    curl_share_setopt(h->share, CURLSHOPT_LOCKFUNC, lock_share) ==
	    CURLSHE_OK &&
	    curl_share_setopt(h->share, CURLSHOPT_UNLOCKFUNC, unlock_share) ==
	    CURLSHE_OK &&
	    curl_share_setopt(h->share, CURLSHOPT_USERDATA, h) == CURLSHE_OK &&
	    /* A new connection resumes the TLS session of an earlier one. */
	    curl_share_setopt(h->share, CURLSHOPT_SHARE,
		CURL_LOCK_DATA_SSL_SESSION) == CURLSHE_OK;
}

static bool
make_epoll(struct aic_http *h)
{
	struct epoll_event e = { .events = EPOLLIN };

	h->epoll = epoll_create1(EPOLL_CLOEXEC);
	h->wakeup = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	e.data.fd = h->wakeup;
	return h->epoll >= 0 && h->wakeup >= 0 &&
	    epoll_ctl(h->epoll, EPOLL_CTL_ADD, h->wakeup, &e) == 0;
}

/* Free all but the thread. A half-built engine is allowed. */
static void
free_engine(struct aic_http *h)
{
	struct route *r;
	int i;

	while (h->n_handles > 0)
		curl_easy_cleanup(h->handles[--h->n_handles]);
	curl_multi_cleanup(h->multi);
	curl_share_cleanup(h->share);
	while ((r = h->routes)) {
		h->routes = r->next;
		wipe_text(r->key);
		free(r);
	}
	for (i = 0; i < CURL_LOCK_DATA_LAST; i++)
		pthread_mutex_destroy(&h->share_locks[i]);
	if (h->epoll >= 0)
		close(h->epoll);
	if (h->wakeup >= 0)
		close(h->wakeup);
	aic_http_trust_close(h->trust);
	pthread_cond_destroy(&h->idle);
	pthread_mutex_destroy(&h->lock);
	free(h->socks);
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
	int i;

	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return aic_fail(err, AIC_ENOMEM, "could not set libcurl up");
	h = calloc(1, sizeof(*h));
	if (!h)
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	h->conf = *conf;
	h->conf.connections_max = connections_for(conf);
	h->epoll = h->wakeup = -1;
	pthread_cond_init(&h->idle, NULL);
	pthread_mutex_init(&h->lock, NULL);
	for (i = 0; i < CURL_LOCK_DATA_LAST; i++)
		pthread_mutex_init(&h->share_locks[i], NULL);
	rc = aic_http_trust_open(&h->trust, NULL, err);
	if (!rc && (!make_share(h) || !make_epoll(h) || !make_multi(h)))
		rc = aic_fail(err, AIC_ENOMEM,
		    "could not set libcurl up for many calls");
	if (!rc && pthread_create(&h->thread, NULL, run_engine_thread, h) != 0)
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
	notify_driver(h);
	pthread_join(h->thread, NULL);
	free_engine(h);
}

void
aic_http_close_idle(struct aic_http *h)
{
	atomic_store(&h->shed, true);
	notify_driver(h);
}

/* --- callers ----------------------------------------------------------- */

/*
 * The key of a route: "https://host:port", the trust store and the proxy. NULL:
 * out of memory.
 */
static char *
make_route_key(const struct aic_http_request *req)
{
	const char *host = strstr(req->url, "://");
	struct aic_buf key;

	host = host ? host + 3 : req->url;
	aic_buf_init(&key, 64 * 1024);
	aic_buf_put(&key, req->url,
	    (size_t)(host - req->url) + strcspn(host, "/?#"));
	aic_buf_printf(&key, " %p ", (void *)req->trust);
	aic_buf_puts(&key, req->proxy ? req->proxy : "");
	return aic_buf_take(&key, NULL);
}

static struct aic_http_call *
new_call(struct aic_http *h, const struct aic_http_request *req)
{
	struct aic_http_call *call = calloc(1, sizeof(*call));
	CURL *easy;

	if (!call)
		return NULL;
	call->http = h;
	call->start_us = aic_clock_us();
	call->cancelled_as = AIC_HTTP_GONE;
	call->deadline_us = req->deadline_us;
	call->connect_us = req->connect_us;
	call->plain = strncmp(req->url, "http://", 7) == 0;
	atomic_init(&call->owners, 2);
	sem_init(&call->wake, 0, 0);
	call->route_key = make_route_key(req);
	call->trust = aic_http_trust_hold(req->trust ? req->trust : h->trust);
	easy = call->transfer.easy = take_handle(h);
	if (!call->route_key || !easy ||
	    !aic_http_transfer_init(&call->transfer, req, call->trust)) {
		free_call(call);
		return NULL;
	}
	curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
	curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_request);
	curl_easy_setopt(easy, CURLOPT_PREREQDATA, call);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, call);
	/* A connection outlives the call that opened it. */
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close_socket);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, h);
	return call;
}

/*
 * Put a call into the list of new calls. The caller has to notify the driver.
 * NULL: out of memory, or too many calls.
 */
static struct aic_http_call *
submit_call(struct aic_http *h, const struct aic_http_request *req)
{
	struct aic_http_call *call = NULL;

	if (atomic_fetch_add(&h->calls, 1) < h->conf.calls_max)
		call = new_call(h, req);
	if (!call) {
		atomic_fetch_sub(&h->calls, 1);
		return NULL;
	}
	aic_http_transfer_take_body(&call->transfer, req);
	call->next_news = atomic_load(&h->news);
	while (!atomic_compare_exchange_weak(&h->news, &call->next_news, call))
		;
	return call;
}

struct aic_http_call *
aic_http_start(struct aic_http *h, const struct aic_http_request *req)
{
	struct aic_http_call *call = submit_call(h, req);

	if (call)
		notify_driver(h);
	return call;
}

/*
 * Sleep until the call is over, its caller is to drive, or until_us has passed.
 * The lock is held on entry and on return, and released meanwhile.
 */
static void
follow_driver(struct aic_http *h, struct aic_http_call *call, int64_t until_us)
{
	struct timespec until = aic_clock_spec(until_us);
	bool late = false, alone = h->alone;

	add_follower(h, call);
	pthread_mutex_unlock(&h->lock);
	/*
	 * Wake the driver, because it has a new call to take, or because the
	 * thread of the engine should let this caller drive.
	 */
	if ((alone && !is_crowd(h)) || atomic_load(&h->news))
		wake_driver(h);
	while (!late &&
	    sem_clockwait(&call->wake, CLOCK_MONOTONIC, &until) != 0)
		late = errno == ETIMEDOUT;
	pthread_mutex_lock(&h->lock);
	remove_follower(h, call);
}

/* True: the call is over. */
static bool
wait_until(struct aic_http_call *call, int64_t until_us)
{
	struct aic_http *h = call->http;

	if (atomic_load(&call->over))
		return true;
	pthread_mutex_lock(&h->lock);
	while (!atomic_load(&call->over) && aic_clock_us() < until_us) {
		if (!h->driven && is_crowd(h))
			pthread_cond_signal(&h->idle);
		if ((h->driven || is_crowd(h)) && !call->promoted) {
			follow_driver(h, call, until_us);
			continue;
		}
		h->driven = true;
		call->promoted = false;
		pthread_mutex_unlock(&h->lock);
		drive_engine(h, call, until_us);
		pthread_mutex_lock(&h->lock);
		hand_on_driving(h);
	}
	if (call->promoted) {
		call->promoted = false;
		hand_on_driving(h);
	}
	pthread_mutex_unlock(&h->lock);
	return atomic_load(&call->over);
}

const struct aic_http_answer *
aic_http_wait(struct aic_http_call *call, int64_t until_us)
{
	if (until_us > call->deadline_us)
		until_us = call->deadline_us;
	return wait_until(call, until_us) ? &call->transfer.answer : NULL;
}

static void
request_cancel(struct aic_http_call *call, enum aic_http_end as)
{
	struct aic_http *h = call->http;

	if (atomic_load(&call->cancelled))
		return;
	call->cancelled_as = as;
	atomic_store(&call->cancelled, true);
	atomic_fetch_add(&call->owners, 1); /* the list of drops */
	call->next_drop = atomic_load(&h->drops);
	while (!atomic_compare_exchange_weak(&h->drops, &call->next_drop, call))
		;
	notify_driver(h);
}

void
aic_http_drop(struct aic_http_call *call)
{
	if (!call)
		return;
	if (!atomic_load(&call->over))
		request_cancel(call, AIC_HTTP_GONE);
	release_call(call);
}

/*
 * Wait for the end of a call, and cancel it if its response is not needed.
 * False: the engine did not end the call.
 */
static bool
wait_to_the_end(struct aic_http_call *call, bool (*gone)(void *), void *arg)
{
	int64_t end = call->deadline_us, until;
	bool late = false, left = false;

	while (!late && !left) {
		until = gone ? aic_clock_us() + GONE_EVERY_US : end;
		if (wait_until(call, until < end ? until : end))
			return true;
		late = aic_clock_us() >= end;
		left = !late && gone && gone(arg);
	}
	request_cancel(call, late ? AIC_HTTP_TIMEOUT : AIC_HTTP_GONE);
	return wait_until(call, aic_clock_us() + GRACE_US);
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
	if (wait_to_the_end(call, gone, arg)) {
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
	release_call(call);
}
