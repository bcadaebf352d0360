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

/* A member of an object; NULL if it is null or absent. */
static struct json_object *
get_member(struct json_object *obj, const char *name)
{
	struct json_object *v = NULL;

	if (json_object_is_type(obj, json_type_object))
		json_object_object_get_ex(obj, name, &v);
	return v;
}

/* A member of an object, if the member has the given type; otherwise NULL. */
static struct json_object *
get_member_of(struct json_object *obj, const char *name, enum json_type type)
{
	struct json_object *v = get_member(obj, name);

	return json_object_is_type(v, type) ? v : NULL;
}

/* The text of a string; "" for any other value. */
static const char *
get_text(struct json_object *v)
{
	return json_object_is_type(v, json_type_string)
	    ? json_object_get_string(v)
	    : "";
}

/* The first element of a list; any other value unchanged. */
static struct json_object *
get_first(struct json_object *v)
{
	return json_object_is_type(v, json_type_array)
	    ? json_object_array_get_idx(v, 0)
	    : v;
}

/*
 * The body without leading white space and byte order mark, which some servers
 * send.
 */
static const char *
find_start(const struct aic_buf *body, size_t *ret_len)
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

/*
 * The maximum number of faults that are read from one response. A server
 * reports faults of the members of a request, and the worker sets only a few.
 */
#define ENTRIES_MAX 16

/* --- errors -------------------------------------------------------------- */

/*
 * Whether a string is a name such as "rate_limit_exceeded". Some servers put an
 * API key or words of the question there; these must not be logged.
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

/* LiteLLM writes "None" for an absent value. */
static bool
is_none(const char *s)
{
	return strcmp(s, "None") == 0 || strcmp(s, "null") == 0;
}

static void
copy_name(struct json_object *v, const char *const *keys,
    char to[AIC_COMPLETION_NAME_SIZE])
{
	const char *s = get_text(v);

	if (json_object_is_type(v, json_type_int))
		snprintf(to, AIC_COMPLETION_NAME_SIZE, "%lld",
		    (long long)json_object_get_int64(v));
	else if (*s && !is_none(s))
		snprintf(to, AIC_COMPLETION_NAME_SIZE, "%s",
		    is_name(s, keys) ? s : "?");
}

/* An HTTP status other than success, as a number or as text; else 0. */
static int
get_status(struct json_object *v)
{
	const char *s = get_text(v);
	int64_t n = 0;

	if (json_object_is_type(v, json_type_int))
		n = json_object_get_int64(v);
	else if (strlen(s) == 3 && strspn(s, "0123456789") == 3)
		n = strtol(s, NULL, 10);
	return n >= 400 && n <= 599 ? (int)n : 0;
}

/*
 * Each text is truncated, because aic_param_refused() searches it for many
 * words.
 */
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

/*
 * Read one fault of a request, as FastAPI and pydantic report it:
 * {"type":"extra_forbidden","loc":["body","max_tokens"],"msg":"..."}
 */
static void
read_entry(struct json_object *entry, struct aic_completion_error *to)
{
	struct json_object *loc = get_member_of(entry, "loc", json_type_array);
	size_t n = loc ? json_object_array_length(loc) : 0;

	add_message(get_text(get_member(entry, "type")),
	    n > 0 ? get_text(json_object_array_get_idx(loc, n - 1)) : "",
	    get_text(get_member(entry, "msg")), to);
}

static void
read_detail(struct json_object *detail, struct aic_completion_error *to)
{
	size_t i, n;

	if (!json_object_is_type(detail, json_type_array)) {
		add_message("", "", get_text(detail), to);
		return;
	}
	n = json_object_array_length(detail);
	for (i = 0; i < n && i < ENTRIES_MAX; i++)
		read_entry(json_object_array_get_idx(detail, i), to);
}

/* Read the object that contains code and message. */
static void
read_fields(struct json_object *e, const char *const *keys,
    struct aic_completion_error *to)
{
	struct json_object *message = get_member(e, "message");
	struct json_object *detail = get_member(e, "detail");
	struct json_object *status = get_member(e, "status");
	const char *code = get_text(get_member(e, "code"));

