/*
 * markdown -- the Markdown that models write, read into events.
 *
 * CommonMark with GitHub's tables, strike-through and task lists, read so that no
 * figure changes and no text is lost: what may be a formula, a price or a name is
 * text, and not markup.
 *
 *   - "*" between operands, a delimiter between two digits, single tildes, "_" within
 *     names and paths, __init__, _id_1_, and everything within a bare URL are text;
 *   - "**" closes behind punctuation and before a letter: **Total:**15;
 *   - a backslash is markup before a character that Markdown uses, and not within
 *     \( \), \[ \] and $$ $$, which stay as they are;
 *   - "> 5" alone, "+ 5", a marker with nothing behind it, and a number with a leading
 *     zero are text; the number of an item is the one that is written;
 *   - there are no link definitions, so that lists of sources stay, no raw HTML but
 *     <br>, and no code by its indentation;
 *   - a table may follow a line of text, and its rows may have any number of cells;
 *   - ```markdown fences are not code: what is in them is read as the rest;
 *   - "---" under a line is a rule.
 *
 * Why not md4c or cmark: both follow CommonMark where a figure changes (2*3*4, the
 * numbers of items), drop definitions and the cells beyond the header's without an
 * event, and md4c closes spans out of their order when a delimiter stands in a link's
 * target. To hide all of these from them takes a pass before that knows code spans,
 * links, fences and tables, which is most of a parser. This one takes time that is
 * linear in the length of the text.
 *
 * Threads: any.
 */
#ifndef AIC_MARKDOWN_H
#define AIC_MARKDOWN_H

#include <stddef.h>

#include "lib/err.h"
#include "lib/markdown_event.h"

/*
 * aic_markdown_read -- call the writer for what stands in a text.
 *
 * A link without text gets its target for it, its title comes behind it in
 * parentheses. Two digits between which markup stood get a blank.
 *
 * s         valid UTF-8
 *
 * Errors:   AIC_ENOMEM; the writer may have been called
 * Source:   CommonMark 0.31, GFM 0.29
 */
enum aic_code aic_markdown_read(const char *s, size_t len,
    const struct aic_markdown_writer *writer, void *arg) AIC_MUST_CHECK;

#endif
