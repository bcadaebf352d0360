/*
 * context -- the last exchanges of a user that are sent to the model: limited
 * in number, age and text, and all from the current conversation.
 *
 * Hidden reasoning in a stored answer is left out; see think.h.
 *
 * PostgreSQL is authoritative. A copy in the cache carries the version of the
 * user's context that it was made from. Each save and each new conversation
 * increment the version.
 *
 * Threads: any; each with its own struct.
 */
#ifndef AIC_CONTEXT_H
#define AIC_CONTEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/db.h"
#include "lib/schema.h"

#define AIC_CONTEXT_MAX 50 /* exchanges */

/*
 * More than any model accepts. The maximum also limits the body of the request
 * to the model.
 */
#define AIC_CONTEXT_CHARS_MAX 1000000

/* One exchange. The texts belong to the context. */
struct aic_exchange {
	const char *message;
	const char *response;
	int64_t at_us; /* when it was saved, since the epoch */
};

struct aic_context {
	struct aic_exchange said[AIC_CONTEXT_MAX]; /* oldest first */
	int n;
	int first; /* index of the first exchange within the budget; n: none */
	char *cut; /* the newest answer, shortened; NULL: not shortened */
	struct aic_db_call call; /* owns the texts, unless `copy' is set */
	char *copy; /* the unpacked copy, which owns the texts; NULL: none */
};

/* The limits of a context. */
struct aic_context_terms {
	int64_t exchanges; /* 0..AIC_CONTEXT_MAX */
	int64_t chars; /* code points, 0..AIC_CONTEXT_CHARS_MAX */
	int64_t ttl_s; /* maximum age; 0: none */
	int64_t now_us; /* time since the epoch, for the age */
	int64_t from_us; /* begin of the conversation; 0: the first exchange */
};

/* aic_context_bind -- query the last exchanges of a user. */
void aic_context_bind(struct aic_db_call *call, int64_t telegram_id,
    const struct aic_context_terms *terms);

/*
 * aic_context_read -- read the exchanges from a call that has run.
 *
 * Memory:   takes the result of the call; aic_context_done()
 */
void aic_context_read(struct aic_context *c, struct aic_db_call *call,
    const struct aic_context_terms *terms);

/*
 * aic_context_fit -- apply the budget of text. Sets `first' and `cut'.
 *
 * The oldest exchanges are dropped first. If the newest alone exceeds the
 * budget, the middle of its answer is cut, never within a code point. If the
 * question alone leaves no room, that exchange is dropped too.
 *
 * Errors:   AIC_ENOMEM
 */
enum aic_code aic_context_fit(struct aic_context *c,
    const struct aic_context_terms *terms, struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_context_pack -- serialize the context for the cache, optionally with one
 * more exchange.
 *
 * version   of the user's context, including `more'
 * more      NULL: none
 *
 * Errors:   to->failed
 */
void aic_context_pack(const struct aic_context *c, const char *version,
    const struct aic_exchange *more, const struct aic_context_terms *terms,
    struct aic_buf *to);

/*
 * aic_context_unpack -- read a serialized context.
 *
 * data      taken, whatever the result; free()
 *
 * False: the data is not a context.
 */
bool aic_context_unpack(struct aic_context *c, char *data, size_t len,
    const struct aic_context_terms *terms);

/* aic_context_version -- the version of an unpacked context; otherwise "". */
const char *aic_context_version(const struct aic_context *c);

/*
 * aic_context_next -- the version after the next save.
 *
 * A copy that includes that exchange may carry this version even if other
 * exchanges were saved in between: once the save is done, the version of the
 * user is this one or a later one, and a copy is used only while it equals the
 * version of the user.
 *
 * False: the text is no version.
 */
bool
aic_context_next(const char *version, char ret_next[AIC_CONTEXT_VERSION_SIZE]);

/*
 * aic_context_done -- free. A zeroed struct is allowed; the struct is zeroed
 * afterwards.
 */
void aic_context_done(struct aic_context *c);

/*
 * aic_context_clear_bind -- begin a new conversation. The history is kept.
 *
 * zone      time zone whose midnight begins the day
 */
void aic_context_clear_bind(struct aic_db_call *call, int64_t telegram_id,
    const char *zone);

#endif
