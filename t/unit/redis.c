#include "config.h"

#include "lib/redis.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

#define CANARY "canary"

/* --- URLs --------------------------------------------------------------- */

static void
a_url_gives_address_user_password_and_database(void **state)
{
	static const struct {
		const char *url, *path, *host;
		int port, db;
		const char *user, *password;
	} rows[] = {
		{ "redis://h", NULL, "h", 6379, 0, NULL, NULL },
		{ "redis://h/", NULL, "h", 6379, 0, NULL, NULL },
		{ "redis://h:1", NULL, "h", 1, 0, NULL, NULL },
		{ "redis://h:65535/0", NULL, "h", 65535, 0, NULL, NULL },
		{ "redis://a-b.c_d.example/9999", NULL, "a-b.c_d.example", 6379,
		    9999, NULL, NULL },
		{ "redis://127.0.0.1:6380/3", NULL, "127.0.0.1", 6380, 3, NULL,
		    NULL },
		{ "redis://[::1]", NULL, "::1", 6379, 0, NULL, NULL },
		{ "redis://:p@[fe80::1]:7/2", NULL, "fe80::1", 7, 2, NULL,
		    "p" },
		{ "redis://:p@h", NULL, "h", 6379, 0, NULL, "p" },
		{ "redis://u:p@h", NULL, "h", 6379, 0, "u", "p" },
		{ "redis://u:a:b@h", NULL, "h", 6379, 0, "u", "a:b" },
		{ "redis://u%3a:%40%2F%25%3f%23%c3%a4@h", NULL, "h", 6379, 0,
		    "u:", "@/%?#\xc3\xa4" },
		{ "unix:///s", "/s", NULL, 0, 0, NULL, NULL },
		{ "unix:///run/r.sock?db=15", "/run/r.sock", NULL, 0, 15, NULL,
		    NULL },
		{ "unix:///a%20b%3Fc", "/a b?c", NULL, 0, 0, NULL, NULL },
		{ "unix://u:p@/s?db=1", "/s", NULL, 0, 1, "u", "p" },
	};
	struct aic_err err = AIC_ERR_INIT;
	struct aic_redis_where w;
	size_t i;

	(void)state;
#define SAME(a, b)                                                             \
	do {                                                                   \
		if (b)                                                         \
			assert_string_equal(a, b);                             \
		else                                                           \
			assert_null(a);                                        \
	} while (0)
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(aic_redis_parse(&w, rows[i].url, &err),
		    AIC_OK);
		SAME(w.path, rows[i].path);
		SAME(w.host, rows[i].host);
		SAME(w.user, rows[i].user);
		SAME(w.password, rows[i].password);
		assert_int_equal(w.port, rows[i].port);
		assert_int_equal(w.db, rows[i].db);
		aic_redis_where_done(&w);
		assert_null(w.password);
	}
}

static void
other_urls_are_refused_and_not_quoted(void **state)
{
	static const char *const urls[] = {
		"", "canary", "redis:", "redis:/h", "redis:canary",
		"REDIS://canary", "rediss://:canary@h", "http://canary",
		"redis://", "redis://:canary@", "redis://:canary@:6379",
		"redis:///0", "redis://canary@h", "redis://u:@canary",
		"redis://:@canary", "redis://:canary@h:", "redis://:canary@h:0",
		"redis://:canary@h:65536", "redis://:canary@h:+1",
		"redis://:canary@h:1x", "redis://:canary@h:999999999999",
		"redis://:canary@h/x", "redis://:canary@h/-1",
		"redis://:canary@h/10000", "redis://:canary@h/1/",
		"redis://:canary@h/1?x", "redis://:canary@h?db=1",
		"redis://:canary@h#1", "redis://:canary%@h",
		"redis://:canary%4@h", "redis://:canary%4g@h",
		"redis://:canary%00@h", "redis://:canary@x@h",
		"redis://:canary/x@h", "redis://:canary@a b",
		"redis://:canary@a%41", "redis://:canary@[::1",
		"redis://:canary@[]", "redis://:canary@[::1]1",
		"redis://:canary@[h]", "redis://:canary@::1",
		"redis://a,canary", "unix://", "unix://canary", "unix:///",
		"unix:canary", "unix://:canary@s", "unix:///canary?",
		"unix:///canary?db=", "unix:///canary?db=x",
		"unix:///canary?x=1", "unix:///canary#x",
		"unix:///canary?db=1&x", "unix:///canary%00",
		"unix:///canary/12345678901234567890123456789012345678901234567"
		"890123456789012345678901234567890123456789012345678901234567"
	};
	struct aic_redis_where w;
	struct aic_err err;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		err = (struct aic_err)AIC_ERR_INIT;
		if (aic_redis_parse(&w, urls[i], &err) != AIC_ECONF)
			fail_msg("taken: %s", urls[i]);
		assert_null(strstr(err.detail, CANARY));
		assert_non_null(strstr(err.detail, "REDIS_URL"));
	}
}

/* --- replies ------------------------------------------------------------ */

/* Appends a reply as text: "0.1=abc" is item 1 of reply 0. */
static void
note(void *arg, const struct aic_redis_reply *r)
{
	static const char *const type[] = { "nil", "", "+", "-", ":" };
	char *to = arg;
	size_t n = strlen(to);

	snprintf(to + n, 500 - n, "%s%d.%d=%s%.*s", n ? " " : "", r->command,
	    r->item, type[r->type], (int)r->len, r->data);
}

