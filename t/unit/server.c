#include "config.h"

#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNS 16
#define REQUESTS 16
#define REQUEST_MAX (4 * 1024 * 1024)

/*
 * Longer than any test takes, so that a broken test fails instead of hanging.
 */
#define PATIENCE_MS 10000

struct request {
	char *bytes;
	size_t body_at, body_len;
};

struct server {
	pthread_t thread;
	pthread_mutex_t lock;
	int listener;
	int stop[2];
	char url[64];
	struct server_step steps[SERVER_STEPS];
	int n_steps;
	int conns[CONNS];
	int n_conns;
	struct request got[REQUESTS];
	int requests, connections;
};

static bool
wait_for(struct server *s, int fd, short events, int ms)
{
	struct pollfd p[2] = { { .fd = s->stop[0], .events = POLLIN },
		{ .fd = fd, .events = events } };

	return poll(p, 2, ms) > 0 && p[0].revents == 0;
}

/* Reads a complete request. False: the connection ended before. */
static bool
read_request(struct server *s, int fd, struct request *r)
{
	size_t cap = 64 * 1024, len = 0, want = 0;
	char *end = NULL, *p;
	ssize_t n;

	r->bytes = malloc(cap + 1);
	for (;;) {
		if (len == cap) {
			cap *= 2;
			if (cap > REQUEST_MAX)
				return false;
			r->bytes = realloc(r->bytes, cap + 1);
		}
		if (!wait_for(s, fd, POLLIN, PATIENCE_MS))
			return false;
		n = recv(fd, r->bytes + len, cap - len, 0);
		if (n <= 0)
			return false;
		len += (size_t)n;
		r->bytes[len] = '\0';
		if (want == 0) {
			end = strstr(r->bytes, "\r\n\r\n");
			if (!end)
				continue;
			*end = '\0'; /* the head becomes a string */
			r->body_at = (size_t)(end + 4 - r->bytes);
			p = strcasestr(r->bytes, "\r\nContent-Length:");
			want = r->body_at +
			    (p ? (size_t)strtoul(p + 17, NULL, 10) : 0);
		}
		if (len >= want)
			break;
	}
	r->body_len = want - r->body_at;
	return true;
}

static void
send_all(struct server *s, int fd, const char *p, size_t n)
{
	ssize_t done;

	while (n > 0) {
		done = send(fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (done < 0) {
			if (errno != EAGAIN ||
			    !wait_for(s, fd, POLLOUT, PATIENCE_MS))
				return;
			continue;
		}
		p += done;
		n -= (size_t)done;
	}
}

static void
end_conn(struct server *s, int i, enum server_then then)
{
	struct linger hard = { 1, 0 };

	if (then == RESET)
		setsockopt(s->conns[i], SOL_SOCKET, SO_LINGER, &hard,
		    sizeof(hard));
	close(s->conns[i]);
	s->conns[i] = s->conns[--s->n_conns];
}

static const struct server_step *
next_step(struct server *s)
{
	int i = s->requests < s->n_steps ? s->requests : s->n_steps - 1;

	return &s->steps[i];
}

static void
serve(struct server *s, int i)
{
	const struct server_step *step = next_step(s);
	struct request r = { NULL, 0, 0 };
	int fd = s->conns[i];

	if (!read_request(s, fd, &r)) {
		free(r.bytes);
		end_conn(s, i, CLOSE);
		return;
	}
	pthread_mutex_lock(&s->lock);
	if (s->requests < REQUESTS)
		s->got[s->requests] = r;
	else
		free(r.bytes);
	s->requests++;
	pthread_mutex_unlock(&s->lock);
	if (step->delay_ms > 0 && wait_for(s, -1, 0, step->delay_ms))
		return;
	if (step->answer)
		send_all(s, fd, step->answer, step->len);
	if (step->then != KEEP)
		end_conn(s, i, step->then);
}

static void
take_conn(struct server *s)
{
	const struct server_step *step = next_step(s);
	int fd = accept(s->listener, NULL, NULL), one = 1;

	if (fd < 0)
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	pthread_mutex_lock(&s->lock);
	s->connections++;
	pthread_mutex_unlock(&s->lock);
	s->conns[s->n_conns++] = fd;
	if (step->unread || s->n_conns == CONNS)
		end_conn(s, s->n_conns - 1, step->then);
}

static void *
run(void *arg)
{
	struct server *s = arg;
	struct pollfd p[CONNS + 2];
	int i;

	for (;;) {
		p[0] = (struct pollfd){ .fd = s->stop[0], .events = POLLIN };
		p[1] = (struct pollfd){ .fd = s->listener, .events = POLLIN };
		for (i = 0; i < s->n_conns; i++)
			p[i + 2] = (struct pollfd){ .fd = s->conns[i],
				.events = POLLIN };
		if (poll(p, (nfds_t)(s->n_conns + 2), -1) < 0)
			continue;
		if (p[0].revents)
			return NULL;
		/*
		 * From the end, because serve() may move the last connection
		 * down.
		 */
		for (i = s->n_conns - 1; i >= 0; i--)
			if (p[i + 2].revents)
				serve(s, i);
		if (p[1].revents)
			take_conn(s);
	}
}

struct server *
server_new(const struct server_step *steps, int n)
{
	struct server *s = calloc(1, sizeof(*s));
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t len = sizeof(a);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	memcpy(s->steps, steps, (size_t)n * sizeof(*steps));
	s->n_steps = n;
	pthread_mutex_init(&s->lock, NULL);
	if (pipe(s->stop) || bind(s->listener, (void *)&a, sizeof(a)) ||
	    listen(s->listener, 64) ||
	    getsockname(s->listener, (void *)&a, &len) ||
	    pthread_create(&s->thread, NULL, run, s)) {
		perror("server");
		abort();
	}
	snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%u",
	    (unsigned)ntohs(a.sin_port));
	return s;
}

