/*
 * ctl_nginx -- Nginx: its configuration for the service, and the state of its
 * processes after a reload.
 */
#ifndef CTL_NGINX_H
#define CTL_NGINX_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/err.h"

/* The maximum number of processes: one for each processor, and two for Nginx's
 * caches. */
#define CTL_NGINX_PROCESSES 256

/* The processes that serve with one configuration. */
struct ctl_nginx {
	pid_t master; /* 0: unknown, and ctl_nginx_wait() returns at once */
	pid_t pid[CTL_NGINX_PROCESSES];
	int n;
};

/* ctl_nginx_note -- record the current processes, before a reload. */
void ctl_nginx_note(struct ctl_nginx *old, pid_t master);

/*
 * ctl_nginx_wait -- wait until the recorded processes accept no new requests,
 * or have ended.
 *
 * ended     wait until the processes have ended, and so have finished the last
 *           request that they have accepted
 *
 * False: some processes have not done so by the deadline.
 *
 * Blocks:   until the deadline at most
 */
bool
ctl_nginx_wait(const struct ctl_nginx *old, bool ended, int64_t deadline_us);

#define CTL_NGINX_LISTENS 16

struct ctl_nginx_listen {
	char address[128]; /* as in the directive: "9001", "[::1]:443" */
	bool tls;
	bool proxied; /* a connection begins with the PROXY protocol */
};

/* The effective values in the places that pass requests to the workers: the
 * minimum and the maximum of all places. */
struct ctl_nginx_site {
	int places;
	int64_t read_ms; /* fastcgi_read_timeout, the minimum */
	int64_t send_ms; /* fastcgi_send_timeout, the minimum */
	int64_t body_min, body_max; /* client_max_body_size; 0: no limit */
	bool listed; /* the configuration includes the list of workers */
	/* Where callers reach the workers; not the listener of /metrics. */
	struct ctl_nginx_listen listen[CTL_NGINX_LISTENS];
	int n_listens;
	char name[256]; /* of the server; "": none */
};

/*
 * ctl_nginx_read -- find these values in the output of nginx -T.
 *
 * dump      changed
 * list      the path of the list of workers
 *
 * Errors:   AIC_ECONF  the text is not a configuration as nginx -T prints it
 * Source:   nginx.org, "Core functionality" (include), ngx_http_fastcgi_module
 */
enum aic_code ctl_nginx_read(struct ctl_nginx_site *ret, char *dump,
    const char *list, struct aic_err *err) AIC_MUST_CHECK;

#endif
