/*
 * utf8 -- the contract's rules for text: valid UTF-8, lengths in code points,
 * blank by Unicode's definition of white space.
 *
 * Source: RFC 3629; Unicode's PropList.txt, White_Space;
 * DerivedCoreProperties.txt, Default_Ignorable_Code_Point
 */
#ifndef AIC_UTF8_H
#define AIC_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"

/*
 * aic_utf8_next -- the length in bytes of the code point at s; 0: the bytes are
 * incomplete, overlong, a surrogate, or over U+10FFFF.
 *
 * n         bytes at s, at least 1
 * ret_cp    may be NULL; set if the value is not 0
 */
size_t aic_utf8_next(const char *s, size_t n, uint32_t *ret_cp);

/* aic_utf8_count -- the number of code points in a valid text. */
size_t aic_utf8_count(const char *s, size_t n);

/*
 * aic_utf8_is_space -- true for white space. Source: Unicode, the property
 * White_Space
 */
bool aic_utf8_is_space(uint32_t cp);

/* aic_utf8_blank -- true if the text is empty or only white space. */
bool aic_utf8_blank(const char *s, size_t n);

/*
 * aic_utf8_invisible -- true if the text has no visible character: only white
 * space, control and format characters, and letters that have no shape, such as
 * U+3164 HANGUL FILLER and U+2800 BRAILLE PATTERN BLANK, or nothing.
 *
 * Requests are checked by aic_utf8_blank(), as the contract requires. An answer
 * that has only invisible characters counts as empty, because Telegram refuses
 * it.
 */
bool aic_utf8_invisible(const char *s, size_t n);

/*
 * aic_utf8_put -- write a code point that is not a surrogate. Errors:
 * to->failed
 */
void aic_utf8_put(struct aic_buf *to, uint32_t cp);

/*
 * aic_utf8_mend -- copy a text so that PostgreSQL and JSON accept it: each byte
 * that is not UTF-8, and each NUL, becomes U+FFFD.
 *
 * Errors:   to->failed
 */
void aic_utf8_mend(struct aic_buf *to, const char *s, size_t n);

#endif
