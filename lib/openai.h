/*
 * openai -- get the answer of a model over the chat completions API. The retry
 * rule and the retry budget limit the number of calls, and the deadline limits
 * the time. After the primary model, the fallback model may be called.
 *
 * The fallback model is called in three cases: the circuit breaker of the
 * primary model is open; all attempts at the primary model have failed; or
 * retry.h says that only another model can answer (the account has no money,
 * the provider does not serve the country). Both models share one deadline. So
 * that a primary model that hangs leaves time for the fallback model, the
 * primary model gets two thirds of the time. It gets all of the time if the
 * breaker of the fallback model is open or if one third would be too short for
 * an attempt.
 *
 * The circuit breaker of a model opens after a number of failed chats in a row;
 * see breaker.h. A chat counts as a failure of the model when the model gives
 * no answer, a status of 5xx, or an unusable answer. A status of 4xx does not
 * count, because its cause is the question, the key or the quota. While the
 * breaker is open there are no retries, not even for the trial.
 *
 * openai_attempt.h makes a single call, and handles the forms of a request that
 * a model refuses.
 *
 * Threads: a struct aic_openai is shared by all threads.
 */
#ifndef AIC_OPENAI_H
#define AIC_OPENAI_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/breaker.h"
#include "lib/buf.h"
#include "lib/completion.h"
#include "lib/err.h"
#include "lib/http.h"
#include "lib/openai_attempt.h"
#include "lib/provider.h"
#include "lib/warm.h"

struct aic_openai;

/* The primary and the fallback model. */
#define AIC_OPENAI_MODELS 2

struct aic_openai_conf {
	/* For the fallback model see aic_provider_inherit(). */
	struct aic_provider_conf models[AIC_OPENAI_MODELS];
	double temperature;
	int64_t max_tokens;
	/* For each model. */
	int64_t breaker_failures; /* chats in a row; 0: it never opens */
	int64_t breaker_open_us;
	int64_t retry_floor; /* retries in ten seconds; see retry.h */
};

struct aic_openai_ask {
	/*
	 * aic_completion_begin() and a JSON array of messages; the call appends
	 * the rest of the body.
	 */
	struct aic_buf *body;
	/* Of each call, "Name: value", NULL at the end; NULL: none. */
	const char *const *headers;
	int64_t deadline_us; /* for all attempts and waits, at both models */
	/* true: the caller has left; NULL: not checked */
	bool (*gone)(void *arg);
	void *gone_arg;
};

struct aic_openai_answer {
	char *text; /* valid UTF-8 without NUL, not blank; free() */
	int64_t tokens; /* total of the usage; 0: unknown */
	struct aic_completion_usage usage;
	bool cut_off; /* the answer ended at the token limit */
	/* Set on failure, too. */
	int attempts; /* number of calls, including repeats of all kinds */
	/* calls by outcome */
	int calls[AIC_OPENAI_MODELS][AIC_OPENAI_CALL__MAX];
	int model; /* the last model that was called, from 0 */
	enum aic_breaker_change changes[AIC_OPENAI_MODELS];
};

/*
 * aic_openai_open -- Errors: AIC_ENOMEM. Memory: gives; aic_openai_close().
 */
enum aic_code aic_openai_open(struct aic_openai **ret_openai,
    const struct aic_openai_conf *conf, struct aic_err *err) AIC_MUST_CHECK;

/* aic_openai_close -- close, and wipe the keys. NULL is fine. */
void aic_openai_close(struct aic_openai *openai);

/*
 * aic_openai_members -- the members that the operator adds to the body of the
 * primary model's requests; the answers depend on them. "": none. Borrowed.
 */
const char *aic_openai_members(const struct aic_openai *openai);

/*
 * aic_openai_ask -- ask until there is a usable answer, or until the retry
 * rule, the budget or the deadline ends the attempts.
 *
 * answer    zeroed by the caller; text and tokens are set on AIC_OK
 *
 * Errors:   AIC_EUPSTREAM  of the model that was asked last; err->says can be
 *                          shown to the caller: it has no key and no URL
 *           AIC_EOPEN      all breakers are open; err->retry_after_s is set
 *           AIC_EGONE      ask->gone returned true
 *           AIC_ENOMEM
 * Blocks:   until ask->deadline_us at most
 * Memory:   gives answer->text
 * Source:   OpenAI API reference, "Create chat completion"
 */
enum aic_code aic_openai_ask(struct aic_openai *openai, struct aic_http *http,
    const struct aic_openai_ask *ask, struct aic_openai_answer *answer,
    struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_openai_keep_warm -- keep a connection to the primary model open; see
 * warm.h. Call it about once a second.
 *
 * why       set with AIC_WARM_LOST
 *
 * Blocks:   never
 * Threads:  one
 */
enum aic_warm_change aic_openai_keep_warm(struct aic_openai *openai,
    struct aic_http *http, char why[AIC_HTTP_WHY_SIZE]);

/*
 * aic_openai_is_well -- false when the last chat got no answer from any model.
 */
bool aic_openai_is_well(const struct aic_openai *openai);

/*
 * aic_openai_model_is_open -- true when the breaker of the i-th model rejects a
 * call now. False for a model that is not configured.
 */
bool aic_openai_model_is_open(struct aic_openai *openai, int i, int64_t now_us);

/*
 * aic_openai_is_open -- true when the breakers of all models reject a call now.
 */
bool aic_openai_is_open(struct aic_openai *openai, int64_t now_us);

#endif
