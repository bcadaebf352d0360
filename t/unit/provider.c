#include "config.h"

#include "provider.h"

#include <string.h>

#include "unit.h"

static struct aic_err err;

static const struct aic_provider_conf first = { .base_url = "https://a/v1",
	.api_key = "key-a",
	.name = "model-a",
	.proxy = "http://proxy-a:1",
	.ca_file = "/a.pem" };

/* --- a second provider --------------------------------------------------- */

static void
a_second_with_neither_url_nor_key_nor_name_is_not_set(void **state)
{
	struct aic_provider_conf second = { .proxy = "direct",
		.ca_file = "/b.pem" };

	(void)state;
	assert_false(aic_provider_inherit(&second, &first));
}

static void
a_second_on_the_same_server_inherits_all_that_it_leaves_out(void **state)
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
	}
}

static void
a_second_on_another_server_inherits_only_name_and_proxy(void **state)
{
	struct aic_provider_conf second = { .base_url = "https://b/v1" };

	(void)state;
	assert_true(aic_provider_inherit(&second, &first));
	assert_string_equal(second.base_url, "https://b/v1");
	assert_string_equal(second.name, "model-a");
	assert_string_equal(second.proxy, "http://proxy-a:1");
	assert_null(second.api_key);
	assert_null(second.ca_file);
}

static void
what_a_second_sets_is_its_own(void **state)
{
	struct aic_provider_conf second = { .api_key = "key-b",
		.proxy = AIC_PROVIDER_DIRECT,
		.ca_file = "/b.pem" };

	(void)state;
	assert_true(aic_provider_inherit(&second, &first));
	assert_string_equal(second.api_key, "key-b");
	assert_string_equal(second.proxy, "direct");
	assert_string_equal(second.ca_file, "/b.pem");
}

/* --- opening ------------------------------------------------------------- */

static void
a_provider_is_its_url_its_headers_and_its_model(void **state)
{
	struct aic_provider *p;

	(void)state;
	assert_int_equal(aic_provider_open(&p, &first, &err), AIC_OK);
	assert_string_equal(p->url, "https://a/v1/chat/completions");
	assert_string_equal(p->model, ",\"model\":\"model-a\"");
	assert_string_equal(p->headers[0], "Authorization: Bearer key-a");
	assert_string_equal(p->proxy, "http://proxy-a:1");
	assert_string_equal(p->ca_file, "/a.pem");
	aic_provider_close(p);
}

static void
direct_is_no_proxy(void **state)
{
	struct aic_provider_conf conf = first;
	struct aic_provider *p;

	(void)state;
	conf.proxy = AIC_PROVIDER_DIRECT;
	assert_int_equal(aic_provider_open(&p, &conf, &err), AIC_OK);
	assert_null(p->proxy);
	aic_provider_close(p);
}

static void
close_copes_with_null(void **state)
{
	(void)state;
	aic_provider_close(NULL);
}

UNIT_MAIN(T(a_second_with_neither_url_nor_key_nor_name_is_not_set),
    T(a_second_on_the_same_server_inherits_all_that_it_leaves_out),
    T(a_second_on_another_server_inherits_only_name_and_proxy),
    T(what_a_second_sets_is_its_own),
    T(a_provider_is_its_url_its_headers_and_its_model), T(direct_is_no_proxy),
    T(close_copes_with_null))
