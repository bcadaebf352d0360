#include "config.h"

#include "lib/near.h"

#include <string.h>

#include "unit.h"

static size_t
steps(const char *a, const char *b)
{
	size_t there = aic_near_steps(a, strlen(a), b, strlen(b));

	assert_int_equal(aic_near_steps(b, strlen(b), a, strlen(a)), there);
	return there;
}

static void
each_kind_of_typing_error_is_one_step(void **state)
{
	(void)state;
	assert_int_equal(steps("MODEL", "MODEL"), 0);
	assert_int_equal(steps("MODEL", "MODELS"), 1);
	assert_int_equal(steps("MODEL", "MOEL"), 1);
	assert_int_equal(steps("MODEL", "MODAL"), 1);
	assert_int_equal(steps("MODEL", "MODLE"), 1);
	assert_int_equal(steps("MODEL", "OMDEL"), 1);
}

static void
errors_add_up(void **state)
{
	(void)state;
	assert_int_equal(steps("", "MODEL"), 5);
	assert_int_equal(steps("kitten", "sitting"), 3);
	assert_int_equal(steps("OMDLE", "MODEL"), 2);
	assert_int_equal(steps("ABCDEF", "BADCFE"), 3);
	assert_int_equal(steps("abc", "xyz"), 3);
}

static void
only_the_given_bytes_are_compared(void **state)
{
	(void)state;
	assert_int_equal(aic_near_steps("MODEL=x", 5, "MODELS", 5), 0);
}

static void
a_name_that_is_too_long_is_far_from_all_others(void **state)
{
	char text[AIC_NEAR_MAX + 1];

	(void)state;
	memset(text, 'x', sizeof(text));
	assert_int_equal(aic_near_steps(text, sizeof(text), text, sizeof(text)),
	    AIC_NEAR_MAX);
	assert_int_equal(aic_near_steps(text, sizeof(text) - 1, text,
			     sizeof(text) - 1),
	    0);
}

UNIT_MAIN(T(each_kind_of_typing_error_is_one_step), T(errors_add_up),
    T(only_the_given_bytes_are_compared),
    T(a_name_that_is_too_long_is_far_from_all_others))
