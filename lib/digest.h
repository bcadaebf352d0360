/*
 * digest -- SHA-256 of texts and bytes.
 *
 * Threads: any.
 */
#ifndef AIC_DIGEST_H
#define AIC_DIGEST_H

#include <stdbool.h>
#include <stddef.h>

#define AIC_DIGEST_BYTES 32
#define AIC_DIGEST_HEX_SIZE (2 * AIC_DIGEST_BYTES + 1)

/*
 * aic_digest -- hash several texts. The boundaries between them are part of the
 * hash.
 *
 * texts     NULL at the end
 *
 * Errors:   false: out of memory
 * Source:   FIPS 180-4
 */
bool aic_digest(const char *const *texts,
    unsigned char ret_digest[AIC_DIGEST_BYTES]);

/* aic_digest_bytes -- hash len bytes. Errors: false: out of memory */
bool aic_digest_bytes(const void *p, size_t len,
    unsigned char ret_digest[AIC_DIGEST_BYTES]);

/* aic_digest_hex -- convert a digest to lower-case hexadecimal, with a NUL. */
void aic_digest_hex(const unsigned char digest[AIC_DIGEST_BYTES],
    char ret_hex[AIC_DIGEST_HEX_SIZE]);

#endif
