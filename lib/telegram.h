/*
 * telegram -- an answer as Telegram shows it: the model's Markdown as the part of
 * HTML that its bots may send.
 *
 * Pure: text in, text out. What of it fits into one message is parts.h's.
 *
 * Threads: any.
 */
#ifndef AIC_TELEGRAM_H
#define AIC_TELEGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "err.h"

enum aic_format {
	AIC_FORMAT_PLAIN, /* as the model wrote it */
	AIC_FORMAT_HTML, /* for parse_mode=HTML */
	AIC_FORMAT__MAX
};

/* What callers and settings call them; a NULL ends it. */
extern const char *const aic_format_names[AIC_FORMAT__MAX + 1];

/* More than this is shown as it is: thirty times what the rules ask of the model. */
#define AIC_TELEGRAM_MARKDOWN_MAX ((size_t)64 * 1024)

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

enum aic_telegram_kind {
	AIC_TELEGRAM_SEEN,
	AIC_TELEGRAM_HIDDEN, /* part of a text, but none by itself */
	AIC_TELEGRAM_SPACE,
};

/*
 * aic_telegram_kind -- does a code point make a message that is not empty?
 *
 * Source: clean_input_string() and strip_empty_characters() of TDLib, misc.cpp
 */
enum aic_telegram_kind aic_telegram_kind(uint32_t cp);

#endif
