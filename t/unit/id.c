#include "config.h"

#include "lib/id.h"

#include <stdlib.h>
#include <string.h>

#include "unit.h"

#define MANY 10000

static int
compare(const void *a, const void *b)
{
	return memcmp(a, b, AIC_ID_SIZE);
}

static void
an_id_is_a_version_4_uuid_in_lower_case(void **state)
{
	struct aic_err err = AIC_ERR_INIT;
	char id[AIC_ID_SIZE];
	int n, i;

	(void)state;
	for (n = 0; n < 200; n++) {
		assert_int_equal(aic_id_new(id, &err), AIC_OK);
		assert_int_equal(strlen(id), 36);
		for (i = 0; i < 36; i++) {
			if (i == 8 || i == 13 || i == 18 || i == 23)
				assert_int_equal(id[i], '-');
			else
				assert_non_null(memchr("0123456789abcdef",
				    id[i], 16));
		}
		assert_int_equal(id[14], '4');
		assert_non_null(memchr("89ab", id[19], 4));
	}
}

static void
ids_of_one_key_and_body_share_only_their_first_and_last_parts(void **state)
{
	const unsigned char key[AIC_ID_KEY_BYTES] = { 0xff, 0, 0x1f, 0xe2, 0xd3,
		0xc4, 0xb5, 0xa6 };
	const unsigned char body[AIC_ID_BODY_BYTES] = { 1, 0xab, 0, 0xff };
	struct aic_err err = AIC_ERR_INIT;
	char a[AIC_ID_SIZE], b[AIC_ID_SIZE];

	(void)state;
	assert_int_equal(aic_id_of_key(a, key, body, &err), AIC_OK);
	assert_int_equal(aic_id_of_key(b, key, body, &err), AIC_OK);
	/* The version replaces four bits. */
	assert_memory_equal(a, "ff001fe2-d3c4-85a6-", 19);
	assert_memory_equal(b, a, 18);
	assert_string_equal(a + 28, "01ab00ff");
	assert_string_equal(b + 28, a + 28);
	assert_non_null(memchr("89ab", a[19], 4));
	assert_string_not_equal(a, b);
	assert_int_equal(strlen(a), 36);
}

static void
ids_differ(void **state)
{
	struct aic_err err = AIC_ERR_INIT;
	char(*ids)[AIC_ID_SIZE] = calloc(MANY, sizeof(*ids));
	int i;

	(void)state;
	for (i = 0; i < MANY; i++)
		assert_int_equal(aic_id_new(ids[i], &err), AIC_OK);
	qsort(ids, MANY, sizeof(*ids), compare);
	for (i = 1; i < MANY; i++)
		assert_string_not_equal(ids[i - 1], ids[i]);
	free(ids);
}

/* With a good source an empty bin of 20 is practically impossible. */
static void
random_numbers_are_spread_from_0_to_under_1(void **state)
{
	int bins[20] = { 0 }, i;
	double x;

	(void)state;
	for (i = 0; i < MANY; i++) {
		x = aic_random();
		assert_true(x >= 0 && x < 1);
		bins[(int)(x * 20)]++;
	}
	for (i = 0; i < 20; i++)
		assert_in_range(bins[i], MANY / 20 / 2, MANY / 20 * 2);
}

UNIT_MAIN(T(an_id_is_a_version_4_uuid_in_lower_case),
    T(ids_of_one_key_and_body_share_only_their_first_and_last_parts),
    T(ids_differ), T(random_numbers_are_spread_from_0_to_under_1))
