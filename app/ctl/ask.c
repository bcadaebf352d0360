#include "config.h"

#include "app/ctl/ask.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/metrics.h"

/* A worker waits for its database for one second at most. */
#define PATIENCE_US (3 * AIC_S)

enum { BEGIN = 1, PARAMS = 4, IN = 5, OUT = 6 };

/* The request is always the same: a few headers, and a short response. */
struct bytes {
	unsigned char b[1024];
	size_t n;
};

static void
add_bytes(struct bytes *to, const void *p, size_t n)
{
	if (n == 0 || n > sizeof(to->b) - to->n)
		return;
	memcpy(to->b + to->n, p, n);
	to->n += n;
}

/* Write a record of request 1. The content is shorter than 256 bytes. */
static void
add_record(struct bytes *to, int type, const void *p, size_t n)
{
	const unsigned char head[8] = { 1, (unsigned char)type, 0, 1, 0,
		(unsigned char)n, 0, 0 };

	add_bytes(to, head, sizeof(head));
	add_bytes(to, p, n);
}

/* Names and values are shorter than 128 bytes. */
static void
add_param(struct bytes *to, const char *name, const char *value)
{
	const unsigned char lengths[2] = { (unsigned char)strlen(name),
		(unsigned char)strlen(value) };

	add_bytes(to, lengths, sizeof(lengths));
	add_bytes(to, name, strlen(name));
	add_bytes(to, value, strlen(value));
}

static void
make_request(struct bytes *to)
{
	/* The role is responder. The worker closes the connection after the
	 * response. */
	static const unsigned char begin[8] = { 0, 1, 0, 0, 0, 0, 0, 0 };
	struct bytes params = { .n = 0 };

	add_param(&params, "REQUEST_METHOD", "GET");
	add_param(&params, "DOCUMENT_URI", "/health/ready");
	add_param(&params, "QUERY_STRING", "");
	add_param(&params, "CONTENT_LENGTH", "0");
	add_param(&params, "X_REQUEST_ID", "ai-chatctl");
	add_record(to, BEGIN, begin, sizeof(begin));
	add_record(to, PARAMS, params.b, params.n);
	add_record(to, PARAMS, NULL, 0);
	add_record(to, IN, NULL, 0);
}

/* The descriptor does not block, because several workers are asked at once, and
 * a worker that hangs has a full queue. */
static int
connect_to(const char *path)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof(to.sun_path))
		return -1;
	memcpy(to.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	if (connect(fd, (const struct sockaddr *)(const void *)&to,
		sizeof(to)) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static void
start_ask(struct ctl_ask *a, const struct bytes *request)
{
	a->answered = a->ready = false;
	a->database[0] = '\0';
	a->n = 0;
	a->fd = connect_to(a->path);
	if (a->fd >= 0 &&
	    send(a->fd, request->b, request->n, MSG_NOSIGNAL) !=
		(ssize_t)request->n) {
		close(a->fd);
		a->fd = -1;
	}
}

/* Copy the value of "name":"value" in the response, which is one short record.
 */
static void
read_word(const struct ctl_ask *a, const char *name, char *to, size_t size)
{
	const char *at = memmem(a->got, a->n, name, strlen(name));
	const char *end = a->got + a->n;
	size_t i = 0;

	at = at ? at + strlen(name) : end;
	while (at < end && *at != '"' && i + 1 < size)
		to[i++] = *at++;
	to[i] = '\0';
}

/* The first record of the response begins with the status. */
static void
finish_ask(struct ctl_ask *a)
{
	static const char begin[] = "Status: ", ready[] = "Status: 200";

	close(a->fd);
	a->fd = -1;
	a->answered = a->n >= 8 + strlen(ready) && a->got[1] == OUT &&
	    memcmp(a->got + 8, begin, strlen(begin)) == 0;
	a->ready = a->answered && memcmp(a->got + 8, ready, strlen(ready)) == 0;
	read_word(a, "\"database\":\"", a->database, sizeof(a->database));
}

static void
read_ask(struct ctl_ask *a)
{
	ssize_t n = recv(a->fd, a->got + a->n, sizeof(a->got) - a->n, 0);

	if (n > 0)
		a->n += (size_t)n;
	if (n == 0 || a->n == sizeof(a->got) ||
	    (n < 0 && errno != EAGAIN && errno != EINTR))
		finish_ask(a);
}

void
ctl_ask_all(struct ctl_ask *asks, int n)
{
	int64_t until = aic_clock_us() + PATIENCE_US;
	struct pollfd fds[AIC_METRICS_WORKERS];
	struct bytes request = { .n = 0 };
	int i, of[AIC_METRICS_WORKERS], left;

	make_request(&request);
	if (n > AIC_METRICS_WORKERS)
		n = AIC_METRICS_WORKERS;
	for (i = 0; i < n; i++)
		start_ask(&asks[i], &request);
	for (;;) {
		for (i = left = 0; i < n; i++) {
			if (asks[i].fd < 0)
				continue;
			of[left] = i;
			fds[left++] = (struct pollfd){ .fd = asks[i].fd,
				.events = POLLIN };
		}
		if (left == 0 || aic_clock_us() >= until)
			break;
		if (poll(fds, (nfds_t)left, aic_clock_left_ms(until)) <= 0)
			continue;
		for (i = 0; i < left; i++)
			if (fds[i].revents)
				read_ask(&asks[of[i]]);
	}
	for (i = 0; i < left; i++) {
		close(asks[of[i]].fd);
		asks[of[i]].fd = -1;
	}
}

bool
ctl_ask_ready(const char *socket_path)
{
	struct ctl_ask a = { .fd = -1 };

	snprintf(a.path, sizeof(a.path), "%s", socket_path);
	ctl_ask_all(&a, 1);
	return a.ready;
}
