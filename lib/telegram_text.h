/*
 * telegram_text -- what the formats for Telegram have in common: reading, escaping, links,
 * and the numbers and bars before a text. A part of telegram.h.
 *
 * Threads: any.
 */
#ifndef AIC_TELEGRAM_TEXT_H
#define AIC_TELEGRAM_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/markdown.h"

/* More than this is shown as it is: thirty times what the rules ask of the model. */
#define AIC_TELEGRAM_MARKDOWN_MAX ((size_t)64 * 1024)

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

/* aic_telegram_is_seen -- there is a character in it that makes a message. */
bool aic_telegram_is_seen(const char *s, size_t n);

/* aic_telegram_escape -- write text as HTML; with quotes, for an attribute.
 * Errors: to->failed */
void
aic_telegram_escape(struct aic_buf *to, const char *s, size_t n, bool quotes);

/* --- links ------------------------------------------------------------- */

enum aic_telegram_target {
	AIC_TELEGRAM_WEB, /* http, https */
	AIC_TELEGRAM_MAIL,
	AIC_TELEGRAM_PHONE,
	AIC_TELEGRAM_ELSEWHERE, /* no link, or one that is too long */
};

struct aic_telegram_link {
	struct aic_buf target;
	struct aic_buf text; /* what is shown of it */
	enum aic_telegram_target leads; /* an image in a link: ELSEWHERE */
	bool shown; /* as a link; set by the format */
};

/* A link, and an image in it. */
#define AIC_TELEGRAM_LINKS 2

/* The links that a place in the text is in. */
struct aic_telegram_links {
	struct aic_telegram_link link[AIC_TELEGRAM_LINKS];
	int n;
	bool failed; /* no memory */
};

/* aic_telegram_link_begin -- a link with this target begins. Errors: links->failed */
struct aic_telegram_link *
aic_telegram_link_begin(struct aic_telegram_links *links, const char *target,
    size_t n);

/* aic_telegram_link_text -- this stands in the links. */
void aic_telegram_link_text(struct aic_telegram_links *links, const char *s,
    size_t n);

/* aic_telegram_link_end -- the innermost link ends; valid until the next begins. */
struct aic_telegram_link *
aic_telegram_link_end(struct aic_telegram_links *links);

/*
 * aic_telegram_address -- what stands behind the text of a link that is not shown as one.
 *
 * It is the target, of mailto: and tel: what is behind that. The value is its length; 0:
 * the link is shown, there is nothing to see, or the text says it.
 */
size_t aic_telegram_address(const struct aic_telegram_link *link,
    const char **ret_address);

/* --- prefixes ---------------------------------------------------------- */

/* The numbers and bullets of items that begin within each other, "999999999. ☐ ", or
 * the bars of empty cells. */
struct aic_telegram_prefix {
	char s[AIC_MARKDOWN_DEPTH * 16];
	size_t len;
};

/* aic_telegram_prefix_add -- what has no room is left out. */
void aic_telegram_prefix_add(struct aic_telegram_prefix *prefix, const char *s,
    size_t n);

/* --- reading ----------------------------------------------------------- */

/*
 * aic_telegram_read -- aic_markdown_read() with links for the writer.
 *
 * links     zeroed; freed when it returns
 *
 * Errors:   AIC_ENOMEM, also where a link failed
 */
enum aic_code aic_telegram_read(const char *markdown, size_t len,
    const struct aic_markdown_writer *writer, void *arg,
    struct aic_telegram_links *links) AIC_MUST_CHECK;

#endif
