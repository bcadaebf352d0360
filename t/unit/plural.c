#include "config.h"

#include "lib/plural.h"

#include <stdlib.h>
#include <string.h>

#include "unit.h"

static const struct aic_plural days = { "день", "дня", "дней" };

static void
each_whole_number_has_its_form(void **state)
{
	static const struct {
		int64_t n;
		const char *form;
	} rows[] = { { 0, "дней" }, { 1, "день" }, { 2, "дня" }, { 4, "дня" },
		{ 5, "дней" }, { 10, "дней" }, { 11, "дней" }, { 12, "дней" },
		{ 14, "дней" }, { 15, "дней" }, { 20, "дней" }, { 21, "день" },
		{ 22, "дня" }, { 25, "дней" }, { 100, "дней" }, { 101, "день" },
		{ 111, "дней" }, { 112, "дней" }, { 121, "день" },
		{ 1000000, "дней" }, { -1, "день" }, { -11, "дней" },
		{ INT64_MAX, "дней" }, { INT64_MIN, "дней" } };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_string_equal(aic_plural(&days, rows[i].n), rows[i].form);
}

static void
a_fraction_takes_the_form_of_few(void **state)
{
	(void)state;
	assert_string_equal(aic_plural_of(&days, 1.5), "дня");
	assert_string_equal(aic_plural_of(&days, 5.25), "дня");
	assert_string_equal(aic_plural_of(&days, -0.5), "дня");
	assert_string_equal(aic_plural_of(&days, 11.1), "дня");
}

static void
a_number_written_without_a_fraction_counts_as_whole(void **state)
{
	(void)state;
	assert_string_equal(aic_plural_of(&days, 1.0), "день");
	assert_string_equal(aic_plural_of(&days, 0.999), "день");
	assert_string_equal(aic_plural_of(&days, 2.001), "дня");
	assert_string_equal(aic_plural_of(&days, 11), "дней");
	assert_string_equal(aic_plural_of(&days, 0), "дней");
	assert_string_equal(aic_plural_of(&days, 9e14), "дней");
}

UNIT_MAIN(T(each_whole_number_has_its_form),
    T(a_fraction_takes_the_form_of_few),
    T(a_number_written_without_a_fraction_counts_as_whole))
