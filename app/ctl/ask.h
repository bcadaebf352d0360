/*
 * ctl_ask -- requests to workers directly on their sockets, without Nginx.
 */
#ifndef CTL_ASK_H
#define CTL_ASK_H

#include <stdbool.h>
#include <stddef.h>

/* A worker's response to GET /health/ready. */
struct ctl_ask {
	char path[256]; /* the socket; set by the caller */
	bool answered; /* false: no connection, or no response in time */
	bool ready;
	/* As in the response: "ok", "down", "open", "off"; "": unknown. */
	char database[8];

	int fd; /* -1: no request is in flight */
	char got[1024]; /* the response as FastCGI records */
	size_t n;
};

/*
 * ctl_ask_all -- ask n workers at the same time.
 *
 * Blocks:   a few seconds at most
 * Source:   FastCGI Specification, 3 to 5
 */
void ctl_ask_all(struct ctl_ask *asks, int n);

/*
 * ctl_ask_ready -- true if the worker responds with 200, so that the worker
 * serves and its database can be reached.
 *
 * Blocks:   a few seconds at most
 */
bool ctl_ask_ready(const char *socket_path);

#endif
