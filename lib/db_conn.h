/*
 * db_conn -- one connection to PostgreSQL: the parameters of libpq, and
 * connecting without blocking, until a deadline.
 *
 * Internal to the pool of db.h. What runs over a connection is in db_trip.h,
 * and the pool decides who uses it.
 *
 * Threads: any number of threads may connect with the same parameters. A
 * connection belongs to one thread at a time.
 */
#ifndef AIC_DB_CONN_H
#define AIC_DB_CONN_H

#include <stdatomic.h>

#include "lib/db_call.h"

/* Most servers in one URL. A deadline leaves no time to try more. */
#define AIC_DB_HOSTS_MAX 8

/*
 * A program has fewer statements than this. A connection that reaches this
 * number is replaced after its trip.
 */
#define AIC_DB_STMTS_MAX 64

/* How to connect. Read-only once set, apart from first_host. */
struct aic_db_params {
	/*
	 * The parameters of PQconnectStartParams(). With values[i], host i is
	 * the first of the hosts. libpq tries the hosts in order and would
	 * spend the whole deadline on a first host that does not respond.
	 */
	const char **keys, **values[AIC_DB_HOSTS_MAX];
	char *lists[AIC_DB_HOSTS_MAX][3]; /* what values of hosts point to */
	int n_hosts;
	atomic_int first_host; /* tried first by the next connection */
	PQconninfoOption *options;
	char *server_options; /* start-up options: ours and those of the URL */
	char user_timeout[16];
	int64_t timeout_us; /* if the URL has several hosts, they share it */
};

struct aic_db_conn {
	PGconn *pg; /* NULL: not connected */
	/* The statements that this connection has prepared, by address. */
	const struct aic_db_stmt *prepared[AIC_DB_STMTS_MAX];
	int n_prepared;

	/* Set by a trip. */
	bool unfit; /* the server cannot serve us, e.g. a standby */
	bool silent; /* no response came in time */

	/* Of the pool alone. */
	struct aic_db_conn *next; /* in the list of idle connections */
	int generation; /* generation of the pool when this connected */
};

/*
 * aic_db_params_init -- make the parameters of connections. A failure leaves
 * `p' to aic_db_params_done() as well.
 *
 * p         zeroed
 * url       a libpq connection string; borrowed
 * schema, timeout_ms  as in struct aic_db_conf; borrowed
 *
 * Errors:   AIC_ECONF  the URL is not a connection string, or names too many
 *           hosts; AIC_ENOMEM
 * Memory:   gives; aic_db_params_done()
 */
enum aic_code aic_db_params_init(struct aic_db_params *p, const char *url,
    const char *schema, int timeout_ms, struct aic_err *err) AIC_MUST_CHECK;

/* aic_db_params_done -- free the parameters. A zeroed struct is allowed. */
void aic_db_params_done(struct aic_db_params *p);

/*
 * aic_db_conn_open -- connect, with pipeline mode and without blocking. With
 * several hosts, one that does not respond within its share of timeout_us makes
 * the call fail, and the next call begins with the next host.
 *
 * c         not connected
 *
 * Errors:   false: `c' is not connected, and err is set: AIC_EDB without an
 *           SQLSTATE, or AIC_ENOMEM
 * Blocks:   until the deadline, except for DNS
 * Source:   PostgreSQL 15, 34.1 (PQconnectStartParams)
 */
bool aic_db_conn_open(struct aic_db_conn *c, struct aic_db_params *p,
    int64_t deadline_us, struct aic_err *err) AIC_MUST_CHECK;

/* aic_db_conn_close -- disconnect, if connected. */
void aic_db_conn_close(struct aic_db_conn *c);

/*
 * aic_db_conn_wait -- wait until the socket is ready.
 *
 * events    of poll(2)
 *
 * Errors:   false: not before the deadline
 * Blocks:   until the deadline
 */
bool aic_db_conn_wait(const struct aic_db_conn *c, short events,
    int64_t deadline_us) AIC_MUST_CHECK;

#endif
