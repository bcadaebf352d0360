#include "config.h"

#include "lib/input.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

/* The fields of the body of a send, and one of history. */
struct values {
	int64_t id;
	const char *message;
	const char *context;
	int64_t limit;
	int64_t colour;
};

#define AT(field) offsetof(struct values, field)

static const char *const two[] = { "red", "blue", NULL };
static const char *const three[] = { "red", "blue", "green", NULL };

static const struct aic_input_field fields[] = {
	{ "telegram_id", AIC_INPUT_INT, .required = true, .min = 1,
	    .max = INT64_MAX, .offset = AT(id) },
	{ "message", AIC_INPUT_TEXT, .required = true, .not_blank = true,
	    .min = 1, .max = AIC_INPUT_MESSAGE_MAX, .offset = AT(message) },
	{ "user_context", AIC_INPUT_TEXT, .nullable = true, .min = 0,
	    .max = AIC_INPUT_CONTEXT_MAX, .offset = AT(context) },
	{ "limit", AIC_INPUT_INT, .min = 1, .max = 100, .preset = 10,
	    .offset = AT(limit) },
	{ "colour", AIC_INPUT_CHOICE, .nullable = true, .preset = -1,
	    .names = two, .offset = AT(colour) },
};

static enum aic_code
take_n(const char *body, size_t len, struct values *v,
    struct json_object **ret_doc, struct aic_err *err)
{
	*err = (struct aic_err)AIC_ERR_INIT;
	return aic_input_body(body, len, fields, 5, v, ret_doc, err);
}

/* Refused with one fault, of this type at this field. */
static void
refused_n(const char *body, size_t len, const char *type, const char *field)
{
	struct json_object *doc = NULL;
	struct aic_err err;
	struct values v;
	char got[200] = "taken";

	if (take_n(body, len, &v, &doc, &err) != AIC_OK)
		snprintf(got, sizeof(got), "%d faults, %s at %s", err.n_faults,
		    err.faults[0].type,
		    err.faults[0].field ? err.faults[0].field : "all");
	else
		json_object_put(doc);
	if (err.code != AIC_EINPUT || err.n_faults != 1 ||
	    strcmp(err.faults[0].type, type) != 0 ||
	    strcmp(err.faults[0].where, "body") != 0 ||
	    strcmp(err.faults[0].field ? err.faults[0].field : "",
		field ? field : "") != 0)
		fail_msg("%.200s: %s, not %s at %s", body, got, type,
		    field ? field : "all");
	assert_null(doc);
	assert_true(err.faults[0].msg[0] != '\0');
}

static void
refused(const char *body, const char *type, const char *field)
{
	refused_n(body, strlen(body), type, field);
}

static void
refused_id(const char *json, const char *type)
{
	char body[1000];

	snprintf(body, sizeof(body), "{\"telegram_id\":%s,\"message\":\"x\"}",
	    json);
	refused(body, type, "telegram_id");
}

static void
taken_id(const char *json, int64_t want)
{
	struct json_object *doc = NULL;
	struct aic_err err;
	struct values v;
	char body[1000];

	snprintf(body, sizeof(body), "{\"telegram_id\":%s,\"message\":\"x\"}",
	    json);
	if (take_n(body, strlen(body), &v, &doc, &err) != AIC_OK)
		fail_msg("%s was refused", json);
	assert_true(v.id == want);
	json_object_put(doc);
}

/* A body whose field consists of n copies of a text. */
static char *
repeat(const char *field, const char *what, size_t n)
{
	size_t len = strlen(what), i;
	char *s = malloc(200 + n * len), *p;

	p = s +
	    snprintf(s, 200, "{\"telegram_id\":1,%s\"%s\":\"",
		strcmp(field, "message") ? "\"message\":\"x\"," : "", field);
	for (i = 0; i < n; i++, p += len)
		memcpy(p, what, len);
	memcpy(p, "\"}", 3);
	return s;
}

static void
a_complete_body_is_accepted(void **state)
{
	static const char body[] = "{\"telegram_id\":42,\"message\":\"Привет\","
				   "\"user_context\":\"ctx\",\"limit\":7}";
	struct json_object *doc = NULL;
	struct aic_err err;
	struct values v;

	(void)state;
	assert_int_equal(take_n(LIT(body), &v, &doc, &err), AIC_OK);
	assert_int_equal(v.id, 42);
	assert_string_equal(v.message, "Привет");
	assert_string_equal(v.context, "ctx");
	assert_int_equal(v.limit, 7);
	assert_int_equal(err.n_faults, 0);
	json_object_put(doc);
}