	copy_name(get_member(e, "code"), keys, to->code);
	copy_name(get_member(e, "type"), keys, to->type);
	if (!*to->type) /* Google's "RESOURCE_EXHAUSTED" */
		copy_name(status, keys, to->type);
	copy_name(get_member(e, "param"), keys, to->param);
	to->status = get_status(get_member(e, "code"));
	if (!to->status)
		to->status = get_status(status);
	add_message(code, get_text(get_member(e, "param")),
	    get_text(message ? message : get_member(e, "msg")), to);
	/* Mistral puts the list of faults into the message. */
	if (json_object_is_type(message, json_type_object))
		read_detail(get_member(message, "detail"), to);
	if (json_object_is_type(detail, json_type_object))
		add_message(code, "", get_text(get_member(detail, "message")),
		    to);
	else if (detail)
		read_detail(detail, to);
}

/* Read any document that is not an answer. */
static void
read_error(struct json_object *doc, const char *const *keys,
    struct aic_completion_error *to)
{
	struct json_object *top = get_first(doc), *e = get_member(top, "error");

	if (!e)
		e = get_member(top, "errors");
	e = get_first(e);
	if (json_object_is_type(e, json_type_object)) {
		read_fields(e, keys, to);
	} else if (top) {
		read_fields(top, keys, to);
		add_message(to->code, "", get_text(e), to);
	}
}

void
aic_completion_read_error(const struct aic_buf *body, const char *const *keys,
    struct aic_completion_error *ret_error)
{
	struct json_object *doc = NULL;
	size_t n;
	const char *s = find_start(body, &n);

	memset(ret_error, 0, sizeof(*ret_error));
	if (aic_json_parse(s, n, &doc) != AIC_OK)
		return;
	read_error(doc, keys, ret_error);
	/* The status of the response counts, not one in its body. */
	ret_error->status = 0;
	json_object_put(doc);
}

/* --- answers ------------------------------------------------------------- */

/* What the finish_reason of an answer means. */
enum ending {
	COMPLETE, /* as far as finish_reason shows */
	CUT, /* the answer ended at the token limit */
	BROKEN, /* the provider reports that the rest is missing */
	FILTERED,
};

/*
 * The known values of finish_reason. Each is a prefix, because Google appends a
 * word of its own: "content_filter: RECITATION". All other values mean a
 * complete answer.
 */
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

/*
 * An answer that is being read, from a document or from the chunks of a stream.
 */
struct reading {
	const char *const *keys;
	struct aic_completion_error *error;
	struct aic_buf text; /* as received */
	struct aic_completion_usage usage;
	int64_t total;
	enum ending ending;
	bool stream;
	bool failed; /* the body contains an error */
	bool choices; /* a list of choices was read */
	bool choice; /* a list had at least one choice */
	bool message; /* a choice had a message or a delta */
	bool content; /* a message had a part that is text */
	bool refusal;
	bool ended; /* a finish_reason or [DONE] was read */
	bool no_memory;
};

/* Read a whole number of tokens, also in the form 12.0. False: not such a
 * number. */
