#include "config.h"

#include "lib/value.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/file.h"
#include "lib/hex.h"
#include "lib/utf8.h"

/* The path that the worker appends to a base URL. */
#define COMPLETIONS "/chat/completions"

/* The longest identifier of PostgreSQL, which cuts longer ones. */
#define SCHEMA_MAX 63

/* For comparison: Debian's bundle of all trusted roots has 220 KiB. */
#define CA_FILE_MAX (1024 * 1024)

/* SOCKS5 encodes a length in one byte. */
#define USER_MAX 255

/* Characters that no editor shows. */
static bool
is_invisible(uint32_t cp)
{
	static const struct {
		uint32_t from, to;
	} rows[] = {
		{ 0x80, 0xa0 }, /* C1 controls, no-break space */
		{ 0xad, 0xad }, /* soft hyphen */
		{ 0x2000, 0x200f }, /* spaces, zero width, direction marks */
		{ 0x2028, 0x202f }, { 0x205f, 0x206f }, { 0x3000, 0x3000 },
		{ 0xfeff, 0xfeff }, /* byte order mark */
	};
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (cp >= rows[i].from && cp <= rows[i].to)
			return true;
	return false;
}

/*
 * Describes the character at s, which is not visible ASCII. A visible character
 * can be part of the secret, so the message does not contain its code point.
 */
static void
describe_char(const char *s, char *to, size_t size)
{
	unsigned char c = (unsigned char)*s;
	uint32_t cp;

	if (c == '\r')
		snprintf(to, size, "a carriage return (a Windows line ending)");
	else if (c == '\n')
		snprintf(to, size, "a line break");
	else if (c == ' ' || c == '\t')
		snprintf(to, size, "a space or tab");
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
	/*
	 * aic_utf8_next() returns 0 inside a character whose first byte was
	 * found visible.
	 */
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
	describe_char(s, what, sizeof(what));
	return aic_fail(err, AIC_ECONF, "%s contains %s, at byte %zu", name,
	    what, (size_t)(s - value) + 1);
}

static void
trim_blanks(char *value)
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
	trim_blanks(value);
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
		    "\", because the worker appends it; a valid URL is "
		    "https://api.openai.com/v1",
		    name);
	return AIC_OK;
}

/* --- proxies ------------------------------------------------------------ */

/* Checks a user name or a password of n bytes; NULL: valid, else the error. */
static const char *
find_fault(const char *s, size_t n)
{
	size_t i, len = 0;
	int byte;

	for (i = 0; i < n; i++, len++) {
		if (s[i] != '%')
			continue;
		byte = i + 2 < n ? aic_hex_byte(s + i + 1) : -1;
		if (byte < 0)
			return "has a % in its user or password, which must be "
			       "written %25";
		if (byte < 0x20 || byte == 0x7f)
			return "has a control character in its user or "
			       "password";
		i += 2;
	}
	return len > USER_MAX ? "has a user or password of over 255 bytes"
			      : NULL;
}

static const char *
check_user(const char *s, size_t n)
{
	const char *colon = memchr(s, ':', n), *why;
	size_t user = colon ? (size_t)(colon - s) : n;

	if (user == 0)
		return "names no user before its @";
	why = find_fault(s, user);
	if (!why && colon)
		why = find_fault(colon + 1, n - user - 1);
	return why;
}

static const char *
check_port(const char *s)
{
	size_t n = strspn(s, "0123456789");
	long port = n > 0 && n <= 5 ? strtol(s, NULL, 10) : 0;

	return s[n] || port < 1 || port > 65535
	    ? "has a port that is not a number from 1 to 65535"
	    : NULL;
}

static const char *
check_host(const char *s)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789.-_";
	char address[INET6_ADDRSTRLEN];
	struct in6_addr in6;
	size_t n;

	if (*s == '[') {
		n = strcspn(s + 1, "]");
		snprintf(address, sizeof(address), "%.*s",
		    n < sizeof(address) ? (int)n : 0, s + 1);
		if (s[n + 1] != ']' || inet_pton(AF_INET6, address, &in6) != 1)
			return "has brackets around what is not an IPv6 "
			       "address";
		s += n + 2;
	} else {
		n = strspn(s, letters);
		if (n == 0)
			return "names no host";
		s += n;
	}
	if (*s == ':')
		return check_port(s + 1);
	return *s ? "is not scheme, host and port" : NULL;
}