static void
an_absent_optional_field_has_its_preset(void **state)
{
	struct json_object *doc = NULL;
	struct aic_err err;
	struct values v;

	(void)state;
	memset(&v, 0xff, sizeof(v));
	assert_int_equal(take_n(LIT("{\"telegram_id\":1,\"message\":\"x\"}"),
			     &v, &doc, &err),
	    AIC_OK);
	assert_null(v.context);
	assert_int_equal(v.limit, 10);
	json_object_put(doc);
}

static void
null_counts_as_absent_only_in_a_nullable_field(void **state)
{
	struct json_object *doc = NULL;
	struct aic_err err;
	struct values v;

	(void)state;
	assert_int_equal(take_n(LIT("{\"telegram_id\":1,\"message\":\"x\","
				    "\"user_context\":null}"),
			     &v, &doc, &err),
	    AIC_OK);
	assert_null(v.context);
	json_object_put(doc);
	refused_id("null", "int_type");
	refused("{\"telegram_id\":1,\"message\":null}", "string_type",
	    "message");
	refused("{\"telegram_id\":1,\"message\":\"x\",\"limit\":null}",
	    "int_type", "limit");
}

static void
an_empty_or_blank_context_is_accepted(void **state)
{
	static const char *const bodies[] = {
		"{\"telegram_id\":1,\"message\":\"x\",\"user_context\":\"\"}",
		"{\"telegram_id\":1,\"message\":\"x\",\"user_context\":\" \"}",
	};
	struct json_object *doc = NULL;
	struct aic_err err;
	struct values v;
	size_t i;

	(void)state;
	for (i = 0; i < 2; i++) {
		assert_int_equal(take_n(bodies[i], strlen(bodies[i]), &v, &doc,
				     &err),
		    AIC_OK);
		assert_non_null(v.context);
		json_object_put(doc);
	}
}

static void
a_required_field_that_is_absent_is_missing(void **state)
{
	(void)state;
	refused("{\"message\":\"x\"}", "missing", "telegram_id");
	refused("{\"telegram_id\":1}", "missing", "message");
	refused("{\"telegram_id\":1,\"Message\":\"x\"}", "missing", "message");
	refused("{\"telegram_id\":1,\"message \":\"x\"}", "missing", "message");
	refused("{\"telegram_id\":1,\"a\":{\"message\":\"x\"}}", "missing",
	    "message");
}

static void
an_id_is_a_json_integer_in_its_range(void **state)
{
	char many[500];

	(void)state;
	taken_id("1", 1);
	taken_id(" 1 ", 1);
	taken_id("4294967296", INT64_C(4294967296));
	taken_id("9223372036854775807", INT64_MAX);
	refused_id("0", "greater_than_equal");
	refused_id("-0", "greater_than_equal");
	refused_id("-1", "greater_than_equal");
	refused_id("-9223372036854775808", "greater_than_equal");
	refused_id("-9223372036854775809", "greater_than_equal");
	refused_id("-99999999999999999999999999", "greater_than_equal");
	refused_id("9223372036854775808", "less_than_equal");
	refused_id("18446744073709551615", "less_than_equal");
	refused_id("18446744073709551616", "less_than_equal");
	refused_id("18446744073709551617", "less_than_equal");
	refused_id("99999999999999999999999999", "less_than_equal");
	memset(many, '9', sizeof(many));
	many[sizeof(many) - 1] = '\0';
	refused_id(many, "less_than_equal");
	many[0] = '-';
	refused_id(many, "greater_than_equal");
}

static void
an_id_of_another_type_is_refused(void **state)
{
	static const char *const others[] = { "1.0", "1.5", "1e3", "1E0",
		"1e-1", "10e-1", "-1.0", "1e999", "true", "false", "\"1\"",
		"\"\"", "[1]", "[]", "{}", "{\"a\":1}" };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		refused_id(others[i], "int_type");
}

