/*
 * utf8 -- what the contract says about text: valid UTF-8, lengths in code
 * points, blank by Unicode's idea of white space.
 *
 * Source: RFC 3629; Unicode's PropList.txt, White_Space; DerivedCoreProperties.txt,
 * Default_Ignorable_Code_Point
 */
#ifndef AIC_UTF8_H
#define AIC_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"

/*
 * aic_utf8_next -- the length in bytes of the code point at s, 0 when there is
 * none: cut off, overlong, a surrogate, over U+10FFFF.
 *
 * n         bytes at s, at least 1
 * ret_cp    may be NULL; set when the value is not 0
 */
size_t aic_utf8_next(const char *s, size_t n, uint32_t *ret_cp);

/* aic_utf8_count -- how many code points a valid text has. */
size_t aic_utf8_count(const char *s, size_t n);

/* aic_utf8_blank -- nothing but white space, or nothing at all. */
bool aic_utf8_blank(const char *s, size_t n);

/*
 * aic_utf8_invisible -- nothing that a reader would see, or nothing at all: white
 * space, control and format characters, and letters that have no shape, such as
 * U+3164 HANGUL FILLER and U+2800 BRAILLE PATTERN BLANK.
 *
 * A request is refused by aic_utf8_blank(), which is the contract's word; an answer of
 * invisible characters alone is no answer, and Telegram refuses it.
 */
bool aic_utf8_invisible(const char *s, size_t n);

/* aic_utf8_put -- write a code point, which is none of the surrogates.
 * Errors: to->failed */
void aic_utf8_put(struct aic_buf *to, uint32_t cp);

/*
 * aic_utf8_mend -- copy text that PostgreSQL and JSON will take: each byte that
 * is not UTF-8, and each NUL, becomes U+FFFD.
 *
 * Errors:   to->failed
 */
void aic_utf8_mend(struct aic_buf *to, const char *s, size_t n);

#endif
