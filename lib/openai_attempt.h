/*
 * openai_attempt -- one call of one model: the body of the request, the
 * response, and what the response means. openai.h decides which calls are made.
 *
 * Newer models refuse `max_tokens' or `temperature', older servers refuse
 * `max_completion_tokens'. The worker repeats the call at once in the other
 * form, and uses this form as long as it runs. The token limit has two names.
 * If a model refuses one after the other, the worker uses the first name from
 * then on, so that the two names do not alternate for ever.
 *
 * Threads: a struct aic_openai_model is shared by all threads, a struct
 * aic_openai_attempt belongs to one.
 */
#ifndef AIC_OPENAI_ATTEMPT_H
#define AIC_OPENAI_ATTEMPT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/completion.h"
#include "lib/err.h"
#include "lib/http.h"
#include "lib/provider.h"
#include "lib/retry.h"

/*
 * The most forms of a request that one chat can have refused: two names of the
 * token limit, and the temperature.
 */
#define AIC_OPENAI_FORMS_MAX 3

/* How a call ended, for the metrics. */
enum aic_openai_call {
	AIC_OPENAI_USABLE,
	AIC_OPENAI_USELESS, /* a 200 without a usable answer, or too large */
	AIC_OPENAI_REFUSED, /* 4xx, or a status that no API sends */
	AIC_OPENAI_LIMITED, /* a rate limit: 429, or an error of that name */
	AIC_OPENAI_QUOTA, /* the account has no money */
	AIC_OPENAI_BROKEN, /* 5xx */
	AIC_OPENAI_UNREACHED,
	AIC_OPENAI_CUT, /* the response is incomplete */
	AIC_OPENAI_TIMEOUT,
	AIC_OPENAI_GONE, /* the caller left */
	AIC_OPENAI_CALL__MAX
};

/* A model, and the forms of a request that it has refused. */
struct aic_openai_model {
	struct aic_provider *provider;
	atomic_int limit; /* number of the limit's name; never decreases */
	atomic_bool no_temperature;
};

/* What is the same in all calls. */
struct aic_openai_terms {
	double temperature;
	int64_t max_tokens;
	/* Texts that must not get into a log; NULL at the end. */
	const char *const *secrets;
};

/* The calls of one model in one chat; the results are those of the last one. */
struct aic_openai_attempt {
	const struct aic_openai_terms *terms;
	struct aic_openai_model *model;
	int64_t until_us; /* the end of the model's share of the deadline */
	bool other; /* another model is left to ask */

	struct aic_http_answer http; /* the caller frees http.body */
	struct aic_completion_error error;
	enum aic_provider_token token;
	int limit; /* number of the limit's name that was sent */
	bool sent_limit;
	bool temperature; /* the temperature was sent */
};

/*
 * aic_openai_attempt_send -- complete the body, and call the model.
 *
 * post->body  the messages; the rest of the body is appended, and removed after
 *             the call
 *
 * Blocks:   until post->deadline_us at most
 * Memory:   keeps the response in a->http until the next call
 */
void aic_openai_attempt_send(struct aic_openai_attempt *a,
    struct aic_http *http, const struct aic_provider_call *post);

/*
 * aic_openai_attempt_read -- turn the response into an answer.
 *
 * ret_answer  set on AIC_OK
 *
 * Errors:   AIC_EUPSTREAM  err->says can be shown to the caller
 *           AIC_EGONE, AIC_ENOMEM
 * Memory:   gives ret_answer->text
 */
enum aic_code aic_openai_attempt_read(struct aic_openai_attempt *a,
    struct aic_completion *ret_answer, struct aic_err *err) AIC_MUST_CHECK;

/* aic_openai_attempt_case -- the failed call, as the retry rule reads it. */
struct aic_retry_case
aic_openai_attempt_case(const struct aic_openai_attempt *a);

/*
 * aic_openai_attempt_outcome -- how the call ended.
 *
 * rc        of aic_openai_attempt_read()
 */
enum aic_openai_call
aic_openai_attempt_outcome(const struct aic_openai_attempt *a,
    enum aic_code rc);

/*
 * aic_openai_attempt_reshape -- check whether the model refused a parameter
 * that has another form, and record the refusal. True: the next call uses the
 * other form.
 */
bool aic_openai_attempt_reshape(const struct aic_openai_attempt *a);

#endif
