#include "config.h"

#include "lib/conf.h"
#include "lib/format.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit.h"

#define ENV_MAX 128

/* A secret that no refusal may quote. */
#define CANARY "sEcReT-cAnArY"

static const char *const base[] = { "API_SECRET_KEY=" CANARY "-1",
	"DATABASE_URL=postgresql://u:" CANARY "-2@h/d",
	"OPENAI_API_KEY=" CANARY "-3", "PATH=/bin", "HOME=/" };

static char path[] = "/tmp/ai-chat-unit-conf-XXXXXX";

static bool
same_name(const char *a, const char *b)
{
	size_t n = strcspn(a, "=");

	return strcspn(b, "=") == n && strncmp(a, b, n) == 0;
}

/*
 * Loads the settings above and these, which come first; a name without "=" is
 * unset.
 */
static enum aic_code
load(struct aic_conf *conf, struct aic_err *err, const char *const *more)
{
	char *env[ENV_MAX];
	enum aic_code rc;
	size_t i;
	int n = 0, j, k;

	for (j = 0; more[j]; j++)
		if (strchr(more[j], '='))
			env[n++] = strdup(more[j]);
	for (i = 0; i < sizeof(base) / sizeof(base[0]); i++) {
		for (j = 0; more[j] && !same_name(more[j], base[i]); j++)
			;
		if (!more[j])
			env[n++] = strdup(base[i]);
	}
	env[n] = NULL;
	*err = (struct aic_err)AIC_ERR_INIT;
	rc = aic_conf_load(conf, env, err);
	for (k = 0; k < n; k++)
		free(env[k]);
	return rc;
}

#define LOAD(conf, err, ...)                                                   \
	load(conf, err, (const char *const[]){ __VA_ARGS__, NULL })

/* The setting is refused with a message that names it and quotes no secret. */
static void
refused_all(const char *name, const char *const *more)
{
	struct aic_conf conf;
	struct aic_err err;

	memset(&conf, 0x5a, sizeof(conf));
	if (load(&conf, &err, more) == AIC_OK)
		fail_msg("taken: %.60s", more[0]);
	assert_int_equal(err.code, AIC_ECONF);
	if (!strstr(err.detail, name))
		fail_msg("\"%s\" does not name %s", err.detail, name);
	if (strstr(err.detail, CANARY))
		fail_msg("\"%s\" tells a secret", err.detail);
	assert_null(strpbrk(err.detail, "\n"));
	assert_string_equal(err.says, "");
	assert_int_equal(*(unsigned char *)&conf, 0x5a);
}

#define REFUSED(name, ...)                                                     \
	refused_all(name, (const char *const[]){ __VA_ARGS__, NULL })

static void
refused_value(const char *name, const char *value)
{
	char pair[10000];

	snprintf(pair, sizeof(pair), "%s=%s", name, value);
	REFUSED(name, pair);
}

static struct aic_conf
taken(const char *name, const char *value)
{
	struct aic_conf conf;
	struct aic_err err;
	char pair[10000];

	snprintf(pair, sizeof(pair), "%s=%s", name, value);
	if (LOAD(&conf, &err, pair) != AIC_OK)
		fail_msg("%s: %s", pair, err.detail);
	return conf;
}

static void
put_file(const char *text, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), len);
	close(fd);
}

static void
a_setting_that_is_not_set_has_the_default_of_the_contract(void **state)
{
	struct aic_conf conf;
	struct aic_err err;

	(void)state;
	assert_int_equal(LOAD(&conf, &err, "X=1"), AIC_OK);
	assert_string_equal(conf.api_keys, CANARY "-1");
	assert_null(conf.api_admin_key);
	assert_string_equal(conf.database_url,
	    "postgresql://u:" CANARY "-2@h/d");
	assert_string_equal(conf.openai_api_key, CANARY "-3");
	assert_string_equal(conf.openai_base_url, "https://api.openai.com/v1");
	assert_string_equal(conf.openai_model, "gpt-4o-mini");
	assert_true(conf.openai_temperature > 0.6999 &&
	    conf.openai_temperature < 0.7001);
	assert_int_equal(conf.openai_max_tokens, 1000);
	assert_null(conf.openai_proxy);
	assert_null(conf.openai_ca_file);
	assert_null(conf.openai_headers_file);
	assert_null(conf.openai_extra_body_file);
	assert_int_equal(conf.openai_auth, AIC_PROVIDER_BEARER);
	assert_string_equal(conf.openai_auth_url, AIC_GIGACHAT_URL);
	assert_string_equal(conf.openai_auth_scope, AIC_GIGACHAT_SCOPE);
	assert_null(conf.fallback_headers_file);
	assert_null(conf.fallback_extra_body_file);
	assert_int_equal(conf.fallback_auth, AIC_PROVIDER_AUTH_UNSET);
	assert_null(conf.fallback_auth_url);
	assert_null(conf.fallback_auth_scope);
	assert_null(conf.fallback_proxy);
	assert_null(conf.fallback_ca_file);
	assert_null(conf.fallback_api_key);
	assert_null(conf.fallback_base_url);
	assert_null(conf.fallback_model);
	assert_int_equal(conf.breaker_failures, 20);
	assert_int_equal(conf.breaker_open_ms, 10000);
	assert_int_equal(conf.retry_floor, 10);
	assert_null(conf.server_host);
	assert_null(conf.server_api_key);
	assert_int_equal(conf.user_context_chars, 4000);
	assert_int_equal(conf.port, 9001);
	assert_int_equal(conf.daily_limit, 30);
	assert_string_equal(conf.timezone, "UTC");
	assert_int_equal(conf.context_messages, 5);
	assert_string_equal(conf.prompt_file, AIC_PROMPT_FILE);
	assert_int_equal(conf.deadline_ms, 55000);
	assert_int_equal(conf.threads, 64);
	assert_int_equal(conf.db_pool, 4);
	assert_int_equal(conf.db_timeout_ms, 3000);
	assert_int_equal(conf.db_prepare, 1);
	assert_string_equal(conf.db_schema, "public");
	assert_int_equal(conf.log_level, AIC_LOG_INFO);
	aic_conf_done(&conf);
}

