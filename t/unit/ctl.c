#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/ctl/env.h"
#include "app/ctl/nginx.h"
#include "unit.h"

/* --- a file of settings ------------------------------------------------- */

static void
has(const char *text, const char *name, const char *want)
{
	struct ctl_env env = { .n = 0 };
	const char *got;

	assert_true(ctl_env_parse(&env, "/e", text));
	got = ctl_env_get(&env, name);
	if (want) {
		assert_non_null(got);
		assert_string_equal(got, want);
	} else {
		assert_null(got);
	}
	ctl_env_done(&env);
}

static void
settings_are_read_as_systemd_reads_them(void **state)
{
	(void)state;
	has("A=1\nB=2\n", "B", "2");
	has("A=1", "A", "1");
	has("A=", "A", "");
	has("", "A", NULL);
	has("  A = 1 2 \t\r\n", "A", "1 2");
	has("A=a=b#c\n", "A", "a=b#c");
	has("#A=1\n;A=2\n", "A", NULL);
	has("A='x y' \n", "A", "x y");
	has("A='x\\y\"$z`'\n", "A", "x\\y\"$z`");
	has("A=\"x\\\"y\\\\z\\$\\`\\n\"\n", "A", "x\"y\\z$`\\n");
	has("A=\"x\ny\"\nB=1\n", "A", "x\ny");
	has("A=\"x\ny\"\nB=1\n", "B", "1");
	has("A=\"x\"'y'z\n", "A", "xyz");
	has("A=it's \"so\"\n", "A", "it's \"so\"");
	has("A=x\\ \\y\\\nz\n", "A", "x yz");
	has("A=x\\  \n", "A", "x ");
	has("A=$B`id`$(id)\n", "A", "$B`id`$(id)");
	has("A=\"open", "A", "open");
	has("A=open\\", "A", "open\\");
}

static void
the_last_of_two_equal_names_counts(void **state)
{
	(void)state;
	has("A=1\nAB=3\nA=2\n", "A", "2");
	has("A=1\nAB=3\nA=2\n", "AB", "3");
}

static void
lines_that_are_no_settings_are_ignored(void **state)
{
	(void)state;
	has("export A=1\n", "A", NULL);
	has("A B=1\n", "A", NULL);
	has("A\nB=1\n", "A", NULL);
	has("A\nB=1\n", "B", "1");
	has("1A=1\nB=2\n", "1A", NULL);
	has("=1\nB=2\n", "B", "2");
}

static void
is_ignored(const char *text, const char *want)
{
	struct ctl_env env = { .n = 0 };

	assert_true(ctl_env_parse(&env, "/e", text));
	assert_string_equal(env.ignored, want);
	ctl_env_done(&env);
}

#define EXPORT(name, line)                                                     \
	name " has no effect, because systemd ignores a line that begins "     \
	     "with \"export\": remove this word from line " line " of /e"
#define NO_PAIR(line)                                                          \
	"line " line " of /e has no effect, because it is not NAME=value"

static void
the_first_ignored_line_is_reported_without_its_value(void **state)
{
	(void)state;
	is_ignored("", "");
	is_ignored("# export A=1\n;x\n\n  \nA=1\nB = \"a\nexport b\"\n", "");
	is_ignored("A=1\n\nexport B_1=secret\nexport C=2\n",
	    EXPORT("B_1", "3"));
	is_ignored("A=\"1\n2\"\n  export \t B='secret'\n", EXPORT("B", "3"));
	is_ignored("A secret\n", NO_PAIR("1"));
	is_ignored("A: secret\n", NO_PAIR("1"));
	is_ignored("export\n", NO_PAIR("1"));
	is_ignored("exported secret=1\n", NO_PAIR("1"));
	is_ignored("\xef\xbb\xbf"
		   "A=1\nB=2\n",
	    NO_PAIR("1"));
}

/* --- Nginx's configuration ---------------------------------------------- */

#define MAIN "# configuration file /etc/nginx/nginx.conf:\n"

static enum aic_code
read_dump(const char *dump, struct ctl_nginx_site *site)
{
	struct aic_err err = AIC_ERR_INIT;
	char *copy = strdup(dump);
	enum aic_code rc;

	rc = ctl_nginx_read(site, copy, "/etc/nginx/up.conf", &err);
	free(copy);
	return rc;
}

static void
is_site(const char *dump, int places, int read_ms, int body)
{
	struct ctl_nginx_site site;

	assert_int_equal(read_dump(dump, &site), AIC_OK);
	assert_int_equal(site.places, places);
	if (places == 0)
		return;
	assert_int_equal(site.read_ms, read_ms);
	assert_int_equal(site.body_min, body);
}

