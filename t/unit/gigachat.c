#include "config.h"

#include "lib/gigachat.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "unit.h"

#define KEY "kEy-CaNaRy="

/* Unix time at the beginning of the tests, in ms. */
#define WALL_MS INT64_C(1800000000000)
#define MINUTE_US (60 * AIC_S)

/*
 * --- simulated clocks and token endpoint
 * ---------------------------------------
 */

static int64_t now; /* of both clocks, in us since the test began */

static int64_t
fake_us(void)
{
	return now + 1;
}

static int64_t
fake_wall_ms(void)
{
	return WALL_MS + now / AIC_MS;
}

/* What the endpoint does with each request, and what it received. */
struct server {
	atomic_int requests;
	enum aic_http_end end;
	int status;
	const char *body; /* NULL: a numbered token that is valid for life_ms */
	int64_t life_ms;
	char head[1000]; /* of the last request; so is its body */
	char form[1000];
	int64_t deadline_us;
	int hold_ms; /* before it responds */
};

static void
reply(void *arg, const struct aic_http_request *req,
    struct aic_http_answer *answer)
{
	struct server *s = arg;
	int i, n = atomic_fetch_add(&s->requests, 1) + 1;

	s->head[0] = '\0';
	for (i = 0; req->headers[i]; i++)
		snprintf(s->head + strlen(s->head),
		    sizeof(s->head) - strlen(s->head), "%s\n", req->headers[i]);
	snprintf(s->form, sizeof(s->form), "%.*s", (int)req->body->len,
	    req->body->data);
	s->deadline_us = req->deadline_us;
	if (s->hold_ms > 0)
		aic_clock_sleep(aic_clock_us() + s->hold_ms * AIC_MS);
	answer->end = s->end;
	answer->status = s->status;
	snprintf(answer->why, sizeof(answer->why), "of the test");
	if (s->body)
		aic_buf_puts(&answer->body, s->body);
	else
		aic_buf_printf(&answer->body,
		    "{\"access_token\":\"token-%d\",\"expires_at\":%lld}", n,
		    (long long)(fake_wall_ms() + s->life_ms));
}

static struct server
half_an_hour(void)
{
	now = 0;
	return (struct server){
		.end = AIC_HTTP_ANSWERED, .status = 200, .life_ms = 1800000
	};
}

static struct aic_gigachat *
begin(const char *scope)
{
	struct aic_gigachat_conf conf = { .url = "https://auth/oauth",
		.key = KEY,
		.scope = scope,
		.now_us = fake_us,
		.wall_ms = fake_wall_ms };
	struct aic_err err = AIC_ERR_INIT;
	struct aic_gigachat *g;

	assert_int_equal(aic_gigachat_open(&g, &conf, &err), AIC_OK);
	return g;
}

static char why[AIC_HTTP_WHY_SIZE];
static uint64_t serial; /* of the last token */

static enum aic_http_end
get_within(struct aic_gigachat *g, struct server *s, int64_t seconds_us,
    char *to, size_t size)
{
	struct aic_gigachat_call call = { .send = reply,
		.send_arg = s,
		.deadline_us = aic_clock_us() + seconds_us };
	struct aic_gigachat_token token = { .header = NULL };
	enum aic_http_end end;

	why[0] = '\0';
	end = aic_gigachat_get(g, &call, &token, why);
	assert_null(strstr(why, KEY));
	assert_null(strstr(why, "token-"));
	to[0] = '\0';
	if (end == AIC_HTTP_ANSWERED) {
		snprintf(to, size, "%s", token.header);
		assert_string_equal(token.text, token.header + 22);
		serial = token.serial;
	} else {
		assert_null(token.header);
	}
	aic_gigachat_token_done(&token);
	return end;
}

/* The n-th token of the endpoint. */
static void
is_token(struct aic_gigachat *g, struct server *s, int n)
{
	char got[100], want[100];

	assert_int_equal(get_within(g, s, 60 * AIC_S, got, sizeof(got)),
	    AIC_HTTP_ANSWERED);
	snprintf(want, sizeof(want), "Authorization: Bearer token-%d", n);
	assert_string_equal(got, want);
}

static void
is_none(struct aic_gigachat *g, struct server *s, enum aic_http_end end,
    const char *says)
{
	char got[100];

	assert_int_equal(get_within(g, s, 60 * AIC_S, got, sizeof(got)), end);
	if (!strstr(why, says))
		fail_msg("\"%s\" does not say \"%s\"", why, says);
}

