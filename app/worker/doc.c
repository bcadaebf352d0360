#include "config.h"

#include "app/worker/doc.h"

#include <stdio.h>
#include <string.h>

#include "lib/json.h"

/* --- building blocks ------------------------------------------------------ */

struct json_object *
doc_put(struct doc *d, struct json_object *to, const char *name,
    struct json_object *value)
{
	if (value && to && json_object_object_add(to, name, value) == 0)
		return value;
	json_object_put(value);
	if (!d->code)
		d->code = AIC_ENOMEM;
	return NULL;
}

struct json_object *
doc_put_object(struct doc *d, struct json_object *to, const char *name)
{
	return doc_put(d, to, name, json_object_new_object());
}

struct json_object *
doc_get_object(struct doc *d, struct json_object *to, const char *name)
{
	struct json_object *o = NULL;

	if (to && json_object_object_get_ex(to, name, &o))
		return o;
	return doc_put_object(d, to, name);
}

struct json_object *
doc_put_array(struct doc *d, struct json_object *to, const char *name)
{
	return doc_put(d, to, name, json_object_new_array());
}

void
doc_put_text(struct doc *d, struct json_object *to, const char *name,
    const char *text)
{
	if (text)
		doc_put(d, to, name, json_object_new_string(text));
}

void
doc_put_int(struct doc *d, struct json_object *to, const char *name, int64_t n)
{
	doc_put(d, to, name, json_object_new_int64(n));
}

void
doc_put_bool(struct doc *d, struct json_object *to, const char *name,
    bool value)
{
	doc_put(d, to, name, json_object_new_boolean(value));
}

void
doc_put_json(struct doc *d, struct json_object *to, const char *name,
    const char *text)
{
	struct json_object *value = NULL;
	struct aic_json_fault fault;
	enum aic_code rc;

	if (!text || d->code)
		return;
	rc = aic_json_parse_strict(text, strlen(text), &value, &fault);
	if (rc)
		d->code = rc == AIC_ENOMEM ? rc : AIC_EBUG;
	else
		doc_put(d, to, name, value);
}

struct json_object *
doc_append(struct doc *d, struct json_object *to, struct json_object *value)
{
	if (value && to && json_object_array_add(to, value) == 0)
		return value;
	json_object_put(value);
	if (!d->code)
		d->code = AIC_ENOMEM;
	return NULL;
}

static void
put_names(struct doc *d, struct json_object *to, const char *const *names,
    bool nullable)
{
	struct json_object *list = doc_put_array(d, to, "enum");

	for (; *names; names++)
		doc_append(d, list, json_object_new_string(*names));
	if (nullable && list && json_object_array_add(list, NULL) != 0)
		d->code = AIC_ENOMEM;
}

static void
put_type(struct doc *d, struct json_object *to, const char *type, bool nullable)
{
	struct json_object *list;

	if (!nullable) {
		doc_put_text(d, to, "type", type);
		return;
	}
	list = doc_put_array(d, to, "type");
	doc_append(d, list, json_object_new_string(type));
	doc_append(d, list, json_object_new_string("null"));
}

void
doc_write_ref(char path[DOC_REF_MAX], const char *kind, const char *name)
{
	snprintf(path, DOC_REF_MAX, "#/components/%s/%s", kind, name);
}

void
doc_put_ref(struct doc *d, struct json_object *to, const char *kind,
    const char *name)
{
	char path[DOC_REF_MAX];

	doc_write_ref(path, kind, name);
	doc_put_text(d, to, "$ref", path);
}

/* --- schemas of responses ------------------------------------------------- */

void doc_put_shape(struct doc *d, struct json_object *to,
    const struct aic_shape *shape);

static void
put_object_schema(struct doc *d, struct json_object *to,
    const struct aic_shape_member *m)
{
	struct json_object *list;

	if (!m->nullable) {
		doc_put_shape(d, to, m->shape);
		return;
	}
	list = doc_put_array(d, to, "anyOf");
	doc_put_shape(d, doc_append(d, list, json_object_new_object()),
	    m->shape);
	doc_put_text(d, doc_append(d, list, json_object_new_object()), "type",
	    "null");
}

