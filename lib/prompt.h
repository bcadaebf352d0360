/*
 * prompt -- the messages that the model is sent: our rules, what was said before,
 * what is known of the seller, the question.
 *
 * Threads: a struct aic_prompt is read-only once it is loaded.
 */
#ifndef AIC_PROMPT_H
#define AIC_PROMPT_H

#include "buf.h"
#include "err.h"

/* Rules longer than this would cost more than the chats. */
#define AIC_PROMPT_FILE_MAX (64 * 1024)

struct aic_prompt {
	char *rules; /* the first message, as JSON */
	size_t rules_len;
};

/*
 * aic_prompt_load -- read the rules from a file.
 *
 * Errors:   AIC_ECONF  not readable, not UTF-8, blank, too long
 * Blocks:   on the file
 * Memory:   gives; aic_prompt_done()
 */
enum aic_code aic_prompt_load(struct aic_prompt *ret_prompt, const char *path,
    struct aic_err *err) AIC_MUST_CHECK;

/* aic_prompt_done -- copes with a zeroed struct. */
void aic_prompt_done(struct aic_prompt *prompt);

/*
 * The messages as one JSON array, in this order: begin, said before (oldest
 * first), about the seller, the question. Errors: to->failed.
 *
 * aic_prompt_begin   the rules
 * aic_prompt_said    an exchange of earlier
 * aic_prompt_seller  the seller's data, headed as data; NULL adds nothing
 * aic_prompt_ask     the question, verbatim; ends the array
 */
void aic_prompt_begin(const struct aic_prompt *prompt, struct aic_buf *to);
void
aic_prompt_said(struct aic_buf *to, const char *message, const char *response);
void aic_prompt_seller(struct aic_buf *to, const char *data);
void aic_prompt_ask(struct aic_buf *to, const char *message);

#endif
