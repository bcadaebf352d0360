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

/* libcurl handles that are kept for the next calls. One takes some 6 KB, and to make
 * one costs 10 us; for a crowd they are made and freed. */
#define HANDLES_KEPT 64

/* Events that are read from the kernel at a time. */
#define EVENTS 64

/* How soon to try again when there was no memory for a new multi handle. */
#define RENEW_US (10 * AIC_MS)

/* How late a call may be ended that waits for a connection when its deadline passes;
 * and the longest that the thread sleeps. */
#define SWEEP_US (50 * AIC_MS)
#define SLEEP_MAX_US (60 * AIC_S)

/* How often a waiting caller asks whether the answer is still needed. */
#define GONE_EVERY_US (1 * AIC_S)

/* With more calls than this in flight the engine's own thread drives: it is hardly ever
 * asleep then, so that nobody waits for it, and the stacks of the callers stay small,
 * which TLS would make 25 KB larger for each of thousands. */
#define CROWD 48

/* For how long, after libcurl has sent a request again, it is found out whether the
 * server had refused it. The first one counts as an attempt, whichever it was. */
#define REFUSALS_US (600 * AIC_S)

/* For how long it is believed that no idle connection has ended. */
#define LOOK_US (5 * AIC_MS)

/* A call whose caller does not end it at its deadline is ended by libcurl so much
 * later. */
#define LATE_MS 500

/* How long a caller waits, after it has cancelled, for the engine to end the call:
 * some milliseconds are usual. */
#define GRACE_US (1 * AIC_S)

/*
 * A call has two owners, its caller and the engine, and is freed when both have let
 * go of it. The engine's fields belong to the thread that drives once the call has been
 * handed over; after `over' is set, the answer belongs to the caller.
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
	enum aic_http_end cancelled_as; /* GONE or TIMEOUT; set before that */
	sem_t wake; /* it is over, or its caller is to drive the engine */
	struct aic_http_call *next_news, *next_drop;

	/* Under http->lock. */
	bool follows; /* in http->followers */
	bool promoted; /* its caller drives the engine from now on */
	struct aic_http_call *prev_follower, *next_follower;

	/* The engine's. */
	struct route *route;
	enum { HANDED_OVER, WAITING, BEGUN, ENDED } state;
	bool opening; /* counted in route->now.opening */
	bool resent; /* libcurl was about to send it once more */
	bool unsent; /* begun, and the request has not gone out */
	int64_t give_up_us; /* then, no connection will be there any more */
	int connecting; /* sockets that are being connected for it */
	int fd; /* of the last of them */
	const void *stream_of; /* the HTTP/2 connection; NULL: none */
	struct aic_http_call *prev, *next; /* in the list of its state */
	struct aic_http_call *next_sending; /* in http->sending */
};

struct list {
	struct aic_http_call *head, *tail;
};

/* One server, as it is reached: by its address, a proxy, and a store of roots. There
 * are as many as the settings name. */
struct route {
	struct route *next;
	char *key;
	struct aic_http_route now;
	struct list waiting;
	int64_t used_us; /* when a call ended last */
	int64_t
	    resent_us; /* when libcurl was about to send one again; 0: never */
};

/* What is known of a descriptor. */
struct sock {
	struct route *route; /* NULL: not a connection of ours */
	uint32_t events; /* that epoll is to wait for; 0: none */
	bool watched; /* by epoll */
	bool idle; /* no transfer uses it */
	bool
	    connected; /* known to be, so that libcurl tells when it closes it */
	bool stale; /* counted in route->now.stale */
	const void *stream_of; /* the HTTP/2 connection, where it is known */
};

struct aic_http {
	struct aic_http_conf conf;
	struct aic_http_trust *trust; /* the system's roots */
	CURLSH *share;
	pthread_mutex_t share_locks[CURL_LOCK_DATA_LAST];
	pthread_t thread;
	int epoll, wakeup; /* wakeup: an eventfd */
	atomic_int calls;
	atomic_bool asleep;
	atomic_bool stop;
	atomic_bool shed; /* close what is idle */
	struct aic_http_call *_Atomic news; /* handed over, newest first */
	struct aic_http_call *_Atomic drops; /* cancelled, newest first */

	pthread_mutex_t lock; /* of the next ones */
	CURL *handles[HANDLES_KEPT];
	int n_handles;
	bool driven; /* a thread drives */
	bool alone; /* and it is the engine's own */
	struct aic_http_call *followers; /* that wait, the newest first */
	pthread_cond_t idle; /* the engine's thread has something to do */