static void
an_empty_optional_setting_counts_as_not_set(void **state)
{
	struct aic_conf conf;
	struct aic_err err;

	(void)state;
	assert_int_equal(LOAD(&conf, &err, "API_ADMIN_KEY=", "OPENAI_MODEL=",
			     "AI_CHAT_PORT=", "OPENAI_PROXY=",
			     "AI_CHAT_TIMEZONE=", "LOG_LEVEL="),
	    AIC_OK);
	assert_null(conf.api_admin_key);
	assert_null(conf.openai_proxy);
	assert_string_equal(conf.openai_model, "gpt-4o-mini");
	assert_int_equal(conf.port, 9001);
	aic_conf_done(&conf);
}

static void
a_mandatory_setting_must_be_there_and_not_empty(void **state)
{
	static const char *const names[] = { "API_SECRET_KEY", "DATABASE_URL",
		"OPENAI_API_KEY" };
	char empty[64];
	size_t i;

	(void)state;
	for (i = 0; i < 3; i++) {
		REFUSED(names[i], names[i]);
		snprintf(empty, sizeof(empty), "%s=", names[i]);
		REFUSED(names[i], empty);
	}
}

static void
a_number_must_be_whole_and_in_its_range(void **state)
{
	static const struct {
		const char *name, *least, *most, *under, *over;
	} rows[] = {
		{ "OPENAI_MAX_TOKENS", "1", "1000000", "0", "1000001" },
		{ "AI_CHAT_BREAKER_FAILURES", "0", "10000", "-1", "10001" },
		{ "AI_CHAT_BREAKER_OPEN_MS", "100", "600000", "99", "600001" },
		{ "AI_CHAT_RETRY_FLOOR", "0", "1000000", "-1", "1000001" },
		{ "AI_CHAT_PORT", "1", "65535", "0", "65536" },
		{ "AI_CHAT_DAILY_LIMIT", "0", "1000000", "-1", "1000001" },
		{ "AI_CHAT_CONTEXT_MESSAGES", "0", "50", "-1", "51" },
		{ "AI_CHAT_CONTEXT_CHARS", "0", "1000000", "-1", "1000001" },
		{ "AI_CHAT_CONTEXT_TTL_S", "0", "31536000", "-1", "31536001" },
		{ "AI_CHAT_ANSWER_CACHE_S", "0", "2592000", "-1", "2592001" },
		{ "AI_CHAT_ANSWER_RESERVE", "0", "2048", "-1", "2049" },
		{ "AI_CHAT_DEADLINE_MS", "7200", "600000", "999", "600001" },
		{ "AI_CHAT_THREADS", "1", "10000", "0", "10001" },
		{ "AI_CHAT_DB_POOL", "1", "1000", "0", "1001" },
		{ "AI_CHAT_DB_TIMEOUT_MS", "100", "5000", "99", "5001" },
		{ "AI_CHAT_DB_PREPARE", "0", "1", "-1", "2" },
	};
	static const char *const none[] = { " ", "x", "1x", " 1", "1 ", "+1",
		"1.0", "1e1", "0x1", "1,000", "1\n", "-", "--1",
		"9223372036854775808", "18446744073709551617",
		"99999999999999999999999", "NaN", "true" };
	struct aic_conf conf;
	size_t i, j;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		conf = taken(rows[i].name, rows[i].least);
		aic_conf_done(&conf);
		conf = taken(rows[i].name, rows[i].most);
		aic_conf_done(&conf);
		refused_value(rows[i].name, rows[i].under);
		refused_value(rows[i].name, rows[i].over);
		refused_value(rows[i].name, "-5");
		for (j = 0; j < sizeof(none) / sizeof(none[0]); j++)
			refused_value(rows[i].name, none[j]);
	}
}

static void
a_schema_is_a_name_that_needs_no_quotes(void **state)
{
	static const char *const bad[] = { " ", "Public", "a b", "a\"b", "a'b",
		"a,b", "1a", "$user", "a.b", "a\\", "pg_temp", "pg_catalog",
		"\xd1\x8f", "a;b", "a\nb" };
	char longest[] =
	    "a23456789012345678901234567890123456789012345678901234"
	    "567890123";
	struct aic_conf conf;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refused_value("AI_CHAT_DB_SCHEMA", bad[i]);
	refused_value("AI_CHAT_DB_SCHEMA",
	    "a234567890123456789012345678901234567890123456789012345678901234");
	conf = taken("AI_CHAT_DB_SCHEMA", longest);
	aic_conf_done(&conf);
	conf = taken("AI_CHAT_DB_SCHEMA", "_1");
	aic_conf_done(&conf);
}

