#include "config.h"

#include "lib/telegram_text.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "lib/utf8.h"

/*
 * A longer escaped target is not a link but text, because two targets and the
 * text of a message must fit into one message.
 */
#define TARGET_MAX 2048

#define LINK_BYTES_MAX (4 * AIC_TELEGRAM_MARKDOWN_MAX)

enum aic_telegram_kind
aic_telegram_kind(uint32_t cp)
{
	if (cp < 0x80)
		return cp <= ' ' ? AIC_TELEGRAM_SPACE : AIC_TELEGRAM_SEEN;
	if (cp == 0x85 || cp == 0xa0 || cp == 0x1680 || cp == 0x180e ||
	    (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 ||
	    cp == 0x202f || cp == 0x205f || cp == 0x2800 || cp == 0x3000 ||
	    cp == 0xfffc)
		return AIC_TELEGRAM_SPACE;
	if ((cp >= 0x200b && cp <= 0x200f) || (cp >= 0x202a && cp <= 0x202e) ||
	    cp == 0x2060 || cp == 0xfeff || cp == 0x30a || cp == 0x333 ||
	    cp == 0x33f || (cp >= 0xe0000 && cp <= 0xe007f))
		return AIC_TELEGRAM_HIDDEN;
	return AIC_TELEGRAM_SEEN;
}

bool
aic_telegram_is_seen(const char *s, size_t n)
{
	uint32_t cp = 0;
	size_t len;

	for (; n > 0; s += len, n -= len) {
		len = aic_utf8_next(s, n, &cp);
		if (len == 0 || aic_telegram_kind(cp) == AIC_TELEGRAM_SEEN)
			return true;
	}
	return false;
}

void
aic_telegram_escape(struct aic_buf *to, const char *s, size_t n, bool quotes)
{
	size_t i, from = 0;
	const char *as;

	for (i = 0; i < n; i++) {
		switch (s[i]) {
		case '&':
			as = "&amp;";
			break;
		case '<':
			as = "&lt;";
			break;
		case '>':
			as = "&gt;";
			break;
		case '"':
			as = quotes ? "&quot;" : NULL;
			break;
		default:
			as = NULL;
		}
		if (!as)
			continue;
		aic_buf_put(to, s + from, i - from);
		aic_buf_puts(to, as);
		from = i + 1;
	}
	aic_buf_put(to, s + from, n - from);
}

/* --- links ------------------------------------------------------------- */

/* The length of the scheme, if the target has it and more text after it. */
static size_t
match_scheme(const struct aic_buf *target, const char *scheme)
{
	size_t n = strlen(scheme);

	return target->len > n && strncasecmp(target->data, scheme, n) == 0 ? n
									    : 0;
}

/*
 * True if the target is short enough, and has no character that would end it
 * early.
 */
static bool
is_plain(const struct aic_buf *target)
{
	size_t i, escaped = target->len;
	unsigned char c;

	for (i = 0; i < target->len; i++) {
		c = (unsigned char)target->data[i];
		if (c <= ' ' || c == 0x7f)
			return false;
		if (strchr("&<>\"", c))
			escaped += strlen("&quot;") - 1;
	}
	return escaped <= TARGET_MAX;
}

static bool
is_phone(const char *s)
{
	size_t digits = 0;

	for (; *s; s++) {
		if (!isdigit((unsigned char)*s) && !strchr("+-.()", *s))
			return false;
		digits += isdigit((unsigned char)*s) != 0;
	}
	return digits > 0;
}

static enum aic_telegram_target
find_target(const struct aic_buf *target)
{
	size_t at;

	if (target->len == 0 || !is_plain(target))
		return AIC_TELEGRAM_ELSEWHERE;
	at = match_scheme(target, "http://");
	if (at == 0)
		at = match_scheme(target, "https://");
	if (at > 0 && !strchr("/?#:.", target->data[at]))
		return AIC_TELEGRAM_WEB;
	at = match_scheme(target, "mailto:");
	if (at > 0 && strchr(target->data + at + 1, '@'))
		return AIC_TELEGRAM_MAIL;
	at = match_scheme(target, "tel:");
	if (at > 0 && is_phone(target->data + at))
		return AIC_TELEGRAM_PHONE;
	return AIC_TELEGRAM_ELSEWHERE;
}

/* True if the visible characters of the text are exactly these. */
static bool
is_same(const struct aic_buf *text, const char *s, size_t n)
{
	size_t before = text->len > n ? text->len - n : 0;

	return text->len >= n && memcmp(text->data + before, s, n) == 0 &&
	    !aic_telegram_is_seen(text->data, before);
}

struct aic_telegram_link *
aic_telegram_link_begin(struct aic_telegram_links *links, const char *target,
    size_t n)
{
	struct aic_telegram_link *link = &links->link[links->n++];

	/* Clearing a buffer resets its flag, so the flags are collected. */
	links->failed = links->failed || link->target.failed ||
	    link->text.failed;
	aic_buf_clear(&link->target);
	aic_buf_clear(&link->text);
	aic_buf_put(&link->target, target, n);
	link->leads = links->n == 1 ? find_target(&link->target)
				    : AIC_TELEGRAM_ELSEWHERE;
	link->shown = false;
	return link;
}

void
aic_telegram_link_text(struct aic_telegram_links *links, const char *s,
    size_t n)
{
	int i;

	for (i = 0; i < links->n; i++)
		aic_buf_put(&links->link[i].text, s, n);
}

struct aic_telegram_link *
aic_telegram_link_end(struct aic_telegram_links *links)
{
	return &links->link[--links->n];
}

size_t
aic_telegram_address(const struct aic_telegram_link *link,
    const char **ret_address)
{
	const struct aic_buf *target = &link->target;
	size_t at = match_scheme(target, "mailto:");

	*ret_address = "";
	if (link->shown || target->len == 0)
		return 0;
	if (at == 0)
		at = match_scheme(target, "tel:");
	if (!aic_telegram_is_seen(target->data + at, target->len - at) ||
	    is_same(&link->text, target->data + at, target->len - at) ||
	    is_same(&link->text, target->data, target->len))
		return 0;
	*ret_address = target->data + at;
	return target->len - at;
}

/* --- prefixes ---------------------------------------------------------- */

void
aic_telegram_prefix_add(struct aic_telegram_prefix *prefix, const char *s,
    size_t n)
{
	if (n > sizeof(prefix->s) - prefix->len)
		return;
	memcpy(prefix->s + prefix->len, s, n);
	prefix->len += n;
}

/* --- reading ----------------------------------------------------------- */

enum aic_code
aic_telegram_read(const char *markdown, size_t len,
    const struct aic_markdown_writer *writer, void *arg,
    struct aic_telegram_links *links)
{
	struct aic_telegram_link *link, *end = links->link + AIC_TELEGRAM_LINKS;
	enum aic_code rc;

	for (link = links->link; link < end; link++) {
		aic_buf_init(&link->target, LINK_BYTES_MAX);
		aic_buf_init(&link->text, LINK_BYTES_MAX);
	}
	rc = aic_markdown_read(markdown, len, writer, arg);
	for (link = links->link; link < end; link++) {
		links->failed = links->failed || link->target.failed ||
		    link->text.failed;
		aic_buf_done(&link->target);
		aic_buf_done(&link->text);
	}
	return links->failed ? AIC_ENOMEM : rc;
}