static void
a_message_of_another_type_is_refused(void **state)
{
	static const char *const others[] = { "1", "1.5", "true", "false",
		"null", "[]", "[\"x\"]", "{}" };
	char body[100];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		snprintf(body, sizeof(body),
		    "{\"telegram_id\":1,\"message\":%s}", others[i]);
		refused(body, "string_type", "message");
	}
	refused("{\"telegram_id\":1,\"message\":\"x\",\"user_context\":{}}",
	    "string_type", "user_context");
	refused("{\"telegram_id\":1,\"message\":\"x\",\"user_context\":false}",
	    "string_type", "user_context");
}

static void
lengths_count_code_points(void **state)
{
	static const struct {
		const char *field, *what;
		size_t most;
	} rows[] = {
		{ "message", "x", 4000 },
		{ "message", "й", 4000 },
		{ "message", "😀", 4000 },
		{ "message", "\\ud83d\\ude00", 4000 },
		{ "message", "\\n.", 2000 },
		{ "user_context", "x", 16000 },
		{ "user_context", "😀", 16000 },
	};
	struct json_object *doc = NULL;
	struct aic_err err;
	struct values v;
	char *body;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		body = repeat(rows[i].field, rows[i].what, rows[i].most);
		if (take_n(body, strlen(body), &v, &doc, &err) != AIC_OK)
			fail_msg("row %zu was refused", i);
		json_object_put(doc);
		free(body);
		body = repeat(rows[i].field, rows[i].what, rows[i].most + 1);
		refused(body, "string_too_long", rows[i].field);
		free(body);
	}
}

static void
a_message_must_not_be_empty_or_blank(void **state)
{
	static const char *const blanks[] = { " ", "   ", "\\n", "\\t\\r\\n",
		"\\u00a0", "\\u2003\\u3000", "\xc2\xa0", "\xe2\x80\xa8",
		"\\u0085", "\\u000b\\u000c" };
	static const char *const others[] = { ".", " x ", "\\u200b", "\\ufeff",
		"\\u0001", "\\u180e", "\\u001c", "\\u001f" };
	struct json_object *doc = NULL;
	struct aic_err err;
	struct values v;
	char body[100];
	size_t i;

	(void)state;
	refused("{\"telegram_id\":1,\"message\":\"\"}", "string_too_short",
	    "message");
	for (i = 0; i < sizeof(blanks) / sizeof(blanks[0]); i++) {
		snprintf(body, sizeof(body),
		    "{\"telegram_id\":1,\"message\":\"%s\"}", blanks[i]);
		refused(body, "value_error", "message");
	}
	for (i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		snprintf(body, sizeof(body),
		    "{\"telegram_id\":1,\"message\":\"%s\"}", others[i]);
		if (take_n(body, strlen(body), &v, &doc, &err) != AIC_OK)
			fail_msg("%s was refused", body);
		json_object_put(doc);
	}
}

static void
the_last_of_two_fields_with_one_name_counts(void **state)
{
	struct json_object *doc = NULL;
	struct aic_err err;
	struct values v;

	(void)state;
	assert_int_equal(
	    take_n(LIT("{\"telegram_id\":\"x\",\"message\":\"first\","
		       "\"telegram_id\":2,\"message\":\"l\\u0061st\","
		       "\"user_context\":\"x\",\"user_context\":null}"),
		&v, &doc, &err),
	    AIC_OK);
	assert_int_equal(v.id, 2);
	assert_string_equal(v.message, "last");
	assert_null(v.context);
	json_object_put(doc);
	refused("{\"telegram_id\":1,\"message\":\"x\",\"telegram_id\":\"1\"}",
	    "int_type", "telegram_id");
	/* The same name, written with an escape. */
	refused("{\"telegram_id\":1,\"message\":\"x\",\"m\\u0065ssage\":\"\"}",
	    "string_too_short", "message");
}

static void
unknown_fields_are_ignored(void **state)
{
	struct json_object *doc = NULL;
	struct aic_err err;
	struct values v;

	(void)state;
	assert_int_equal(
	    take_n(LIT("{\"x\":[1,{\"message\":2}],\"telegram_id\":1,"
		       "\"message\":\"x\",\"TELEGRAM_ID\":null,\"\":\"\"}"),
		&v, &doc, &err),
	    AIC_OK);
	assert_int_equal(v.id, 1);
	json_object_put(doc);
}

