#include "config.h"

#include "value.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "utf8.h"

/* The path that the worker appends to a base URL. */
#define COMPLETIONS "/chat/completions"

/* Characters that no editor shows. */
static bool
is_invisible(uint32_t cp)
{
	static const struct {
		uint32_t from, to;
	} rows[] = {
		{ 0x80, 0xa0 }, /* C1 controls, no-break space */
		{ 0xad, 0xad }, /* soft hyphen */
		{ 0x2000, 0x200f }, /* spaces, zero width, marks of direction */
		{ 0x2028, 0x202f }, { 0x205f, 0x206f }, { 0x3000, 0x3000 },
		{ 0xfeff, 0xfeff }, /* byte order mark */
	};
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (cp >= rows[i].from && cp <= rows[i].to)
			return true;
	return false;
}

/* What stands at s instead of visible ASCII. A character that can be seen may be
 * part of the secret, so its code point is not part of the message. */
static void
describe(const char *s, char *to, size_t size)
{
	unsigned char c = (unsigned char)*s;
	uint32_t cp;

	if (c == '\r')
		snprintf(to, size,
		    "a carriage return, which is how lines end on Windows");
	else if (c == '\n')
		snprintf(to, size, "a line break");
	else if (c == ' ' || c == '\t')
		snprintf(to, size, "a blank");
	else if (c < 0x20 || c == 0x7f)
		snprintf(to, size, "a control character (0x%02x)", c);
	else if (aic_utf8_next(s, strlen(s), &cp) > 0 && is_invisible(cp))
		snprintf(to, size, "an invisible character (U+%04X)", cp);
	else
		snprintf(to, size, "a character that is not ASCII");
}

static bool
is_visible(const char *s, enum aic_value_keys whose)
{
	unsigned char c = (unsigned char)*s;
	uint32_t cp;

	if (c > 0x20 && c < 0x7f)
		return true;
	if (whose == AIC_VALUE_KEY_SENT)
		return false;
	if (c < 0x80)
		return c == ' ' || c == '\t';
	/* Within a character that began as a visible one. */
	return aic_utf8_next(s, strlen(s), &cp) == 0 || !is_invisible(cp);
}

static enum aic_code
check_visible(const char *name, const char *value, enum aic_value_keys whose,
    struct aic_err *err)
{
	const char *s = value;
	char what[80];

	while (*s && is_visible(s, whose))
		s++;
	if (!*s)
		return AIC_OK;
	describe(s, what, sizeof(what));
	return aic_fail(err, AIC_ECONF, "%s contains %s, at byte %zu", name,
	    what, (size_t)(s - value) + 1);
}

static void
trim(char *value)
{
	size_t skip = strspn(value, " \t"), len = strlen(value) - skip;

	memmove(value, value + skip, len + 1);
	while (len > 0 && strchr(" \t", value[len - 1]))
		value[--len] = '\0';
}

enum aic_code
aic_value_key(const char *name, char *value, enum aic_value_keys whose,
    struct aic_err *err)
{
	trim(value);
	return check_visible(name, value, whose, err);
}

enum aic_code
aic_value_url(const char *name, char *value, struct aic_err *err)
{
	size_t len = strlen(value);
	const char *rest;
	enum aic_code rc;

	if (strncmp(value, "https://", 8) == 0)
		rest = value + 8;
	else if (strncmp(value, "http://", 7) == 0)
		rest = value + 7;
	else
		return aic_fail(err, AIC_ECONF,
		    "%s must start with https:// or http://", name);
	rc = check_visible(name, value, AIC_VALUE_KEY_SENT, err);
	if (rc)
		return rc;
	if (*rest == '\0' || *rest == '/' || strpbrk(rest, "?#"))
		return aic_fail(err, AIC_ECONF,
		    "%s is not the URL of an API: scheme, host and path only",
		    name);
	while (len > 0 && value[len - 1] == '/')
		value[--len] = '\0';
	return AIC_OK;
}

enum aic_code
aic_value_base_url(const char *name, char *value, struct aic_err *err)
{
	enum aic_code rc = aic_value_url(name, value, err);
	size_t len = strlen(value), n = strlen(COMPLETIONS);

	if (rc)
		return rc;
	if (len > n && strcasecmp(value + len - n, COMPLETIONS) == 0)
		return aic_fail(err, AIC_ECONF,
		    "%s must not end in \"" COMPLETIONS
		    "\", which the worker appends: write the URL without it, "
		    "such as https://api.openai.com/v1",
		    name);
	return AIC_OK;
}
