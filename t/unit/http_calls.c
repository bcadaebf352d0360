#include "config.h"

#include "lib/http.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/clock.h"
#include "server.h"
#include "unit.h"

#define CALLS_MAX 8
#define LONG_US (10 * AIC_S)

static const char *const headers[] = { "X-API-SECRET-KEY: key", NULL };

static struct aic_http *f;

static int
open_it(void **state)
{
	struct aic_http_conf conf = { .calls_max = CALLS_MAX };
	struct aic_err err = AIC_ERR_INIT;

	(void)state;
	return aic_http_open(&f, &conf, &err) == AIC_OK ? 0 : -1;
}

static int
close_it(void **state)
{
	(void)state;
	aic_http_close(f);
	f = NULL;
	return 0;
}

static struct server_step
reply(const char *body, int delay_ms)
{
	struct server_step step = server_reply(200, "", body, strlen(body));

	step.delay_ms = delay_ms;
	return step;
}

static struct server *
serve_one(struct server_step step)
{
	return server_new(&step, 1);
}

static struct aic_http_call *
start_at(const char *url, int64_t for_us)
{
	struct aic_http_request req = { .url = url,
		.headers = headers,
		.answer_max = 1000,
		.deadline_us = aic_clock_us() + for_us,
		.connect_us = for_us };

	return aic_http_start(f, &req);
}

static struct aic_http_call *
start(struct server *s, int64_t for_us)
{
	struct aic_http_call *call = start_at(server_url(s), for_us);

	assert_non_null(call);
	return call;
}

static const struct aic_http_answer *
wait_long(struct aic_http_call *call)
{
	const struct aic_http_answer *a;

	a = aic_http_wait(call, aic_clock_us() + LONG_US);
	if (a)
		assert_true(a->took_us >= 0 && a->took_us < LONG_US);
	return a;
}

static void
wait_for_requests(struct server *s, int n)
{
	int64_t until = aic_clock_us() + LONG_US;

	while (server_requests(s) < n && aic_clock_us() < until)
		aic_clock_sleep(aic_clock_us() + AIC_MS);
	assert_int_equal(server_requests(s), n);
}

static void
a_call_returns_its_response_when_it_is_awaited(void **state)
{
	struct server *s = serve_one(reply("{\"a\":1}", 0));
	struct aic_http_call *call = start(s, LONG_US);
	const struct aic_http_answer *a = wait_long(call);

	(void)state;
	assert_non_null(a);
	assert_int_equal(a->end, AIC_HTTP_ANSWERED);
	assert_int_equal(a->status, 200);
	assert_string_equal(a->body.data, "{\"a\":1}");
	assert_ptr_equal(strstr(server_head(s, 0), "GET / HTTP/1.1"),
	    server_head(s, 0));
	assert_non_null(strstr(server_head(s, 0), "X-API-SECRET-KEY: key"));
	assert_int_equal(server_body_len(s, 0), 0);
	aic_http_drop(call);
	server_free(s);
}

static void
calls_reuse_a_connection(void **state)
{
	struct server *s = serve_one(reply("{}", 0));
	struct aic_http_call *call;
	int i;

	(void)state;
	for (i = 0; i < 5; i++) {
		call = start(s, LONG_US);
		assert_non_null(wait_long(call));
		aic_http_drop(call);
	}
	assert_int_equal(server_requests(s), 5);
	assert_int_equal(server_connections(s), 1);
	server_free(s);
}

static void
a_get_is_sent_again_when_its_kept_connection_was_closed(void **state)
{
	struct server_step steps[] = { reply("{}", 0), { .then = CLOSE },
		reply("{\"b\":2}", 0) };
	struct server *s = server_new(steps, 3);
	struct aic_http_call *call = start(s, LONG_US);
	const struct aic_http_answer *a;

	(void)state;
	assert_non_null(wait_long(call));
	aic_http_drop(call);
	call = start(s, LONG_US);
	a = wait_long(call);
	assert_non_null(a);
	assert_int_equal(a->end, AIC_HTTP_ANSWERED);
	assert_string_equal(a->body.data, "{\"b\":2}");
	aic_http_drop(call);
	server_free(s);
}

/*
 * Not even on another connection that is open: the model might be paid twice.
 */
