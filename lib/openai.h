/*
 * openai -- ask a model that speaks chat completions, as often as the rule and the
 * budget allow and no longer than the deadline; and then perhaps a second one.
 *
 * The second is asked when the breaker of the first is open, when none of its attempts
 * had an answer and there is none left, or at once when retry.h says that only another
 * model can answer (no money, a country that is not served); and within the same
 * deadline. So that a first one that hangs leaves time for it, the first gets two
 * thirds of what there is, unless the breaker of the second is open or a third would not
 * be enough for an attempt.
 *
 * A model that failed so many chats in a row is not asked for a while; see
 * breaker.h. A failure is the model's when it gives no answer, a status of 5xx, or
 * nothing of use; not with 4xx, which is about the question, the key or the quota.
 * Nobody tries again while it is left alone, the trial included.
 *
 * Newer models refuse `max_tokens' or `temperature', older servers refuse
 * `max_completion_tokens'. The other form is sent at once, and remembered for the life
 * of the worker. The limit of tokens has two names; where a model refuses both, one
 * after the other, the first name is sent from then on, so that the two cannot take
 * turns for ever.
 *
 * Threads: a struct aic_openai is shared by all.
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
#include "lib/provider.h"
#include "lib/warm.h"

struct aic_openai;

/* The first, and the one to fall back to. */
#define AIC_OPENAI_MODELS 2

struct aic_openai_conf {
	/* Of the second one see aic_provider_inherit(). */
	struct aic_provider_conf models[AIC_OPENAI_MODELS];
	double temperature;
	int64_t max_tokens;
	/* Of each model. */
	int64_t breaker_failures; /* chats in a row; 0: it never opens */
	int64_t breaker_open_us;
	int64_t retry_floor; /* retries in ten seconds; see budget.h */
};

struct aic_openai_ask {
	/* aic_completion_begin() and a JSON array of messages; the rest of the body
	 * is added to it. */
	struct aic_buf *body;
	int64_t deadline_us; /* for all attempts, the waits, both models */
	bool (*gone)(void *arg); /* the caller has left; NULL: never asked */
	void *gone_arg;
};

/* How a call ended, for those who count. */
enum aic_openai_call {
	AIC_OPENAI_USABLE,
	AIC_OPENAI_USELESS, /* a 200 without an answer in it, or far too much */
	AIC_OPENAI_REFUSED, /* 4xx, or a status that no API has */
	AIC_OPENAI_LIMITED, /* a rate limit: 429, or an error that says so */
	AIC_OPENAI_QUOTA, /* no money is left in the account */
	AIC_OPENAI_BROKEN, /* 5xx */
	AIC_OPENAI_UNREACHED,
	AIC_OPENAI_CUT, /* no whole answer came */
	AIC_OPENAI_TIMEOUT,
	AIC_OPENAI_GONE, /* the caller had left */
	AIC_OPENAI_CALL__MAX
};

struct aic_openai_answer {
	char *text; /* valid UTF-8 without NUL, not blank; free() */
	int64_t tokens; /* in all, 0 when unknown */
	struct aic_completion_usage usage;
	bool cut_off; /* the model had more to say than it may */
	/* Set on failure too. */
	int attempts; /* calls made */
	int calls[AIC_OPENAI_MODELS][AIC_OPENAI_CALL__MAX]; /* the same */
	int model; /* that was asked last, from 0 */
	enum aic_breaker_change changes[AIC_OPENAI_MODELS];
};

/*
 * aic_openai_open -- Errors: AIC_ENOMEM. Memory: gives; aic_openai_close().
 */
enum aic_code aic_openai_open(struct aic_openai **ret_openai,
    const struct aic_openai_conf *conf, struct aic_err *err) AIC_MUST_CHECK;

/* aic_openai_close -- wipes the keys. NULL is fine. */
void aic_openai_close(struct aic_openai *openai);

/* aic_openai_members -- what the operator adds to the body of the first model's
 * requests, and what the answers so depend on; "": nothing. Borrowed. */
const char *aic_openai_members(const struct aic_openai *openai);

/*
 * aic_openai_ask -- ask until there is a usable answer or the rule says stop.
 *
 * answer    zeroed by the caller; text and tokens are set on AIC_OK
 *
 * Errors:   AIC_EUPSTREAM  of the model asked last; err->says is fit for the
 *                          caller: no key, no URL
 *           AIC_EOPEN      nobody was asked; err->retry_after_s is set
 *           AIC_EGONE      ask->gone said so
 *           AIC_ENOMEM
 * Blocks:   until ask->deadline_us at most
 * Memory:   gives answer->text
 * Source:   OpenAI API reference, "Create chat completion"
 */
enum aic_code aic_openai_ask(struct aic_openai *openai, struct aic_http *http,
    const struct aic_openai_ask *ask, struct aic_openai_answer *answer,
    struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_openai_keep_warm -- keep a connection to the first model open; see warm.h. To be
 * called about once a second.
 *
 * why       set with AIC_WARM_LOST
 *
 * Blocks:   never
 * Threads:  one
 */
enum aic_warm_change aic_openai_keep_warm(struct aic_openai *openai,
    struct aic_http *http, char why[AIC_HTTP_WHY_SIZE]);

/* aic_openai_is_well -- false when the last chat got no answer from any model. */
bool aic_openai_is_well(const struct aic_openai *openai);

/* aic_openai_model_is_open -- would the i-th model not be asked now? False for one
 * that there is not. */
bool aic_openai_model_is_open(struct aic_openai *openai, int i, int64_t now_us);

/* aic_openai_is_open -- would nobody be asked now? */
bool aic_openai_is_open(struct aic_openai *openai, int64_t now_us);

#endif