static void
values_that_are_set_are_used(void **state)
{
	struct aic_conf conf;
	struct aic_err err;

	(void)state;
	assert_int_equal(LOAD(&conf, &err, "API_ADMIN_KEY=adm",
			     "OPENAI_MODEL=m/1:x", "OPENAI_TEMPERATURE=1.25",
			     "OPENAI_MAX_TOKENS=7",
			     "OPENAI_PROXY=http://p:3128",
			     "OPENAI_FALLBACK_API_KEY=k",
			     "OPENAI_FALLBACK_BASE_URL=http://h/v1/",
			     "OPENAI_FALLBACK_MODEL=m2",
			     "AI_CHAT_BREAKER_FAILURES=21",
			     "AI_CHAT_BREAKER_OPEN_MS=10001",
			     "AI_CHAT_RETRY_FLOOR=11",
			     "SERVER_HOST=http://s:8000/", "SERVER_API_KEY=sk",
			     "SERVER_CONTEXT_PATHS=/x/{telegram_id}",
			     "AI_CHAT_SERVER_TIMEOUT_MS=900",
			     "AI_CHAT_USER_CONTEXT_CHARS=201",
			     "AI_CHAT_PORT=9002", "AI_CHAT_DAILY_LIMIT=31",
			     "AI_CHAT_TIMEZONE=Europe/Moscow",
			     "AI_CHAT_CONTEXT_MESSAGES=6",
			     "AI_CHAT_CONTEXT_CHARS=6000",
			     "AI_CHAT_CONTEXT_TTL_S=7",
			     "AI_CHAT_ANSWER_CACHE_S=8",
			     "AI_CHAT_PROMPT_FILE=/p q",
			     "AI_CHAT_ANSWER_FORMAT=telegram-html",
			     "AI_CHAT_ANSWER_RESERVE=65",
			     "AI_CHAT_DEADLINE_MS=30000", "AI_CHAT_THREADS=65",
			     "AI_CHAT_DB_POOL=5", "AI_CHAT_DB_TIMEOUT_MS=2000",
			     "AI_CHAT_DB_PREPARE=0", "AI_CHAT_DB_SCHEMA=s_1",
			     "LOG_LEVEL=debug",
			     "OPENAI_BASE_URL=http://127.0.0.1:9/v1"),
	    AIC_OK);
	assert_string_equal(conf.api_admin_key, "adm");
	assert_string_equal(conf.openai_model, "m/1:x");
	assert_true(conf.openai_temperature > 1.2499 &&
	    conf.openai_temperature < 1.2501);
	assert_int_equal(conf.openai_max_tokens, 7);
	assert_string_equal(conf.openai_proxy, "http://p:3128");
	assert_string_equal(conf.fallback_api_key, "k");
	assert_string_equal(conf.fallback_base_url, "http://h/v1");
	assert_string_equal(conf.fallback_model, "m2");
	assert_int_equal(conf.breaker_failures, 21);
	assert_int_equal(conf.breaker_open_ms, 10001);
	assert_int_equal(conf.retry_floor, 11);
	assert_string_equal(conf.server_host, "http://s:8000");
	assert_string_equal(conf.server_api_key, "sk");
	assert_string_equal(conf.server_paths, "/x/{telegram_id}");
	assert_int_equal(conf.server_timeout_ms, 900);
	assert_int_equal(conf.user_context_chars, 201);
	assert_int_equal(conf.port, 9002);
	assert_int_equal(conf.daily_limit, 31);
	assert_string_equal(conf.timezone, "Europe/Moscow");
	assert_int_equal(conf.context_messages, 6);
	assert_string_equal(conf.prompt_file, "/p q");
	assert_int_equal(conf.answer_format, AIC_FORMAT_HTML);
	assert_int_equal(conf.answer_reserve, 65);
	assert_int_equal(conf.deadline_ms, 30000);
	assert_int_equal(conf.threads, 65);
	assert_int_equal(conf.db_pool, 5);
	assert_int_equal(conf.db_timeout_ms, 2000);
	assert_int_equal(conf.db_prepare, 0);
	assert_string_equal(conf.db_schema, "s_1");
	assert_int_equal(conf.log_level, AIC_LOG_DEBUG);
	assert_string_equal(conf.openai_base_url, "http://127.0.0.1:9/v1");
	aic_conf_done(&conf);
}

static void
a_temperature_is_a_decimal_number_from_0_to_2(void **state)
{
	static const char *const good[] = { "0", "2", "0.7", "1.", ".5",
		"2.0" };
	static const char *const bad[] = { "-0.1", "2.1", "3", "x", ".",
		"1.2.3", "0,7", "1e0", "0x1", "inf", "nan", " 1", "1 ", "+1",
		"2.0001" };
	struct aic_conf conf;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		conf = taken("OPENAI_TEMPERATURE", good[i]);
		aic_conf_done(&conf);
	}
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refused_value("OPENAI_TEMPERATURE", bad[i]);
}

static void
a_level_is_one_of_four_words_or_a_level_of_python(void **state)
{
	static const char *const bad[] = { "trace", "0", "info ", "inf",
		"warn,info", "fatal" };
	static const struct {
		const char *name;
		enum aic_level level;
	} others[] = { { "INFO", AIC_LOG_INFO }, { "Error", AIC_LOG_ERROR },
		{ "warning", AIC_LOG_WARN }, { "WARNING", AIC_LOG_WARN },
		{ "CRITICAL", AIC_LOG_ERROR } };
	static const char *const good[] = { "error", "warn", "info", "debug" };
	struct aic_conf conf;
	size_t i;

	(void)state;
	for (i = 0; i < 4; i++) {
		conf = taken("LOG_LEVEL", good[i]);
		assert_int_equal(conf.log_level, i);
		aic_conf_done(&conf);
	}
	for (i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		conf = taken("LOG_LEVEL", others[i].name);
		assert_int_equal(conf.log_level, others[i].level);
		aic_conf_done(&conf);
	}
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refused_value("LOG_LEVEL", bad[i]);
}

static void
a_format_is_one_of_three_words(void **state)
{
	static const char *const bad[] = { "html", "HTML", "Plain", "markdown",
		"0", "plain ", "telegram_html" };
	struct aic_conf conf;
	size_t i;

	(void)state;
	for (i = 0; i < AIC_FORMAT__MAX; i++) {
		conf = taken("AI_CHAT_ANSWER_FORMAT", aic_format_names[i]);
		assert_int_equal(conf.answer_format, i);
		aic_conf_done(&conf);
	}
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refused_value("AI_CHAT_ANSWER_FORMAT", bad[i]);
}

