#include "config.h"

#include "app/ctl/ask.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

/* A worker waits for its database for one second at most. */
#define PATIENCE_S 3

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

static int
connect_to(const char *path)
{
	const struct timeval patience = { .tv_sec = PATIENCE_S };
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof(to.sun_path))
		return -1;
	memcpy(to.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(fd, (const struct sockaddr *)(const void *)&to,
		sizeof(to)) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* The first record of the response begins with the status. */
static bool
says_200(const struct bytes *got)
{
	static const char want[] = "Status: 200";

	return got->n >= 8 + strlen(want) && got->b[1] == OUT &&
	    memcmp(got->b + 8, want, strlen(want)) == 0;
}

bool
ctl_ask_ready(const char *socket_path)
{
	struct bytes out = { .n = 0 }, got = { .n = 0 };
	ssize_t n = 1;
	int fd;

	fd = connect_to(socket_path);
	if (fd < 0)
		return false;
	make_request(&out);
	if (send(fd, out.b, out.n, MSG_NOSIGNAL) == (ssize_t)out.n) {
		while (n > 0 && got.n < sizeof(got.b)) {
			n = recv(fd, got.b + got.n, sizeof(got.b) - got.n, 0);
			if (n > 0)
				got.n += (size_t)n;
		}
	}
	close(fd);
	return says_200(&got);
}
