/*
 * plural -- the form of a Russian noun after a number: 1 день, 2 дня, 5 дней,
 * 11 дней, 21 день, 1,5 дня.
 *
 * Threads: any; the functions only read.
 * Source:   Unicode CLDR, plural rules of Russian
 */
#ifndef AIC_PLURAL_H
#define AIC_PLURAL_H

#include <stdint.h>

/* The three forms of a noun. */
struct aic_plural {
	const char *one; /* 1, 21, 101 */
	const char *few; /* 2, 3, 4, 22; also any fraction */
	const char *many; /* 0, 5, 11, 12 */
};

/* aic_plural -- the form for an integer. Memory: borrows from forms. */
const char *aic_plural(const struct aic_plural *forms, int64_t n);

/*
 * aic_plural_of -- the form for a number as it is written, rounded to two
 * decimals. x: absolute value under 1e15.
 */
const char *aic_plural_of(const struct aic_plural *forms, double x);

#endif
