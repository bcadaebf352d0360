/*
 * markdown_spans -- read the inside of a paragraph, a heading or a cell. A part
 * of markdown.h, which has the rules.
 *
 * Threads: a struct aic_markdown_spans belongs to one thread.
 */
#ifndef AIC_MARKDOWN_SPANS_H
#define AIC_MARKDOWN_SPANS_H

#include "lib/buf.h"
#include "lib/markdown_event.h"

struct aic_markdown_token;

/* The array of tokens is reused from one text to the next. */
struct aic_markdown_spans {
	const struct aic_markdown_writer *writer;
	void *arg;
	bool failed; /* out of memory */
	struct aic_markdown_token *tokens;
	size_t n_tokens, tokens_cap;
	struct aic_buf scratch; /* a target or a title, decoded */
};

void aic_markdown_spans_init(struct aic_markdown_spans *sp,
    const struct aic_markdown_writer *writer, void *arg);
void aic_markdown_spans_done(struct aic_markdown_spans *sp);

/*
 * aic_markdown_spans_read -- read lines of text that are separated by line
 * breaks. Errors: sp->failed
 */
void
aic_markdown_spans_read(struct aic_markdown_spans *sp, const char *s, size_t n);

#endif
