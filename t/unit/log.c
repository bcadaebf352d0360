#include "config.h"

#include "lib/log.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "unit.h"

static int kept, in = -1;
static char got[64 * 1024];

/* From here on standard error is a pipe. */
static void catch (void)
{
	int fds[2];

	fflush(stderr);
	assert_int_equal(pipe(fds), 0);
	kept = dup(STDERR_FILENO);
	dup2(fds[1], STDERR_FILENO);
	close(fds[1]);
	in = fds[0];
}

/* What was written to the pipe; restores standard error. */
static const char *
caught(void)
{
	size_t len = 0;
	ssize_t n;

	dup2(kept, STDERR_FILENO);
	close(kept);
	while (len < sizeof(got) - 1) {
		n = read(in, got + len, sizeof(got) - 1 - len);
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	close(in);
	got[len] = '\0';
	return got;
}

static const char *
line_with(const char *key, const char *value)
{
	struct aic_log l;

	catch ();
	aic_log_begin(&l, AIC_LOG_ERROR, "e");
	aic_log_str(&l, key, value);
	aic_log_end(&l);
	return caught();
}

/*
 * U+0085, U+009B, U+00AD, U+200B, U+2028, U+2029, U+202E, U+2066, U+FEFF,
 * U+E0041.
 */
static void
no_character_can_forge_a_line_or_be_invisible_in_it(void **state)
{
	static const char *const bad[] = { "\xc2\x85", "\xc2\x9b", "\xc2\xad",
		"\xe2\x80\x8b", "\xe2\x80\xa8", "\xe2\x80\xa9", "\xe2\x80\xae",
		"\xe2\x81\xa6", "\xef\xbb\xbf", "\xf3\xa0\x81\x81", "\x1b",
		"\x7f" };
	char value[64], want[128];
	size_t i, j, n;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(value, sizeof(value), "a%slevel", bad[i]);
		n = (size_t)snprintf(want, sizeof(want),
		    "level=error event=e k=\"a");
		for (j = 0; bad[i][j]; j++)
			n += (size_t)snprintf(want + n, sizeof(want) - n,
			    "\\x%02x", (unsigned)(unsigned char)bad[i][j]);
		snprintf(want + n, sizeof(want) - n, "level\"\n");
		assert_string_equal(line_with("k", value), want);
	}
	assert_string_equal(line_with("k", "Вопрос—ответ"),
	    "level=error event=e k=Вопрос—ответ\n");
}

static void
an_event_is_one_line_of_pairs(void **state)
{
	struct aic_log l;

	(void)state;
	catch ();
	aic_log_begin(&l, AIC_LOG_INFO, "chat");
	aic_log_str(&l, "req", "abc-1");
	aic_log_num(&l, "user", INT64_MAX);
	aic_log_num(&l, "n", INT64_MIN);
	aic_log_num(&l, "zero", 0);
	aic_log_end(&l);
	assert_string_equal(caught(),
	    "level=info event=chat req=abc-1 "
	    "user=9223372036854775807 n=-9223372036854775808 zero=0\n");
}

static void
a_text_that_is_null_or_empty_adds_no_pair(void **state)
{
	(void)state;
	assert_string_equal(line_with("a", NULL), "level=error event=e\n");
	assert_string_equal(line_with("a", ""), "level=error event=e\n");
}

static void
values_are_quoted_when_needed_and_control_bytes_are_escaped(void **state)
{
	static const struct {
		const char *value, *want;
	} rows[] = {
		{ "plain", "plain" },
		{ "a/b:c,d;e'f", "a/b:c,d;e'f" },
		{ "Привет", "Привет" },
		{ "a b", "\"a b\"" },
		{ "a=b", "\"a=b\"" },
		{ "a\"b", "\"a\\\"b\"" },
		{ "a\\b", "\"a\\\\b\"" },
		{ "a\nb", "\"a\\x0ab\"" },
		{ "a\r\nlevel=error", "\"a\\x0d\\x0alevel=error\"" },
		{ "\t", "\"\\x09\"" },
		{ "\x01", "\"\\x01\"" },
		{ "\x1b[31m", "\"\\x1b[31m\"" },
		{ "\x7f", "\"\\x7f\"" },
		{ " ", "\" \"" },
		{ "\"", "\"\\\"\"" },
		{ "\xff", "\"\\xff\"" },
		{ "\xd0", "\"\\xd0\"" },
		{ "я\x80я", "\"я\\x80я\"" },
		{ "\xed\xa0\x80", "\"\\xed\\xa0\\x80\"" },
	};
	char want[200];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(want, sizeof(want), "level=error event=e k=%s\n",
		    rows[i].want);
		assert_string_equal(line_with("k", rows[i].value), want);
	}
}

