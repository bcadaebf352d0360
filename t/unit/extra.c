#include "config.h"

#include "lib/extra.h"

#include <stdio.h>
#include <string.h>

#include "unit.h"

static struct aic_err err;

static enum aic_code
read_text(struct aic_extra *e, const char *text)
{
	err = (struct aic_err)AIC_ERR_INIT;
	return aic_extra_read(e, text, strlen(text), "NAME", "/path", &err);
}

static void
is_taken(const char *text, const char *want, bool temperature, bool max_tokens)
{
	struct aic_extra e;

	if (read_text(&e, text) != AIC_OK)
		fail_msg("%s: %s", text, err.detail);
	assert_string_equal(e.members, want);
	assert_int_equal(e.temperature, temperature);
	assert_int_equal(e.max_tokens, max_tokens);
	aic_extra_done(&e);
	aic_extra_done(&e);
}

static void
is_refused(const char *text, const char *says)
{
	struct aic_extra e;

	if (read_text(&e, text) != AIC_ECONF)
		fail_msg("taken: %s", text);
	assert_int_equal(strncmp(err.detail, "NAME \"/path\"", 12), 0);
	if (!strstr(err.detail, says))
		fail_msg("\"%s\" does not say \"%s\"", err.detail, says);
}

static void
members_are_kept_as_they_are_written(void **state)
{
	(void)state;
	is_taken("{\"top_p\":0.10}", ",\"top_p\":0.10", false, false);
	is_taken(" \n{ \"a\" : 12345678901234567890, \"b\":{} }\n",
	    ",\"a\" : 12345678901234567890, \"b\":{}", false, false);
	is_taken("{}", "", false, false);
	is_taken("{ \n }\n", "", false, false);
}

static void
members_that_replace_the_workers_own_are_noted(void **state)
{
	(void)state;
	is_taken("{\"temperature\":1}", ",\"temperature\":1", true, false);
	is_taken("{\"max_tokens\":1}", ",\"max_tokens\":1", false, true);
	is_taken("{\"max_completion_tokens\":1,\"temperature\":0}",
	    ",\"max_completion_tokens\":1,\"temperature\":0", true, true);
	is_taken("{\"a\":{\"temperature\":1,\"model\":2}}",
	    ",\"a\":{\"temperature\":1,\"model\":2}", false, false);
}

static void
members_that_are_not_for_an_operator_are_refused_by_name(void **state)
{
	static const char *const names[] = { "messages", "model", "stream",
		"stream_options", "n" };
	char text[100], says[100];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(text, sizeof(text), "{\"top_p\":1,\"%s\":null}",
		    names[i]);
		snprintf(says, sizeof(says), "the member \"%s\" cannot",
		    names[i]);
		is_refused(text, says);
	}
	is_refused("{\"str\\u0065am\":true}", "the member \"stream\"");
	is_refused("{\"n\":1,\"a\":1,\"n\":1}", "the member \"n\"");
}

static void
a_text_that_is_no_json_object_is_refused(void **state)
{
	(void)state;
	is_refused("", "not JSON");
	is_refused("top_p = 1", "not JSON");
	is_refused("{\"a\":1,}", "not JSON");
	is_refused("{\"a\":1}}", "not JSON");
	is_refused("{'a':1}", "not JSON");
	is_refused("\xef\xbb\xbf{}", "not JSON");
	is_refused("{\"a\":\"\xff\"}", "not JSON");
	is_refused("[]", "not a JSON object");
	is_refused("null", "not a JSON object");
	is_refused("1", "not a JSON object");
}

UNIT_MAIN(T(members_are_kept_as_they_are_written),
    T(members_that_replace_the_workers_own_are_noted),
    T(members_that_are_not_for_an_operator_are_refused_by_name),
    T(a_text_that_is_no_json_object_is_refused))
