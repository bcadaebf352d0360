#include "config.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/conf.h"
#include "lib/conf_hints.h"
#include "lib/db.h"
#include "lib/err.h"
#include "lib/file.h"

/* Far more files than this project will have. A directory with more is a wrong
 * one. */
#define FILES_MAX 1000

/* The largest migration is a page of SQL. */
#define FILE_MAX (1024 * 1024)

/* The key of the advisory lock. Any number of processes may start at once, on
 * any number of machines; one runs the migrations. */
#define LOCK_KEY "7346019328815443"

/* The pause between two attempts to connect. */
#define WAIT_US (1 * AIC_S)

struct file {
	int version; /* 0: run at every start */
	char *name;
};

struct migrate {
	const char *dir;
	bool status_only;
	bool wait;
	PGconn *conn;
	struct file files[FILES_MAX];
	int n_files;
};

static const char usage[] =
    "usage: ai-chat-migrate [--dir DIR] [--status] [--wait]\n"
    "\n"
    "Brings the database of AI_CHAT_MIGRATE_URL up to date, or the one of\n"
    "DATABASE_URL if that is not set. With _FILE after their names, both can\n"
    "be files that contain the URL. The tables are in the schema\n"
    "AI_CHAT_DB_SCHEMA (default: public). Runs the migrations, which are the\n"
    "files NNNN_name.sql of DIR, that are not applied yet, in order, each in\n"
    "its own transaction; then runs the files always_*.sql.\n"
    "\n"
    "  --dir DIR  the directory of the files (default: " AIC_SQL_DIR ")\n"
    "  --status   list the migrations and run nothing\n"
    "  --wait     wait without limit until the server accepts connections\n"
    "  --help     print this help, and exit\n"
    "  --version  print the version, and exit\n"
    "\n"
    "Exit status: 0 up to date; 1 a failure, and the file that failed was\n"
    "rolled back; 2 invalid settings; 3 with --status: migrations are\n"
    "pending.\n";

