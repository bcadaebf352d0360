#include "config.h"

#include "lib/completion.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/json.h"
#include "lib/param.h"
#include "lib/sse.h"
#include "lib/think.h"
#include "lib/utf8.h"

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
	if (form->limit)
		aic_buf_printf(to, ",\"%s\":%lld", form->limit,
		    (long long)form->max_tokens);
	if (form->more)
		aic_buf_puts(to, form->more);
	aic_buf_putc(to, '}');
}

/* --- documents ----------------------------------------------------------- */

/* The member of an object; NULL when it is null, or there is none. */
static struct json_object *
member(struct json_object *obj, const char *name)
{
	struct json_object *v = NULL;

	if (json_object_is_type(obj, json_type_object))
		json_object_object_get_ex(obj, name, &v);
	return v;
}

/* The same where it must be of a type. */
static struct json_object *
member_of(struct json_object *obj, const char *name, enum json_type type)
{
	struct json_object *v = member(obj, name);

	return json_object_is_type(v, type) ? v : NULL;
}

/* A string; "" for anything else. */
static const char *
text_of(struct json_object *v)
{
	return json_object_is_type(v, json_type_string)
	    ? json_object_get_string(v)
	    : "";
}

/* The first element of a list, and any other value as it is. */
static struct json_object *
first_of(struct json_object *v)
{
	return json_object_is_type(v, json_type_array)
	    ? json_object_array_get_idx(v, 0)
	    : v;
}

/* A body without the white space and the byte order mark that some put before it. */
static const char *
start_of(const struct aic_buf *body, size_t *ret_len)
{
	static const char bom[] = "\xef\xbb\xbf";
	const char *s = body->len > 0 ? body->data : "";
	size_t n = body->len;

	for (;;) {
		if (n > 0 && *s && strchr(" \t\r\n", *s)) {
			s++;
			n--;
		} else if (n >= 3 && memcmp(s, bom, 3) == 0) {
			s += 3;
			n -= 3;
		} else {
			*ret_len = n;
			return s;
		}
	}
}

/* A request has four members, so more faults than this are none of ours. */
#define ENTRIES_MAX 16

/* --- errors -------------------------------------------------------------- */

/*
 * Codes are names like "rate_limit_exceeded". What else a server puts there,
 * a key or words of the question, would end up in the log.
 */
static bool
is_name(const char *s, const char *const *keys)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789_.-[]";

	for (; *keys; keys++)
		if (strstr(s, *keys))
			return false;
	return s[strspn(s, letters)] == '\0';
}

/* LiteLLM writes what it has not got as "None". */
static bool
is_none(const char *s)
{
	return strcmp(s, "None") == 0 || strcmp(s, "null") == 0;
}

static void
copy_name(struct json_object *v, const char *const *keys,
    char to[AIC_COMPLETION_NAME_SIZE])
{
	const char *s = text_of(v);

	if (json_object_is_type(v, json_type_int))
		snprintf(to, AIC_COMPLETION_NAME_SIZE, "%lld",
		    (long long)json_object_get_int64(v));
	else if (*s && !is_none(s))
		snprintf(to, AIC_COMPLETION_NAME_SIZE, "%s",
		    is_name(s, keys) ? s : "?");
}

/* A status of HTTP that is none of success, as a number or as text; else 0. */
static int
status_in(struct json_object *v)
{
	const char *s = text_of(v);
	int64_t n = 0;

	if (json_object_is_type(v, json_type_int))
		n = json_object_get_int64(v);
	else if (strlen(s) == 3 && strspn(s, "0123456789") == 3)
		n = strtol(s, NULL, 10);
	return n >= 400 && n <= 599 ? (int)n : 0;
}

/* Of each text its beginning: all of them are searched for many words. */
static void
add_message(const char *code, const char *param, const char *message,
    struct aic_completion_error *to)
{
	char texts[3][AIC_COMPLETION_MESSAGE_SIZE];

