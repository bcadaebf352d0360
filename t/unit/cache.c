#include "config.h"

#include "lib/cache.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/redis.h"
#include "lib/digest.h"
#include "unit.h"

/* Generous, because a machine that is busy must not make these tests fail. */
#define SLACK_US (3 * AIC_S)
#define PATIENCE_US (20 * AIC_S)

/* --- a scripted Redis server -------------------------------------------- */

/* How the server answers every command but a greeting. */
enum mode {
	WELL,
	SILENT,
	DRIPS, /* sends one byte at a time and never ends */
	CLOSES, /* closes in the middle of a reply */
	HALF, /* sends the first of several values and then nothing */
	LEAVES, /* closes without a reply */
	GARBAGE,
	HUGE_BULK, /* announces a value of 1 GB */
	HUGE_ARRAY,
	FLOODS, /* sends a value without end, as fast as it can */
	ONE_MORE, /* sends one reply too many */
	REFUSES, /* replies with an error */
	WRONG_SHAPE,
	SLOW, /* a correct reply, but late */
};

#define CONNS 64
#define KEYS 16

struct entry {
	char key[128];
	char value[4096];
	size_t len;
};

static struct {
	pthread_t thread;
	pthread_mutex_t lock; /* guards the table */
	char path[108], url[128];
	int listener, stop[2];
	int conns[CONNS];
	int n_conns;
	struct entry table[KEYS];
	int n_entries;
	_Atomic int mode;
	atomic_bool mute; /* the server does not answer a greeting either */
	atomic_bool close_all; /* close the connections that are open now */
	atomic_int commands, taken;
	atomic_bool saw_nx;
} fake;

static void
reply(int fd, const void *p, size_t len)
{
	(void)!send(fd, p, len, MSG_NOSIGNAL);
}

static void
say(int fd, const char *text)
{
	reply(fd, text, strlen(text));
}

static struct entry *
find(const char *key, size_t len)
{
	int i;

	for (i = 0; i < fake.n_entries; i++)
		if (strlen(fake.table[i].key) == len &&
		    memcmp(fake.table[i].key, key, len) == 0)
			return &fake.table[i];
	return NULL;
}

static void
set(const char *key, size_t key_len, const char *value, size_t len)
{
	struct entry *e = find(key, key_len);

	if (!e && fake.n_entries < KEYS)
		e = &fake.table[fake.n_entries++];
	if (!e || len > sizeof(e->value))
		return;
	snprintf(e->key, sizeof(e->key), "%.*s", (int)key_len, key);
	memcpy(e->value, value, len);
	e->len = len;
}

struct word {
	const char *p;
	size_t len;
};

/* sent: how many of the words it answers; the first word is the command */
static void
get_all(int fd, const struct word *w, int n, int sent)
{
	struct entry *e;
	char head[32];
	int i;

	snprintf(head, sizeof(head), "*%d\r\n", n - 1);
	say(fd, head);
	for (i = 1; i < sent; i++) {
		e = find(w[i].p, w[i].len);
		if (!e) {
			say(fd, "$-1\r\n");
			continue;
		}
		snprintf(head, sizeof(head), "$%zu\r\n", e->len);
		say(fd, head);
		reply(fd, e->value, e->len);
		say(fd, "\r\n");
	}
}

static void
forget_all(int fd, const struct word *w, int n)
{
	struct entry *e;
	char head[32];
	int i, gone = 0;

	for (i = 1; i < n; i++) {
		e = find(w[i].p, w[i].len);
		if (!e)
			continue;
		*e = fake.table[--fake.n_entries];
		gone++;
	}
	snprintf(head, sizeof(head), ":%d\r\n", gone);
	say(fd, head);
}

