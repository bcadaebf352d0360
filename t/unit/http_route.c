#include "config.h"

#include "lib/http_route.h"

#include "unit.h"

/* Begins a call as the engine does; returns its admission. */
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

/*
 * Begins as many calls as the route admits; returns how many open a connection.
 */
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

/* The connections in preparation are open and have this version of HTTP. */
static void
connect_all(struct aic_http_route *r, enum aic_http_protocol protocol)
{
	r->protocol = protocol;
	r->connecting = 0;
	r->opening = 0;
}

static void
a_server_of_unknown_protocol_gets_a_few_connections(void **state)
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
with_a_limit_of_one_connection_only_the_first_call_opens_one(void **state)
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

/* 2,000 calls of which none ends. */
static void
many_calls_get_streams_on_no_more_connections_than_allowed(void **state)
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
	/*
	 * The streams suffice for all calls, and no connection has more than
	 * its share.
	 */
	assert_true(aic_http_route_streams(&r) * r.sockets >= 2000);
	assert_true(aic_http_route_streams(&r) <= 2000 / r.sockets + 1);
}

static void
when_all_streams_are_in_use_a_call_waits_for_one(void **state)
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
connections_that_have_closed_are_replaced(void **state)
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

/* 2,000 calls to an HTTP/1.1 server. */
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
	/* One call ends, and the next one takes over its connection. */
	r.calls--;
	assert_int_equal(begin(&r), AIC_HTTP_REUSE);
	assert_int_equal(begin(&r), AIC_HTTP_OPEN);
}

UNIT_MAIN(T(a_server_of_unknown_protocol_gets_a_few_connections),
    T(with_a_limit_of_one_connection_only_the_first_call_opens_one),
    T(many_calls_get_streams_on_no_more_connections_than_allowed),
    T(when_all_streams_are_in_use_a_call_waits_for_one),
    T(a_few_calls_share_a_connection),
    T(connections_that_have_closed_are_replaced),
    T(with_http_1_each_call_has_a_connection_and_they_are_opened_by_and_by))
