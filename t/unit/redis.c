#include "config.h"

#include "lib/redis.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

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
	memset(bytes, 'x', 1002);
	bytes[0] = '+';
	assert_int_equal(read_in(bytes, 1000, 1, 0, got), AIC_REDIS_TIMEOUT);
	assert_int_equal(read_in(bytes, 1001, 1, 0, got), AIC_REDIS_BROKEN);
	free(bytes);
}

UNIT_MAIN(T(each_reply_is_passed_to_the_callback),
    T(a_reply_of_another_shape_is_an_error),
    T(the_rest_of_an_incomplete_reply_is_awaited),
    T(a_reply_over_the_ceiling_is_an_error))