static void
a_post_is_not_sent_again_over_another_kept_connection(void **state)
{
	struct server_step steps[] = { reply("{}", 300), reply("{}", 0),
		{ .then = CLOSE }, reply("{\"b\":2}", 0) };
	struct server *s = server_new(steps, 4);
	struct aic_http_call *first = start(s, LONG_US),
			     *second = start(s, LONG_US), *post;
	struct aic_buf body;
	struct aic_http_request req = { .url = server_url(s),
		.headers = headers,
		.body = &body,
		.answer_max = 1000,
		.deadline_us = aic_clock_us() + LONG_US,
		.connect_us = LONG_US };
	const struct aic_http_answer *a;

	(void)state;
	assert_non_null(wait_long(first));
	assert_non_null(wait_long(second));
	aic_http_drop(first);
	aic_http_drop(second);
	assert_int_equal(server_connections(s), 2);
	aic_buf_init(&body, 1000);
	aic_buf_puts(&body, "{}");
	post = aic_http_start(f, &req);
	assert_non_null(post);
	a = wait_long(post);
	assert_non_null(a);
	assert_int_equal(a->end, AIC_HTTP_BROKEN);
	assert_int_equal(server_requests(s), 3);
	aic_http_drop(post);
	aic_buf_done(&body);
	server_free(s);
}

static void
a_call_to_a_silent_server_ends_by_the_deadline(void **state)
{
	struct server *s = serve_one((struct server_step){ .then = KEEP });
	struct aic_http_call *call = start(s, 100 * AIC_MS);
	int64_t start_us = aic_clock_us();
	const struct aic_http_answer *a;

	(void)state;
	a = aic_http_wait(call, start_us + LONG_US);
	/*
	 * The caller's clock or libcurl's timer ends the wait, whichever is
	 * first.
	 */
	assert_true(!a || a->end == AIC_HTTP_TIMEOUT);
	assert_true(aic_clock_us() - start_us < 5 * AIC_S);
	aic_http_drop(call);
	server_free(s);
}

static void
a_caller_waits_no_longer_than_its_own_time(void **state)
{
	struct server *s = serve_one((struct server_step){ .then = KEEP });
	struct aic_http_call *call = start(s, LONG_US);

	(void)state;
	assert_null(aic_http_wait(call, aic_clock_us() + 20 * AIC_MS));
	assert_null(aic_http_wait(call, 0));
	aic_http_drop(call);
	server_free(s);
}

static void
a_late_response_can_be_fetched_once_it_has_arrived(void **state)
{
	struct server *s = serve_one(reply("{}", 50));
	struct aic_http_call *call = start(s, LONG_US);
	const struct aic_http_answer *a;

	(void)state;
	assert_null(aic_http_wait(call, 0));
	assert_non_null(wait_long(call));
	/* With no time left, too, because the response is there. */
	a = aic_http_wait(call, 0);
	assert_non_null(a);
	assert_true(a->took_us >= 50 * AIC_MS);
	aic_http_drop(call);
	server_free(s);
}

static void
a_response_over_its_ceiling_ends_the_call(void **state)
{
	char body[2000];
	struct server *s;
	struct aic_http_call *call;
	const struct aic_http_answer *a;

	(void)state;
	memset(body, 'x', sizeof(body) - 1);
	body[sizeof(body) - 1] = '\0';
	s = serve_one(reply(body, 0));
	call = start(s, LONG_US);
	a = wait_long(call);
	assert_non_null(a);
	assert_int_equal(a->end, AIC_HTTP_TOO_BIG);
	aic_http_drop(call);
	server_free(s);
}

static void
a_port_without_a_listener_is_reported_at_once(void **state)
{
	struct aic_http_call *call;
	const struct aic_http_answer *a;

	(void)state;
	call = start_at("http://127.0.0.1:1", LONG_US);
	assert_non_null(call);
	a = wait_long(call);
	assert_non_null(a);
	assert_int_equal(a->end, AIC_HTTP_CONNECT);
	assert_true(a->why[0] != '\0');
	aic_http_drop(call);
}

static void
there_are_never_more_calls_than_the_limit(void **state)
{
	struct server *s = serve_one((struct server_step){ .then = KEEP });
	struct aic_http_call *calls[CALLS_MAX];
	int64_t until;
	int i;

	(void)state;
	for (i = 0; i < CALLS_MAX; i++)
		calls[i] = start(s, LONG_US);
	assert_null(start_at(server_url(s), LONG_US));
	for (i = 0; i < CALLS_MAX; i++)
		aic_http_drop(calls[i]);
	/* Dropped calls are ended, and there is room again. */
	until = aic_clock_us() + LONG_US;
	do
		calls[0] = start_at(server_url(s), LONG_US);
	while (!calls[0] && aic_clock_us() < until);
	assert_non_null(calls[0]);
	aic_http_drop(calls[0]);
	server_free(s);
}

static void
a_call_that_hangs_delays_no_other(void **state)
{
	struct server *hangs = serve_one((struct server_step){ .then = KEEP });
	struct server *s = serve_one(reply("{}", 0));
	struct aic_http_call *slow = start(hangs, LONG_US), *quick;
	int64_t start_us;

	(void)state;
	wait_for_requests(hangs, 1);
	start_us = aic_clock_us();
	quick = start(s, LONG_US);
	assert_non_null(wait_long(quick));
	assert_true(aic_clock_us() - start_us < 5 * AIC_S);
	aic_http_drop(quick);
	aic_http_drop(slow);
	server_free(s);
	server_free(hangs);
}

