/*
 * fuzz -- what the targets have in common. A target takes any bytes to a part of
 * lib/ that reads what strangers write, and asserts what must hold whatever they
 * are.
 *
 * Two programs are made of each: with replay.c one that runs the seeds in corpus/
 * and speaks TAP, and with libfuzzer.c, by clang, one that searches for others.
 */
#ifndef AIC_FUZZ_H
#define AIC_FUZZ_H

#undef NDEBUG
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * fuzz_one -- the target itself.
 *
 * data      len bytes and no NUL behind them
 *
 * True: they were taken; false: refused. A seed whose name begins with `taken-'
 * or `refused-' is held to it.
 */
bool fuzz_one(const char *data, size_t len);

/* fuzz_is_text -- valid UTF-8 without NUL, of len bytes. */
bool fuzz_is_text(const char *s, size_t len);

/* fuzz_is_line -- such a text, and not empty, and without a line break. */
bool fuzz_is_line(const char *s);

#endif
