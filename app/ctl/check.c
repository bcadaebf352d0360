#include "config.h"

#include "app/ctl/ctl.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/ctl/ask.h"
#include "app/ctl/nginx.h"
#include "app/ctl/run.h"
#include "app/ctl/service.h"
#include "app/ctl/upstream.h"
#include "lib/bounds.h"
#include "lib/clock.h"
#include "lib/conf_hints.h"
#include "lib/durable.h"
#include "lib/http.h"
#include "lib/json.h"
#include "lib/paths.h"
#include "lib/seller.h"

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

/* The timeout for one path of the seller-data API; a big shop takes long. */
#define SELLER_API_US (5 * AIC_S)

/* --- running our own programs --------------------------------------------- */

/* Extract the text from a line of a worker's log: the value between text=" and
 * the next quote that is not escaped, without the backslashes. */
static void
unwrap_log_line(char *line)
{
	static const char begin[] = "text=";
	char *from = strstr(line, begin), *to = line;

	if (!from)
		return;
	from += strlen(begin);
	if (*from == '"')
		from++;
	for (; *from && *from != '"'; from++) {
		if (*from == '\\' && from[1])
			from++;
		*to++ = *from;
	}
	*to = '\0';
}

static enum aic_code
run_program(struct ctl *c, struct ctl_run *r, const char *name,
    const char *const *args, struct aic_err *err)
{
	char path[PATH_MAX];
	const char *argv[8] = { path };
	int n = 1;

	snprintf(path, sizeof(path), "%s/%s", c->own.bin_dir, name);
	while (*args && n < 7)
		argv[n++] = *args++;
	return ctl_run(r, argv, c->env.v, err);
}

enum aic_code
ctl_check_settings(struct ctl *c, struct aic_err *err)
{
	static const char *const args[] = { "--check", NULL };
	char why[400];
	enum aic_code rc;
	struct ctl_run r;

	rc = run_program(c, &r, "ai-chat-worker", args, err);
	if (!rc && r.status != 0) {
		ctl_run_why(&r, "event=start", why, sizeof(why));
		unwrap_log_line(why);
		rc = aic_fail(err, r.status == 2 ? AIC_ECONF : AIC_EDB, "%s",
		    why);
	}
	ctl_run_done(&r);
	return rc;
}

enum aic_code
ctl_migrate(struct ctl *c, struct aic_err *err)
{
	const char *const args[] = { "--dir", c->own.sql_dir, NULL };
	char why[300];
	enum aic_code rc;
	struct ctl_run r;
	char *p, *end;
	int n = 0;

	rc = run_program(c, &r, "ai-chat-migrate", args, err);
	if (!rc && r.status != 0) {
		ctl_run_why(&r, "ai-chat-migrate: ", why, sizeof(why));
		rc = aic_fail(err, r.status == 2 ? AIC_ECONF : AIC_EDB, "%s",
		    why);
	}
	aic_buf_puts(&c->doc, rc ? "" : "{\"applied\":[");
	for (p = rc || r.out.len == 0 ? NULL : r.out.data; p && *p; p = end) {
		end = p + strcspn(p, "\n");
		if (*end)
			*end++ = '\0';
		ctl_say(c, "%s", p);
		if (n++ > 0)
			aic_buf_putc(&c->doc, ',');
		aic_json_put_str(&c->doc,
		    strncmp(p, "applied ", 8) == 0 ? p + 8 : p);
	}
	aic_buf_puts(&c->doc, rc ? "" : "]}");
	if (!rc && n == 0)
		ctl_say(c, "the database is up to date");
	ctl_run_done(&r);
	return rc;
}

/* --- the single checks ---------------------------------------------------- */

struct check {
	struct ctl *c;
	struct ctl_workers now;
	int n; /* checks reported so far */
	bool has_conf;
};

