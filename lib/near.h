/*
 * near -- how much two names differ, to suggest the name that was meant.
 */
#ifndef AIC_NEAR_H
#define AIC_NEAR_H

#include <stddef.h>

/* Longer names are not compared. */
#define AIC_NEAR_MAX 64

/*
 * aic_near_steps -- the least number of steps from one name to the other. A
 * step inserts, removes or replaces a character, or exchanges two neighbours.
 * If a name is longer than AIC_NEAR_MAX, the result is AIC_NEAR_MAX.
 *
 * Threads:  any
 * Source:   Damerau-Levenshtein distance, restricted edit
 */
size_t aic_near_steps(const char *a, size_t n, const char *b, size_t m);

#endif
