#include "config.h"

#include "lib/value.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit.h"

/* A secret that no message may quote. */
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

/* The value is accepted and then has this form. */
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

/*
 * The value is refused with a message that names the setting, contains this
 * text and quotes nothing.
 */
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
	assert_non_null(strstr(err.detail, "NAME "));
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
a_key_with_an_invisible_character_is_refused(void **state)
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
	is_refused(key, "a b", "a space or tab, at byte 2");
	is_refused(key, "a\tb", "a space or tab");
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
	is_refused(aic_value_url, "https://h/v1 ", "a space or tab");
	is_refused(aic_value_url, "https://h/\xe2\x80\x8bv1", "(U+200B)");
}

static void
a_base_url_with_the_whole_path_is_refused(void **state)
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
		    "a valid URL is https://");
	}
	is_taken(aic_value_url, "https://h/v1/chat/completions",
	    "https://h/v1/chat/completions");
	is_taken(aic_value_base_url, "https://h/chat/completions/v1",
	    "https://h/chat/completions/v1");
}

/* --- proxies ------------------------------------------------------------ */

static void
a_proxy_is_a_scheme_a_user_a_host_and_a_port(void **state)
{
	static const char *const good[] = { "http://p", "http://p:3128",
		"https://p.example:443", "socks5://127.0.0.1:1080",
		"socks5h://p:65535", "http://[::1]:1", "http://[::1]",
		"http://u@p:1", "http://u:@p:1", "http://u:p@p:1",
		"socks5h://user:a:b%40c%25!$&'()*+,;=~@p_1.x-y:1" };
	char url[100];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		is_taken(aic_value_proxy, good[i], good[i]);
		snprintf(url, sizeof(url), "%s/", good[i]);
		is_taken(aic_value_proxy, url, good[i]);
	}
}

static void
an_invalid_proxy_is_refused(void **state)
{
	static const struct {
		const char *url, *says;
	} rows[] = {
		{ CANARY, "must start with" },
		{ "p:3128", "must start with" },
		{ "ftp://u:" CANARY "@p", "must start with" },
		{ "socks4://p:1", "must start with" },
		{ "socks://p:1", "must start with" },
		{ "HTTP://p:1", "must start with" },
		{ " http://p:1", "must start with" },
		{ "http:///p", "after the port" },
		{ "http://", "names no host" },
		{ "http:///", "names no host" },
		{ "http://:3128", "names no host" },
		{ "http://u:" CANARY "@", "names no host" },
		{ "http://u:" CANARY "@:1", "names no host" },
		{ "http://@p:1", "names no user" },
		{ "http://:" CANARY "@p:1", "names no user" },
		{ "http://u:" CANARY "@x@p:1", "%40" },
		{ "http://u:" CANARY "%@p:1", "%25" },
		{ "http://u:" CANARY "%4@p:1", "%25" },
		{ "http://u:" CANARY "%zz@p:1", "%25" },
		{ "http://u:" CANARY "%00@p:1", "control character" },
		{ "http://u:" CANARY "%0a@p:1", "control character" },
		{ "http://u:" CANARY "%7F@p:1", "control character" },
		{ "http://u:" CANARY "/x@p:1", "%2F" },
		{ "http://u:" CANARY "#x@p:1", "%2F" },
		{ "http://p:1/x", "after the port" },
		{ "http://p:1//", "after the port" },
		{ "http://p:1?" CANARY, "after the port" },
		{ "http://p:1#x", "after the port" },
		{ "http://p:0", "1 to 65535" },
		{ "http://p:65536", "1 to 65535" },
		{ "http://p:", "1 to 65535" },
		{ "http://p:-1", "1 to 65535" },
		{ "http://p:+1", "1 to 65535" },
		{ "http://p:80x", "1 to 65535" },
		{ "http://p:99999999999999999999", "1 to 65535" },
		{ "http://p:1:2", "1 to 65535" },
		{ "http://::1:80", "names no host" },
		{ "http://[::1", "IPv6" },
		{ "http://[p]:1", "IPv6" },
		{ "http://[]:1", "IPv6" },
		{ "http://[::1]x", "not scheme, host and port" },
		{ "http://p!:1", "not scheme, host and port" },
		{ "http://u:" CANARY "@p:1\r", "a carriage return" },
		{ "http://u:" CANARY "@p :1", "a space or tab" },
		{ "http://u:" CANARY "\xd0\xba@p:1", "not ASCII" },
		{ "direct", "must start with" },
	};
	char url[600], password[257];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		is_refused(aic_value_proxy, rows[i].url, rows[i].says);
	memset(password, 'x', sizeof(password) - 1);
	password[256] = '\0';
	snprintf(url, sizeof(url), "http://u:%s@p", password);
	is_refused(aic_value_proxy, url, "255");
	snprintf(url, sizeof(url), "http://u:%%41%s@p", password + 2);
	is_taken(aic_value_proxy, url, url);
}

