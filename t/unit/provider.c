#include "config.h"

#include "lib/provider.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "server.h"
#include "unit.h"

#define KEY "kEy-CaNaRy="

static struct aic_err err;
static struct aic_http *http;
static char path[] = "/tmp/ai-chat-unit-provider-XXXXXX";

static const struct aic_provider_conf first = { .base_url = "https://a/v1",
	.api_key = "key-a",
	.name = "model-a",
	.proxy = "http://proxy-a:1",
	.ca_file = "/a.pem",
	.headers_file = "/a.headers",
	.extra_body_file = "/a.json",
	.auth = AIC_PROVIDER_GIGACHAT,
	.auth_url = "https://auth-a",
	.auth_scope = "scope-a" };

/* --- a fallback provider ------------------------------------------------ */

static void
a_fallback_without_url_key_and_name_is_not_set(void **state)
{
	struct aic_provider_conf second = { .proxy = "direct",
		.ca_file = "/b.pem" };

	(void)state;
	assert_false(aic_provider_inherit(&second, &first));
}

static void
a_fallback_on_the_same_server_inherits_every_unset_value(void **state)
{
	static const char *const urls[] = { NULL, "https://a/v1" };
	struct aic_provider_conf second;
	size_t i;

	(void)state;
	for (i = 0; i < 2; i++) {
		second = (struct aic_provider_conf){ .base_url = urls[i],
			.name = "model-b" };
		assert_true(aic_provider_inherit(&second, &first));
		assert_string_equal(second.base_url, "https://a/v1");
		assert_string_equal(second.api_key, "key-a");
		assert_string_equal(second.name, "model-b");
		assert_string_equal(second.proxy, "http://proxy-a:1");
		assert_string_equal(second.ca_file, "/a.pem");
		assert_string_equal(second.headers_file, "/a.headers");
		assert_string_equal(second.extra_body_file, "/a.json");
		assert_int_equal(second.auth, AIC_PROVIDER_GIGACHAT);
		assert_string_equal(second.auth_url, "https://auth-a");
		assert_string_equal(second.auth_scope, "scope-a");
	}
}

static void
a_fallback_on_another_server_inherits_only_name_and_proxy(void **state)
{
	struct aic_provider_conf second = { .base_url = "https://b/v1" };

	(void)state;
	assert_true(aic_provider_inherit(&second, &first));
	assert_string_equal(second.base_url, "https://b/v1");
	assert_string_equal(second.name, "model-a");
	assert_string_equal(second.proxy, "http://proxy-a:1");
	assert_null(second.api_key);
	assert_null(second.ca_file);
	assert_null(second.headers_file);
	assert_null(second.extra_body_file);
	assert_int_equal(second.auth, AIC_PROVIDER_AUTH_UNSET);
	assert_null(second.auth_url);
	assert_null(second.auth_scope);
}

static void
values_that_are_set_for_the_fallback_are_used(void **state)
{
	struct aic_provider_conf second = { .api_key = "key-b",
		.proxy = AIC_PROVIDER_DIRECT,
		.ca_file = "/b.pem",
		.headers_file = "/b.headers",
		.auth = AIC_PROVIDER_BEARER };

	(void)state;
	assert_true(aic_provider_inherit(&second, &first));
	assert_string_equal(second.headers_file, "/b.headers");
	assert_int_equal(second.auth, AIC_PROVIDER_BEARER);
	assert_string_equal(second.api_key, "key-b");
	assert_string_equal(second.proxy, "direct");
	assert_string_equal(second.ca_file, "/b.pem");
}

/* --- opening ------------------------------------------------------------ */

