/*
 * notify -- tell the service manager how things stand: READY=1, STOPPING=1, and
 * WATCHDOG=1 from time to time. Without one that listens, nothing is said.
 *
 * Threads: one.
 * Source:   sd_notify(3), whose protocol is a datagram; libsystemd is not needed
 */
#ifndef SD_NOTIFY_H
#define SD_NOTIFY_H

#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

struct sd_notify {
	int fd; /* -1: nobody listens */
	struct sockaddr_un to;
	socklen_t to_len;
	int64_t ping_us; /* WATCHDOG=1 is due this often; 0: never */
};

/*
 * sd_notify_open -- see whom to tell.
 *
 * env       environ(7): NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID
 *
 * What is wrong with them is logged, and no reason not to serve.
 */
void sd_notify_open(struct sd_notify *n, char *const *env);

/* sd_notify_send -- such as "READY=1". Blocks: a second at most, when the listener does
 * not keep up. */
void sd_notify_send(const struct sd_notify *n, const char *text);

void sd_notify_close(struct sd_notify *n);

#endif