static void
all_faults_are_reported_in_the_order_of_the_schema(void **state)
{
	static const char *const types[] = { "int_type", "missing",
		"string_type", "less_than_equal" };
	static const char *const at[] = { "telegram_id", "message",
		"user_context", "limit" };
	struct json_object *doc = NULL;
	struct aic_err err;
	struct values v;
	unsigned i;

	(void)state;
	assert_int_equal(take_n(LIT("{\"limit\":101,\"user_context\":5,"
				    "\"telegram_id\":\"1\"}"),
			     &v, &doc, &err),
	    AIC_EINPUT);
	assert_int_equal(err.n_faults, 4);
	for (i = 0; i < 4; i++) {
		assert_string_equal(err.faults[i].type, types[i]);
		assert_string_equal(err.faults[i].where, "body");
		assert_string_equal(err.faults[i].field, at[i]);
	}
	assert_null(doc);
}

static void
a_body_that_is_no_object_is_one_fault(void **state)
{
	static const char *const docs[] = { "[]", "[{}]", "\"x\"", "1", "1.5",
		"true", "null", " null ", "\n[]" };
	size_t i;

	(void)state;
	refused("", "missing", NULL);
	for (i = 0; i < sizeof(docs) / sizeof(docs[0]); i++)
		refused(docs[i], "model_attributes_type", NULL);
}

static void
a_body_that_is_no_json_is_one_fault_with_its_place(void **state)
{
	static const struct {
		const char *body;
		size_t len;
		long offset; /* in code points */
	} rows[] = {
		{ LIT(" "), 1 },
		{ LIT("{"), 1 },
		{ LIT("{}x"), 2 },
		{ LIT("{} {}"), 3 },
		{ LIT("{}\0"), 2 },
		{ LIT("{\"a\":NaN}"), 5 },
		{ LIT("{'a':1}"), 1 },
		{ LIT("{\"й😀\":'x'}"), 6 },
		{ LIT("{\"a\":\"й\xff\"}"), 7 },
		{ LIT("{\"a\":\"\0\"}"), 6 },
		{ LIT("\xef\xbb\xbf{}"), 0 },
	};
	struct json_object *doc = NULL;
	struct aic_err err;
	struct values v;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		refused_n(rows[i].body, rows[i].len, "json_invalid", NULL);
		assert_int_equal(take_n(rows[i].body, rows[i].len, &v, &doc,
				     &err),
		    AIC_EINPUT);
		if (err.faults[0].offset != rows[i].offset)
			fail_msg("row %zu: offset %ld", i,
			    err.faults[0].offset);
	}
	refused("{\"telegram_id\":1,\"message\":\"\\u0000\"}", "json_invalid",
	    NULL);
	refused("{\"telegram_id\":1,\"message\":\"\\ud83d\"}", "json_invalid",
	    NULL);
	refused("{\"telegram_id\":1,\"message\":\"a\nb\"}", "json_invalid",
	    NULL);
}

static void
a_fault_never_quotes_the_body(void **state)
{
	struct json_object *doc = NULL;
	struct aic_err err;
	struct values v;

	(void)state;
	assert_int_equal(take_n(LIT("{\"telegram_id\":\"CANARY\",\"message\":"
				    "{\"CANARY\":1}} CANARY"),
			     &v, &doc, &err),
	    AIC_EINPUT);
	assert_null(strstr(err.faults[0].msg, "CANARY"));
	assert_null(strstr(err.detail, "CANARY"));
	assert_int_equal(take_n(LIT("{\"telegram_id\":\"CANARY\",\"message\":"
				    "{\"CANARY\":1}}"),
			     &v, &doc, &err),
	    AIC_EINPUT);
	assert_null(strstr(err.faults[0].msg, "CANARY"));
	assert_null(strstr(err.faults[1].msg, "CANARY"));
	assert_null(strstr(err.detail, "CANARY"));
}

/* --- paths and queries -------------------------------------------------- */

static enum aic_code
number(const char *text, int64_t min, int64_t max, int64_t *ret,
    struct aic_err *err)
{
	*err = (struct aic_err)AIC_ERR_INIT;
	return aic_input_number("path", "telegram_id", text, strlen(text), min,
	    max, ret, err);
}

