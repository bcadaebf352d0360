/*
 * sd_notify -- report the state of the process to the service manager: READY=1,
 * STOPPING=1, and periodically WATCHDOG=1. Without a service manager that
 * listens, nothing is sent.
 *
 * Threads: one.
 * Source:  sd_notify(3), whose protocol is a datagram; libsystemd is not needed
 */
#ifndef SD_NOTIFY_H
#define SD_NOTIFY_H

#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

struct sd_notify {
	int fd; /* -1: there is no socket to send to */
	struct sockaddr_un to;
	socklen_t to_len;
	int64_t ping_us; /* WATCHDOG=1 is due this often; 0: never */
};

/*
 * sd_notify_open -- read the environment and open the socket.
 *
 * env       environ(7): NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID
 *
 * An invalid value is logged and does not stop the worker.
 */
void sd_notify_open(struct sd_notify *n, char *const *env);

/* sd_notify_send -- send a state such as "READY=1". Blocks: for a second at
 * most, if the receiver does not keep up. */
void sd_notify_send(const struct sd_notify *n, const char *text);

void sd_notify_close(struct sd_notify *n);

#endif