static void
a_zone_is_a_name_that_the_system_knows(void **state)
{
	static const char *const good[] = { "UTC", "Europe/Moscow",
		"Asia/Yekaterinburg", "America/Argentina/Buenos_Aires",
		"Etc/GMT-3" };
	static const char *const bad[] = { "Europe", "Europe/", "Mars/Phobos",
		"Moscow", "+03:00", "UTC+3:00", "../../etc/passwd",
		"Europe/../Europe/Moscow", "/usr/share/zoneinfo/UTC",
		"Europe/Moscow ", " UTC", "UTC'; DROP TABLE x", "UTC\n",
		"zone.tab", "." };
	struct aic_conf conf;
	char longest[100];
	size_t i;

	(void)state;
	if (access("/usr/share/zoneinfo/UTC", R_OK) != 0)
		SKIP("no time zones are installed");
	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		conf = taken("AI_CHAT_TIMEZONE", good[i]);
		assert_string_equal(conf.timezone, good[i]);
		aic_conf_done(&conf);
	}
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refused_value("AI_CHAT_TIMEZONE", bad[i]);
	memset(longest, 'A', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	refused_value("AI_CHAT_TIMEZONE", longest);
}

static void
the_base_url_is_a_scheme_a_host_and_a_path(void **state)
{
	static const struct {
		const char *url, *want;
	} good[] = { { "https://h", "https://h" }, { "http://h", "http://h" },
		{ "https://h/", "https://h" },
		{ "https://h/v1/", "https://h/v1" },
		{ "https://h/v1///", "https://h/v1" },
		{ "http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1" },
		{ "http://[::1]:8080", "http://[::1]:8080" } };
	static const char *const bad[] = { "h", "h/v1", "//h", "ftp://h",
		"file:///etc/passwd", "https:/h", "https://", "https:///v1",
		"http://", "https://h?x=1", "https://h/#x", "https://h /v1",
		"https://h\t", "https://h\n", "https://h/v1\r\nX: y",
		" https://h", "httpsx://h" };
	struct aic_conf conf;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		conf = taken("OPENAI_BASE_URL", good[i].url);
		assert_string_equal(conf.openai_base_url, good[i].want);
		aic_conf_done(&conf);
	}
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refused_value("OPENAI_BASE_URL", bad[i]);
}

static void
an_unknown_name_with_a_prefix_of_ours_is_refused(void **state)
{
	(void)state;
	REFUSED("AI_CHAT_VAR", "AI_CHAT_VAR=x");
	REFUSED("AI_CHAT_DAILY_LIMITS", "AI_CHAT_DAILY_LIMITS=30");
	REFUSED("AI_CHAT_DAILY", "AI_CHAT_DAILY=30");
	REFUSED("AI_CHAT_", "AI_CHAT_=");
	REFUSED("AI_CHAT_port", "AI_CHAT_port=1");
	REFUSED("AI_CHAT_X", "AI_CHAT_X=" CANARY);
	REFUSED("AI_CHAT_X", "AI_CHAT_X=");
	/* Only secrets can come as files. */
	REFUSED("AI_CHAT_PORT_FILE", "AI_CHAT_PORT_FILE=/dev/null");
}

static void
names_without_a_prefix_of_ours_are_ignored(void **state)
{
	struct aic_conf conf;
	struct aic_err err;

	(void)state;
	assert_int_equal(LOAD(&conf, &err, "AI_CHATTER=1", "OPENAI_ORG=x",
			     "API_SECRET_KEYS=x", "XAI_CHAT_PORT=1", "NOEQUALS",
			     "=", "ai_chat_port=1"),
	    AIC_OK);
	assert_int_equal(conf.port, 9001);
	aic_conf_done(&conf);
}

static void
keys_may_have_blanks_around_them_and_may_not_be_empty(void **state)
{
	static const char *const bad[] = { ",", "a,", ",a", "a,,b", "a, ,b",
		" ", "\t", "a,\t", " , " };
	static const char *const good[] = { "a", "a,b", " a , b ", "a b,c" };
	struct aic_conf conf;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refused_value("API_SECRET_KEY", bad[i]);
	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		conf = taken("API_SECRET_KEY", good[i]);
		aic_conf_done(&conf);
	}
}

static void
a_key_is_visible_ascii_and_blanks_around_it_are_removed(void **state)
{
	static const char *const names[] = { "OPENAI_API_KEY",
		"OPENAI_FALLBACK_API_KEY", "API_SECRET_KEY", "API_ADMIN_KEY",
		"SERVER_API_KEY" };
	static const char *const bad[] = { "\xef\xbb\xbf" CANARY,
		"\xe2\x80\x8b" CANARY, CANARY "\r", CANARY "\xc2\xa0", " ",
		"\t" };
	struct aic_conf conf;
	size_t i, j;

	(void)state;
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		for (j = 0; j < sizeof(bad) / sizeof(bad[0]); j++)
			refused_value(names[i], bad[j]);
	refused_value("OPENAI_API_KEY", CANARY "\xd0\xba");
	refused_value("SERVER_API_KEY", "a b");
	refused_value("OPENAI_API_KEY", "a b");
	refused_value("OPENAI_FALLBACK_API_KEY", "a b");
	conf = taken("OPENAI_API_KEY", " sk-x ");
	assert_string_equal(conf.openai_api_key, "sk-x");
	aic_conf_done(&conf);
	conf = taken("API_ADMIN_KEY", " a b ");
	assert_string_equal(conf.api_admin_key, "a b");
	aic_conf_done(&conf);
}

