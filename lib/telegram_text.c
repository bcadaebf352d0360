#include "config.h"

#include "telegram_text.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "telegram.h"
#include "utf8.h"

/* A longer one, escaped, stays text: two of them and a message's worth of text must
 * fit into one message. */
#define TARGET_MAX 2048

const char *const aic_format_names[AIC_FORMAT__MAX + 1] = {
	[AIC_FORMAT_PLAIN] = "plain",
	[AIC_FORMAT_HTML] = "telegram-html",
	[AIC_FORMAT_RICH] = "telegram-rich",
};

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

/* The length of the scheme, when there is something behind it. */
static size_t
begins(const struct aic_buf *target, const char *scheme)
{
	size_t n = strlen(scheme);

	return target->len > n && strncasecmp(target->data, scheme, n) == 0 ? n
									    : 0;
}

/* It is short enough, and nothing in it would end it early. */
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

enum aic_telegram_target
aic_telegram_leads(const struct aic_buf *target)
{
	size_t at;

	if (target->len == 0 || !is_plain(target))
		return AIC_TELEGRAM_ELSEWHERE;
	at = begins(target, "http://");
	if (at == 0)
		at = begins(target, "https://");
	if (at > 0 && !strchr("/?#:.", target->data[at]))
		return AIC_TELEGRAM_WEB;
	at = begins(target, "mailto:");
	if (at > 0 && strchr(target->data + at + 1, '@'))
		return AIC_TELEGRAM_MAIL;
	at = begins(target, "tel:");
	if (at > 0 && is_phone(target->data + at))
		return AIC_TELEGRAM_PHONE;
	return AIC_TELEGRAM_ELSEWHERE;
}

/* Nothing else can be seen in the text. */
static bool
is_same(const struct aic_buf *text, const char *s, size_t n)
{
	size_t before = text->len > n ? text->len - n : 0;

	return text->len >= n && memcmp(text->data + before, s, n) == 0 &&
	    !aic_telegram_is_seen(text->data, before);
}

size_t
aic_telegram_address(const struct aic_buf *target, const struct aic_buf *text)
{
	size_t at = begins(target, "mailto:");

	if (target->len == 0)
		return 0;
	if (at == 0)
		at = begins(target, "tel:");
	if (!aic_telegram_is_seen(target->data + at, target->len - at) ||
	    is_same(text, target->data + at, target->len - at) ||
	    is_same(text, target->data, target->len))
		return target->len;
	return at;
}
