#include "config.h"

#include "app/worker/openapi.h"

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "app/worker/doc.h"
#include "app/worker/reply.h"

/* The largest document. The real one has about 60 KB. */
#define DOCUMENT_MAX (1024 * 1024)

/* The longest example of an error. */
#define EXAMPLE_MAX 4096

#define JSON_TYPE "application/json"

/* --- requests ------------------------------------------------------------- */

static void
put_body(struct doc *d, struct json_object *op,
    const struct aic_input_schema *in)
{
	struct json_object *body = doc_put_object(d, op, "requestBody"), *o,
			   *media, *members, *required;
	const struct aic_input_field *f;

	doc_put_bool(d, body, "required", true);
	media = doc_put_object(d, doc_put_object(d, body, "content"),
	    JSON_TYPE);
	doc_put_ref(d, doc_put_object(d, media, "schema"), "schemas", in->name);
	if (d->code || json_object_object_get_ex(d->schemas, in->name, &o))
		return;
	o = doc_put_object(d, d->schemas, in->name);
	doc_put_text(d, o, "type", "object");
	required = doc_put_array(d, o, "required");
	members = doc_put_object(d, o, "properties");
	for (f = in->fields; f < in->fields + in->n; f++) {
		if (f->place != AIC_INPUT_BODY)
			continue;
		if (f->required)
			doc_append(d, required,
			    json_object_new_string(f->name));
		o = doc_put_object(d, members, f->name);
		doc_put_text(d, o, "description", f->about);
		doc_put_field_schema(d, o, f);
		doc_put_json(d, o, "example", f->example);
	}
}

/*
 * The example of a header is a part of the description. /docs would send the
 * value of `example' with each request: one Idempotency-Key for all questions.
 */
static void
put_header_about(struct doc *d, struct json_object *p, const char *about,
    const char *example)
{
	char text[512];

	snprintf(text, sizeof(text), "%s Example: `%s`.", about, example);
	doc_put_text(d, p, "description", text);
}

#define REQUEST_ID_SCHEMA                                                      \
	"{\"type\":\"string\",\"pattern\":\"^[A-Za-z0-9._-]{1,64}$\"}"

/* The headers that each request can have. */
static const struct request_header {
	const char *key; /* in components.parameters */
	const char *name;
	const char *about;
	const char *example;
	const char *schema; /* JSON */
} request_headers[] = {
	{ "RequestId", "X-Request-Id",
	    "An id of the caller, which the response and the logs then have. "
	    "An id of another form is replaced.",
	    "order-bot-5f1f8f9b1a77", REQUEST_ID_SCHEMA },
	{ "Traceparent", "traceparent",
	    "The trace of the caller (W3C Trace Context). It is in the logs, "
	    "and is passed on to the model, together with `tracestate`. An "
	    "invalid value is ignored.",
	    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	    "{\"type\":\"string\"}" },
};

#define N_REQUEST_HEADERS (sizeof(request_headers) / sizeof(request_headers[0]))

static void
put_params(struct doc *d, struct json_object *op,
    const struct aic_input_schema *in)
{
	struct json_object *list = doc_put_array(d, op, "parameters"), *p;
	const struct request_header *h;
	const struct aic_input_field *f;

	for (f = in ? in->fields : NULL; in && f < in->fields + in->n; f++) {
		if (f->place == AIC_INPUT_BODY)
			continue;
		p = doc_append(d, list, json_object_new_object());
		doc_put_text(d, p, "name", f->name);
		doc_put_text(d, p, "in", aic_input_place_name(f->place));
		doc_put_bool(d, p, "required",
		    f->required || f->place == AIC_INPUT_PATH);
		doc_put_field_schema(d, doc_put_object(d, p, "schema"), f);
		if (f->place == AIC_INPUT_HEADER) {
			put_header_about(d, p, f->about, f->example);
			continue;
		}
		doc_put_text(d, p, "description", f->about);
		doc_put_json(d, p, "example", f->example);
	}
	for (h = request_headers; h < request_headers + N_REQUEST_HEADERS; h++)
		doc_put_ref(d, doc_append(d, list, json_object_new_object()),
		    "parameters", h->key);
}