static void
the_directive_that_applies_is_found_in_any_block(void **state)
{
	(void)state;
	/* The presets of Nginx, where no directive stands. */
	is_site(MAIN "http { server { location / { fastcgi_pass ai_chat; } } }",
	    1, 60000, 1048576);
	/* In an outer block and after it; the nearest directive counts. */
	is_site(MAIN "http { fastcgi_read_timeout 5s; server { location / "
		     "{ fastcgi_pass ai_chat; } fastcgi_read_timeout 65; "
		     "client_max_body_size 256k; } }",
	    1, 65000, 262144);
	is_site(MAIN "http { server { fastcgi_read_timeout 65s; location / "
		     "{ fastcgi_read_timeout \"1m 5s 20ms\"; "
		     "fastcgi_pass ai_chat; } } }",
	    1, 65020, 1048576);
	/*
	 * The smallest value of two places; a third place is another service's.
	 */
	is_site(MAIN
	    "http { server { location /a { fastcgi_read_timeout 2m;"
	    " fastcgi_pass ai_chat; } location /b { fastcgi_read_timeout 90s;"
	    " fastcgi_pass ai_chat; } location ~ \"\\.php{1}$\" {"
	    " fastcgi_read_timeout 1s; fastcgi_pass php; } } }",
	    2, 90000, 1048576);
	is_site(MAIN "http { server { location / { proxy_pass http://x; } } }",
	    0, 0, 0);
}

static void
words_in_quotes_and_comments_are_not_directives(void **state)
{
	(void)state;
	is_site(MAIN
	    "# } fastcgi_pass ai_chat;\nhttp { # }\n"
	    "map $status $x { 400 \"} ; {\"; default '\\'}'; }\n"
	    "log_format x '$a' \"{\\\"b\\\"}\";\n"
	    "server { set $a ${b}c; if ($a ~ x\\;) { return 200 '{}'; }"
	    " location / { fastcgi_param A \"\"; fastcgi_pass ai_chat; } "
	    "} }",
	    1, 60000, 1048576);
}

static void
included_files_count_where_they_are_included(void **state)
{
	struct ctl_nginx_site site;

	(void)state;
	assert_int_equal(
	    read_dump(
		"nginx: configuration file test is successful\n" MAIN
		"http { include conf.d/*.conf; include /etc/nginx/up.conf; }\n"
		"\n# configuration file /etc/nginx/conf.d/a.conf:\n"
		"server { include /etc/nginx/common; location / {"
		" fastcgi_pass ai_chat; } }\n"
		"# configuration file /etc/nginx/conf.d/b.conf:\n"
		"server { include common; location / { proxy_pass x; } }\n"
		"# configuration file /etc/nginx/common:\n"
		"fastcgi_read_timeout 7s;\n"
		"# configuration file /etc/nginx/up.conf:\n"
		"server unix:/x;\n",
		&site),
	    AIC_OK);
	assert_int_equal(site.places, 1);
	assert_int_equal(site.read_ms, 7000);
	assert_int_equal(site.send_ms, 60000);
	assert_true(site.listed);
}

static void
the_listeners_of_callers_are_found(void **state)
{
	struct ctl_nginx_site site;

	(void)state;
	assert_int_equal(
	    read_dump(MAIN
		"http { server { listen 80; location / { return 301 x; } }\n"
		"server { listen 127.0.0.1:9001 backlog=4096; listen\n"
		"[::]:443 ssl http2 reuseport proxy_protocol;"
		" listen 443 quic; server_name _ *.x.org ~^a$ chat.x.org b;"
		" location / { if ($a = b) { return 404; }"
		" fastcgi_pass ai_chat; }"
		" location /v1/ { fastcgi_pass ai_chat; } }\n"
		"server { listen 9002; location = /metrics"
		" { fastcgi_pass ai_chat; } }\n"
		"server { location / { fastcgi_pass ai_chat; } } }",
		&site),
	    AIC_OK);
	assert_int_equal(site.n_listens, 3);
	assert_string_equal(site.listen[0].address, "127.0.0.1:9001");
	assert_false(site.listen[0].tls);
	assert_false(site.listen[0].proxied);
	assert_string_equal(site.listen[1].address, "[::]:443");
	assert_true(site.listen[1].tls);
	assert_true(site.listen[1].proxied);
	/* Nginx's own, where no directive stands. */
	assert_string_equal(site.listen[2].address, "*:80");
	assert_string_equal(site.name, "chat.x.org");
}

static void
a_text_that_is_no_configuration_is_refused(void **state)
{
	static const char *const dumps[] = { "", "nonsense", MAIN "http {",
		MAIN "http { } }", MAIN "}", "# configuration file x", NULL };
	struct ctl_nginx_site site;
	int i;

	(void)state;
	for (i = 0; dumps[i]; i++)
		assert_int_equal(read_dump(dumps[i], &site), AIC_ECONF);
	/* A file that includes itself has an end. */
	assert_int_equal(read_dump(MAIN "include nginx.conf;", &site), AIC_OK);
}

UNIT_MAIN(T(settings_are_read_as_systemd_reads_them),
    T(the_last_of_two_equal_names_counts),
    T(lines_that_are_no_settings_are_ignored),
    T(the_first_ignored_line_is_reported_without_its_value),
    T(the_directive_that_applies_is_found_in_any_block),
    T(words_in_quotes_and_comments_are_not_directives),
    T(included_files_count_where_they_are_included),
    T(the_listeners_of_callers_are_found),
    T(a_text_that_is_no_configuration_is_refused))