static void
obey(int fd, const struct word *w, int n)
{
	pthread_mutex_lock(&fake.lock);
	if (memcmp(w[0].p, "MGET", 4) == 0) {
		get_all(fd, w, n, n);
	} else if (memcmp(w[0].p, "SET", 3) == 0) {
		fake.saw_nx = n == 6;
		if (n == 6 && find(w[1].p, w[1].len)) {
			say(fd, "$-1\r\n");
		} else {
			set(w[1].p, w[1].len, w[2].p, w[2].len);
			say(fd, "+OK\r\n");
		}
	} else if (memcmp(w[0].p, "DEL", 3) == 0) {
		forget_all(fd, w, n);
	}
	pthread_mutex_unlock(&fake.lock);
}

static bool
is_told_to_stop(int ms)
{
	struct pollfd p = { .fd = fake.stop[0], .events = POLLIN };

	return poll(&p, 1, ms) > 0;
}

static void
flood(int fd)
{
	static char piece[65536];
	int64_t until = aic_clock_us() + 5 * AIC_S;

	say(fd, "*1\r\n$1073741824\r\n");
	while (aic_clock_us() < until &&
	    send(fd, piece, sizeof(piece), MSG_NOSIGNAL) > 0)
		;
}

static void
drip(int fd)
{
	say(fd, "*1\r\n$100000\r\n");
	while (!is_told_to_stop(5) && send(fd, "x", 1, MSG_NOSIGNAL) == 1)
		;
}

/* False: the connection has ended. */
static bool
act(int fd, const struct word *w, int n)
{
	if (memcmp(w[0].p, "PING", 4) == 0) {
		if (!fake.mute)
			say(fd, "+PONG\r\n");
		return true;
	}
	fake.commands++;
	switch ((enum mode)fake.mode) {
	case SLOW:
		is_told_to_stop(1);
		/* FALLTHROUGH */
	case WELL:
		obey(fd, w, n);
		return true;
	case SILENT:
		return true;
	case DRIPS:
		drip(fd);
		return false;
	case CLOSES:
		say(fd, "*1\r\n$100\r\nabc");
		return false;
	case HALF:
		pthread_mutex_lock(&fake.lock);
		get_all(fd, w, n, 2);
		pthread_mutex_unlock(&fake.lock);
		return true;
	case LEAVES:
		return false;
	case GARBAGE:
		say(fd, "\xff\xfe nonsense\r\n");
		return true;
	case HUGE_BULK:
		say(fd, "*1\r\n$1073741824\r\nabc");
		return true;
	case HUGE_ARRAY:
		say(fd, "*2147483647\r\n");
		return true;
	case FLOODS:
		flood(fd);
		return false;
	case ONE_MORE:
		say(fd,
		    memcmp(w[0].p, "MGET", 4) == 0 ? "*1\r\n$-1\r\n$-1\r\n"
						   : "+OK\r\n+OK\r\n");
		return true;
	case REFUSES:
		say(fd, "-LOADING Redis is loading\r\n");
		return true;
	case WRONG_SHAPE:
		say(fd, "*3\r\n$-1\r\n$-1\r\n$-1\r\n");
		return true;
	}
	return false;
}

/*
 * Answers all commands that have arrived. They are complete, because they are
 * short and the cache writes each one at once.
 */
static bool
serve(int fd)
{
	char buf[16384], *p = buf;
	struct word w[8];
	ssize_t got = recv(fd, buf, sizeof(buf) - 1, 0);
	int n, i;

	if (got <= 0)
		return false;
	buf[got] = '\0';
	while (p < buf + got) {
		n = (int)strtol(p + 1, &p, 10);
		p += 2;
		for (i = 0; i < n && i < 8; i++) {
			w[i].len = (size_t)strtol(p + 1, &p, 10);
			w[i].p = p + 2;
			p += 2 + w[i].len + 2;
		}
		if (!act(fd, w, n))
			return false;
	}
	return true;
}