static void AIC_PRINTF(4, 5) report_check(struct check *k, const char *what,
    bool ok, const char *fmt, ...)
{
	struct ctl *c = k->c;
	char says[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(says, sizeof(says), fmt, ap);
	va_end(ap);
	if (!ok)
		aic_conf_hints_place(says, sizeof(says), c->env.v);
	ctl_say(c, "%-5s  %s: %s", ok ? "ok" : "wrong", what, says);
	if (k->n++ > 0)
		aic_buf_putc(&c->doc, ',');
	aic_buf_printf(&c->doc, "{\"check\":\"%s\",\"ok\":%s,\"says\":", what,
	    ok ? "true" : "false");
	aic_json_put_str(&c->doc, says);
	aic_buf_putc(&c->doc, '}');
	if (!ok)
		c->bad = true;
}

/* Let a worker check settings and database. The other checks of the database
 * need the settings. */
static void
check_settings(struct check *k)
{
	struct aic_err err = AIC_ERR_INIT;
	enum aic_code rc = ctl_check_settings(k->c, &err);

	/* The setting of this line may be the one that is missing. */
	if (*k->c->env.ignored)
		report_check(k, "settings", false, "%s", k->c->env.ignored);
	if (rc && rc != AIC_EDB) {
		report_check(k, "settings", false, "%s", err.detail);
		return;
	}
	if (!*k->c->env.ignored)
		report_check(k, "settings", true, "valid");
	if (rc)
		report_check(k, "database", false, "%s", err.detail);
	else
		report_check(k, "database", true, "usable");
	/* The worker has accepted the same settings. */
	k->has_conf = aic_conf_load(&k->c->conf, k->c->env.v, &err) == AIC_OK;
}

static void
check_schema(struct check *k)
{
	const char *const args[] = { "--dir", k->c->own.sql_dir, "--status",
		NULL };
	struct aic_err err = AIC_ERR_INIT;
	char why[300];
	enum aic_code rc;
	struct ctl_run r;

	rc = run_program(k->c, &r, "ai-chat-migrate", args, &err);
	if (rc) {
		report_check(k, "schema", false, "%s", err.detail);
	} else if (r.status == 0) {
		report_check(k, "schema", true, "all migrations are applied");
	} else if (r.status == 3) {
		report_check(k, "schema", false,
		    "migrations are pending: run ai-chatctl migrate");
	} else {
		ctl_run_why(&r, "ai-chat-migrate: ", why, sizeof(why));
		report_check(k, "schema", false, "%s", why);
	}
	ctl_run_done(&r);
}

enum aic_code
ctl_check_connections(struct ctl *c, int workers, char ret_says[160],
    struct aic_err *err)
{
	long long need = workers * (long long)c->conf.db_pool, have;
	struct aic_db_call call;
	enum aic_code rc;

	*ret_says = '\0';
	aic_db_call(&call, &free_connections);
	rc = ctl_db(c, &call, 1, QUERY_S, err);
	if (rc)
		return rc;
	have = (long long)aic_db_get_int(&call, 0, FREE_CONNECTIONS);
	snprintf(ret_says, 160,
	    "%d x AI_CHAT_DB_POOL (%lld) is %lld, of %lld connections that "
	    "PostgreSQL %.20s allows",
	    workers, (long long)c->conf.db_pool, need, have,
	    aic_db_get(&call, 0, FREE_SERVER_VERSION));
	aic_db_call_done(&call);
	return need <= have
	    ? AIC_OK
	    : aic_fail(err, AIC_EBUSY,
		  "too many connections to the database: %s", ret_says);
}

static void
check_connections(struct check *k)
{
	struct aic_err err = AIC_ERR_INIT;
	int n = k->now.n > 0 ? k->now.n : 1;
	char says[160];
	enum aic_code rc;

	rc = ctl_check_connections(k->c, n, says, &err);
	report_check(k, "connections", !rc, "%s", rc ? err.detail : says);
}

static void
check_durability(struct check *k)
{
	struct aic_err err = AIC_ERR_INIT;
	struct aic_db_call call;
	const char *why;

	aic_durable_bind(&call);
	if (ctl_db(k->c, &call, 1, QUERY_S, &err)) {
		report_check(k, "durability", false, "%s", err.detail);
		return;
	}
	why = aic_durable_read(&call);
	report_check(k, "durability", !*why, "%s%s",
	    *why ? "a crash of PostgreSQL can lose answered chats: "
		 : "a commit survives a crash of PostgreSQL",
	    why);
	aic_db_call_done(&call);
}

/* A connection pooler that rejects start-up options leaves the search_path of
 * the role in effect. */
static void
check_search_path(struct check *k)
{
	struct aic_err err = AIC_ERR_INIT;
	struct aic_db_call call;

	aic_db_call(&call, &search_path);
	if (ctl_db(k->c, &call, 1, QUERY_S, &err)) {
		report_check(k, "search_path", false, "%s", err.detail);
		return;
	}
	if (*aic_db_get(&call, 0, SEARCH_PATH_HAS_USER) == 't')
		report_check(k, "search_path", false,
		    "%s: a role that can create a schema of that name can run "
		    "code with the privileges of this role; set search_path "
		    "for the role",
		    aic_db_get(&call, 0, SEARCH_PATH));
	else
		report_check(k, "search_path", true, "sessions use %s",
		    aic_db_get(&call, 0, SEARCH_PATH));
	aic_db_call_done(&call);
}

static void
check_site(struct check *k, const struct ctl_nginx_site *site)
{
	long long deadline = k->c->conf.deadline_ms;
	bool ok;

	if (site->places == 0) {
		report_check(k, "site", false,
		    "no location of Nginx passes requests to \"ai_chat\": the "
		    "site is not installed");
		return;
	}
	report_check(k, "site", site->listed, "Nginx %s %s",
	    site->listed ? "reads the list of workers,"
			 : "does not read the list of workers,",
	    k->c->own.upstream);
	ok = deadline < site->read_ms && deadline < site->send_ms;
	report_check(k, "timeouts", ok,
	    "AI_CHAT_DEADLINE_MS (%lld) is %s fastcgi_read_timeout (%lld ms) "
	    "and fastcgi_send_timeout (%lld ms)",
	    deadline, ok ? "less than" : "not less than both",
	    (long long)site->read_ms, (long long)site->send_ms);
	ok = site->body_min == AIC_BOUNDS_BODY &&
	    site->body_max == AIC_BOUNDS_BODY;
	report_check(k, "body", ok,
	    "client_max_body_size is %lld, the limit of a worker is %d bytes",
	    (long long)(site->body_min != AIC_BOUNDS_BODY ? site->body_min
							  : site->body_max),
	    AIC_BOUNDS_BODY);
}

static void
check_nginx(struct check *k)
{
	struct aic_err err = AIC_ERR_INIT;
	struct ctl_nginx_site site;
	struct aic_buf dump;
	enum aic_code rc;

	aic_buf_init(&dump, 16 * 1024 * 1024);
	rc = ctl_service_test(k->c, &dump, &err);
	report_check(k, "nginx", !rc, "%s",
	    rc ? err.detail : "the configuration is valid");
	if (!rc && k->has_conf && dump.len > 0) {
		rc = ctl_nginx_read(&site, dump.data, k->c->own.upstream, &err);
		if (rc)
			report_check(k, "site", false, "%s", err.detail);
		else
			check_site(k, &site);
	}
	aic_buf_done(&dump);
}

/* The drain of a worker can last as long as the deadline of a request. */
static void
check_stop_timeout(struct check *k)
{
	long long need = (long long)k->c->conf.deadline_ms +
	    AIC_BOUNDS_DRAIN_SPARE_MS;
	struct aic_err err = AIC_ERR_INIT;
	int64_t ms;

	if (ctl_service_stop_ms(k->c, k->now.n > 0 ? k->now.w[0].number : 1,
		&ms, &err))
		report_check(k, "stop", false, "%s", err.detail);
	else if (ms >= 0)
		report_check(k, "stop", ms > need,
		    "TimeoutStopSec (%lld ms) is %s than AI_CHAT_DEADLINE_MS "
		    "plus %d (%lld ms)",
		    (long long)ms, ms > need ? "greater" : "not greater",
		    AIC_BOUNDS_DRAIN_SPARE_MS, need);
}

/* Find a seller for the calls of the check; false: there was no chat yet. */
static bool
find_seller(struct check *k, char id[24])
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

static void
call_seller_api(struct check *k, struct aic_http *http, const char *path,
    const char *id, struct aic_http_answer *ret_answer)
{
	const struct aic_conf *conf = &k->c->conf;
	int64_t now = aic_clock_us();
	struct aic_buf url, auth;
	const char *headers[2] = { NULL };
	struct aic_http_request req = { .headers = headers,
		.answer_max = AIC_SELLER_ANSWER_MAX,
		.deadline_us = now + SELLER_API_US,
		.connect_us = SELLER_API_US };

	aic_buf_init(&url, 16384);
	aic_buf_init(&auth, 16384);
	aic_paths_url(&url, conf->server_host, path, id);
	aic_buf_printf(&auth, "X-API-SECRET-KEY: %s", conf->server_api_key);
	*ret_answer = (struct aic_http_answer){ .end = AIC_HTTP_NO_MEMORY };
	if (!url.failed && !auth.failed) {
		req.url = url.data;
		headers[0] = auth.data;
		aic_http_run(http, &req, NULL, NULL, ret_answer);
		explicit_bzero(auth.data, auth.len);
	}
	aic_buf_done(&auth);
	aic_buf_done(&url);
}

/* First call the path with an id that is not a number. If the path exists, the
 * framework rejects that id before the API looks up, or registers, a seller. */
static void
check_seller_api_path(struct check *k, struct aic_http *http, const char *path)
{
	struct aic_http_answer a;
	char id[24];

	call_seller_api(k, http, path, "check", &a);
	if (aic_paths_is_missing(&a) && find_seller(k, id)) {
		aic_buf_done(&a.body);
		call_seller_api(k, http, path, id, &a);
	}
	if (a.end != AIC_HTTP_ANSWERED)
		report_check(k, "server", false, "could not call %s: %s", path,
		    a.why[0] ? a.why : "no response");
	else if (a.status == 401 || a.status == 403)
		report_check(k, "server", false,
		    "the seller-data API rejects SERVER_API_KEY: HTTP %d",
		    a.status);
	else if (aic_paths_is_missing(&a))
		report_check(k, "server", false,
		    "the seller-data API has no path %s: correct "
		    "SERVER_CONTEXT_PATHS",
		    path);
	else
		report_check(k, "server", a.status < 500, "%s exists: HTTP %d",
		    path, a.status);
	aic_buf_done(&a.body);
}

static void
check_seller_api(struct check *k)
{
	struct aic_http_conf conf = { .calls_max = 1 };
	struct aic_err err = AIC_ERR_INIT;
	struct aic_paths paths;
	struct aic_http *http;
	int i;

	if (!k->c->conf.server_host)
		return;
	if (aic_paths_read(&paths, k->c->conf.server_paths, &err)) {
		report_check(k, "server", false, "%s", err.detail);
		return;
	}
	if (aic_http_open(&http, &conf, &err)) {
		report_check(k, "server", false, "%s", err.detail);
	} else {
		for (i = 0; i < paths.n; i++)
			check_seller_api_path(k, http, paths.path[i]);
		aic_http_close(http);
	}
	aic_paths_done(&paths);
}

/* Check the workers that are in Nginx's list, and that all workers are in the
 * list. */
static void
check_workers(struct check *k)
{
	struct aic_err err = AIC_ERR_INIT;
	struct ctl_upstream list;
	char path[PATH_MAX];
	bool all = true;
	int i;

	if (ctl_upstream_read(&list, &k->c->own, &err)) {
		report_check(k, "workers", false, "%s", err.detail);
		return;
	}
	for (i = 0; i < list.n; i++) {
		ctl_upstream_socket(&k->c->own, list.number[i], path,
		    sizeof(path));
		if (ctl_ask_ready(path))
			continue;
		all = false;
		report_check(k, "workers", false,
		    "worker %d is in Nginx's list but is not ready",
		    list.number[i]);
	}
	for (i = 0; i < k->now.n; i++) {
		if (ctl_upstream_has(&list, k->now.w[i].number))
			continue;
		all = false;
		report_check(k, "workers", false,
		    "worker %d is not in Nginx's list", k->now.w[i].number);
	}
	if (list.n == 0)
		report_check(k, "workers", false,
		    "Nginx's list has no workers");
	else if (all)
		report_check(k, "workers", true,
		    "%d in Nginx's list, all of them ready", list.n);
	ctl_upstream_done(&list);
}

enum aic_code
ctl_check(struct ctl *c, struct aic_err *err)
{
	struct check k = { .c = c };
	enum aic_code rc;

	rc = ctl_service_list(c, &k.now, err);
	if (rc)
		return rc;
	aic_buf_puts(&c->doc, "{\"checks\":[");
	check_settings(&k);
	if (k.has_conf) {
		check_schema(&k);
		check_connections(&k);
		check_seller_api(&k);
		check_durability(&k);
		check_search_path(&k);
	}
	check_nginx(&k);
	if (k.has_conf)
		check_stop_timeout(&k);
	check_workers(&k);
	aic_buf_printf(&c->doc, "],\"ok\":%s}", c->bad ? "false" : "true");
	return AIC_OK;
}
