/*
 * redis_url -- parse the URL of a Redis server.
 *
 * Threads: any.
 */
#ifndef AIC_REDIS_URL_H
#define AIC_REDIS_URL_H

#include "lib/err.h"

struct aic_redis_url {
	char *path; /* a unix socket; NULL: host and port */
	char *host; /* a name or an address, without brackets */
	int port;
	int db;
	char *user; /* NULL: the default user */
	char *password; /* NULL: no password */
};

/*
 * aic_redis_url_parse -- parse redis://[[user]:password@]host[:port][/db], or
 * unix://[[user]:password@]/path[?db=N]; user, password and path can have %XX.
 *
 * Errors:   AIC_ECONF  err->detail names the error without quoting the URL
 *           AIC_ENOMEM
 * Memory:   gives; aic_redis_url_done()
 */
enum aic_code aic_redis_url_parse(struct aic_redis_url *ret_url,
    const char *text, struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_redis_url_done -- free, and wipe the password. Accepts a zeroed struct.
 */
void aic_redis_url_done(struct aic_redis_url *url);

#endif
