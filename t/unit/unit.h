/*
 * unit -- the common part of all unit tests: cmocka, and a main() that prints
 * TAP.
 */
#ifndef AIC_UNIT_H
#define AIC_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* A literal and its length, because it may contain NUL bytes. */
#define LIT(s) (s), sizeof(s) - 1

/* cmocka 1.1.5 reports its own skip() to TAP as a failure. */
#define SKIP(why)                                                              \
	do {                                                                   \
		print_message("# skipped: %s\n", why);                         \
		return;                                                        \
	} while (0)

/* The setup and teardown of the whole group come first; NULL: none. */
#define UNIT_MAIN_WITH(setup, teardown, ...)                                   \
	int main(void)                                                         \
	{                                                                      \
		const struct CMUnitTest tests[] = { __VA_ARGS__ };             \
                                                                               \
		cmocka_set_message_output(CM_OUTPUT_TAP);                      \
		return cmocka_run_group_tests(tests, setup, teardown);         \
	}
#define UNIT_MAIN(...) UNIT_MAIN_WITH(NULL, NULL, __VA_ARGS__)

#define T(name) cmocka_unit_test(name)

#endif