static void
no_byte_of_a_value_makes_a_second_line_or_a_control_byte(void **state)
{
	char value[256];
	const char *s;
	int i;

	(void)state;
	for (i = 1; i < 256; i++)
		value[i - 1] = (char)i;
	value[255] = '\0';
	s = line_with("k", value);
	assert_ptr_equal(strchr(s, '\n'), s + strlen(s) - 1);
	for (; s[1]; s++)
		assert_false((unsigned char)*s < ' ' || *s == 0x7f);
}

static void
a_line_that_is_too_long_is_cut_and_ends_with_a_newline(void **state)
{
	static char value[3 * AIC_LOG_LINE];
	const char *fill[] = { "x", "\n", "\"", " " };
	struct aic_log l;
	const char *s;
	size_t i, lead;

	(void)state;
	for (i = 0; i < 4; i++)
		for (lead = 0; lead < 6; lead++) {
			memset(value, *fill[i], sizeof(value) - 1);
			memset(value, 'y', lead);
			catch ();
			aic_log_begin(&l, AIC_LOG_ERROR, "e");
			aic_log_str(&l, "k", value);
			aic_log_str(&l, "more", "x");
			aic_log_num(&l, "more", 1);
			aic_log_end(&l);
			s = caught();
			assert_true(strlen(s) <= AIC_LOG_LINE);
			assert_true(strlen(s) > AIC_LOG_LINE - 8);
			assert_ptr_equal(strchr(s, '\n'), s + strlen(s) - 1);
		}
}

static void
a_text_is_cut_at_its_given_length(void **state)
{
	static const struct {
		size_t most;
		const char *want;
	} rows[] = { { 1, "a" }, { 2, "\"a \"" }, { 4, "\"a я\"" },
		{ 3, "\"a \\xd1\"" }, { 5, "\"a яb\"" }, { 9, "\"a яb\"" } };
	char want[100];
	struct aic_log l;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		catch ();
		aic_log_begin(&l, AIC_LOG_ERROR, "e");
		aic_log_cut(&l, "k", "a яb", rows[i].most);
		aic_log_num(&l, "more", 1);
		aic_log_end(&l);
		snprintf(want, sizeof(want),
		    "level=error event=e k=%s more=1\n", rows[i].want);
		assert_string_equal(caught(), want);
	}
}

static void
lines_below_the_level_are_not_written(void **state)
{
	char want[200];
	int level, threshold;
	struct aic_log l;

	(void)state;
	for (threshold = 0; threshold < AIC_LOG__MAX; threshold++)
		for (level = 0; level < AIC_LOG__MAX; level++) {
			aic_log_level(threshold);
			catch ();
			aic_log_begin(&l, level, "e");
			aic_log_str(&l, "a", "b");
			aic_log_num(&l, "n", 1);
			aic_log_ms(&l, "ms", 1);
			aic_log_end(&l);
			snprintf(want, sizeof(want),
			    "level=%s event=e a=b n=1 ms=0.0\n",
			    aic_log_level_name(level));
			assert_string_equal(caught(),
			    level <= threshold ? want : "");
		}
	aic_log_level(AIC_LOG_INFO);
}

static void
levels_have_their_names(void **state)
{
	(void)state;
	assert_string_equal(aic_log_level_name(AIC_LOG_ERROR), "error");
	assert_string_equal(aic_log_level_name(AIC_LOG_WARN), "warn");
	assert_string_equal(aic_log_level_name(AIC_LOG_INFO), "info");
	assert_string_equal(aic_log_level_name(AIC_LOG_DEBUG), "debug");
}