	snprintf(texts[0], sizeof(texts[0]), "%s", code);
	snprintf(texts[1], sizeof(texts[1]), "%s", is_none(param) ? "" : param);
	snprintf(texts[2], sizeof(texts[2]), "%s", message);
	if (!*to->message)
		memcpy(to->message, texts[2], sizeof(to->message));
	to->refused |= aic_param_refused(texts[0], texts[1], texts[2]);
}

/* One entry of what FastAPI and pydantic say of a request:
 * {"type":"extra_forbidden","loc":["body","max_tokens"],"msg":"..."} */
static void
read_entry(struct json_object *entry, struct aic_completion_error *to)
{
	struct json_object *loc = member_of(entry, "loc", json_type_array);
	size_t n = loc ? json_object_array_length(loc) : 0;

	add_message(text_of(member(entry, "type")),
	    n > 0 ? text_of(json_object_array_get_idx(loc, n - 1)) : "",
	    text_of(member(entry, "msg")), to);
}

static void
read_detail(struct json_object *detail, struct aic_completion_error *to)
{
	size_t i, n;

	if (!json_object_is_type(detail, json_type_array)) {
		add_message("", "", text_of(detail), to);
		return;
	}
	n = json_object_array_length(detail);
	for (i = 0; i < n && i < ENTRIES_MAX; i++)
		read_entry(json_object_array_get_idx(detail, i), to);
}

/* The object that has code and message. */
static void
read_fields(struct json_object *e, const char *const *keys,
    struct aic_completion_error *to)
{
	struct json_object *message = member(e, "message");
	struct json_object *detail = member(e, "detail");
	struct json_object *status = member(e, "status");
	const char *code = text_of(member(e, "code"));

	copy_name(member(e, "code"), keys, to->code);
	copy_name(member(e, "type"), keys, to->type);
	if (!*to->type) /* Google's "RESOURCE_EXHAUSTED" */
		copy_name(status, keys, to->type);
	copy_name(member(e, "param"), keys, to->param);
	to->status = status_in(member(e, "code"));
	if (!to->status)
		to->status = status_in(status);
	add_message(code, text_of(member(e, "param")),
	    text_of(message ? message : member(e, "msg")), to);
	/* Mistral puts the list of faults into the message. */
	if (json_object_is_type(message, json_type_object))
		read_detail(member(message, "detail"), to);
	if (json_object_is_type(detail, json_type_object))
		add_message(code, "", text_of(member(detail, "message")), to);
	else if (detail)
		read_detail(detail, to);
}

/* Any document that is no answer. */
static void
read_error(struct json_object *doc, const char *const *keys,
    struct aic_completion_error *to)
{
	struct json_object *top = first_of(doc), *e = member(top, "error");

	if (!e)
		e = member(top, "errors");
	e = first_of(e);
	if (json_object_is_type(e, json_type_object)) {
		read_fields(e, keys, to);
	} else if (top) {
		read_fields(top, keys, to);
		add_message(to->code, "", text_of(e), to);
	}
}

void
aic_completion_read_error(const struct aic_buf *body, const char *const *keys,
    struct aic_completion_error *ret_error)
{
	struct json_object *doc = NULL;
	size_t n;
	const char *s = start_of(body, &n);

	memset(ret_error, 0, sizeof(*ret_error));
	if (aic_json_parse(s, n, &doc) != AIC_OK)
		return;
	read_error(doc, keys, ret_error);
	ret_error->status = 0;
	json_object_put(doc);
}

/* --- answers ------------------------------------------------------------- */

/* What the end of an answer means. */
enum ending {
	UNKNOWN,
	CUT, /* at the limit of tokens */
	BROKEN, /* the provider says that the rest is missing */
	FILTERED,
};

/* What finish_reason says; a prefix, because Google appends its own word:
 * "content_filter: RECITATION". All others say that the answer is whole. */
