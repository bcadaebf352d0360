/*
 * ctl_ask -- a request to a worker directly on its socket, without Nginx.
 */
#ifndef CTL_ASK_H
#define CTL_ASK_H

#include <stdbool.h>

/*
 * ctl_ask_ready -- true if the worker responds with 200 to GET /health/ready,
 * so that the worker serves and its database can be reached.
 *
 * Blocks:   a few seconds at most
 * Source:   FastCGI Specification, 3 to 5
 */
bool ctl_ask_ready(const char *socket_path);

#endif