static void
put_file(const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static struct aic_provider_conf
plain(void)
{
	return (struct aic_provider_conf){
		.base_url = "https://a/v1", .api_key = KEY, .name = "m"
	};
}

static void
a_provider_has_its_url_headers_and_model(void **state)
{
	struct aic_provider_conf conf = plain();
	struct aic_provider *p;

	(void)state;
	conf.proxy = "http://proxy-a:1";
	assert_int_equal(aic_provider_open(&p, &conf, &err), AIC_OK);
	assert_string_equal(p->url, "https://a/v1/chat/completions");
	assert_string_equal(p->model, ",\"model\":\"m\"");
	assert_string_equal(p->headers[0], "Authorization: Bearer " KEY);
	assert_string_equal(p->proxy, "http://proxy-a:1");
	assert_null(p->trust);
	assert_int_equal(p->n_secrets, 1);
	assert_string_equal(p->secrets[0], KEY);
	aic_provider_close(p);
}

static void
a_file_without_a_certificate_is_refused_by_its_name(void **state)
{
	struct aic_provider_conf conf = plain();
	struct aic_provider *p;

	(void)state;
	conf.ca_file = "/dev/null";
	memset(&err, 0, sizeof(err));
	assert_int_equal(aic_provider_open(&p, &conf, &err), AIC_ECONF);
	assert_non_null(strstr(err.detail, "/dev/null"));
}

static void
direct_is_no_proxy(void **state)
{
	struct aic_provider_conf conf = plain();
	struct aic_provider *p;

	(void)state;
	conf.proxy = AIC_PROVIDER_DIRECT;
	assert_int_equal(aic_provider_open(&p, &conf, &err), AIC_OK);
	assert_null(p->proxy);
	aic_provider_close(p);
}

static void
the_key_is_sent_in_the_header_of_its_kind(void **state)
{
	static const struct {
		enum aic_provider_auth auth;
		const char *header;
	} rows[] = {
		{ AIC_PROVIDER_AUTH_UNSET, "Authorization: Bearer " KEY },
		{ AIC_PROVIDER_BEARER, "Authorization: Bearer " KEY },
		{ AIC_PROVIDER_API_KEY, "api-key: " KEY },
		{ AIC_PROVIDER_GIGACHAT, NULL },
	};
	struct aic_provider_conf conf = plain();
	struct aic_provider *p;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		conf.auth = rows[i].auth;
		assert_int_equal(aic_provider_open(&p, &conf, &err), AIC_OK);
		if (rows[i].header)
			assert_string_equal(p->headers[0], rows[i].header);
		else
			assert_null(p->headers[0]);
		assert_true((p->gigachat != NULL) == (rows[i].header == NULL));
		aic_provider_close(p);
	}
}

static void
an_invalid_file_is_refused_with_the_name_of_its_setting(void **state)
{
	struct aic_provider_conf conf = plain();
	struct aic_provider *p = NULL;

	(void)state;
	put_file("Host: x");
	conf.headers_file = path;
	assert_int_equal(aic_provider_open(&p, &conf, &err), AIC_ECONF);
	assert_non_null(strstr(err.detail, "OPENAI_HEADERS_FILE"));
	conf.prefix = "OPENAI_FALLBACK_";
	assert_int_equal(aic_provider_open(&p, &conf, &err), AIC_ECONF);
	assert_non_null(strstr(err.detail, "OPENAI_FALLBACK_HEADERS_FILE"));
	conf.headers_file = NULL;
	conf.extra_body_file = path;
	assert_int_equal(aic_provider_open(&p, &conf, &err), AIC_ECONF);
	assert_non_null(strstr(err.detail, "OPENAI_FALLBACK_EXTRA_BODY_FILE"));
	assert_null(p);
}

static void
an_operator_cannot_set_api_key_where_the_key_uses_it(void **state)
{
	struct aic_provider_conf conf = plain();
	struct aic_provider *p;

	(void)state;
	put_file("api-key: " KEY "2\n");
	conf.headers_file = path;
	assert_int_equal(aic_provider_open(&p, &conf, &err), AIC_OK);
	assert_string_equal(p->headers[4], "api-key: " KEY "2");
	aic_provider_close(p);
	conf.auth = AIC_PROVIDER_API_KEY;
	assert_int_equal(aic_provider_open(&p, &conf, &err), AIC_ECONF);
	assert_null(strstr(err.detail, KEY));
}

static void
values_of_headers_are_secrets_unless_they_are_short(void **state)
{
	struct aic_provider_conf conf = plain();
	struct aic_provider *p;

	(void)state;
	put_file("X-A: false\nX-B:  header-canary\n");
	conf.headers_file = path;
	assert_int_equal(aic_provider_open(&p, &conf, &err), AIC_OK);
	assert_int_equal(p->n_secrets, 2);
	assert_string_equal(p->secrets[1], "header-canary");
	aic_provider_close(p);
}

/* --- a call with a token ------------------------------------------------ */

#define TOKEN "{\"access_token\":\"tOkEn-1\",\"expires_at\":1}"

static struct server_step
reply(int status, const char *body)
{
	return server_reply(status, "", body, strlen(body));
}

struct chat {
	struct server *auth, *model;
	struct aic_provider *p;
	struct aic_http_answer answer;
	enum aic_provider_token token;
};

static void
begin(struct chat *c, struct server_step auth, struct server_step model)
{
	struct aic_provider_conf conf = plain();

	memset(c, 0, sizeof(*c));
	c->auth = server_new(&auth, 1);
	c->model = server_new(&model, 1);
	conf.base_url = server_url(c->model);
	conf.auth = AIC_PROVIDER_GIGACHAT;
	conf.auth_url = server_url(c->auth);
	assert_int_equal(aic_provider_open(&c->p, &conf, &err), AIC_OK);
}

static void
post(struct chat *c)
{
	struct aic_buf body;
	struct aic_provider_call call = { .body = &body,
		.deadline_us = aic_clock_us() + 8 * AIC_S };

	aic_buf_init(&body, 100);
	aic_buf_puts(&body, "{}");
	aic_buf_done(&c->answer.body);
	c->token = aic_provider_post(c->p, http, &call, &c->answer);
	assert_null(strstr(c->answer.why, KEY));
	assert_null(strstr(c->answer.why, "tOkEn"));
	aic_buf_done(&body);
}

