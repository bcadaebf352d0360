#include "config.h"

#include "lib/digest.h"

#include <stdlib.h>
#include <string.h>

#include "unit.h"

#define KEY "aic:1:ctx:42"
#define NOW INT64_C(1762000000000)

static struct aic_seal *seal;

static int
new_seal(void **state)
{
	(void)state;
	seal = aic_seal_new("secret");
	return seal ? 0 : -1;
}

static int
free_seal(void **state)
{
	(void)state;
	aic_seal_free(seal);
	return 0;
}

/* A sealed value in a heap block of its exact size. */
static unsigned char *
sealed(const char *key, int64_t until_ms, const void *value, size_t len)
{
	unsigned char *p = malloc(AIC_SEAL_SIZE + len);

	assert_true(aic_seal_put(seal, key, until_ms, value, len, p));
	memcpy(p + AIC_SEAL_SIZE, value, len);
	return p;
}

static void
a_sealed_value_passes_the_check(void **state)
{
	static const char *const values[] = { "", "x", "a longer value" };
	unsigned char *p;
	size_t i, len;

	(void)state;
	for (i = 0; i < 3; i++) {
		len = strlen(values[i]);
		p = sealed(KEY, NOW + 1, values[i], len);
		assert_true(aic_seal_check(seal, KEY, NOW, p,
		    AIC_SEAL_SIZE + len));
		/* A second check does not depend on state of the first one. */
		assert_true(aic_seal_check(seal, KEY, NOW, p,
		    AIC_SEAL_SIZE + len));
		free(p);
	}
}

static void
a_value_with_any_bit_changed_is_refused(void **state)
{
	unsigned char *p = sealed(KEY, NOW + 1000, LIT("value"));
	size_t len = AIC_SEAL_SIZE + 5, i;

	(void)state;
	for (i = 0; i < 8 * len; i++) {
		p[i / 8] ^= (unsigned char)(1 << i % 8);
		assert_false(aic_seal_check(seal, KEY, NOW, p, len));
		p[i / 8] ^= (unsigned char)(1 << i % 8);
	}
	assert_true(aic_seal_check(seal, KEY, NOW, p, len));
	free(p);
}

static void
a_value_under_another_key_is_refused(void **state)
{
	static const char *const keys[] = { "aic:1:ctx:43", "aic:1:ctx:4",
		"aic:1:ctx:420", "", "aic:2:ctx:42" };
	unsigned char *p = sealed(KEY, NOW + 1, LIT("value"));
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		assert_false(aic_seal_check(seal, keys[i], NOW, p,
		    AIC_SEAL_SIZE + 5));
	free(p);
}

static void
a_byte_moved_from_the_key_to_the_value_is_detected(void **state)
{
	unsigned char *p = sealed("key", NOW + 1, LIT("value"));
	unsigned char *q = sealed("keyv", NOW + 1, LIT("alue"));

	(void)state;
	assert_memory_not_equal(p, q, AIC_SEAL_PROOF);
	free(p);
	free(q);
}

static void
a_value_of_another_secret_is_refused(void **state)
{
	struct aic_seal *other = aic_seal_new("secreu");
	unsigned char *p = sealed(KEY, NOW + 1, LIT("value"));

	(void)state;
	assert_false(aic_seal_check(other, KEY, NOW, p, AIC_SEAL_SIZE + 5));
	aic_seal_free(other);
	free(p);
}

static void
a_copy_of_the_seal_is_the_same(void **state)
{
	struct aic_seal *copy = aic_seal_copy(seal);
	unsigned char *p = sealed(KEY, NOW + 1, LIT("value"));

	(void)state;
	assert_true(aic_seal_check(copy, KEY, NOW, p, AIC_SEAL_SIZE + 5));
	aic_seal_free(copy);
	assert_true(aic_seal_check(seal, KEY, NOW, p, AIC_SEAL_SIZE + 5));
	free(p);
}

static void
a_value_that_is_shorter_or_longer_is_refused(void **state)
{
	unsigned char *p = sealed(KEY, NOW + 1, LIT("value")), *part;
	size_t len;

	(void)state;
	for (len = 0; len < AIC_SEAL_SIZE + 5; len++) {
		part = malloc(len + 1);
		memcpy(part, p, len);
		assert_false(aic_seal_check(seal, KEY, NOW, part, len));
		free(part);
	}
	part = calloc(1, AIC_SEAL_SIZE + 6);
	memcpy(part, p, AIC_SEAL_SIZE + 5);
	assert_false(aic_seal_check(seal, KEY, NOW, part, AIC_SEAL_SIZE + 6));
	free(part);
	free(p);
}

static void
a_value_expires_by_the_clock_of_the_worker(void **state)
{
	unsigned char *p = sealed(KEY, NOW, LIT("value"));

	(void)state;
	assert_true(aic_seal_check(seal, KEY, NOW - 1, p, AIC_SEAL_SIZE + 5));
	assert_false(aic_seal_check(seal, KEY, NOW, p, AIC_SEAL_SIZE + 5));
	assert_false(aic_seal_check(seal, KEY, NOW + 1, p, AIC_SEAL_SIZE + 5));
	assert_false(aic_seal_check(seal, KEY, INT64_MAX, p,
	    AIC_SEAL_SIZE + 5));
	free(p);
}

static void
a_digest_is_sha256(void **state)
{
	unsigned char digest[AIC_DIGEST_BYTES];
	char hex[AIC_DIGEST_HEX_SIZE];

	(void)state;
	/* The first example of FIPS 180. */
	assert_true(aic_digest_bytes("abc", 3, digest));
	aic_digest_hex(digest, hex);
	assert_string_equal(hex,
	    "ba7816bf8f01cfea414140de5dae2223"
	    "b00361a396177a9cb410ff61f20015ad");
}

static void
texts_with_other_boundaries_have_another_digest(void **state)
{
	static const char *const one[] = { "ab", "c", NULL };
	static const char *const two[] = { "a", "bc", NULL };
	unsigned char a[AIC_DIGEST_BYTES], b[AIC_DIGEST_BYTES];

	(void)state;
	assert_true(aic_digest(one, a));
	assert_true(aic_digest(two, b));
	assert_memory_not_equal(a, b, sizeof(a));
	assert_true(aic_digest_bytes("ab\0c", 5, b));
	assert_memory_equal(a, b, sizeof(a));
}

UNIT_MAIN_WITH(new_seal, free_seal, T(a_digest_is_sha256),
    T(texts_with_other_boundaries_have_another_digest),
    T(a_sealed_value_passes_the_check),
    T(a_value_with_any_bit_changed_is_refused),
    T(a_value_under_another_key_is_refused),
    T(a_byte_moved_from_the_key_to_the_value_is_detected),
    T(a_value_of_another_secret_is_refused), T(a_copy_of_the_seal_is_the_same),
    T(a_value_that_is_shorter_or_longer_is_refused),
    T(a_value_expires_by_the_clock_of_the_worker))
