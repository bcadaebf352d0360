/*
 * telegram -- an answer as Telegram shows it: the model's Markdown as the HTML that its
 * bots may send, in an ordinary message or in a rich one.
 *
 * Pure: text in, text out. What of it fits into one message is parts.h's.
 *
 * Threads: any.
 */
#ifndef AIC_TELEGRAM_H
#define AIC_TELEGRAM_H

#include <stddef.h>

#include "lib/buf.h"
#include "lib/err.h"

/*
 * aic_telegram_html -- the same answer in b, i, s, code, pre, a and blockquote.
 *
 * Balanced, never a tag around nothing, and no nesting that Telegram takes back:
 * nothing within code and pre, no link in a link, no quotation in a quotation.
 * Lists, headings, tables and rules become lines; raw HTML is text. Links lead to the
 * web; the target of any other stands behind its text. What is text and what is
 * markup, markdown.h says: no visible character of the text is lost, and no figure
 * changes. An answer that would show nothing, or is too long, is shown as it was
 * written.
 *
 * markdown  valid UTF-8
 * to        empty
 *
 * Errors:   AIC_ENOMEM
 * Source:   Bot API, "HTML style"
 */
enum aic_code aic_telegram_html(const char *markdown, size_t len,
    struct aic_buf *to) AIC_MUST_CHECK;

/* Of a rich message: columns of a table, and tags within each other. */
#define AIC_TELEGRAM_COLUMNS 20
#define AIC_TELEGRAM_LEVELS 16

/*
 * aic_telegram_rich -- the same answer as Rich HTML: h1 to h6, p, ul, ol, li, table,
 * tr, th, td, blockquote, pre, hr, br, and b, i, s, code and a.
 *
 * Balanced, no tag around nothing but a cell, and never more than 20 columns or 16
 * levels: the cells beyond are in the last column, and the items beyond three lists
 * are paragraphs. A quotation in a quotation is part of that, a heading in a list or
 * a quotation is a bold paragraph. Links lead to the web, to an address or to a phone.
 * An answer that would show nothing, or is too long, is paragraphs of the text as it
 * was written.
 *
 * HTML and not Rich Markdown, because in HTML three characters have to be escaped and
 * everything else is text: what Telegram takes for markup in Markdown, as ==, ||, $
 * and tags, is not listed in full anywhere.
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
