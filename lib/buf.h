/*
 * buf -- bytes that grow, up to a ceiling that is named at birth.
 *
 * A failure (no memory, ceiling passed) sticks: later additions do nothing, and
 * the one check at the end tells. So a writer of many pieces needs one test.
 */
#ifndef AIC_BUF_H
#define AIC_BUF_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/err.h"

struct aic_buf {
	char *data; /* NUL-terminated whenever len > 0 */
	size_t len;
	size_t cap;
	size_t max; /* of len, in bytes */
	bool failed;
};

/* aic_buf_init -- an empty buffer that will hold at most max bytes. */
void aic_buf_init(struct aic_buf *b, size_t max);

/* aic_buf_done -- give the memory back. Copes with a zeroed struct. */
void aic_buf_done(struct aic_buf *b);

/* aic_buf_clear -- forget content and failure, keep memory and ceiling. */
void aic_buf_clear(struct aic_buf *b);

/* aic_buf_room -- see to it that n more bytes fit. False: see `failed'. */
bool aic_buf_room(struct aic_buf *b, size_t n);

void aic_buf_put(struct aic_buf *b, const void *p, size_t n);
void aic_buf_puts(struct aic_buf *b, const char *s);
void aic_buf_putc(struct aic_buf *b, char c);
void aic_buf_printf(struct aic_buf *b, const char *fmt, ...) AIC_PRINTF(2, 3);

/*
 * aic_buf_take -- give the bytes away, NUL-terminated; the buffer is empty then.
 *
 * ret_len   may be NULL
 *
 * Errors:   NULL when the buffer had failed or there is no memory
 * Memory:   gives; free()
 */
char *aic_buf_take(struct aic_buf *b, size_t *ret_len) AIC_MUST_CHECK;

#endif
