/*
 * hex -- hexadecimal digits.
 *
 * Threads: any.
 */
#ifndef AIC_HEX_H
#define AIC_HEX_H

#include <stddef.h>

/* aic_hex_digit -- the value of a digit of either case; -1: it is none. */
int aic_hex_digit(char c);

/*
 * aic_hex_byte -- the value of two digits; -1: they are none. p may be a string
 * that ends before the second digit.
 */
int aic_hex_byte(const char *p);

/*
 * aic_hex_put -- write bytes as digits of lower case, with a NUL.
 *
 * to        2 * n + 1 bytes
 */
void aic_hex_put(char *to, const void *bytes, size_t n);

#endif