static void *
run(void *arg)
{
	struct pollfd p[CONNS + 2];
	int i;

	(void)arg;
	for (;;) {
		p[0] = (struct pollfd){ .fd = fake.stop[0], .events = POLLIN };
		p[1] = (struct pollfd){ .fd = fake.listener, .events = POLLIN };
		for (i = 0; i < fake.n_conns; i++)
			p[i + 2] = (struct pollfd){ .fd = fake.conns[i],
				.events = POLLIN };
		if (poll(p, (nfds_t)fake.n_conns + 2, 5) < 0)
			continue;
		if (p[0].revents)
			return NULL;
		for (i = fake.n_conns - 1; i >= 0; i--)
			if (fake.close_all ||
			    (p[i + 2].revents && !serve(fake.conns[i]))) {
				close(fake.conns[i]);
				fake.conns[i] = fake.conns[--fake.n_conns];
			}
		fake.close_all = false;
		if (p[1].revents && fake.n_conns < CONNS) {
			fake.conns[fake.n_conns++] = accept(fake.listener, NULL,
			    NULL);
			fake.taken++;
		}
	}
}

static void
start_fake(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", fake.path);
	unlink(fake.path);
	fake.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fake.n_conns = 0;
	fake.mode = WELL;
	fake.mute = false;
	if (pipe(fake.stop) || bind(fake.listener, (void *)&a, sizeof(a)) ||
	    listen(fake.listener, 64) ||
	    pthread_create(&fake.thread, NULL, run, NULL)) {
		perror("fake");
		abort();
	}
}

static void
stop_fake(void)
{
	close(fake.stop[1]);
	pthread_join(fake.thread, NULL);
	close(fake.stop[0]);
	close(fake.listener);
	unlink(fake.path);
	while (fake.n_conns > 0)
		close(fake.conns[--fake.n_conns]);
}

/* --- each test begins with a scripted server in mode WELL and a cache --- */

static struct aic_cache *cache;

static struct aic_cache *
open_with(const char *url, const char *secret)
{
	struct aic_cache_conf conf = { .url = url, .secret = secret };
	struct aic_err err = AIC_ERR_INIT;
	struct aic_cache *c;

	assert_int_equal(aic_cache_open(&c, &conf, &err), AIC_OK);
	return c;
}

static void
becomes(struct aic_cache *c, enum aic_cache_state state)
{
	int64_t until = aic_clock_us() + PATIENCE_US;

	while (aic_cache_look(c).state != state) {
		if (aic_clock_us() > until)
			fail_msg("waited for state %d: %s", state,
			    aic_cache_look(c).why);
		aic_clock_sleep(aic_clock_us() + 5 * AIC_MS);
	}
}

static void
has_connections(struct aic_cache *c, int n)
{
	int64_t until = aic_clock_us() + PATIENCE_US;

	while (aic_cache_look(c).connections != n) {
		if (aic_clock_us() > until)
			fail_msg("waited for %d connections", n);
		aic_clock_sleep(aic_clock_us() + 5 * AIC_MS);
	}
}

static int
set_up(void **state)
{
	(void)state;
	memset(&fake, 0, sizeof(fake));
	pthread_mutex_init(&fake.lock, NULL);
	snprintf(fake.path, sizeof(fake.path), "/tmp/aic-cache-%d.sock",
	    (int)getpid());
	snprintf(fake.url, sizeof(fake.url), "unix://%s", fake.path);
	start_fake();
	cache = open_with(fake.url, "secret");
	becomes(cache, AIC_CACHE_IS_OK);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	aic_cache_close(cache);
	stop_fake();
	pthread_mutex_destroy(&fake.lock);
	return 0;
}

static enum aic_cache_end
put_one(struct aic_cache *c, int64_t user, const char *value, int64_t ttl_ms,
    bool only_new)
{
	struct aic_cache_put put = { .data = value,
		.len = strlen(value),
		.ttl_ms = ttl_ms,
		.only_new = only_new };

	aic_cache_key(put.key, "t", user);
	return aic_cache_put(c, &put, 1, INT64_MAX);
}

/* The value, or NULL; the caller frees it. */
static char *
get_one(struct aic_cache *c, int64_t user, enum aic_cache_end *ret_end)
{
	struct aic_cache_item item;

	aic_cache_key(item.key, "t", user);
	*ret_end = aic_cache_get(c, &item, 1, INT64_MAX);
	return item.data;
}

