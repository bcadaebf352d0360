#include "config.h"

#include "lib/auth.h"

#include <string.h>

#include "unit.h"

static bool
opens(const char *keys, const char *admin, enum aic_auth_need need,
    const char *given)
{
	struct aic_err err = AIC_ERR_INIT;
	struct aic_auth *auth = NULL;
	enum aic_code rc;

	assert_int_equal(aic_auth_open(&auth, keys, admin, NULL, &err), AIC_OK);
	rc = aic_auth_check(auth, need, given, &err);
	aic_auth_close(auth);
	assert_true(rc == AIC_OK || rc == AIC_EAUTH);
	if (rc) {
		assert_int_equal(err.code, AIC_EAUTH);
		/*
		 * The detail quotes neither the key that came nor a configured
		 * one.
		 */
		if (given && strlen(given) > 4)
			assert_null(strstr(err.detail, given));
		assert_null(strstr(err.detail, "alpha"));
		assert_string_equal(err.says, "");
	}
	return rc == AIC_OK;
}

static bool
caller(const char *keys, const char *given)
{
	return opens(keys, NULL, AIC_AUTH_CALLER, given);
}

static void
a_public_route_needs_no_key(void **state)
{
	(void)state;
	assert_true(opens("alpha", NULL, AIC_AUTH_NONE, NULL));
	assert_true(opens("alpha", "root", AIC_AUTH_NONE, "wrong"));
}

static void
only_the_exact_key_is_accepted(void **state)
{
	static const char *const wrong[] = { "", "a", "alph", "alphaa",
		"alphaalpha", "Alpha", "alphb", "blpha", " alpha", "alpha ",
		"alpha,", ",alpha", ",", " ", "\t", "alpha\n" };
	size_t i;

	(void)state;
	assert_true(caller("alpha", "alpha"));
	assert_false(caller("alpha", NULL));
	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		if (caller("alpha", wrong[i]))
			fail_msg("\"%s\" opened", wrong[i]);
}

static void
each_of_several_keys_is_accepted_without_the_blanks_around_it(void **state)
{
	static const char keys[] = " alpha,beta ,\tgamma delta\t, e";

	(void)state;
	assert_true(caller(keys, "alpha"));
	assert_true(caller(keys, "beta"));
	assert_true(caller(keys, "gamma delta"));
	assert_true(caller(keys, "e"));
	assert_false(caller(keys, "beta "));
	assert_false(caller(keys, "gamma"));
	assert_false(caller(keys, "delta"));
	assert_false(caller(keys, "alpha,beta"));
	assert_false(caller(keys, "alpha,beta ,\tgamma delta\t, e"));
	assert_false(caller(keys, keys));
	assert_false(caller(keys, ""));
}

static bool
starts_with(const char *keys, const char *admin)
{
	struct aic_err err = AIC_ERR_INIT;
	struct aic_auth *auth = NULL;
	enum aic_code rc = aic_auth_open(&auth, keys, admin, NULL, &err);

	assert_true(rc == AIC_OK || rc == AIC_ECONF);
	assert_true(rc == AIC_OK || !auth);
	assert_null(strstr(err.detail, "alpha"));
	aic_auth_close(auth);
	return rc == AIC_OK;
}

static void
an_empty_key_is_refused_at_the_start(void **state)
{
	static const char *const lists[] = { "", ",", "alpha,", ",alpha",
		"alpha,,beta", " , ", "\t", "alpha, ", "alpha, ,beta" };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		if (starts_with(lists[i], NULL))
			fail_msg("taken: \"%s\"", lists[i]);
	assert_true(starts_with("alpha", NULL));
}

static void
an_admin_key_that_is_a_key_of_callers_is_refused_at_the_start(void **state)
{
	(void)state;
	assert_false(starts_with("alpha", "alpha"));
	assert_false(starts_with("beta, alpha ,gamma", "alpha"));
	assert_true(starts_with("beta, alpha ,gamma", "alph"));
	assert_true(starts_with("beta, alpha ,gamma", "alpha ,gamma"));
}

static void
a_key_with_one_wrong_byte_is_refused(void **state)
{
	char given[] = "0123456789abcdef0123456789abcdef";
	char keys[] = "0123456789abcdef0123456789abcdef";
	size_t i;
	int bit;

	(void)state;
	for (i = 0; i < strlen(keys); i++)
		for (bit = 0; bit < 8; bit++) {
			given[i] = (char)(keys[i] ^ (1 << bit));
			assert_false(caller(keys, given));
			given[i] = keys[i];
		}
	assert_true(caller(keys, given));
}

