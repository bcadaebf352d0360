/*
 * ctl_nginx -- Nginx itself: what its configuration says about the service, and
 * whether its processes have taken a new one.
 */
#ifndef CTL_NGINX_H
#define CTL_NGINX_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/err.h"

/* Nginx has a process for each processor, and two for its caches. */
#define CTL_NGINX_PROCESSES 256

/* The processes of one configuration. */
struct ctl_nginx {
	pid_t master; /* 0: not known, and nothing is ever waited for */
	pid_t pid[CTL_NGINX_PROCESSES];
	int n;
};

/* ctl_nginx_note -- those of this moment, before a reload. */
void ctl_nginx_note(struct ctl_nginx *old, pid_t master);

/*
 * ctl_nginx_wait -- until they take no new requests, or have ended.
 *
 * ended     wait until they have, with the last request that they have taken
 *
 * False: some of them still do, at the deadline.
 * Blocks:   until the deadline at most
 */
bool
ctl_nginx_wait(const struct ctl_nginx *old, bool ended, int64_t deadline_us);

/* What holds where requests are handed to the workers; the least and the most of
 * several such places. */
struct ctl_nginx_site {
	int places;
	int64_t read_ms; /* fastcgi_read_timeout, the least */
	int64_t send_ms; /* fastcgi_send_timeout, the least */
	int64_t body_min, body_max; /* client_max_body_size; 0: no limit */
	bool listed; /* it reads the list of workers */
};

/*
 * ctl_nginx_read -- find that out from what nginx -T prints.
 *
 * dump      changed
 * list      the path of the list
 *
 * Errors:   AIC_ECONF  it is not a configuration as nginx -T prints it
 * Source:   nginx.org, "Core functionality" (include), ngx_http_fastcgi_module
 */
enum aic_code ctl_nginx_read(struct ctl_nginx_site *ret, char *dump,
    const char *list, struct aic_err *err) AIC_MUST_CHECK;

#endif