static bool
read_count(struct json_object *usage, const char *name, int64_t *to)
{
	struct json_object *v = get_member(usage, name);
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
	/* An invalid total counts as 0. */
	if (json_object_object_get_ex(usage, "total_tokens", NULL))
		read_count(usage, "total_tokens", &r->total);
	else if (prompt && completion)
		r->total = u->prompt + u->completion > INT_MAX
		    ? INT_MAX
		    : u->prompt + u->completion;
	/* Some providers put 0 into the details and the number beside them. */
	if (!read_count(get_member(usage, "prompt_tokens_details"),
		"cached_tokens", &u->cached) ||
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

/* Read one part of a content. Reasoning, images and tool calls are not text. */
static void
add_part(struct json_object *part, struct reading *r)
{
	struct json_object *text = get_member_of(part, "text",
	    json_type_string);
	struct json_object *type = get_member(part, "type");
	const char *name = get_text(type);

	if (*get_text(get_member(part, "refusal")))
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
	r->ending = COMPLETE;
	for (i = 0; i < sizeof(endings) / sizeof(endings[0]); i++)
		if (strncasecmp(reason, endings[i].reason,
			strlen(endings[i].reason)) == 0)
			r->ending = endings[i].ending;
}

/*
 * Whether the member contains an error. Some servers always send the member,
 * empty.
 */
static bool
is_error(struct json_object *e)
{
	if (json_object_is_type(e, json_type_object))
		return json_object_object_length(e) > 0;
	if (json_object_is_type(e, json_type_array))
		return is_error(get_first(e));
	return *get_text(e) != '\0';
}

static void
note_error(struct json_object *with_error, struct reading *r)
{
	/* Only the first error of a stream counts. */
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

	if (is_error(get_member(choice, "error")))
		note_error(choice, r);
	read_finish(get_text(get_member(choice, "finish_reason")), r);
	/*
	 * In a stream, too, a server may send a whole message instead of a
	 * delta.
	 */
	m = r->stream ? get_member_of(choice, "delta", json_type_object) : NULL;
	if (!m)
		m = get_member_of(choice, "message", json_type_object);
	if (!m)
		return;
	r->message = true;
	if (*get_text(get_member(m, "refusal")))
		r->refusal = true;
	add_content(get_member(m, "content"), r);
}

/* Read a document, or one chunk of a stream. */
static void
read_document(struct json_object *doc, struct reading *r)
{
	struct json_object *choices = get_member(doc, "choices");
	struct json_object *top = get_first(doc);

	if (is_error(get_member(top, "error")) ||
	    is_error(get_member(top, "errors")) ||
	    (!choices &&
		(*get_text(get_member(top, "message")) ||
		    get_member(top, "detail"))))
		note_error(doc, r);
	if (json_object_is_type(choices, json_type_array)) {
		r->choices = true;
		if (json_object_array_length(choices) > 0) {
			r->choice = true;
			read_choice(get_first(choices), r);
		}
	}
	read_usage(get_member(doc, "usage"), r);
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
fail_useless(struct aic_err *err, const char *why)
{
	aic_says(err, "%s", why);
	return aic_fail(err, AIC_EUPSTREAM, "%s", why);
}

/* Fail with an error that a retry would repeat. */
static enum aic_code
fail_final(struct aic_err *err, const char *why)
{
	enum aic_code rc = fail_useless(err, why);

	err->declined = true;
	return rc;
}

/* Fail with an error for which a retry may help. */
static enum aic_code
fail_broken(struct reading *r, struct aic_err *err, const char *why)
{
	r->error->broken = true;
	return fail_useless(err, why);
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

/* Fail if the response is not a complete answer, even if it has text. */
static enum aic_code
check_frame(struct reading *r, struct aic_err *err)
{
	if (r->failed) {
		/*
		 * With finish_reason "error", the error may have neither a
		 * status nor a code. `broken' then makes a retry possible.
		 */
		r->error->broken = r->ending == BROKEN;
		return fail_error(r->error, err);
	}
	if (r->ending == FILTERED)
		return fail_final(err, "the model's answer was filtered");
	if (r->refusal)
		return fail_final(err, "the model refused to answer");
	if (r->ending == BROKEN || (r->stream && !r->ended))
		return fail_broken(r, err, "the model's answer broke off");
	if (!r->choices && !r->stream)
		return fail_useless(err, "the model's answer has no choices");
	if (!r->choice)
		return fail_broken(r, err, "the model's answer has no choices");
	if (!r->message)
		return fail_useless(err, "the model's answer has no message");
	if (!r->content)
		return fail_useless(err, "the model's answer has no text");
	return AIC_OK;
}

/* The text, converted so that the database and the caller accept it. */
static enum aic_code
take_text(struct reading *r, char **ret_text, struct aic_err *err)
{
	struct aic_buf text;
	size_t skip, len = 0;
	char *all;

	/* aic_utf8_mend() writes three bytes (U+FFFD) for an invalid one. */
	aic_buf_init(&text, 3 * AIC_COMPLETION_MAX);
	if (r->text.len > 0)
		aic_utf8_mend(&text, r->text.data, r->text.len);
	if (text.len == 0 && !text.failed)
		return fail_useless(err, "the model's answer is empty");
	all = aic_buf_take(&text, &len);
	if (!all) {
		aic_buf_done(&text);
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	}
	skip = aic_think_skip(all, len);
	if (aic_utf8_invisible(all + skip, len - skip)) {
		free(all);
		return fail_useless(err, "the model's answer is empty");
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
	/*
	 * With HTTP/2 and without a Content-Length, an incomplete document can
	 * be the only sign that the connection ended too early.
	 */
	if (rc && aic_json_is_cut(s, n))
		return fail_broken(r, err, "the model's answer broke off");
	read_document(doc, r);
	rc = !r->failed && !json_object_is_type(doc, json_type_object)
	    ? fail_useless(err, "the model's answer is not a JSON object")
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
	s = find_start(body, &n);
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
