#include "config.h"

#include "lib/input.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/hex.h"
#include "lib/json.h"
#include "lib/utf8.h"

const char *
aic_input_place_name(enum aic_input_place place)
{
	static const char *const names[AIC_INPUT_PLACE__MAX] = {
		[AIC_INPUT_BODY] = "body",
		[AIC_INPUT_PATH] = "path",
		[AIC_INPUT_QUERY] = "query",
		[AIC_INPUT_HEADER] = "header",
	};

	return names[place];
}

/* --- numbers ----------------------------------------------------------- */

static bool
check_range(const char *where, const char *name, int64_t value, bool over,
    int64_t min, int64_t max, struct aic_err *err)
{
	if (over || value > max)
		aic_fault(err, "less_than_equal", where, name,
		    "Input should be less than or equal to %" PRId64, max);
	else if (value < min)
		aic_fault(err, "greater_than_equal", where, name,
		    "Input should be greater than or equal to %" PRId64, min);
	else
		return true;
	return false;
}

static void
take_int(struct json_object *v, const struct aic_input_field *f, int64_t *to,
    struct aic_err *err)
{
	bool over;

	if (!json_object_is_type(v, json_type_int)) {
		aic_fault(err, "int_type", "body", f->name,
		    "Input should be a valid integer");
		return;
	}
	/*
	 * json-c has a type of its own for integers over 2^63-1, and limits
	 * them to 2^64-1.
	 */
	*to = json_object_get_int64(v);
	over = *to == INT64_MAX && json_object_get_uint64(v) > INT64_MAX;
	check_range("body", f->name, *to, over, f->min, f->max, err);
}

enum aic_code
aic_input_number(const char *where, const char *name, const char *text,
    size_t len, int64_t min, int64_t max, int64_t *ret_value,
    struct aic_err *err)
{
	size_t sign = len > 0 && text[0] == '-', i;
	int64_t value = 0;
	bool over = false;

	for (i = sign; i < len && text[i] >= '0' && text[i] <= '9'; i++) {
		over = over || value > (INT64_MAX - (text[i] - '0')) / 10;
		if (!over)
			value = value * 10 + (text[i] - '0');
	}
	if (i < len || len == sign)
		return aic_fault(err, "int_parsing", where, name,
		    "Input should be a valid integer, unable to parse string "
		    "as an integer");
	if (sign)
		value = over ? INT64_MIN : -value;
	if (!check_range(where, name, value, over && !sign, min, max, err))
		return AIC_EINPUT;
	*ret_value = value;
	return AIC_OK;
}

/* --- text -------------------------------------------------------------- */

static void
take_text(struct json_object *v, const struct aic_input_field *f,
    const char **to, struct aic_err *err)
{
	const char *s;
	size_t len;
	int64_t n;

	if (!json_object_is_type(v, json_type_string)) {
		aic_fault(err, "string_type", "body", f->name,
		    "Input should be a valid string");
		return;
	}
	s = json_object_get_string(v);
	len = (size_t)json_object_get_string_len(v);
	n = (int64_t)aic_utf8_count(s, len);
	if (n < f->min)
		aic_fault(err, "string_too_short", "body", f->name,
		    "String should have at least %" PRId64 " character%s",
		    f->min, f->min == 1 ? "" : "s");
	else if (n > f->max)
		aic_fault(err, "string_too_long", "body", f->name,
		    "String should have at most %" PRId64 " characters",
		    f->max);
	else if (f->not_blank && aic_utf8_blank(s, len))
		aic_fault(err, "value_error", "body", f->name,
		    "Value error, must not be blank");
	*to = s;
}

static void
choose(const char *s, const struct aic_input_field *f, int64_t *to,
    struct aic_err *err)
{
	const char *where = aic_input_place_name(f->place);
	char msg[96] = "Input should be ";
	size_t n;
	int i;

	for (i = 0; f->names[i]; i++)
		if (strcmp(s, f->names[i]) == 0) {
			*to = i;
			return;
		}
	for (i = 0; f->names[i]; i++) {
		n = strlen(msg);
		snprintf(msg + n, sizeof(msg) - n, "%s'%s'",
		    i == 0		  ? ""
			: f->names[i + 1] ? ", "
					  : " or ",
		    f->names[i]);
	}
	aic_fault(err, "literal_error", where, f->name, "%s", msg);
}

static void
take_choice(struct json_object *v, const struct aic_input_field *f, int64_t *to,
    struct aic_err *err)
{
	if (json_object_is_type(v, json_type_string))
		choose(json_object_get_string(v), f, to, err);
	else
		aic_fault(err, "string_type", "body", f->name,
		    "Input should be a valid string");
}

/* --- bodies ------------------------------------------------------------ */

static void
take_field(struct json_object *doc, const struct aic_input_field *f, void *into,
    struct aic_err *err)
{
	void *to = (char *)into + f->offset;
	struct json_object *v = NULL;
	bool there = json_object_object_get_ex(doc, f->name, &v);

	if (f->kind == AIC_INPUT_TEXT)
		*(const char **)to = NULL;
	else
		*(int64_t *)to = f->preset;
	if (!there || (!v && f->nullable)) {
		if (f->required)
			aic_fault(err, "missing", "body", f->name,
			    "Field required");
		return;
	}
	switch (f->kind) {
	case AIC_INPUT_INT:
		take_int(v, f, to, err);
		break;
	case AIC_INPUT_TEXT:
		take_text(v, f, to, err);
		break;
	case AIC_INPUT_CHOICE:
		take_choice(v, f, to, err);
		break;
	}
}

