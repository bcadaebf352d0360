#include "config.h"

#include "lib/db_conn.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/clock.h"

/*
 * Room for the parameters that aic_db_params_init() adds to those of the URL,
 * and for a NULL.
 */
#define OWN_PARAMS 12

/* Below this, TCP has no time to resend a few lost packets. */
#define USER_TIMEOUT_MIN_MS 1000

/*
 * A URL is no longer than a setting, and our options take a few hundred bytes.
 */
#define OPTIONS_MAX (16 * 1024)

/*
 * A copy of the list, rotated so that item n is the first. A list without
 * commas is not rotated.
 */
static char *
rotate_list(const char *list, int n)
{
	const char *from = list;
	size_t len = strlen(list);
	char *to = malloc(len + 2);

	if (!to)
		return NULL;
	for (; n > 0 && from; n--) {
		from = strchr(from, ',');
		from = from ? from + 1 : NULL;
	}
	if (!from || from == list)
		memcpy(to, list, len + 1);
	else
		snprintf(to, len + 2, "%s,%.*s", from, (int)(from - list - 1),
		    list);
	return to;
}

/* The servers that the parameters name: the length of the longest list. */
static int
count_hosts(const struct aic_db_params *p, int n)
{
	const char *s;
	int i, hosts, most = 1;

	for (i = 0; i < n; i++) {
		if (strcmp(p->keys[i], "host") != 0 &&
		    strcmp(p->keys[i], "hostaddr") != 0)
			continue;
		hosts = 1;
		for (s = p->values[0][i]; *s; s++)
			hosts += *s == ',';
		if (hosts > most)
			most = hosts;
	}
	return most;
}

/*
 * Make values[1..]: each is a copy of the n members of values[0], with another
 * host as the first.
 */
static enum aic_code
set_hosts(struct aic_db_params *p, int n, struct aic_err *err)
{
	static const char *const names[] = { "host", "hostaddr", "port" };
	const char *list;
	char *rotated;
	int first, i, j;

	p->n_hosts = count_hosts(p, n);
	if (p->n_hosts > AIC_DB_HOSTS_MAX)
		return aic_fail(err, AIC_ECONF,
		    "DATABASE_URL names more than %d hosts", AIC_DB_HOSTS_MAX);
	for (first = 1; first < p->n_hosts; first++) {
		p->values[first] = calloc((size_t)n + 1, sizeof(*p->values[0]));
		if (!p->values[first])
			return aic_fail(err, AIC_ENOMEM, "out of memory");
		for (i = 0; i < n; i++) {
			list = p->values[first][i] = p->values[0][i];
			for (j = 0; j < 3; j++) {
				if (strcmp(p->keys[i], names[j]) != 0)
					continue;
				rotated = rotate_list(list, first);
				if (!rotated)
					return aic_fail(err, AIC_ENOMEM,
					    "out of memory");
				p->lists[first][j] = rotated;
				p->values[first][i] = rotated;
			}
		}
	}
	return AIC_OK;
}

/*
 * The start-up options: ours, followed by those of the URL. The server uses the
 * last value of an option, so the URL overrides only the options that it names.
 * An empty `options' in the URL sends none at all, because PgBouncer rejects
 * start-up options.
 *
 * search_path is set because the default of a role begins with "$user". Any
 * role that may create a schema could otherwise define an operator or a
 * function that runs with our rights.
 *
 * lock_timeout is shorter than statement_timeout, so that a statement that
 * waits for a lock fails with the error that says so.
 *
 * The tcp_ options concern the case that the host of this program loses its
 * network, perhaps between a statement and the end of its transaction, when no
 * statement_timeout runs. With them the server ends the session, and releases
 * its locks, within 25 s. They have no effect on a unix socket.
 */
static enum aic_code
set_options(struct aic_db_params *p, const char *of_url, const char *schema,
    int timeout_ms, struct aic_err *err)
{
	struct aic_buf b;

	aic_buf_init(&b, OPTIONS_MAX);
	if (schema && (!of_url || *of_url))
		aic_buf_printf(&b, "-c search_path=pg_catalog,\"%s\",pg_temp ",
		    schema);
	if (!of_url || *of_url)
		aic_buf_printf(&b,
		    "-c statement_timeout=%d -c lock_timeout=%d "
		    "-c idle_in_transaction_session_timeout=%d "
		    "-c plan_cache_mode=force_generic_plan "
		    "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 "
		    "-c tcp_keepalives_count=3 -c tcp_user_timeout=25000 ",
		    timeout_ms, timeout_ms * 9 / 10, timeout_ms);
	aic_buf_puts(&b, of_url ? of_url : "");
	p->server_options = aic_buf_take(&b, NULL);
	return p->server_options ? AIC_OK
				 : aic_fail(err, AIC_ENOMEM, "out of memory");
}

/*
 * The TCP options of the client's side, unless the URL sets them. Sent data
 * that stays unacknowledged for a third of timeout_ms, and at least a second,
 * ends the connection, so that time is left to run the batch on another one. An
 * idle connection is probed and ends within 20 s when its peer is gone. The
 * options have no effect on a unix socket.
 */