static enum aic_redis_end
read_in(const char *bytes, size_t len, int replies, int items, char *to)
{
	struct aic_redis_ask ask = { .replies = replies,
		.items = items,
		.bytes_max = 1000,
		.on_reply = note,
		.arg = to };

	*to = '\0';
	return aic_redis_read(&ask, bytes, len);
}

static void
each_reply_is_passed_to_the_callback(void **state)
{
	static const struct {
		int replies, items;
		const char *bytes, *got;
	} rows[] = {
		{ 1, 0, "+OK\r\n", "0.-1=+OK" },
		{ 1, 0, ":7\r\n", "0.-1=:" },
		{ 1, 0, "$3\r\nabc\r\n", "0.-1=abc" },
		{ 1, 0, "$-1\r\n", "0.-1=nil" },
		{ 3, 0, "+OK\r\n$-1\r\n-ERR x\r\n",
		    "0.-1=+OK 1.-1=nil 2.-1=-ERR x" },
		{ 1, 2, "*2\r\n$1\r\na\r\n$-1\r\n", "0.0=a 0.1=nil" },
		{ 1, 2, "*2\r\n-ERR x\r\n:1\r\n", "0.0=-ERR x 0.1=:" },
		{ 1, 2, "-LOADING x\r\n", "0.-1=-LOADING x" },
		{ 2, 1, "*1\r\n$0\r\n\r\n*1\r\n+x\r\n", "0.0= 1.0=+x" },
	};
	char got[500];
	size_t i;

	(void)state;
	if (!aic_redis_is_built_in())
		SKIP("built without hiredis");
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(read_in(rows[i].bytes, strlen(rows[i].bytes),
				     rows[i].replies, rows[i].items, got),
		    AIC_REDIS_ANSWERED);
		assert_string_equal(got, rows[i].got);
	}
}

static void
a_reply_of_another_shape_is_an_error(void **state)
{
	static const struct {
		int replies, items;
		const char *bytes;
	} rows[] = {
		{ 1, 0, "HTTP/1.1 400 Bad Request\r\n" },
		{ 1, 0, "*1\r\n$1\r\na\r\n" }, /* an array */
		{ 1, 0, "*0\r\n" },
		{ 1, 0, "+OK\r\n+OK\r\n" }, /* one reply too many */
		{ 1, 0, "+OK\r\n+" },
		{ 1, 0, ":99999999999999999999\r\n" },
		{ 1, 0, "$x\r\n" },
		{ 1, 0, "$-2\r\n" },
		{ 1, 2, "+OK\r\n" }, /* not an array */
		{ 1, 2, "$-1\r\n" },
		{ 1, 2, "*-1\r\n" },
		{ 1, 2, "*0\r\n" },
		{ 1, 2, "*1\r\n$1\r\na\r\n" }, /* too short */
		{ 1, 2, "*3\r\n$1\r\na\r\n$-1\r\n$-1\r\n" }, /* too long */
		{ 1, 2, "*2147483647\r\n" },
		{ 1, 2, "*4294967298\r\n" },
		{ 1, 2, "*2\r\n*1\r\n$1\r\na\r\n$-1\r\n" }, /* nested */
		{ 1, 2,
		    "*2\r\n*2\r\n*2\r\n*2\r\n*2\r\n*2\r\n*2\r\n*2\r\n*2\r\n" },
	};
	char got[500];
	size_t i;

	(void)state;
	if (!aic_redis_is_built_in())
		SKIP("built without hiredis");
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (read_in(rows[i].bytes, strlen(rows[i].bytes),
			rows[i].replies, rows[i].items,
			got) != AIC_REDIS_BROKEN)
			fail_msg("not broken: %s", rows[i].bytes);
}

static void
the_rest_of_an_incomplete_reply_is_awaited(void **state)
{
	static const char whole[] = "*2\r\n$3\r\nabc\r\n$-1\r\n";
	char got[500];
	size_t len;

	(void)state;
	if (!aic_redis_is_built_in())
		SKIP("built without hiredis");
	for (len = 0; len < sizeof(whole) - 1; len++)
		assert_int_equal(read_in(whole, len, 1, 2, got),
		    AIC_REDIS_TIMEOUT);
	assert_int_equal(read_in(LIT("$9223372036854775807\r\nabc"), 1, 0, got),
	    AIC_REDIS_TIMEOUT);
}

static void
a_reply_over_the_ceiling_is_an_error(void **state)
{
	char *bytes = malloc(1002), got[500];

	(void)state;
	if (!aic_redis_is_built_in())
		SKIP("built without hiredis");
	memset(bytes, 'x', 1002);
	bytes[0] = '+';
	assert_int_equal(read_in(bytes, 1000, 1, 0, got), AIC_REDIS_TIMEOUT);
	assert_int_equal(read_in(bytes, 1001, 1, 0, got), AIC_REDIS_BROKEN);
	free(bytes);
}

UNIT_MAIN(T(a_url_gives_address_user_password_and_database),
    T(other_urls_are_refused_and_not_quoted),
    T(each_reply_is_passed_to_the_callback),
    T(a_reply_of_another_shape_is_an_error),
    T(the_rest_of_an_incomplete_reply_is_awaited),
    T(a_reply_over_the_ceiling_is_an_error))
