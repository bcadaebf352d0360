#include "config.h"

#include "lib/http_flight.h"

#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/http_handle.h"
#include "lib/http_sock.h"

/*
 * After libcurl was about to send a request again, its log is read for this
 * long in all calls to the same upstream: only the log shows that the server
 * refused a request before it processed it. At the first repetition the log is
 * not read yet. Therefore the first repetition of a request with a body is
 * always refused here, and the call counts as an attempt, even if the server
 * had refused the stream.
 */
#define REFUSALS_US (600 * AIC_S)

/* libcurl ends a call this long after its deadline, if the caller has not. */
#define LATE_MS 500

static void
list_add(struct aic_http_list *l, struct aic_http_call *call)
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
list_remove(struct aic_http_list *l, struct aic_http_call *call)
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

/* --- callbacks of libcurl --------------------------------------------- */

/*
 * libcurl is about to send a request. If it has sent the request before, the
 * connection ended or the server refused the stream. call->connection is set
 * when the request goes out on an HTTP/2 connection, so it is NULL for the
 * first request (and always with HTTP/1).
 */
static void
note_resent(struct aic_http_call *call)
{
	if (!call->connection)
		return;
	call->resent = true;
	call->http->suspect = call->connection;
	call->upstream->resent_us = aic_clock_us();
}

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
	struct aic_http_route *r = &call->upstream->route;

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
		call->upstream->route.protocol = AIC_HTTP_2;
		call->connection = tls->internals;
	} else {
		call->upstream->route.protocol = AIC_HTTP_1;
	}
}

/*
 * The search is linear, because the list is short: a request stays in it for
 * milliseconds, unless the server reads slowly.
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

static curl_socket_t
on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct aic_http_call *call = arg;
	int fd;

	(void)purpose;
	note_resent(call);
	if (!aic_http_transfer_may_connect(&call->transfer))
		return CURL_SOCKET_BAD;
	fd = aic_http_sock_open(call->http, call->upstream, address,
	    &call->transfer.no_socket);
	if (fd < 0)
		return CURL_SOCKET_BAD;
	call->upstream->route.connecting++;
	call->connecting++;
	call->fd = fd;
	return fd;
}

/* A connection is open, and the request is about to be sent. */
static int
on_request(void *arg, char *ip, char *local_ip, int port, int local_port)
{
	struct aic_http_call *call = arg;
	struct aic_http_sock *s = NULL;

	(void)ip, (void)local_ip, (void)port, (void)local_port;
	/*
	 * If sockets to several addresses are connecting, it is unknown which
	 * of them succeeded.
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
		s->connection = call->connection;
	if (call->transfer.has_body) {
		/*
		 * The call may be in the list already, because libcurl sends a
		 * refused request again.
		 */
		leave_sending(call);
		call->next_sending = call->http->sending;
		call->http->sending = call;
	}
	return CURL_PREREQFUNC_OK;
}

/* --- making and freeing ----------------------------------------------- */

/*
 * The key of an upstream: "https://host:port", the trust store and the proxy.
 * NULL: out of memory.
 */
static char *
make_upstream_key(const struct aic_http_request *req)
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

static void
free_call(struct aic_http_call *call)
{
	if (call->transfer.easy)
		aic_http_handle_give(call->http, call->transfer.easy);
	aic_http_transfer_done(&call->transfer);
	aic_http_trust_close(call->trust);
	sem_destroy(&call->wake);
	if (call->upstream_key) {
		/* It contains the password of the proxy. */
		explicit_bzero(call->upstream_key, strlen(call->upstream_key));
		free(call->upstream_key);
	}
	free(call);
}

void
aic_http_flight_release(struct aic_http_call *call)
{
	if (atomic_fetch_sub(&call->owners, 1) == 1)
		free_call(call);
}

struct aic_http_call *
aic_http_flight_new(struct aic_http *h, const struct aic_http_request *req)
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
	call->upstream_key = make_upstream_key(req);
	call->trust = aic_http_trust_hold(req->trust ? req->trust : h->trust);
	easy = call->transfer.easy = aic_http_handle_take(h);
	if (!call->upstream_key || !easy ||
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
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION,
	    aic_http_sock_on_close);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, h);
	return call;
}

/* --- ending and beginning --------------------------------------------- */

/* End a call whose answer has been set. */
static void
end_call(struct aic_http *h, struct aic_http_call *call)
{
	if (call->state == AIC_HTTP_CALL_WAITING)
		list_remove(&call->upstream->waiting, call);
	call->state = AIC_HTTP_CALL_ENDED;
	call->transfer.answer.took_us = aic_clock_us() - call->start_us;
	/*
	 * Do not reuse the handle of a request that was sent again. libcurl
	 * 7.88 keeps in the handle that a stream was refused, and would treat
	 * the next connection that ends as another refusal.
	 */
	if (call->transfer.answer.end == AIC_HTTP_ANSWERED && !call->resent)
		aic_http_handle_give(h, call->transfer.easy);
	else
		curl_easy_cleanup(call->transfer.easy);
	call->transfer.easy = NULL;
	atomic_fetch_sub(&h->calls, 1);
	atomic_store(&call->over, true);
	sem_post(&call->wake);
	aic_http_flight_release(call);
}