/* --- responses ------------------------------------------------------------ */

/* The headers of responses, and when a response has them. */
static bool
has_request_id(const struct endpoint *e, int status)
{
	(void)e;
	(void)status;
	return true;
}

static bool
has_retry_after(const struct endpoint *e, int status)
{
	return status == 429 ||
	    (status >= 502 && !(status == 503 && e->other_status == 503));
}

static bool
has_replayed(const struct endpoint *e, int status)
{
	return e->replays && status == 200;
}

/* After a chat has read the limit, it can still be refused or fail, or turn out
 * to repeat a key with another body. */
static bool
has_quota(const struct endpoint *e, int status)
{
	return e->reads_limit &&
	    (status == 200 ||
		(e->replays &&
		    (status == 422 || status == 429 || status == 500)));
}

static const struct header {
	const char *key; /* in components.headers */
	const char *name;
	bool (*is_there)(const struct endpoint *e, int status);
	bool required;
	const char *about;
	const char *schema; /* JSON */
	const char *example; /* JSON */
} headers[] = {
	{ "RequestId", "X-Request-Id", has_request_id, true,
	    "The id of the request, as in the logs of the service: that of the "
	    "request if it is valid, else a new one.",
	    REQUEST_ID_SCHEMA, "\"5f1f8f9b1a77cc03\"" },
	{ "RetryAfter", "Retry-After", has_retry_after, true,
	    "After how many seconds a retry is useful.",
	    "{\"type\":\"integer\",\"minimum\":1}", "60" },
	{ "IdempotentReplayed", "Idempotent-Replayed", has_replayed, false,
	    "Present if the response is that of an earlier request with the "
	    "same `Idempotency-Key`. The model was not called.",
	    "{\"type\":\"string\",\"enum\":[\"true\"]}", "\"true\"" },
	{ "RateLimitPolicy", "RateLimit-Policy", has_quota, false,
	    "The daily limit of the user, as structured fields: `q` chats in a "
	    "calendar day of `w` seconds. Absent if there is no limit.",
	    "{\"type\":\"string\","
	    "\"pattern\":\"^\\\"day\\\";q=[0-9]+;w=86400$\"}",
	    "\"\\\"day\\\";q=30;w=86400\"" },
	{ "RateLimit", "RateLimit", has_quota, false,
	    "The user's day: `r` chats are left, and the day ends in `t` "
	    "seconds. Absent if there is no limit, and if `Retry-After` is "
	    "shorter than `t`, because the limit is then not the reason to "
	    "wait.",
	    "{\"type\":\"string\","
	    "\"pattern\":\"^\\\"day\\\";r=[0-9]+;t=[0-9]+$\"}",
	    "\"\\\"day\\\";r=27;t=3600\"" },
};

#define N_HEADERS (sizeof(headers) / sizeof(headers[0]))

/* What Nginx answers when it cannot get a response from a worker. The texts are
 * in nginx/ai-chat-maps.conf. */
static const struct gateway_error {
	int status;
	const char *key; /* of the example */
	const char *about;
	const char *example;
} gateway_errors[] = {
	{ 400, "malformed",
	    "The request is not valid HTTP. This response is from Nginx.",
	    "{\"detail\":\"Bad Request\"}" },
	{ 429, "flood",
	    "More requests a second than the operator allows the caller. This "
	    "response is from Nginx, and only if that is configured.",
	    "{\"detail\":{\"error\":\"Too Many Requests\","
	    "\"message\":\"Слишком много вопросов сразу, этот не засчитан. "
	    "Попробуйте ещё раз через минуту.\"}}" },
	{ 502, "lost",
	    "No worker is running, or the connection to the worker broke. If "
	    "the worker had received the request, the chat may have been "
	    "counted, and `detail.message` says so. This response is from "
	    "Nginx.",
	    "{\"detail\":{\"error\":\"Service temporarily unavailable\","
	    "\"message\":\"Сервис временно недоступен, вопрос не засчитан. "
	    "Попробуйте ещё раз через минуту.\"}}" },
	{ 504, "timeout",
	    "The worker exceeded its deadline. The chat may have been counted. "
	    "This response is from Nginx.",
	    "{\"detail\":{\"error\":\"Gateway Timeout\","
	    "\"message\":\"Ответ не пришёл вовремя, вопрос мог быть засчитан. "
	    "Попробуйте ещё раз через минуту.\"}}" },
};

