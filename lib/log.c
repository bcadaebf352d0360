#include "config.h"

#include "lib/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/utf8.h"

static enum aic_level threshold = AIC_LOG_INFO;

static const char *const names[] = {
	[AIC_LOG_ERROR] = "error",
	[AIC_LOG_WARN] = "warn",
	[AIC_LOG_INFO] = "info",
	[AIC_LOG_DEBUG] = "debug",
};
_Static_assert(sizeof(names) / sizeof(names[0]) == AIC_LOG__MAX,
    "every level has a name");

void
aic_log_level(enum aic_level level)
{
	threshold = level;
}

const char *
aic_log_level_name(enum aic_level level)
{
	return names[level];
}

/* Always leaves one byte for the newline. */
static void
add_bytes(struct aic_log *l, const char *s, size_t n)
{
	size_t room = sizeof(l->line) - 1 - l->len;

	if (n > room)
		n = room;
	memcpy(l->line + l->len, s, n);
	l->len += n;
}

/*
 * True for characters that a terminal, an editor or a line reader executes
 * instead of showing: control characters (U+0085 ends a line, U+009B begins a
 * terminal command); Unicode's line and paragraph separators; characters that
 * change the writing direction, and so show a line in another order; and
 * invisible characters.
 */
static bool
is_control(uint32_t cp)
{
	return cp < 0x20 || (cp >= 0x7f && cp <= 0x9f) || cp == 0xad ||
	    cp == 0x61c || cp == 0x180e || (cp >= 0x200b && cp <= 0x200f) ||
	    (cp >= 0x2028 && cp <= 0x202e) || (cp >= 0x2060 && cp <= 0x206f) ||
	    cp == 0xfeff || (cp >= 0xfff9 && cp <= 0xfffb) ||
	    (cp >= 0xe0000 && cp <= 0xe007f);
}

/*
 * The length of a character that can be in a line unescaped; 0: it must be
 * escaped.
 */
static size_t
count_shown(const char *s, size_t len)
{
	uint32_t cp = 0;
	size_t n = aic_utf8_next(s, len, &cp);

	return n > 0 && !is_control(cp) ? n : 0;
}

static bool
is_plain(const char *s, size_t len)
{
	size_t i = 0, n;

	while (i < len) {
		n = count_shown(s + i, len - i);
		if (n == 0 || strchr(" \"=\\", s[i]))
			return false;
		i += n;
	}
	return true;
}

static void
add_quoted(struct aic_log *l, const char *s, size_t len)
{
	size_t i = 0, n;
	char esc[5];

	add_bytes(l, "\"", 1);
	while (i < len) {
		n = count_shown(s + i, len - i);
		if (s[i] == '"' || s[i] == '\\') {
			add_bytes(l, "\\", 1);
			add_bytes(l, s + i, 1);
		} else if (n == 0) {
			snprintf(esc, sizeof(esc), "\\x%02x",
			    (unsigned)(unsigned char)s[i]);
			add_bytes(l, esc, 4);
			n = 1;
		} else {
			add_bytes(l, s + i, n);
		}
		i += n;
	}
	add_bytes(l, "\"", 1);
}

void
aic_log_begin(struct aic_log *l, enum aic_level level, const char *event)
{
	/*
	 * A line that will not be written starts as a full line, so nothing is
	 * added to it and building it costs nothing.
	 */
	l->len = level > threshold ? sizeof(l->line) : 0;
	aic_log_str(l, "level", names[level]);
	aic_log_str(l, "event", event);
}

void
aic_log_str(struct aic_log *l, const char *key, const char *value)
{
	aic_log_cut(l, key, value, sizeof(l->line));
}

void
aic_log_cut(struct aic_log *l, const char *key, const char *value, size_t most)
{
	size_t len;

	if (!value || !*value || l->len >= sizeof(l->line))
		return;
	len = strnlen(value, most);
	if (l->len > 0)
		add_bytes(l, " ", 1);
	add_bytes(l, key, strlen(key));
	add_bytes(l, "=", 1);
	if (is_plain(value, len))
		add_bytes(l, value, len);
	else
		add_quoted(l, value, len);
}

void
aic_log_num(struct aic_log *l, const char *key, int64_t value)
{
	char num[24];

	snprintf(num, sizeof(num), "%lld", (long long)value);
	aic_log_str(l, key, num);
}

void
aic_log_ms(struct aic_log *l, const char *key, int64_t us)
{
	char num[32];

	us = us < 0 ? 0 : us + 50;
	snprintf(num, sizeof(num), "%lld.%d", (long long)(us / 1000),
	    (int)(us % 1000 / 100));
	aic_log_str(l, key, num);
}

void
aic_log_end(struct aic_log *l)
{
	ssize_t n;

	if (l->len >= sizeof(l->line))
		return;
	l->line[l->len++] = '\n';
	/*
	 * A failed write to the log must not stop the service, so its error is
	 * ignored.
	 */
	do {
		n = write(STDERR_FILENO, l->line, l->len);
	} while (n < 0 && errno == EINTR);
}

void
aic_log_event(enum aic_level level, const char *event, const char *fmt, ...)
{
	char text[1024];
	struct aic_log l;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	aic_log_begin(&l, level, event);
	aic_log_str(&l, "text", text);
	aic_log_end(&l);
}
