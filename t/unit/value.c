#include "config.h"

#include "value.h"

#include <stdio.h>
#include <string.h>

#include "unit.h"

/* What no message may quote. */
#define CANARY "sEcReT-cAnArY"

static struct aic_err err;

static enum aic_code
key(const char *name, char *value, struct aic_err *e)
{
	return aic_value_key(name, value, AIC_VALUE_KEY_SENT, e);
}

static enum aic_code
keys(const char *name, char *value, struct aic_err *e)
{
	return aic_value_key(name, value, AIC_VALUE_KEY_TAKEN, e);
}

/* Taken, and then it reads so. */
static void
is_taken(enum aic_code (*check)(const char *, char *, struct aic_err *),
    const char *value, const char *want)
{
	char copy[1000];

	snprintf(copy, sizeof(copy), "%s", value);
	err = (struct aic_err)AIC_ERR_INIT;
	if (check("NAME", copy, &err) != AIC_OK)
		fail_msg("%s: %s", value, err.detail);
	assert_string_equal(copy, want);
}

/* Refused, with a message that names the setting, says this, and quotes nothing. */
static void
is_refused(enum aic_code (*check)(const char *, char *, struct aic_err *),
    const char *value, const char *says)
{
	char copy[1000];

	snprintf(copy, sizeof(copy), "%s", value);
	err = (struct aic_err)AIC_ERR_INIT;
	if (check("NAME", copy, &err) != AIC_ECONF)
		fail_msg("taken: %s", value);
	assert_int_equal(err.code, AIC_ECONF);
	assert_int_equal(strncmp(err.detail, "NAME ", 5), 0);
	assert_null(strstr(err.detail, CANARY));
	assert_null(strpbrk(err.detail, "\r\n"));
	if (!strstr(err.detail, says))
		fail_msg("\"%s\" does not say \"%s\"", err.detail, says);
}

static void
blanks_around_a_key_are_removed(void **state)
{
	(void)state;
	is_taken(key, "sk-x", "sk-x");
	is_taken(key, " sk-x", "sk-x");
	is_taken(key, "sk-x \t ", "sk-x");
	is_taken(key, "\t sk-~!\"{}| ", "sk-~!\"{}|");
	is_taken(key, "  ", "");
	is_taken(key, "", "");
	is_taken(keys, " a b , c ", "a b , c");
	is_taken(keys, " \xd0\xba\xd0\xbb\xff", "\xd0\xba\xd0\xbb\xff");
}

static void
a_key_with_what_cannot_be_seen_is_refused(void **state)
{
	static const struct {
		const char *value, *says;
	} rows[] = {
		{ CANARY "\r", "a carriage return" },
		{ CANARY "\n", "a line break, at byte 14" },
		{ CANARY "\001", "a control character (0x01)" },
		{ CANARY "\x7f", "a control character (0x7f)" },
		{ "\xef\xbb\xbf" CANARY, "(U+FEFF), at byte 1" },
		{ "\xe2\x80\x8b" CANARY, "(U+200B)" },
		{ CANARY "\xe2\x80\x8d", "(U+200D)" },
		{ CANARY "\xe2\x81\xa0", "(U+2060)" },
		{ CANARY "\xc2\xa0", "(U+00A0)" },
		{ CANARY "\xc2\xad", "(U+00AD)" },
		{ CANARY "\xe3\x80\x80", "(U+3000)" },
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		is_refused(key, rows[i].value, rows[i].says);
		is_refused(keys, rows[i].value, rows[i].says);
	}
	is_refused(key, CANARY "\xd0\xba", "a character that is not ASCII");
	is_refused(key, CANARY "\xff", "a character that is not ASCII");
	is_refused(key, CANARY "\xe2\x80", "a character that is not ASCII");
	is_refused(keys, "\xd0\xba\xe2\x80\x8b", "(U+200B), at byte 3");
	is_refused(key, "a b", "a blank, at byte 2");
	is_refused(key, "a\tb", "a blank");
}

static void
a_url_is_a_scheme_a_host_and_a_path(void **state)
{
	(void)state;
	is_taken(aic_value_url, "https://h", "https://h");
	is_taken(aic_value_url, "http://h:80/v1//", "http://h:80/v1");
	is_taken(aic_value_base_url, "https://u:p@h/v1/", "https://u:p@h/v1");
	is_refused(aic_value_url, "h/v1", "must start with");
	is_refused(aic_value_url, "https://", "not the URL");
	is_refused(aic_value_url, "https:///v1", "not the URL");
	is_refused(aic_value_url, "https://h?" CANARY, "not the URL");
	is_refused(aic_value_url, "https://h/v1\r", "a carriage return");
	is_refused(aic_value_url, "https://h/v1 ", "a blank");
	is_refused(aic_value_url, "https://h/\xe2\x80\x8bv1", "(U+200B)");
}

static void
a_base_url_is_not_the_whole_path(void **state)
{
	static const char *const bad[] = { "/v1/chat/completions",
		"/v1/chat/completions/", "/chat/completions//",
		"/v1/Chat/Completions" };
	char url[200];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(url, sizeof(url), "https://u:" CANARY "@h%s", bad[i]);
		is_refused(aic_value_base_url, url,
		    "write the URL without it, such as https://");
	}
	is_taken(aic_value_url, "https://h/v1/chat/completions",
	    "https://h/v1/chat/completions");
	is_taken(aic_value_base_url, "https://h/chat/completions/v1",
	    "https://h/chat/completions/v1");
}

UNIT_MAIN(T(blanks_around_a_key_are_removed),
    T(a_key_with_what_cannot_be_seen_is_refused),
    T(a_url_is_a_scheme_a_host_and_a_path), T(a_base_url_is_not_the_whole_path))