#define N_GATEWAY (sizeof(gateway_errors) / sizeof(gateway_errors[0]))

/* One response of an operation. Several errors can share a status. */
static struct json_object *
get_response(struct doc *d, struct json_object *responses,
    const struct endpoint *e, int status)
{
	struct json_object *r = NULL, *list;
	char name[8];
	size_t i;

	snprintf(name, sizeof(name), "%d", status);
	if (responses && json_object_object_get_ex(responses, name, &r))
		return r;
	r = doc_put_object(d, responses, name);
	doc_put_text(d, r, "description", "");
	list = doc_put_object(d, r, "headers");
	for (i = 0; i < N_HEADERS; i++)
		if (headers[i].is_there(e, status))
			doc_put_ref(d, doc_put_object(d, list, headers[i].name),
			    "headers", headers[i].key);
	return r;
}

/* Add a sentence to the description of a response. */
static void
add_about(struct doc *d, struct json_object *response, const char *about)
{
	struct json_object *old = NULL;
	char text[2048];
	const char *was;

	if (d->code ||
	    !json_object_object_get_ex(response, "description", &old))
		return;
	was = json_object_get_string(old);
	snprintf(text, sizeof(text), *was ? "%s\n\n%s" : "%s%s", was, about);
	doc_put_text(d, response, "description", text);
}

static bool
is_ref(struct json_object *schema, const char *path)
{
	struct json_object *ref = NULL;

	return json_object_object_get_ex(schema, "$ref", &ref) &&
	    strcmp(json_object_get_string(ref), path) == 0;
}

/* Add a shape to the schema of a response; anyOf, if there are several. */
static void
add_schema(struct doc *d, struct json_object *media,
    const struct aic_shape *shape)
{
	struct json_object *schema = NULL, *list = NULL, *first;
	char path[DOC_REF_MAX];
	size_t i;

	if (d->code)
		return;
	if (!json_object_object_get_ex(media, "schema", &schema)) {
		doc_put_shape(d, doc_put_object(d, media, "schema"), shape);
		return;
	}
	doc_write_ref(path, "schemas", shape->name);
	if (is_ref(schema, path))
		return;
	if (!json_object_object_get_ex(schema, "anyOf", &list)) {
		first = json_object_get(schema);
		list = doc_put_array(d, doc_put_object(d, media, "schema"),
		    "anyOf");
		doc_append(d, list, first);
	}
	for (i = 0; !d->code && i < json_object_array_length(list); i++)
		if (is_ref(json_object_array_get_idx(list, i), path))
			return;
	doc_put_shape(d, doc_append(d, list, json_object_new_object()), shape);
}

/* One cause of a response: its text, shape and example. */
static void
add_cause(struct doc *d, struct json_object *response, const char *key,
    const char *about, const struct aic_shape *shape, const char *example)
{
	struct json_object *media = doc_get_object(d,
	    doc_get_object(d, response, "content"), JSON_TYPE);
	struct json_object *o;

	add_about(d, response, about);
	add_schema(d, media, shape);
	o = doc_put_object(d, doc_get_object(d, media, "examples"), key);
	doc_put_text(d, o, "summary", about);
	doc_put_json(d, o, "value", example);
}