static void
only_an_admin_key_opens_what_is_for_operators(void **state)
{
	(void)state;
	assert_true(opens("alpha", "root", AIC_AUTH_OPERATOR, "root"));
	assert_false(opens("alpha", "root", AIC_AUTH_OPERATOR, "alpha"));
	assert_false(opens("alpha", "root", AIC_AUTH_OPERATOR, NULL));
	assert_false(opens("alpha", NULL, AIC_AUTH_OPERATOR, "alpha"));
	assert_false(opens("alpha", NULL, AIC_AUTH_OPERATOR, ""));
}

/* The name of an admin key; NULL: it is none, or the start was refused. */
static bool
is_named(const char *admin, const char *names, const char *given,
    const char *want)
{
	struct aic_err err = AIC_ERR_INIT;
	struct aic_auth *auth = NULL;
	const char *name;
	bool same;

	if (aic_auth_open(&auth, "alpha", admin, names, &err)) {
		assert_int_equal(err.code, AIC_ECONF);
		assert_null(strstr(err.detail, "root"));
		return !want;
	}
	name = aic_auth_admin_name(auth, given);
	same = name && want ? strcmp(name, want) == 0 : name == want;
	aic_auth_close(auth);
	return same;
}

static void
an_admin_key_has_its_name(void **state)
{
	(void)state;
	assert_true(is_named("root", NULL, "root", "key 1"));
	assert_true(is_named("root,a", NULL, "root,a", "key 1"));
	assert_true(is_named("root,a", NULL, "root", NULL));
	assert_true(is_named("root, a", "x, y z", "root", "x"));
	assert_true(is_named("root, a", "x, y z", "a", "y z"));
	assert_true(is_named("root,a", "x,y", "root,a", NULL));
	assert_true(is_named("root", "Анна", "root", "Анна"));
	assert_true(is_named("root", NULL, "alpha", NULL));
	assert_true(is_named("root", NULL, NULL, NULL));
	assert_true(is_named(NULL, NULL, "root", NULL));
}

static void
names_that_do_not_fit_the_admin_keys_are_refused_at_the_start(void **state)
{
	static const char *const pairs[][2] = { { "root", "x,y" },
		{ "root,a", "x" }, { "root,a", "x,x" }, { "root,root", "x,y" },
		{ "root,", "x,y" }, { "root,a", "x," }, { "root", "" },
		{ "root", "a\tb" }, { "root", "\xff" }, { NULL, "x" },
		{ "root,alpha", "x,y" },
		{ "root",
		    "1234567890123456789012345678901234567890123456789012345678"
		    "9012345" } };
	struct aic_err err = AIC_ERR_INIT;
	struct aic_auth *auth = NULL;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		if (aic_auth_open(&auth, "alpha", pairs[i][0], pairs[i][1],
			&err) != AIC_ECONF)
			fail_msg("taken: %zu", i);
}

static void
only_the_admin_key_is_accepted_for_admin_routes(void **state)
{
	(void)state;
	assert_true(opens("alpha", "root", AIC_AUTH_ADMIN, "root"));
	assert_false(opens("alpha", "root", AIC_AUTH_ADMIN, "alpha"));
	assert_false(opens("alpha", "root", AIC_AUTH_ADMIN, ""));
	assert_false(opens("alpha", "root", AIC_AUTH_ADMIN, NULL));
	assert_false(opens("alpha", "root", AIC_AUTH_ADMIN, "roo"));
}

static void
the_admin_key_is_accepted_for_no_other_route(void **state)
{
	(void)state;
	assert_false(opens("alpha", "root", AIC_AUTH_CALLER, "root"));
	assert_true(opens("alpha", "root", AIC_AUTH_CALLER, "alpha"));
}

static void
without_an_admin_key_the_callers_keys_serve_for_admin_routes(void **state)
{
	(void)state;
	assert_true(opens("alpha,beta", NULL, AIC_AUTH_ADMIN, "beta"));
	assert_false(opens("alpha,beta", NULL, AIC_AUTH_ADMIN, "root"));
	assert_false(opens("alpha,beta", NULL, AIC_AUTH_ADMIN, NULL));
}

UNIT_MAIN(T(a_public_route_needs_no_key), T(only_the_exact_key_is_accepted),
    T(each_of_several_keys_is_accepted_without_the_blanks_around_it),
    T(an_empty_key_is_refused_at_the_start),
    T(an_admin_key_that_is_a_key_of_callers_is_refused_at_the_start),
    T(a_key_with_one_wrong_byte_is_refused),
    T(only_an_admin_key_opens_what_is_for_operators),
    T(an_admin_key_has_its_name),
    T(names_that_do_not_fit_the_admin_keys_are_refused_at_the_start),
    T(only_the_admin_key_is_accepted_for_admin_routes),
    T(the_admin_key_is_accepted_for_no_other_route),
    T(without_an_admin_key_the_callers_keys_serve_for_admin_routes))
