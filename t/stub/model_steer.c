#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "model.h"

#include <json-c/json.h>
#include <stdlib.h>

#define ID_MAX 64

static const char *const body_words[] = { "json", "broken", "cut", "html",
	"empty", "wrong", "nochoices", "error", "null", "blank", "refusal",
	"filter", "length", "length_empty", "tools", "nousage", "badutf8",
	"surrogate", "nul", "huge", "text", NULL };
_Static_assert(sizeof(body_words) / sizeof(body_words[0]) == BODY__MAX + 1,
    "a word for each body");

static const char *const close_words[] = { "before", "headers", "middle",
	"reset", NULL };

enum unsupported { NOT_MAX_TOKENS, NOT_TEMPERATURE, NOT_BOTH };
static const char *const unsupported_words[] = { "max_tokens", "temperature",
	"both", NULL };

enum kind { NUMBER, WORD, STRING, NAME };

#define AT(field) offsetof(struct plan, field)

static const struct key {
	const char *name;
	enum kind kind;
	size_t at;
	int64_t min, max;
	const char *const *words;
	const char *help;
} keys[] = {
	{ "delay", NUMBER, AT(delay), 0, DELAY_MAX_MS, NULL,
	    "MS before the answer" },
	{ "status", NUMBER, AT(status), 200, 599, NULL,
	    "N, with OpenAI's error object from 400 on" },
	{ "code", STRING, AT(code), 0, 0, NULL,
	    "error.code (\"null\" for null)" },
	{ "type", STRING, AT(type), 0, 0, NULL, "error.type" },
	{ "param", STRING, AT(param), 0, 0, NULL, "error.param" },
	{ "errmsg", STRING, AT(errmsg), 0, 0, NULL, "error.message" },
	{ "retry_after", STRING, AT(retry_after), 0, 0, NULL,
	    "Retry-After, verbatim" },
	{ "retry_after_ms", STRING, AT(retry_after_ms), 0, 0, NULL,
	    "retry-after-ms, verbatim" },
	{ "should_retry", STRING, AT(should_retry), 0, 0, NULL,
	    "x-should-retry, verbatim" },
	{ "id", NAME, AT(id), 0, 0, NULL,
	    "NAME to count by, 1-64 of A-Za-z0-9._-" },
	{ "times", NUMBER, AT(times), 0, 1000000, NULL,
	    "N, misbehave for the first N of this id only" },
	{ "body", WORD, AT(body), 0, 0, body_words, NULL },
	{ "raw", STRING, AT(raw), 0, 0, NULL,
	    "the body of the answer, whatever its status, byte for byte" },
	{ "size", NUMBER, AT(size), 0, SIZE_MAX_BYTES, NULL,
	    "BYTES of content for body=huge (default 2 MiB)" },
	{ "text", STRING, AT(text), 0, 0, NULL, "the content of the answer" },
	{ "repeat", NUMBER, AT(repeat), 1, SIZE_MAX_BYTES, NULL,
	    "N, times text= over, up to the most bytes of size=" },
	{ "echo", NUMBER, AT(echo), 0, 1, NULL,
	    "1: the content is the message without its mark" },
	{ "tokens", STRING, AT(tokens), 0, 0, NULL,
	    "usage.total_tokens, put into the JSON as it is" },
	{ "close", WORD, AT(closing), 0, 0, close_words, NULL },
	{ "chunked", NUMBER, AT(chunked), 0, 1, NULL,
	    "1: in chunks, without Content-Length" },
	{ "drip", NUMBER, AT(drip), 0, DELAY_MAX_MS, NULL,
	    "MS between any two bytes, head included" },
	{ "unsupported", WORD, AT(unsupported), 0, 0, unsupported_words, NULL },
	{ "hang", NUMBER, AT(hang), 0, 1, NULL, "1: never answer" },
	{ "headerflood", NUMBER, AT(headerflood), 0, SIZE_MAX_BYTES, NULL,
	    "BYTES of more headers" },
	{ "redirect", STRING, AT(redirect), 0, 0, NULL,
	    "URL, 302 with Location" },
	{ "keepclose", NUMBER, AT(keepclose), 0, 1, NULL,
	    "1: answer, then close when the next request comes" },
};
#define NKEYS (sizeof(keys) / sizeof(keys[0]))

