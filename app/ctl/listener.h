/*
 * ctl_listener -- a request to one of Nginx's listeners, as a caller sends it.
 */
#ifndef CTL_LISTENER_H
#define CTL_LISTENER_H

#include <stdbool.h>
#include <stdint.h>

#include "app/ctl/nginx.h"

/* The result of GET /health. */
struct ctl_listener_answer {
	int status; /* 0: no response */
	bool ours; /* the response is that of a worker */
	char why[160]; /* without a response: the reason */
	/* The certificate that the listener has sent; 0: none. Unix time. */
	int64_t cert_begins_s, cert_ends_s;
};

/*
 * ctl_listener_ask -- send GET /health.
 *
 * The certificate is read and not verified: a caller can use another name for
 * the host than this program does.
 *
 * name      the host of the request; "": localhost
 *
 * Blocks:   some seconds at most, except for DNS
 * Source:   nginx.org, ngx_http_core_module, "listen"; haproxy.org, "The PROXY
 *           protocol", 2.1
 */
void ctl_listener_ask(const struct ctl_nginx_listen *listen, const char *name,
    struct ctl_listener_answer *ret);

/* ctl_listener_port -- the port of an address of a listen directive; 0: a unix
 * socket. */
int ctl_listener_port(const char *address);

#endif
