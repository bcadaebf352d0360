/*
 * Tests of everything that uses PostgreSQL, against a real server:
 * AIC_TEST_DATABASE_URL, or the cluster in AIC_TEST_PG that all tests of a run
 * share. On that server this program makes a database of its own and drops it
 * at the end.
 */
#include "config.h"

#include "lib/db.h"

#include <pthread.h>
#include <regex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/context.h"
#include "lib/history.h"
#include "lib/id.h"
#include "lib/limit.h"
#include "lib/save.h"
#include "lib/schema.h"
#include "unit.h"

#define NEED_SERVER                                                            \
	do {                                                                   \
		if (!db)                                                       \
			SKIP("no PostgreSQL was given");                       \
	} while (0)

static char name[64];
static char server_url[1024];
static char *own_url;
static struct aic_db *db;
static PGconn *plain; /* a connection besides the pool */

static int64_t
soon(void)
{
	return aic_clock_us() + 5 * AIC_S;
}

static struct aic_db *
open_url(const char *url, int pool, bool prepare)
{
	struct aic_db_conf conf = { .url = url,
		.schema = "public",
		.pool = pool,
		.timeout_ms = 3000,
		.prepare = prepare };
	struct aic_err err = AIC_ERR_INIT;
	struct aic_db *d = NULL;

	assert_int_equal(aic_db_open(&d, &conf, &err), AIC_OK);
	return d;
}

/* --- a database of our own ---------------------------------------------- */

/* The connection string with another database's name. */
static char *
with_dbname(const char *url, const char *dbname)
{
	PQconninfoOption *all = PQconninfoParse(url, NULL), *o;
	struct aic_buf b;
	const char *p;

	if (!all)
		return NULL;
	aic_buf_init(&b, 10000);
	for (o = all; o->keyword; o++) {
		if (!o->val || strcmp(o->keyword, "dbname") == 0)
			continue;
		aic_buf_printf(&b, "%s='", o->keyword);
		for (p = o->val; *p; p++) {
			if (*p == '\'' || *p == '\\')
				aic_buf_putc(&b, '\\');
			aic_buf_putc(&b, *p);
		}
		aic_buf_puts(&b, "' ");
	}
	aic_buf_printf(&b, "dbname='%s'", dbname);
	PQconninfoFree(all);
	return aic_buf_take(&b, NULL);
}

static bool
exec(PGconn *pg, const char *sql)
{
	PGresult *res = PQexec(pg, sql);
	bool ok = PQresultStatus(res) == PGRES_COMMAND_OK ||
	    PQresultStatus(res) == PGRES_TUPLES_OK;

	if (!ok)
		print_message("# %s", PQerrorMessage(pg));
	PQclear(res);
	return ok;
}

static bool
exec_file(PGconn *pg, const char *path)
{
	static char text[64 * 1024];
	FILE *f = fopen(path, "r");
	size_t n;

	if (!f)
		return false;
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = '\0';
	fclose(f);
	return exec(pg, text);
}

static int
make_database(void **state)
{
	const char *url = getenv("AIC_TEST_DATABASE_URL");
	const char *dir = getenv("AIC_TEST_PG");
	char sql[128];
	PGconn *pg;
	bool ok;

	(void)state;
	if (url && *url)
		snprintf(server_url, sizeof(server_url), "%s", url);
	else if (dir && *dir)
		snprintf(server_url, sizeof(server_url),
		    "postgresql:///postgres?host=%s/pg&user=postgres", dir);
	else
		return 0;
	snprintf(name, sizeof(name), "ai_chat_unit_%d", (int)getpid());
	snprintf(sql, sizeof(sql),
	    "CREATE DATABASE %s ENCODING 'UTF8'"
	    " TEMPLATE template0",
	    name);
	pg = PQconnectdb(server_url);
	ok = exec(pg, sql);
	PQfinish(pg);
	own_url = ok ? with_dbname(server_url, name) : NULL;
	if (!own_url)
		return -1;
	plain = PQconnectdb(own_url);
	if (!exec(plain, "SET client_min_messages = warning") ||
	    !exec_file(plain, AIC_SRCDIR "/sql/0001_create_tables.sql") ||
	    !exec_file(plain, AIC_SRCDIR "/sql/0002_add_idempotency.sql") ||
	    !exec_file(plain, AIC_SRCDIR "/sql/0004_add_conversations.sql"))
		return -1;
	db = open_url(own_url, 4, true);
	return 0;
}

static int
drop_database(void **state)
{
	char sql[128];
	PGconn *pg;

	(void)state;
	if (!own_url)
		return 0;
	aic_db_close(db);
	PQfinish(plain);
	free(own_url);
	snprintf(sql, sizeof(sql), "DROP DATABASE %s WITH (FORCE)", name);
	pg = PQconnectdb(server_url);
	exec(pg, sql);
	PQfinish(pg);
	return 0;
}

static int64_t
look(const char *sql)
{
	PGresult *res = PQexec(plain, sql);
	int64_t n = -1;

	if (PQntuples(res) == 1)
		n = strtoll(PQgetvalue(res, 0, 0), NULL, 10);
	else
		print_message("# %s: %s", sql, PQerrorMessage(plain));
	PQclear(res);
	return n;
}

/* --- db ----------------------------------------------------------------- */

static const struct aic_db_stmt echo = { "t_echo",
	"SELECT $1::text, $2::bigint, $1::text IS NULL", 2, NULL };
static const struct aic_db_stmt txid = { "t_txid",
	"SELECT txid_current(), pg_backend_pid()", 0, NULL };
static const struct aic_db_stmt divide = { "t_divide", "SELECT 1 / $1::int", 1,
	NULL };
static const struct aic_db_stmt put = { "t_put",
	"INSERT INTO t_put VALUES ($1::int)", 1, NULL };
static const struct aic_db_stmt sleeps = { "t_sleep",
	"SELECT pg_sleep($1::int)", 1, NULL };
static const struct aic_db_stmt suicide = { "t_suicide",
	"SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(1)", 0, NULL };

static enum aic_code
run(struct aic_db *d, struct aic_db_call *calls, int n, struct aic_err *err)
{
	*err = (struct aic_err)AIC_ERR_INIT;
	return aic_db_run(d, calls, n, soon(), err);
}

static void
check_echo(struct aic_db *d, const char *text, int64_t num)
{
	struct aic_db_call c;
	struct aic_err err;

	aic_db_call(&c, &echo);
	aic_db_text(&c, text);
	aic_db_int(&c, num);
	if (run(d, &c, 1, &err) != AIC_OK)
		fail_msg("%s", err.detail);
	assert_string_equal(aic_db_get(&c, 0, 0), text ? text : "");
	assert_int_equal(aic_db_get_int(&c, 0, 1), num);
	assert_string_equal(aic_db_get(&c, 0, 2), text ? "f" : "t");
	aic_db_call_done(&c);
	aic_db_call_done(&c);
}

static void
parameters_arrive_unchanged(void **state)
{
	static const char *const texts[] = { "x", "", NULL, "Привет 😀",
		"'; DROP TABLE ai_chat_requests; --", "\\ \" $1 %s",
		"a\nb\x01" };
	struct aic_db *other;
	size_t i;

	(void)state;
	NEED_SERVER;
	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		check_echo(db, texts[i], INT64_MAX);
		check_echo(db, texts[i], INT64_MIN);
	}
	other = open_url(own_url, 1, false);
	check_echo(other, "unprepared", 5);
	check_echo(other, "again", 6);
	aic_db_close(other);
}

static void
a_batch_is_one_transaction_in_order(void **state)
{
	struct aic_db_call c[4];
	struct aic_err err;
	int i;

	(void)state;
	NEED_SERVER;
	aic_db_call(&c[0], &txid);
	aic_db_call(&c[1], &echo);
	aic_db_text(&c[1], "second");
	aic_db_int(&c[1], 2);
	aic_db_call(&c[2], &echo);
	aic_db_text(&c[2], "third");
	aic_db_int(&c[2], 3);
	aic_db_call(&c[3], &txid);
	if (run(db, c, 4, &err) != AIC_OK)
		fail_msg("%s", err.detail);
	assert_string_equal(aic_db_get(&c[0], 0, 0), aic_db_get(&c[3], 0, 0));
	assert_string_equal(aic_db_get(&c[1], 0, 0), "second");
	assert_string_equal(aic_db_get(&c[2], 0, 0), "third");
	for (i = 0; i < 4; i++)
		aic_db_call_done(&c[i]);
}

static void
one_statement_may_come_twice_in_a_batch(void **state)
{
	struct aic_db *fresh;
	struct aic_db_call c[2];
	struct aic_err err;
	int round, i;

	(void)state;
	NEED_SERVER;
	fresh = open_url(own_url, 1, true);
	for (round = 0; round < 2; round++) {
		for (i = 0; i < 2; i++) {
			aic_db_call(&c[i], &echo);
			aic_db_text(&c[i], i ? "b" : "a");
			aic_db_int(&c[i], i);
		}
		if (run(fresh, c, 2, &err) != AIC_OK)
			fail_msg("%s", err.detail);
		assert_string_equal(aic_db_get(&c[0], 0, 0), "a");
		assert_string_equal(aic_db_get(&c[1], 0, 0), "b");
		aic_db_call_done(&c[0]);
		aic_db_call_done(&c[1]);
	}
	aic_db_close(fresh);
}