static void
a_number_in_a_path_is_digits_after_an_optional_minus(void **state)
{
	static const struct {
		const char *text;
		int64_t value;
	} good[] = { { "1", 1 }, { "42", 42 }, { "0042", 42 }, { "0", 0 },
		{ "-5", -5 }, { "9223372036854775807", INT64_MAX },
		{ "-9223372036854775808", INT64_MIN },
		{ "-9223372036854775807", -INT64_MAX } };
	static const char *const bad[] = { "", "-", "--1", "+-1", "x", "1x",
		"x1", "1.0", "1.5", "1e3", "0x10", "1 2", "1,000", "1_0", "1-",
		"true", "null", "\"1\"", "٣", "1\n" };
	struct aic_err err;
	int64_t got;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		got = 77;
		if (number(good[i].text, INT64_MIN, INT64_MAX, &got, &err) ||
		    got != good[i].value)
			fail_msg("%s was not taken", good[i].text);
	}
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (!number(bad[i], INT64_MIN, INT64_MAX, &got, &err))
			fail_msg("\"%s\" was taken", bad[i]);
		assert_int_equal(err.code, AIC_EINPUT);
		assert_int_equal(err.n_faults, 1);
		assert_string_equal(err.faults[0].type, "int_parsing");
		assert_string_equal(err.faults[0].where, "path");
		assert_string_equal(err.faults[0].field, "telegram_id");
	}
}

static void
a_number_in_a_path_must_be_in_its_range(void **state)
{
	static const struct {
		const char *text, *type;
	} rows[] = { { "0", "greater_than_equal" },
		{ "-1", "greater_than_equal" },
		{ "-99999999999999999999", "greater_than_equal" },
		{ "101", "less_than_equal" },
		{ "9223372036854775807", "less_than_equal" },
		{ "9223372036854775808", "less_than_equal" },
		{ "18446744073709551617", "less_than_equal" },
		{ "99999999999999999999999999999", "less_than_equal" } };
	struct aic_err err;
	int64_t got;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		got = 77;
		if (number(rows[i].text, 1, 100, &got, &err) != AIC_EINPUT)
			fail_msg("%s was taken", rows[i].text);
		assert_string_equal(err.faults[0].type, rows[i].type);
		assert_int_equal(got, 77);
	}
	assert_int_equal(number("100", 1, 100, &got, &err), AIC_OK);
	assert_int_equal(number("1", 1, 100, &got, &err), AIC_OK);
	assert_int_equal(number("9223372036854775808", 1, INT64_MAX, &got,
			     &err),
	    AIC_EINPUT);
}

/* --- the parameters of a path and a query --------------------------------- */

struct params {
	int64_t id, days, page;
};

static const struct aic_input_field params[] = {
	{ "id", AIC_INPUT_INT, .required = true, .min = 1, .max = INT64_MAX,
	    .place = AIC_INPUT_PATH, .offset = offsetof(struct params, id) },
	{ "days", AIC_INPUT_INT, .min = 1, .max = 365, .preset = 7,
	    .place = AIC_INPUT_QUERY, .range_rule = "1 to 365 days",
	    .offset = offsetof(struct params, days) },
	{ "page", AIC_INPUT_INT, .min = 0, .max = 9, .preset = 1,
	    .place = AIC_INPUT_QUERY, .offset = offsetof(struct params, page) },
	{ "of_the_body", AIC_INPUT_INT, .required = true, .offset = 4096 },
	{ "Of-The-Header", AIC_INPUT_TEXT, .required = true,
	    .place = AIC_INPUT_HEADER, .offset = 4096 },
};

static enum aic_code
read_params(const char *tail, const char *query, struct params *p,
    struct aic_err *err)
{
	*err = (struct aic_err)AIC_ERR_INIT;
	return aic_input_params(tail, query, params,
	    sizeof(params) / sizeof(params[0]), p, err);
}

static void
parameters_are_read_and_other_fields_are_skipped(void **state)
{
	struct aic_err err;
	struct params p;

	(void)state;
	assert_int_equal(read_params("42", "page=3&days=30", &p, &err), AIC_OK);
	assert_true(p.id == 42 && p.days == 30 && p.page == 3);
	assert_int_equal(read_params("42", NULL, &p, &err), AIC_OK);
	assert_true(p.id == 42 && p.days == 7 && p.page == 1);
}