static void
put_member(struct doc *d, struct json_object *to,
    const struct aic_shape_member *m)
{
	struct json_object *o = doc_put_object(d, to, m->name);

	switch (m->kind) {
	case AIC_SHAPE_INT:
		put_type(d, o, "integer", m->nullable);
		doc_put_text(d, o, "format", "int64");
		doc_put_int(d, o, "minimum", m->min);
		break;
	case AIC_SHAPE_NUMBER:
		put_type(d, o, "number", m->nullable);
		doc_put_int(d, o, "minimum", m->min);
		break;
	case AIC_SHAPE_TEXT:
		put_type(d, o, "string", m->nullable);
		doc_put_text(d, o, "format", m->format);
		if (m->names)
			put_names(d, o, m->names, m->nullable);
		break;
	case AIC_SHAPE_BOOL:
		put_type(d, o, "boolean", m->nullable);
		break;
	case AIC_SHAPE_OBJECT:
		put_object_schema(d, o, m);
		break;
	case AIC_SHAPE_LIST:
		put_type(d, o, "array", m->nullable);
		doc_put_shape(d, doc_put_object(d, o, "items"), m->shape);
		break;
	case AIC_SHAPE_TEXTS:
		put_type(d, o, "array", m->nullable);
		doc_put_text(d, doc_put_object(d, o, "items"), "type",
		    "string");
		break;
	case AIC_SHAPE_JSON:
		doc_put_json(d, to, m->name, m->schema);
		if (to && !d->code)
			json_object_object_get_ex(to, m->name, &o);
		break;
	}
	if (!d->code)
		doc_put_text(d, o, "description", m->about);
}

void
doc_put_shape(struct doc *d, struct json_object *to,
    const struct aic_shape *shape)
{
	struct json_object *o, *members, *required;
	const struct aic_shape_member *m;

	doc_put_ref(d, to, "schemas", shape->name);
	if (d->code || json_object_object_get_ex(d->schemas, shape->name, &o))
		return;
	o = doc_put_object(d, d->schemas, shape->name);
	doc_put_text(d, o, "description", shape->about);
	doc_put_text(d, o, "type", "object");
	required = doc_put_array(d, o, "required");
	members = doc_put_object(d, o, "properties");
	for (m = shape->members; m < shape->members + shape->n_members; m++) {
		if (!m->optional)
			doc_append(d, required,
			    json_object_new_string(m->name));
		put_member(d, members, m);
	}
	if (!d->code && json_object_array_length(required) == 0)
		json_object_object_del(o, "required");
	if (shape->example)
		doc_put_json(d, o, "example", shape->example);
}

/* --- schemas of requests -------------------------------------------------- */

/* What aic_utf8_blank() does not count as white space. */
#define NOT_BLANK                                                              \
	"[^\\u0009-\\u000d\\u0020\\u0085\\u00a0\\u1680\\u2000-\\u200a"         \
	"\\u2028\\u2029\\u202f\\u205f\\u3000]"

static void
put_default(struct doc *d, struct json_object *o,
    const struct aic_input_field *f)
{
	if (f->required)
		return;
	/* A preset below the range means that there is no value. */
	if (f->kind == AIC_INPUT_INT && f->preset >= f->min)
		doc_put_int(d, o, "default", f->preset);
	else if (f->kind == AIC_INPUT_CHOICE && f->preset >= 0)
		doc_put_text(d, o, "default", f->names[f->preset]);
}

void
doc_put_field_schema(struct doc *d, struct json_object *o,
    const struct aic_input_field *f)
{
	switch (f->kind) {
	case AIC_INPUT_INT:
		put_type(d, o, "integer", f->nullable);
		doc_put_text(d, o, "format", "int64");
		doc_put_int(d, o, "minimum", f->min);
		/* The format has this maximum already. Many programs round the
		 * number when they read it. */
		if (f->max < INT64_MAX)
			doc_put_int(d, o, "maximum", f->max);
		break;
	case AIC_INPUT_TEXT:
		put_type(d, o, "string", f->nullable);
		if (f->min > 0)
			doc_put_int(d, o, "minLength", f->min);
		doc_put_int(d, o, "maxLength", f->max);
		if (f->not_blank)
			doc_put_text(d, o, "pattern", NOT_BLANK);
		else
			doc_put_text(d, o, "pattern", f->pattern);
		break;
	case AIC_INPUT_CHOICE:
		put_type(d, o, "string", f->nullable);
		put_names(d, o, f->names, f->nullable);
		break;
	}
	put_default(d, o, f);
}
