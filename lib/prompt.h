/*
 * prompt -- the messages of a model's request: the rules, the conversation, and
 * the question with the seller's data.
 *
 * The rules are the only `system' message and come first. Then `user' and
 * `assistant' messages alternate strictly, and the last message is the user's.
 * The chat templates of many models refuse a second `system' message, or two
 * messages of one role in a row. The seller's data are therefore in the last
 * message, before the question. They change from request to request, so the
 * bytes before the last message depend on the conversation alone, and a
 * provider can cache them.
 *
 * The data are untrusted (names of products, reviews), so the model must be
 * able to recognise where they end. They stand between two lines with a tag:
 *
 *	<seller-data-5f3a9c21>
 *	...
 *	</seller-data-5f3a9c21>
 *
 * The number is a hash of the data. If the data contain the tag, the next
 * number is tried, until the data do not contain it. So the data cannot contain
 * the line that ends them, and neither the data nor the question has to be
 * changed.
 *
 * Threads: a struct aic_prompt is read-only after aic_prompt_load().
 */
#ifndef AIC_PROMPT_H
#define AIC_PROMPT_H

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/format.h"
#include "lib/telegram.h"

/*
 * The maximum size of the rules. Longer rules would cost more than the chats.
 */
#define AIC_PROMPT_FILE_MAX (64 * 1024)

/*
 * A placeholder that the rules can contain once. It is replaced by the
 * instructions for the format of the answer, so that the instructions can
 * contain all of the format's markup.
 */
#define AIC_PROMPT_FORMAT "{{format}}"

struct aic_prompt {
	char *rules; /* the first message, as JSON */
	size_t rules_len;
};

/*
 * aic_prompt_load -- read the rules from a file.
 *
 * format    the format of answers to requests that name none
 *
 * Errors:   AIC_ECONF  not readable, not UTF-8, blank, too long
 * Blocks:   on reading the file
 * Memory:   gives; aic_prompt_done()
 */
enum aic_code aic_prompt_load(struct aic_prompt *ret_prompt, const char *path,
    enum aic_format format, struct aic_err *err) AIC_MUST_CHECK;

/* aic_prompt_done -- free; accepts a zeroed struct. */
void aic_prompt_done(struct aic_prompt *prompt);

/*
 * Write the messages as one JSON array, in this order: aic_prompt_begin() once,
 * aic_prompt_said() for each exchange, oldest first, aic_prompt_ask() once.
 * Errors: to->failed.
 *
 * aic_prompt_begin   the rules
 * aic_prompt_said    an earlier exchange
 * aic_prompt_ask     the question, verbatim, after the seller's data; NULL or
 *                    blank data add nothing; ends the array
 */
void aic_prompt_begin(const struct aic_prompt *prompt, struct aic_buf *to);
void
aic_prompt_said(struct aic_buf *to, const char *message, const char *response);
void aic_prompt_ask(struct aic_buf *to, const char *data, const char *message);

#endif