static void
a_refused_statement_undoes_its_batch_and_leaves_no_results(void **state)
{
	struct aic_db_call c[3];
	struct aic_err err;
	int zero, i;

	(void)state;
	NEED_SERVER;
	assert_true(exec(plain, "CREATE TABLE t_put (n int)"));
	for (zero = 0; zero < 3; zero++) {
		for (i = 0; i < 3; i++) {
			aic_db_call(&c[i], i == zero ? &divide : &put);
			aic_db_int(&c[i], i == zero ? 0 : 5);
		}
		assert_int_equal(run(db, c, 3, &err), AIC_EDB);
		assert_non_null(strstr(err.detail, "22012"));
		assert_true(err.retry_after_s > 0);
		assert_string_equal(err.says, "");
		for (i = 0; i < 3; i++)
			assert_null(c[i].res);
	}
	assert_int_equal(look("SELECT count(*) FROM t_put"), 0);
	check_echo(db, "still fit", 1);
}

static const struct aic_db_stmt timeouts = { "t_timeouts",
	"SELECT concat_ws(' ', current_setting('statement_timeout'),"
	" current_setting('lock_timeout'),"
	" current_setting('idle_in_transaction_session_timeout'),"
	" current_setting('plan_cache_mode'), current_setting('DateStyle'))",
	0, NULL };

static void
options_of_the_url_replace_only_the_settings_that_they_name(void **state)
{
	static const char *const rows[][2] = {
		{ "", "0 0 0 auto ISO, MDY" },
		{ "-c DateStyle=SQL",
		    "3s 2700ms 3s force_generic_plan SQL, MDY" },
		{ "-c DateStyle=SQL --lock-timeout=77",
		    "3s 77ms 3s force_generic_plan SQL, MDY" },
		{ "-clock_timeout=5 -c plan_cache_mode=auto",
		    "3s 5ms 3s auto ISO, MDY" },
	};
	struct aic_db_call c;
	struct aic_db *other;
	struct aic_err err;
	char url[1200];
	size_t i;

	(void)state;
	NEED_SERVER;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(url, sizeof(url), "%s options='%s'", own_url,
		    rows[i][0]);
		other = open_url(url, 1, true);
		aic_db_call(&c, &timeouts);
		assert_int_equal(run(other, &c, 1, &err), AIC_OK);
		assert_string_equal(aic_db_get(&c, 0, 0), rows[i][1]);
		aic_db_call_done(&c);
		aic_db_close(other);
	}
}

static const struct aic_db_stmt all_of_it = { "t_all",
	"SELECT * FROM t_all WHERE n = $1::int", 1, NULL };
static const struct aic_db_stmt of_type = { "t_typed",
	"SELECT ($1::t_pair).a + 1", 1, NULL };
static const struct aic_db_stmt deallocate = { "t_dealloc", "DEALLOCATE ALL", 0,
	NULL };
static const struct aic_db_stmt no_table = { "t_nowhere",
	"SELECT n FROM t_nowhere", 0, NULL };
static const struct aic_db_stmt taken = { "t_taken", "SELECT 5", 0, NULL };
static const struct aic_db_stmt take_name = { "t_take",
	"PREPARE t_taken AS SELECT 6", 0, NULL };

/* Runs a statement that must succeed; returns its only field. */
static int64_t
field(struct aic_db *d, const struct aic_db_stmt *stmt, const char *param)
{
	struct aic_db_call c;
	struct aic_err err;
	int64_t n;

	aic_db_call(&c, stmt);
	if (stmt->n_params > 0)
		aic_db_text(&c, param);
	if (run(d, &c, 1, &err) != AIC_OK)
		fail_msg("%s", err.detail);
	n = PQntuples(c.res) > 0 ? aic_db_get_int(&c, 0, 0) : 0;
	aic_db_call_done(&c);
	return n;
}

/*
 * Afterwards the statement is prepared on all connections of the pool, or on as
 * many as a few threads open.
 */
static void *
warm_up(void *arg)
{
	int i;

	for (i = 0; i < 20; i++)
		check_echo(arg, "warm", i);
	return NULL;
}

static void
a_stale_prepared_statement_is_prepared_again(void **state)
{
	static const char *const changes[] = {
		"ALTER TABLE t_all ALTER n TYPE bigint",
		"ALTER TABLE t_all ADD more text",
		"DROP TABLE t_all; CREATE TABLE t_all (n int, x text);"
		"INSERT INTO t_all VALUES (7)",
	};
	static const char type_again[] = "DROP TYPE t_pair;"
					 "CREATE TYPE t_pair AS (a int, b int)";
	struct aic_db *pool;
	struct aic_err err;
	struct aic_db_call c;
	size_t i;

	(void)state;
	NEED_SERVER;
	assert_true(exec(plain,
	    "CREATE TABLE t_all (n int);"
	    "INSERT INTO t_all VALUES (7);"
	    "CREATE TYPE t_pair AS (a int, b int)"));
	pool = open_url(own_url, 1, true);
	for (i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		assert_int_equal(field(pool, &all_of_it, "7"), 7);
		assert_true(exec(plain, changes[i]));
		assert_int_equal(field(pool, &all_of_it, "7"), 7);
	}
	assert_int_equal(field(pool, &of_type, "(1,2)"), 2);
	assert_true(exec(plain, type_again));
	assert_int_equal(field(pool, &of_type, "(1,2)"), 2);
	/* A session that was reset: its statements are gone. */
	assert_int_equal(field(pool, &deallocate, NULL), 0);
	assert_int_equal(field(pool, &of_type, "(1,2)"), 2);
	/* A statement that is wrong fails still, with its reason. */
	assert_true(exec(plain, "CREATE TABLE t_nowhere (n int)"));
	assert_int_equal(field(pool, &no_table, NULL), 0);
	assert_true(exec(plain, "DROP TABLE t_nowhere"));
	for (i = 0; i < 2; i++) {
		aic_db_call(&c, &no_table);
		assert_int_equal(run(pool, &c, 1, &err), AIC_EDB);
		assert_non_null(strstr(err.detail, "42P01"));
	}
	check_echo(pool, "still fit", 1);
	aic_db_close(pool);
}

static int64_t
backends_of(const char *application)
{
	char sql[200];

	snprintf(sql, sizeof(sql),
	    "SELECT count(*) FROM pg_stat_activity"
	    " WHERE application_name = '%s'",
	    application);
	return look(sql);
}

static void
a_statement_that_is_wrong_closes_no_connection(void **state)
{
	struct aic_db_call c;
	struct aic_db *pool;
	pthread_t t[4];
	struct aic_err err;
	int64_t pid;
	char url[1200];
	int i;

	(void)state;
	NEED_SERVER;
	snprintf(url, sizeof(url), "%s application_name=t_stale", own_url);
	pool = open_url(url, 4, true);
	for (i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, warm_up, pool);
	for (i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	assert_true(backends_of("t_stale") > 0);
	assert_true(exec(plain, "CREATE TABLE t_nowhere (n int)"));
	field(pool, &no_table, NULL);
	pid = look("SELECT max(pid) FROM pg_stat_activity"
		   " WHERE application_name = 't_stale'");
	assert_true(exec(plain, "DROP TABLE t_nowhere"));
	/* A fault of the statement closes no connection. */
	for (i = 0; i < 3; i++) {
		aic_db_call(&c, &no_table);
		assert_int_equal(run(pool, &c, 1, &err), AIC_EDB);
	}
	assert_int_equal(look("SELECT max(pid) FROM pg_stat_activity"
			      " WHERE application_name = 't_stale'"),
	    pid);
	aic_db_close(pool);
}

static void
a_session_shared_by_a_pooler_gets_no_prepared_statements(void **state)
{
	struct aic_db *pool;
	int i;

	(void)state;
	NEED_SERVER;
	pool = open_url(own_url, 1, true);
	field(pool, &take_name, NULL);
	for (i = 0; i < 3; i++)
		assert_int_equal(field(pool, &taken, NULL), 5);
	check_echo(pool, "as text", 1);
	aic_db_close(pool);
}

static const struct aic_db_stmt commit_waits = { "t_commit",
	"SELECT coalesce(" AIC_SQL_DURABLE
	", current_setting('synchronous_commit'))",
	0, NULL };

static void
a_durable_commit_replaces_synchronous_commit_off_only(void **state)
{
	static const char *const rows[][2] = { { "off", "on" }, { "on", "on" },
		{ "local", "local" }, { "remote_write", "remote_write" },
		{ "remote_apply", "remote_apply" } };
	struct aic_db_call c[2];
	struct aic_db *other;
	struct aic_err err;
	char url[1200];
	size_t i;

	(void)state;
	NEED_SERVER;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(url, sizeof(url),
		    "%s options='-c synchronous_commit=%s'", own_url,
		    rows[i][0]);
		other = open_url(url, 1, true);
		aic_db_call(&c[0], &commit_waits);
		assert_int_equal(run(other, c, 1, &err), AIC_OK);
		assert_string_equal(aic_db_get(&c[0], 0, 0), rows[i][1]);
		aic_db_call_done(&c[0]);
		aic_db_close(other);
	}
}

