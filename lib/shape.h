/*
 * shape -- what the JSON of a response looks like, for /openapi.json.
 *
 * A shape stands beside the code that writes the JSON. The tests validate every
 * response against the document, so a shape that differs from the JSON fails.
 */
#ifndef AIC_SHAPE_H
#define AIC_SHAPE_H

#include <stdbool.h>
#include <stdint.h>

enum aic_shape_kind {
	AIC_SHAPE_INT, /* of 64 bits */
	AIC_SHAPE_NUMBER,
	AIC_SHAPE_TEXT,
	AIC_SHAPE_BOOL,
	AIC_SHAPE_OBJECT, /* of `shape' */
	AIC_SHAPE_LIST, /* of objects of `shape' */
	AIC_SHAPE_TEXTS, /* a list of texts */
	AIC_SHAPE_JSON, /* of the JSON Schema in `schema' */
};

struct aic_shape;

struct aic_shape_member {
	const char *name;
	enum aic_shape_kind kind;
	bool optional; /* can be absent */
	bool nullable;
	int64_t min; /* of a number */
	const char *format; /* of a text: "date", "date-time"; NULL: none */
	const char *const *names; /* all values of a text; ends with NULL */
	const struct aic_shape *shape;
	const char *schema; /* JSON */
	const char *about; /* Markdown */
};

struct aic_shape {
	const char *name; /* in components.schemas of the document */
	const char *about; /* Markdown */
	const struct aic_shape_member *members;
	int n_members;
	const char *example; /* JSON */
};

#define AIC_SHAPE_MEMBERS(m) (m), (int)(sizeof(m) / sizeof((m)[0]))

#endif