static void
closing_the_engine_ends_the_calls_in_flight(void **state)
{
	struct server *s = serve_one((struct server_step){ .then = KEEP });
	struct aic_http_call *call = start(s, LONG_US);
	int64_t start_us;

	wait_for_requests(s, 1);
	start_us = aic_clock_us();
	aic_http_drop(call);
	close_it(state);
	assert_true(aic_clock_us() - start_us < 5 * AIC_S);
	assert_int_equal(open_it(state), 0);
	server_free(s);
}

/* A port whose full backlog answers no SYN. */
static int
deaf_port(int fds[5])
{
	struct sockaddr_in addr = { .sin_family = AF_INET };
	socklen_t len = sizeof(addr);
	int i;

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fds[0] = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(fds[0], (void *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fds[0], 0), 0);
	getsockname(fds[0], (void *)&addr, &len);
	for (i = 1; i < 5; i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect(fds[i], (void *)&addr, sizeof(addr));
	}
	return ntohs(addr.sin_port);
}

/* libcurl closes such a socket without a callback. */
static void
giving_up_a_connection_ends_no_other_call(void **state)
{
	struct server *s = serve_one((struct server_step){ .then = KEEP });
	struct aic_http_call *slow = start(s, LONG_US), *call;
	const struct aic_http_answer *a;
	int fds[5], port = deaf_port(fds), i;
	char url[64];

	(void)state;
	snprintf(url, sizeof(url), "http://127.0.0.1:%d", port);
	wait_for_requests(s, 1);
	for (i = 0; i < 3; i++) {
		struct aic_http_request req = { .url = url,
			.headers = headers,
			.answer_max = 1000,
			.deadline_us = aic_clock_us() + LONG_US,
			.connect_us = 100 * AIC_MS };

		call = aic_http_start(f, &req);
		/* One is given up by libcurl, one by its caller. */
		if (i < 2) {
			a = wait_long(call);
			assert_non_null(a);
			assert_int_equal(a->end, AIC_HTTP_CONNECT);
		} else {
			assert_null(aic_http_wait(call,
			    aic_clock_us() + 20 * AIC_MS));
		}
		aic_http_drop(call);
		assert_null(aic_http_wait(slow, aic_clock_us() + 50 * AIC_MS));
	}
	aic_http_drop(slow);
	for (i = 0; i < 5; i++)
		close(fds[i]);
	server_free(s);
}

/* --- many threads, for the sanitizers ----------------------------------- */

#define CROWD 6
#define ROUNDS 60

static atomic_int answered;

static void *
be_hasty(void *arg)
{
	struct server *s = arg;
	struct aic_http_call *call;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		call = start_at(server_url(s), i % 5 ? LONG_US : 0);
		if (!call) /* the dropped calls are about to end */
			aic_clock_sleep(aic_clock_us() + AIC_MS);
		/* The wait is short, long, or left out. */
		if (call && i % 3 &&
		    aic_http_wait(call,
			aic_clock_us() + (i % 3 == 1 ? 1 : LONG_US)))
			atomic_fetch_add(&answered, 1);
		aic_http_drop(call);
	}
	return NULL;
}

static void
many_threads_that_start_await_and_drop_calls_leave_nothing_behind(void **state)
{
	struct server *s = serve_one(reply("{}", 0));
	pthread_t threads[CROWD];
	int i;

	(void)state;
	for (i = 0; i < CROWD; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, be_hasty, s),
		    0);
	for (i = 0; i < CROWD; i++)
		pthread_join(threads[i], NULL);
	assert_true(atomic_load(&answered) > 0);
	close_it(state);
	assert_int_equal(open_it(state), 0);
	server_free(s);
}

#define F(name) cmocka_unit_test_setup_teardown(name, open_it, close_it)

UNIT_MAIN(F(a_call_returns_its_response_when_it_is_awaited),
    F(calls_reuse_a_connection),
    F(a_get_is_sent_again_when_its_kept_connection_was_closed),
    F(a_post_is_not_sent_again_over_another_kept_connection),
    F(a_call_to_a_silent_server_ends_by_the_deadline),
    F(a_caller_waits_no_longer_than_its_own_time),
    F(a_late_response_can_be_fetched_once_it_has_arrived),
    F(a_response_over_its_ceiling_ends_the_call),
    F(a_port_without_a_listener_is_reported_at_once),
    F(there_are_never_more_calls_than_the_limit),
    F(a_call_that_hangs_delays_no_other),
    F(closing_the_engine_ends_the_calls_in_flight),
    F(giving_up_a_connection_ends_no_other_call),
    F(many_threads_that_start_await_and_drop_calls_leave_nothing_behind))
