/*
 * completion -- chat completions on the wire: what is written into a request beside
 * the messages, and what is read from the body of an answer.
 *
 * A body comes from a server of which nothing is known: each function takes any
 * bytes, and what it gives is safe to log, to store and to send on.
 *
 * Threads: any.
 * Source:   OpenAI API reference, "Create chat completion"
 */
#ifndef AIC_COMPLETION_H
#define AIC_COMPLETION_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "err.h"

/* Bytes of a body. An answer is at most a few thousand tokens; more than this is an
 * accident. */
#define AIC_COMPLETION_MAX (1024 * 1024)

/* The names in an error are short: "rate_limit_exceeded". */
#define AIC_COMPLETION_NAME_SIZE 64

/* The members of a request that differ from model to model. */
struct aic_completion_form {
	const char *members; /* of this model, as JSON: `,"model":"..."' */
	bool temperature; /* whether to send it */
	double temperature_value;
	const char *limit; /* the name of the limit: "max_tokens" */
	int64_t max_tokens;
};

struct aic_completion {
	char *text; /* valid UTF-8 without NUL, not blank; free() */
	int64_t tokens; /* usage.total_tokens, 0 when absent */
	bool cut_off; /* finish_reason was "length" */
};

/* What the body of a failed call says, fit for the log; "" where the body says
 * nothing, "?" where its value is not a name. */
struct aic_completion_error {
	char code[AIC_COMPLETION_NAME_SIZE];
	char type[AIC_COMPLETION_NAME_SIZE];
	char param[AIC_COMPLETION_NAME_SIZE];
};

/* aic_completion_begin -- begin a request; the JSON array of messages comes next. */
void aic_completion_begin(struct aic_buf *to);

/* aic_completion_end -- write the other members behind the messages, and end the
 * request. Errors: to->failed */
void
aic_completion_end(struct aic_buf *to, const struct aic_completion_form *form);

/*
 * aic_completion_read -- read the body of a 200.
 *
 * ret_completion  set on AIC_OK, untouched otherwise
 *
 * Errors:   AIC_EUPSTREAM  the body is no usable answer; err->says is fit for the
 *                          caller
 *           AIC_ENOMEM
 * Memory:   gives ret_completion->text
 */
enum aic_code aic_completion_read(const struct aic_buf *body,
    struct aic_completion *ret_completion, struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_completion_read_error -- read the body of any other status.
 *
 * keys      what must not come out, whatever the body quotes; NULL at the end
 */
void aic_completion_read_error(const struct aic_buf *body,
    const char *const *keys, struct aic_completion_error *ret_error);

#endif
