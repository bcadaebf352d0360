#include "config.h"

#include "lib/paths.h"

#include <stdlib.h>
#include <string.h>

#include "unit.h"

static void
a_list_is_divided_by_commas_and_blanks(void **state)
{
	struct aic_err err = AIC_ERR_INIT;
	struct aic_paths p;

	(void)state;
	assert_int_equal(aic_paths_read(&p,
			     " /a/{telegram_id},/b?x=1&id={telegram_id} ,\t"
			     "/{telegram_id}/{telegram_id},,",
			     &err),
	    AIC_OK);
	assert_int_equal(p.n, 3);
	assert_string_equal(p.path[0], "/a/{telegram_id}");
	assert_string_equal(p.path[1], "/b?x=1&id={telegram_id}");
	assert_string_equal(p.path[2], "/{telegram_id}/{telegram_id}");
	aic_paths_done(&p);
	aic_paths_done(&p);
	assert_null(p.text);
}

static void
an_invalid_path_is_refused(void **state)
{
	static const char *const bad[] = { "", " , ", "a/{telegram_id}", "/a",
		"/{telegram_id}#x", "/{telegram_id}\x7f", "/{telegram_id},b",
		"/1{telegram_id},/2{telegram_id},/3{telegram_id},"
		"/4{telegram_id},/5{telegram_id},/6{telegram_id},"
		"/7{telegram_id},/8{telegram_id},/9{telegram_id}" };
	struct aic_paths p = { .n = 77 };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct aic_err err = AIC_ERR_INIT;

		assert_int_equal(aic_paths_read(&p, bad[i], &err), AIC_ECONF);
		assert_true(err.detail[0] != '\0');
		assert_int_equal(p.n, 77);
	}
}

static void
the_id_replaces_each_placeholder(void **state)
{
	struct aic_buf b;

	(void)state;
	aic_buf_init(&b, 200);
	aic_paths_url(&b, "http://h:1", "/a/{telegram_id}?b={telegram_id}&c",
	    "42");
	assert_string_equal(b.data, "http://h:1/a/42?b=42&c");
	aic_buf_done(&b);
}

static void
a_missing_endpoint_differs_from_an_unknown_seller(void **state)
{
	static const struct {
		int status;
		const char *body;
		bool missing;
	} rows[] = { { 404, "{\"detail\":\"Not Found\"}", true },
		{ 404, " {\"detail\": \"Not Found\"}\n", true },
		{ 404, "{\"detail\":\"Seller not found\"}", false },
		{ 404, "{\"detail\":{\"error\":\"Not Found\"}}", false },
		{ 404, "{\"error\":\"Not Found\"}", false }, { 404, "", false },
		{ 404, "Not Found", false }, { 404, "[]", false },
		{ 200, "{\"detail\":\"Not Found\"}", false },
		{ 500, "{\"detail\":\"Not Found\"}", false } };
	struct aic_http_answer a;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		a = (struct aic_http_answer){ .end = AIC_HTTP_ANSWERED,
			.status = rows[i].status };
		aic_buf_init(&a.body, 1000);
		aic_buf_puts(&a.body, rows[i].body);
		assert_int_equal(aic_paths_is_missing(&a), rows[i].missing);
		a.end = AIC_HTTP_BROKEN;
		assert_false(aic_paths_is_missing(&a));
		aic_buf_done(&a.body);
	}
}

UNIT_MAIN(T(a_list_is_divided_by_commas_and_blanks),
    T(an_invalid_path_is_refused), T(the_id_replaces_each_placeholder),
    T(a_missing_endpoint_differs_from_an_unknown_seller))
