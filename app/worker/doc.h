/*
 * doc -- write the JSON of /openapi.json: members, references and schemas. What
 * the document contains is in openapi.c.
 *
 * A function that returns an object returns NULL after a failure. All functions
 * accept NULL as an object, and then do nothing. A failure is sticky, so a
 * writer of many members needs one check at the end.
 *
 * Threads: a struct doc belongs to one thread.
 */
#ifndef DOC_H
#define DOC_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"
#include "lib/input.h"
#include "lib/shape.h"

struct doc {
	enum aic_code code; /* AIC_ENOMEM; AIC_EBUG: see doc_put_json() */
	struct json_object *schemas; /* components.schemas */
};

/* doc_put -- add a member, and return its value. value: takes; NULL: out of
 * memory. */
struct json_object *doc_put(struct doc *d, struct json_object *to,
    const char *name, struct json_object *value);

/* doc_put_object, doc_put_array -- add an empty object or array. */
struct json_object *
doc_put_object(struct doc *d, struct json_object *to, const char *name);
struct json_object *
doc_put_array(struct doc *d, struct json_object *to, const char *name);

/* doc_get_object -- the object of this name; it is added if it is missing. */
struct json_object *
doc_get_object(struct doc *d, struct json_object *to, const char *name);

/* doc_append -- add an element to an array, and return it. value: takes. */
struct json_object *
doc_append(struct doc *d, struct json_object *to, struct json_object *value);

/* doc_put_text -- text: NULL adds nothing. */
void doc_put_text(struct doc *d, struct json_object *to, const char *name,
    const char *text);
void
doc_put_int(struct doc *d, struct json_object *to, const char *name, int64_t n);
void doc_put_bool(struct doc *d, struct json_object *to, const char *name,
    bool value);

/* doc_put_json -- add a value that is written as JSON; NULL adds nothing.
 * Errors: d->code AIC_EBUG: the text is not JSON. */
void doc_put_json(struct doc *d, struct json_object *to, const char *name,
    const char *text);

#define DOC_REF_MAX 96

/* doc_write_ref -- the reference to an object of components. kind: "schemas",
 * "headers", ... */
void doc_write_ref(char path[DOC_REF_MAX], const char *kind, const char *name);

/* doc_put_ref -- add that reference. */
void doc_put_ref(struct doc *d, struct json_object *to, const char *kind,
    const char *name);

/* doc_put_shape -- add the reference to the schema of a shape, and the schema
 * itself, unless it has been added before. */
void doc_put_shape(struct doc *d, struct json_object *to,
    const struct aic_shape *shape);

/* doc_put_field_schema -- add the members of the schema of a request field. */
void doc_put_field_schema(struct doc *d, struct json_object *to,
    const struct aic_input_field *f);

#endif
