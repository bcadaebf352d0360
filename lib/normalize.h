/*
 * question -- whether two questions are the same one: in whatever case, with whatever
 * white space, and marks at the end.
 *
 * Threads: any.
 */
#ifndef AIC_NORMALIZE_H
#define AIC_NORMALIZE_H

#include "lib/buf.h"

/*
 * aic_normalize_question -- the question with Latin and Cyrillic letters in lower case, yo
 * as ye, which is how most people write it, white space as single blanks, and neither
 * blanks nor the marks that end a sentence at its ends.
 *
 * text      valid UTF-8
 *
 * Errors:   to->failed
 */
void aic_normalize_question(struct aic_buf *to, const char *text);

#endif