enum aic_code
aic_input_body(const char *body, size_t len,
    const struct aic_input_field *fields, int n_fields, void *into,
    struct json_object **ret_doc, struct aic_err *err)
{
	struct json_object *doc = NULL;
	struct aic_json_fault fault;
	enum aic_code rc;
	int i;

	if (len == 0)
		return aic_fault(err, "missing", "body", NULL,
		    "Field required");
	rc = aic_json_parse_strict(body, len, &doc, &fault);
	if (rc == AIC_ENOMEM)
		return aic_fail(err, rc, "out of memory");
	if (rc) {
		aic_fault(err, "json_invalid", "body", NULL,
		    "JSON decode error: %s", fault.wrong);
		/*
		 * The offset counts characters, because the caller sees
		 * characters.
		 */
		err->faults[err->n_faults - 1].offset = (long)
		    aic_utf8_count(body, fault.offset);
		return AIC_EINPUT;
	}
	if (!json_object_is_type(doc, json_type_object)) {
		json_object_put(doc);
		return aic_fault(err, "model_attributes_type", "body", NULL,
		    "Input should be a valid dictionary or object to extract "
		    "fields from");
	}
	for (i = 0; i < n_fields; i++)
		if (fields[i].place == AIC_INPUT_BODY)
			take_field(doc, &fields[i], into, err);
	if (err->n_faults > 0) {
		json_object_put(doc);
		return AIC_EINPUT;
	}
	*ret_doc = doc;
	return AIC_OK;
}

/* --- queries ----------------------------------------------------------- */

/*
 * Decodes one byte of application/x-www-form-urlencoded; returns the number of
 * bytes read.
 */
static size_t
decode_byte(const char *s, const char *end, char *ret_byte)
{
	int byte = *s == '%' && end - s >= 3 ? aic_hex_byte(s + 1) : -1;

	if (byte >= 0) {
		*ret_byte = (char)byte;
		return 3;
	}
	*ret_byte = *s == '+' ? ' ' : *s;
	return 1;
}

static void
decode_all(const char *s, const char *end, char *to, size_t size)
{
	size_t n = 0;
	char byte;

	while (s < end && n + 1 < size) {
		s += decode_byte(s, end, &byte);
		/* A NUL would end the text and hide the rest of it. */
		to[n++] = byte ? byte : '?';
	}
	to[n] = '\0';
}

bool
aic_input_query(const char *query, const char *name, char *ret_value,
    size_t size)
{
	const char *p, *end, *eq;
	char key[64];
	bool found = false;

	for (p = query ? query : ""; *p; p = *end ? end + 1 : end) {
		end = p + strcspn(p, "&");
		eq = memchr(p, '=', (size_t)(end - p));
		decode_all(p, eq ? eq : end, key, sizeof(key));
		if (strcmp(key, name) != 0)
			continue;
		decode_all(eq ? eq + 1 : end, end, ret_value, size);
		found = true;
	}
	return found;
}

/* Nginx accepts no longer URI. */
#define QUERY_MAX 8192

/*
 * Read a number or a choice.
 *
 * A number that breaks a range_rule is stored in ret_broken, and is no fault: a
 * whole number that is too large for int64_t is out of range, not malformed.
 */
static void
take_param(const struct aic_input_field *f, const char *text, int64_t *to,
    const struct aic_input_field **ret_broken, struct aic_err *err)
{
	const char *where = aic_input_place_name(f->place);
	unsigned before = err->n_faults;
	enum aic_code rc;

	if (f->kind == AIC_INPUT_CHOICE) {
		choose(text, f, to, err);
		return;
	}
	rc = aic_input_number(where, f->name, text, strlen(text), f->min,
	    f->max, to, err);
	if (!rc || !f->range_rule || err->n_faults == before ||
	    strcmp(err->faults[before].type, "int_parsing") == 0)
		return;
	err->n_faults = before;
	*ret_broken = f;
}

enum aic_code
aic_input_params(const char *tail, const char *query,
    const struct aic_input_field *fields, int n_fields, void *into,
    struct aic_err *err)
{
	const struct aic_input_field *f, *broken = NULL;
	unsigned before = err->n_faults;
	char text[QUERY_MAX];
	int64_t *to;

	for (f = fields; f < fields + n_fields; f++) {
		if ((f->place != AIC_INPUT_PATH &&
			f->place != AIC_INPUT_QUERY) ||
		    f->kind == AIC_INPUT_TEXT)
			continue;
		to = (int64_t *)(void *)((char *)into + f->offset);
		*to = f->preset;
		if (f->place == AIC_INPUT_PATH)
			take_param(f, tail, to, &broken, err);
		else if (aic_input_query(query, f->name, text, sizeof(text)))
			take_param(f, text, to, &broken, err);
		else if (f->required)
			aic_fault(err, "missing", "query", f->name,
			    "Field required");
	}
	if (err->n_faults > before)
		return AIC_EINPUT;
	if (!broken)
		return AIC_OK;
	aic_says(err, "%s", broken->range_rule);
	return aic_fail(err, AIC_EPARAM, "%s out of range", broken->name);
}
