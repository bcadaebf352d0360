/*
 * telegram_text -- the common part of the formats for Telegram: reading,
 * escaping, links, and the numbers and bars before a text. A part of
 * telegram.h.
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

/*
 * A longer source is shown unchanged. The limit is thirty times the length that
 * the rules in the prompt demand.
 */
#define AIC_TELEGRAM_MARKDOWN_MAX ((size_t)64 * 1024)

enum aic_telegram_kind {
	AIC_TELEGRAM_SEEN,
	/* may be in a message, but does not make it non-empty */
	AIC_TELEGRAM_HIDDEN,
	AIC_TELEGRAM_SPACE,
};

/*
 * aic_telegram_kind -- whether a message that consists of this code point is
 * empty for Telegram.
 *
 * Source: clean_input_string() and strip_empty_characters() of TDLib, misc.cpp
 */
enum aic_telegram_kind aic_telegram_kind(uint32_t cp);

/*
 * aic_telegram_is_seen -- true if the text has a visible character, so that a
 * message of it is not empty.
 */
bool aic_telegram_is_seen(const char *s, size_t n);

/*
 * aic_telegram_escape -- write text as HTML; with quotes, as the value of an
 * attribute. Errors: to->failed
 */
void
aic_telegram_escape(struct aic_buf *to, const char *s, size_t n, bool quotes);

/* --- links ------------------------------------------------------------- */

enum aic_telegram_target {
	AIC_TELEGRAM_WEB, /* http, https */
	AIC_TELEGRAM_MAIL,
	AIC_TELEGRAM_PHONE,
	AIC_TELEGRAM_ELSEWHERE, /* no link, or too long */
};

struct aic_telegram_link {
	struct aic_buf target;
	struct aic_buf text; /* the text that is shown for it */
	enum aic_telegram_target leads; /* an image in a link: ELSEWHERE */
	bool shown; /* as a link; set by the format */
};

/* The deepest nesting: a link, and an image in it. */
#define AIC_TELEGRAM_LINKS 2

/* The links that are open. */
struct aic_telegram_links {
	struct aic_telegram_link link[AIC_TELEGRAM_LINKS];
	int n;
	bool failed; /* out of memory */
};

/*
 * aic_telegram_link_begin -- open a link with this target. Errors:
 * links->failed
 */
struct aic_telegram_link *
aic_telegram_link_begin(struct aic_telegram_links *links, const char *target,
    size_t n);

/* aic_telegram_link_text -- append text to the open links. */
void aic_telegram_link_text(struct aic_telegram_links *links, const char *s,
    size_t n);

/*
 * aic_telegram_link_end -- close the innermost link; the value is valid until
 * the next link is opened.
 */
struct aic_telegram_link *
aic_telegram_link_end(struct aic_telegram_links *links);

/*
 * aic_telegram_address -- the address to show after the text of a link that is
 * not shown as a link.
 *
 * The address is the target; of a mailto: or tel: target, it is the part after
 * the scheme. The value is the length of the address; 0: the link is shown as a
 * link, the target has no visible character, or the text equals the address.
 */
size_t aic_telegram_address(const struct aic_telegram_link *link,
    const char **ret_address);

/* --- prefixes ---------------------------------------------------------- */

/*
 * What precedes the next text: the numbers and bullets of items that begin
 * inside each other, for example "999999999. ☐ ", or the bars of empty cells.
 */
struct aic_telegram_prefix {
	char s[AIC_MARKDOWN_DEPTH * 16];
	size_t len;
};

/* aic_telegram_prefix_add -- append; text that does not fit is dropped. */
void aic_telegram_prefix_add(struct aic_telegram_prefix *prefix, const char *s,
    size_t n);

/* --- reading ----------------------------------------------------------- */

/*
 * aic_telegram_read -- call aic_markdown_read(), with links for the writer.
 *
 * links     zeroed; freed before the function returns
 *
 * Errors:   AIC_ENOMEM, also after links->failed
 */
enum aic_code aic_telegram_read(const char *markdown, size_t len,
    const struct aic_markdown_writer *writer, void *arg,
    struct aic_telegram_links *links) AIC_MUST_CHECK;

#endif