	/* Of the thread that drives. */
	CURLM *multi;
	int64_t
	    timer_us; /* when libcurl wants to run; INT64_MAX: not by itself */
	int64_t sweep_us; /* when those that wait are looked through */
	int64_t looked_us; /* when events were looked for last */
	bool broken; /* the multi handle; see renew_multi() */
	struct route *routes;
	struct list begun;
	atomic_int n_begun; /* any thread may look */
	struct aic_http_call *sending; /* whose requests are going out */
	int n_unsent;
	const void *suspect; /* an HTTP/2 connection that may have failed */
	struct sock *socks; /* by descriptor */
	int n_socks;
};

/* --- small parts ------------------------------------------------------- */

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

/* A key has the proxy's password. NULL is fine. */
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
	/* They point into a call that will be freed. */
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
let_go(struct aic_http_call *call)
{
	if (atomic_fetch_sub(&call->owners, 1) == 1)
		free_call(call);
}

/* Wake the thread that drives, if it sleeps. */
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

/* Something was handed over: see to it that a thread takes it. */
static void
call_driver(struct aic_http *h)
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

/* NULL: no memory. */
static struct sock *
sock_of(struct aic_http *h, int fd)
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

/* The descriptor is closed, or another's from now on. */
static void
forget_sock(struct sock *s)
{
	set_stale(s, false);
	if (s->route)
		s->route->now.sockets--;
	*s = (struct sock){ .route = NULL };
}

/* Have epoll wait for what the descriptor's entry says. */
static void
watch(struct aic_http *h, int fd, struct sock *s)
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
	/* libcurl closes a socket that has not connected yet without a call of
	 * on_close_socket(), and only then says that it does not wait for it. */
	if (s->idle)
		forget_sock(s);
	else
		h->broken = true;
}

/*
 * libcurl says what it waits for. A connection that it keeps, and does not wait for any
 * more, stays with epoll as it is: the next call mostly waits for the same, and the end
 * of the connection is noticed meanwhile, see handle_event().
 */
static int
on_watch(CURL *easy, curl_socket_t fd, int what, void *arg, void *sock_arg)
{
	struct aic_http *h = arg;
	struct sock *s = sock_of(h, fd);
	struct aic_http_call *call = NULL;
	uint32_t events = 0;

	(void)sock_arg;
	/* Connections have an entry. Without one for its own descriptors libcurl's
	 * resolver is looked at in shorter and shorter intervals. */
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
	watch(h, fd, s);
	return 0;
}

/* libcurl is about to send a request. If it is not the first time, the connection ended or
 * refused it. */
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
	s = fd >= 0 ? sock_of(call->http, fd) : NULL;
	if (!s) {
		/* Without IPv6 its sockets cannot be had; IPv4's can. */
		call->transfer.no_socket = fd >= 0 || errno != EAFNOSUPPORT;
		if (fd >= 0)
			close(fd);
		return CURL_SOCKET_BAD;
	}
	forget_sock(s);
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
	struct sock *s = sock_of(h, fd);

	if (s)
		forget_sock(s);
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

/* What it waited for is there, or will not come. */
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
learn_protocol(struct aic_http_call *call)
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

/* The list is short: a request is sent within milliseconds, unless the server is slow to
 * take it. */
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

/* The connection is there, and the request is about to go out. */
static int
on_request(void *arg, char *ip, char *local_ip, int port, int local_port)
{
	struct aic_http_call *call = arg;
	struct sock *s = NULL;

	(void)ip, (void)local_ip, (void)port, (void)local_port;
	/* With more than one socket, for several addresses, it is not known which one
	 * is the connection. */
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
		learn_protocol(call);
	if (s)
		s->stream_of = call->stream_of;
	if (call->transfer.has_body) {
		/* It may be there from before: libcurl sends a refused one again. */
		leave_sending(call);
		call->next_sending = call->http->sending;
		call->http->sending = call;
	}
	return CURL_PREREQFUNC_OK;
}

/* The answer has been set. */
static void
end_call(struct aic_http *h, struct aic_http_call *call)
{
	if (call->state == WAITING)
		list_remove(&call->route->waiting, call);
	call->state = ENDED;
	call->transfer.answer.took_us = aic_clock_us() - call->start_us;
	/* libcurl 7.88 keeps in a handle that a stream was refused, and would take the next
	 * connection that ends for another refusal. */
	if (call->transfer.answer.end == AIC_HTTP_ANSWERED && !call->resent)
		give_handle(h, call->transfer.easy);
	else
		curl_easy_cleanup(call->transfer.easy);
	call->transfer.easy = NULL;
	atomic_fetch_sub(&h->calls, 1);
	atomic_store(&call->over, true);
	sem_post(&call->wake);
	let_go(call);
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

/* Have libcurl read and write on the call's connection, although no event says that
 * there is anything to do. To pause a transfer and let it go on does that. */
static void
nudge(struct aic_http_call *call)
{
	curl_easy_pause(call->transfer.easy, CURLPAUSE_RECV);
	curl_easy_pause(call->transfer.easy, CURLPAUSE_CONT);
}

/* Out of libcurl's hands, whatever it did last. */
static void
take_out(struct aic_http *h, struct aic_http_call *call)
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
	/* It is the caller who ends a call at its deadline, see abort_transfer(). To
	 * libcurl 0 would be no limit. */
	curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, left_ms + LATE_MS);
	curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS,
	    connect_ms > 0 ? connect_ms : 1L);
	curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, own ? 1L : 0L);
	/* Should all connections have ended meanwhile: one of those that were to
	 * share them opens the next, and the others wait for it. */
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

