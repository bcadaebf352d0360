#include "config.h"

#include "lib/redis_connect.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/clock.h"

/* Returns a descriptor, or -1 and errno. */
static int
connect_to(const struct sockaddr *to, socklen_t len, int64_t connect_us)
{
	int64_t until = aic_clock_us() + connect_us;
	int fd, error = 0;
	socklen_t size = sizeof(error);

	fd = socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
	    0);
	if (fd < 0)
		return -1;
	if (connect(fd, to, len) != 0)
		error = errno;
	/*
	 * EAGAIN on a unix socket means that the queue of connections is full.
	 */
	if (error == EINPROGRESS) {
		if (!aic_clock_poll(fd, POLLOUT, until))
			error = ETIMEDOUT;
		else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size))
			error = errno;
	}
	if (error == 0)
		return fd;
	close(fd);
	errno = error;
	return -1;
}

static int
connect_unix(const char *path, int64_t connect_us)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	/* The path fits, because aic_redis_url_parse() checks its length. */
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	return connect_to((struct sockaddr *)&a, sizeof(a), connect_us);
}

/*
 * Requests are small, so the socket sends them without delay. Keepalive probes
 * detect a dead host within half a minute even if there are no requests.
 */
static void
set_tcp(int fd)
{
	static const int one = 1, idle_s = 10, interval_s = 5, count = 3;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s,
	    sizeof(interval_s));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}

static int
connect_tcp(const struct addrinfo *list, int64_t connect_us)
{
	const struct addrinfo *a;
	int fd = -1;

	for (a = list; a && fd < 0; a = a->ai_next)
		fd = connect_to(a->ai_addr, a->ai_addrlen, connect_us);
	if (fd >= 0)
		set_tcp(fd);
	return fd;
}

int
aic_redis_connect(const struct aic_redis_url *url, int64_t connect_us,
    char *why, size_t size)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM };
	struct addrinfo *list = NULL;
	char port[8];
	int rc, fd;

	if (url->path) {
		fd = connect_unix(url->path, connect_us);
	} else {
		snprintf(port, sizeof(port), "%d", url->port);
		rc = getaddrinfo(url->host, port, &hints, &list);
		if (rc) {
			snprintf(why, size,
			    "could not resolve the host of REDIS_URL: %s",
			    rc == EAI_SYSTEM ? strerror(errno)
					     : gai_strerror(rc));
			return -1;
		}
		fd = connect_tcp(list, connect_us);
	}
	if (fd < 0)
		snprintf(why, size, "could not connect to Redis: %s",
		    strerror(errno));
	if (list)
		freeaddrinfo(list);
	return fd;
}