static void
a_number_out_of_a_range_with_a_rule_breaks_the_rule(void **state)
{
	static const char *const bad[] = { "days=0", "days=366", "days=-1",
		"days=99999999999999999999" };
	struct aic_err err;
	struct params p;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(read_params("1", bad[i], &p, &err),
		    AIC_EPARAM);
		assert_int_equal(err.n_faults, 0);
		assert_string_equal(err.says, "1 to 365 days");
		assert_int_equal(p.days, 7);
	}
	assert_int_equal(read_params("1", "days=x", &p, &err), AIC_EINPUT);
	assert_string_equal(err.faults[0].type, "int_parsing");
}

static void
faults_of_the_path_and_the_query_are_reported_together(void **state)
{
	struct aic_err err;
	struct params p;

	(void)state;
	assert_int_equal(read_params("0", "days=0&page=10", &p, &err),
	    AIC_EINPUT);
	assert_int_equal(err.n_faults, 2);
	assert_string_equal(err.faults[0].where, "path");
	assert_string_equal(err.faults[0].type, "greater_than_equal");
	assert_string_equal(err.faults[1].where, "query");
	assert_string_equal(err.faults[1].field, "page");
}

static void
a_number_ends_at_its_length_and_not_at_a_nul(void **state)
{
	struct aic_err err = AIC_ERR_INIT;
	int64_t got = 0;

	(void)state;
	assert_int_equal(aic_input_number("path", "n", "123456", 3, 1, 1000,
			     &got, &err),
	    AIC_OK);
	assert_int_equal(got, 123);
	assert_int_equal(aic_input_number("path", "n", "1\0", 2, 1, 1000, &got,
			     &err),
	    AIC_EINPUT);
}

static void
a_bad_number_is_refused_even_when_the_list_of_faults_is_full(void **state)
{
	struct aic_err err = AIC_ERR_INIT;
	int64_t got = 77;
	int i;

	(void)state;
	for (i = 0; i < AIC_FAULTS_MAX; i++)
		aic_fault(&err, "t", "query", "x", "m");
	assert_int_equal(aic_input_number("path", "n", "1000", 4, 1, 100, &got,
			     &err),
	    AIC_EINPUT);
	assert_int_equal(got, 77);
}

static void
a_parameter_is_found_and_decoded(void **state)
{
	static const struct {
		const char *query, *want; /* NULL: not there */
	} rows[] = {
		{ NULL, NULL },
		{ "", NULL },
		{ "&", NULL },
		{ "=", NULL },
		{ "days=7", "7" },
		{ "days=", "" },
		{ "days", "" },
		{ "a=1&days=7&b=2", "7" },
		{ "days=1&days=2", "2" },
		{ "days=1&days", "" },
		{ "Days=7", NULL },
		{ "day=7", NULL },
		{ "dayss=7", NULL },
		{ "xdays=7", NULL },
		{ "x=days=7", NULL },
		{ "days=a=b", "a=b" },
		{ "d%61ys=7", "7" },
		{ "days=%37", "7" },
		{ "days=%2d1", "-1" },
		{ "days=%2D1", "-1" },
		{ "days=+7", " 7" },
		{ "days=%", "%" },
		{ "days=%3", "%3" },
		{ "days=%zz", "%zz" },
		{ "days=%3&x=7", "%3" },
		{ "days=%&7", "%" },
		{ "&&days=7&&", "7" },
		{ "days=7;x", "7;x" },
		{ "days%00=7", NULL },
		{ "days=7%26", "7&" },
	};
	char value[32];
	bool found;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		found = aic_input_query(rows[i].query, "days", value,
		    sizeof(value));
		if (found != !!rows[i].want ||
		    (found && strcmp(value, rows[i].want) != 0))
			fail_msg("%s: %s", rows[i].query,
			    found ? value : "not found");
	}
}

static void
a_nul_in_a_parameter_does_not_hide_the_rest(void **state)
{
	struct aic_err err = AIC_ERR_INIT;
	char value[32];
	int64_t got;

	(void)state;
	assert_true(aic_input_query("days=7%00x", "days", value,
	    sizeof(value)));
	assert_int_equal(aic_input_number("query", "days", value, strlen(value),
			     1, 365, &got, &err),
	    AIC_EINPUT);
	assert_string_equal(err.faults[0].where, "query");
}