static void
a_proxy_is_a_url_or_for_the_fallback_the_word_for_none(void **state)
{
	static const char *const bad[] = { "p:3128", "ftp://p",
		"http://u:" CANARY "@p:0", "http://u:" CANARY "@p/x" };
	struct aic_conf conf;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		refused_value("OPENAI_PROXY", bad[i]);
		refused_value("OPENAI_FALLBACK_PROXY", bad[i]);
	}
	refused_value("OPENAI_PROXY", "direct");
	conf = taken("OPENAI_FALLBACK_PROXY", "direct");
	assert_string_equal(conf.fallback_proxy, "direct");
	aic_conf_done(&conf);
	conf = taken("OPENAI_PROXY", "socks5h://u:p@h:1080/");
	assert_string_equal(conf.openai_proxy, "socks5h://u:p@h:1080");
	aic_conf_done(&conf);
}

static void
auth_is_one_of_three_words(void **state)
{
	static const char *const names[] = { "OPENAI_AUTH",
		"OPENAI_FALLBACK_AUTH" };
	static const char *const bad[] = { "Bearer", "basic", "api_key",
		"azure", "gigachat ", "0" };
	struct aic_conf conf;
	size_t i, j;
	int auth;

	(void)state;
	for (i = 0; i < 2; i++) {
		for (auth = 1; auth < AIC_PROVIDER_AUTH__MAX; auth++) {
			conf = taken(names[i], aic_provider_auth_names[auth]);
			assert_int_equal(i == 0 ? conf.openai_auth
						: conf.fallback_auth,
			    auth);
			aic_conf_done(&conf);
		}
		for (j = 0; j < sizeof(bad) / sizeof(bad[0]); j++)
			refused_value(names[i], bad[j]);
	}
	refused_value("OPENAI_AUTH_URL", "ngw:9443");
	refused_value("OPENAI_FALLBACK_AUTH_URL", "https://");
	refused_value("OPENAI_AUTH_SCOPE", "a\nb");
}

static void
a_ca_file_must_hold_a_certificate(void **state)
{
	(void)state;
	put_file(LIT("no certificate"));
	refused_value("OPENAI_CA_FILE", path);
	refused_value("OPENAI_FALLBACK_CA_FILE", path);
	refused_value("OPENAI_CA_FILE", "/nowhere/ca.pem");
	refused_value("OPENAI_CA_FILE", "/dev/zero");
}

static void
a_base_url_is_refused_with_the_whole_path(void **state)
{
	(void)state;
	refused_value("OPENAI_BASE_URL", "https://h/v1/chat/completions");
	refused_value("OPENAI_FALLBACK_BASE_URL",
	    "https://h/v1/chat/completions/");
}

static void
a_line_break_in_a_text_is_refused(void **state)
{
	(void)state;
	REFUSED("OPENAI_API_KEY", "OPENAI_API_KEY=" CANARY "\r\nX: y");
	REFUSED("OPENAI_API_KEY", "OPENAI_API_KEY=" CANARY "\n");
	REFUSED("API_SECRET_KEY", "API_SECRET_KEY=" CANARY "\n");
	REFUSED("OPENAI_MODEL", "OPENAI_MODEL=a\nb");
	REFUSED("OPENAI_PROXY", "OPENAI_PROXY=http://u:" CANARY "@p\r");
}

static void
a_value_that_is_too_long_is_refused_and_not_cut(void **state)
{
	static char text[9000];
	struct aic_conf conf;

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	refused_value("OPENAI_MODEL", text);
	refused_value("OPENAI_API_KEY", text);
	text[8191] = '\0';
	conf = taken("OPENAI_MODEL", text);
	assert_int_equal(strlen(conf.openai_model), 8191);
	aic_conf_done(&conf);
}

static void
the_deadline_must_leave_time_for_the_model(void **state)
{
	struct aic_conf conf;
	struct aic_err err;

	(void)state;
	assert_int_equal(LOAD(&conf, &err, "AI_CHAT_DEADLINE_MS=5200",
			     "AI_CHAT_DB_TIMEOUT_MS=2000"),
	    AIC_OK);
	aic_conf_done(&conf);
	REFUSED("AI_CHAT_DEADLINE_MS", "AI_CHAT_DEADLINE_MS=5199",
	    "AI_CHAT_DB_TIMEOUT_MS=2000");
	REFUSED("AI_CHAT_DB_TIMEOUT_MS", "AI_CHAT_DB_TIMEOUT_MS=60000");
}

static void
a_fallback_server_needs_a_key_of_its_own(void **state)
{
	const char *url = "OPENAI_FALLBACK_BASE_URL=https://h/v1";
	struct aic_conf conf;
	struct aic_err err;

	(void)state;
	REFUSED("OPENAI_FALLBACK_API_KEY", url);
	REFUSED("OPENAI_FALLBACK_API_KEY", url, "OPENAI_FALLBACK_API_KEY=");
	REFUSED("OPENAI_FALLBACK_BASE_URL", "OPENAI_FALLBACK_BASE_URL=h",
	    "OPENAI_FALLBACK_API_KEY=k");
	assert_int_equal(LOAD(&conf, &err, url, "OPENAI_FALLBACK_API_KEY=k"),
	    AIC_OK);
	aic_conf_done(&conf);
	/* The same server, named explicitly, needs no key of its own. */
	assert_int_equal(LOAD(&conf, &err, url,
			     "OPENAI_BASE_URL=https://h/v1/"),
	    AIC_OK);
	aic_conf_done(&conf);
	assert_int_equal(LOAD(&conf, &err, "OPENAI_FALLBACK_API_KEY=k"),
	    AIC_OK);
	assert_null(conf.fallback_base_url);
	aic_conf_done(&conf);
	assert_int_equal(LOAD(&conf, &err, "OPENAI_FALLBACK_MODEL=m"), AIC_OK);
	assert_null(conf.fallback_api_key);
	aic_conf_done(&conf);
}