/* --- the request -------------------------------------------------------- */

static void
a_token_is_requested_with_the_key_a_uuid_and_the_scope(void **state)
{
	struct server s = half_an_hour();
	struct aic_gigachat *g = begin("GIGACHAT_API_B2B");
	const char *id;
	size_t i;

	(void)state;
	is_token(g, &s, 1);
	assert_non_null(strstr(s.head, "Authorization: Basic " KEY "\n"));
	assert_non_null(strstr(s.head,
	    "Content-Type: application/x-www-form-urlencoded\n"));
	assert_string_equal(s.form, "scope=GIGACHAT_API_B2B");
	id = strstr(s.head, "RqUID: ");
	assert_non_null(id);
	id += 7;
	for (i = 0; i < 36; i++)
		if (i == 8 || i == 13 || i == 18 || i == 23)
			assert_int_equal(id[i], '-');
		else
			assert_non_null(strchr("0123456789abcdef", id[i]));
	assert_int_equal(id[14], '4');
	assert_non_null(strchr("89ab", id[19]));
	assert_int_equal(id[36], '\n');
	aic_gigachat_close(g);
}

static void
each_request_has_a_uuid_of_its_own(void **state)
{
	struct server s = half_an_hour();
	struct aic_gigachat *g = begin("s");
	char first[1000];

	(void)state;
	is_token(g, &s, 1);
	memcpy(first, s.head, sizeof(first));
	now += 31 * MINUTE_US;
	is_token(g, &s, 2);
	assert_string_not_equal(first, s.head);
	aic_gigachat_close(g);
}

static void
the_scope_is_sent_as_a_form(void **state)
{
	struct server s = half_an_hour();
	struct aic_gigachat *g = begin("a b&c=%\xd0\xba");

	(void)state;
	is_token(g, &s, 1);
	assert_string_equal(s.form, "scope=a%20b%26c%3D%25%D0%BA");
	aic_gigachat_close(g);
}

/*
 * --- how long a token is used
 * ----------------------------------------------------
 */

static void
a_token_is_used_for_four_fifths_of_its_life(void **state)
{
	struct server s = half_an_hour();
	struct aic_gigachat *g = begin("s");

	(void)state;
	is_token(g, &s, 1);
	now = 24 * MINUTE_US - 1;
	is_token(g, &s, 1);
	now = 24 * MINUTE_US;
	is_token(g, &s, 2);
	now = 47 * MINUTE_US;
	is_token(g, &s, 2);
	aic_gigachat_close(g);
}

static void
an_impossible_expiry_time_is_replaced_by_the_usual_one(void **state)
{
	static const struct {
		int64_t life_ms, renewed_us;
	} rows[] = {
		/* The clock of this machine is a day late, or early. */
		{ 86400000 + 1800000, 24 * MINUTE_US },
		{ INT64_C(1) << 50, 24 * MINUTE_US },
		{ -86400000, 8 * MINUTE_US },
		{ 0, 8 * MINUTE_US },
		/* The time from the response, as long as it is possible. */
		{ 60000, 48 * AIC_S },
	};
	struct aic_gigachat *g;
	struct server s;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		s = half_an_hour();
		s.life_ms = rows[i].life_ms;
		g = begin("s");
		is_token(g, &s, 1);
		now = rows[i].renewed_us - 1;
		is_token(g, &s, 1);
		now = rows[i].renewed_us;
		is_token(g, &s, 2);
		aic_gigachat_close(g);
	}
}

static void
a_token_without_an_expiry_time_is_used(void **state)
{
	static const char *const bodies[] = { "{\"access_token\":\"token-1\"}",
		"{\"access_token\":\"token-1\",\"expires_at\":\"soon\"}",
		"{\"access_token\":\"token-1\",\"expires_at\":null}" };
	struct aic_gigachat *g;
	struct server s;
	size_t i;

	(void)state;
	for (i = 0; i < 3; i++) {
		s = half_an_hour();
		s.body = bodies[i];
		g = begin("s");
		is_token(g, &s, 1);
		now = 8 * MINUTE_US - 1;
		is_token(g, &s, 1);
		assert_int_equal(s.requests, 1);
		aic_gigachat_close(g);
	}
}

