/*
 * digest -- SHA-256 of texts and bytes, and seals, which are keyed digests.
 *
 * A seal proves that a value in a shared store was written by a program that
 * has the same secret, under the same key, and until when the value is valid.
 * The value is not encrypted.
 *
 * Threads: any; but a struct aic_seal belongs to one thread at a time, and
 * aic_seal_copy() makes a copy for another thread.
 */
#ifndef AIC_DIGEST_H
#define AIC_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

/* --- seals -------------------------------------------------------------- */

/*
 * Before each value: the proof, and the Unix time in ms, big endian, at which
 * the value expires. Half of a SHA-256 cannot be guessed.
 */
#define AIC_SEAL_PROOF 16
#define AIC_SEAL_SIZE (AIC_SEAL_PROOF + 8)

struct aic_seal;

/*
 * aic_seal_new -- derive the key of the proofs from a secret.
 *
 * NULL: out of memory. Memory: gives; aic_seal_free()
 */
struct aic_seal *aic_seal_new(const char *secret);
struct aic_seal *aic_seal_copy(const struct aic_seal *from);
void aic_seal_free(struct aic_seal *s);

/*
 * aic_seal_put -- make the bytes that precede a value.
 *
 * key       the name under which the value will be stored
 * until_ms  Unix time
 *
 * False: out of memory.
 * Source:   RFC 2104, HMAC, over key, NUL, until_ms and the value
 */
bool aic_seal_put(struct aic_seal *s, const char *key, int64_t until_ms,
    const void *value, size_t len, unsigned char to[AIC_SEAL_SIZE]);

/*
 * aic_seal_check -- true if the bytes that were stored under a key are a seal
 * and its value, and have not expired. The value follows the first
 * AIC_SEAL_SIZE bytes.
 *
 * now_ms    Unix time, by the local clock
 */
bool aic_seal_check(struct aic_seal *s, const char *key, int64_t now_ms,
    const void *bytes, size_t len);

#endif
