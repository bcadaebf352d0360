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
#include "lib/clock.h"
#include "lib/durable.h"
#include "lib/http.h"
#include "lib/json.h"
#include "lib/limits.h"
#include "lib/paths.h"
#include "lib/seller.h"

/* For the database, which has been asked a moment ago. */
#define ROOM_S 3

/*
 * Only reads. What the server has for the likes of us: its connections less those
 * it keeps for others, or what our role or our database may have, if that is less.
 */
static const struct aic_db_stmt room = {
	"ctl_room",
	"SELECT least(current_setting('max_connections')::int"
	"   - current_setting('superuser_reserved_connections')::int"
	"   - coalesce(current_setting('reserved_connections', true), '0')::int,"
	"  nullif(r.rolconnlimit, -1), nullif(d.datconnlimit, -1)),"
	"  split_part(current_setting('server_version'), ' ', 1)"
	" FROM pg_roles r, pg_database d"
	" WHERE r.rolname = current_user AND d.datname = current_database()",
	0,
	NULL,
};

/* Only reads. A seller whom the Server has been asked about before: to some Servers a
 * question about somebody new is one that registers him. */
static const struct aic_db_stmt asked_last = {
	"ctl_asked_last",
	"SELECT telegram_id FROM ai_chat_requests ORDER BY id DESC LIMIT 1",
	0,
	NULL,
};

/* Only reads. Where the session looks for names; true where a schema of the role's name
 * comes among them, which anybody may have made. */
static const struct aic_db_stmt search_path = {
	"ctl_path",
	"SELECT current_setting('search_path'),"
	"  current_setting('search_path') LIKE '%$user%'",
	0,
	NULL,
};

/* For one path of the Server; a shop may be a big one. */
#define SERVER_US (5 * AIC_S)

/* --- programs of ours --------------------------------------------------- */

/* What a worker said, in the shape of its log: what stands between text=" and the
 * last quote. */