static void
a_duration_is_in_ms_with_one_decimal(void **state)
{
	static const struct {
		int64_t us;
		const char *want;
	} rows[] = { { 0, "0.0" }, { 49, "0.0" }, { 50, "0.1" }, { 999, "1.0" },
		{ 1000, "1.0" }, { 1234, "1.2" }, { 55000000, "55000.0" },
		{ -5, "0.0" } };
	char want[100];
	struct aic_log l;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		catch ();
		aic_log_begin(&l, AIC_LOG_ERROR, "e");
		aic_log_ms(&l, "ms", rows[i].us);
		aic_log_end(&l);
		snprintf(want, sizeof(want), "level=error event=e ms=%s\n",
		    rows[i].want);
		assert_string_equal(caught(), want);
	}
}

static void
an_event_with_a_sentence_is_one_line_too(void **state)
{
	static char text[3000];

	(void)state;
	catch ();
	aic_log_event(AIC_LOG_WARN, "start", "could not \"%s\": %d\n", "x", 5);
	assert_string_equal(caught(),
	    "level=warn event=start "
	    "text=\"could not \\\"x\\\": 5\\x0a\"\n");
	memset(text, 'x', sizeof(text) - 1);
	catch ();
	aic_log_event(AIC_LOG_WARN, "start", "%s", text);
	assert_true(strlen(caught()) <= AIC_LOG_LINE);
	catch ();
	aic_log_event(AIC_LOG_DEBUG, "start", "hidden");
	assert_string_equal(caught(), "");
}

static void *
write_many(void *arg)
{
	char value[300];
	int i;

	memset(value, *(char *)arg, sizeof(value));
	value[sizeof(value) - 1] = '\0';
	for (i = 0; i < 20; i++)
		aic_log_event(AIC_LOG_ERROR, "e", "%s", value);
	return NULL;
}

static void
lines_of_several_threads_are_not_interleaved(void **state)
{
	static char letters[] = "abcdefgh";
	pthread_t t[8];
	int i, lines = 0;
	char *line, *p;

	(void)state;
	catch ();
	for (i = 0; i < 8; i++)
		pthread_create(&t[i], NULL, write_many, &letters[i]);
	for (i = 0; i < 8; i++)
		pthread_join(t[i], NULL);
	caught();
	for (line = got; *line; line = p + 1, lines++) {
		p = strchr(line, '\n');
		assert_non_null(p);
		*p = '\0';
		line = strstr(line, "text=") + 5;
		assert_int_equal(strspn(line, (char[]){ *line, '\0' }), 299);
	}
	assert_int_equal(lines, 160);
}

static void
a_log_that_cannot_be_written_does_no_harm(void **state)
{
	int old = dup(STDERR_FILENO), full = open("/dev/full", O_WRONLY);

	(void)state;
	assert_true(full >= 0);
	dup2(full, STDERR_FILENO);
	aic_log_event(AIC_LOG_ERROR, "e", "lost");
	close(STDERR_FILENO);
	aic_log_event(AIC_LOG_ERROR, "e", "lost");
	dup2(old, STDERR_FILENO);
	close(old);
	close(full);
}

UNIT_MAIN(T(an_event_is_one_line_of_pairs),
    T(no_character_can_forge_a_line_or_be_invisible_in_it),
    T(a_text_that_is_null_or_empty_adds_no_pair),
    T(values_are_quoted_when_needed_and_control_bytes_are_escaped),
    T(no_byte_of_a_value_makes_a_second_line_or_a_control_byte),
    T(a_line_that_is_too_long_is_cut_and_ends_with_a_newline),
    T(a_text_is_cut_at_its_given_length),
    T(lines_below_the_level_are_not_written), T(levels_have_their_names),
    T(a_duration_is_in_ms_with_one_decimal),
    T(an_event_with_a_sentence_is_one_line_too),
    T(lines_of_several_threads_are_not_interleaved),
    T(a_log_that_cannot_be_written_does_no_harm))