static bool AIC_PRINTF(1, 2) print_failure(const char *fmt, ...)
{
	va_list ap;

	fputs("ai-chat-migrate: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return false;
}

/* The same for a message about a setting: it names the file to change. */
static bool AIC_PRINTF(1, 2) print_setting(const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	aic_conf_hints_place(text, sizeof(text), environ);
	return print_failure("%s", text);
}

/* --- files ------------------------------------------------------------- */

/* Parse NNNN_name.sql or always_name.sql; false: another name. */
static bool
parse_name(const char *name, int *ret_version)
{
	size_t n = strlen(name);

	if (n < 5 || strcmp(name + n - 4, ".sql") != 0)
		return false;
	*ret_version = 0;
	if (strncmp(name, "always_", 7) == 0)
		return true;
	if (strspn(name, "0123456789") != 4 || name[4] != '_')
		return false;
	*ret_version = (int)strtol(name, NULL, 10);
	return *ret_version > 0;
}

static int
by_order(const void *a, const void *b)
{
	const struct file *x = a, *y = b;

	/* Files that run at every start come last. */
	if (!x->version != !y->version)
		return x->version ? -1 : 1;
	return strcmp(x->name, y->name);
}

static bool
list_files(struct migrate *m)
{
	struct dirent *e;
	int version, i, want = 1;
	DIR *d;

	d = opendir(m->dir);
	if (!d)
		return print_failure("could not open directory \"%s\": %s",
		    m->dir, strerror(errno));
	while ((e = readdir(d))) {
		if (!parse_name(e->d_name, &version))
			continue;
		if (m->n_files == FILES_MAX)
			break;
		m->files[m->n_files].version = version;
		m->files[m->n_files].name = strdup(e->d_name);
		if (!m->files[m->n_files].name)
			break;
		m->n_files++;
	}
	closedir(d);
	if (e)
		return print_failure("too many files in \"%s\"", m->dir);
	qsort(m->files, (size_t)m->n_files, sizeof(m->files[0]), by_order);
	for (i = 0; i < m->n_files && m->files[i].version; i++, want++)
		if (m->files[i].version != want)
			return print_failure(
			    "\"%s\" is not number %04d: the numbers "
			    "must have no gap",
			    m->files[i].name, want);
	if (i == 0)
		return print_failure("no migrations in \"%s\"", m->dir);
	return true;
}

static bool
read_sql(struct migrate *m, const struct file *f, char **ret_sql)
{
	struct aic_err err = AIC_ERR_INIT;
	char path[4096];
	size_t len = 0;

	snprintf(path, sizeof(path), "%s/%s", m->dir, f->name);
	if (aic_file_read_any("migration", path, FILE_MAX, ret_sql, &len, &err))
		return print_failure("%s", err.detail);
	if (len == 0 || strlen(*ret_sql) != len)
		return print_failure("migration \"%s\" is empty or has a NUL "
				     "byte",
		    path);
	return true;
}

/* --- the database ------------------------------------------------------ */

/* Run a statement; NULL: the statement failed, and a message was printed. */
static PGresult *
run_query(struct migrate *m, const char *doing, const char *sql, int n,
    const char *const *param)
{
	PGresult *res = PQexecParams(m->conn, sql, n, NULL, param, NULL, NULL,
	    0);

	if (PQresultStatus(res) == PGRES_COMMAND_OK ||
	    PQresultStatus(res) == PGRES_TUPLES_OK)
		return res;
	print_failure("could not %s: %s", doing, PQerrorMessage(m->conn));
	PQclear(res);
	return NULL;
}

static bool
run_sql(struct migrate *m, const char *doing, const char *sql)
{
	/* sql can contain several statements. */
	PGresult *res = PQexec(m->conn, sql);
	bool ok = PQresultStatus(res) == PGRES_COMMAND_OK ||
	    PQresultStatus(res) == PGRES_TUPLES_OK;

	if (!ok)
		print_failure("could not %s: %s", doing,
		    PQerrorMessage(m->conn));
	PQclear(res);
	return ok;
}

/*
 * Print the notices that a migration raises, and all warnings. PostgreSQL adds
 * notices of its own, for example that a trigger which DROP ... IF EXISTS
 * names does not exist. They are expected, and would only alarm the reader.
 * Both kinds have the same SQLSTATE; the function of the server that reported
 * them differs.
 */
static void
print_notice(void *arg, const PGresult *res)
{
	const char *level = PQresultErrorField(res,
	    PG_DIAG_SEVERITY_NONLOCALIZED);
	const char *source = PQresultErrorField(res, PG_DIAG_SOURCE_FUNCTION);

	(void)arg;
	if (level && strcmp(level, "NOTICE") == 0 && source &&
	    strcmp(source, "exec_stmt_raise") != 0)
		return;
	fputs(PQresultErrorMessage(res), stderr);
}

/* Wait until the server responds, because a machine can boot before its
 * database. A server that responds with an error is up. */
static void
wait_for_server(const char *url)
{
	bool said = false;
	PGPing ping;

	while ((ping = PQping(url)) == PQPING_REJECT ||
	    ping == PQPING_NO_RESPONSE) {
		if (!said)
			print_failure(
			    "the database is unavailable, waiting for it");
		said = true;
		aic_clock_sleep(aic_clock_us() + WAIT_US);
	}
}

static bool
connect_to(struct migrate *m, const struct aic_conf *conf)
{
	const char *url = conf->migrate_url ? conf->migrate_url
					    : conf->database_url;
	PQconninfoOption *options = PQconninfoParse(url, NULL);
	char why[512];

	/* The error text can quote the URL, with a password in it. */
	if (!options)
		return print_setting(
		    "%s is not a connection string of PostgreSQL",
		    conf->migrate_url ? "AI_CHAT_MIGRATE_URL" : "DATABASE_URL");
	PQconninfoFree(options);
	if (m->wait)
		wait_for_server(url);
	m->conn = PQconnectdb(url);
	if (PQstatus(m->conn) == CONNECTION_OK)
		return true;
	snprintf(why, sizeof(why), "%s", PQerrorMessage(m->conn));
	aic_db_hide(why);
	return print_failure("could not connect to the database: %s", why);
}

/*
 * Run a query that returns no row if all is well. If the query returns a row,
 * print its first field as the reason, and return false.
 */
static bool
check_none(struct migrate *m, const char *doing, const char *sql, int n,
    const char *const *param)
{
	PGresult *res = run_query(m, doing, sql, n, param);
	bool ok = res != NULL;

	if (ok && PQntuples(res) > 0)
		ok = print_setting("%s", PQgetvalue(res, 0, 0));
	PQclear(res);
	return ok;
}

/*
 * Select the schema for the tables, independently of the role's search_path.
 * The default search_path begins with a schema that has the name of the role,
 * and another user could have created that schema. A search_path among the
 * options of the URL was set by the administrator on purpose and is kept.
 *
 * If the role's search_path finds the tables in another schema, an earlier
 * version has created them there. The function fails then, because the service
 * would continue with new, empty tables.
 */
static bool
set_schema(struct migrate *m, const char *schema)
{
	static const char elsewhere[] =
	    "SELECT pg_catalog.format('the tables are in schema %I, not in "
	    "%I: set AI_CHAT_DB_SCHEMA=%1$s', n.nspname, $1::text)"
	    " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"
	    "  ON n.oid OPERATOR(pg_catalog.=) c.relnamespace"
	    " WHERE c.oid OPERATOR(pg_catalog.=)"
	    "   pg_catalog.to_regclass('ai_chat_requests')"
	    "  AND n.nspname OPERATOR(pg_catalog.<>) $1::pg_catalog.name"
	    "  AND pg_catalog.pg_has_role(c.relowner, 'USAGE')"
	    "  AND pg_catalog.to_regclass(pg_catalog.format("
	    "   '%I.ai_chat_requests', $1::text)) IS NULL"
	    "  AND (SELECT s.source FROM pg_catalog.pg_settings s"
	    "   WHERE s.name OPERATOR(pg_catalog.=) 'search_path')"
	    "   OPERATOR(pg_catalog.<>) 'client'";
	static const char set[] =
	    "SELECT pg_catalog.set_config('search_path',"
	    "  pg_catalog.format('%I, pg_temp', $1::text), false)"
	    " FROM pg_catalog.pg_settings s"
	    " WHERE s.name OPERATOR(pg_catalog.=) 'search_path'"
	    "  AND s.source OPERATOR(pg_catalog.<>) 'client'";
	PGresult *res;

	if (!check_none(m, "look for the tables", elsewhere, 1, &schema))
		return false;
	res = run_query(m, "set the schema", set, 1, &schema);
	PQclear(res);
	return res != NULL;
}

/* Migrations change tables and functions, which only their owner may do. */
static bool
check_owner(struct migrate *m)
{
	static const char others[] =
	    "SELECT pg_catalog.format('table %I belongs to role %I, but %I is "
	    "not a member of that role: run ai-chat-migrate as %2$I, or GRANT "
	    "%2$I TO %3$I',"
	    "  c.relname, r.rolname, current_user)"
	    " FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner"
	    " WHERE c.oid IN (to_regclass('ai_chat_daily_limits')::oid,"
	    "   to_regclass('ai_chat_requests')::oid,"
	    "   to_regclass('ai_chat_migrations')::oid)"
	    "  AND NOT pg_has_role(c.relowner, 'USAGE') LIMIT 1";

	return check_none(m, "look for the owner of the tables", others, 0,
	    NULL);
}

static bool
prepare_session(struct migrate *m, const struct aic_conf *conf)
{
	if (!connect_to(m, conf))
		return false;
	PQsetNoticeReceiver(m->conn, print_notice, NULL);
	if (!run_sql(m, "set up the session",
		"SET client_encoding = 'UTF8';"
		" SET client_min_messages = notice") ||
	    !set_schema(m, conf->db_schema))
		return false;
	if (m->status_only)
		return true;
	return check_owner(m) &&
	    run_sql(m, "lock the database against other migrations",
		"SELECT pg_advisory_lock(" LOCK_KEY ")") &&
	    run_sql(m, "create the table of migrations",
		"SET client_min_messages = warning;"
		"CREATE TABLE IF NOT EXISTS ai_chat_migrations ("
		" version int PRIMARY KEY,"
		" name text NOT NULL,"
		" checksum text NOT NULL,"
		" applied_at timestamptz NOT NULL DEFAULT now());"
		"SET client_min_messages = notice");
}

enum seen {
	NEW,
	DONE,
	CHANGED, /* the file differs from the one that was run */
	FAILED,
};

static enum seen
find_applied(struct migrate *m, const struct file *f, const char *sql)
{
	char version[16];
	const char *param[2] = { version, sql };
	enum seen seen = NEW;
	PGresult *res;

	res = run_query(m, "look for the table of migrations",
	    "SELECT to_regclass('ai_chat_migrations') IS NOT NULL", 0, NULL);
	if (!res)
		return FAILED;
	if (*PQgetvalue(res, 0, 0) != 't') {
		PQclear(res);
		return NEW;
	}
	PQclear(res);
	snprintf(version, sizeof(version), "%d", f->version);
	res = run_query(m, "look up a migration",
	    "SELECT checksum = encode("
	    "  sha256(pg_catalog.convert_to($2::text, 'UTF8')), 'hex')"
	    " FROM ai_chat_migrations WHERE version = $1::int",
	    2, param);
	if (!res)
		return FAILED;
	if (PQntuples(res) > 0)
		seen = *PQgetvalue(res, 0, 0) == 't' ? DONE : CHANGED;
	PQclear(res);
	return seen;
}

static bool
apply_file(struct migrate *m, const struct file *f, const char *sql)
{
	char version[16];
	const char *param[3] = { version, f->name, sql };
	PGresult *res;
	bool ok;

	snprintf(version, sizeof(version), "%d", f->version);
	ok = run_sql(m, "begin", "BEGIN") && run_sql(m, f->name, sql);
	if (ok && f->version) {
		res = run_query(m, "record a migration",
		    "INSERT INTO ai_chat_migrations (version, name, checksum)"
		    " VALUES ($1::int, $2::text,"
		    "  encode(sha256(pg_catalog.convert_to($3::text, 'UTF8')),"
		    "  'hex'))",
		    3, param);
		ok = res != NULL;
		PQclear(res);
	}
	return run_sql(m, "end", ok ? "COMMIT" : "ROLLBACK") && ok;
}

/* Returns the exit status, or -1 to continue. */
static int
migrate_file(struct migrate *m, const struct file *f)
{
	enum seen seen = FAILED;
	char *sql = NULL;
	int status = 1;

	if (read_sql(m, f, &sql)) {
		seen = f->version ? find_applied(m, f, sql) : NEW;
		status = -1;
	}
	if (seen == CHANGED)
		print_failure("\"%s\" was changed after it was applied",
		    f->name);
	if (seen == CHANGED || seen == FAILED)
		status = 1;
	else if (m->status_only && f->version)
		printf("%s %s\n", seen == DONE ? "done" : "to do", f->name);
	else if (seen == NEW && !m->status_only) {
		if (apply_file(m, f, sql)) {
			if (f->version)
				printf("applied %s\n", f->name);
		} else {
			status = 1;
		}
	}
	if (status < 0 && m->status_only && f->version && seen == NEW)
		status = 3;
	free(sql);
	return status;
}

static int
migrate_all(struct migrate *m, const struct aic_conf *conf)
{
	int i, status, worst = 0;

	if (!list_files(m) || !prepare_session(m, conf))
		return 1;
	for (i = 0; i < m->n_files; i++) {
		status = migrate_file(m, &m->files[i]);
		if (status == 3)
			worst = 3;
		else if (status >= 0)
			return status;
	}
	return worst;
}

static int
parse_flags(int argc, char **argv, struct migrate *m)
{
	static const struct option options[] = {
		{ "dir", required_argument, NULL, 'd' },
		{ "status", no_argument, NULL, 's' },
		{ "wait", no_argument, NULL, 'w' },
		{ "version", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'd':
			m->dir = optarg;
			break;
		case 's':
			m->status_only = true;
			break;
		case 'w':
			m->wait = true;
			break;
		case 'v':
			puts("ai-chat-migrate " PACKAGE_VERSION);
			return 0;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			return 2;
		}
	}
	if (optind < argc) {
		print_failure("unexpected argument \"%s\"", argv[optind]);
		return 2;
	}
	return -1;
}

int
main(int argc, char **argv)
{
	static struct migrate m = { .dir = AIC_SQL_DIR };
	struct aic_err err = AIC_ERR_INIT;
	struct aic_conf conf;
	int status;

	status = parse_flags(argc, argv, &m);
	if (status >= 0)
		return status;
	if (aic_conf_load_url(&conf, environ, &err)) {
		print_setting("%s", err.detail);
		return 2;
	}
	status = migrate_all(&m, &conf);
	PQfinish(m.conn);
	while (m.n_files > 0)
		free(m.files[--m.n_files].name);
	aic_conf_done(&conf);
	return status;
}