static void
a_refusal_concerns_all_unless_the_reason_may_be_in_one_row(void **state)
{
	static const char *const all[] = { "42501", "42P01", "42703", "25006",
		"25P02", "53100", "53200", "58030", "XX000", "XX001", "0A000",
		"2200H", "3F000", "28000" };
	static const char *const one[] = { "", "55P03", "57014", "22001",
		"22021", "22P02", "23502", "23503", "23505", "23514", "40001",
		"40P01", "P0001", "54000" };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		assert_true(aic_db_concerns_all(all[i]));
	for (i = 0; i < sizeof(one) / sizeof(one[0]); i++)
		assert_false(aic_db_concerns_all(one[i]));
}

static void
a_failure_has_the_sqlstate_of_a_refusal_alone(void **state)
{
	struct aic_db_call c;
	struct aic_err err;

	(void)state;
	NEED_SERVER;
	aic_db_call(&c, &divide);
	aic_db_int(&c, 0);
	assert_int_equal(run(db, &c, 1, &err), AIC_EDB);
	assert_string_equal(err.sqlstate, "22012");
	/*
	 * A statement that ends its session sends a SQLSTATE, but is no
	 * refusal.
	 */
	err = (struct aic_err)AIC_ERR_INIT;
	aic_db_call(&c, &suicide);
	assert_int_equal(aic_db_run(db, &c, 1, aic_clock_us() + 300 * AIC_MS,
			     &err),
	    AIC_EDB);
	assert_string_equal(err.sqlstate, "");
	err = (struct aic_err)AIC_ERR_INIT;
	aic_db_call(&c, &sleeps);
	aic_db_int(&c, 5);
	assert_int_equal(aic_db_run(db, &c, 1, aic_clock_us() + 300 * AIC_MS,
			     &err),
	    AIC_EDB);
	assert_string_equal(err.sqlstate, "");
}

static void
a_batch_ends_by_its_deadline_and_the_next_one_succeeds(void **state)
{
	int64_t start = aic_clock_us();
	struct aic_err err = AIC_ERR_INIT;
	struct aic_db *one;
	struct aic_db_call c;

	(void)state;
	NEED_SERVER;
	one = open_url(own_url, 1, true);
	aic_db_call(&c, &sleeps);
	aic_db_int(&c, 5);
	assert_int_equal(aic_db_run(one, &c, 1, start + 300 * AIC_MS, &err),
	    AIC_EDB);
	assert_true(aic_clock_us() - start < AIC_S);
	assert_null(c.res);
	check_echo(one, "next", 1);
	aic_db_close(one);
}

static void
a_batch_whose_connection_was_terminated_is_run_again(void **state)
{
	struct aic_db *one;
	int i;

	(void)state;
	NEED_SERVER;
	one = open_url(own_url, 1, true);
	for (i = 0; i < 3; i++) {
		check_echo(one, "before", i);
		look("SELECT count(pg_terminate_backend(pid)) FROM"
		     " pg_stat_activity WHERE datname = current_database()"
		     " AND pid <> pg_backend_pid()");
		check_echo(one, "after", i);
	}
	aic_db_close(one);
}

static void
a_statement_that_always_breaks_its_connection_ends_by_the_deadline(void **state)
{
	int64_t start = aic_clock_us();
	struct aic_err err = AIC_ERR_INIT;
	struct aic_db_call c;

	(void)state;
	NEED_SERVER;
	aic_db_call(&c, &suicide);
	assert_int_equal(aic_db_run(db, &c, 1, start + 300 * AIC_MS, &err),
	    AIC_EDB);
	assert_true(aic_clock_us() - start < 2 * AIC_S);
	check_echo(db, "next", 1);
}

static void *
hold_connection(void *arg)
{
	struct aic_err err = AIC_ERR_INIT;
	struct aic_db_call c;

	aic_db_call(&c, &sleeps);
	aic_db_int(&c, 1);
	if (aic_db_run(arg, &c, 1, soon(), &err) == AIC_OK)
		aic_db_call_done(&c);
	return NULL;
}

static const struct aic_db_stmt forgets = { "t_forgets", "DEALLOCATE ALL", 0,
	NULL };

/* A pooler does so when it gives the session to another client. */
static void
a_statement_that_the_session_lost_is_sent_as_text(void **state)
{
	struct aic_db_call c;
	struct aic_err err;
	struct aic_db *one;

	(void)state;
	NEED_SERVER;
	one = open_url(own_url, 1, true);
	check_echo(one, "prepared", 1);
	aic_db_call(&c, &forgets);
	assert_int_equal(run(one, &c, 1, &err), AIC_OK);
	aic_db_call_done(&c);
	check_echo(one, "as text", 2);
	aic_db_close(one);
}

static const struct aic_db_stmt only_reads = { "t_only_reads",
	"SELECT set_config('default_transaction_read_only', 'on', false)", 0,
	NULL };
static const struct aic_db_stmt note = { "t_note",
	"INSERT INTO t_note VALUES (1)", 0, NULL };

/* A server that was demoted to a standby refuses writes with this SQLSTATE. */
static void
a_connection_that_refuses_to_write_is_replaced(void **state)
{
	struct aic_db_call c;
	struct aic_err err;
	struct aic_db *one;

	(void)state;
	NEED_SERVER;
	assert_true(exec(plain, "CREATE TABLE t_note (n int)"));
	one = open_url(own_url, 1, true);
	aic_db_call(&c, &only_reads);
	assert_int_equal(run(one, &c, 1, &err), AIC_OK);
	aic_db_call_done(&c);
	aic_db_call(&c, &note);
	if (run(one, &c, 1, &err) != AIC_OK)
		fail_msg("%s", err.detail);
	aic_db_call_done(&c);
	assert_int_equal(look("SELECT count(*) FROM t_note"), 1);
	aic_db_close(one);
}

#define SILENT 3

static const struct aic_db_stmt stays = { "t_stays",
	"SELECT pg_backend_pid(), pg_sleep(2)", 0, NULL };

struct sitter {
	struct aic_db *db;
	pid_t pid; /* of the server's process; 0: unknown */
};

static void *
sit(void *arg)
{
	struct sitter *s = arg;
	struct aic_db_call c;
	struct aic_err err;

	aic_db_call(&c, &stays);
	if (run(s->db, &c, 1, &err) == AIC_OK)
		s->pid = (pid_t)aic_db_get_int(&c, 0, 0);
	aic_db_call_done(&c);
	return NULL;
}

/*
 * One after another, because batches that wait at the same time share a
 * connection.
 */
static void
wait_for_sitters(int n)
{
	int64_t until = aic_clock_us() + 10 * AIC_S;

	while (
	    look("SELECT count(*) FROM pg_stat_activity WHERE"
		 " wait_event = 'PgSleep' AND datname = current_database()") !=
	    n) {
		assert_true(aic_clock_us() < until);
		aic_clock_sleep(aic_clock_us() + 5 * AIC_MS);
	}
}

/*
 * All connections fall silent. One batch detects it, and the next one gets a
 * new connection.
 */
static void
when_one_connection_is_silent_the_idle_ones_are_not_tried(void **state)
{
	struct sitter s[SILENT] = { { NULL, 0 } };
	struct aic_err err = AIC_ERR_INIT;
	struct aic_db *some;
	struct aic_db_call c;
	enum aic_code first, second;
	pthread_t t[SILENT];
	int i, stopped = 0;

	(void)state;
	NEED_SERVER;
	some = open_url(own_url, SILENT, true);
	for (i = 0; i < SILENT; i++) {
		s[i].db = some;
		pthread_create(&t[i], NULL, sit, &s[i]);
		wait_for_sitters(i + 1);
	}
	for (i = 0; i < SILENT; i++)
		pthread_join(t[i], NULL);
	for (i = 0; i < SILENT; i++)
		stopped += s[i].pid > 0 && kill(s[i].pid, SIGSTOP) == 0;
	aic_db_call(&c, &txid);
	first = aic_db_run(some, &c, 1, aic_clock_us() + 300 * AIC_MS, &err);
	aic_db_call_done(&c);
	second = aic_db_run(some, &c, 1, soon(), &err);
	aic_db_call_done(&c);
	for (i = 0; i < SILENT; i++)
		if (s[i].pid > 0)
			kill(s[i].pid, SIGCONT);
	aic_db_close(some);
	if (stopped < SILENT)
		SKIP("the server's processes cannot be stopped");
	assert_int_equal(first, AIC_EDB);
	assert_int_equal(second, AIC_OK);
}

static const struct aic_db_stmt bump = { "t_bump",
	"UPDATE t_deadlock SET n = n + 1 WHERE id = $1::int", 1, NULL };

/* Changes both rows, the first one first. */
static void *
bump_both(void *arg)
{
	enum aic_code *rc = arg;
	struct aic_db_call calls[2];
	struct aic_err err;
	int i;

	for (i = 0; i < 2; i++) {
		aic_db_call(&calls[i], &bump);
		aic_db_int(&calls[i], i + 1);
	}
	*rc = run(db, calls, 2, &err);
	for (i = 0; i < 2; i++)
		aic_db_call_done(&calls[i]);
	return NULL;
}

/*
 * The server ends the transaction that checks for a deadlock first. That is the
 * batch, because deadlock_timeout of the other one is longer.
 */