static void
end(struct chat *c)
{
	aic_buf_done(&c->answer.body);
	aic_provider_close(c->p);
	server_free(c->auth);
	server_free(c->model);
}

static void
a_token_is_requested_once_and_sent_with_each_call(void **state)
{
	struct chat c;
	int i;

	(void)state;
	begin(&c, reply(200, TOKEN), reply(200, "hello"));
	for (i = 0; i < 3; i++) {
		post(&c);
		assert_int_equal(c.token, AIC_PROVIDER_TOKEN_USED);
		assert_int_equal(c.answer.end, AIC_HTTP_ANSWERED);
		assert_string_equal(c.answer.body.data, "hello");
		assert_non_null(strstr(server_head(c.model, i),
		    "\r\nAuthorization: Bearer tOkEn-1"));
		assert_null(strstr(server_head(c.model, i), KEY));
	}
	assert_int_equal(server_requests(c.auth), 1);
	assert_non_null(strstr(server_head(c.auth, 0),
	    "\r\nAuthorization: Basic " KEY));
	assert_string_equal(server_body(c.auth, 0), "scope=GIGACHAT_API_PERS");
	end(&c);
}

static void
without_a_token_nothing_is_sent_to_the_model(void **state)
{
	static const struct {
		int status;
		enum aic_http_end end;
		const char *says;
	} rows[] = { { 500, AIC_HTTP_CONNECT, "HTTP 500" },
		{ 401, AIC_HTTP_FAILED, "HTTP 401" } };
	struct chat c;
	size_t i;

	(void)state;
	for (i = 0; i < 2; i++) {
		begin(&c, reply(rows[i].status, KEY), reply(200, "hello"));
		post(&c);
		assert_int_equal(c.token, AIC_PROVIDER_TOKEN_MISSING);
		assert_int_equal(c.answer.end, rows[i].end);
		assert_int_equal(c.answer.status, 0);
		assert_true(c.answer.retry_after_us < 0);
		assert_non_null(strstr(c.answer.why, rows[i].says));
		assert_int_equal(server_requests(c.model), 0);
		end(&c);
	}
}

static void
a_token_that_is_refused_is_renewed_once(void **state)
{
	struct chat c;

	(void)state;
	begin(&c, reply(200, TOKEN), reply(401, "no"));
	post(&c);
	assert_int_equal(c.token, AIC_PROVIDER_TOKEN_STALE);
	post(&c);
	assert_int_equal(c.token, AIC_PROVIDER_TOKEN_USED);
	assert_int_equal(c.answer.status, 401);
	assert_int_equal(server_requests(c.auth), 2);
	end(&c);
}

static void
a_token_that_an_error_quotes_is_replaced(void **state)
{
	struct chat c;

	(void)state;
	begin(&c, reply(200, TOKEN),
	    reply(400, "tOkEn-1, {\"code\":\"x tOkEn-1tOkEn-1\"} tOkEn-"));
	post(&c);
	assert_string_equal(c.answer.body.data,
	    "*******, {\"code\":\"x **************\"} tOkEn-");
	end(&c);
}

static void
close_accepts_null(void **state)
{
	(void)state;
	aic_provider_close(NULL);
}

static int
set_up(void **state)
{
	struct aic_http_conf conf = { .calls_max = 8 };
	int fd = mkstemp(path);

	(void)state;
	if (fd < 0)
		return -1;
	close(fd);
	return aic_http_open(&http, &conf, &err) == AIC_OK ? 0 : -1;
}

static int
tear_down(void **state)
{
	(void)state;
	aic_http_close(http);
	unlink(path);
	return 0;
}

UNIT_MAIN_WITH(set_up, tear_down,
    T(a_fallback_without_url_key_and_name_is_not_set),
    T(a_fallback_on_the_same_server_inherits_every_unset_value),
    T(a_fallback_on_another_server_inherits_only_name_and_proxy),
    T(values_that_are_set_for_the_fallback_are_used),
    T(a_provider_has_its_url_headers_and_model),
    T(a_file_without_a_certificate_is_refused_by_its_name),
    T(direct_is_no_proxy), T(the_key_is_sent_in_the_header_of_its_kind),
    T(an_invalid_file_is_refused_with_the_name_of_its_setting),
    T(an_operator_cannot_set_api_key_where_the_key_uses_it),
    T(values_of_headers_are_secrets_unless_they_are_short),
    T(a_token_is_requested_once_and_sent_with_each_call),
    T(without_a_token_nothing_is_sent_to_the_model),
    T(a_token_that_is_refused_is_renewed_once),
    T(a_token_that_an_error_quotes_is_replaced), T(close_accepts_null))