void
aic_http_flight_fail(struct aic_http *h, struct aic_http_call *call,
    enum aic_http_end end, const char *why)
{
	aic_http_transfer_fail(&call->transfer, end, why);
	end_call(h, call);
}

void
aic_http_flight_queue(struct aic_http_call *call, struct aic_http_upstream *up)
{
	call->upstream = up;
	call->state = AIC_HTTP_CALL_WAITING;
	list_add(&up->waiting, call);
}

void
aic_http_flight_begin(struct aic_http *h, struct aic_http_call *call, bool own)
{
	struct aic_http_upstream *up = call->upstream;
	CURL *e = call->transfer.easy;
	long left_ms = aic_clock_left_ms(call->deadline_us);
	long connect_ms = (long)(call->connect_us / AIC_MS);

	list_remove(&up->waiting, call);
	call->state = AIC_HTTP_CALL_BEGUN;
	if (connect_ms > left_ms)
		connect_ms = left_ms;
	/*
	 * The caller ends the call at its deadline, see abort_transfer(). This
	 * timeout is for the case that the caller does not. 0 would mean no
	 * limit.
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
	    up->route.protocol == AIC_HTTP_2 && !own ? 1L : 0L);
	aic_http_transfer_watch_refusals(&call->transfer,
	    up->resent_us > 0 && aic_clock_us() - up->resent_us < REFUSALS_US);
	if (curl_multi_add_handle(h->multi, e) != CURLM_OK) {
		aic_http_flight_fail(h, call, AIC_HTTP_NO_MEMORY,
		    "out of memory");
		return;
	}
	list_add(&h->begun, call);
	h->n_begun++;
	up->route.calls++;
	set_unsent(call, true);
	call->give_up_us = aic_clock_us() + (connect_ms + LATE_MS) * AIC_MS;
	call->opening = own;
	if (own)
		up->route.opening++;
}

/* Remove the call from libcurl, whatever its state. */
static void
remove_transfer(struct aic_http *h, struct aic_http_call *call)
{
	curl_multi_remove_handle(h->multi, call->transfer.easy);
	leave_opening(call);
	leave_sending(call);
	set_unsent(call, false);
	call->upstream->route.calls--;
	call->upstream->used_us = aic_clock_us();
	list_remove(&h->begun, call);
	h->n_begun--;
}

void
aic_http_flight_finish(struct aic_http *h, struct aic_http_call *call,
    CURLcode rc)
{
	aic_http_transfer_end(&call->transfer, rc);
	if (call->transfer.answer.end != AIC_HTTP_ANSWERED && call->connection)
		h->suspect = call->connection;
	remove_transfer(h, call);
	end_call(h, call);
}

void
aic_http_flight_fail_begun(struct aic_http *h)
{
	struct aic_http_call *call;

	while ((call = h->begun.head)) {
		remove_transfer(h, call);
		aic_http_flight_fail(h, call, AIC_HTTP_NO_MEMORY,
		    "out of memory");
	}
}

/* --- cancelling ------------------------------------------------------- */

/*
 * A begun call on the HTTP/2 connection, other than `call', which may be NULL.
 */
static struct aic_http_call *
find_neighbour(struct aic_http *h, const void *connection,
    const struct aic_http_call *call)
{
	struct aic_http_call *other;

	for (other = h->begun.head; other; other = other->next)
		if (other != call && other->connection == connection)
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

	if (call->connection)
		other = find_neighbour(h, call->connection, call);
	if (!other)
		curl_easy_setopt(call->transfer.easy, CURLOPT_FORBID_REUSE, 1L);
	remove_transfer(h, call);
	if (other)
		flush_connection(other);
	curl_easy_setopt(call->transfer.easy, CURLOPT_FORBID_REUSE, 0L);
}

void
aic_http_flight_cancel(struct aic_http *h, struct aic_http_call *call)
{
	enum aic_http_end end = call->cancelled_as;

	/* Nothing was sent, so another attempt is safe. */
	if (end == AIC_HTTP_TIMEOUT && call->transfer.requests == 0)
		end = AIC_HTTP_CONNECT;
	if (call->state == AIC_HTTP_CALL_BEGUN)
		abort_transfer(h, call);
	if (call->state != AIC_HTTP_CALL_ENDED)
		aic_http_flight_fail(h, call, end,
		    end == AIC_HTTP_GONE ? "cancelled" : "the deadline passed");
}

void
aic_http_flight_sweep(struct aic_http *h, int64_t now)
{
	struct aic_http_call *call, *next;

	for (call = h->begun.head; call; call = next) {
		next = call->next;
		if (!call->unsent || now < call->give_up_us)
			continue;
		abort_transfer(h, call);
		aic_http_flight_fail(h, call, AIC_HTTP_CONNECT,
		    "no connection was made in time");
	}
}

bool
aic_http_flight_uses(struct aic_http *h, const void *connection)
{
	return find_neighbour(h, connection, NULL);
}

void
aic_http_flight_free_sent(struct aic_http *h)
{
	struct aic_http_call **p = &h->sending, *call;

	while ((call = *p)) {
		if (aic_http_transfer_free_sent(&call->transfer))
			*p = call->next_sending;
		else
			p = &call->next_sending;
	}
}