static void
a_batch_that_a_deadlock_has_ended_is_run_again(void **state)
{
	int64_t until = aic_clock_us() + 10 * AIC_S;
	enum aic_code rc = AIC_EBUG;
	PGconn *other;
	pthread_t t;

	(void)state;
	NEED_SERVER;
	other = PQconnectdb(own_url);
	assert_true(exec(other, "CREATE TABLE t_deadlock (id int, n int)"));
	assert_true(exec(other,
	    "INSERT INTO t_deadlock VALUES (1, 0), (2, 0)"));
	assert_true(exec(other, "SET deadlock_timeout = '1min'"));
	assert_true(exec(other, "BEGIN"));
	assert_true(exec(other, "UPDATE t_deadlock SET n = 10 WHERE id = 2"));
	pthread_create(&t, NULL, bump_both, &rc);
	while (look("SELECT count(*) FROM pg_stat_activity WHERE"
		    " wait_event_type = 'Lock' AND query LIKE '%t_deadlock%'"
		    " AND datname = current_database()") != 1) {
		assert_true(aic_clock_us() < until);
		aic_clock_sleep(aic_clock_us() + 5 * AIC_MS);
	}
	assert_true(exec(other, "UPDATE t_deadlock SET n = 10 WHERE id = 1"));
	assert_true(exec(other, "COMMIT"));
	pthread_join(t, NULL);
	PQfinish(other);
	assert_int_equal(rc, AIC_OK);
	assert_int_equal(look("SELECT sum(n) FROM t_deadlock"), 22);
}

static void
a_batch_that_waits_for_a_connection_ends_by_its_deadline(void **state)
{
	struct aic_err err = AIC_ERR_INIT;
	struct aic_db *one;
	struct aic_db_call c;
	int64_t start;
	pthread_t t;

	(void)state;
	NEED_SERVER;
	one = open_url(own_url, 1, true);
	pthread_create(&t, NULL, hold_connection, one);
	/* The thread holds the connection while it runs pg_sleep(). */
	wait_for_sitters(1);
	start = aic_clock_us();
	aic_db_call(&c, &txid);
	assert_int_equal(aic_db_run(one, &c, 1, start + 200 * AIC_MS, &err),
	    AIC_EDB);
	assert_true(aic_clock_us() - start < 600 * AIC_MS);
	/* With a later deadline the batch gets the connection. */
	check_echo(one, "patient", 1);
	pthread_join(t, NULL);
	aic_db_close(one);
}

struct rider {
	const struct aic_db_stmt *stmt;
	struct aic_db *db;
	int64_t number, patience_us;
	enum aic_code rc;
	int64_t got;
	char detail[sizeof(((struct aic_err *)0)->detail)];
};

static void *
ride(void *arg)
{
	struct aic_err err = AIC_ERR_INIT;
	struct rider *r = arg;
	struct aic_db_call c;

	aic_db_call(&c, r->stmt);
	if (r->stmt == &echo)
		aic_db_text(&c, "x");
	aic_db_int(&c, r->number);
	r->rc = aic_db_run(r->db, &c, 1, aic_clock_us() + r->patience_us, &err);
	r->got = -1;
	if (r->rc == AIC_OK) {
		if (PQntuples(c.res) > 0)
			r->got = aic_db_get_int(&c, 0,
			    r->stmt == &echo ? 1 : 0);
		aic_db_call_done(&c);
	}
	memcpy(r->detail, err.detail, sizeof(r->detail));
	return NULL;
}

/* Batches that wait for the only connection share a trip. */
static void
batches_that_share_a_trip_succeed_or_fail_independently(void **state)
{
	struct rider r[24];
	struct aic_db *one;
	pthread_t t[24];
	int round, i;

	(void)state;
	NEED_SERVER;
	one = open_url(own_url, 1, true);
	for (round = 0; round < 5; round++) {
		for (i = 0; i < 24; i++) {
			r[i] = (struct rider){ &echo, one, i + 1, 8 * AIC_S,
				AIC_OK, 0, "" };
			if (i % 4 == 1)
				r[i].stmt = &divide;
			if (i % 8 == 1)
				r[i].number = 0;
			if (i == 8) { /* occupies the connection too long */
				r[i].stmt = &sleeps;
				r[i].patience_us = 50 * AIC_MS;
			}
			pthread_create(&t[i], NULL, ride, &r[i]);
		}
		for (i = 0; i < 24; i++)
			pthread_join(t[i], NULL);
		for (i = 0; i < 24; i++) {
			if (i == 8 || i % 8 == 1)
				assert_int_equal(r[i].rc, AIC_EDB);
			else if (r[i].rc != AIC_OK)
				fail_msg("%d: %s", i, r[i].detail);
			else if (r[i].stmt == &echo)
				assert_int_equal(r[i].got, i + 1);
			else
				assert_int_equal(r[i].got, 1 / (i + 1));
			if (i % 8 == 1)
				assert_non_null(strstr(r[i].detail, "22012"));
		}
	}
	aic_db_close(one);
}

/* Waits for an advisory lock, which `plain' holds. */
static const struct aic_db_stmt gate = { "t_gate",
	"SELECT $1::bigint FROM pg_advisory_xact_lock($1::bigint)", 1, NULL };

static void
shut_gate(int number)
{
	char sql[64];

	snprintf(sql, sizeof(sql), "SELECT pg_advisory_lock(%d)", number);
	assert_true(exec(plain, sql));
}

static void
open_gate(int number)
{
	char sql[64];

	snprintf(sql, sizeof(sql), "SELECT pg_advisory_unlock(%d)", number);
	assert_true(exec(plain, sql));
}

static void
wait_at_gate(int number)
{
	int64_t until = soon();
	char sql[200];

	snprintf(sql, sizeof(sql),
	    "SELECT count(*) FROM pg_locks WHERE NOT granted"
	    " AND locktype = 'advisory' AND objid = %d"
	    " AND database = (SELECT oid FROM pg_database"
	    "  WHERE datname = current_database())",
	    number);
	while (look(sql) == 0) {
		assert_true(aic_clock_us() < until);
		aic_clock_sleep(aic_clock_us() + 5 * AIC_MS);
	}
}

/*
 * Sends all of them on one trip, in this order: they queue while the only
 * connection waits for the lock FIRST_GATE.
 */
#define FIRST_GATE 1

static void
start_trip(struct aic_db *one, struct rider *r, pthread_t *t, int n)
{
	struct rider first = { &gate, one, FIRST_GATE, 5 * AIC_S, AIC_OK, 0,
		"" };
	int64_t until = soon();
	pthread_t thread;
	int i;

	shut_gate(FIRST_GATE);
	pthread_create(&thread, NULL, ride, &first);
	wait_at_gate(FIRST_GATE);
	for (i = 0; i < n; i++) {
		pthread_create(&t[i], NULL, ride, &r[i]);
		while (aic_db_look(one).waiting <= i) {
			assert_true(aic_clock_us() < until);
			aic_clock_sleep(aic_clock_us() + AIC_MS);
		}
	}
	open_gate(FIRST_GATE);
	pthread_join(thread, NULL);
	assert_int_equal(first.rc, AIC_OK);
}

static void
a_batch_behind_one_that_waits_ends_by_its_deadline(void **state)
{
	int64_t start;
	struct rider r[2];
	struct aic_db *one;
	pthread_t t[2];

	(void)state;
	NEED_SERVER;
	one = open_url(own_url, 1, true);
	r[0] = (struct rider){ &gate, one, 2, 10 * AIC_S, AIC_OK, 0, "" };
	r[1] = (struct rider){ &echo, one, 5, AIC_S, AIC_OK, 0, "" };
	shut_gate(2);
	start = aic_clock_us();
	start_trip(one, r, t, 2);
	wait_at_gate(2);
	pthread_join(t[1], NULL);
	assert_int_equal(r[1].rc, AIC_EDB);
	/* The server's own timeouts would end the first batch after 2.7 s. */
	assert_in_range(aic_clock_us() - start, 900 * AIC_MS, 2500 * AIC_MS);
	open_gate(2);
	pthread_join(t[0], NULL);
	if (r[0].rc != AIC_OK)
		fail_msg("%s", r[0].detail);
	aic_db_close(one);
}

/*
 * Records how it was committed. 0 makes it fail; a negative number writes
 * nothing.
 */
#define KEEP(how)                                                              \
	"INSERT INTO t_kept SELECT n, '" how "'"                               \
	" FROM (VALUES ($1::int)) v (n) WHERE 100 / n > 0"                     \
	" RETURNING n"

static const struct aic_db_stmt keep_lazy = { "t_keep_lazy",
	KEEP("lazy") ", set_config('synchronous_commit', 'off', true)", 1,
	NULL };
static const struct aic_db_stmt keep = { "t_keep", KEEP("durable"), 1,
	&keep_lazy };

static int64_t
kept(int n, const char *how)
{
	char sql[128];

	snprintf(sql, sizeof(sql),
	    "SELECT count(*) FROM t_kept WHERE n = %d AND how = '%s'", n, how);
	return look(sql);
}

