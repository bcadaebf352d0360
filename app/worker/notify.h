/*
 * notify -- tell the service manager how things stand: READY=1, STOPPING=1, and
 * WATCHDOG=1 from time to time. Without one that listens, nothing is said.
 *
 * Threads: one.
 * Source:   sd_notify(3), whose protocol is a datagram; libsystemd is not needed
 */
#ifndef NOTIFY_H
#define NOTIFY_H

#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

struct notify {
	int fd; /* -1: nobody listens */
	struct sockaddr_un to;
	socklen_t to_len;
	int64_t ping_us; /* WATCHDOG=1 is due this often; 0: never */
};

/*
 * notify_open -- see whom to tell.
 *
 * env       environ(7): NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID
 *
 * What is wrong with them is logged, and no reason not to serve.
 */
void notify_open(struct notify *n, char *const *env);

/* notify_say -- such as "READY=1". Blocks: a second at most, when the listener does
 * not keep up. */
void notify_say(const struct notify *n, const char *text);

void notify_close(struct notify *n);

#endif
