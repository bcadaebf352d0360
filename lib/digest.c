#include "config.h"

#include "lib/digest.h"

#include <openssl/evp.h>
#include <string.h>

#include "lib/hex.h"

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