/* The batch that waits for the disk writes, fails, or writes nothing. */
static void
a_lazy_commit_is_reported_after_a_later_one_reached_the_disk(void **state)
{
	static const int last[] = { 2, 0, -2 };
	struct rider r[2];
	struct aic_db *one;
	pthread_t t[2];
	size_t i;

	(void)state;
	NEED_SERVER;
	one = open_url(own_url, 1, true);
	assert_true(exec(plain, "CREATE TABLE t_kept (n int, how text)"));
	for (i = 0; i < sizeof(last) / sizeof(last[0]); i++) {
		assert_true(exec(plain, "TRUNCATE t_kept"));
		r[0] = (struct rider){ &keep, one, 1, 5 * AIC_S, AIC_OK, 0,
			"" };
		r[1] = (struct rider){ &keep, one, last[i], 5 * AIC_S, AIC_OK,
			0, "" };
		start_trip(one, r, t, 2);
		pthread_join(t[0], NULL);
		pthread_join(t[1], NULL);
		if (r[0].rc != AIC_OK)
			fail_msg("%s", r[0].detail);
		assert_int_equal(r[1].rc, last[i] == 0 ? AIC_EDB : AIC_OK);
		/*
		 * Both shared the trip; otherwise the first commit would not be
		 * lazy.
		 */
		assert_int_equal(kept(1, "lazy"), 1);
		assert_int_equal(kept(1, "durable"), last[i] > 0 ? 0 : 1);
		assert_int_equal(kept(2, "durable"), last[i] > 0 ? 1 : 0);
		assert_int_equal(kept(2, "lazy"), 0);
	}
	aic_db_close(one);
}

static void
a_database_that_is_down_is_reported_in_time(void **state)
{
	struct aic_db *away = open_url("postgresql://127.0.0.1:1/x", 2, true);
	int64_t start = aic_clock_us();
	struct aic_err err = AIC_ERR_INIT;
	struct aic_db_call c;

	(void)state;
	aic_db_call(&c, &txid);
	assert_int_equal(aic_db_run(away, &c, 1, start + 300 * AIC_MS, &err),
	    AIC_EDB);
	assert_true(aic_clock_us() - start < AIC_S);
	assert_true(err.retry_after_s > 0);
	assert_null(strchr(err.detail, '\n'));
	aic_db_close(away);
}

/*
 * For longer than a stage takes; from then on no batch waits until its
 * deadline.
 */
static void
a_database_that_has_been_down_for_long_is_reported_at_once(void **state)
{
	struct aic_db_conf conf = { .url = "postgresql://127.0.0.1:1/x",
		.schema = "public",
		.pool = 2,
		.timeout_ms = 300,
		.prepare = true };
	struct aic_err err = AIC_ERR_INIT;
	struct aic_db *away;
	struct aic_db_call c;
	int64_t start;

	(void)state;
	assert_int_equal(aic_db_open(&away, &conf, &err), AIC_OK);
	aic_db_call(&c, &txid);
	start = aic_clock_us();
	assert_int_equal(aic_db_run(away, &c, 1, start + 500 * AIC_MS, &err),
	    AIC_EDB);
	start = aic_clock_us();
	assert_int_equal(aic_db_run(away, &c, 1, start + 10 * AIC_S, &err),
	    AIC_EDB);
	assert_true(aic_clock_us() - start < 3 * AIC_S);
	aic_db_close(away);
}

static void
an_invalid_url_is_refused_and_not_quoted(void **state)
{
	static const char *const urls[] = { "postgresql://u:CANARY@[h/d",
		"host=h CANARY", "CANARY",
		"postgresql://u:CANARY@h/d?nonsense=1" };
	struct aic_db_conf conf = { .pool = 1, .timeout_ms = 1000 };
	struct aic_err err;
	struct aic_db *d = NULL;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		err = (struct aic_err)AIC_ERR_INIT;
		conf.url = urls[i];
		assert_int_equal(aic_db_open(&d, &conf, &err), AIC_ECONF);
		assert_null(strstr(err.detail, "CANARY"));
		assert_null(d);
	}
	aic_db_close(NULL);
}

/* --- the limit ---------------------------------------------------------- */

#define LEASE 60000

static int64_t next_user = 1000;

static void
new_id(char id[AIC_ID_SIZE])
{
	struct aic_err err = AIC_ERR_INIT;

	assert_int_equal(aic_id_new(id, &err), AIC_OK);
}

static bool
hold_lease(int64_t user, const char *id, int lease_ms, int64_t limit,
    char lease[AIC_RESERVATION_SIZE])
{
	struct aic_limit_reserve h = { .telegram_id = user,
		.chat_id = id,
		.zone = "UTC",
		.lapse_ms = lease_ms,
		.limit = limit };
	struct aic_db_call c;
	struct aic_err err;
	bool held;

	aic_limit_reserve_bind(&c, &h);
	if (run(db, &c, 1, &err) != AIC_OK)
		fail_msg("%s", err.detail);
	held = aic_limit_reserve_read(&c, lease);
	aic_db_call_done(&c);
	return held;
}

static bool
hold(int64_t user, const char *id, int64_t limit)
{
	char lease[AIC_RESERVATION_SIZE];

	return hold_lease(user, id, LEASE, limit, lease);
}

static bool
drop(int64_t user, const char *lease)
{
	struct aic_db_call c;
	struct aic_err err;
	char id[AIC_ID_SIZE];
	bool got;

	snprintf(id, sizeof(id), "%s", lease + 1); /* (id,day,until) */
	aic_limit_release_bind(&c, user, id);
	assert_int_equal(run(db, &c, 1, &err), AIC_OK);
	got = aic_limit_release_read(&c);
	aic_db_call_done(&c);
	return got;
}

static struct aic_limit_state
peek_in(int64_t user, const char *zone)
{
	struct aic_limit_state st;
	struct aic_db_call c;
	struct aic_err err;

	aic_limit_peek_bind(&c, user, zone);
	if (run(db, &c, 1, &err) != AIC_OK)
		fail_msg("%s", err.detail);
	assert_int_equal(aic_limit_peek_read(&c, 30, &st, &err), AIC_OK);
	aic_db_call_done(&c);
	return st;
}

static int64_t
used(int64_t user)
{
	return peek_in(user, "UTC").used;
}

static bool
reset(int64_t user)
{
	struct aic_db_call c;
	struct aic_err err;
	bool got;

	aic_limit_reset_bind(&c, user, "UTC");
	assert_int_equal(run(db, &c, 1, &err), AIC_OK);
	got = aic_limit_reset_read(&c);
	aic_db_call_done(&c);
	return got;
}

/* The limit at the time of the save; another one than at the reservation. */
#define SAVE_LIMIT 1000

/* -1: not saved; otherwise the count. */
static int64_t
save_text(int64_t user, const char *lease, const char *message,
    const char *response, int64_t tokens)
{
	struct aic_save s = { user, lease, message, response, tokens, NULL,
		SAVE_LIMIT, 0 };
	int64_t n = SAVE_LIMIT + 1;
	struct aic_db_call c;
	struct aic_err err;

	aic_save_bind(&c, &s);
	if (run(db, &c, 1, &err) != AIC_OK)
		fail_msg("%s", err.detail);
	aic_save_read(&c, &n);
	aic_db_call_done(&c);
	return SAVE_LIMIT - n;
}

static int64_t
save(int64_t user, const char *lease)
{
	return save_text(user, lease, "q", "a", 5);
}

static int64_t
find(int64_t user, const char *id)
{
	int64_t n = SAVE_LIMIT + 1;
	struct aic_db_call c[2];
	struct aic_err err;

	aic_save_find_bind(c, user, id);
	assert_int_equal(run(db, c, 2, &err), AIC_OK);
	aic_save_find_read(c, &n);
	aic_db_call_done(&c[0]);
	aic_db_call_done(&c[1]);
	return SAVE_LIMIT - n;
}

static int64_t
stored(int64_t user)
{
	char sql[128];

	snprintf(sql, sizeof(sql),
	    "SELECT count(*) FROM ai_chat_requests"
	    " WHERE telegram_id = %lld",
	    (long long)user);
	return look(sql);
}

/* A complete chat: reserved and saved. */
static void
chat(int64_t user, const char *message, const char *response, int64_t tokens)
{
	char id[AIC_ID_SIZE], lease[AIC_RESERVATION_SIZE];

	new_id(id);
	assert_true(hold_lease(user, id, LEASE, 1000, lease));
	assert_true(save_text(user, lease, message, response, tokens) > 0);
}

static void
no_reservation_is_made_when_the_day_is_used_up(void **state)
{
	char ids[4][AIC_ID_SIZE];
	int64_t user = next_user++;
	int i;

	(void)state;
	NEED_SERVER;
	for (i = 0; i < 4; i++)
		new_id(ids[i]);
	for (i = 0; i < 3; i++) {
		assert_true(hold(user, ids[i], 3));
		assert_int_equal(used(user), i + 1);
	}
	assert_false(hold(user, ids[3], 3));
	assert_int_equal(used(user), 3);
	/*
	 * The same chat again takes no second reservation, even on a full day.
	 */
	assert_true(hold(user, ids[0], 3));
	assert_int_equal(used(user), 3);
	assert_true(hold(next_user++, ids[3], 3));
}

static void
a_limit_of_0_is_no_limit(void **state)
{
	int64_t user = next_user++;
	struct aic_limit_state st = { .used = 1000000 };
	char id[AIC_ID_SIZE];
	int i;

	(void)state;
	NEED_SERVER;
	for (i = 0; i < 40; i++) {
		new_id(id);
		assert_true(hold(user, id, 0));
	}
	new_id(id);
	assert_false(hold(user, id, 40));
	assert_true(hold(user, id, 0));
	assert_false(aic_limit_is_used_up(&st));
	assert_int_equal(aic_limit_left(&st), -1);
	st.limit = st.used + 1;
	assert_int_equal(aic_limit_left(&st), 1);
	assert_false(aic_limit_is_used_up(&st));
	st.limit = 1;
	assert_int_equal(aic_limit_left(&st), 0);
	assert_true(aic_limit_is_used_up(&st));
}