enum aic_code
aic_value_proxy(const char *name, char *value, struct aic_err *err)
{
	static const char *const schemes[] = { "http://", "https://",
		"socks5h://", "socks5://" };
	size_t i, n = sizeof(schemes) / sizeof(schemes[0]), len;
	const char *rest = NULL, *at, *why = NULL;
	enum aic_code rc;

	for (i = 0; i < n && !rest; i++)
		if (strncmp(value, schemes[i], strlen(schemes[i])) == 0)
			rest = value + strlen(schemes[i]);
	if (!rest)
		return aic_fail(err, AIC_ECONF,
		    "%s must start with http://, https://, socks5h:// or "
		    "socks5://",
		    name);
	rc = check_visible(name, value, AIC_VALUE_KEY_SENT, err);
	if (rc)
		return rc;
	len = strlen(value);
	if (value + len > rest && value[len - 1] == '/')
		value[len - 1] = '\0';
	if (strpbrk(rest, "/?#\\"))
		return aic_fail(err, AIC_ECONF,
		    "%s has a path, query or fragment after the port, or a /, "
		    "? or # in its user or password, which must be written "
		    "%%2F, %%3F or %%23",
		    name);
	at = strchr(rest, '@');
	if (at && strchr(at + 1, '@'))
		why = "has a @ in its user or password, which must be written "
		      "%40";
	else if (at)
		why = check_user(rest, (size_t)(at - rest));
	if (!why)
		why = check_host(at ? at + 1 : rest);
	return why ? aic_fail(err, AIC_ECONF, "%s %s", name, why) : AIC_OK;
}

/* --- certificates ------------------------------------------------------- */

/* The number of certificates; -1: one of them cannot be read. */
static int
count_certificates(BIO *bio)
{
	unsigned long why;
	X509 *cert;
	int n = 0;

	for (;;) {
		cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
		if (!cert)
			break;
		X509_free(cert);
		n++;
	}
	/* OpenSSL reports the end of the file as an error, too. */
	why = ERR_peek_last_error();
	ERR_clear_error();
	return ERR_GET_LIB(why) == ERR_LIB_PEM &&
		ERR_GET_REASON(why) == PEM_R_NO_START_LINE
	    ? n
	    : -1;
}

enum aic_code
aic_value_ca(const char *name, const char *path, struct aic_err *err)
{
	char *text = NULL;
	size_t len = 0;
	enum aic_code rc;
	BIO *bio;
	int n;

	rc = aic_file_read(name, path, CA_FILE_MAX, &text, &len, err);
	if (rc)
		return rc;
	bio = BIO_new_mem_buf(text, (int)len);
	if (!bio) {
		free(text);
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	}
	n = count_certificates(bio);
	BIO_free(bio);
	free(text);
	if (n == 0)
		return aic_fail(err, AIC_ECONF,
		    "%s \"%s\" has no certificate in PEM", name, path);
	if (n < 0)
		return aic_fail(err, AIC_ECONF,
		    "%s \"%s\" has a certificate that cannot be read", name,
		    path);
	return AIC_OK;
}

enum aic_code
aic_value_schema(const char *name, const char *value, struct aic_err *err)
{
	size_t len = strlen(value);

	if (len < 1 || len > SCHEMA_MAX || isdigit((unsigned char)*value) ||
	    strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789_") != len ||
	    strncmp(value, "pg_", 3) == 0)
		return aic_fail(err, AIC_ECONF,
		    "%s must be a schema name of lower-case letters, digits "
		    "and underscores that does not start with \"pg_\"",
		    name);
	return AIC_OK;
}

/* --- the site of Nginx --------------------------------------------------- */

enum aic_code
aic_value_addresses(const char *name, char *value, struct aic_err *err)
{
	unsigned char address[sizeof(struct in6_addr)];
	char *from = value, *to = value, one[64];
	size_t n, len;
	int count = 0;

	for (;; from += n + 1) {
		n = strcspn(from, ",");
		snprintf(one, sizeof(one), "%.*s",
		    n < sizeof(one) ? (int)n : (int)sizeof(one), from);
		trim_blanks(one);
		if (inet_pton(AF_INET, one, address) != 1 &&
		    inet_pton(AF_INET6, one, address) != 1)
			return aic_fail(err, AIC_ECONF,
			    "%s must be IPv4 or IPv6 addresses without a port, "
			    "separated by commas, such as 127.0.0.1, and not "
			    "\"%.40s\"",
			    name, one);
		if (++count > AIC_VALUE_ADDRESSES_MAX)
			return aic_fail(err, AIC_ECONF,
			    "%s has more than %d addresses", name,
			    AIC_VALUE_ADDRESSES_MAX);
		/* The copy is not longer than the text that it replaces. */
		len = strlen(one);
		memcpy(to, one, len);
		to += len;
		if (from[n] == '\0')
			break;
		*to++ = ',';
	}
	*to = '\0';
	return AIC_OK;
}

enum aic_code
aic_value_site_file(const char *name, const char *path, struct aic_err *err)
{
	const char *p;

	if (*path != '/')
		return aic_fail(err, AIC_ECONF,
		    "%s must be an absolute path, such as "
		    "/etc/ai-chat/tls/fullchain.pem",
		    name);
	for (p = path; *p; p++)
		if (*p <= 0x20 || *p >= 0x7f || strchr("\"'\\;{}$#", *p))
			return aic_fail(err, AIC_ECONF,
			    "%s must be a path of visible ASCII characters "
			    "without quotes and without any of \\ ; { } $ #",
			    name);
	return AIC_OK;
}
