/*
 * recall -- what a chat can do without asking PostgreSQL, the Server or the model, for
 * Redis has it:
 *
 *   used     that a user's day is used up, so that a refusal costs no database work
 *   context  the last exchanges, of a version that the reservation has to confirm
 *   seller   what the Server told of the seller
 *   unsaved  the last answer that was paid for and could not be saved, for a repeat
 *   answer   to a common question: without history, and without the seller's data
 *
 * PostgreSQL decides about everything that counts. All of this may be missing, late or
 * gone at any moment, and nothing else happens than that it is asked for where it
 * belongs. Only of a used-up day Redis has the word, for AIC_CACHE_KEYS_USED_MS at most; a reset
 * takes it away. What is new is kept after the caller has his answer.
 *
 * Threads: any; each with its own chat.
 */
#ifndef CHAT_CACHE_H
#define CHAT_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/cache.h"
#include "lib/digest.h"
#include "lib/err.h"

struct chat;
struct request;
struct worker;

/* What was looked for, by chat_run(). */
struct chat_cache {
	bool used; /* the day; rq->limit tells the rest */
	bool context; /* the chat has one from there, perhaps an old one */
	bool seller; /* what the Server knows is known, be it nothing */
	char *answer; /* to this question; NULL: none */
	char question[AIC_DIGEST_HEX_SIZE]; /* "": not a common one */
};

/* What is to be kept once the caller has his answer. */
#define RECALL_PUTS 4

struct recall_later {
	struct aic_cache_put puts[RECALL_PUTS];
	int n;
	int64_t looked_us; /* of a used-up day: when that was seen */
};

/*
 * recall_open -- put down how the model is asked, for an answer depends on that;
 * w->asked_how stays NULL where no answers are kept.
 *
 * Errors:   AIC_ENOMEM
 * Memory:   gives w->asked_how; free()
 */
enum aic_code recall_open(struct worker *w, struct aic_err *err) AIC_MUST_CHECK;

/*
 * chat_cache_look_up -- look for all of it in one trip to Redis.
 *
 * Errors:   AIC_ELIMIT  the day is used up, and there is no key that may have its
 *                       answer all the same; rq->limit tells the rest
 * Blocks:   50 ms at most
 */
enum aic_code
chat_cache_look_up(struct chat *c, struct aic_err *err) AIC_MUST_CHECK;

/* chat_cache_done -- copes with a zeroed one. */
void chat_cache_done(struct chat_cache *r);

/* chat_cache_is_newest -- is the context that Redis had of the version that the
 * reservation told? */
bool chat_cache_is_newest(const struct chat *c);

/* chat_cache_note_refusal -- PostgreSQL has refused the chat: its day is used up. */
void chat_cache_note_refusal(struct chat *c);

/* chat_cache_note_saved -- the chat is kept: its context, and what it learned. */
void chat_cache_note_saved(struct chat *c);

/* chat_cache_note_unsaved -- the answer could not be saved. */
void chat_cache_note_unsaved(struct chat *c);

/* recall_keep -- put by what was noted. Blocks: 50 ms at most; the caller has his
 * answer already. */
void recall_keep(struct request *rq);

#endif
