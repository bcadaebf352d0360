/*
 * fuzz -- the common part of all targets. A target passes any bytes to a part
 * of lib/ that reads untrusted data, and asserts what must hold for any input.
 *
 * Each target becomes two programs: with replay.c a program that runs the seeds
 * in corpus/ and prints TAP, and with libfuzzer.c, by clang, one that searches
 * for new inputs.
 */
#ifndef AIC_FUZZ_H
#define AIC_FUZZ_H

#undef NDEBUG
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * fuzz_one -- run the target on one input.
 *
 * data      len bytes, not followed by a NUL
 *
 * Returns true when the bytes were accepted, false when they were refused. A
 * seed whose name begins with `taken-' or `refused-' must have that result.
 */
bool fuzz_one(const char *data, size_t len);

/* fuzz_is_text -- valid UTF-8 without NUL, of len bytes. */
bool fuzz_is_text(const char *s, size_t len);

/* fuzz_is_line -- such a text that is not empty and has no line break. */
bool fuzz_is_line(const char *s);

#endif
