#include "config.h"

#include "lib/redis_url.h"

#include <string.h>

#include "unit.h"

#define CANARY "canary"

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
	struct aic_redis_url w;
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
		assert_int_equal(aic_redis_url_parse(&w, rows[i].url, &err),
		    AIC_OK);
		SAME(w.path, rows[i].path);
		SAME(w.host, rows[i].host);
		SAME(w.user, rows[i].user);
		SAME(w.password, rows[i].password);
		assert_int_equal(w.port, rows[i].port);
		assert_int_equal(w.db, rows[i].db);
		aic_redis_url_done(&w);
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
	struct aic_redis_url w;
	struct aic_err err;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		err = (struct aic_err)AIC_ERR_INIT;
		if (aic_redis_url_parse(&w, urls[i], &err) != AIC_ECONF)
			fail_msg("taken: %s", urls[i]);
		assert_null(strstr(err.detail, CANARY));
		assert_non_null(strstr(err.detail, "REDIS_URL"));
	}
}

UNIT_MAIN(T(a_url_gives_address_user_password_and_database),
    T(other_urls_are_refused_and_not_quoted))