/* --- plans ----------------------------------------------------------- */

static bool
is_name(const char *s)
{
	size_t n = strlen(s);

	return n >= 1 && n <= ID_MAX &&
	    strspn(s,
		"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
		"abcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

static bool
has_control(const char *s)
{
	for (; *s != '\0'; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return true;
	return false;
}

void
plan_free(struct plan *pl)
{
	size_t i;

	if (pl == NULL)
		return;
	for (i = 0; i < NKEYS; i++)
		if (keys[i].kind == STRING || keys[i].kind == NAME)
			free(*(char **)(void *)((char *)pl + keys[i].at));
	free(pl->said);
	free(pl);
}

static struct plan *
plan_new(void)
{
	struct plan *pl;
	size_t i;

	pl = calloc(1, sizeof(*pl));
	if (pl == NULL)
		return NULL;
	for (i = 0; i < NKEYS; i++)
		if (keys[i].kind == NUMBER || keys[i].kind == WORD)
			*(int64_t *)(void *)((char *)pl + keys[i].at) = -1;
	return pl;
}

/* The first times= requests are over: only the content still holds. */
static void
plan_calm(struct plan *pl)
{
	pl->delay = pl->status = pl->body = pl->closing = pl->chunked = -1;
	pl->drip = pl->unsupported = pl->hang = pl->headerflood = -1;
	pl->keepclose = -1;
	free(pl->raw);
	free(pl->redirect);
	free(pl->retry_after);
	free(pl->retry_after_ms);
	free(pl->should_retry);
	pl->raw = pl->redirect = pl->retry_after = NULL;
	pl->retry_after_ms = pl->should_retry = NULL;
}

/* Reads one key=value. What is wrong with it, or NULL. */
static const char *
plan_set(struct plan *pl, const char *s, size_t n)
{
	const struct key *k;
	const char *eq;
	char *value, **str;
	int64_t *num;
	size_t i, w;

	eq = memchr(s, '=', n);
	if (eq == NULL)
		return "a key without a value";
	for (i = 0, k = NULL; i < NKEYS; i++)
		if (strlen(keys[i].name) == (size_t)(eq - s) &&
		    memcmp(keys[i].name, s, (size_t)(eq - s)) == 0)
			k = &keys[i];
	if (k == NULL)
		return "an unknown key";
	value = decode_percent(eq + 1, (size_t)(s + n - eq - 1));
	if (value == NULL)
		return "a malformed %XX";

	if (k->kind == STRING || k->kind == NAME) {
		/* Only the content and the body may have a line break. */
		if ((k->kind == NAME && !is_name(value)) ||
		    (k->at != AT(text) && k->at != AT(raw) &&
			has_control(value))) {
			free(value);
			return "a bad name or a control character";
		}
		str = (char **)(void *)((char *)pl + k->at);
		free(*str);
		*str = value;
		return NULL;
	}
	num = (int64_t *)(void *)((char *)pl + k->at);
	if (k->kind == WORD) {
		for (w = 0; k->words[w] != NULL; w++)
			if (strcmp(k->words[w], value) == 0)
				break;
		if (k->words[w] != NULL) {
			*num = (int64_t)w;
			free(value);
			return NULL;
		}
	} else if (read_number(value, strlen(value), k->min, k->max, num)) {
		free(value);
		return NULL;
	}
	free(value);
	return "an unknown word or a number out of range";
}

/* Reads the inside of a mark. What is wrong with it, or NULL. */
static const char *
plan_read(struct plan *pl, const char *s, size_t n)
{
	const char *why, *end = s + n, *p;

	for (;;) {
		while (s < end && is_blank(*s))
			s++;
		if (s == end)
			return NULL;
		for (p = s; p < end && !is_blank(*p); p++)
			;
		why = plan_set(pl, s, (size_t)(p - s));
		if (why != NULL)
			return why;
		s = p;
	}
}

/* Refuses a parameter of the request as newer models do. */
static bool
plan_refuse(struct plan *pl, struct json_object *root)
{
	struct json_object *v;
	const char *param, *code;
	char *msg;
	bool tokens, temperature;

	tokens = pl->unsupported != NOT_TEMPERATURE &&
	    json_object_object_get_ex(root, "max_tokens", NULL);
	temperature = pl->unsupported != NOT_MAX_TOKENS &&
	    json_object_object_get_ex(root, "temperature", &v) &&
	    json_object_get_double(v) != 1.0;
	if (tokens) {
		param = "max_tokens";
		code = "unsupported_parameter";
		if (asprintf(&msg,
			"Unsupported parameter: 'max_tokens' is "
			"not supported with this model. Use "
			"'max_completion_tokens' instead.") < 0)
			return false;
	} else if (temperature) {
		param = "temperature";
		code = "unsupported_value";
		if (asprintf(&msg,
			"Unsupported value: 'temperature' does "
			"not support %s with this model. Only the default (1) "
			"value is supported.",
			json_object_to_json_string(v)) < 0)
			return false;
	} else
		return true;

	free(pl->param);
	free(pl->code);
	free(pl->errmsg);
	pl->param = strdup(param);
	pl->code = strdup(code);
	pl->errmsg = msg;
	pl->status = 400;
	pl->body = -1;
	return pl->param != NULL && pl->code != NULL;
}

/* --- marks ----------------------------------------------------------- */

bool
plan_is_needed(const char *p, size_t n)
{
	const char *end = p + n;

	for (;;) {
		p = memchr(p, '[', (size_t)(end - p));
		if (p == NULL || ++p == end)
			return false;
		if (*p == '[')
			return true;
	}
}

/* The inside of the last mark of a text; NULL: there is none. */
static const char *
find_mark(const char *s, size_t n, size_t *ret_len)
{
	const char *in, *end, *p;
	size_t i;

	for (i = n; i-- > 0;) {
		if (n - i < 4 || s[i] != '[' || s[i + 1] != '[')
			continue;
		in = s + i + 2;
		for (p = in;
		     p < s + n && ((*p >= 'a' && *p <= 'z') || *p == '_'); p++)
			;
		if (p == in || p == s + n || *p != '=')
			continue;
		end = memmem(p, (size_t)(s + n - p), "]]", 2);
		if (end == NULL)
			continue;
		*ret_len = (size_t)(end - in);
		return in;
	}
	return NULL;
}

/* A text without its mark and without blanks at its ends. */
static char *
without_mark(const char *s, size_t n, const char *in, size_t in_len)
{
	char *out;
	size_t before, after, from = 0;

	out = malloc(n + 1);
	if (out == NULL)
		return NULL;
	before = in == NULL ? n : (size_t)(in - 2 - s);
	after = in == NULL ? 0 : n - before - in_len - 4;
	memcpy(out, s, before);
	if (after > 0)
		memcpy(out + before, s + n - after, after);
	n = before + after;
	while (n > 0 && is_blank(out[n - 1]))
		n--;
	while (from < n && is_blank(out[from]))
		from++;
	memmove(out, out + from, n - from);
	out[n - from] = '\0';
	return out;
}

/* The question in the last message, after the seller's data. */
static const char *
question_of(const char *s, size_t *n)
{
	static const char tag[] = "\n</seller-data-00000000>\n\n";
	const char *end = memmem(s, *n, tag,
	    sizeof(tag) - sizeof("00000000>\n\n"));
	size_t skip;

	if (end == NULL)
		return s;
	skip = (size_t)(end - s) + sizeof(tag) - 1;
	if (skip > *n)
		return s;
	*n -= skip;
	return s + skip;
}

/* The text of the last message; NULL: it is not the user's. */
static struct json_object *
last_message(struct json_object *root)
{
	struct json_object *list, *msg, *role, *content;
	size_t n;

	if (!json_object_object_get_ex(root, "messages", &list) ||
	    !json_object_is_type(list, json_type_array))
		return NULL;
	n = json_object_array_length(list);
	msg = n > 0 ? json_object_array_get_idx(list, n - 1) : NULL;
	if (!json_object_is_type(msg, json_type_object) ||
	    !json_object_object_get_ex(msg, "role", &role) ||
	    !json_object_is_type(role, json_type_string) ||
	    strcmp(json_object_get_string(role), "user") != 0 ||
	    !json_object_object_get_ex(msg, "content", &content) ||
	    !json_object_is_type(content, json_type_string))
		return NULL;
	return content;
}

static const char *
read_marks(struct plan *pl, struct json_object *root)
{
	struct json_object *content, *model;
	const char *s, *in, *why;
	size_t n, len = 0;

	if (json_object_object_get_ex(root, "model", &model) &&
	    json_object_is_type(model, json_type_string)) {
		s = json_object_get_string(model);
		n = (size_t)json_object_get_string_len(model);
		in = find_mark(s, n, &len);
		why = in != NULL ? plan_read(pl, in, len) : NULL;
		if (why != NULL)
			return why;
	}
	content = last_message(root);
	if (content != NULL) {
		s = json_object_get_string(content);
		n = (size_t)json_object_get_string_len(content);
		s = question_of(s, &n);
		in = find_mark(s, n, &len);
		why = in != NULL ? plan_read(pl, in, len) : NULL;
		if (why != NULL)
			return why;
		if (pl->echo > 0) {
			pl->said = without_mark(s, n, in, len);
			if (pl->said == NULL)
				return "out of memory";
		}
	}
	return NULL;
}

/* Parses the body. What is wrong with it, or NULL. */
static const char *
parse_body(const struct request *r, struct json_object **ret_root)
{
	struct json_tokener *tok = json_tokener_new();

	if (tok == NULL)
		return "out of memory";
	json_tokener_set_flags(tok,
	    JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	*ret_root = json_tokener_parse_ex(tok, r->body, (int)r->body_len);
	json_tokener_free(tok);
	if (json_object_is_type(*ret_root, json_type_object))
		return NULL;
	json_object_put(*ret_root);
	return "the body is not a JSON object";
}

/* Fills the plan from the request. What is wrong with it, or NULL. */
static const char *
plan_fill(struct plan *pl, struct json_object *root)
{
	const char *why = read_marks(pl, root);
	uint64_t n = 0;

	/* A request with a bad mark is counted, too. */
	if (pl->id != NULL) {
		n = count_id(pl->id);
		if (n == 0 && why == NULL)
			why = "too many ids";
	}
	if (why != NULL)
		return why;
	if (pl->times >= 0 && n == 0)
		return "times= without id=";
	if (pl->times >= 0 && n > (uint64_t)pl->times)
		plan_calm(pl);
	if (pl->unsupported >= 0 && !plan_refuse(pl, root))
		return "out of memory";
	return NULL;
}

const char *
plan_make(const struct request *r, struct plan **ret_plan)
{
	struct json_object *root;
	struct plan *pl = plan_new();
	const char *why;

	*ret_plan = NULL;
	if (pl == NULL)
		return "out of memory";
	why = parse_body(r, &root);
	if (why == NULL) {
		why = plan_fill(pl, root);
		json_object_put(root);
	}
	if (why == NULL)
		*ret_plan = pl;
	else
		plan_free(pl);
	return why;
}

void
plan_print_keys(FILE *to)
{
	size_t i, w;

	for (i = 0; i < NKEYS; i++) {
		fprintf(to, "  %-15s ", keys[i].name);
		if (keys[i].help != NULL)
			fprintf(to, "%s", keys[i].help);
		for (w = 0; keys[i].words != NULL && keys[i].words[w] != NULL;
		     w++)
			fprintf(to, "%s%s%s", w > 0 ? "|" : "",
			    w > 0 && w % 7 == 0 ? "\n                  " : "",
			    keys[i].words[w]);
		fprintf(to, "\n");
	}
}
