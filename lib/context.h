/*
 * context -- the user's last exchanges, for the model to remember: as many as are set,
 * of this conversation, not too old, and no more text than fits the budget.
 *
 * Hidden reasoning in a stored answer is left out; see think.h.
 *
 * The database has them; a copy kept elsewhere says which version it is of. Each save
 * raises the user's version, and so does a new conversation.
 *
 * Threads: any; each with its own struct.
 */
#ifndef AIC_CONTEXT_H
#define AIC_CONTEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/db.h"
#include "lib/id.h"

#define AIC_CONTEXT_MAX 50 /* exchanges */

/* Each text so often, for one context, and no limit of a model is near. It also bounds
 * what the body of the model's request can be. */
#define AIC_CONTEXT_CHARS_MAX 1000000

/* One exchange; the texts belong to the context. */
struct aic_exchange {
	const char *message;
	const char *response;
	int64_t at_us; /* when it was kept, of the epoch */
};

struct aic_context {
	struct aic_exchange said[AIC_CONTEXT_MAX]; /* oldest first */
	int n;
	int first; /* of those that are within the budget; n: none is */
	char *cut; /* the newest answer, where it was too long; else NULL */
	struct aic_db_call call; /* that has the texts, or */
	char *copy; /* what was unpacked */
};

/* What is to be remembered. */
struct aic_context_terms {
	int64_t exchanges; /* 0..AIC_CONTEXT_MAX */
	int64_t chars; /* code points, 0..AIC_CONTEXT_CHARS_MAX */
	int64_t ttl_s; /* older ones are left out; 0: none is too old */
	int64_t now_us; /* of the epoch, for that */
	int64_t from_us; /* when the conversation began; 0: at the beginning */
};

/* aic_context_bind -- the last exchanges of a user. */
void aic_context_bind(struct aic_db_call *call, int64_t telegram_id,
    const struct aic_context_terms *terms);

/* aic_context_read -- take them out of a call that has run. Memory: takes its result;
 * aic_context_done(). */
void aic_context_read(struct aic_context *c, struct aic_db_call *call,
    const struct aic_context_terms *terms);

/*
 * aic_context_fit -- the budget: the oldest go first, and of the newest, when it is too
 * long by itself, the middle of its answer; never within a code point. Where not even
 * the question leaves room, it goes too. Sets `first' and `cut', and leaves the rest.
 *
 * Errors:   AIC_ENOMEM
 */
enum aic_code aic_context_fit(struct aic_context *c,
    const struct aic_context_terms *terms, struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_context_pack -- a copy to keep elsewhere, with perhaps one more exchange.
 *
 * version   the user's, with `more'
 * more      NULL: none
 *
 * Errors:   to->failed
 */
void aic_context_pack(const struct aic_context *c, const char *version,
    const struct aic_exchange *more, const struct aic_context_terms *terms,
    struct aic_buf *to);

/*
 * aic_context_unpack -- use a copy.
 *
 * data      taken, whatever the outcome; free()
 *
 * False means that it is none.
 */
bool aic_context_unpack(struct aic_context *c, char *data, size_t len,
    const struct aic_context_terms *terms);

/* aic_context_version -- of what was unpacked; "" of anything else. */
const char *aic_context_version(const struct aic_context *c);

/*
 * aic_context_next -- the version that a save makes of this one.
 *
 * A copy with that exchange may bear it whether or not others were kept in between: once
 * the save is done the user's version is this one or a later one, and a copy is used
 * while it is of the user's version.
 *
 * False: it is no version.
 */
bool aic_context_next(const char *version, char ret_next[AIC_ID_CONTEXT_SIZE]);

/* aic_context_done -- copes with a zeroed one, and leaves a zeroed one. */
void aic_context_done(struct aic_context *c);

/* aic_context_clear_bind -- a new conversation begins; the history stays. zone: whose
 * midnight begins the day. */
void aic_context_clear_bind(struct aic_db_call *call, int64_t telegram_id,
    const char *zone);

#endif
