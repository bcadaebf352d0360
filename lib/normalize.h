/*
 * normalize -- normalise a question, so that two questions that differ only in
 * case, in white space or in the marks at their end are equal.
 *
 * Threads: any.
 */
#ifndef AIC_NORMALIZE_H
#define AIC_NORMALIZE_H

#include "lib/buf.h"

/*
 * aic_normalize_question -- write the question with Latin and Cyrillic letters
 * in lower case, with each yo as ye (the common spelling), with single blanks
 * for white space, and without blanks and sentence marks at both ends.
 *
 * text      valid UTF-8
 *
 * Errors:   to->failed
 */
void aic_normalize_question(struct aic_buf *to, const char *text);

#endif
