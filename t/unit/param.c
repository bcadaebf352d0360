#include "config.h"

#include "lib/param.h"

#include <string.h>

#include "unit.h"

#define M AIC_PARAM_MAX_TOKENS
#define C AIC_PARAM_MAX_COMPLETION_TOKENS
#define T_ AIC_PARAM_TEMPERATURE

struct row {
	const char *code, *param, *message;
	unsigned want;
};

static void
check(const struct row *rows, size_t n)
{
	unsigned got;
	size_t i;

	for (i = 0; i < n; i++) {
		got = aic_param_refused(rows[i].code, rows[i].param,
		    rows[i].message);
		if (got != rows[i].want)
			fail_msg("\"%s\" gives %u", rows[i].message, got);
	}
}

#define CHECK(rows) check(rows, sizeof(rows) / sizeof(rows[0]))

/*
 * As providers write them; most have neither a code of their own nor a param.
 */
static void
a_refused_parameter_is_recognized_by_its_name_whatever_the_code(void **state)
{
	static const struct row rows[] = {
		{ "unsupported_parameter", "max_tokens",
		    "Unsupported parameter: 'max_tokens' is not supported with "
		    "this model. Use 'max_completion_tokens' instead.",
		    M },
		{ "invalid_request_body", "",
		    "Unsupported parameter: 'max_tokens' is not supported with "
		    "this model. Use 'max_completion_tokens' instead.",
		    M },
		{ "", "",
		    "Please use max_completion_tokens, because max_tokens is "
		    "no longer supported for this model.",
		    M | C },
		{ "unsupported_value", "temperature",
		    "Unsupported value: 'temperature' does not support 0.7 with "
		    "this model. Only the default (1) value is supported.",
		    T_ },
		{ "", "",
		    "Unsupported value: 'temperature' does not support 0.7 with "
		    "this model. Only the default (1) value is supported.",
		    T_ },
		{ "invalid_request_error", "",
		    "`temperature` is deprecated for this model.", T_ },
		{ "", "",
		    "`temperature` may only be set to 1 when thinking is "
		    "enabled.",
		    T_ },
		{ "400", "",
		    "invalid temperature: only 1 is allowed for this model",
		    T_ },
		{ "", "",
		    "invalid temperature: only 0.6 is allowed for this model",
		    T_ },
		{ "400", "",
		    "litellm.UnsupportedParamsError: gpt-5 models don't support "
		    "temperature=0.7. Only temperature=1 is supported.",
		    T_ },
		{ "", "", "Argument not supported on this model: temperature",
		    T_ },
		{ "", "", "Temperature is not supported by this model.", T_ },
		{ "", "",
		    "Unrecognized request argument supplied: "
		    "max_completion_tokens",
		    C },
		{ "", "",
		    "Extra inputs are not permitted, field: "
		    "'max_completion_tokens', value: 1000",
		    C },
		{ "extra_forbidden", "max_completion_tokens",
		    "Extra inputs are not permitted", C },
		{ "", "max_completion_tokens", "Extra inputs are not permitted",
		    C },
		{ "", "",
		    "1 validation error for ChatCompletionRequest\nbody -> "
		    "max_completion_tokens\n  extra fields not permitted",
		    C },
		{ "", "",
		    "Invalid JSON payload received. Unknown name "
		    "\"max_completion_tokens\": Cannot find field.",
		    C },
		{ "unknown_parameter", "max_completion_tokens", "", C },
		{ "", "", "property 'max_completion_tokens' is unsupported",
		    C },
		{ "", "",
		    "Completions.create() got an unexpected keyword argument "
		    "'max_completion_tokens'",
		    C },
		{ "", "",
		    "Malformed input request: #: extraneous key [temperature] "
		    "is not permitted, please reformat your input",
		    T_ },
		{ "", "", "Unsupported parameters: max_tokens, temperature.",
		    M | T_ },
		{ "unsupported_parameter", "max_tokens", "", M },
		{ "unsupported_value", "temperature", "", T_ },
		{ "unsupported_parameter", "max_tokens",
		    "'max_tokens' is not supported. Up to 4096 tokens can be "
		    "asked for by 'max_completion_tokens'.",
		    M },
		{ "x", "body.temperature", "not supported", T_ },
	};

	(void)state;
	CHECK(rows);
}

static void
an_error_about_the_size_of_a_value_is_not_a_refused_parameter(void **state)
{
	static const struct row rows[] = {
		{ "", "max_tokens",
		    "max_tokens is too large: 100000. This model supports at "
		    "most 16384 completion tokens, whereas you provided 100000.",
		    0 },
		{ "unsupported_value", "max_tokens",
		    "Unsupported value: 'max_tokens' does not support 100000 "
		    "with this model. The maximum is 4096.",
		    0 },
		{ "", "",
		    "'max_tokens' or 'max_completion_tokens' is too large: "
		    "20000. This model's maximum context length is 4096 tokens "
		    "and your request has 50 input tokens (20000 > 4096 - 50).",
		    0 },
		{ "context_length_exceeded", "messages",
		    "This model's maximum context length is 8192 tokens. "
		    "However, you requested 9000 tokens (8000 in the messages, "
		    "1000 in the completion: max_tokens is not supported for "
		    "more).",
		    0 },
		{ "", "",
		    "max_tokens: 100000 > 64000, which is the maximum allowed "
		    "number of output tokens for this model",
		    0 },
		{ "", "",
		    "Invalid max_tokens value, the valid range of max_tokens is "
		    "[1, 8192]",
		    0 },
		{ "", "",
		    "`max_tokens` must be less than or equal to `8192`, the "
		    "maximum value for `max_tokens` is less than the "
		    "`context_window` for this model",
		    0 },
		{ "", "max_tokens",
		    "Values over 8192 are not supported: the range is 1 to 8192",
		    0 },
		{ "", "", "temperature must be between 0 and 1", 0 },
		{ "", "temperature", "Input should be less than or equal to 1",
		    0 },
		{ "", "",
		    "Could not finish the message because max_tokens or model "
		    "output limit was reached. Please try again with higher "
		    "max_tokens.",
		    0 },
		{ "invalid_value", "max_tokens", "The request is not valid.",
		    0 },
	};

	(void)state;
	CHECK(rows);
}

static void
an_error_about_something_else_is_not_a_refused_parameter(void **state)
{
	static const struct row rows[] = {
		{ "", "", "", 0 },
		{ "unsupported_parameter", "", "", 0 },
		{ "unsupported_parameter", "messages", "", 0 },
		{ "unsupported_parameter", "messages",
		    "Unsupported parameter: temperature", 0 },
		{ "unsupported_value", "messages[0].role",
		    "Unsupported value: 'messages[0].role' does not support "
		    "'system' with this model.",
		    0 },
		{ "", "",
		    "This model does not support images. The request had "
		    "max_tokens=1000, temperature=0.7",
		    0 },
		{ "", "", "max_tokens_to_sample is not supported", 0 },
		{ "", "", "temperatures are not supported", 0 },
		{ "", "", "Unsupported parameter: 'max_output_tokens'", 0 },
		{ "", "", "max_tokens", 0 },
		{ "", "", "The model is overloaded", 0 },
	};

	(void)state;
	CHECK(rows);
}

UNIT_MAIN(T(a_refused_parameter_is_recognized_by_its_name_whatever_the_code),
    T(an_error_about_the_size_of_a_value_is_not_a_refused_parameter),
    T(an_error_about_something_else_is_not_a_refused_parameter))