static void
put_answer(struct doc *d, struct json_object *responses,
    const struct endpoint *e, int status)
{
	struct json_object *r = get_response(d, responses, e, status);
	struct json_object *content = doc_get_object(d, r, "content"), *media;

	if (e->answer) {
		add_about(d, r, e->answer->about);
		add_schema(d, doc_get_object(d, content, JSON_TYPE), e->answer);
		return;
	}
	add_about(d, r, "The text.");
	media = doc_put_object(d, content, e->type);
	doc_put_text(d, doc_put_object(d, media, "schema"), "type", "string");
}

/* The first range_rule of a schema; NULL: none. */
static const char *
get_range_rule(const struct aic_input_schema *in)
{
	int i;

	for (i = 0; in && i < in->n; i++)
		if (in->fields[i].range_rule)
			return in->fields[i].range_rule;
	return NULL;
}

/* The errors of an endpoint, as bits. */
static unsigned
list_errors(const struct endpoint *e)
{
	unsigned errors = e->errors | 1U << AIC_ENOMEM;

	if (e->need != AIC_AUTH_NONE)
		errors |= 1U << AIC_EAUTH;
	/* Without API_ADMIN_KEY the path does not exist. */
	if (e->need == AIC_AUTH_OPERATOR)
		errors |= 1U << AIC_ENOROUTE;
	if (strcmp(e->method, "POST") == 0)
		errors |= 1U << AIC_EBIG;
	if (e->input)
		errors |= 1U << AIC_EINPUT;
	if (get_range_rule(e->input))
		errors |= 1U << AIC_EPARAM;
	if (e->slot != WORKER_SLOT_NONE)
		errors |= 1U << AIC_EBUSY | 1U << AIC_EDB;
	return errors;
}

static void
put_errors(struct doc *d, struct json_object *responses,
    const struct endpoint *e)
{
	unsigned errors = list_errors(e);
	struct aic_buf example;
	int rc;

	aic_buf_init(&example, EXAMPLE_MAX);
	for (rc = AIC_OK + 1; rc < AIC__MAX; rc++) {
		if (!(errors & 1U << rc))
			continue;
		reply_example(&example, (enum aic_code)rc,
		    rc == AIC_EPARAM ? get_range_rule(e->input) : NULL);
		if (example.failed)
			d->code = AIC_ENOMEM;
		if (d->code)
			break;
		add_cause(d,
		    get_response(d, responses, e,
			reply_status((enum aic_code)rc)),
		    aic_code_name((enum aic_code)rc),
		    reply_about((enum aic_code)rc),
		    reply_shape((enum aic_code)rc), example.data);
	}
	aic_buf_done(&example);
}

static void
put_gateway_errors(struct doc *d, struct json_object *responses,
    const struct endpoint *e)
{
	const struct gateway_error *g;

	for (g = gateway_errors; g < gateway_errors + N_GATEWAY; g++)
		add_cause(d, get_response(d, responses, e, g->status), g->key,
		    g->about,
		    g->status < 429 ? reply_shape(AIC_ENOROUTE)
				    : &reply_refusal_shape,
		    g->example);
}

/* --- operations ----------------------------------------------------------- */

#define KEY_SCHEME "ApiKey"
#define ADMIN_SCHEME "AdminKey"

static void
add_scheme(struct doc *d, struct json_object *list, const char *name)
{
	doc_put_array(d, doc_append(d, list, json_object_new_object()), name);
}

/* conf: NULL for every configuration */
static void
put_security(struct doc *d, struct json_object *op, enum aic_auth_need need,
    const struct aic_conf *conf)
{
	bool has_admin = conf && aic_auth_has_admin(conf->auth);
	struct json_object *list = doc_put_array(d, op, "security");

	switch (need) {
	case AIC_AUTH_NONE:
		break;
	case AIC_AUTH_CALLER:
		add_scheme(d, list, KEY_SCHEME);
		break;
	case AIC_AUTH_ADMIN:
		if (!conf || has_admin)
			add_scheme(d, list, ADMIN_SCHEME);
		if (!has_admin)
			add_scheme(d, list, KEY_SCHEME);
		break;
	case AIC_AUTH_OPERATOR:
		add_scheme(d, list, ADMIN_SCHEME);
		break;
	}
}