/* In mode WELL a value arrives sooner or later, however busy the machine is. */
static char *
get_for_sure(struct aic_cache *c, int64_t user)
{
	int64_t until = aic_clock_us() + PATIENCE_US;
	enum aic_cache_end end;
	char *value = get_one(c, user, &end);

	while (end != AIC_CACHE_OK) {
		if (aic_clock_us() > until)
			fail_msg("waited for an answer: %s",
			    aic_cache_end_name(end));
		aic_clock_sleep(aic_clock_us() + 5 * AIC_MS);
		value = get_one(c, user, &end);
	}
	return value;
}

static void
put_for_sure(int64_t user, const char *value, int64_t ttl_ms)
{
	int64_t until = aic_clock_us() + PATIENCE_US;

	while (put_one(cache, user, value, ttl_ms, false) != AIC_CACHE_OK) {
		assert_true(aic_clock_us() < until);
		aic_clock_sleep(aic_clock_us() + 5 * AIC_MS);
	}
}

static void
has(struct aic_cache *c, int64_t user, const char *want)
{
	char *got = get_for_sure(c, user);

	if (want) {
		assert_non_null(got);
		assert_string_equal(got, want);
	} else {
		assert_null(got);
	}
	free(got);
}

/* --- keys and values ---------------------------------------------------- */

static void
without_a_url_the_cache_is_off(void **state)
{
	struct aic_cache *c = open_with(NULL, "secret");
	struct aic_cache_item item = { .key = "k" };
	struct aic_cache_put put = { .key = "k", .data = "", .ttl_ms = 1 };
	const char *name = "k";

	(void)state;
	assert_null(c);
	assert_int_equal(aic_cache_get(c, &item, 1, INT64_MAX), AIC_CACHE_OFF);
	assert_null(item.data);
	assert_int_equal(aic_cache_put(c, &put, 1, INT64_MAX), AIC_CACHE_OFF);
	assert_int_equal(aic_cache_forget(c, &name, 1, INT64_MAX),
	    AIC_CACHE_OFF);
	assert_int_equal(aic_cache_look(c).state, AIC_CACHE_IS_OFF);
	assert_int_equal(aic_cache_first(c, INT64_MAX).state, AIC_CACHE_IS_OFF);
	aic_cache_close(c);
}

static void
a_wrong_url_is_a_wrong_setting(void **state)
{
	struct aic_cache_conf conf = { .url = "redis://", .secret = "s" };
	struct aic_err err = AIC_ERR_INIT;
	struct aic_cache *c;

	(void)state;
	assert_int_equal(aic_cache_open(&c, &conf, &err), AIC_ECONF);
	assert_null(c);
}

