/*
 * completion -- chat completions on the wire: the members of a request beside
 * the messages, and the body of a response.
 *
 * The server is not trusted. Each function accepts any bytes, and its results
 * are safe to log, to store and to send on, except for the message of an error.
 *
 * Threads: any.
 * Source:   OpenAI API reference, "Create chat completion"; observed responses
 *           of other providers
 */
#ifndef AIC_COMPLETION_H
#define AIC_COMPLETION_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/err.h"

/*
 * Most bytes of a body. An answer has at most a few thousand tokens; a longer
 * body is a fault of the server.
 */
#define AIC_COMPLETION_MAX (1024 * 1024)

/* Names in an error are short: "rate_limit_exceeded". */
#define AIC_COMPLETION_NAME_SIZE 64

/* Of the message of an error; its subject is at the beginning. */
#define AIC_COMPLETION_MESSAGE_SIZE 1024

/* The members of a request that differ between models. */
struct aic_completion_form {
	const char *members; /* of this model, as JSON: `,"model":"..."' */
	bool temperature; /* whether to send the temperature */
	double temperature_value;
	/* Name of the limit, e.g. "max_tokens"; NULL: do not send it. */
	const char *limit;
	int64_t max_tokens;
	const char *more; /* further members, as JSON; NULL: none */
};

/* Numbers of tokens, each 0..INT_MAX; 0 when absent. */
struct aic_completion_usage {
	int64_t prompt;
	int64_t completion;
	int64_t cached; /* tokens of the prompt that the provider had cached */
};

struct aic_completion {
	char *text; /* valid UTF-8 without NUL, with visible text; free() */
	/* usage.total_tokens; if absent, the sum of prompt and completion. */
	int64_t tokens;
	struct aic_completion_usage usage;
	bool cut_off; /* the answer ended at the token limit */
};

/*
 * Why a body contains no answer, as far as the next call depends on it; see
 * retry.h.
 */
struct aic_completion_error {
	/*
	 * For an error inside a 200: the status that the error contains, or 200
	 * if it contains none. 0: there was no such error.
	 */
	int status;
	/*
	 * Safe to log. "": the body has no value; "?": the value is not a name.
	 */
	char code[AIC_COMPLETION_NAME_SIZE];
	char type[AIC_COMPLETION_NAME_SIZE];
	char param[AIC_COMPLETION_NAME_SIZE];
	/*
	 * Free text, which may contain a key or the question: never log it or
	 * send it on.
	 */
	char message[AIC_COMPLETION_MESSAGE_SIZE];
	/* enum aic_param: parameters that the server refuses */
	unsigned refused;
	bool broken; /* a 200 that is incomplete, or that has no choice */
};

/*
 * aic_completion_begin -- begin a request. The JSON array of messages follows.
 */
void aic_completion_begin(struct aic_buf *to);

/*
 * aic_completion_end -- write the members after the messages, and end the
 * request.
 *
 * Errors:   to->failed
 */
void
aic_completion_end(struct aic_buf *to, const struct aic_completion_form *form);

/*
 * aic_completion_read -- read the body of a 200: a document, or a stream of
 * chunks, which some servers send although it was not requested. The first
 * bytes decide which of the two it is, because the Content-Type is often wrong.
 *
 * keys      secrets that must not occur in ret_error; NULL at the end
 * ret_completion  set on AIC_OK, otherwise unchanged
 * ret_error  always set; all zeroes on AIC_OK
 *
 * Errors:   AIC_EUPSTREAM  the body is no usable answer; err->says is safe for
 *           the caller, err->detail for the log
 *           AIC_ENOMEM
 * Memory:   gives ret_completion->text
 */
enum aic_code aic_completion_read(const struct aic_buf *body,
    const char *const *keys, struct aic_completion *ret_completion,
    struct aic_completion_error *ret_error, struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_completion_read_error -- read the body of any other status.
 *
 * These shapes are supported: {"error":{...}}, [{"error":{...}}],
 * {"error":"text"}, {"message":...,"code":...}, {"detail":"text"},
 * {"detail":[{"loc":...,"msg":...}]}.
 *
 * keys      secrets that must not occur in the result, whatever the body
 *           quotes; NULL at the end
 */
void aic_completion_read_error(const struct aic_buf *body,
    const char *const *keys, struct aic_completion_error *ret_error);

#endif