void
server_free(struct server *s)
{
	int i;

	if (!s)
		return;
	close(s->stop[1]);
	pthread_join(s->thread, NULL);
	close(s->stop[0]);
	close(s->listener);
	for (i = 0; i < s->n_conns; i++)
		close(s->conns[i]);
	for (i = 0; i < s->requests && i < REQUESTS; i++)
		free(s->got[i].bytes);
	for (i = 0; i < s->n_steps; i++)
		free(s->steps[i].answer);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

const char *
server_url(const struct server *s)
{
	return s->url;
}

int
server_requests(struct server *s)
{
	int n;

	pthread_mutex_lock(&s->lock);
	n = s->requests;
	pthread_mutex_unlock(&s->lock);
	return n;
}

int
server_connections(struct server *s)
{
	int n;

	pthread_mutex_lock(&s->lock);
	n = s->connections;
	pthread_mutex_unlock(&s->lock);
	return n;
}

static struct request
get(struct server *s, int n)
{
	static char nothing[] = "";
	struct request r = { nothing, 0, 0 };

	pthread_mutex_lock(&s->lock);
	if (n < s->requests && n < REQUESTS)
		r = s->got[n];
	pthread_mutex_unlock(&s->lock);
	return r;
}

const char *
server_head(struct server *s, int n)
{
	return get(s, n).bytes;
}

const char *
server_body(struct server *s, int n)
{
	struct request r = get(s, n);

	return r.bytes + r.body_at;
}

size_t
server_body_len(struct server *s, int n)
{
	return get(s, n).body_len;
}

struct server_step
server_reply(int status, const char *headers, const char *body, size_t len)
{
	char head[1024];
	int n = snprintf(head, sizeof(head),
	    "HTTP/1.1 %d X\r\nContent-Length: %zu\r\n%s\r\n", status, len,
	    headers);
	char *answer = malloc((size_t)n + len + 1);

	memcpy(answer, head, (size_t)n);
	memcpy(answer + n, body, len);
	return (struct server_step){ .answer = answer, .len = (size_t)n + len };
}

struct server_step
server_raw(const char *bytes, enum server_then then)
{
	return (struct server_step){
		.answer = strdup(bytes), .len = strlen(bytes), .then = then
	};
}