static const struct {
	const char *reason;
	enum ending ending;
} endings[] = {
	{ "length", CUT }, { "max_tokens", CUT }, { "error", BROKEN },
	{ "network_error", BROKEN },
	{ "insufficient_system_resource", BROKEN }, /* DeepSeek */
	{ "abort", BROKEN }, /* vLLM, SGLang */
	{ "content_filter", FILTERED }, { "sensitive", FILTERED }, /* Zhipu */
	{ "safety", FILTERED }, /* Google, and the five below */
	{ "prohibited_content", FILTERED }, { "recitation", FILTERED },
	{ "blacklist", FILTERED }, { "blocklist", FILTERED },
	{ "spii", FILTERED }, { "guardrail", FILTERED }, /* Amazon */
	{ "refusal", FILTERED }, /* Anthropic */
};

/* An answer in the making: of one document, or of the chunks of a stream. */
struct reading {
	const char *const *keys;
	struct aic_completion_error *error;
	struct aic_buf text; /* as it came */
	struct aic_completion_usage usage;
	int64_t total;
	enum ending ending;
	bool stream;
	bool failed; /* an error was among it */
	bool choices; /* a list of them has come */
	bool choice; /* ... with one */
	bool message; /* ... which has a message */
	bool content; /* ... of which a part is text */
	bool refusal;
	bool ended; /* the choice has a finish_reason */
	bool no_memory;
};

/* A whole number of tokens, also where it is written 12.0; false: it is none. */
static bool
read_count(struct json_object *usage, const char *name, int64_t *to)
{
	struct json_object *v = member(usage, name);
	int64_t n;
	double d;

	if (json_object_is_type(v, json_type_double)) {
		d = json_object_get_double(v);
		n = d < 0 ? 0 : d >= INT_MAX ? INT_MAX : (int64_t)d;
		if (d > 0 && d < INT_MAX && d != (double)n)
			return false;
	} else if (json_object_is_type(v, json_type_int)) {
		n = json_object_get_int64(v);
	} else {
		return false;
	}
	*to = n < 0 ? 0 : n > INT_MAX ? INT_MAX : n;
	return true;
}

static void
read_usage(struct json_object *usage, struct reading *r)
{
	struct aic_completion_usage *u = &r->usage;
	bool prompt, completion;

	if (!json_object_is_type(usage, json_type_object))
		return;
	prompt = read_count(usage, "prompt_tokens", &u->prompt);
	completion = read_count(usage, "completion_tokens", &u->completion);
	/* One that is there and says nothing is 0. */
	if (json_object_object_get_ex(usage, "total_tokens", NULL))
		read_count(usage, "total_tokens", &r->total);
	else if (prompt && completion)
		r->total = u->prompt + u->completion > INT_MAX
		    ? INT_MAX
		    : u->prompt + u->completion;
	/* Some put a 0 into the details and the number beside them. */
	if (!read_count(member(usage, "prompt_tokens_details"), "cached_tokens",
		&u->cached) ||
	    u->cached == 0)
		read_count(usage, "prompt_cache_hit_tokens", &u->cached);
}

static void
add_text(struct json_object *s, struct reading *r)
{
	r->content = true;
	aic_buf_put(&r->text, json_object_get_string(s),
	    (size_t)json_object_get_string_len(s));
}

/* One part of a content; what it thinks, shows or calls is none of the answer. */
static void
add_part(struct json_object *part, struct reading *r)
{
	struct json_object *text = member_of(part, "text", json_type_string);
	struct json_object *type = member(part, "type");
	const char *name = text_of(type);

	if (*text_of(member(part, "refusal")))
		r->refusal = true;
	else if (text &&
	    (!type || strcmp(name, "text") == 0 ||
		strcmp(name, "output_text") == 0))
		add_text(text, r);
}

static void
add_content(struct json_object *content, struct reading *r)
{
	size_t i, n;

	if (json_object_is_type(content, json_type_string)) {
		add_text(content, r);
	} else if (json_object_is_type(content, json_type_array)) {
		n = json_object_array_length(content);
		for (i = 0; i < n; i++)
			add_part(json_object_array_get_idx(content, i), r);
	}
}