static void
a_reservation_is_released_once(void **state)
{
	char a[AIC_RESERVATION_SIZE], b[AIC_RESERVATION_SIZE], id[AIC_ID_SIZE];
	int64_t user = next_user++;

	(void)state;
	NEED_SERVER;
	new_id(id);
	assert_true(hold_lease(user, id, LEASE, 2, a));
	new_id(id);
	assert_true(hold_lease(user, id, LEASE, 2, b));
	assert_true(drop(user, a));
	assert_int_equal(used(user), 1);
	assert_false(drop(user, a));
	assert_int_equal(used(user), 1);
	assert_false(drop(next_user++, b)); /* of another user */
	assert_int_equal(used(user), 1);
	new_id(id);
	assert_true(hold(user, id, 2));
}

static void
a_reservation_lapses_without_any_action(void **state)
{
	char id[AIC_ID_SIZE], lease[AIC_RESERVATION_SIZE];
	int64_t user = next_user++;

	(void)state;
	NEED_SERVER;
	new_id(id);
	assert_true(hold_lease(user, id, 300, 1, lease));
	assert_int_equal(used(user), 1);
	aic_clock_sleep(aic_clock_us() + 350 * AIC_MS);
	assert_int_equal(used(user), 0);
	new_id(id);
	assert_true(hold(user, id, 1));
	assert_int_equal(used(user), 1);
}

struct racer {
	int64_t user;
	int got;
};

static void *
race(void *arg)
{
	struct racer *r = arg;
	struct aic_limit_reserve h = { .telegram_id = r->user,
		.zone = "UTC",
		.lapse_ms = LEASE,
		.limit = 30 };
	char id[AIC_ID_SIZE], lease[AIC_RESERVATION_SIZE];
	struct aic_err err = AIC_ERR_INIT;
	struct aic_db_call c;

	if (aic_id_new(id, &err))
		return NULL;
	h.chat_id = id;
	aic_limit_reserve_bind(&c, &h);
	if (aic_db_run(db, &c, 1, soon(), &err) == AIC_OK) {
		r->got = aic_limit_reserve_read(&c, lease);
		aic_db_call_done(&c);
	}
	return NULL;
}

static void
parallel_reservations_never_exceed_the_limit(void **state)
{
	struct racer r[60];
	pthread_t t[60];
	int64_t user = next_user++;
	int i, sum = 0;

	(void)state;
	NEED_SERVER;
	for (i = 0; i < 60; i++) {
		r[i] = (struct racer){ user, 0 };
		pthread_create(&t[i], NULL, race, &r[i]);
	}
	for (i = 0; i < 60; i++) {
		pthread_join(t[i], NULL);
		sum += r[i].got;
	}
	assert_int_equal(sum, 30);
	assert_int_equal(used(user), 30);
}

static void
reading_the_limit_changes_nothing(void **state)
{
	int64_t user = next_user++;
	struct aic_limit_state st;

	(void)state;
	NEED_SERVER;
	st = peek_in(user, "UTC");
	assert_false(st.known);
	assert_int_equal(st.used, 0);
	assert_int_equal(st.limit, 30);
	assert_false(peek_in(user, "UTC").known);
	chat(user, "q", "a", 1);
	st = peek_in(user, "UTC");
	assert_true(st.known);
	assert_int_equal(st.used, 1);
}

static void
the_day_ends_at_the_next_midnight_of_the_zone(void **state)
{
	static const struct {
		const char *zone, *pattern;
	} rows[] = {
		{ "UTC", "^20..-..-..T00:00:00\\+00:00$" },
		{ "Europe/Moscow", "^20..-..-..T00:00:00\\+03:00$" },
		{ "Asia/Kolkata", "^20..-..-..T00:00:00\\+05:30$" },
		{ "America/Phoenix", "^20..-..-..T00:00:00-07:00$" },
		{ "Pacific/Marquesas", "^20..-..-..T00:00:00-09:30$" },
		{ "Pacific/Kiritimati", "^20..-..-..T00:00:00\\+14:00$" },
	};
	struct aic_limit_state st;
	char sql[300];
	regex_t re;
	size_t i;

	(void)state;
	NEED_SERVER;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		st = peek_in(1, rows[i].zone);
		assert_int_equal(regcomp(&re, rows[i].pattern,
				     REG_EXTENDED | REG_NOSUB),
		    0);
		if (regexec(&re, st.reset_at, 0, NULL, 0) != 0)
			fail_msg("%s: %s", rows[i].zone, st.reset_at);
		regfree(&re);
		assert_in_range(st.reset_in_s, 1, 86400);
		/*
		 * The database is queried a moment later. Only midnight in
		 * between would matter.
		 */
		snprintf(sql, sizeof(sql),
		    "SELECT (abs(extract(epoch FROM"
		    " '%s'::timestamptz - now()) - %d) < 5 AND"
		    " '%s'::date + 1 = left('%s', 10)::date)::int",
		    st.reset_at, (int)st.reset_in_s, st.day, st.reset_at);
		assert_int_equal(look(sql), 1);
	}
}

static void
a_counter_of_yesterday_restarts_and_one_of_tomorrow_stays(void **state)
{
	char id[AIC_ID_SIZE], sql[300], lease[AIC_RESERVATION_SIZE];
	int64_t user = next_user++;

	(void)state;
	NEED_SERVER;
	chat(user, "q", "a", 1);
	snprintf(sql, sizeof(sql),
	    "UPDATE ai_chat_daily_limits SET"
	    " request_count = 30, last_reset_date ="
	    " (now() AT TIME ZONE 'UTC')::date - 1 WHERE telegram_id = %lld",
	    (long long)user);
	assert_true(exec(plain, sql));
	assert_int_equal(used(user), 0);
	new_id(id);
	assert_true(hold_lease(user, id, LEASE, 30, lease));
	assert_int_equal(used(user), 1);
	assert_int_equal(save(user, lease), 1);

	/* A clock that was set back gives no second allowance. */
	snprintf(sql, sizeof(sql),
	    "UPDATE ai_chat_daily_limits SET"
	    " request_count = 30, last_reset_date ="
	    " (now() AT TIME ZONE 'UTC')::date + 1 WHERE telegram_id = %lld",
	    (long long)user);
	assert_true(exec(plain, sql));
	assert_int_equal(used(user), 30);
	new_id(id);
	assert_false(hold(user, id, 30));
	assert_true(hold_lease(user, id, LEASE, 31, lease));
	assert_non_null(strstr(lease, peek_in(user, "UTC").day));
}

static void
a_reset_sets_the_count_to_0_and_keeps_chats_in_flight(void **state)
{
	char id[AIC_ID_SIZE], lease[AIC_RESERVATION_SIZE];
	int64_t user = next_user++;

	(void)state;
	NEED_SERVER;
	assert_false(reset(user));
	assert_false(peek_in(user, "UTC").known);
	chat(user, "q", "a", 1);
	chat(user, "q", "a", 1);
	new_id(id);
	assert_true(hold_lease(user, id, LEASE, 30, lease));
	assert_int_equal(used(user), 3);
	assert_true(reset(user));
	assert_int_equal(used(user), 1);
	assert_true(reset(user));
	assert_int_equal(save(user, lease), 1);
	assert_int_equal(used(user), 1);
}

static void
a_reset_keeps_times_that_are_not_in_the_future(void **state)
{
	static const char *const times[] = { "NULL", "now() - interval '1 h'" };
	int64_t user = next_user++;
	char sql[400];
	size_t i;

	(void)state;
	NEED_SERVER;
	chat(user, "q", "a", 1);
	for (i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		snprintf(sql, sizeof(sql),
		    "CREATE TEMPORARY TABLE was AS SELECT (%s)::timestamptz AS t;"
		    "UPDATE ai_chat_daily_limits SET created_at = t,"
		    " context_from = t FROM was WHERE telegram_id = %lld",
		    times[i], (long long)user);
		assert_true(exec(plain, sql));
		assert_true(reset(user));
		snprintf(sql, sizeof(sql),
		    "SELECT count(*) FROM ai_chat_daily_limits, was"
		    " WHERE created_at IS NOT DISTINCT FROM t"
		    " AND context_from IS NOT DISTINCT FROM t"
		    " AND telegram_id = %lld",
		    (long long)user);
		assert_int_equal(look(sql), 1);
		assert_true(exec(plain, "DROP TABLE was"));
	}
}

static void *
reset_user(void *arg)
{
	reset(*(int64_t *)arg);
	return NULL;
}

/*
 * The user is erased while a reset waits for the user's row. The row stays new.
 */
