/*
 * buf -- a growing byte buffer with a maximum size that is set at
 * initialisation.
 *
 * A failure (out of memory, maximum exceeded) is sticky: later additions do
 * nothing, and `failed' stays set. A writer of many pieces therefore needs one
 * check at the end.
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
	size_t max; /* maximum of len, in bytes */
	bool failed;
};

/* aic_buf_init -- initialise an empty buffer for at most max bytes. */
void aic_buf_init(struct aic_buf *b, size_t max);

/* aic_buf_done -- free the memory. A zeroed struct is allowed. */
void aic_buf_done(struct aic_buf *b);

/* aic_buf_clear -- discard content and failure; keep memory and maximum. */
void aic_buf_clear(struct aic_buf *b);

/* aic_buf_room -- make room for n more bytes. False: see `failed'. */
bool aic_buf_room(struct aic_buf *b, size_t n);

void aic_buf_put(struct aic_buf *b, const void *p, size_t n);
void aic_buf_puts(struct aic_buf *b, const char *s);
void aic_buf_putc(struct aic_buf *b, char c);
void aic_buf_printf(struct aic_buf *b, const char *fmt, ...) AIC_PRINTF(2, 3);

/*
 * aic_buf_take -- take the bytes, NUL-terminated, and leave the buffer empty.
 *
 * ret_len   may be NULL
 *
 * Errors:   NULL: the buffer had failed, or out of memory
 * Memory:   gives; free()
 */
char *aic_buf_take(struct aic_buf *b, size_t *ret_len) AIC_MUST_CHECK;

/*
 * aic_buf_join -- the concatenation of two strings.
 *
 * The allocation has the exact size, because a buffer that grows would leave
 * copies of a key in freed memory.
 *
 * Errors:   NULL: out of memory
 * Memory:   gives; free()
 */
char *aic_buf_join(const char *a, const char *b) AIC_MUST_CHECK;

#endif
