#include "config.h"

#include "completion.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "utf8.h"

void
aic_completion_begin(struct aic_buf *to)
{
	aic_buf_puts(to, "{\"messages\":");
}

void
aic_completion_end(struct aic_buf *to, const struct aic_completion_form *form)
{
	aic_buf_puts(to, form->members);
	if (form->temperature)
		aic_buf_printf(to, ",\"temperature\":%.15g",
		    form->temperature_value);
	aic_buf_printf(to, ",\"%s\":%lld}", form->limit,
	    (long long)form->max_tokens);
}

/* --- the body of an error ------------------------------------------------ */

/*
 * Codes are names like "rate_limit_exceeded". What else a server puts there,
 * a key or words of the question, would end up in the log.
 */
static bool
is_code(const char *s, const char *const *keys)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789_.-[]";

	for (; *keys; keys++)
		if (strstr(s, *keys))
			return false;
	return s[strspn(s, letters)] == '\0';
}

static void
copy_code(struct json_object *obj, const char *name, const char *const *keys,
    char to[AIC_COMPLETION_NAME_SIZE])
{
	struct json_object *v;
	const char *s;

	if (!json_object_object_get_ex(obj, name, &v) ||
	    !json_object_is_type(v, json_type_string))
		return;
	s = json_object_get_string(v);
	snprintf(to, AIC_COMPLETION_NAME_SIZE, "%s",
	    is_code(s, keys) ? s : "?");
}

/* {"error":{"code":...,"type":...,"param":...}}; a body may be anything else. */
void
aic_completion_read_error(const struct aic_buf *body, const char *const *keys,
    struct aic_completion_error *ret_error)
{
	struct json_object *doc, *e;

	*ret_error = (struct aic_completion_error){ .code = "" };
	if (aic_json_parse(body->data, body->len, &doc) != AIC_OK)
		return;
	if (json_object_is_type(doc, json_type_object) &&
	    json_object_object_get_ex(doc, "error", &e) &&
	    json_object_is_type(e, json_type_object)) {
		copy_code(e, "code", keys, ret_error->code);
		copy_code(e, "type", keys, ret_error->type);
		copy_code(e, "param", keys, ret_error->param);
	}
	json_object_put(doc);
}

/* --- the body of an answer ----------------------------------------------- */

static enum aic_code
useless(struct aic_err *err, const char *why)
{
	aic_says(err, "%s", why);
	return aic_fail(err, AIC_EUPSTREAM, "%s", why);
}

static int64_t
read_tokens(struct json_object *doc)
{
	struct json_object *usage, *total;
	int64_t n;

	if (!json_object_object_get_ex(doc, "usage", &usage) ||
	    !json_object_is_type(usage, json_type_object) ||
	    !json_object_object_get_ex(usage, "total_tokens", &total) ||
	    !json_object_is_type(total, json_type_int))
		return 0;
	n = json_object_get_int64(total);
	return n < 0 ? 0 : n > INT_MAX ? INT_MAX : n;
}

static enum aic_code
read_text(struct json_object *content, struct aic_completion *ret,
    struct aic_err *err)
{
	struct aic_buf text;
	size_t n = (size_t)json_object_get_string_len(content);

	/* A broken byte becomes three. */
	aic_buf_init(&text, 3 * AIC_COMPLETION_MAX);
	aic_utf8_mend(&text, json_object_get_string(content), n);
	if (!text.failed && aic_utf8_blank(text.data, text.len)) {
		aic_buf_done(&text);
		return useless(err, "the model's answer is empty");
	}
	ret->text = aic_buf_take(&text, NULL);
	if (!ret->text) {
		aic_buf_done(&text);
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	}
	return AIC_OK;
}

static enum aic_code
read_choice(struct json_object *choice, struct aic_completion *ret,
    struct aic_err *err)
{
	struct json_object *message, *content, *refusal, *why;
	const char *end = "";

	if (!json_object_is_type(choice, json_type_object) ||
	    !json_object_object_get_ex(choice, "message", &message) ||
	    !json_object_is_type(message, json_type_object))
		return useless(err, "the model's answer has no message");
	if (json_object_object_get_ex(choice, "finish_reason", &why) &&
	    json_object_is_type(why, json_type_string))
		end = json_object_get_string(why);
	if (strcmp(end, "content_filter") == 0)
		return useless(err, "the model's answer was filtered");
	if (json_object_object_get_ex(message, "refusal", &refusal) &&
	    json_object_is_type(refusal, json_type_string) &&
	    json_object_get_string_len(refusal) > 0)
		return useless(err, "the model refused to answer");
	if (!json_object_object_get_ex(message, "content", &content) ||
	    !json_object_is_type(content, json_type_string))
		return useless(err, "the model's answer has no text");
	ret->cut_off = strcmp(end, "length") == 0;
	return read_text(content, ret, err);
}

enum aic_code
aic_completion_read(const struct aic_buf *body,
    struct aic_completion *ret_completion, struct aic_err *err)
{
	struct json_object *doc = NULL, *choices;
	struct aic_completion got = { .text = NULL };
	enum aic_code rc;

	rc = aic_json_parse(body->data, body->len, &doc);
	if (rc == AIC_ENOMEM)
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	if (!json_object_is_type(doc, json_type_object))
		rc = useless(err, "the model's answer is not a JSON object");
	else if (!json_object_object_get_ex(doc, "choices", &choices) ||
	    !json_object_is_type(choices, json_type_array) ||
	    json_object_array_length(choices) == 0)
		rc = useless(err, "the model's answer has no choices");
	else
		rc = read_choice(json_object_array_get_idx(choices, 0), &got,
		    err);
	if (!rc) {
		got.tokens = read_tokens(doc);
		*ret_completion = got;
	}
	json_object_put(doc);
	return rc;
}