static void
a_parameter_that_is_too_long_is_cut(void **state)
{
	char value[8];

	(void)state;
	assert_true(aic_input_query("days=123456789", "days", value,
	    sizeof(value)));
	assert_string_equal(value, "1234567");
}

static void
a_choice_is_one_of_its_names(void **state)
{
	static const struct {
		const char *body;
		int64_t want;
	} rows[] = {
		{ "{\"telegram_id\":1,\"message\":\"a\"}", -1 },
		{ "{\"telegram_id\":1,\"message\":\"a\",\"colour\":null}", -1 },
		{ "{\"telegram_id\":1,\"message\":\"a\",\"colour\":\"red\"}",
		    0 },
		{ "{\"telegram_id\":1,\"message\":\"a\",\"colour\":\"blue\"}",
		    1 },
	};
	static const char *const bad[][2] = { { "\"\"", "literal_error" },
		{ "\"Red\"", "literal_error" }, { "\"red \"", "literal_error" },
		{ "\"green\"", "literal_error" }, { "0", "string_type" },
		{ "[\"red\"]", "string_type" }, { "true", "string_type" } };
	struct json_object *doc;
	struct aic_err err;
	struct values v;
	char body[128];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(take_n(rows[i].body, strlen(rows[i].body), &v,
				     &doc, &err),
		    AIC_OK);
		assert_int_equal(v.colour, rows[i].want);
		json_object_put(doc);
	}
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(body, sizeof(body),
		    "{\"telegram_id\":1,\"message\":\"a\",\"colour\":%s}",
		    bad[i][0]);
		refused_n(body, strlen(body), bad[i][1], "colour");
	}
}

static void
the_fault_of_a_choice_lists_its_names(void **state)
{
	static const struct aic_input_field of_three[] = { { "colour",
	    AIC_INPUT_CHOICE, .names = three, .offset = AT(colour) } };
	struct json_object *doc = NULL;
	struct aic_err err = AIC_ERR_INIT;
	struct values v;

	(void)state;
	assert_int_equal(aic_input_body(LIT("{\"colour\":\"x\"}"), of_three, 1,
			     &v, &doc, &err),
	    AIC_EINPUT);
	assert_string_equal(err.faults[0].msg,
	    "Input should be 'red', 'blue' or 'green'");
	err = (struct aic_err)AIC_ERR_INIT;
	assert_int_equal(take_n(LIT("{\"telegram_id\":1,\"message\":\"a\","
				    "\"colour\":\"x\"}"),
			     &v, &doc, &err),
	    AIC_EINPUT);
	assert_string_equal(err.faults[0].msg,
	    "Input should be 'red' or 'blue'");
}

UNIT_MAIN(T(a_complete_body_is_accepted),
    T(an_absent_optional_field_has_its_preset),
    T(null_counts_as_absent_only_in_a_nullable_field),
    T(an_empty_or_blank_context_is_accepted),
    T(a_required_field_that_is_absent_is_missing),
    T(an_id_is_a_json_integer_in_its_range),
    T(an_id_of_another_type_is_refused),
    T(a_message_of_another_type_is_refused), T(lengths_count_code_points),
    T(a_message_must_not_be_empty_or_blank),
    T(the_last_of_two_fields_with_one_name_counts),
    T(unknown_fields_are_ignored),
    T(all_faults_are_reported_in_the_order_of_the_schema),
    T(a_body_that_is_no_object_is_one_fault),
    T(a_body_that_is_no_json_is_one_fault_with_its_place),
    T(a_fault_never_quotes_the_body),
    T(a_number_in_a_path_is_digits_after_an_optional_minus),
    T(a_number_in_a_path_must_be_in_its_range),
    T(a_number_ends_at_its_length_and_not_at_a_nul),
    T(a_bad_number_is_refused_even_when_the_list_of_faults_is_full),
    T(a_parameter_is_found_and_decoded),
    T(a_nul_in_a_parameter_does_not_hide_the_rest),
    T(a_parameter_that_is_too_long_is_cut), T(a_choice_is_one_of_its_names),
    T(the_fault_of_a_choice_lists_its_names),
    T(parameters_are_read_and_other_fields_are_skipped),
    T(a_number_out_of_a_range_with_a_rule_breaks_the_rule),
    T(faults_of_the_path_and_the_query_are_reported_together))
