/* The body of a send. */
#include "config.h"

#include "lib/input.h"

#include <string.h>

#include "fuzz.h"
#include "lib/json.h"
#include "lib/telegram.h"
#include "lib/utf8.h"
#include "lib/format.h"

/* The fields as app/worker/send.c defines them. */
struct values {
	int64_t telegram_id;
	const char *message;
	const char *user_context;
	int64_t format;
};

static const struct aic_input_field fields[] = {
	{ "telegram_id", AIC_INPUT_INT, .required = true, .min = 1,
	    .max = INT64_MAX, .offset = offsetof(struct values, telegram_id) },
	{ "message", AIC_INPUT_TEXT, .required = true, .not_blank = true,
	    .min = 1, .max = AIC_INPUT_MESSAGE_MAX,
	    .offset = offsetof(struct values, message) },
	{ "user_context", AIC_INPUT_TEXT, .nullable = true, .min = 0,
	    .max = AIC_INPUT_CONTEXT_MAX,
	    .offset = offsetof(struct values, user_context) },
	{ "format", AIC_INPUT_CHOICE, .nullable = true, .preset = -1,
	    .names = aic_format_names,
	    .offset = offsetof(struct values, format) },
};

/*
 * Written as a response, the text is valid JSON, and reads back as the same
 * text.
 */
static void
check_written(const char *text)
{
	struct json_object *back = NULL;
	struct aic_json_fault fault;
	struct aic_buf b;

	aic_buf_init(&b, 1024 * 1024);
	aic_json_put_str(&b, text);
	assert(!b.failed);
	assert(aic_json_parse_strict(b.data, b.len, &back, &fault) == AIC_OK);
	assert(json_object_is_type(back, json_type_string));
	assert(strcmp(json_object_get_string(back), text) == 0);
	json_object_put(back);
	aic_buf_done(&b);
}

static void
check_text(struct json_object *doc, const char *name, const char *text,
    size_t least, size_t most)
{
	struct json_object *v = NULL;
	size_t n = strlen(text);

	assert(json_object_object_get_ex(doc, name, &v));
	/* A NUL inside would have cut it off. */
	assert((size_t)json_object_get_string_len(v) == n);
	assert(fuzz_is_text(text, n));
	assert(aic_utf8_count(text, n) >= least);
	assert(aic_utf8_count(text, n) <= most);
	check_written(text);
}

static void
check_taken(struct json_object *doc, const struct values *v)
{
	assert(v->telegram_id >= 1);
	assert(v->format >= -1 && v->format < AIC_FORMAT__MAX);
	check_text(doc, "message", v->message, 1, AIC_INPUT_MESSAGE_MAX);
	assert(!aic_utf8_blank(v->message, strlen(v->message)));
	if (v->user_context)
		check_text(doc, "user_context", v->user_context, 0,
		    AIC_INPUT_CONTEXT_MAX);
}

static void
check_refused(const struct aic_err *err, size_t len)
{
	const struct aic_fault *f;
	unsigned i;

	assert(err->code == AIC_EINPUT);
	assert(err->n_faults >= 1 && err->n_faults <= AIC_FAULTS_MAX);
	for (i = 0; i < err->n_faults; i++) {
		f = &err->faults[i];
		assert(fuzz_is_line(f->msg));
		assert(strcmp(f->where, "body") == 0);
		assert(f->offset >= -1 && f->offset <= (long)len);
	}
}

/*
 * Reads a text that was checked with json-c, which detects the end of a number
 * or of a word only by the next character.
 */
static struct json_object *
parse_with_json_c(const char *data, size_t len)
{
	struct json_tokener *tok = json_tokener_new_ex(AIC_JSON_DEPTH + 2);
	struct json_object *doc;

	doc = json_tokener_parse_ex(tok, data, (int)len);
	if (json_tokener_get_error(tok) == json_tokener_continue)
		doc = json_tokener_parse_ex(tok, "\n", 1);
	assert(json_tokener_get_error(tok) == json_tokener_success);
	json_tokener_free(tok);
	return doc;
}

/*
 * An accepted text is accepted by the lenient rules, too, and json-c reads the
 * same from it.
 */
static void
check_grammar(const char *data, size_t len)
{
	struct json_object *doc = NULL, *loose = NULL, *other;
	struct aic_json_fault fault;
	enum aic_code rc, loose_rc;

	rc = aic_json_parse_strict(data, len, &doc, &fault);
	assert(rc == AIC_OK ||
	    (rc == AIC_EINPUT && fault.wrong && fault.offset <= len && !doc));
	loose_rc = aic_json_parse(data, len, &loose);
	assert(loose_rc == AIC_OK || (loose_rc == AIC_EINPUT && !loose && rc));
	if (!rc) {
		other = parse_with_json_c(data, len);
		assert(json_object_equal(doc, other));
		assert(json_object_equal(doc, loose));
		json_object_put(other);
	}
	json_object_put(doc);
	json_object_put(loose);
}

bool
fuzz_one(const char *data, size_t len)
{
	struct aic_err err = AIC_ERR_INIT;
	struct json_object *doc = NULL;
	struct values v;
	bool taken;

	check_grammar(data, len);
	taken = aic_input_body(data, len, fields, 4, &v, &doc, &err) == AIC_OK;
	if (taken)
		check_taken(doc, &v);
	else
		check_refused(&err, len);
	json_object_put(doc);
	return taken;
}
