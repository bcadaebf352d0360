#include "config.h"

#include "lib/param.h"

#include <ctype.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

static const struct {
	const char *name;
	enum aic_param bit;
} names[] = {
	{ "max_tokens", AIC_PARAM_MAX_TOKENS },
	{ "max_completion_tokens", AIC_PARAM_MAX_COMPLETION_TOKENS },
	{ "temperature", AIC_PARAM_TEMPERATURE },
};
#define NAMES (sizeof(names) / sizeof(names[0]))

/*
 * Error codes that refuse the parameter in `param', whatever the message says.
 */
static const char *const codes[] = { "unsupported_parameter",
	"unknown_parameter", "extra_forbidden", NULL };

/* Phrases for a parameter that the model does not have. */
static const char *const unknown[] = { "unsupported parameter",
	"unsupported argument", "unsupported param", "argument not supported",
	"unrecognized", "unrecognised", "unknown parameter", "unknown field",
	"unknown name", "unknown argument", "unexpected keyword",
	"unexpected parameter", "unexpected field", "extra input",
	"extra field", "extraneous", "deprecated", "cannot find field", NULL };

/* Phrases that can refer to the parameter or to its value. */
static const char *const refused[] = { "unsupported", "not support",
	"n't support", "no longer support", "not permitted", "not allowed",
	"not accept", "n't accept", "not compatible", "incompatible",
	"not available", "not a valid", "not recogni", "only the default",
	"only be set to", NULL };

/* Phrases for a value that is too large or too small. */
static const char *const sizes[] = { "too large", "too high", "too big",
	"too long", "too small", "too low", "at most", "at least", "maximum",
	"minimum", "exceed", "between", "range", "less than", "greater than",
	"up to", "smaller", "larger", "higher", "lower", "context length",
	"context window", "<=", ">=", NULL };

static bool
has_phrase(const char *s, size_t n, const char *word)
{
	size_t len = strlen(word), i;

	for (i = 0; i + len <= n; i++)
		if (strncasecmp(s + i, word, len) == 0)
			return true;
	return false;
}

static bool
has_any_phrase(const char *s, size_t n, const char *const *words)
{
	for (; *words; words++)
		if (has_phrase(s, n, *words))
			return true;
	return false;
}

static bool
in_name(char c)
{
	return c == '_' || isalnum((unsigned char)c);
}

/* The parameters that the text names, as whole words. */
static unsigned
find_named(const char *s, size_t n)
{
	unsigned set = 0;
	size_t i, j, len;

	for (i = 0; i < NAMES; i++) {
		len = strlen(names[i].name);
		for (j = 0; j + len <= n; j++)
			if (strncasecmp(s + j, names[i].name, len) == 0 &&
			    (j == 0 || !in_name(s[j - 1])) &&
			    (j + len == n || !in_name(s[j + len])))
				set |= names[i].bit;
	}
	return set;
}

/*
 * True for a phrase such as "only 1 is allowed for this model", with any
 * number.
 */
static bool
allows_one(const char *s, size_t n)
{
	static const char only[] = "only ";
	size_t i;

	for (i = 0; i + sizeof(only) < n; i++) {
		if (strncasecmp(s + i, only, sizeof(only) - 1) != 0)
			continue;
		i += sizeof(only) - 1;
		while (i < n && (isdigit((unsigned char)s[i]) || s[i] == '.'))
			i++;
		if (has_phrase(s + i, n - i < 12 ? n - i : 12, " is allowed"))
			return true;
	}
	return false;
}

/*
 * The length of a sentence, which ends at a stop with a blank after it: "0.7"
 * also has a stop.
 */
static size_t
scan_sentence(const char *s)
{
	size_t n;

	for (n = 0; s[n]; n++)
		if ((s[n] == '.' || s[n] == '!') &&
		    (s[n + 1] == ' ' || s[n + 1] == '\n' || !s[n + 1]))
			return n + 1;
	return n;
}

/*
 * The name and the refusing phrase must be in one sentence, because a server
 * can describe the whole request beside an error about something else. A phrase
 * about a size can be in any sentence: "does not support 100000. The maximum is
 * 4096."
 */
static unsigned
refused_by(const char *message, unsigned about)
{
	bool size = has_any_phrase(message, strlen(message), sizes), refuses;
	unsigned set = 0, here;
	const char *s;
	size_t n;

	for (s = message; *s; s += n) {
		n = scan_sentence(s);
		/*
		 * If `param' is set, the message need not name the parameter.
		 */
		here = about ? about : find_named(s, n);
		if (!here)
			continue;
		refuses = has_any_phrase(s, n, unknown) ||
		    (!size &&
			(has_any_phrase(s, n, refused) || allows_one(s, n)));
		if (refuses)
			set |= here;
	}
	return set;
}

unsigned
aic_param_refused(const char *code, const char *param, const char *message)
{
	unsigned about = find_named(param, strlen(param));
	const char *const *c;

	if (*param && !about)
		return 0; /* the error is about another parameter */
	for (c = codes; about && *c; c++)
		if (strcmp(code, *c) == 0)
			return about;
	/*
	 * The error is about a value, and its message does not mention the size
	 * of the value.
	 */
	if (about && strcmp(code, "unsupported_value") == 0 &&
	    !has_any_phrase(message, strlen(message), sizes))
		return about;
	return refused_by(message, about);
}