static void
server_host_requires_server_api_key_and_not_the_reverse(void **state)
{
	struct aic_conf conf;
	struct aic_err err;

	(void)state;
	REFUSED("SERVER_API_KEY", "SERVER_HOST=http://s:8000");
	REFUSED("SERVER_API_KEY", "SERVER_HOST=http://s", "SERVER_API_KEY=");
	REFUSED("SERVER_HOST", "SERVER_HOST=s:8000", "SERVER_API_KEY=k");
	assert_int_equal(LOAD(&conf, &err, "SERVER_API_KEY=k"), AIC_OK);
	assert_null(conf.server_host);
	aic_conf_done(&conf);
}

/* --- secrets from files ------------------------------------------------- */

static void
each_secret_can_come_as_a_file_with_or_without_a_newline(void **state)
{
	static const struct {
		const char *name, *value;
		size_t offset;
	} secrets[] = {
		{ "API_SECRET_KEY", "a~b",
		    offsetof(struct aic_conf, api_keys) },
		{ "API_ADMIN_KEY", "a b",
		    offsetof(struct aic_conf, api_admin_key) },
		{ "DATABASE_URL", "a b",
		    offsetof(struct aic_conf, database_url) },
		{ "OPENAI_API_KEY", "a~b",
		    offsetof(struct aic_conf, openai_api_key) },
		{ "OPENAI_FALLBACK_API_KEY", "a~b",
		    offsetof(struct aic_conf, fallback_api_key) },
		{ "OPENAI_PROXY", "http://u:p@h:1",
		    offsetof(struct aic_conf, openai_proxy) },
		{ "OPENAI_FALLBACK_PROXY", "http://u:p@h:1",
		    offsetof(struct aic_conf, fallback_proxy) },
		{ "REDIS_URL", "a b", offsetof(struct aic_conf, redis_url) },
		{ "SERVER_API_KEY", "a~b",
		    offsetof(struct aic_conf, server_api_key) },
	};
	char pair[200], text[100];
	struct aic_conf conf;
	struct aic_err err;
	size_t i, j;
	int n;

	(void)state;
	for (i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++)
		for (j = 0; j < 2; j++) {
			n = snprintf(text, sizeof(text), "%s%s",
			    secrets[i].value, j == 0 ? "" : "\n");
			put_file(text, (size_t)n);
			snprintf(pair, sizeof(pair), "%s_FILE=%s",
			    secrets[i].name, path);
			assert_int_equal(LOAD(&conf, &err, pair,
					     secrets[i].name),
			    AIC_OK);
			assert_string_equal(*(char **)(void *)((char *)&conf +
						secrets[i].offset),
			    secrets[i].value);
			aic_conf_done(&conf);
		}
}

static void
both_forms_of_a_secret_are_refused(void **state)
{
	char pair[200];

	(void)state;
	put_file(LIT(CANARY));
	snprintf(pair, sizeof(pair), "OPENAI_API_KEY_FILE=%s", path);
	REFUSED("OPENAI_API_KEY", pair);
	REFUSED("OPENAI_API_KEY", pair, "OPENAI_API_KEY=");
	snprintf(pair, sizeof(pair), "API_ADMIN_KEY_FILE=%s", path);
	REFUSED("API_ADMIN_KEY", pair, "API_ADMIN_KEY=x");
}

static void
refused_file(const char *text, size_t len)
{
	char pair[200];

	put_file(text, len);
	snprintf(pair, sizeof(pair), "OPENAI_API_KEY_FILE=%s", path);
	REFUSED("OPENAI_API_KEY", pair, "OPENAI_API_KEY");
	snprintf(pair, sizeof(pair), "API_ADMIN_KEY_FILE=%s", path);
	REFUSED("API_ADMIN_KEY", pair);
}

static void
a_file_that_holds_no_secret_is_refused(void **state)
{
	static char text[9000];

	(void)state;
	refused_file(LIT(""));
	refused_file(LIT("\n"));
	refused_file(LIT(CANARY "\n\n"));
	refused_file(LIT(CANARY "\r\n"));
	refused_file(LIT(CANARY "\nmore"));
	refused_file(LIT(CANARY "\0"));
	refused_file(LIT(CANARY "\0more"));
	refused_file(LIT("\0"));
	memset(text, 'x', sizeof(text));
	memcpy(text, CANARY, sizeof(CANARY) - 1);
	refused_file(text, sizeof(text));
	refused_file(text, 8192);
}

static void
a_file_that_cannot_be_read_is_refused(void **state)
{
	(void)state;
	REFUSED("OPENAI_API_KEY", "OPENAI_API_KEY",
	    "OPENAI_API_KEY_FILE=/nonexistent/x");
	REFUSED("OPENAI_API_KEY", "OPENAI_API_KEY", "OPENAI_API_KEY_FILE=");
	REFUSED("OPENAI_API_KEY", "OPENAI_API_KEY", "OPENAI_API_KEY_FILE=/");
	REFUSED("OPENAI_API_KEY", "OPENAI_API_KEY",
	    "OPENAI_API_KEY_FILE=/dev/zero");
}

static void
an_empty_key_in_a_file_is_refused_too(void **state)
{
	char pair[200];

	(void)state;
	put_file(LIT(CANARY ",\n"));
	snprintf(pair, sizeof(pair), "API_SECRET_KEY_FILE=%s", path);
	REFUSED("API_SECRET_KEY", pair, "API_SECRET_KEY");
}