/* libcurl does not use a connection that has been idle for so long. To count on it
 * would have calls begin that all have to wait for a new one. */
static void
age_idle(struct aic_http *h, struct route *r)
{
	int fd;

	for (fd = 0; fd < h->n_socks; fd++)
		if (h->socks[fd].route == r && h->socks[fd].idle)
			set_stale(&h->socks[fd], true);
}

/* Let those begin for which there is room now. True: libcurl has something to do. */
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

/* What has been waiting too long will not begin. */
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

/* --- the thread -------------------------------------------------------- */

static void
run_libcurl(struct aic_http *h, int fd, int mask)
{
	CURLMcode rc;
	int running;

	/* When no time-out is left, libcurl does not call on_timer(). */
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
		take_out(h, call);
		end_call(h, call);
	}
}

/*
 * Have libcurl look at the other streams of a connection on which one has failed. When
 * it was a fault of the connection, nghttp2 expects nothing from it any more, but
 * libcurl 7.88 notices that only when it reads for a stream, and a server that leaves
 * the connection open gives it no reason to. Where nothing has arrived, and the
 * connection is well, to read changes nothing. True: it has looked.
 */
static bool
look_at_suspect(struct aic_http *h)
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
	} while (look_at_suspect(h));
}

static int
on_timer(CURLM *multi, long ms, void *arg)
{
	struct aic_http *h = arg;

	(void)multi;
	h->timer_us = ms < 0 ? INT64_MAX : aic_clock_us() + ms * AIC_MS;
	return 0;
}

/* False: no memory. */
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
	/* All that a crowd has opened is kept for the next one, until it is
	 * IDLE_MAX_S old. */
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

/* The oldest first. */
static struct aic_http_call *
reverse(struct aic_http_call *newest)
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
 * Have the server know at once that nobody needs the answer, because it costs money
 * as long as it is being made.
 *
 * libcurl 7.88 writes RST_STREAM into a buffer of the connection, which goes out with
 * the next bytes of another stream: with a call that begins on it, or in answer to
 * what the server sends. To nudge another stream sends the buffer.
 * A connection without other streams is closed instead.
 */
static void
abort_transfer(struct aic_http *h, struct aic_http_call *call)
{
	struct aic_http_call *other = NULL;

	if (call->stream_of)
		other = find_neighbour(h, call->stream_of, call);
	if (!other)
		curl_easy_setopt(call->transfer.easy, CURLOPT_FORBID_REUSE, 1L);
	take_out(h, call);
	if (other)
		nudge(other);
	curl_easy_setopt(call->transfer.easy, CURLOPT_FORBID_REUSE, 0L);
}

static void
cancel_call(struct aic_http *h, struct aic_http_call *call)
{
	enum aic_http_end end = call->cancelled_as;

	/* Nothing was sent: worth another try. */
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

	/* In this order: a call is handed over before it is cancelled. */
	drops = atomic_exchange(&h->drops, NULL);
	news = reverse(atomic_exchange(&h->news, NULL));
	for (; news; news = next) {
		next = news->next_news;
		receive_call(h, news);
	}
	for (; drops; drops = next) {
		next = drops->next_drop;
		cancel_call(h, drops);
		let_go(drops);
	}
}

/*
 * Take a new multi handle when there is a reason to.
 *
 * One is that memory was short: libcurl 7.88 does not tell which transfers have
 * suffered, some would wait until their deadline for an event that nobody waits
 * for, and its table of sockets may be left without slots. So all calls in flight
 * fail, and nothing of the old handle is used again.
 *
 * The other is that descriptors are needed: libcurl has no call that closes idle
 * connections. That waits until no transfer needs the old handle.
 */
static void
renew_multi(struct aic_http *h)
{
	struct aic_http_call *call;

	if (!h->broken && (h->n_begun > 0 || !atomic_load(&h->shed)))
		return;
	while ((call = h->begun.head)) {
		take_out(h, call);
		fail_call(h, call, AIC_HTTP_NO_MEMORY, "out of memory");
	}
	curl_multi_cleanup(h->multi);
	h->broken = !make_multi(h);
	atomic_store(&h->shed, false);
}

