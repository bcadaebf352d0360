#include "config.h"

#include "app/worker/sd_notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/conf.h"
#include "lib/log.h"

/* The number of pings in the watchdog interval: two pings can be lost or
 * late. */
#define PINGS 3

static void
log_failure(const char *why)
{
	aic_log_event(AIC_LOG_WARN, "notify",
	    "could not notify the service manager: %s", why);
}

/* The interval between pings; 0: the watchdog is off, or is set for another
 * process. */
static int64_t
read_ping_time(char *const *env)
{
	const char *usec = aic_conf_env(env, "WATCHDOG_USEC");
	const char *pid = aic_conf_env(env, "WATCHDOG_PID");
	long long n;

	if (!usec || (pid && strtoll(pid, NULL, 10) != getpid()))
		return 0;
	n = strtoll(usec, NULL, 10);
	return n > 0 ? n / PINGS + 1 : 0;
}

void
sd_notify_open(struct sd_notify *n, char *const *env)
{
	static const struct timeval limit = { .tv_sec = 1 };
	const char *where = aic_conf_env(env, "NOTIFY_SOCKET");
	size_t len;

	*n = (struct sd_notify){ .fd = -1, .to = { .sun_family = AF_UNIX } };
	if (!where)
		return;
	len = strlen(where);
	if ((*where != '/' && *where != '@') || len < 2 ||
	    len >= sizeof(n->to.sun_path)) {
		log_failure("NOTIFY_SOCKET is not a socket address");
		return;
	}
	memcpy(n->to.sun_path, where, len);
	/* The address of an abstract socket begins with a NUL and has no NUL at
	 * its end. */
	if (*where == '@')
		n->to.sun_path[0] = '\0';
	n->to_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len +
	    (*where == '/'));
	n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (n->fd < 0) {
		log_failure(strerror(errno));
		return;
	}
	setsockopt(n->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	n->ping_us = read_ping_time(env);
}

void
sd_notify_send(const struct sd_notify *n, const char *text)
{
	ssize_t sent;

	if (n->fd < 0)
		return;
	do {
		sent = sendto(n->fd, text, strlen(text), MSG_NOSIGNAL,
		    (const struct sockaddr *)&n->to, n->to_len);
	} while (sent < 0 && errno == EINTR);
	if (sent < 0)
		log_failure(strerror(errno));
}

void
sd_notify_close(struct sd_notify *n)
{
	if (n->fd >= 0)
		close(n->fd);
	n->fd = -1;
}
