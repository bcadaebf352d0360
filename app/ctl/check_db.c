#include "config.h"

#include "app/ctl/check.h"

#include <stdio.h>
#include <string.h>

#include "lib/durable.h"

/* The timeout of a query. It is short, because a worker has just reached the
 * database. */
#define QUERY_S 3

/*
 * Only reads. The connections available to a role that is not a superuser: the
 * connections of the server less the reserved ones, or the limit of the role or
 * of the database, if that limit is lower.
 */
static const struct aic_db_stmt free_connections = {
	"ctl_room",
	"SELECT least(current_setting('max_connections')::int"
	"   - current_setting('superuser_reserved_connections')::int"
	"   - coalesce(current_setting('reserved_connections', true),"
	" '0')::int,"
	"  nullif(r.rolconnlimit, -1), nullif(d.datconnlimit, -1)),"
	"  split_part(current_setting('server_version'), ' ', 1)"
	" FROM pg_roles r, pg_database d"
	" WHERE r.rolname = current_user AND d.datname = current_database()",
	0,
	NULL,
};

enum free_column {
	FREE_CONNECTIONS,
	FREE_SERVER_VERSION,
};

/* Only reads. A seller for whom the seller-data API was called before: some
 * deployments of the API register an unknown seller at the first call. */
static const struct aic_db_stmt last_seller = {
	"ctl_asked_last",
	"SELECT telegram_id FROM ai_chat_requests ORDER BY id DESC LIMIT 1",
	0,
	NULL,
};

/* Only reads. The search_path of the session. The second column is true if the
 * path contains a schema with the name of the role, which any role could have
 * created. */
static const struct aic_db_stmt search_path = {
	"ctl_path",
	"SELECT current_setting('search_path'),"
	"  current_setting('search_path') LIKE '%$user%'",
	0,
	NULL,
};

enum search_path_column {
	SEARCH_PATH,
	SEARCH_PATH_HAS_USER,
};

/*
 * Only reads. The function's rows do not fit into the memory that the first
 * statement allows, so PostgreSQL writes them to a temporary file, about two
 * megabytes, on the volume of the database.
 */
static const struct aic_db_stmt little_memory = {
	"ctl_memory",
	"SELECT set_config('work_mem', '64kB', true)",
	0,
	NULL,
};
static const struct aic_db_stmt temporary_file = {
	"ctl_spill",
	"SELECT count(*) FROM generate_series(1, 100000)",
	0,
	NULL,
};

/* SQLSTATE disk_full. */
#define DISK_FULL "53100"

enum aic_code
ctl_check_connections(struct ctl *c, int workers, char ret_says[160],
    struct aic_err *err)
{
	/* One more for the sums of operators; see worker.h. */
	long long each = c->conf.db_pool + (c->conf.api_admin_key ? 1 : 0);
	long long need = workers * each, have;
	struct aic_db_call call;
	enum aic_code rc;

	*ret_says = '\0';
	aic_db_call(&call, &free_connections);
	rc = ctl_db(c, &call, 1, QUERY_S, err);
	if (rc)
		return rc;
	have = (long long)aic_db_get_int(&call, 0, FREE_CONNECTIONS);
	snprintf(ret_says, 160,
	    "%d x AI_CHAT_DB_POOL (%lld%s) is %lld, of %lld connections that "
	    "PostgreSQL %.20s allows",
	    workers, (long long)c->conf.db_pool,
	    c->conf.api_admin_key ? " and 1 for operators" : "", need, have,
	    aic_db_get(&call, 0, FREE_SERVER_VERSION));
	aic_db_call_done(&call);
	return need <= have
	    ? AIC_OK
	    : aic_fail(err, AIC_EBUSY,
		  "too many connections to the database: %s", ret_says);
}

void
check_connections(struct check *k, bool reported)
{
	struct aic_err err = AIC_ERR_INIT;
	char says[160];
	enum aic_code rc;
	int i, n = 0;

	for (i = 0; i < k->state->n; i++)
		n += k->state->w[i].managed;
	rc = ctl_check_connections(k->c, n > 0 ? n : 1, says, &err);
	k->has_db = *says != '\0';
	if (k->has_db)
		check_report(k, "connections", !rc, "%s",
		    rc ? err.detail : says);
	else if (!reported)
		check_report(k, "database", false, "%s", err.detail);
}

void
check_durability(struct check *k)
{
	struct aic_err err = AIC_ERR_INIT;
	struct aic_db_call call;
	const char *why;

	aic_durable_bind(&call);
	if (ctl_db(k->c, &call, 1, QUERY_S, &err)) {
		check_report(k, "durability", false, "%s", err.detail);
		return;
	}
	why = aic_durable_read(&call);
	check_report(k, "durability", !*why, "%s%s",
	    *why ? "a crash of PostgreSQL can lose answered chats: "
		 : "a commit survives a crash of PostgreSQL",
	    why);
	aic_db_call_done(&call);
}

/* A connection pooler that rejects start-up options leaves the search_path of
 * the role in effect. */
void
check_search_path(struct check *k)
{
	struct aic_err err = AIC_ERR_INIT;
	struct aic_db_call call;

	aic_db_call(&call, &search_path);
	if (ctl_db(k->c, &call, 1, QUERY_S, &err)) {
		check_report(k, "search_path", false, "%s", err.detail);
		return;
	}
	if (*aic_db_get(&call, 0, SEARCH_PATH_HAS_USER) == 't')
		check_report(k, "search_path", false,
		    "%s: a role that can create a schema of that name can run "
		    "code with the privileges of this role; set search_path "
		    "for the role",
		    aic_db_get(&call, 0, SEARCH_PATH));
	else
		check_report(k, "search_path", true, "sessions use %s",
		    aic_db_get(&call, 0, SEARCH_PATH));
	aic_db_call_done(&call);
}

/* The volume can be full for the database and not for this program, because the
 * database can be on another host. */
void
check_disk(struct check *k)
{
	struct aic_err err = AIC_ERR_INIT;
	struct aic_db_call calls[2];
	enum aic_code rc;

	aic_db_call(&calls[0], &little_memory);
	aic_db_call(&calls[1], &temporary_file);
	rc = ctl_db(k->c, calls, 2, QUERY_S, &err);
	if (!rc)
		check_report(k, "disk", true,
		    "PostgreSQL can write to its volume");
	else if (strcmp(err.sqlstate, DISK_FULL) == 0)
		check_report(k, "disk", false,
		    "the volume of PostgreSQL is full: %s", err.detail);
	else
		check_report(k, "disk", true, "not tested: %s", err.detail);
	if (rc)
		return;
	aic_db_call_done(&calls[0]);
	aic_db_call_done(&calls[1]);
}

bool
check_seller(struct check *k, char id[24])
{
	struct aic_err ignored = AIC_ERR_INIT;
	struct aic_db_call call;
	bool found;

	aic_db_call(&call, &last_seller);
	if (ctl_db(k->c, &call, 1, QUERY_S, &ignored))
		return false;
	found = PQntuples(call.res) > 0;
	if (found)
		snprintf(id, 24, "%s", aic_db_get(&call, 0, 0));
	aic_db_call_done(&call);
	return found;
}
