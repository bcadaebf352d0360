/*
 * id -- the name of a chat: a random UUID, made by the worker before the first
 * statement, so that a repeat of any statement is the same statement.
 */
#ifndef AIC_ID_H
#define AIC_ID_H

#include "err.h"

#define AIC_ID_SIZE 37 /* 36 characters and a NUL */

/*
 * aic_id_new -- a version 4 UUID in lower case.
 *
 * Errors:   AIC_EBUG  the kernel has no randomness to give
 * Source:   RFC 4122, 4.4; getrandom(2)
 */
enum aic_code
aic_id_new(char id[AIC_ID_SIZE], struct aic_err *err) AIC_MUST_CHECK;

/* aic_random -- 0 <= x < 1, for jitter; not for secrets. Thread-safe. */
double aic_random(void);

#endif