/* libcurl has no limit of time for a transfer that waits for another one's connection
 * (CURLOPT_PIPEWAIT). */
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
			return; /* somebody else has */
		return;
	}
	s = sock_of(h, fd);
	if (s && s->idle) {
		/* Another event of the same batch may have made it idle. What else
		 * the server sends on it is read when it is used; until then only
		 * its end is of interest, once. */
		if (e->events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
			set_stale(s, true);
		s->events = s->stale ? 0 : EPOLLRDHUP;
		watch(h, fd, s);
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

/* Wait for events until until_us, 0 for not at all, and handle them. Whoever hands
 * something over meanwhile finds the thread asleep and writes to the eventfd; what
 * came before is seen by has_orders(). */
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

/* --- who drives -------------------------------------------------------- */

/*
 * One thread at a time drives libcurl. A caller that waits for its call does so
 * itself when no other thread does, and then nobody has to be woken for it: with one
 * caller at a time, an exchange costs no switch between threads, of which each takes
 * longer than the exchange itself. When its own call is over, it hands on to another
 * caller that waits. The engine's own thread drives while calls are in flight that
 * nobody waits for, those started ahead, and cancelled ones; and in a crowd.
 */

static bool
is_crowd(const struct aic_http *h)
{
	return atomic_load_explicit(&h->n_begun, memory_order_relaxed) > CROWD;
}

/* With the lock held. */
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

/* With the lock held. */
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

/* Is there something that must not wait for the next caller? */
static bool
has_work(const struct aic_http *h)
{
	const struct route *r;

	for (r = h->routes; r; r = r->next)
		if (r->waiting.head)
			return true;
	return h->n_begun > 0 || h->broken || has_orders(h);
}

/* With the lock held, by the thread that drives: another one does from now on, when
 * there is a reason to. The newest one that waits probably waits longest; one whose
 * call is over is on its way out. */
static void
hand_on(struct aic_http *h)
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

/* Carry out all calls until this one is over or it is until_us. */
static void
drive(struct aic_http *h, const struct aic_http_call *call, int64_t until_us)
{
	/* Which of the idle connections have ended since somebody looked last. */
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

/* The same for the engine's own thread, until somebody waits for a call, who then
 * drives, or nothing is left to do. */
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
look_after(void *arg)
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
		hand_on(h);
	}
	pthread_mutex_unlock(&h->lock);
	/* Nobody waits for a call any more. */
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
	    /* So that a new connection resumes the session of an earlier one. */
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

/* All but the thread; copes with a half-built one. */
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
	if (!rc && pthread_create(&h->thread, NULL, look_after, h) != 0)
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
	call_driver(h);
	pthread_join(h->thread, NULL);
	free_engine(h);
}

void
aic_http_close_idle(struct aic_http *h)
{
	atomic_store(&h->shed, true);
	call_driver(h);
}

/* --- callers ----------------------------------------------------------- */

/* "https://host:port" of a URL, and how it is reached. NULL: no memory. */
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

/* Hand a call over; somebody has to be told. NULL: no memory, or too many. */
static struct aic_http_call *
hand_over(struct aic_http *h, const struct aic_http_request *req)
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
	struct aic_http_call *call = hand_over(h, req);

	if (call)
		call_driver(h);
	return call;
}

/* Sleep until the call is over, or it is this caller's turn to drive, or it is
 * until_us. With the lock held, which is released meanwhile. */
static void
follow(struct aic_http *h, struct aic_http_call *call, int64_t until_us)
{
	struct timespec until = aic_clock_spec(until_us);
	bool late = false, alone = h->alone;

	add_follower(h, call);
	pthread_mutex_unlock(&h->lock);
	/* It has a call to take, or leaves the driving to this caller. */
	if ((alone && !is_crowd(h)) || atomic_load(&h->news))
		wake_driver(h);
	while (!late &&
	    sem_clockwait(&call->wake, CLOCK_MONOTONIC, &until) != 0)
		late = errno == ETIMEDOUT;
	pthread_mutex_lock(&h->lock);
	remove_follower(h, call);
}

/* True: it is over. */
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
			follow(h, call, until_us);
			continue;
		}
		h->driven = true;
		call->promoted = false;
		pthread_mutex_unlock(&h->lock);
		drive(h, call, until_us);
		pthread_mutex_lock(&h->lock);
		hand_on(h);
	}
	if (call->promoted) {
		call->promoted = false;
		hand_on(h);
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
cancel(struct aic_http_call *call, enum aic_http_end as)
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
	call_driver(h);
}

void
aic_http_drop(struct aic_http_call *call)
{
	if (!call)
		return;
	if (!atomic_load(&call->over))
		cancel(call, AIC_HTTP_GONE);
	let_go(call);
}

/* Wait for the end of a call, and cancel it when nobody needs it any more. False: the
 * engine did not end it. */
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
	cancel(call, late ? AIC_HTTP_TIMEOUT : AIC_HTTP_GONE);
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
	call = hand_over(h, req);
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
	let_go(call);
}
