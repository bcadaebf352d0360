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

/* Where a field comes from; the words of `loc' in a fault. */
enum aic_input_place {
	AIC_INPUT_BODY,
	AIC_INPUT_PATH, /* the last segment */
	AIC_INPUT_QUERY,
	AIC_INPUT_HEADER, /* documented here, and read by its own module */
	AIC_INPUT_PLACE__MAX
};

/* One field of a request; a table of fields is a schema. The table is also what
 * /openapi.json documents. */
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
	enum aic_input_place place;
	/* For a number of a path or a query: the text of the 400 for a number
	 * that is not within min..max. NULL: this is a fault. */
	const char *range_rule;
	const char *pattern; /* of a header, for the document alone */
	const char *about; /* Markdown */
	const char *example; /* JSON; of a header: the value */
};

struct aic_input_schema {
	const struct aic_input_field *fields;
	int n;
	const char *name; /* of the body, in the document; NULL: no body */
};

#define AIC_INPUT_FIELDS(f) (f), (int)(sizeof(f) / sizeof((f)[0]))

/* aic_input_place_name -- "body", "path", "query" or "header"; static. */
const char *aic_input_place_name(enum aic_input_place place);

/*
 * aic_input_body -- check a body against a schema, and store its values. Fields
 * of other places are skipped.
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
 * aic_input_params -- check the path and the query against a schema, and store
 * their values. Fields of other places are skipped, and so are texts, which the
 * caller reads with aic_input_query().
 *
 * tail      the last segment of the path, percent-decoded
 * query     NULL: none
 * into      filled field by field; a field with a fault gets its preset
 *
 * Errors:   AIC_EINPUT  err->faults; AIC_EPARAM  a range_rule; err->says
 */
enum aic_code aic_input_params(const char *tail, const char *query,
    const struct aic_input_field *fields, int n_fields, void *into,
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