static void
a_token_that_expires_at_once_is_used_for_one_chat(void **state)
{
	struct server s = half_an_hour();
	struct aic_gigachat *g = begin("s");

	(void)state;
	s.life_ms = 1;
	is_token(g, &s, 1);
	now += AIC_S;
	is_token(g, &s, 2);
	assert_int_equal(s.requests, 2);
	aic_gigachat_close(g);
}

static void
after_a_failed_early_renewal_the_old_token_is_used(void **state)
{
	struct server s = half_an_hour();
	struct aic_gigachat *g = begin("s");
	int64_t start = aic_clock_us();

	(void)state;
	is_token(g, &s, 1);
	s.status = 500;
	now = 25 * MINUTE_US;
	is_token(g, &s, 1);
	assert_int_equal(s.requests, 2);
	/* An early renewal must not delay the chat. */
	assert_true(s.deadline_us - start < 5 * AIC_S);
	is_token(g, &s, 1);
	assert_int_equal(s.requests, 2);
	now += 10 * AIC_S;
	is_token(g, &s, 1);
	assert_int_equal(s.requests, 3);
	now = 31 * MINUTE_US;
	is_none(g, &s, AIC_HTTP_CONNECT, "HTTP 500");
	s.status = 200;
	now += AIC_S;
	is_token(g, &s, 5);
	aic_gigachat_close(g);
}

/* --- failures ----------------------------------------------------------- */

static void
after_a_failure_no_token_is_requested_for_a_while(void **state)
{
	static const struct {
		enum aic_http_end end, want;
		int status;
		const char *body, *says;
		int64_t pause_us;
	} rows[] = {
		{ AIC_HTTP_ANSWERED, AIC_HTTP_CONNECT, 500, "x", "HTTP 500",
		    AIC_GIGACHAT_PAUSE_US },
		{ AIC_HTTP_ANSWERED, AIC_HTTP_CONNECT, 429, "x", "HTTP 429",
		    AIC_GIGACHAT_PAUSE_US },
		{ AIC_HTTP_ANSWERED, AIC_HTTP_CONNECT, 200, "<html>",
		    "not JSON", AIC_GIGACHAT_PAUSE_US },
		{ AIC_HTTP_ANSWERED, AIC_HTTP_CONNECT, 200, "[]",
		    "no access_token", AIC_GIGACHAT_PAUSE_US },
		{ AIC_HTTP_ANSWERED, AIC_HTTP_CONNECT, 200,
		    "{\"access_token\":1}", "no access_token",
		    AIC_GIGACHAT_PAUSE_US },
		{ AIC_HTTP_ANSWERED, AIC_HTTP_CONNECT, 200,
		    "{\"access_token\":\"\"}", "not fit for a header",
		    AIC_GIGACHAT_PAUSE_US },
		{ AIC_HTTP_ANSWERED, AIC_HTTP_CONNECT, 200,
		    "{\"access_token\":\"a\\r\\nX: b\"}",
		    "not fit for a header", AIC_GIGACHAT_PAUSE_US },
		{ AIC_HTTP_ANSWERED, AIC_HTTP_CONNECT, 200,
		    "{\"access_token\":\"a\\u0000b\"}", "not fit for a header",
		    AIC_GIGACHAT_PAUSE_US },
		{ AIC_HTTP_CONNECT, AIC_HTTP_CONNECT, 0, "", "of the test",
		    AIC_GIGACHAT_PAUSE_US },
		{ AIC_HTTP_BROKEN, AIC_HTTP_CONNECT, 0, "", "of the test",
		    AIC_GIGACHAT_PAUSE_US },
		{ AIC_HTTP_TIMEOUT, AIC_HTTP_CONNECT, 0, "", "of the test",
		    AIC_GIGACHAT_PAUSE_US },
		{ AIC_HTTP_ANSWERED, AIC_HTTP_FAILED, 401, "x", "HTTP 401",
		    AIC_GIGACHAT_REFUSED_US },
		{ AIC_HTTP_ANSWERED, AIC_HTTP_FAILED, 400, "x", "HTTP 400",
		    AIC_GIGACHAT_REFUSED_US },
		{ AIC_HTTP_ANSWERED, AIC_HTTP_FAILED, 302, "x", "HTTP 302",
		    AIC_GIGACHAT_REFUSED_US },
		{ AIC_HTTP_FAILED, AIC_HTTP_FAILED, 0, "", "of the test",
		    AIC_GIGACHAT_REFUSED_US },
	};
	struct aic_gigachat *g;
	struct server s;
	char got[100];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		s = half_an_hour();
		s.end = rows[i].end;
		s.status = rows[i].status;
		s.body = rows[i].body;
		g = begin("s");
		is_none(g, &s, rows[i].want, rows[i].says);
		assert_int_equal(strncmp(why, "could not get a token: ", 23),
		    0);
		now += rows[i].pause_us - 1;
		/*
		 * A refused key fails at once; after other failures a chat
		 * waits for the next try.
		 */
		assert_int_equal(get_within(g, &s, 50 * AIC_MS, got,
				     sizeof(got)),
		    rows[i].want == AIC_HTTP_FAILED ? AIC_HTTP_FAILED
						    : AIC_HTTP_TIMEOUT);
		assert_int_equal(strncmp(why, "could not get a token: ", 23),
		    0);
		assert_int_equal(s.requests, 1);
		now++;
		s = half_an_hour();
		now = rows[i].pause_us;
		is_token(g, &s, 1);
		aic_gigachat_close(g);
	}
}

