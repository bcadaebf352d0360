/*
 * input -- validate a request, as FastAPI and pydantic would.
 *
 * All faults are collected, not only the first one. Values are not converted: a
 * number must be a JSON number, and a text a JSON string.
 *
 * Threads: any.
 */
#ifndef AIC_INPUT_H
#define AIC_INPUT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"

#define AIC_INPUT_MESSAGE_MAX 4000 /* code points */
#define AIC_INPUT_CONTEXT_MAX 16000 /* code points */

enum aic_input_kind {
	AIC_INPUT_INT, /* into an int64_t */
	AIC_INPUT_TEXT, /* into a const char *; NULL if absent */
	AIC_INPUT_CHOICE, /* into an int64_t: the index in names */
};

/* One field of a body; a table of fields is a schema. */
struct aic_input_field {
	const char *name;
	enum aic_input_kind kind;
	bool required;
	bool nullable; /* null is treated as absent */
	bool not_blank;
	int64_t min, max; /* of the number, or of the length in code points */
	int64_t preset; /* the default of a number or a choice */
	/* the choices, at least two; ends with NULL */
	const char *const *names;
	size_t offset; /* in the struct that is filled */
};

/*
 * aic_input_body -- check a body against a schema, and store its values.
 *
 * into      filled field by field; valid only on AIC_OK
 * ret_doc   the document that owns the texts; set on AIC_OK
 *
 * Errors:   AIC_EINPUT  err->faults; AIC_ENOMEM
 * Memory:   gives ret_doc; json_object_put()
 */
enum aic_code aic_input_body(const char *body, size_t len,
    const struct aic_input_field *fields, int n_fields, void *into,
    struct json_object **ret_doc, struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_input_number -- read an integer from a path or a query.
 *
 * where     "path" or "query"
 * text      percent-decoded; not NUL-terminated
 *
 * Errors:   AIC_EINPUT  not an integer, or not within min..max
 */
enum aic_code aic_input_number(const char *where, const char *name,
    const char *text, size_t len, int64_t min, int64_t max, int64_t *ret_value,
    struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_input_query -- find a parameter in a query string; if it occurs several
 * times, the last one counts.
 *
 * ret_value  decoded into a buffer of size bytes, NUL-terminated; a longer
 *            value is cut, which makes it invalid for every numeric parameter
 *
 * False: the query does not have the parameter.
 */
bool aic_input_query(const char *query, const char *name, char *ret_value,
    size_t size);

#endif
