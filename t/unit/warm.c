#include "config.h"

#include "lib/warm.h"

#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "server.h"
#include "unit.h"

#define LONG_US (10 * AIC_S)

static struct aic_http *http;
static struct aic_warm warm;
static struct aic_provider *provider;
static char why[AIC_HTTP_WHY_SIZE];

static int
set_up(void **state)
{
	struct aic_http_conf conf = { .calls_max = 4 };
	struct aic_err err = AIC_ERR_INIT;

	(void)state;
	aic_warm_init(&warm);
	return aic_http_open(&http, &conf, &err) == AIC_OK ? 0 : -1;
}

static int
tear_down(void **state)
{
	(void)state;
	aic_warm_done(&warm);
	aic_provider_close(provider);
	provider = NULL;
	aic_http_close(http);
	return 0;
}

static void
open_provider(const char *base_url)
{
	struct aic_provider_conf conf = { .base_url = base_url,
		.api_key = "key",
		.name = "m",
		.auth = AIC_PROVIDER_BEARER };
	struct aic_err err = AIC_ERR_INIT;

	assert_int_equal(aic_provider_open(&provider, &conf, &err), AIC_OK);
}

static struct server *
serve(int status, const char *body)
{
	struct server_step step = server_reply(status, "", body, strlen(body));

	return server_new(&step, 1);
}

/* Looks at this time, again and again until the GET has ended. */
static enum aic_warm_change
look(int64_t now_us)
{
	int64_t until = aic_clock_us() + LONG_US;
	enum aic_warm_change is;

	do {
		is = aic_warm_look(&warm, http, provider, now_us, why);
		aic_clock_sleep(aic_clock_us() + AIC_MS);
	} while (is == AIC_WARM_SAME && warm.call && aic_clock_us() < until);
	assert_null(warm.call);
	return is;
}

static void
the_first_get_is_due_at_once_and_requests_the_models(void **state)
{
	struct server *s = serve(200, "{}");

	(void)state;
	open_provider(server_url(s));
	assert_int_equal(look(aic_clock_us()), AIC_WARM_SAME);
	assert_int_equal(server_requests(s), 1);
	assert_int_equal(strncmp(server_head(s, 0), "GET /models HTTP", 16), 0);
	assert_non_null(strstr(server_head(s, 0), "Authorization: Bearer key"));
	server_free(s);
}

static void
a_get_is_due_after_forty_seconds_without_a_call(void **state)
{
	struct server *s = serve(404, "no");
	int64_t now = aic_clock_us();

	(void)state;
	open_provider(server_url(s));
	look(now);
	look(now + 39 * AIC_S);
	assert_int_equal(server_requests(s), 1);
	aic_warm_used(&warm, now + 39 * AIC_S);
	look(now + 41 * AIC_S);
	assert_int_equal(server_requests(s), 1);
	look(now + 79 * AIC_S);
	assert_int_equal(server_requests(s), 2);
	/* All GETs use the same connection. */
	assert_int_equal(server_connections(s), 1);
	server_free(s);
}

static void
a_model_that_cannot_be_reached_is_reported_once(void **state)
{
	int64_t now = aic_clock_us();
	struct server *s;

	(void)state;
	open_provider("http://127.0.0.1:1");
	assert_int_equal(look(now), AIC_WARM_LOST);
	assert_true(why[0] != '\0');
	assert_int_equal(look(now + 40 * AIC_S), AIC_WARM_SAME);
	aic_provider_close(provider);
	s = serve(401, "who are you");
	open_provider(server_url(s));
	assert_int_equal(look(now + 80 * AIC_S), AIC_WARM_FOUND);
	assert_int_equal(look(now + 120 * AIC_S), AIC_WARM_SAME);
	server_free(s);
}

#undef T
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

UNIT_MAIN(T(the_first_get_is_due_at_once_and_requests_the_models),
    T(a_get_is_due_after_forty_seconds_without_a_call),
    T(a_model_that_cannot_be_reached_is_reported_once))