static void
a_failure_that_concerns_one_chat_causes_no_pause(void **state)
{
	static const enum aic_http_end ends[] = { AIC_HTTP_GONE,
		AIC_HTTP_NO_MEMORY, AIC_HTTP_TIMEOUT };
	struct aic_gigachat *g;
	struct server s;
	char got[100];
	size_t i;

	(void)state;
	for (i = 0; i < 3; i++) {
		s = half_an_hour();
		s.end = ends[i];
		g = begin("s");
		/*
		 * The deadline of the caller is before that of the request for
		 * a token.
		 */
		assert_int_equal(get_within(g, &s, AIC_S, got, sizeof(got)),
		    ends[i]);
		s.end = AIC_HTTP_ANSWERED;
		is_token(g, &s, 2);
		aic_gigachat_close(g);
	}
}

/* --- a token that the API refuses --------------------------------------- */

static void
a_refused_token_is_renewed_once(void **state)
{
	struct server s = half_an_hour();
	struct aic_gigachat *g = begin("s");
	uint64_t first;

	(void)state;
	is_token(g, &s, 1);
	first = serial;
	assert_true(aic_gigachat_refused(g, first));
	/*
	 * Another chat that used the same token, before and after the renewal.
	 */
	assert_true(aic_gigachat_refused(g, first));
	is_token(g, &s, 2);
	assert_true(aic_gigachat_refused(g, first));
	is_token(g, &s, 2);
	assert_int_equal(s.requests, 2);
	/* The new token is refused too, so age is not the reason. */
	assert_false(aic_gigachat_refused(g, serial));
	is_token(g, &s, 2);
	now += 10 * AIC_S;
	assert_true(aic_gigachat_refused(g, serial));
	is_token(g, &s, 3);
	aic_gigachat_close(g);
}

/* --- many at once ------------------------------------------------------- */

#define THREADS 20

struct thread {
	pthread_t id;
	struct aic_gigachat *g;
	struct server *s;
	int64_t deadline_us;
	bool (*gone)(void *arg);
	enum aic_http_end end;
	char header[100];
	char why[AIC_HTTP_WHY_SIZE];
};

static void *
run(void *arg)
{
	struct thread *t = arg;
	struct aic_gigachat_call call = { .send = reply,
		.send_arg = t->s,
		.deadline_us = aic_clock_us() + t->deadline_us,
		.gone = t->gone };
	struct aic_gigachat_token token = { .header = NULL };

	t->end = aic_gigachat_get(t->g, &call, &token, t->why);
	if (token.header)
		snprintf(t->header, sizeof(t->header), "%s", token.header);
	aic_gigachat_token_done(&token);
	return NULL;
}

static void
start(struct thread *t, struct aic_gigachat *g, struct server *s)
{
	*t = (struct thread){ .g = g, .s = s, .deadline_us = 20 * AIC_S };
	assert_int_equal(pthread_create(&t->id, NULL, run, t), 0);
}

