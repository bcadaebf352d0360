/*
 * endpoint -- one row of the table of endpoints, which is in api.c.
 *
 * The row holds what the worker checks (method, path, key, slot, input), and
 * the texts of /openapi.json. The document is generated from the rows, so it
 * has every endpoint and every field, with the limits that are checked.
 */
#ifndef ENDPOINT_H
#define ENDPOINT_H

#include "app/worker/request.h"
#include "lib/auth.h"
#include "lib/input.h"
#include "lib/shape.h"

typedef enum aic_code endpoint_handler(struct request *rq, struct aic_err *err);

struct endpoint {
	const char *method;
	/* "{name}" at the end: one more segment, which is not empty; "*" at the
	 * end: the rest of the path without a slash, which can be empty. */
	const char *path;
	enum aic_auth_need need;
	enum worker_slot slot;
	endpoint_handler *handler;
	/* False: the path is unknown with these settings. NULL: always true. */
	bool (*is_on)(const struct aic_conf *conf);
	const struct aic_input_schema *input; /* NULL: none */

	/* The rest is for the document. */
	const char *id; /* operationId; NULL: not in the document */
	const char *tag;
	const char *summary;
	const char *about; /* Markdown */
	const struct aic_shape *answer; /* NULL: a text of `type' */
	const char *type; /* content type; NULL: JSON */
	/* The errors that do not follow from the columns above, as bits
	 * 1 << AIC_...; see openapi.c:list_errors(). */
	unsigned errors;
	/* Another status with the body of `answer'; 0: none. */
	int other_status;
	/* The response can be a replay of an earlier one. */
	bool replays;
	/* The request reads the user's day, for RateLimit. */
	bool reads_limit;
};

#endif