static void
a_reset_that_waited_for_the_row_does_not_move_created_at_back(void **state)
{
	int64_t user = next_user++, until = soon();
	pthread_t thread;
	char sql[200];

	(void)state;
	NEED_SERVER;
	chat(user, "q", "a", 1);
	snprintf(sql, sizeof(sql),
	    "BEGIN; SELECT FROM ai_chat_daily_limits WHERE telegram_id = %lld"
	    " FOR UPDATE",
	    (long long)user);
	assert_true(exec(plain, sql));
	pthread_create(&thread, NULL, reset_user, &user);
	while (look("SELECT count(*) FROM pg_locks WHERE NOT granted AND"
		    " transactionid = pg_current_xact_id()::xid") == 0 &&
	    aic_clock_us() < until)
		aic_clock_sleep(aic_clock_us() + 10 * AIC_MS);
	snprintf(sql, sizeof(sql),
	    "CREATE TEMPORARY TABLE was AS SELECT clock_timestamp() AS t;"
	    "UPDATE ai_chat_daily_limits SET created_at = t FROM was"
	    " WHERE telegram_id = %lld; COMMIT",
	    (long long)user);
	assert_true(exec(plain, sql));
	pthread_join(thread, NULL);
	snprintf(sql, sizeof(sql),
	    "SELECT count(*) FROM ai_chat_daily_limits, was"
	    " WHERE created_at = t AND telegram_id = %lld",
	    (long long)user);
	assert_int_equal(look(sql), 1);
	assert_true(exec(plain, "DROP TABLE was"));
}

static void
after_a_clock_that_was_ahead_a_reset_opens_the_current_day(void **state)
{
	char id[AIC_ID_SIZE], lease[AIC_RESERVATION_SIZE],
	    ahead[AIC_RESERVATION_SIZE];
	int64_t user = next_user++;
	struct aic_limit_state st;
	char sql[600];

	(void)state;
	NEED_SERVER;
	chat(user, "q", "a", 1);
	new_id(id);
	assert_true(hold_lease(user, id, LEASE, 30, ahead));
	/* All values that a clock leaves that was ten years ahead. */
	snprintf(sql, sizeof(sql),
	    "UPDATE ai_chat_daily_limits SET request_count = 30,"
	    " last_reset_date = last_reset_date + 3650,"
	    " leases = ARRAY[ROW((leases[1]).chat_id, last_reset_date + 3650,"
	    "  (leases[1]).until + interval '10 years')::ai_chat_lease],"
	    " created_at = now() + interval '10 years',"
	    " context_from = now() + interval '10 years'"
	    " WHERE telegram_id = %lld",
	    (long long)user);
	assert_true(exec(plain, sql));
	new_id(id);
	assert_false(hold(user, id, 30));
	assert_true(peek_in(user, "UTC").reset_in_s > 3600 * 24 * 365);
	assert_true(reset(user));
	st = peek_in(user, "UTC");
	assert_int_equal(st.used, 0);
	assert_int_equal(st.reservations, 0);
	assert_in_range(st.reset_in_s, 1, 86400);
	snprintf(sql, sizeof(sql),
	    "SELECT count(*) FROM ai_chat_daily_limits"
	    " WHERE created_at <= now() AND context_from <= now()"
	    " AND telegram_id = %lld",
	    (long long)user);
	assert_int_equal(look(sql), 1);
	assert_true(hold_lease(user, id, LEASE, 30, lease));
	assert_int_equal(save(user, lease), 1);
	assert_int_equal(used(user), 1);
	/* The chat that was in flight meanwhile has lost its reservation. */
	assert_int_equal(save(user, ahead), -1);
}

/* --- save --------------------------------------------------------------- */

static void
a_save_counts_once_however_often_it_is_made(void **state)
{
	char id[AIC_ID_SIZE], lease[AIC_RESERVATION_SIZE];
	int64_t user = next_user++;

	(void)state;
	NEED_SERVER;
	new_id(id);
	assert_true(hold_lease(user, id, LEASE, 30, lease));
	assert_int_equal(find(user, id), -1);
	assert_int_equal(save(user, lease), 1);
	assert_int_equal(used(user), 1);
	assert_int_equal(save(user, lease), -1);
	assert_int_equal(find(user, id), 1);
	assert_int_equal(used(user), 1);
	assert_int_equal(stored(user), 1);
	assert_false(drop(user, lease)); /* no reservation is left */
	assert_int_equal(used(user), 1);
}

/* Workers may have different limits while a setting is being changed. */
static void
a_save_above_the_limit_reports_0_left_and_not_less(void **state)
{
	char id[AIC_ID_SIZE], lease[3][AIC_RESERVATION_SIZE];
	int64_t user = next_user++, left = INT64_MAX;
	struct aic_save s = { .telegram_id = user,
		.reservation = lease[2],
		.message = "q",
		.response = "a",
		.limit = 1 };
	struct aic_db_call c;
	struct aic_err err;
	int i;

	(void)state;
	NEED_SERVER;
	for (i = 0; i < 3; i++) {
		new_id(id);
		assert_true(hold_lease(user, id, LEASE, 30, lease[i]));
	}
	assert_int_equal(save(user, lease[0]), 1);
	assert_int_equal(save(user, lease[1]), 2);
	aic_save_bind(&c, &s);
	assert_int_equal(run(db, &c, 1, &err), AIC_OK);
	assert_true(aic_save_read(&c, &left));
	aic_db_call_done(&c);
	assert_int_equal(left, 0);
}

/*
 * The reservation still exists, but the caller was told that the save failed.
 */
static void
a_save_after_the_end_of_its_stage_changes_nothing(void **state)
{
	char id[AIC_ID_SIZE], lease[AIC_RESERVATION_SIZE];
	int64_t user = next_user++, left = 0;
	struct aic_save s = { .telegram_id = user,
		.reservation = lease,
		.message = "q",
		.response = "a",
		.limit = 30,
		.early_ms = LEASE };
	struct aic_db_call c;
	struct aic_err err;

	(void)state;
	NEED_SERVER;
	new_id(id);
	assert_true(hold_lease(user, id, LEASE, 30, lease));
	aic_save_bind(&c, &s);
	assert_int_equal(run(db, &c, 1, &err), AIC_OK);
	assert_false(aic_save_read(&c, &left));
	aic_db_call_done(&c);
	assert_int_equal(stored(user), 0);
	assert_int_equal(save(user, lease), 1);
}

static void
a_save_without_a_reservation_changes_nothing(void **state)
{
	char id[AIC_ID_SIZE], lease[AIC_RESERVATION_SIZE];
	int64_t user = next_user++;

	(void)state;
	NEED_SERVER;
	new_id(id);
	assert_true(hold_lease(user, id, LEASE, 30, lease));
	assert_true(drop(user, lease));
	assert_int_equal(save(user, lease), -1);
	assert_int_equal(used(user), 0);
	assert_int_equal(stored(user), 0);
	assert_int_equal(find(user, id), -1);
}

static void
a_save_whose_reservation_was_removed_changes_nothing(void **state)
{
	char late[AIC_RESERVATION_SIZE], other[AIC_RESERVATION_SIZE],
	    id[AIC_ID_SIZE];
	int64_t user = next_user++;

	(void)state;
	NEED_SERVER;
	new_id(id);
	assert_true(hold_lease(user, id, 1, 1, late));
	aic_clock_sleep(aic_clock_us() + 20 * AIC_MS);
	new_id(id);
	assert_true(hold_lease(user, id, LEASE, 1, other));
	assert_int_equal(save(user, late), -1);
	assert_int_equal(stored(user), 0);
	assert_int_equal(save(user, other), 1);
	assert_int_equal(used(user), 1);
}

static void
a_reservation_is_valid_for_its_own_user_only(void **state)
{
	int64_t user = next_user++, other = next_user++;
	char id[AIC_ID_SIZE], lease[AIC_RESERVATION_SIZE];

	(void)state;
	NEED_SERVER;
	chat(other, "q", "a", 1);
	new_id(id);
	assert_true(hold_lease(user, id, LEASE, 30, lease));
	assert_int_equal(save(other, lease), -1);
	assert_int_equal(stored(other), 1);
	assert_int_equal(save(user, lease), 1);
}

static void
a_chat_of_yesterday_is_stored_there_and_not_counted_today(void **state)
{
	char id[AIC_ID_SIZE], lease[AIC_RESERVATION_SIZE], sql[300];
	int64_t user = next_user++;

	(void)state;
	NEED_SERVER;
	new_id(id);
	assert_true(hold_lease(user, id, LEASE, 30, lease));
	snprintf(sql, sizeof(sql),
	    "UPDATE ai_chat_daily_limits SET"
	    " last_reset_date = last_reset_date + 1 WHERE telegram_id = %lld",
	    (long long)user);
	assert_true(exec(plain, sql));
	assert_int_equal(save(user, lease), 0);
	snprintf(sql, sizeof(sql),
	    "SELECT count(*) FROM ai_chat_requests r"
	    " JOIN ai_chat_daily_limits l USING (telegram_id) WHERE"
	    " telegram_id = %lld AND request_date = last_reset_date - 1",
	    (long long)user);
	assert_int_equal(look(sql), 1);
}

/* --- what is read ------------------------------------------------------- */

/* The context of a user as the database returns it. */
static struct aic_context
context_of(int64_t user, int64_t exchanges, int64_t ttl_s)
{
	struct aic_context_terms terms = { .exchanges = exchanges,
		.ttl_s = ttl_s,
		.now_us = (int64_t)time(NULL) * AIC_S };
	struct aic_context c = { .n = 0 };
	struct aic_db_call call;
	struct aic_err err;

	aic_context_bind(&call, user, &terms);
	assert_int_equal(run(db, &call, 1, &err), AIC_OK);
	aic_context_read(&c, &call, &terms);
	return c;
}