static void
of_many_chats_one_requests_a_token_and_all_get_it(void **state)
{
	struct server s = half_an_hour();
	struct aic_gigachat *g = begin("s");
	struct thread t[THREADS];
	int i, round;

	(void)state;
	s.hold_ms = 200;
	for (round = 1; round <= 2; round++) {
		for (i = 0; i < THREADS; i++)
			start(&t[i], g, &s);
		for (i = 0; i < THREADS; i++) {
			pthread_join(t[i].id, NULL);
			assert_int_equal(t[i].end, AIC_HTTP_ANSWERED);
			assert_string_equal(t[i].header,
			    round == 1 ? "Authorization: Bearer token-1"
				       : "Authorization: Bearer token-2");
		}
		assert_int_equal(s.requests, round);
		now = 31 * MINUTE_US;
	}
	aic_gigachat_close(g);
}

static void
of_many_chats_one_request_fails_and_all_get_its_failure(void **state)
{
	struct server s = half_an_hour();
	struct aic_gigachat *g = begin("s");
	struct thread t[THREADS];
	int i;

	(void)state;
	s.hold_ms = 200;
	s.status = 503;
	for (i = 0; i < THREADS; i++)
		start(&t[i], g, &s);
	for (i = 0; i < THREADS; i++) {
		pthread_join(t[i].id, NULL);
		assert_int_equal(t[i].end, AIC_HTTP_CONNECT);
		assert_non_null(strstr(t[i].why, "HTTP 503"));
	}
	assert_int_equal(s.requests, 1);
	aic_gigachat_close(g);
}

static void
during_an_early_renewal_the_others_get_the_old_token_at_once(void **state)
{
	struct server s = half_an_hour();
	struct aic_gigachat *g = begin("s");
	struct thread t;
	int64_t start_us;

	(void)state;
	is_token(g, &s, 1);
	now = 25 * MINUTE_US;
	s.hold_ms = 1000;
	start(&t, g, &s);
	while (s.requests < 2)
		aic_clock_sleep(aic_clock_us() + AIC_MS);
	start_us = aic_clock_us();
	is_token(g, &s, 1);
	assert_true(aic_clock_us() - start_us < 500 * AIC_MS);
	pthread_join(t.id, NULL);
	assert_string_equal(t.header, "Authorization: Bearer token-2");
	aic_gigachat_close(g);
}

static bool
yes(void *arg)
{
	(void)arg;
	return true;
}

static void
a_chat_that_waits_for_a_renewal_ends_by_its_own_deadline(void **state)
{
	struct server s = half_an_hour();
	struct aic_gigachat *g = begin("s");
	struct thread first, late, gone;
	int64_t start_us = aic_clock_us();

	(void)state;
	s.hold_ms = 1500;
	start(&first, g, &s);
	while (s.requests < 1)
		aic_clock_sleep(aic_clock_us() + AIC_MS);
	late = (struct thread){ .g = g, .s = &s, .deadline_us = 100 * AIC_MS };
	run(&late);
	assert_int_equal(late.end, AIC_HTTP_TIMEOUT);
	gone = (struct thread){
		.g = g, .s = &s, .deadline_us = 20 * AIC_S, .gone = yes
	};
	run(&gone);
	assert_int_equal(gone.end, AIC_HTTP_GONE);
	assert_true(aic_clock_us() - start_us < 1400 * AIC_MS);
	pthread_join(first.id, NULL);
	assert_int_equal(first.end, AIC_HTTP_ANSWERED);
	assert_int_equal(s.requests, 1);
	aic_gigachat_close(g);
}

static void
close_accepts_null(void **state)
{
	(void)state;
	aic_gigachat_close(NULL);
}

UNIT_MAIN(T(a_token_is_requested_with_the_key_a_uuid_and_the_scope),
    T(each_request_has_a_uuid_of_its_own), T(the_scope_is_sent_as_a_form),
    T(a_token_is_used_for_four_fifths_of_its_life),
    T(an_impossible_expiry_time_is_replaced_by_the_usual_one),
    T(a_token_without_an_expiry_time_is_used),
    T(a_token_that_expires_at_once_is_used_for_one_chat),
    T(after_a_failed_early_renewal_the_old_token_is_used),
    T(after_a_failure_no_token_is_requested_for_a_while),
    T(a_failure_that_concerns_one_chat_causes_no_pause),
    T(a_refused_token_is_renewed_once),
    T(of_many_chats_one_requests_a_token_and_all_get_it),
    T(of_many_chats_one_request_fails_and_all_get_its_failure),
    T(during_an_early_renewal_the_others_get_the_old_token_at_once),
    T(a_chat_that_waits_for_a_renewal_ends_by_its_own_deadline),
    T(close_accepts_null))
