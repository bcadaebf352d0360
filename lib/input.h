/*
 * input -- what a caller may send, checked as FastAPI and pydantic would.
 *
 * Faults are collected, all of them; a value is what JSON says it is.
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
	AIC_INPUT_TEXT, /* into a const char *; NULL when absent */
	AIC_INPUT_CHOICE, /* into an int64_t: which of the names */
};

/* One field of a body: a table of these is a schema. */
struct aic_input_field {
	const char *name;
	enum aic_input_kind kind;
	bool required;
	bool nullable; /* null is as good as absent */
	bool not_blank;
	int64_t min, max; /* of the number, or of the length in code points */
	int64_t preset; /* of a number, or a choice, that is absent */
	const char *const *names; /* to choose from, at least two; NULL ends */
	size_t offset; /* in the struct that is filled */
};

/*
 * aic_input_body -- check a body against a schema and take its values.
 *
 * into      set field by field; only of use on AIC_OK
 * ret_doc   the document that owns the texts; set on AIC_OK
 *
 * Errors:   AIC_EINPUT  err->faults; AIC_ENOMEM
 * Memory:   gives ret_doc; json_object_put()
 */
enum aic_code aic_input_body(const char *body, size_t len,
    const struct aic_input_field *fields, int n_fields, void *into,
    struct json_object **ret_doc, struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_input_number -- a whole number in a path or a query.
 *
 * where     "path" or "query"
 * text      what was there, percent-decoded; not NUL-terminated
 *
 * Errors:   AIC_EINPUT  not a number, or not within min..max
 */
enum aic_code aic_input_number(const char *where, const char *name,
    const char *text, size_t len, int64_t min, int64_t max, int64_t *ret_value,
    struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_input_query -- find a parameter in a query string; of a parameter that
 * comes twice the last counts.
 *
 * ret_value  decoded into a buffer of size bytes, NUL-terminated; a longer one is
 *            cut, which no number of ours survives
 *
 * False means that it is not there.
 */
bool aic_input_query(const char *query, const char *name, char *ret_value,
    size_t size);

#endif