static void
read_finish(const char *reason, struct reading *r)
{
	size_t i;

	if (!*reason)
		return;
	r->ended = true;
	r->ending = UNKNOWN;
	for (i = 0; i < sizeof(endings) / sizeof(endings[0]); i++)
		if (strncasecmp(reason, endings[i].reason,
			strlen(endings[i].reason)) == 0)
			r->ending = endings[i].ending;
}

/* Is there an error, and not just a place for one? */
static bool
is_error(struct json_object *e)
{
	if (json_object_is_type(e, json_type_object))
		return json_object_object_length(e) > 0;
	if (json_object_is_type(e, json_type_array))
		return is_error(first_of(e));
	return *text_of(e) != '\0';
}

static void
note_error(struct json_object *with_error, struct reading *r)
{
	/* The first one; what follows in a stream is of no use. */
	if (r->failed)
		return;
	r->failed = true;
	read_error(with_error, r->keys, r->error);
	if (!r->error->status)
		r->error->status = 200;
}

static void
read_choice(struct json_object *choice, struct reading *r)
{
	struct json_object *m;

	if (is_error(member(choice, "error")))
		note_error(choice, r);
	read_finish(text_of(member(choice, "finish_reason")), r);
	/* Of a stream; but a server that has all of it at once may send a message. */
	m = r->stream ? member_of(choice, "delta", json_type_object) : NULL;
	if (!m)
		m = member_of(choice, "message", json_type_object);
	if (!m)
		return;
	r->message = true;
	if (*text_of(member(m, "refusal")))
		r->refusal = true;
	add_content(member(m, "content"), r);
}

/* A document, or one chunk of a stream. */
static void
read_document(struct json_object *doc, struct reading *r)
{
	struct json_object *choices = member(doc, "choices");
	struct json_object *top = first_of(doc);

	if (is_error(member(top, "error")) || is_error(member(top, "errors")))
		note_error(doc, r);
	else if (!choices &&
	    (*text_of(member(top, "message")) || member(top, "detail")))
		note_error(doc, r);
	if (json_object_is_type(choices, json_type_array)) {
		r->choices = true;
		if (json_object_array_length(choices) > 0) {
			r->choice = true;
			read_choice(first_of(choices), r);
		}
	}
	read_usage(member(doc, "usage"), r);
}

static bool
read_chunk(void *arg, const char *data, size_t len)
{
	struct reading *r = arg;
	struct json_object *doc = NULL;
	enum aic_code rc;

	if (strncmp(data, "[DONE]", 6) == 0) {
		r->ended = true;
		return false;
	}
	rc = aic_json_parse(data, len, &doc);
	r->no_memory = rc == AIC_ENOMEM;
	if (!rc)
		read_document(doc, r);
	json_object_put(doc);
	return !rc && !r->failed;
}

static void
read_stream(const char *s, size_t n, struct reading *r)
{
	struct aic_sse sse;

	aic_sse_init(&sse, AIC_COMPLETION_MAX);
	if (aic_sse_put(&sse, s, n, read_chunk, r))
		aic_sse_end(&sse, read_chunk, r);
	r->no_memory |= aic_sse_failed(&sse);
	aic_sse_done(&sse);
}

static enum aic_code
useless(struct aic_err *err, const char *why)
{
	aic_says(err, "%s", why);
	return aic_fail(err, AIC_EUPSTREAM, "%s", why);
}

/* Asked again, the model does the same again. */
static enum aic_code
refuses(struct aic_err *err, const char *why)
{
	enum aic_code rc = useless(err, why);

	err->declined = true;
	return rc;
}

/* Another call may bring a whole one. */
static enum aic_code
broken(struct reading *r, struct aic_err *err, const char *why)
{
	r->error->broken = true;
	return useless(err, why);
}