/* Makes a credential with this text, and sets the directory of credentials. */
static const char *
put_credential(const char *name, const char *text)
{
	static char dir[sizeof("/tmp/ai-chat-unit-conf-XXXXXX.d")], pair[100];
	char file[200];
	FILE *f;

	snprintf(dir, sizeof(dir), "%s.d", path);
	mkdir(dir, 0700);
	snprintf(file, sizeof(file), "%s/%s", dir, name);
	if (!text) {
		unlink(file);
		rmdir(dir);
		return NULL;
	}
	f = fopen(file, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	snprintf(pair, sizeof(pair), "CREDENTIALS_DIRECTORY=%s", dir);
	return pair;
}

static void
a_secret_can_be_a_credential_of_the_service(void **state)
{
	const char *dir = put_credential("openai_api_key", CANARY "\n");
	struct aic_conf conf;
	struct aic_err err;

	(void)state;
	assert_int_equal(LOAD(&conf, &err, dir, "OPENAI_API_KEY"), AIC_OK);
	assert_string_equal(conf.openai_api_key, CANARY);
	aic_conf_done(&conf);
	assert_int_equal(LOAD(&conf, &err, dir, "OPENAI_API_KEY="), AIC_OK);
	assert_string_equal(conf.openai_api_key, CANARY);
	aic_conf_done(&conf);
	REFUSED("OPENAI_API_KEY", dir, "OPENAI_API_KEY=x");
	REFUSED("OPENAI_API_KEY", dir, "OPENAI_API_KEY",
	    "OPENAI_API_KEY_FILE=/dev/null");
	put_credential("openai_api_key", NULL);
}

static void
an_empty_credential_counts_as_not_set(void **state)
{
	const char *dir = put_credential("openai_api_key", "\n");
	struct aic_conf conf;
	struct aic_err err;

	(void)state;
	assert_int_equal(LOAD(&conf, &err, dir, "OPENAI_API_KEY=x"), AIC_OK);
	assert_string_equal(conf.openai_api_key, "x");
	aic_conf_done(&conf);
	REFUSED("OPENAI_API_KEY", dir, "OPENAI_API_KEY");
	put_credential("openai_api_key", CANARY "\nmore");
	REFUSED("OPENAI_API_KEY", dir, "OPENAI_API_KEY");
	put_credential("openai_api_key", NULL);
}

static void
migrations_use_a_url_of_their_own_or_that_of_the_workers(void **state)
{
	char url[] = "DATABASE_URL=postgresql://x", other[] = "AI_CHAT_VAR=1";
	char own[] = "AI_CHAT_MIGRATE_URL=postgresql://y";
	char empty[] = "AI_CHAT_MIGRATE_URL=", none_at_all[] = "DATABASE_URL=";
	char *env[] = { url, other, NULL }, *none[] = { other, NULL };
	char *both[] = { url, own, NULL }, *mine[] = { none_at_all, own, NULL };
	char *off[] = { url, empty, NULL };
	struct aic_err err = AIC_ERR_INIT;
	struct aic_conf conf;

	(void)state;
	assert_int_equal(aic_conf_load_url(&conf, env, &err), AIC_OK);
	assert_string_equal(conf.database_url, "postgresql://x");
	assert_null(conf.migrate_url);
	aic_conf_done(&conf);
	assert_int_equal(aic_conf_load_url(&conf, both, &err), AIC_OK);
	assert_string_equal(conf.migrate_url, "postgresql://y");
	aic_conf_done(&conf);
	assert_int_equal(aic_conf_load_url(&conf, mine, &err), AIC_OK);
	assert_string_equal(conf.migrate_url, "postgresql://y");
	assert_null(conf.database_url);
	aic_conf_done(&conf);
	assert_int_equal(aic_conf_load_url(&conf, off, &err), AIC_OK);
	assert_null(conf.migrate_url);
	aic_conf_done(&conf);
	assert_int_equal(aic_conf_load_url(&conf, none, &err), AIC_ECONF);
	assert_non_null(strstr(err.detail, "DATABASE_URL"));
}

static void
a_worker_does_not_read_the_url_of_migrations(void **state)
{
	struct aic_conf conf;
	struct aic_err err;

	(void)state;
	assert_int_equal(LOAD(&conf, &err, "AI_CHAT_MIGRATE_URL=" CANARY),
	    AIC_OK);
	assert_null(conf.migrate_url);
	aic_conf_done(&conf);
	assert_int_equal(LOAD(&conf, &err,
			     "AI_CHAT_MIGRATE_URL_FILE=/nonexistent"),
	    AIC_OK);
	aic_conf_done(&conf);
}

/* Loads the settings of the site alone; the others are not set. */
static enum aic_code
load_site(struct aic_conf *conf, struct aic_err *err, char *a, char *b)
{
	char *env[] = { a, b, NULL };

	*err = (struct aic_err)AIC_ERR_INIT;
	return aic_conf_load_site(conf, env, err);
}

static void
the_settings_of_the_site_can_be_loaded_without_the_others(void **state)
{
	char port[] = "AI_CHAT_PORT=9002", key[] = "AI_CHAT_TLS_KEY=/k";
	char cert[] = "AI_CHAT_TLS_CERTIFICATE=/c", bad[] = "AI_CHAT_PROT=1";
	char list[] = "AI_CHAT_ADDRESS= 127.0.0.1 ,\t::1",
	     log[] = "LOG_LEVEL=x";
	struct aic_conf conf;
	struct aic_err err;

	(void)state;
	assert_int_equal(load_site(&conf, &err, list, log), AIC_OK);
	assert_string_equal(conf.address, "127.0.0.1,::1");
	assert_int_equal(conf.port, 9001);
	assert_int_equal(conf.metrics_port, 9002);
	assert_int_equal(conf.deadline_ms, 55000);
	assert_null(conf.tls_key);
	aic_conf_done(&conf);
	assert_int_equal(load_site(&conf, &err, cert, key), AIC_OK);
	assert_string_equal(conf.tls_certificate, "/c");
	assert_string_equal(conf.tls_key, "/k");
	aic_conf_done(&conf);
	assert_int_equal(load_site(&conf, &err, key, log), AIC_ECONF);
	assert_non_null(strstr(err.detail, "AI_CHAT_TLS_CERTIFICATE is not"));
	assert_int_equal(load_site(&conf, &err, cert, log), AIC_ECONF);
	assert_non_null(strstr(err.detail, "AI_CHAT_TLS_KEY is not"));
	assert_int_equal(load_site(&conf, &err, port, log), AIC_ECONF);
	assert_non_null(strstr(err.detail, "AI_CHAT_METRICS_PORT"));
	assert_int_equal(load_site(&conf, &err, bad, log), AIC_ECONF);
	assert_non_null(strstr(err.detail, "is AI_CHAT_PORT"));
}

static void
done_may_get_a_zeroed_struct_and_may_be_called_twice(void **state)
{
	struct aic_conf conf;

	(void)state;
	memset(&conf, 0, sizeof(conf));
	aic_conf_done(&conf);
	conf = taken("API_ADMIN_KEY", "x");
	aic_conf_done(&conf);
	assert_null(conf.api_keys);
	aic_conf_done(&conf);
}

static void
names_of_settings_are_returned_by_their_number(void **state)
{
	unsigned n, m;

	(void)state;
	for (n = 0; aic_conf_name(n); n++)
		for (m = 0; m < n; m++)
			assert_string_not_equal(aic_conf_name(n),
			    aic_conf_name(m));
	assert_true(n >= 20);
	assert_null(aic_conf_name(n + 1));
	assert_null(aic_conf_name((unsigned)-1));
}

/* Whether a line documents a setting: NAME= at its start, or after a "#". */
static bool
names(const char *line, const char *name)
{
	size_t n = strlen(name);

	line += strspn(line, "# ");
	if (strncmp(line, name, n) != 0)
		return false;
	line += n;
	if (strncmp(line, "_FILE=", 6) == 0)
		return true;
	return *line == '=';
}

static bool
is_assignment(const char *line)
{
	size_t n;

	line += strspn(line, "# ");
	n = strspn(line, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_");
	return n > 2 && line[n] == '=';
}

static void
each_setting_is_in_the_sample_file_and_nothing_else_is(void **state)
{
	char line[1000];
	bool seen[128] = { false }, known;
	unsigned i;
	FILE *f;

	(void)state;
	f = fopen(AIC_SRCDIR "/systemd/ai-chat.env", "r");
	if (!f)
		SKIP("there is no systemd/ai-chat.env");
	while (fgets(line, sizeof(line), f)) {
		known = false;
		for (i = 0; aic_conf_name(i); i++)
			if (names(line, aic_conf_name(i)))
				known = seen[i] = true;
		if (is_assignment(line) && !known)
			fail_msg("not a setting: %s", line);
	}
	fclose(f);
	for (i = 0; aic_conf_name(i); i++)
		if (!seen[i])
			fail_msg("%s is not documented", aic_conf_name(i));
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

UNIT_MAIN_WITH(make_path, remove_path,
    T(a_setting_that_is_not_set_has_the_default_of_the_contract),
    T(an_empty_optional_setting_counts_as_not_set),
    T(a_mandatory_setting_must_be_there_and_not_empty),
    T(a_number_must_be_whole_and_in_its_range),
    T(a_schema_is_a_name_that_needs_no_quotes), T(values_that_are_set_are_used),
    T(a_temperature_is_a_decimal_number_from_0_to_2),
    T(a_level_is_one_of_four_words_or_a_level_of_python),
    T(a_format_is_one_of_three_words),
    T(a_zone_is_a_name_that_the_system_knows),
    T(the_base_url_is_a_scheme_a_host_and_a_path),
    T(an_unknown_name_with_a_prefix_of_ours_is_refused),
    T(names_without_a_prefix_of_ours_are_ignored),
    T(keys_may_have_blanks_around_them_and_may_not_be_empty),
    T(a_key_is_visible_ascii_and_blanks_around_it_are_removed),
    T(a_base_url_is_refused_with_the_whole_path),
    T(a_proxy_is_a_url_or_for_the_fallback_the_word_for_none),
    T(auth_is_one_of_three_words), T(a_ca_file_must_hold_a_certificate),
    T(a_line_break_in_a_text_is_refused),
    T(a_value_that_is_too_long_is_refused_and_not_cut),
    T(the_deadline_must_leave_time_for_the_model),
    T(a_fallback_server_needs_a_key_of_its_own),
    T(server_host_requires_server_api_key_and_not_the_reverse),
    T(each_secret_can_come_as_a_file_with_or_without_a_newline),
    T(both_forms_of_a_secret_are_refused),
    T(a_file_that_holds_no_secret_is_refused),
    T(a_file_that_cannot_be_read_is_refused),
    T(an_empty_key_in_a_file_is_refused_too),
    T(a_secret_can_be_a_credential_of_the_service),
    T(an_empty_credential_counts_as_not_set),
    T(migrations_use_a_url_of_their_own_or_that_of_the_workers),
    T(a_worker_does_not_read_the_url_of_migrations),
    T(the_settings_of_the_site_can_be_loaded_without_the_others),
    T(done_may_get_a_zeroed_struct_and_may_be_called_twice),
    T(names_of_settings_are_returned_by_their_number),
    T(each_setting_is_in_the_sample_file_and_nothing_else_is))
