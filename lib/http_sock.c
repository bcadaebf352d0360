#include "config.h"

#include "lib/http_sock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* The state of descriptor fd. NULL: out of memory. */
static struct aic_http_sock *
get_sock(struct aic_http *h, int fd)
{
	struct aic_http_sock *more;
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
set_stale(struct aic_http_sock *s, bool stale)
{
	if (s->upstream && s->stale != stale)
		s->upstream->route.stale += stale ? 1 : -1;
	s->stale = stale;
}

/* The descriptor is closed, or has been reused for another socket. */
static void
reset_sock(struct aic_http_sock *s)
{
	set_stale(s, false);
	if (s->upstream)
		s->upstream->route.sockets--;
	*s = (struct aic_http_sock){ .upstream = NULL };
}

/* Register with epoll the events that the entry of the descriptor lists. */
static void
update_epoll(struct aic_http *h, int fd, struct aic_http_sock *s)
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
	 * aic_http_sock_on_close(), and then reports that it no longer waits
	 * for it. The failure of epoll_ctl() is expected in that case.
	 */
	if (s->idle)
		reset_sock(s);
	else
		h->broken = true;
}

bool
aic_http_sock_init(struct aic_http *h)
{
	struct epoll_event e = { .events = EPOLLIN };

	h->epoll = epoll_create1(EPOLL_CLOEXEC);
	h->wakeup = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	e.data.fd = h->wakeup;
	return h->epoll >= 0 && h->wakeup >= 0 &&
	    epoll_ctl(h->epoll, EPOLL_CTL_ADD, h->wakeup, &e) == 0;
}

void
aic_http_sock_done(struct aic_http *h)
{
	if (h->epoll >= 0)
		close(h->epoll);
	if (h->wakeup >= 0)
		close(h->wakeup);
	free(h->socks);
}

int
aic_http_sock_open(struct aic_http *h, struct aic_http_upstream *up,
    const struct curl_sockaddr *address, bool *ret_no_socket)
{
	struct aic_http_sock *s;
	int fd = socket(address->family, address->socktype | SOCK_CLOEXEC,
	    address->protocol);

	s = fd >= 0 ? get_sock(h, fd) : NULL;
	if (!s) {
		/*
		 * A host without IPv6 cannot open its sockets, but can open
		 * those of IPv4.
		 */
		*ret_no_socket = fd >= 0 || errno != EAFNOSUPPORT;
		if (fd >= 0)
			close(fd);
		return -1;
	}
	reset_sock(s);
	s->upstream = up;
	up->route.sockets++;
	return fd;
}

/*
 * libcurl reports the events that it waits for. A kept connection that it no
 * longer waits for stays registered as it is, because the next call usually
 * waits for the same events. aic_http_sock_note_idle() notices meanwhile when
 * the connection ends.
 */
int
aic_http_sock_on_watch(CURL *easy, curl_socket_t fd, int what, void *arg,
    void *sock_arg)
{
	struct aic_http *h = arg;
	struct aic_http_sock *s = get_sock(h, fd);
	struct aic_http_call *call = NULL;
	uint32_t events = 0;

	(void)sock_arg;
	/*
	 * Every connection has an entry, made by aic_http_sock_open(). If there
	 * is none for a descriptor of libcurl's resolver, libcurl polls it with
	 * a timer instead.
	 */
	if (!s)
		return 0;
	s->idle = what == CURL_POLL_REMOVE;
	if (s->idle && s->upstream && s->connected)
		return 0;
	if (s->idle) {
		events = s->upstream ? EPOLLRDHUP : 0;
	} else {
		set_stale(s, false);
		curl_easy_getinfo(easy, CURLINFO_PRIVATE, &call);
		if (call && call->connection && call->connecting == 0)
			s->connection = call->connection;
		events = EPOLLRDHUP | (what & CURL_POLL_IN ? EPOLLIN : 0) |
		    (what & CURL_POLL_OUT ? EPOLLOUT : 0);
	}
	if (s->watched ? s->events == events : events == 0)
		return 0;
	s->events = events;
	update_epoll(h, fd, s);
	return 0;
}

int
aic_http_sock_on_close(void *arg, curl_socket_t fd)
{
	struct aic_http *h = arg;
	struct aic_http_sock *s = get_sock(h, fd);

	if (s)
		reset_sock(s);
	return close(fd);
}

/*
 * Another event of the same epoll_wait() may have made the connection idle.
 * Data on it is read when it is used next. Until then only its end matters, and
 * is reported once.
 */
bool
aic_http_sock_note_idle(struct aic_http *h, int fd, uint32_t events)
{
	struct aic_http_sock *s = get_sock(h, fd);

	if (!s || !s->idle)
		return false;
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		set_stale(s, true);
	s->events = s->stale ? 0 : EPOLLRDHUP;
	update_epoll(h, fd, s);
	return true;
}

void
aic_http_sock_age_idle(struct aic_http *h, struct aic_http_upstream *up)
{
	int fd;

	for (fd = 0; fd < h->n_socks; fd++)
		if (h->socks[fd].upstream == up && h->socks[fd].idle)
			set_stale(&h->socks[fd], true);
}

int
aic_http_sock_find(const struct aic_http *h, const void *connection)
{
	int fd;

	for (fd = 0; fd < h->n_socks; fd++)
		if (h->socks[fd].connection == connection)
			return fd;
	return -1;
}