static enum aic_code
fail_error(const struct aic_completion_error *e, struct aic_err *err)
{
	char status[16] = "";

	if (e->status != 200)
		snprintf(status, sizeof(status), " %d", e->status);
	aic_says(err, "the model answered HTTP 200 with error%s", status);
	return aic_fail(err, AIC_EUPSTREAM,
	    "the model answered HTTP 200 with error%s code=%s type=%s param=%s",
	    status, e->code, e->type, e->param);
}

/* Why it is no answer, whatever its text. */
static enum aic_code
check_frame(struct reading *r, struct aic_err *err)
{
	if (r->failed) {
		/* finish_reason is "error" then, and there may be no code. */
		r->error->broken = r->ending == BROKEN;
		return fail_error(r->error, err);
	}
	if (r->ending == FILTERED)
		return refuses(err, "the model's answer was filtered");
	if (r->refusal)
		return refuses(err, "the model refused to answer");
	if (r->ending == BROKEN || (r->stream && !r->ended))
		return broken(r, err, "the model's answer broke off");
	if (!r->choices && !r->stream)
		return useless(err, "the model's answer has no choices");
	if (!r->choice)
		return broken(r, err, "the model's answer has no choices");
	if (!r->message)
		return useless(err, "the model's answer has no message");
	if (!r->content)
		return useless(err, "the model's answer has no text");
	return AIC_OK;
}

/* The text, fit for the database and for the caller. */
static enum aic_code
take_text(struct reading *r, char **ret_text, struct aic_err *err)
{
	struct aic_buf text;
	size_t skip, len = 0;
	char *all;

	/* A broken byte becomes three. */
	aic_buf_init(&text, 3 * AIC_COMPLETION_MAX);
	if (r->text.len > 0)
		aic_utf8_mend(&text, r->text.data, r->text.len);
	if (text.len == 0 && !text.failed)
		return useless(err, "the model's answer is empty");
	all = aic_buf_take(&text, &len);
	if (!all) {
		aic_buf_done(&text);
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	}
	skip = aic_think_skip(all, len);
	if (aic_utf8_invisible(all + skip, len - skip)) {
		free(all);
		return useless(err, "the model's answer is empty");
	}
	memmove(all, all + skip, len - skip + 1);
	*ret_text = all;
	return AIC_OK;
}

static enum aic_code
read_body(const char *s, size_t n, struct reading *r, struct aic_err *err)
{
	struct json_object *doc = NULL;
	enum aic_code rc = AIC_OK;

	r->stream = aic_sse_looks_like(s, n);
	if (r->stream)
		read_stream(s, n, r);
	else
		rc = aic_json_parse(s, n, &doc);
	if (rc == AIC_ENOMEM || r->no_memory)
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	if (r->stream)
		return check_frame(r, err);
	/* With HTTP/2, and without a length, nothing else may tell that the connection
	 * ended too early. */
	if (rc && aic_json_is_cut(s, n))
		return broken(r, err, "the model's answer broke off");
	read_document(doc, r);
	rc = !r->failed && !json_object_is_type(doc, json_type_object)
	    ? useless(err, "the model's answer is not a JSON object")
	    : check_frame(r, err);
	json_object_put(doc);
	return rc;
}

enum aic_code
aic_completion_read(const struct aic_buf *body, const char *const *keys,
    struct aic_completion *ret_completion,
    struct aic_completion_error *ret_error, struct aic_err *err)
{
	struct reading r = { .keys = keys, .error = ret_error };
	char *text = NULL;
	const char *s;
	size_t n;
	enum aic_code rc;

	memset(ret_error, 0, sizeof(*ret_error));
	aic_buf_init(&r.text, AIC_COMPLETION_MAX);
	s = start_of(body, &n);
	rc = read_body(s, n, &r, err);
	if (!rc && r.text.failed)
		rc = aic_fail(err, AIC_ENOMEM, "out of memory");
	if (!rc)
		rc = take_text(&r, &text, err);
	aic_buf_done(&r.text);
	if (rc)
		return rc;
	*ret_completion = (struct aic_completion){ .text = text,
		.tokens = r.total,
		.usage = r.usage,
		.cut_off = r.ending == CUT };
	return AIC_OK;
}