/* --- certificates ------------------------------------------------------- */

#define CERTIFICATE                                                            \
	"-----BEGIN CERTIFICATE-----\n"                                        \
	"MIIBjzCCATWgAwIBAgIUIxtZutWJDUNL3AVffRDWOpmh7jIwCgYIKoZIzj0EAwIw\n"   \
	"HDEaMBgGA1UEAwwRQUkgQ2hhdCB0ZXN0IHJvb3QwIBcNMjYxMTI3MTMzMTU3WhgP\n"   \
	"MjEyNjExMDMxMzMxNTdaMBwxGjAYBgNVBAMMEUFJIENoYXQgdGVzdCByb290MFkw\n"   \
	"EwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEUdMM/c7M+zRLP+3cGQtCpDPJW9lJNy9J\n"   \
	"BFuEPvdg/pTdwOhVpCuuTAVEDbKVY84rex3utBmpBiwVWHQupkuhjKNTMFEwHQYD\n"   \
	"VR0OBBYEFGiSPzAMbm48ldl3vWLOBmXGQzUnMB8GA1UdIwQYMBaAFGiSPzAMbm48\n"   \
	"ldl3vWLOBmXGQzUnMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIg\n"   \
	"IYbUnojTxbsvwxneLxP0z9rRwA54FVgJMF4h2PpHCAECIQDhuhqwcInXlznFNoSF\n"   \
	"yXIW9wVrr20IaW1lJ+6OoPsqDA==\n"                                       \
	"-----END CERTIFICATE-----\n"

static char path[] = "/tmp/ai-chat-unit-value-XXXXXX";

static enum aic_code
ca(const char *name, char *value, struct aic_err *e)
{
	return aic_value_ca(name, value, e);
}

static void
put_file(const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void
a_file_with_a_certificate_is_accepted(void **state)
{
	(void)state;
	put_file(CERTIFICATE);
	is_taken(ca, path, path);
	put_file("The root of a test\n" CERTIFICATE "\n# two\n" CERTIFICATE);
	is_taken(ca, path, path);
}

static void
a_file_without_a_whole_certificate_is_refused(void **state)
{
	static const char cut[] = CERTIFICATE CERTIFICATE;
	static char large[1100000];
	char text[sizeof(cut)];

	(void)state;
	put_file("");
	is_refused(ca, path, "no certificate");
	put_file("not a certificate\n");
	is_refused(ca, path, "no certificate");
	put_file("-----BEGIN PRIVATE KEY-----\nAAAA\n"
		 "-----END PRIVATE KEY-----\n");
	is_refused(ca, path, "no certificate");
	put_file("-----BEGIN CERTIFICATE-----\nAAAA\n"
		 "-----END CERTIFICATE-----\n");
	is_refused(ca, path, "cannot be read");
	snprintf(text, sizeof(text), "%.*s", (int)(sizeof(cut) - 60), cut);
	put_file(text);
	is_refused(ca, path, "cannot be read");
	memset(large, 'x', sizeof(large) - 1);
	put_file(large);
	is_refused(ca, path, "longer than");
}

static void
a_path_that_is_not_a_file_is_refused(void **state)
{
	(void)state;
	is_refused(ca, "/nowhere/ca.pem", "No such file");
	is_refused(ca, "/", "not a regular file");
	is_refused(ca, "/dev/zero", "not a regular file");
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	is_refused(ca, path, "not a regular file");
	unlink(path);
}

static int
make_path(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	if (fd < 0)
		return -1;
	close(fd);
	return 0;
}

static int
remove_path(void **state)
{
	(void)state;
	unlink(path);
	return 0;
}

UNIT_MAIN_WITH(make_path, remove_path, T(blanks_around_a_key_are_removed),
    T(a_key_with_an_invisible_character_is_refused),
    T(a_url_is_a_scheme_a_host_and_a_path),
    T(a_base_url_with_the_whole_path_is_refused),
    T(a_proxy_is_a_scheme_a_user_a_host_and_a_port),
    T(an_invalid_proxy_is_refused), T(a_file_with_a_certificate_is_accepted),
    T(a_file_without_a_whole_certificate_is_refused),
    T(a_path_that_is_not_a_file_is_refused))
