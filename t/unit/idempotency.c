#include "config.h"

#include "lib/idempotency.h"

#include <string.h>

#include "unit.h"

static void
a_key_is_1_to_128_printable_ascii_characters(void **state)
{
	struct aic_err err;
	char key[200], got[AIC_IDEMPOTENCY_KEY_SIZE];
	int c;

	(void)state;
	for (c = 1; c < 256; c++) {
		err = (struct aic_err)AIC_ERR_INIT;
		key[0] = key[2] = 'k';
		key[1] = (char)c;
		key[3] = '\0';
		assert_int_equal(aic_idempotency_key(key, got, &err),
		    c >= ' ' && c <= '~' ? AIC_OK : AIC_EINPUT);
	}
	memset(key, 'k', sizeof(key));
	key[AIC_IDEMPOTENCY_KEY_MAX] = '\0';
	err = (struct aic_err)AIC_ERR_INIT;
	assert_int_equal(aic_idempotency_key(key, got, &err), AIC_OK);
	key[AIC_IDEMPOTENCY_KEY_MAX] = 'k';
	key[AIC_IDEMPOTENCY_KEY_MAX + 1] = '\0';
	assert_int_equal(aic_idempotency_key(key, got, &err), AIC_EINPUT);
	assert_int_equal(err.n_faults, 1);
	assert_string_equal(err.faults[0].type, "string_too_long");
	assert_string_equal(err.faults[0].where, "header");
	assert_string_equal(err.faults[0].field, "Idempotency-Key");
}

/* The type of the fault of a value; "": it has none, and got is its key. */
static const char *
read_key(const char *value, char got[AIC_IDEMPOTENCY_KEY_SIZE])
{
	static struct aic_err err;

	err = (struct aic_err)AIC_ERR_INIT;
	if (aic_idempotency_key(value, got, &err) == AIC_OK)
		return "";
	assert_int_equal(err.n_faults, 1);
	assert_string_equal(err.faults[0].where, "header");
	assert_string_equal(err.faults[0].field, "Idempotency-Key");
	return err.faults[0].type;
}

static void
quotes_are_not_part_of_a_key(void **state)
{
	static const struct {
		const char *value, *key;
	} good[] = {
		{ "\"abc\"", "abc" },
		{ "\" \"", " " },
		{ "\"a\\\"b\"", "a\"b" },
		{ "\"\\\\\"", "\\" },
		{ "\"\\\\\\\"\"", "\\\"" },
		/* Without a quote at the beginning, nothing is special. */
		{ "abc\"", "abc\"" },
		{ "a\\b", "a\\b" },
		{ "a\\", "a\\" },
		{ ":YWJj:", ":YWJj:" },
	};
	char got[AIC_IDEMPOTENCY_KEY_SIZE];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_string_equal(read_key(good[i].value, got), "");
		assert_string_equal(got, good[i].key);
	}
}

static void
a_quoted_key_with_a_fault_is_refused(void **state)
{
	static const char *const bad[] = { "\"", "\"abc", "\"abc\\\"",
		"\"abc\\", "\"a\\bc\"", "\"a\"b\"", "\"a\" ", "\"a\"b",
		"\"a\";b", "\"a\", \"b\"", "\"a\tb\"", "\"\303\251\"" };
	char got[AIC_IDEMPOTENCY_KEY_SIZE];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_string_equal(read_key(bad[i], got),
		    "string_pattern_mismatch");
	assert_string_equal(read_key("\"\"", got), "string_too_short");
}

/* Otherwise one of two equal keys could be too long. */
static void
quotes_and_escapes_do_not_count_as_length(void **state)
{
	char value[300], got[AIC_IDEMPOTENCY_KEY_SIZE];
	int i, n = 0;

	(void)state;
	value[n++] = '"';
	for (i = 0; i < AIC_IDEMPOTENCY_KEY_MAX; i++) {
		value[n++] = '\\';
		value[n++] = '"';
	}
	memcpy(value + n, "\"", 2);
	assert_string_equal(read_key(value, got), "");
	assert_int_equal(strlen(got), AIC_IDEMPOTENCY_KEY_MAX);
	value[n++] = 'k';
	memcpy(value + n, "\"", 2);
	assert_string_equal(read_key(value, got), "string_too_long");
}

struct begun {
	char id[AIC_ID_SIZE], digest[AIC_IDEMPOTENCY_DIGEST_SIZE];
};

static struct begun
begin_as(const char *key, const char *message, const char *context,
    const char *format)
{
	struct aic_err err = AIC_ERR_INIT;
	struct begun b;

	assert_int_equal(aic_idempotency_begin(key, message, context, format,
			     b.id, b.digest, &err),
	    AIC_OK);
	return b;
}

static struct begun
begin(const char *key, const char *message, const char *context)
{
	return begin_as(key, message, context, NULL);
}

static void
the_first_half_of_an_id_depends_on_the_key_only(void **state)
{
	struct begun a = begin("key", "one", NULL);
	struct begun b = begin("key", "two", "three");
	struct begun c = begin("kez", "one", NULL);

	(void)state;
	assert_memory_equal(a.id, b.id, 18);
	assert_memory_not_equal(a.id, c.id, 18);
	assert_int_equal(a.id[14], '8');
	/* The first half of SHA-256("key\0"), except for the version. */
	assert_memory_equal(a.id, "dc1f67f2-bd83-82ce", 18);
}

static void
the_digest_covers_the_key_and_all_that_is_asked(void **state)
{
	struct begun a = begin("key", "one", "two");

	(void)state;
	assert_int_equal(strlen(a.digest), 66);
	assert_memory_equal(a.digest, "\\x", 2);
	assert_int_equal(strspn(a.digest + 2, "0123456789abcdef"), 64);
	assert_string_equal(a.digest, begin("key", "one", "two").digest);
	assert_string_not_equal(a.digest, begin("kez", "one", "two").digest);
	assert_string_not_equal(a.digest, begin("key", "onf", "two").digest);
	assert_string_not_equal(a.digest, begin("key", "one", "twp").digest);
	assert_string_not_equal(a.digest, begin("key", "onetwo", "").digest);
	assert_string_not_equal(a.digest, begin("key", "one", NULL).digest);
	/* To the model, no data and empty data are the same. */
	assert_string_equal(begin("key", "one", NULL).digest,
	    begin("key", "one", "").digest);
}

/*
 * Otherwise an upgrade would change the digest of chats that are repeated
 * across it.
 */
static void
without_a_format_the_digest_is_that_of_earlier_versions(void **state)
{
	struct begun a = begin("key", "one", "two");

	(void)state;
	/* SHA-256("key\0one\0two\0") */
	assert_string_equal(a.digest,
	    "\\xe6e1aa80b7c087a2307f695a245fc4029149546e1815953ed45d96073de5d8f2");
	assert_string_not_equal(a.digest,
	    begin_as("key", "one", "two", "plain").digest);
	assert_string_not_equal(begin_as("key", "one", "two", "telegram-html")
				    .digest,
	    begin_as("key", "one", "two", "plain").digest);
}

UNIT_MAIN(T(a_key_is_1_to_128_printable_ascii_characters),
    T(quotes_are_not_part_of_a_key), T(a_quoted_key_with_a_fault_is_refused),
    T(quotes_and_escapes_do_not_count_as_length),
    T(the_first_half_of_an_id_depends_on_the_key_only),
    T(the_digest_covers_the_key_and_all_that_is_asked),
    T(without_a_format_the_digest_is_that_of_earlier_versions))
