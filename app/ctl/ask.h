/*
 * ctl_ask -- ask a worker itself, on its socket and past Nginx.
 */
#ifndef CTL_ASK_H
#define CTL_ASK_H

#include <stdbool.h>

/*
 * ctl_ask_ready -- does it say 200 to GET /health/ready? So it serves, and has its
 * database.
 *
 * Blocks:   a few seconds at most
 * Source:   FastCGI Specification, 3 to 5
 */
bool ctl_ask_ready(const char *socket_path);

#endif