static void
keys_have_prefix_version_kind_and_user(void **state)
{
	char key[AIC_CACHE_KEY_SIZE];

	(void)state;
	aic_cache_key(key, "ctx", INT64_MAX);
	assert_string_equal(key, "aic:1:ctx:9223372036854775807");
	aic_cache_key_of(key, "answer",
	    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	assert_int_equal(strlen(key), 13 + 64);
}

static void
a_value_that_was_put_can_be_read_and_deleted(void **state)
{
	char key[AIC_CACHE_KEY_SIZE], other[AIC_CACHE_KEY_SIZE];
	const char *name = key;
	const char *const both[] = { key, other };

	(void)state;
	has(cache, 1, NULL);
	put_for_sure(1, "one", 60000);
	put_for_sure(2, "", 60000);
	has(cache, 1, "one");
	has(cache, 2, "");
	has(cache, 3, NULL);
	put_for_sure(1, "two", 60000);
	has(cache, 1, "two");
	aic_cache_key(key, "t", 1);
	assert_int_equal(aic_cache_forget(cache, &name, 1, INT64_MAX),
	    AIC_CACHE_OK);
	assert_int_equal(aic_cache_forget(cache, &name, 1, INT64_MAX),
	    AIC_CACHE_OK);
	has(cache, 1, NULL);
	has(cache, 2, "");
	put_for_sure(1, "one", 60000);
	aic_cache_key(other, "t", 2);
	assert_int_equal(aic_cache_forget(cache, both, 2, INT64_MAX),
	    AIC_CACHE_OK);
	has(cache, 1, NULL);
	has(cache, 2, NULL);
}

static void
several_values_need_one_round_trip(void **state)
{
	struct aic_cache_put puts[3] = { { .data = "a", .len = 1 },
		{ .data = "b\0c", .len = 3 }, { .data = "d", .len = 1 } };
	struct aic_cache_item items[4];
	int i, before;

	(void)state;
	has(cache, 1, NULL); /* all is well */
	for (i = 0; i < 4; i++)
		aic_cache_key(items[i].key, "t", i);
	for (i = 0; i < 3; i++) {
		aic_cache_key(puts[i].key, "t", i);
		puts[i].ttl_ms = 60000;
	}
	before = fake.commands;
	assert_int_equal(aic_cache_put(cache, puts, 3, INT64_MAX),
	    AIC_CACHE_OK);
	assert_int_equal(fake.commands - before, 3);
	assert_int_equal(aic_cache_get(cache, items, 4, INT64_MAX),
	    AIC_CACHE_OK);
	assert_int_equal(fake.commands - before, 4);
	for (i = 0; i < 3; i++) {
		assert_int_equal(items[i].len, puts[i].len);
		assert_memory_equal(items[i].data, puts[i].data, puts[i].len);
	}
	assert_null(items[3].data);
	aic_cache_items_done(items, 4);
	assert_null(items[0].data);
}

static void
only_new_does_not_replace_a_value(void **state)
{
	(void)state;
	put_for_sure(1, "one", 60000);
	assert_false(fake.saw_nx);
	assert_int_equal(put_one(cache, 1, "two", 60000, true), AIC_CACHE_OK);
	assert_true(fake.saw_nx);
	has(cache, 1, "one");
	assert_int_equal(put_one(cache, 2, "two", 60000, true), AIC_CACHE_OK);
	has(cache, 2, "two");
}

static void
a_value_that_is_too_large_is_not_stored(void **state)
{
	struct aic_cache_put put = { .key = "k", .ttl_ms = 1000 };

	(void)state;
	put.len = AIC_CACHE_VALUE_MAX + 1;
	put.data = calloc(1, put.len);
	assert_int_equal(aic_cache_put(cache, &put, 1, INT64_MAX),
	    AIC_CACHE_REFUSED);
	free((void *)(uintptr_t)put.data);
	has(cache, 1, NULL);
}

static void
a_value_past_its_time_is_not_used_though_the_server_has_it(void **state)
{
	int64_t until = aic_clock_us() + PATIENCE_US;
	char *got;

	(void)state;
	put_for_sure(1, "one", 60000);
	put_for_sure(2, "two", 30);
	do {
		assert_true(aic_clock_us() < until);
		got = get_for_sure(cache, 2);
		free(got);
	} while (got);
	has(cache, 1, "one");
}

static void
a_value_of_another_writer_counts_as_missing(void **state)
{
	struct aic_cache *other;
	struct entry e;

	(void)state;
	put_for_sure(1, "one", 60000);
	pthread_mutex_lock(&fake.lock);
	e = fake.table[0];
	set(LIT("aic:1:t:2"), e.value, e.len); /* another user's key */
	set(LIT("aic:1:t:3"), e.value, e.len - 1); /* cut off */
	e.value[e.len - 1] ^= 1;
	set(LIT("aic:1:t:4"), e.value, e.len);
	set(LIT("aic:1:t:5"), LIT("plain"));
	set(LIT("aic:1:t:6"), LIT(""));
	set(LIT("aic:1:t:1x"), e.value, e.len);
	pthread_mutex_unlock(&fake.lock);
	has(cache, 2, NULL);
	has(cache, 3, NULL);
	has(cache, 4, NULL);
	has(cache, 5, NULL);
	has(cache, 6, NULL);
	has(cache, 1, "one");
	other = open_with(fake.url, "another secret");
	has(other, 1, NULL);
	aic_cache_close(other);
	other = open_with(fake.url, "secret");
	has(other, 1, "one");
	aic_cache_close(other);
}

/* --- a server that fails ------------------------------------------------ */

/*
 * A call in this mode ends with this result, and in time. A successful call
 * follows, so that the run of failures ends.
 */
static void
ends(enum mode mode, enum aic_cache_end want)
{
	int64_t until = aic_clock_us() + PATIENCE_US, start;
	enum aic_cache_end end;
	char *value;

	for (;;) {
		has_connections(cache, 8);
		fake.mode = (int)mode;
		start = aic_clock_us();
		value = get_one(cache, 1, &end);
		assert_null(value);
		assert_true(aic_clock_us() - start <
		    AIC_CACHE_CALL_US + SLACK_US);
		fake.mode = WELL;
		has(cache, 99, NULL);
		/* On a busy machine any call may time out. */
		if (end == want)
			return;
		if (end != AIC_CACHE_TIMEOUT || aic_clock_us() > until)
			fail_msg("mode %d: %s", mode, aic_cache_end_name(end));
	}
}

static void
every_call_ends_in_time_whatever_the_server_does(void **state)
{
	int i;

	(void)state;
	put_for_sure(1, "one", 60000);
	for (i = 0; i < 2; i++) {
		ends(SILENT, AIC_CACHE_TIMEOUT);
		ends(DRIPS, AIC_CACHE_TIMEOUT);
		ends(CLOSES, AIC_CACHE_BROKEN);
		ends(LEAVES, AIC_CACHE_BROKEN);
		ends(GARBAGE, AIC_CACHE_BROKEN);
		ends(HUGE_BULK, AIC_CACHE_TIMEOUT);
		ends(HUGE_ARRAY, AIC_CACHE_BROKEN);
		ends(FLOODS, AIC_CACHE_BROKEN);
		ends(ONE_MORE, AIC_CACHE_BROKEN);
		ends(REFUSES, AIC_CACHE_REFUSED);
		ends(WRONG_SHAPE, AIC_CACHE_BROKEN);
	}
	has(cache, 1, "one");
}

static void
no_part_of_an_incomplete_reply_is_used(void **state)
{
	struct aic_cache_item items[2];
	enum aic_cache_end end;

	(void)state;
	put_for_sure(1, "one", 60000);
	put_for_sure(2, "two", 60000);
	has_connections(cache, 8);
	aic_cache_key(items[0].key, "t", 1);
	aic_cache_key(items[1].key, "t", 2);
	fake.mode = HALF;
	end = aic_cache_get(cache, items, 2, INT64_MAX);
	assert_int_equal(end, AIC_CACHE_TIMEOUT);
	assert_null(items[0].data);
	assert_null(items[1].data);
}

static void
a_reply_with_an_error_is_no_failure_of_the_server(void **state)
{
	enum aic_cache_end end;
	int i, taken;

	(void)state;
	has_connections(cache, 8);
	taken = fake.taken;
	fake.mode = REFUSES;
	for (i = 0; i < 10; i++) {
		assert_null(get_one(cache, 1, &end));
		assert_int_equal(put_one(cache, 1, "x", 1000, false),
		    AIC_CACHE_REFUSED);
	}
	assert_int_equal(aic_cache_look(cache).state, AIC_CACHE_IS_OK);
	assert_int_equal(fake.taken, taken);
}

static void
a_put_that_fails_ends_in_time_too(void **state)
{
	int64_t start;

	(void)state;
	has_connections(cache, 8);
	fake.mode = SILENT;
	start = aic_clock_us();
	assert_int_equal(put_one(cache, 1, "x", 1000, false),
	    AIC_CACHE_TIMEOUT);
	assert_true(aic_clock_us() - start < AIC_CACHE_CALL_US + SLACK_US);
	fake.mode = CLOSES;
	assert_int_not_equal(put_one(cache, 1, "x", 1000, false), AIC_CACHE_OK);
}

static void
three_failures_in_a_row_open_the_circuit_breaker(void **state)
{
	enum aic_cache_end end;
	int i, asked;

	(void)state;
	has_connections(cache, 8);
	fake.mode = SILENT;
	fake.mute = true; /* the trial fails too */
	for (i = 0; i < 3; i++)
		free(get_one(cache, 1, &end));
	becomes(cache, AIC_CACHE_IS_OPEN);
	assert_int_equal(aic_cache_look(cache).connections, 0);
	asked = fake.commands;
	for (i = 0; i < 100; i++) {
		assert_null(get_one(cache, 1, &end));
		assert_int_equal(end, AIC_CACHE_OPEN);
	}
	assert_int_equal(put_one(cache, 1, "x", 1, false), AIC_CACHE_OPEN);
	assert_int_equal(fake.commands, asked);
	assert_non_null(strstr(aic_cache_look(cache).why, "Redis"));
	fake.mute = false;
	fake.mode = WELL;
	becomes(cache, AIC_CACHE_IS_OK);
	put_for_sure(1, "one", 60000);
	has(cache, 1, "one");
}

static void
a_server_that_hangs_is_detected_without_a_call(void **state)
{
	(void)state;
	fake.mute = true;
	becomes(cache, AIC_CACHE_IS_OPEN);
	fake.mute = false;
	becomes(cache, AIC_CACHE_IS_OK);
}

static void *
hurry(void *arg)
{
	struct aic_cache_item item = { .key = "k" };

	(void)arg;
	aic_cache_get(cache, &item, 1, aic_clock_us() + 3 * AIC_MS);
	return NULL;
}

/* Several at once, because each new connection ends a run of failures. */
static void
parallel_calls_with_short_deadlines_do_not_open_the_breaker(void **state)
{
	pthread_t ids[8];
	int round, i;

	(void)state;
	for (round = 0; round < 3; round++) {
		has_connections(cache, 8);
		fake.mode = SILENT;
		for (i = 0; i < 8; i++)
			pthread_create(&ids[i], NULL, hurry, NULL);
		for (i = 0; i < 8; i++)
			pthread_join(ids[i], NULL);
		assert_int_not_equal(aic_cache_look(cache).state,
		    AIC_CACHE_IS_OPEN);
		fake.mode = WELL;
	}
}

static void
calls_that_end_at_their_own_deadline_are_no_failures_of_the_server(void **state)
{
	struct aic_cache_item item = { .key = "k" };
	int i;

	(void)state;
	has_connections(cache, 8);
	fake.mode = SILENT;
	for (i = 0; i < 6; i++)
		assert_int_equal(aic_cache_get(cache, &item, 1,
				     aic_clock_us() + 3 * AIC_MS),
		    AIC_CACHE_TIMEOUT);
	assert_int_equal(aic_cache_get(cache, &item, 1, aic_clock_us() - AIC_S),
	    AIC_CACHE_TIMEOUT);
	assert_int_not_equal(aic_cache_look(cache).state, AIC_CACHE_IS_OPEN);
}

static void
connections_that_the_server_closed_are_not_used(void **state)
{
	enum aic_cache_end end;
	int i;

	(void)state;
	put_for_sure(1, "one", 60000);
	for (i = 0; i < 5; i++) {
		has_connections(cache, 8);
		fake.close_all = true;
		while (fake.close_all)
			aic_clock_sleep(aic_clock_us() + AIC_MS);
		/* No connection, or a new one, but never one that is broken. */
		free(get_one(cache, 1, &end));
		assert_true(end != AIC_CACHE_BROKEN);
		has(cache, 1, "one");
	}
	assert_int_equal(aic_cache_look(cache).state, AIC_CACHE_IS_OK);
}

static void
a_server_that_was_restarted_is_used_again(void **state)
{
	enum aic_cache_end end;

	(void)state;
	put_for_sure(1, "one", 60000);
	stop_fake();
	becomes(cache, AIC_CACHE_IS_DOWN);
	assert_null(get_one(cache, 1, &end));
	assert_int_equal(end, AIC_CACHE_NONE);
	start_fake();
	becomes(cache, AIC_CACHE_IS_OK);
	has(cache, 1, "one");
}

/* --- many at once ------------------------------------------------------- */

#define THREADS 32
#define ROUNDS 150

static atomic_int counts[AIC_CACHE_END__MAX];
static atomic_int wrong;

static void *
hammer(void *arg)
{
	int64_t user = (int64_t)(intptr_t)arg % 8;
	enum aic_cache_end end;
	char want[32], *got;
	int i;

	snprintf(want, sizeof(want), "value of %d", (int)user);
	for (i = 0; i < ROUNDS; i++) {
		if (i % 3 == 0)
			counts[put_one(cache, user, want, 60000, false)]++;
		got = get_one(cache, user, &end);
		counts[end]++;
		if (got && strcmp(got, want) != 0)
			wrong++;
		free(got);
	}
	return NULL;
}

static void
many_threads_get_their_own_values_or_none(void **state)
{
	pthread_t ids[THREADS];
	int i, taken;

	(void)state;
	has_connections(cache, 8);
	taken = fake.taken;
	fake.mode = SLOW;
	for (i = 0; i < THREADS; i++)
		pthread_create(&ids[i], NULL, hammer, (void *)(intptr_t)i);
	for (i = 0; i < THREADS; i++)
		pthread_join(ids[i], NULL);
	assert_int_equal(wrong, 0);
	assert_true(counts[AIC_CACHE_OK] > 0);
	assert_true(counts[AIC_CACHE_NONE] > 0);
	assert_int_equal(counts[AIC_CACHE_BROKEN], 0);
	assert_int_equal(counts[AIC_CACHE_REFUSED], 0);
	/* No new connections, except for those that replace late ones. */
	assert_true(fake.taken - taken <= 8 * (1 + counts[AIC_CACHE_TIMEOUT]));
	assert_int_equal(aic_cache_look(cache).busy, 0);
}

static void
close_does_not_wait_for_a_server_that_hangs(void **state)
{
	struct aic_cache *c;
	int64_t start;

	(void)state;
	fake.mute = true;
	c = open_with(fake.url, "secret");
	start = aic_clock_us();
	aic_cache_close(c);
	assert_true(aic_clock_us() - start < SLACK_US);
	/*
	 * A server that is not there; then one where the first attempt has
	 * failed.
	 */
	c = open_with("unix:///nowhere/redis.sock", "secret");
	aic_cache_close(c);
	c = open_with("redis://127.0.0.1:1", "secret");
	assert_int_equal(aic_cache_first(c, aic_clock_us() + SLACK_US).state,
	    AIC_CACHE_IS_DOWN);
	assert_true(aic_cache_look(c).tried);
	assert_non_null(strstr(aic_cache_look(c).why, "refused"));
	aic_cache_close(c);
}

#define C(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

UNIT_MAIN(T(without_a_url_the_cache_is_off), T(a_wrong_url_is_a_wrong_setting),
    T(keys_have_prefix_version_kind_and_user),
    C(a_value_that_was_put_can_be_read_and_deleted),
    C(several_values_need_one_round_trip), C(only_new_does_not_replace_a_value),
    C(a_value_that_is_too_large_is_not_stored),
    C(a_value_past_its_time_is_not_used_though_the_server_has_it),
    C(a_value_of_another_writer_counts_as_missing),
    C(every_call_ends_in_time_whatever_the_server_does),
    C(no_part_of_an_incomplete_reply_is_used),
    C(a_reply_with_an_error_is_no_failure_of_the_server),
    C(a_put_that_fails_ends_in_time_too),
    C(three_failures_in_a_row_open_the_circuit_breaker),
    C(a_server_that_hangs_is_detected_without_a_call),
    C(calls_that_end_at_their_own_deadline_are_no_failures_of_the_server),
    C(parallel_calls_with_short_deadlines_do_not_open_the_breaker),
    C(connections_that_the_server_closed_are_not_used),
    C(a_server_that_was_restarted_is_used_again),
    C(many_threads_get_their_own_values_or_none),
    C(close_does_not_wait_for_a_server_that_hangs))