static const char *
own_param(const struct aic_db_params *p, const char *keyword)
{
	if (strcmp(keyword, "tcp_user_timeout") == 0)
		return p->user_timeout;
	if (strcmp(keyword, "keepalives_idle") == 0)
		return "10";
	if (strcmp(keyword, "keepalives_interval") == 0)
		return "3";
	if (strcmp(keyword, "keepalives_count") == 0)
		return "3";
	return NULL;
}

enum aic_code
aic_db_params_init(struct aic_db_params *p, const char *url, const char *schema,
    int timeout_ms, struct aic_err *err)
{
	PQconninfoOption *o;
	const char *options = NULL, *value;
	enum aic_code rc;
	char *wrong = NULL;
	int n = 0;

	p->timeout_us = timeout_ms * AIC_MS;
	p->options = PQconninfoParse(url, &wrong);
	if (!p->options) {
		/* The message may quote the URL, which contains a password. */
		PQfreemem(wrong);
		return aic_fail(err, AIC_ECONF,
		    "DATABASE_URL is not a connection string of PostgreSQL");
	}
	for (o = p->options; o->keyword; o++)
		n++;
	p->keys = calloc((size_t)n + OWN_PARAMS, sizeof(*p->keys));
	p->values[0] = calloc((size_t)n + OWN_PARAMS, sizeof(*p->values[0]));
	if (!p->keys || !p->values[0])
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	n = 0;
	snprintf(p->user_timeout, sizeof(p->user_timeout), "%d",
	    timeout_ms / 3 > USER_TIMEOUT_MIN_MS ? timeout_ms / 3
						 : USER_TIMEOUT_MIN_MS);
	for (o = p->options; o->keyword; o++) {
		value = o->val ? o->val : own_param(p, o->keyword);
		if (!value)
			continue;
		if (strcmp(o->keyword, "options") == 0) {
			options = o->val;
			continue;
		}
		/* Text is always UTF-8, whatever the URL says. */
		if (strcmp(o->keyword, "client_encoding") == 0)
			continue;
		p->keys[n] = o->keyword;
		p->values[0][n++] = value;
	}
	p->keys[n] = "client_encoding";
	p->values[0][n++] = "UTF8";
	p->keys[n] = "fallback_application_name";
	p->values[0][n++] = "ai-chat";
	rc = set_options(p, options, schema, timeout_ms, err);
	if (rc)
		return rc;
	p->keys[n] = "options";
	p->values[0][n++] = p->server_options;
	return set_hosts(p, n, err);
}

void
aic_db_params_done(struct aic_db_params *p)
{
	int i, j;

	free(p->keys);
	for (i = 0; i < AIC_DB_HOSTS_MAX; i++) {
		free(p->values[i]);
		for (j = 0; j < 3; j++)
			free(p->lists[i][j]);
	}
	free(p->server_options);
	PQconninfoFree(p->options);
}

void
aic_db_conn_close(struct aic_db_conn *c)
{
	PQfinish(c->pg);
	c->pg = NULL;
	c->n_prepared = 0;
}

bool
aic_db_conn_wait(const struct aic_db_conn *c, short events, int64_t deadline_us)
{
	return aic_clock_poll(PQsocket(c->pg), events, deadline_us);
}

bool
aic_db_conn_open(struct aic_db_conn *c, struct aic_db_params *p,
    int64_t deadline_us, struct aic_err *err)
{
	PostgresPollingStatusType st = PGRES_POLLING_WRITING;
	int first = atomic_load(&p->first_host);
	int64_t share = aic_clock_us() + p->timeout_us / p->n_hosts;
	char why[256];

	if (p->n_hosts > 1 && share < deadline_us)
		deadline_us = share;
	c->pg = PQconnectStartParams(p->keys, p->values[first], 0);
	if (!c->pg) {
		aic_fail(err, AIC_ENOMEM, "out of memory");
		return false;
	}
	while (PQstatus(c->pg) != CONNECTION_BAD && st != PGRES_POLLING_OK &&
	    st != PGRES_POLLING_FAILED) {
		if (!aic_db_conn_wait(c,
			st == PGRES_POLLING_READING ? POLLIN : POLLOUT,
			deadline_us)) {
			aic_db_fail(err, "connect to the database", NULL,
			    "no answer in time");
			aic_db_conn_close(c);
			atomic_store(&p->first_host, (first + 1) % p->n_hosts);
			return false;
		}
		st = PQconnectPoll(c->pg);
	}
	if (PQstatus(c->pg) != CONNECTION_OK ||
	    PQsetnonblocking(c->pg, 1) != 0 || !PQenterPipelineMode(c->pg)) {
		snprintf(why, sizeof(why), "%s", PQerrorMessage(c->pg));
		aic_db_hide(why);
		aic_db_fail(err, "connect to the database", NULL, why);
		aic_db_conn_close(c);
		return false;
	}
	return true;
}
