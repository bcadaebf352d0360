/*
 * markdown -- read the Markdown that models write, as events.
 *
 * The syntax is CommonMark with GitHub's tables, strike-through and task lists.
 * It is read in such a way that no figure changes and no text is lost: anything
 * that can be a formula, a price or a name is text, not markup.
 *
 *   - "*" between operands, a delimiter between two digits, single tildes, "_"
 *     within names and paths, __init__, _id_1_, and everything within a bare
 *     URL are text;
 *   - "**" closes after punctuation and before a letter: **Total:**15;
 *   - a backslash is markup before a character that Markdown uses, except
 *     within \( \), \[ \] and $$ $$, which stay unchanged;
 *   - "> 5" alone, "+ 5", a marker without content, and a number with a leading
 *     zero are text; an item has the number that is written;
 *   - there are no link definitions, so that lists of sources stay, no raw HTML
 *     except <br>, and no code by indentation;
 *   - a table can follow a line of text, and its rows can have any number of
 *     cells;
 *   - the content of a ```markdown fence is read as Markdown, not as code;
 *   - "---" under a line is a rule.
 *
 * Neither md4c nor cmark is used. Both follow CommonMark where it changes a
 * figure (2*3*4, the numbers of items), and they drop definitions and surplus
 * cells of a row without an event. md4c also closes spans in the wrong order if
 * a delimiter is in the target of a link. A pass that hides all of these from
 * them would have to find code spans, links, fences and tables, which is most
 * of a parser. This parser takes time that is linear in the length of the text.
 *
 * Threads: any.
 */
#ifndef AIC_MARKDOWN_H
#define AIC_MARKDOWN_H

#include <stddef.h>

#include "lib/err.h"
#include "lib/markdown_event.h"

/*
 * aic_markdown_read -- read a text, and call the writer for its parts.
 *
 * A link without text has its target as its text. Its title follows in
 * parentheses. If only markup separates two digits, a blank is put between
 * them.
 *
 * s         valid UTF-8
 *
 * Errors:   AIC_ENOMEM; the writer may have been called
 * Source:   CommonMark 0.31, GFM 0.29
 */
enum aic_code aic_markdown_read(const char *s, size_t len,
    const struct aic_markdown_writer *writer, void *arg) AIC_MUST_CHECK;

#endif
