/*
 * markdown_event -- the events for which the reader of Markdown calls a writer.
 */
#ifndef AIC_MARKDOWN_EVENT_H
#define AIC_MARKDOWN_EVENT_H

#include <stdbool.h>
#include <stddef.h>

enum aic_markdown {
	AIC_MARKDOWN_QUOTE,
	AIC_MARKDOWN_LIST,
	AIC_MARKDOWN_ITEM,
	AIC_MARKDOWN_HEADING,
	AIC_MARKDOWN_PARAGRAPH,
	AIC_MARKDOWN_FENCE,
	AIC_MARKDOWN_TABLE,
	AIC_MARKDOWN_ROW,
	AIC_MARKDOWN_CELL,
	AIC_MARKDOWN_BOLD,
	AIC_MARKDOWN_ITALIC,
	AIC_MARKDOWN_STRIKE,
	AIC_MARKDOWN_CODE,
	AIC_MARKDOWN_LINK, /* or an image */
	AIC_MARKDOWN__MAX
};

/* The deepest nesting of lists and quotations; deeper ones are text. */
#define AIC_MARKDOWN_DEPTH 16

/* The longest name of a language; a longer word is not a language. */
#define AIC_MARKDOWN_LANGUAGE_MAX 32

struct aic_markdown_detail {
	/*
	 * ITEM: its number and the mark after it, "2.", empty for a bullet;
	 * FENCE: its language; LINK: its target, decoded and not empty.
	 */
	const char *s;
	size_t len;
	int level; /* HEADING: 1..6 */
	bool ordered; /* LIST */
	char task; /* ITEM: ' ', 'x', or 0 for none */
	bool apart; /* a blank line precedes it */
	bool head; /* ROW: the first one */
};

/*
 * Each enter is followed by its leave, and they nest. A FENCE contains lines of
 * text with line_break between them. No text is empty.
 */
struct aic_markdown_writer {
	void (*enter)(void *arg, enum aic_markdown what,
	    const struct aic_markdown_detail *detail);
	void (*leave)(void *arg, enum aic_markdown what);
	void (*text)(void *arg, const char *s, size_t n);
	void (*line_break)(void *arg);
	void (*rule)(void *arg);
};

#endif
