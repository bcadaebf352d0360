#include "config.h"

#include "lib/digest.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "lib/hex.h"

/*
 * Separates this key from keys that other purposes derive from the same secret.
 */
#define LABEL "ai-chat seal 1"

bool
aic_digest(const char *const *texts, unsigned char ret_digest[AIC_DIGEST_BYTES])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);

	/* The NUL of each text separates it from the next one. */
	for (; ok && *texts; texts++)
		ok = EVP_DigestUpdate(ctx, *texts, strlen(*texts) + 1);
	ok = ok && EVP_DigestFinal_ex(ctx, ret_digest, NULL);
	EVP_MD_CTX_free(ctx);
	return ok;
}

bool
aic_digest_bytes(const void *p, size_t len,
    unsigned char ret_digest[AIC_DIGEST_BYTES])
{
	return EVP_Digest(p, len, ret_digest, NULL, EVP_sha256(), NULL);
}

void
aic_digest_hex(const unsigned char digest[AIC_DIGEST_BYTES],
    char ret_hex[AIC_DIGEST_HEX_SIZE])
{
	aic_hex_put(ret_hex, digest, AIC_DIGEST_BYTES);
}

/* --- seals -------------------------------------------------------------- */

struct aic_seal {
	EVP_MAC_CTX *mac; /* initialised with the key */
};

static EVP_MAC_CTX *
new_mac(const unsigned char *key, size_t len)
{
	char sha256[] = "SHA256";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, sha256,
		    0),
		OSSL_PARAM_construct_end()
	};
	EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	EVP_MAC_CTX *mac = hmac ? EVP_MAC_CTX_new(hmac) : NULL;

	EVP_MAC_free(hmac);
	if (mac && !EVP_MAC_init(mac, key, len, params)) {
		EVP_MAC_CTX_free(mac);
		mac = NULL;
	}
	return mac;
}

/*
 * Writes the MAC. EVP_MAC_init() with a NULL key then restarts the computation
 * with the same key.
 */
static bool
finish_mac(EVP_MAC_CTX *mac, unsigned char to[AIC_DIGEST_BYTES])
{
	size_t n = 0;

	return EVP_MAC_final(mac, to, &n, AIC_DIGEST_BYTES) &&
	    n == AIC_DIGEST_BYTES;
}

struct aic_seal *
aic_seal_new(const char *secret)
{
	struct aic_seal *s = calloc(1, sizeof(*s));
	unsigned char key[AIC_DIGEST_BYTES];
	EVP_MAC_CTX *of_secret;

	if (!s)
		return NULL;
	of_secret = new_mac((const unsigned char *)secret, strlen(secret));
	if (of_secret &&
	    EVP_MAC_update(of_secret, (const unsigned char *)LABEL,
		sizeof(LABEL)) &&
	    finish_mac(of_secret, key))
		s->mac = new_mac(key, sizeof(key));
	OPENSSL_cleanse(key, sizeof(key));
	EVP_MAC_CTX_free(of_secret);
	if (!s->mac) {
		free(s);
		return NULL;
	}
	return s;
}

struct aic_seal *
aic_seal_copy(const struct aic_seal *from)
{
	struct aic_seal *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->mac = EVP_MAC_CTX_dup(from->mac);
	if (!s->mac) {
		free(s);
		return NULL;
	}
	return s;
}

void
aic_seal_free(struct aic_seal *s)
{
	if (!s)
		return;
	EVP_MAC_CTX_free(s->mac);
	free(s);
}

static bool
make_proof(struct aic_seal *s, const char *key, const unsigned char until[8],
    const void *value, size_t len, unsigned char to[AIC_DIGEST_BYTES])
{
	return EVP_MAC_init(s->mac, NULL, 0, NULL) &&
	    EVP_MAC_update(s->mac, (const unsigned char *)key,
		strlen(key) + 1) &&
	    EVP_MAC_update(s->mac, until, 8) &&
	    EVP_MAC_update(s->mac, value, len) && finish_mac(s->mac, to);
}

bool
aic_seal_put(struct aic_seal *s, const char *key, int64_t until_ms,
    const void *value, size_t len, unsigned char to[AIC_SEAL_SIZE])
{
	unsigned char proof[AIC_DIGEST_BYTES];
	int i;

	for (i = 0; i < 8; i++)
		to[AIC_SEAL_PROOF + i] = (unsigned char)((uint64_t)until_ms >>
		    (56 - 8 * i));
	if (!make_proof(s, key, to + AIC_SEAL_PROOF, value, len, proof))
		return false;
	memcpy(to, proof, AIC_SEAL_PROOF);
	return true;
}

bool
aic_seal_check(struct aic_seal *s, const char *key, int64_t now_ms,
    const void *bytes, size_t len)
{
	const unsigned char *p = bytes;
	unsigned char proof[AIC_DIGEST_BYTES];
	uint64_t until = 0;
	int i;

	if (len < AIC_SEAL_SIZE)
		return false;
	for (i = 0; i < 8; i++)
		until = until << 8 | p[AIC_SEAL_PROOF + i];
	/* An expired value needs no check of its proof. */
	if ((int64_t)until <= now_ms)
		return false;
	return make_proof(s, key, p + AIC_SEAL_PROOF, p + AIC_SEAL_SIZE,
		   len - AIC_SEAL_SIZE, proof) &&
	    CRYPTO_memcmp(proof, p, AIC_SEAL_PROOF) == 0;
}
