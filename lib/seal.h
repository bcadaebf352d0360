/*
 * seal -- makes a value that lies where others may write prove that a program of
 * the same secret wrote it, under that very key, and until when it holds.
 *
 * It hides nothing: the value itself is there to be read.
 *
 * Threads: a struct aic_seal belongs to one thread at a time; aic_seal_copy() makes
 * one for another.
 */
#ifndef AIC_SEAL_H
#define AIC_SEAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* In front of each value: the proof, and the Unix time in ms, big endian, at which
 * it ends. Half of a SHA-256 is what nobody guesses. */
#define AIC_SEAL_PROOF 16
#define AIC_SEAL_SIZE (AIC_SEAL_PROOF + 8)

struct aic_seal;

/*
 * aic_seal_new -- derive the key of the proofs from a secret.
 *
 * NULL when there is no memory. Memory: gives; aic_seal_free()
 */
struct aic_seal *aic_seal_new(const char *secret);
struct aic_seal *aic_seal_copy(const struct aic_seal *from);
void aic_seal_free(struct aic_seal *s);

/*
 * aic_seal_put -- what goes in front of a value.
 *
 * key       the name under which it will lie
 * until_ms  Unix time
 *
 * False when there is no memory.
 * Source:   RFC 2104, HMAC, over key, NUL, until_ms and the value
 */
bool aic_seal_put(struct aic_seal *s, const char *key, int64_t until_ms,
    const void *value, size_t len, unsigned char to[AIC_SEAL_SIZE]);

/*
 * aic_seal_check -- whether bytes found under a key are a seal and its value, and
 * still hold. The value is what follows the first AIC_SEAL_SIZE of them.
 *
 * now_ms    Unix time, by our clock
 */
bool aic_seal_check(struct aic_seal *s, const char *key, int64_t now_ms,
    const void *bytes, size_t len);

#endif
