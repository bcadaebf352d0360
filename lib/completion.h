/*
 * completion -- chat completions on the wire: what is written into a request beside
 * the messages, and what is read from the body of an answer.
 *
 * A body comes from a server of which nothing is known: each function takes any
 * bytes, and what it gives is safe to log, to store and to send on, except for the
 * message of an error.
 *
 * Threads: any.
 * Source:   OpenAI API reference, "Create chat completion"; what other providers were
 *           seen to answer
 */
#ifndef AIC_COMPLETION_H
#define AIC_COMPLETION_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/err.h"

/* Bytes of a body. An answer is at most a few thousand tokens; more than this is an
 * accident. */
#define AIC_COMPLETION_MAX (1024 * 1024)

/* The names in an error are short: "rate_limit_exceeded". */
#define AIC_COMPLETION_NAME_SIZE 64

/* Of the message of an error; what it is about stands at its beginning. */
#define AIC_COMPLETION_MESSAGE_SIZE 1024

/* The members of a request that differ from model to model. */
struct aic_completion_form {
	const char *members; /* of this model, as JSON: `,"model":"..."' */
	bool temperature; /* whether to send it */
	double temperature_value;
	/* the name of the limit, "max_tokens"; NULL: do not send it */
	const char *limit;
	int64_t max_tokens;
	const char *more; /* further members, as JSON; NULL: none */
};

/* Tokens, each 0..INT_MAX and 0 when absent. */
struct aic_completion_usage {
	int64_t prompt;
	int64_t completion;
	int64_t
	    cached; /* those of the prompt that the provider had in its cache */
};

struct aic_completion {
	char *text; /* valid UTF-8 without NUL, not invisible; free() */
	/* usage.total_tokens; where that is absent prompt and completion together */
	int64_t tokens;
	struct aic_completion_usage usage;
	bool cut_off; /* the model had more to say than it may */
};

/* Why a body is no answer, as far as the next call depends on it; see retry.h. */
struct aic_completion_error {
	/* Of an error inside a 200: the status that it says, or 200 when it says none.
	 * 0: there was no such error. */
	int status;
	/* Fit for the log; "" where the body says nothing, "?" where its value is not a
	 * name. */
	char code[AIC_COMPLETION_NAME_SIZE];
	char type[AIC_COMPLETION_NAME_SIZE];
	char param[AIC_COMPLETION_NAME_SIZE];
	/* Free text, perhaps with a key or the question in it: it is never logged, nor
	 * sent on. */
	char message[AIC_COMPLETION_MESSAGE_SIZE];
	unsigned refused; /* enum aic_param: parameters that it refuses */
	bool broken; /* a 200 that broke off, or is without any choice */
};

/* aic_completion_begin -- begin a request; the JSON array of messages comes next. */
void aic_completion_begin(struct aic_buf *to);

/* aic_completion_end -- write the other members behind the messages, and end the
 * request. Errors: to->failed */
void
aic_completion_end(struct aic_buf *to, const struct aic_completion_form *form);

/*
 * aic_completion_read -- read the body of a 200: a document, or a stream of chunks,
 * which some servers send without being asked for it. Which of them it is its first
 * bytes say, because the Content-Type is often wrong.
 *
 * keys      what must not come out of an error; NULL at the end
 * ret_completion  set on AIC_OK, untouched otherwise
 * ret_error       always set; all zeroes on AIC_OK
 *
 * Errors:   AIC_EUPSTREAM  the body is no usable answer; err->says is fit for the
 *                          caller, err->detail for the log
 *           AIC_ENOMEM
 * Memory:   gives ret_completion->text
 */
enum aic_code aic_completion_read(const struct aic_buf *body,
    const char *const *keys, struct aic_completion *ret_completion,
    struct aic_completion_error *ret_error, struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_completion_read_error -- read the body of any other status.
 *
 * These shapes are understood: {"error":{...}}, [{"error":{...}}], {"error":"text"},
 * {"message":...,"code":...}, {"detail":"text"}, {"detail":[{"loc":...,"msg":...}]}.
 *
 * keys      what must not come out, whatever the body quotes; NULL at the end
 */
void aic_completion_read_error(const struct aic_buf *body,
    const char *const *keys, struct aic_completion_error *ret_error);

#endif
