/*
 * ai-chat-load -- callers for the benchmark that keep many chats in flight.
 *
 * The program opens all connections to Nginx first, so that connecting is not
 * measured. Each connection then sends its requests one after another. The
 * first requests start at one moment, or are spread evenly over --spread. The
 * time of a first request runs from the moment at which it is due, so that a
 * loader that sends too late cannot make the service look faster than it is.
 * The time of a later request runs from the end of the response before it.
 *
 * Each request without a response of status 200 is an error. When a connection
 * fails, or --timeout passes, its unfinished requests are errors too, so
 * "errors" and "n" always add up to all requests. A line for each status
 * follows; 0 stands for requests without a response.
 *
 * There is one thread, with epoll(7). A request is smaller than an empty socket
 * buffer, so it is written at once and completely.
 */

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 50000
#define REQUESTS_MAX 10000000
/* The head of an answer must fit; Nginx limits it to less. */
#define HEAD_MAX 8192
#define EVENTS 512

#define MESSAGE "Как увеличить продажи карточки товара?"

struct conn {
	int fd; /* -1: closed */
	int left; /* requests that are not finished, this one included */
	int64_t start_us; /* of the request in flight */
	bool is_head; /* the head of the answer is not complete */
	int status;
	int64_t body_left; /* bytes of the body that have not come */
	size_t len;
	char head[HEAD_MAX];
};

static struct {
	int port, connections, requests, spread_ms, timeout_s;
	int64_t user;
	const char *key;
	int epoll;
	int open; /* connections with requests left */
	struct conn *conns;
	int64_t *took_us; /* of each answer with status 200 */
	int64_t answered, errors;
	int64_t status[600]; /* errors by status; 0: the connection failed */
} g = {
	.connections = 1, .requests = 1, .timeout_s = 60, .user = 1, .key = "k"
};

static const char usage[] =
    "usage: ai-chat-load --port N [--connections N] [--requests N]\n"
    "                    [--spread MS] [--user N] [--key KEY] [--timeout S]\n"
    "\n"
    "Sends --requests chats on each of the connections, each connection as a user\n"
    "of its own, counted from --user, and prints as one line of key=value: answers\n"
    "with status 200, errors, seconds, and the milliseconds of the answers.\n";

static int64_t
now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void
fail(const char *what)
{
	fprintf(stderr, "ai-chat-load: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* The connection is of no use any more. */
static void
drop(struct conn *c)
{
	close(c->fd);
	c->fd = -1;
	g.open--;
	g.errors += c->left;
	g.status[0] += c->left;
	c->left = 0;
}

static void
send_request(struct conn *c, int64_t start_us)
{
	char body[256], request[1024];
	int n, len;

	n = snprintf(body, sizeof(body),
	    "{\"telegram_id\":%" PRId64 ",\"message\":\"" MESSAGE "\"}",
	    g.user + (c - g.conns));
	len = snprintf(request, sizeof(request),
	    "POST /v1/chat/send HTTP/1.1\r\n"
	    "Host: 127.0.0.1\r\n"
	    "X-API-KEY: %s\r\n"
	    "Content-Type: application/json\r\n"
	    "Content-Length: %d\r\n\r\n%s",
	    g.key, n, body);
	c->start_us = start_us;
	c->is_head = true;
	c->len = 0;
	if (send(c->fd, request, (size_t)len, MSG_NOSIGNAL) != len)
		drop(c);
}

static void
finish(struct conn *c)
{
	int64_t now = now_us();

	if (c->status == 200) {
		g.took_us[g.answered++] = now - c->start_us;
	} else {
		g.errors++;
		g.status[c->status > 0 && c->status < 600 ? c->status : 0]++;
	}
	c->left--;
	if (c->left > 0) {
		send_request(c, now);
		return;
	}
	drop(c);
}

/* The value of a header in the head; NULL: it is not there. */
static const char *
header(const char *head, const char *name)
{
	size_t len = strlen(name);
	const char *line = strstr(head, "\r\n");

	for (; line; line = strstr(line, "\r\n")) {
		line += 2;
		if (strncasecmp(line, name, len) == 0 && line[len] == ':')
			return line + len + 1;
	}
	return NULL;
}

/* The head is complete when this returns true. */
static bool
read_head(struct conn *c)
{
	const char *length;
	char *end;

	c->head[c->len] = '\0';
	end = strstr(c->head, "\r\n\r\n");
	if (!end)
		return false;
	end[2] = '\0';
	c->is_head = false;
	c->status = strncmp(c->head, "HTTP/1.1 ", 9) == 0
	    ? (int)strtol(c->head + 9, NULL, 10)
	    : 0;
	length = header(c->head, "Content-Length");
	/* The worker gives the length of each answer, and Nginx of its own. */
	c->body_left = length ? strtoll(length, NULL, 10) : -1;
	if (c->body_left >= 0)
		c->body_left -= (int64_t)c->len - (end + 4 - c->head);
	return true;
}

static void
take_bytes(struct conn *c)
{
	static char lost[65536];
	ssize_t n;

	if (c->is_head)
		n = read(c->fd, c->head + c->len, HEAD_MAX - 1 - c->len);
	else
		n = read(c->fd, lost, sizeof(lost));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		drop(c);
		return;
	}
	if (c->is_head) {
		c->len += (size_t)n;
		if (!read_head(c)) {
			if (c->len == HEAD_MAX - 1)
				drop(c);
			return;
		}
	} else
		c->body_left -= n;
	if (c->body_left < 0)
		drop(c);
	else if (c->body_left == 0)
		finish(c);
}

static void
connect_all(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
		.sin_port = htons((uint16_t)g.port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int i, one = 1;

	for (i = 0; i < g.connections; i++) {
		struct conn *c = &g.conns[i];
		struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };

		c->left = g.requests;
		c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (c->fd < 0)
			fail("could not make a socket");
		/* Waits while the queue of Nginx is full. */
		if (connect(c->fd, (struct sockaddr *)&to, sizeof(to)) != 0)
			fail("could not connect");
		setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0 ||
		    epoll_ctl(g.epoll, EPOLL_CTL_ADD, c->fd, &ev) != 0)
			fail("could not watch a socket");
	}
	g.open = g.connections;
}