static void
context_is_the_last_exchanges_oldest_first(void **state)
{
	int64_t user = next_user++;
	struct aic_context c;
	char text[16];
	int i, n;

	(void)state;
	NEED_SERVER;
	for (i = 1; i <= 7; i++) {
		snprintf(text, sizeof(text), "q%d", i);
		chat(user, text, "a", 1);
	}
	for (n = 0; n <= 8; n++) {
		c = context_of(user, n, 0);
		assert_int_equal(c.n, n < 7 ? n : 7);
		for (i = 0; i < c.n; i++) {
			snprintf(text, sizeof(text), "q%d", 7 - c.n + i + 1);
			assert_string_equal(c.said[i].message, text);
			assert_string_equal(c.said[i].response, "a");
			assert_in_range(time(NULL) + 1 -
				c.said[i].at_us / AIC_S,
			    0, 60);
		}
		aic_context_done(&c);
	}
	c = context_of(next_user++, 5, 0);
	assert_int_equal(c.n, 0);
	aic_context_done(&c);
}

static void
exchanges_of_one_moment_keep_the_order_of_their_ids(void **state)
{
	int64_t user = next_user++;
	struct aic_db_call calls[2];
	struct aic_context c;
	struct aic_err err;
	char sql[300];

	(void)state;
	NEED_SERVER;
	snprintf(sql, sizeof(sql),
	    "INSERT INTO ai_chat_requests (telegram_id,"
	    " message, response, request_date, created_at) SELECT %lld, n, n,"
	    " '2025-01-01', '2025-01-01' FROM generate_series(1, 5) n",
	    (long long)user);
	assert_true(exec(plain, sql));
	c = context_of(user, 2, 0);
	aic_history_bind(calls, user, 2, 1);
	assert_int_equal(run(db, calls, 2, &err), AIC_OK);
	assert_string_equal(c.said[0].message, "4");
	assert_string_equal(c.said[1].message, "5");
	assert_string_equal(aic_history_get(calls, 0).message, "4");
	assert_string_equal(aic_history_get(calls, 1).message, "3");
	aic_context_done(&c);
	aic_db_call_done(&calls[0]);
	aic_db_call_done(&calls[1]);
}

static void
history_is_a_page_newest_first_and_the_total(void **state)
{
	static const struct {
		int64_t limit, offset;
		int count, first;
	} rows[] = { { 10, 0, 4, 4 }, { 2, 0, 2, 4 }, { 2, 2, 2, 2 },
		{ 2, 3, 1, 1 }, { 2, 4, 0, 0 }, { 100, INT64_MAX, 0, 0 } };
	int64_t user = next_user++;
	struct aic_history_item item;
	struct aic_db_call c[2];
	struct aic_err err;
	char text[16];
	size_t i;
	int n;

	(void)state;
	NEED_SERVER;
	for (n = 1; n <= 4; n++) {
		snprintf(text, sizeof(text), "q%d", n);
		chat(user, text, "a", n * 10);
	}
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		aic_history_bind(c, user, rows[i].limit, rows[i].offset);
		assert_int_equal(run(db, c, 2, &err), AIC_OK);
		assert_int_equal(aic_history_total(c), 4);
		assert_int_equal(aic_history_count(c), rows[i].count);
		if (rows[i].count > 0) {
			item = aic_history_get(c, 0);
			snprintf(text, sizeof(text), "q%d", rows[i].first);
			assert_string_equal(item.message, text);
			assert_string_equal(item.response, "a");
			assert_int_equal(item.tokens, rows[i].first * 10);
			assert_true(item.id > 0);
			assert_int_equal(strlen(item.created_at), 32);
			assert_string_equal(item.created_at + 26, "+00:00");
			assert_int_equal(item.created_at[10], 'T');
		}
		aic_db_call_done(&c[0]);
		aic_db_call_done(&c[1]);
	}
}

static void
texts_are_read_as_they_were_stored(void **state)
{
	static const char hostile[] = "'; DROP TABLE x; -- \\ \" $1\n\t\x01 😀 "
				      "{\"a\":[1]} {1,2} \\N \xef\xbf\xbd";
	int64_t user = next_user++;
	struct aic_context c;

	(void)state;
	NEED_SERVER;
	chat(user, hostile, hostile, 0);
	c = context_of(user, 1, 0);
	assert_string_equal(c.said[0].message, hostile);
	assert_string_equal(c.said[0].response, hostile);
	aic_context_done(&c);
}

static void
check_stats(int64_t user, int64_t days, int64_t requests, int64_t tokens,
    const char *per_day, const char *per_request)
{
	struct aic_history_stats st;
	struct aic_db_call c;
	struct aic_err err;

	aic_history_stats_bind(&c, user, days, "UTC");
	if (run(db, &c, 1, &err) != AIC_OK)
		fail_msg("%s", err.detail);
	st = aic_history_stats_read(&c);
	assert_int_equal(st.requests, requests);
	assert_int_equal(st.tokens, tokens);
	assert_string_equal(st.requests_per_day, per_day);
	assert_string_equal(st.tokens_per_request, per_request);
	aic_db_call_done(&c);
}

static void
stats_are_sums_over_calendar_days_today_included(void **state)
{
	int64_t user = next_user++;
	char sql[500];

	(void)state;
	NEED_SERVER;
	check_stats(user, 7, 0, 0, "0.00", "0.00");
	/*
	 * One chat today, two yesterday, three seven days ago, and one a year
	 * ago.
	 */
	snprintf(sql, sizeof(sql),
	    "INSERT INTO ai_chat_requests (telegram_id,"
	    " message, response, tokens_used, request_date, created_at) SELECT"
	    " %lld, 'q', 'a', t, (now() AT TIME ZONE 'UTC')::date - d,"
	    " now() - d * interval '1 day' FROM (VALUES (0, 10), (1, 11),"
	    " (1, 12), (7, 13), (7, 14), (7, null), (364, 100)) x (d, t)",
	    (long long)user);
	assert_true(exec(plain, sql));
	check_stats(user, 1, 1, 10, "1.00", "10.00");
	check_stats(user, 2, 3, 33, "1.50", "11.00");
	check_stats(user, 7, 3, 33, "0.43", "11.00");
	check_stats(user, 8, 6, 60, "0.75", "10.00");
	check_stats(user, 364, 6, 60, "0.02", "10.00");
	check_stats(user, 365, 7, 160, "0.02", "22.86");
}

UNIT_MAIN_WITH(make_database, drop_database, T(parameters_arrive_unchanged),
    T(a_batch_is_one_transaction_in_order),
    T(one_statement_may_come_twice_in_a_batch),
    T(a_refused_statement_undoes_its_batch_and_leaves_no_results),
    T(a_durable_commit_replaces_synchronous_commit_off_only),
    T(options_of_the_url_replace_only_the_settings_that_they_name),
    T(a_stale_prepared_statement_is_prepared_again),
    T(a_statement_that_is_wrong_closes_no_connection),
    T(a_session_shared_by_a_pooler_gets_no_prepared_statements),
    T(a_refusal_concerns_all_unless_the_reason_may_be_in_one_row),
    T(a_failure_has_the_sqlstate_of_a_refusal_alone),
    T(a_batch_ends_by_its_deadline_and_the_next_one_succeeds),
    T(a_batch_whose_connection_was_terminated_is_run_again),
    T(a_statement_that_always_breaks_its_connection_ends_by_the_deadline),
    T(a_statement_that_the_session_lost_is_sent_as_text),
    T(a_connection_that_refuses_to_write_is_replaced),
    T(when_one_connection_is_silent_the_idle_ones_are_not_tried),
    T(a_batch_that_a_deadlock_has_ended_is_run_again),
    T(a_batch_that_waits_for_a_connection_ends_by_its_deadline),
    T(batches_that_share_a_trip_succeed_or_fail_independently),
    T(a_batch_behind_one_that_waits_ends_by_its_deadline),
    T(a_lazy_commit_is_reported_after_a_later_one_reached_the_disk),
    T(a_database_that_is_down_is_reported_in_time),
    T(a_database_that_has_been_down_for_long_is_reported_at_once),
    T(an_invalid_url_is_refused_and_not_quoted),
    T(no_reservation_is_made_when_the_day_is_used_up),
    T(a_limit_of_0_is_no_limit), T(a_reservation_is_released_once),
    T(a_reservation_lapses_without_any_action),
    T(parallel_reservations_never_exceed_the_limit),
    T(reading_the_limit_changes_nothing),
    T(the_day_ends_at_the_next_midnight_of_the_zone),
    T(a_counter_of_yesterday_restarts_and_one_of_tomorrow_stays),
    T(a_reset_sets_the_count_to_0_and_keeps_chats_in_flight),
    T(a_reset_keeps_times_that_are_not_in_the_future),
    T(a_reset_that_waited_for_the_row_does_not_move_created_at_back),
    T(after_a_clock_that_was_ahead_a_reset_opens_the_current_day),
    T(a_save_counts_once_however_often_it_is_made),
    T(a_save_above_the_limit_reports_0_left_and_not_less),
    T(a_save_after_the_end_of_its_stage_changes_nothing),
    T(a_save_without_a_reservation_changes_nothing),
    T(a_save_whose_reservation_was_removed_changes_nothing),
    T(a_reservation_is_valid_for_its_own_user_only),
    T(a_chat_of_yesterday_is_stored_there_and_not_counted_today),
    T(context_is_the_last_exchanges_oldest_first),
    T(exchanges_of_one_moment_keep_the_order_of_their_ids),
    T(history_is_a_page_newest_first_and_the_total),
    T(texts_are_read_as_they_were_stored),
    T(stats_are_sums_over_calendar_days_today_included))
