#include "config.h"

#include "lib/http_route.h"

#include "unit.h"

/* Begin a call as the engine does; the admission that it got. */
static enum aic_http_admission
begin(struct aic_http_route *r)
{
	enum aic_http_admission how = aic_http_route_admit(r);

	if (how == AIC_HTTP_WAIT)
		return how;
	r->calls++;
	if (how == AIC_HTTP_OPEN) {
		r->opening++;
		r->sockets++;
		r->connecting++;
	}
	return how;
}

/* As many as may; how many of them open a connection. */
static int
begin_all(struct aic_http_route *r, int most, int *ret_begun)
{
	enum aic_http_admission how;
	int opened = 0;

	for (*ret_begun = 0; *ret_begun < most; (*ret_begun)++) {
		how = begin(r);
		if (how == AIC_HTTP_WAIT)
			break;
		opened += how == AIC_HTTP_OPEN;
	}
	return opened;
}

/* The connections that are being opened are there, and speak this. */
static void
connect_all(struct aic_http_route *r, enum aic_http_protocol protocol)
{
	r->protocol = protocol;
	r->connecting = 0;
	r->opening = 0;
}

static void
a_server_that_nothing_is_known_of_gets_a_few_connections(void **state)
{
	struct aic_http_route r;
	int n;

	(void)state;
	aic_http_route_init(&r, false, 32);
	assert_false(aic_http_route_connected(&r));
	assert_in_range(begin_all(&r, 2000, &n), 1, 32);
	assert_int_equal(r.sockets, n);
	assert_int_equal(begin(&r), AIC_HTTP_WAIT);
	assert_false(aic_http_route_connected(&r));
}

static void
one_connection_is_one_from_the_first_call_on(void **state)
{
	struct aic_http_route r;
	int n;

	(void)state;
	aic_http_route_init(&r, false, 1);
	assert_int_equal(begin_all(&r, 20, &n), 1);
	connect_all(&r, AIC_HTTP_2);
	assert_int_equal(begin_all(&r, 19, &n), 0);
	assert_int_equal(n, 19);
}

/* 2,000 calls, of which none ends. */
static void
a_crowd_gets_its_streams_and_no_more_connections_than_may_be(void **state)
{
	struct aic_http_route r;
	int n, begun = 0, rounds;

	(void)state;
	aic_http_route_init(&r, false, 32);
	begin_all(&r, 2000, &begun);
	for (rounds = 0; begun < 2000; rounds++) {
		assert_in_range(rounds, 0, 100);
		connect_all(&r, AIC_HTTP_2);
		begin_all(&r, 2000 - begun, &n);
		begun += n;
		assert_in_range(r.sockets, 1, 32);
		assert_in_range(r.opening, 0, 8);
	}
	connect_all(&r, AIC_HTTP_2);
	assert_int_equal(r.calls, 2000);
	/* Enough for all of them, and none has more than its share. */
	assert_true(aic_http_route_streams(&r) * r.sockets >= 2000);
	assert_true(aic_http_route_streams(&r) <= 2000 / r.sockets + 1);
}

static void
all_streams_taken_is_waiting_for_one(void **state)
{
	struct aic_http_route r;
	int n;

	(void)state;
	aic_http_route_init(&r, false, 2);
	r.sockets = 2;
	r.protocol = AIC_HTTP_2;
	assert_int_equal(begin_all(&r, 1000, &n), 0);
	assert_int_equal(n, 200);
	r.calls--;
	assert_int_equal(begin(&r), AIC_HTTP_REUSE);
	assert_int_equal(begin(&r), AIC_HTTP_WAIT);
}

static void
a_few_calls_share_a_connection(void **state)
{
	struct aic_http_route r;
	int i;

	(void)state;
	aic_http_route_init(&r, false, 32);
	r.protocol = AIC_HTTP_2;
	r.sockets = 1;
	for (i = 0; i < 3; i++)
		assert_int_equal(begin(&r), AIC_HTTP_REUSE);
}

static void
connections_that_have_ended_are_made_anew(void **state)
{
	struct aic_http_route r;

	(void)state;
	aic_http_route_init(&r, false, 32);
	r.protocol = AIC_HTTP_2;
	r.sockets = r.stale = 3;
	assert_false(aic_http_route_connected(&r));
	assert_int_equal(begin(&r), AIC_HTTP_OPEN);
	r.protocol = AIC_HTTP_1;
	assert_int_equal(begin(&r), AIC_HTTP_OPEN);
}

/* 2,000 calls to a server of HTTP/1.1. */
static void
with_http_1_each_call_has_a_connection_and_they_are_opened_by_and_by(void *
	*state)
{
	struct aic_http_route r;
	int n, begun = 0, opened = 0, rounds;

	(void)state;
	aic_http_route_init(&r, true, 32);
	for (rounds = 0; begun < 2000; rounds++) {
		assert_in_range(rounds, 0, 100);
		opened += begin_all(&r, 2000 - begun, &n);
		begun += n;
		assert_in_range(r.opening, 1, 100);
		connect_all(&r, AIC_HTTP_1);
	}
	assert_int_equal(opened, 2000);
	/* One call ends, and the next one takes its connection. */
	r.calls--;
	assert_int_equal(begin(&r), AIC_HTTP_REUSE);
	assert_int_equal(begin(&r), AIC_HTTP_OPEN);
}

UNIT_MAIN(T(a_server_that_nothing_is_known_of_gets_a_few_connections),
    T(one_connection_is_one_from_the_first_call_on),
    T(a_crowd_gets_its_streams_and_no_more_connections_than_may_be),
    T(all_streams_taken_is_waiting_for_one), T(a_few_calls_share_a_connection),
    T(connections_that_have_ended_are_made_anew),
    T(with_http_1_each_call_has_a_connection_and_they_are_opened_by_and_by))