static int64_t
due_us(int i, int64_t start_us)
{
	return start_us + (int64_t)g.spread_ms * 1000 * i / g.connections;
}

static void
run(void)
{
	struct epoll_event events[EVENTS];
	int64_t start = now_us(), end = start + (int64_t)g.timeout_s * 1000000;
	int64_t now, wait;
	int i, n, next = 0;

	while (g.open > 0) {
		now = now_us();
		if (now >= end)
			break;
		for (; next < g.connections && due_us(next, start) <= now;
		     next++)
			if (g.conns[next].fd >= 0)
				send_request(&g.conns[next],
				    due_us(next, start));
		wait = (next < g.connections ? due_us(next, start) : end) - now;
		n = epoll_wait(g.epoll, events, EVENTS,
		    (int)((wait + 999) / 1000));
		if (n < 0 && errno != EINTR)
			fail("could not wait");
		for (i = 0; i < n; i++)
			take_bytes(events[i].data.ptr);
	}
	for (i = 0; i < g.connections; i++)
		if (g.conns[i].fd >= 0)
			drop(&g.conns[i]);
}

static int
compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

static double
percentile_ms(double p)
{
	int64_t i;

	if (g.answered == 0)
		return 0;
	i = (int64_t)((double)g.answered * p / 100);
	return (double)g.took_us[i < g.answered ? i : g.answered - 1] / 1000;
}

static int64_t
number(const char *name, const char *text, int64_t min, int64_t max)
{
	char *end;
	long long n;

	errno = 0;
	n = strtoll(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || n < min || n > max) {
		fprintf(stderr, "ai-chat-load: bad --%s: %s\n", name, text);
		exit(2);
	}
	return n;
}

static void
take_options(int argc, char **argv)
{
	static const struct option options[] = { { "port", required_argument,
						     NULL, 'p' },
		{ "connections", required_argument, NULL, 'c' },
		{ "requests", required_argument, NULL, 'n' },
		{ "spread", required_argument, NULL, 's' },
		{ "user", required_argument, NULL, 'u' },
		{ "key", required_argument, NULL, 'k' },
		{ "timeout", required_argument, NULL, 't' },
		{ "help", no_argument, NULL, 'h' }, { 0 } };
	int opt, at;

	while ((opt = getopt_long(argc, argv, "", options, &at)) != -1) {
		int64_t max = opt == 'p' ? 65535
		    : opt == 'c'	 ? CONNECTIONS_MAX
		    : opt == 'u'	 ? INT64_MAX / 2
					 : 1000000;
		int64_t min = opt == 's' ? 0 : 1;
		int64_t n = 0;

		if (opt == 'h') {
			fputs(usage, stdout);
			exit(0);
		}
		if (opt == '?') {
			fputs(usage, stderr);
			exit(2);
		}
		if (opt == 'k')
			g.key = optarg;
		else
			n = number(options[at].name, optarg, min, max);
		if (opt == 'p')
			g.port = (int)n;
		else if (opt == 'c')
			g.connections = (int)n;
		else if (opt == 'n')
			g.requests = (int)n;
		else if (opt == 's')
			g.spread_ms = (int)n;
		else if (opt == 'u')
			g.user = n;
		else if (opt == 't')
			g.timeout_s = (int)n;
	}
	if (optind != argc || g.port == 0 ||
	    (int64_t)g.connections * g.requests > REQUESTS_MAX) {
		fputs(usage, stderr);
		exit(2);
	}
}

int
main(int argc, char **argv)
{
	struct rlimit files;
	int64_t start;
	int i;

	take_options(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	g.conns = calloc((size_t)g.connections, sizeof(*g.conns));
	g.took_us = calloc((size_t)g.connections * (size_t)g.requests,
	    sizeof(*g.took_us));
	g.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!g.conns || !g.took_us || g.epoll < 0)
		fail("could not start");
	connect_all();
	start = now_us();
	run();
	start = now_us() - start;
	if (g.answered > 0)
		qsort(g.took_us, (size_t)g.answered, sizeof(*g.took_us),
		    compare);
	printf("n=%" PRId64 " errors=%" PRId64
	       " s=%.3f p50=%.3f p99=%.3f max=%.3f\n",
	    g.answered, g.errors, (double)start / 1e6, percentile_ms(50),
	    percentile_ms(99), percentile_ms(100));
	for (i = 0; i < 600; i++)
		if (g.status[i] > 0)
			printf("status %d: %" PRId64 " times\n", i,
			    g.status[i]);
	free(g.took_us);
	free(g.conns);
	return 0;
}