/* Write the responses in the order of their statuses, for readers. */
static void
put_sorted(struct doc *d, struct json_object *op, struct json_object *unsorted)
{
	struct json_object *responses = doc_put_object(d, op, "responses"), *r;
	char name[8];
	int status;

	for (status = 200; status < 600 && !d->code; status++) {
		snprintf(name, sizeof(name), "%d", status);
		if (json_object_object_get_ex(unsorted, name, &r))
			doc_put(d, responses, name, json_object_get(r));
	}
}

static void
put_operation(struct doc *d, struct json_object *paths,
    const struct endpoint *e, const struct aic_conf *conf)
{
	bool is_post = strcmp(e->method, "POST") == 0;
	struct json_object *op = doc_put_object(d,
	    doc_get_object(d, paths, e->path), is_post ? "post" : "get");
	struct json_object *unsorted = json_object_new_object();

	doc_append(d, doc_put_array(d, op, "tags"),
	    json_object_new_string(e->tag));
	doc_put_text(d, op, "summary", e->summary);
	doc_put_text(d, op, "description", e->about);
	doc_put_text(d, op, "operationId", e->id);
	put_security(d, op, e->need, conf);
	put_params(d, op, e->input);
	if (e->input && e->input->name)
		put_body(d, op, e->input);
	put_answer(d, unsorted, e, 200);
	if (e->other_status)
		put_answer(d, unsorted, e, e->other_status);
	put_errors(d, unsorted, e);
	put_gateway_errors(d, unsorted, e);
	put_sorted(d, op, unsorted);
	json_object_put(unsorted);
}

/* --- the document --------------------------------------------------------- */

static const char about_api[] =
    "An assistant for sellers on Wildberries: answers questions with a "
    "language model, within a daily limit for each user.\n\n"
    "- The header `X-API-KEY` has the key. It is checked before anything "
    "else.\n"
    "- The body of an error is `{\"detail\": ...}`. With status 429 and 5xx, "
    "`detail.error` is for logs, and `detail.message` is a Russian text that "
    "can be shown to the seller unchanged.\n"
    "- Without a valid key the status is 403 for every path but those that "
    "say otherwise, and this document and its page. With a key, an "
    "unknown path is a 404, and another method is a 405 with the header "
    "`Allow`.\n"
    "- A request that is not valid HTTP, or too long, gets a 400, 408, 411, "
    "414, 501 or 505. Nginx can be configured to refuse the addresses of other "
    "networks with a 403.\n"
    "- A field of a request that is not documented is ignored. A response can "
    "have further fields in later versions.";

static void
put_info(struct doc *d, struct json_object *doc)
{
	struct json_object *info = doc_put_object(d, doc, "info"), *o;

	doc_put_text(d, info, "title", PACKAGE_NAME);
	doc_put_text(d, info, "version", PACKAGE_VERSION);
	doc_put_text(d, info, "summary", "Answers the questions of sellers");
	doc_put_text(d, info, "description", about_api);
	o = doc_put_object(d, info, "license");
	doc_put_text(d, o, "name", "MIT License");
	doc_put_text(d, o, "identifier", "MIT");
	o = doc_append(d, doc_put_array(d, doc, "servers"),
	    json_object_new_object());
	doc_put_text(d, o, "url", "/");
	doc_put_text(d, o, "description", "The server of this document");
}

