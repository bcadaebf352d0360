/*
 * telegram -- convert an answer from the model's Markdown to the HTML that
 * Telegram accepts from bots, for an ordinary message or for a rich message.
 *
 * Pure functions from text to text. parts.h splits the result into messages,
 * and has the limits of a Telegram message.
 *
 * Threads: any.
 */
#ifndef AIC_TELEGRAM_H
#define AIC_TELEGRAM_H

#include <stddef.h>

#include "lib/buf.h"
#include "lib/err.h"

/*
 * aic_telegram_html -- the answer in b, i, s, code, pre, a and blockquote.
 *
 * The tags are balanced, none is empty, and none is nested in a way that
 * Telegram rejects: nothing in code and pre, no link in a link, no quotation in
 * a quotation. Lists, headings, tables and rules become lines; raw HTML is
 * text. Only targets on the web become links; any other target is shown after
 * the link's text. markdown.h defines what is text and what is markup: no
 * visible character of the text is lost, and no figure changes. An answer that
 * would show nothing, or that is too long, is shown as its Markdown source.
 *
 * markdown  valid UTF-8
 * to        empty
 *
 * Errors:   AIC_ENOMEM
 * Source:   Bot API, "HTML style"
 */
enum aic_code aic_telegram_html(const char *markdown, size_t len,
    struct aic_buf *to) AIC_MUST_CHECK;

/* Limits of a rich message: columns of a table, and nested tags. */
#define AIC_TELEGRAM_COLUMNS 20
#define AIC_TELEGRAM_LEVELS 16

/*
 * aic_telegram_rich -- the answer as Rich HTML: h1 to h6, p, ul, ol, li, table,
 * tr, th, td, blockquote, pre, hr, br, and b, i, s, code and a.
 *
 * The tags are balanced, none but a cell is empty, and there are at most 20
 * columns and 16 levels: surplus cells are appended to the last column, and
 * items that are nested deeper than three lists are paragraphs. A quotation in
 * a quotation is part of the outer one; a heading in a list or a quotation is a
 * bold paragraph. A link leads to the web, to an e-mail address or to a phone
 * number. An answer that would show nothing, or that is too long, is paragraphs
 * of its Markdown source.
 *
 * HTML is used instead of Rich Markdown because in HTML only three characters
 * have to be escaped and everything else is text. The list of what Telegram
 * takes for markup in Markdown (==, ||, $, tags) is not documented completely.
 *
 * markdown  valid UTF-8
 * to        empty
 *
 * Errors:   AIC_ENOMEM
 * Source:   Bot API 10.1, "Rich HTML style", InputRichMessage
 */
enum aic_code aic_telegram_rich(const char *markdown, size_t len,
    struct aic_buf *to) AIC_MUST_CHECK;

#endif
