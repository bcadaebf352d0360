/*
 * entity -- HTML character references, in the forms that models write.
 *
 * Threads: any.
 */
#ifndef AIC_ENTITY_H
#define AIC_ENTITY_H

#include <stddef.h>
#include <stdint.h>

/*
 * aic_entity_next -- the length in bytes of the reference at s: &lt; &#123;
 * &#x1f4a9; and the names of a short table. 0: no reference.
 *
 * n         bytes at s, at least 1
 * ret_cp    set when the value is not 0; U+FFFD for a number that is no
 *           character
 */
size_t aic_entity_next(const char *s, size_t n, uint32_t *ret_cp);

#endif