static void
unwrap(char *line)
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
run_own(struct ctl *c, struct ctl_run *r, const char *name,
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

	rc = run_own(c, &r, "ai-chat-worker", args, err);
	if (!rc && r.status != 0) {
		ctl_run_why(&r, "event=start", why, sizeof(why));
		unwrap(why);
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

	rc = run_own(c, &r, "ai-chat-migrate", args, err);
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

/* --- the parts of a check ----------------------------------------------- */

struct check {
	struct ctl *c;
	struct ctl_workers now;
	int n; /* told so far */
	bool has_conf;
};

static void AIC_PRINTF(4, 5)
    tell(struct check *k, const char *what, bool ok, const char *fmt, ...)
{
	struct ctl *c = k->c;
	char says[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(says, sizeof(says), fmt, ap);
	va_end(ap);
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

/* Settings and database: the worker itself says. Without its settings nothing else
 * can be asked of the database. */
static void
check_worker(struct check *k)
{
	struct aic_err err = AIC_ERR_INIT;
	enum aic_code rc = ctl_check_settings(k->c, &err);

	if (rc && rc != AIC_EDB) {
		tell(k, "settings", false, "%s", err.detail);
		return;
	}
	tell(k, "settings", true, "the worker takes them");
	if (rc)
		tell(k, "database", false, "%s", err.detail);
	else
		tell(k, "database", true, "the worker can use it");
	/* It has read the very same ones. */
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

	rc = run_own(k->c, &r, "ai-chat-migrate", args, &err);
	if (rc) {
		tell(k, "schema", false, "%s", err.detail);
	} else if (r.status == 0) {
		tell(k, "schema", true, "all migrations have been run");
	} else if (r.status == 3) {
		tell(k, "schema", false,
		    "there are migrations to run: ai-chatctl migrate");
	} else {
		ctl_run_why(&r, "ai-chat-migrate: ", why, sizeof(why));
		tell(k, "schema", false, "%s", why);
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
	aic_db_call(&call, &room);
	rc = ctl_db(c, &call, 1, ROOM_S, err);
	if (rc)
		return rc;
	have = (long long)aic_db_get_int(&call, 0, 0);
	snprintf(ret_says, 160,
	    "%d x AI_CHAT_DB_POOL (%lld) is %lld, of %lld that PostgreSQL %.20s "
	    "has for them",
	    workers, (long long)c->conf.db_pool, need, have,
	    aic_db_get(&call, 0, 1));
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
	tell(k, "connections", !rc, "%s", rc ? err.detail : says);
}

static void
check_durability(struct check *k)
{
	struct aic_err err = AIC_ERR_INIT;
	struct aic_db_call call;
	const char *why;

	aic_durable_bind(&call);
	if (ctl_db(k->c, &call, 1, ROOM_S, &err)) {
		tell(k, "durability", false, "%s", err.detail);
		return;
	}
	why = aic_durable_read(&call);
	tell(k, "durability", !*why, "%s%s",
	    *why ? "answered chats can be lost in a crash of PostgreSQL: "
		 : "a commit survives a crash of PostgreSQL",
	    why);
	aic_db_call_done(&call);
}

/* Behind a pooler that refuses start-up options it is the role's. */
static void
check_path(struct check *k)
{
	struct aic_err err = AIC_ERR_INIT;
	struct aic_db_call call;

	aic_db_call(&call, &search_path);
	if (ctl_db(k->c, &call, 1, ROOM_S, &err)) {
		tell(k, "search_path", false, "%s", err.detail);
		return;
	}
	if (*aic_db_get(&call, 0, 1) == 't')
		tell(k, "search_path", false,
		    "%s: whoever makes a schema of that name can have code run "
		    "with the rights of the role; set it on the role",
		    aic_db_get(&call, 0, 0));
	else
		tell(k, "search_path", true, "sessions look in %s",
		    aic_db_get(&call, 0, 0));
	aic_db_call_done(&call);
}

static void
check_site(struct check *k, const struct ctl_nginx_site *site)
{
	long long deadline = k->c->conf.deadline_ms;
	bool ok;

	if (site->places == 0) {
		tell(k, "site", false,
		    "Nginx hands nothing to \"ai_chat\": the site is not there");
		return;
	}
	tell(k, "site", site->listed, "Nginx %s %s",
	    site->listed ? "reads its list of workers,"
			 : "does not read its list of workers,",
	    k->c->own.upstream);
	ok = deadline < site->read_ms && deadline < site->send_ms;
	tell(k, "timeouts", ok,
	    "AI_CHAT_DEADLINE_MS (%lld) is %s fastcgi_read_timeout (%lld ms) "
	    "and fastcgi_send_timeout (%lld ms)",
	    deadline, ok ? "under" : "not under both", (long long)site->read_ms,
	    (long long)site->send_ms);
	ok = site->body_min == AIC_LIMITS_BODY &&
	    site->body_max == AIC_LIMITS_BODY;
	tell(k, "body", ok,
	    "client_max_body_size is %lld, a worker takes %d bytes",
	    (long long)(site->body_min != AIC_LIMITS_BODY ? site->body_min
							  : site->body_max),
	    AIC_LIMITS_BODY);
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
	tell(k, "nginx", !rc, "%s",
	    rc ? err.detail : "its configuration is valid");
	if (!rc && k->has_conf && dump.len > 0) {
		rc = ctl_nginx_read(&site, dump.data, k->c->own.upstream, &err);
		if (rc)
			tell(k, "site", false, "%s", err.detail);
		else
			check_site(k, &site);
	}
	aic_buf_done(&dump);
}

/* A worker that drains may need its deadline. */
static void
check_stop(struct check *k)
{
	long long need = (long long)k->c->conf.deadline_ms +
	    AIC_LIMITS_DRAIN_SPARE_MS;
	struct aic_err err = AIC_ERR_INIT;
	int64_t ms;

	if (ctl_service_stop_ms(k->c, k->now.n > 0 ? k->now.w[0].number : 1,
		&ms, &err))
		tell(k, "stop", false, "%s", err.detail);
	else if (ms >= 0)
		tell(k, "stop", ms > need,
		    "TimeoutStopSec (%lld ms) is %s AI_CHAT_DEADLINE_MS and %d "
		    "(%lld ms)",
		    (long long)ms, ms > need ? "over" : "not over",
		    AIC_LIMITS_DRAIN_SPARE_MS, need);
}

/* Whose figures to ask for; false: nobody has asked yet. */
static bool
find_seller(struct check *k, char id[24])
{
	struct aic_err ignored = AIC_ERR_INIT;
	struct aic_db_call call;
	bool found;

	aic_db_call(&call, &asked_last);
	if (ctl_db(k->c, &call, 1, ROOM_S, &ignored))
		return false;
	found = PQntuples(call.res) > 0;
	if (found)
		snprintf(id, 24, "%s", aic_db_get(&call, 0, 0));
	aic_db_call_done(&call);
	return found;
}

static void
ask_server(struct check *k, struct aic_http *http, const char *path,
    const char *id, struct aic_http_answer *ret_answer)
{
	const struct aic_conf *conf = &k->c->conf;
	int64_t now = aic_clock_us();
	struct aic_buf url, auth;
	const char *headers[2] = { NULL };
	struct aic_http_request req = { .headers = headers,
		.answer_max = AIC_SELLER_ANSWER_MAX,
		.deadline_us = now + SERVER_US,
		.connect_us = SERVER_US };

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

/* An id that is no number comes first: where the path is there, its framework refuses that
 * before anybody is looked up, or registered. */
static void
check_server_path(struct check *k, struct aic_http *http, const char *path)
{
	struct aic_http_answer a;
	char id[24];

	ask_server(k, http, path, "check", &a);
	if (aic_paths_is_missing(&a) && find_seller(k, id)) {
		aic_buf_done(&a.body);
		ask_server(k, http, path, id, &a);
	}
	if (a.end != AIC_HTTP_ANSWERED)
		tell(k, "server", false, "%s cannot be asked: %s", path,
		    a.why[0] ? a.why : "no answer");
	else if (a.status == 401 || a.status == 403)
		tell(k, "server", false,
		    "the Server refuses SERVER_API_KEY: HTTP %d", a.status);
	else if (aic_paths_is_missing(&a))
		tell(k, "server", false,
		    "the Server has no %s: set SERVER_CONTEXT_PATHS to what it "
		    "has",
		    path);
	else
		tell(k, "server", a.status < 500, "%s is there: HTTP %d", path,
		    a.status);
	aic_buf_done(&a.body);
}

static void
check_server(struct check *k)
{
	struct aic_http_conf conf = { .calls_max = 1 };
	struct aic_err err = AIC_ERR_INIT;
	struct aic_paths paths;
	struct aic_http *http;
	int i;

	if (!k->c->conf.server_host)
		return;
	if (aic_paths_read(&paths, k->c->conf.server_paths, &err)) {
		tell(k, "server", false, "%s", err.detail);
		return;
	}
	if (aic_http_open(&http, &conf, &err)) {
		tell(k, "server", false, "%s", err.detail);
	} else {
		for (i = 0; i < paths.n; i++)
			check_server_path(k, http, paths.path[i]);
		aic_http_close(http);
	}
	aic_paths_done(&paths);
}

/* Those whom Nginx counts on. */
static void
check_list(struct check *k)
{
	struct aic_err err = AIC_ERR_INIT;
	struct ctl_upstream list;
	char path[PATH_MAX];
	bool all = true;
	int i;

	if (ctl_upstream_read(&list, &k->c->own, &err)) {
		tell(k, "workers", false, "%s", err.detail);
		return;
	}
	for (i = 0; i < list.n; i++) {
		ctl_upstream_socket(&k->c->own, list.number[i], path,
		    sizeof(path));
		if (ctl_ask_ready(path))
			continue;
		all = false;
		tell(k, "workers", false,
		    "worker %d is in Nginx's list and is not ready",
		    list.number[i]);
	}
	for (i = 0; i < k->now.n; i++) {
		if (ctl_upstream_has(&list, k->now.w[i].number))
			continue;
		all = false;
		tell(k, "workers", false, "worker %d is not in Nginx's list",
		    k->now.w[i].number);
	}
	if (list.n == 0)
		tell(k, "workers", false, "there are none in Nginx's list");
	else if (all)
		tell(k, "workers", true,
		    "%d in Nginx's list, and all are ready", list.n);
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
	check_worker(&k);
	if (k.has_conf) {
		check_schema(&k);
		check_connections(&k);
		check_server(&k);
		check_durability(&k);
		check_path(&k);
	}
	check_nginx(&k);
	if (k.has_conf)
		check_stop(&k);
	check_list(&k);
	aic_buf_printf(&c->doc, "],\"ok\":%s}", c->bad ? "false" : "true");
	return AIC_OK;
}