static void
put_tags(struct doc *d, struct json_object *doc)
{
	static const char *const tags[][2] = {
		{ "Chat", "Questions and answers." },
		{ "Users", "Limit, history and statistics of one user." },
		{ "Health", "For load balancers and monitoring." },
		{ "Administration",
		    "For operators: sums, users, the state of the service, and "
		    "the record of actions. These paths exist only if "
		    "`API_ADMIN_KEY` is set." },
	};
	struct json_object *list = doc_put_array(d, doc, "tags"), *o;
	size_t i;

	for (i = 0; i < sizeof(tags) / sizeof(tags[0]); i++) {
		o = doc_append(d, list, json_object_new_object());
		doc_put_text(d, o, "name", tags[i][0]);
		doc_put_text(d, o, "description", tags[i][1]);
	}
}

static void
put_scheme(struct doc *d, struct json_object *schemes, const char *name,
    const char *about)
{
	struct json_object *o = doc_put_object(d, schemes, name);

	doc_put_text(d, o, "type", "apiKey");
	doc_put_text(d, o, "in", "header");
	doc_put_text(d, o, "name", "X-API-KEY");
	doc_put_text(d, o, "description", about);
}

static void
put_components(struct doc *d, struct json_object *components)
{
	const struct request_header *r;
	struct json_object *list, *o;
	const struct header *h;

	list = doc_put_object(d, components, "securitySchemes");
	put_scheme(d, list, KEY_SCHEME, "A key of `API_SECRET_KEY`.");
	put_scheme(d, list, ADMIN_SCHEME, "A key of `API_ADMIN_KEY`.");
	list = doc_put_object(d, components, "headers");
	for (h = headers; h < headers + N_HEADERS; h++) {
		o = doc_put_object(d, list, h->key);
		doc_put_text(d, o, "description", h->about);
		doc_put_bool(d, o, "required", h->required);
		doc_put_json(d, o, "schema", h->schema);
		doc_put_json(d, o, "example", h->example);
	}
	list = doc_put_object(d, components, "parameters");
	for (r = request_headers; r < request_headers + N_REQUEST_HEADERS;
	     r++) {
		o = doc_put_object(d, list, r->key);
		doc_put_text(d, o, "name", r->name);
		doc_put_text(d, o, "in", "header");
		doc_put_bool(d, o, "required", false);
		put_header_about(d, o, r->about, r->example);
		doc_put_json(d, o, "schema", r->schema);
	}
}

static void
put_document(struct doc *d, struct json_object *doc,
    const struct endpoint *table, int n, const struct aic_conf *conf)
{
	struct json_object *paths, *components;
	const struct endpoint *e;

	doc_put_text(d, doc, "openapi", "3.1.1");
	put_info(d, doc);
	put_tags(d, doc);
	paths = doc_put_object(d, doc, "paths");
	components = doc_put_object(d, doc, "components");
	put_components(d, components);
	d->schemas = doc_put_object(d, components, "schemas");
	for (e = table; e < table + n; e++)
		if (e->id && (!e->is_on || !conf || e->is_on(conf)))
			put_operation(d, paths, e, conf);
}

enum aic_code
openapi_build(struct aic_buf *to, const struct endpoint *table, int n,
    const struct aic_conf *conf, struct aic_err *err)
{
	struct json_object *doc = json_object_new_object();
	struct doc d = { .code = AIC_OK };
	const char *text = NULL;

	aic_buf_init(to, DOCUMENT_MAX);
	put_document(&d, doc, table, n, conf);
	if (!d.code)
		text = json_object_to_json_string_ext(doc,
		    JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
	if (text)
		aic_buf_puts(to, text);
	json_object_put(doc);
	if (d.code == AIC_EBUG)
		return aic_fail(err, AIC_EBUG,
		    "a text for /openapi.json is not valid JSON");
	if (!text || to->failed)
		return aic_fail(err, AIC_ENOMEM, "no memory for /openapi.json");
	return AIC_OK;
}

enum aic_code
openapi_get(struct request *rq, struct aic_err *err)
{
	const struct aic_buf *doc = &rq->worker->openapi;

	(void)err;
	aic_buf_put(&rq->out, doc->data, doc->len);
	return AIC_OK;
}
