#include "config.h"

#include "lib/auth.h"

#include <openssl/crypto.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lib/digest.h"

/*
 * The keys are compared as SHA-256 digests, which are equally long. So neither
 * the length of a key nor its bytes change how long a comparison takes.
 */
struct aic_auth {
	bool has_admin;
	unsigned char admin[AIC_DIGEST_BYTES];
	size_t n;
	unsigned char keys[][AIC_DIGEST_BYTES];
};

static bool
is_same(const unsigned char a[AIC_DIGEST_BYTES],
    const unsigned char b[AIC_DIGEST_BYTES])
{
	return CRYPTO_memcmp(a, b, AIC_DIGEST_BYTES) == 0;
}

/* Compares with every key, even after a match. */
static bool
matches_any(const struct aic_auth *auth,
    const unsigned char digest[AIC_DIGEST_BYTES])
{
	bool found = false;
	size_t i;

	for (i = 0; i < auth->n; i++)
		found |= is_same(auth->keys[i], digest);
	return found;
}

/* Adds the keys of a list between commas. */
static enum aic_code
add_keys(struct aic_auth *auth, const char *p, struct aic_err *err)
{
	const char *end;
	size_t len;

	for (;; p = end + 1) {
		end = p + strcspn(p, ",");
		p += strspn(p, " \t");
		len = (size_t)(end - p);
		while (len > 0 && strchr(" \t", p[len - 1]))
			len--;
		if (len == 0)
			return aic_fail(err, AIC_ECONF,
			    "API_SECRET_KEY contains an empty key");
		if (!aic_digest_bytes(p, len, auth->keys[auth->n++]))
			return aic_fail(err, AIC_ENOMEM, "out of memory");
		if (*end == '\0')
			return AIC_OK;
	}
}

static enum aic_code
set_admin(struct aic_auth *auth, const char *key, struct aic_err *err)
{
	if (!key)
		return AIC_OK;
	if (!aic_digest_bytes(key, strlen(key), auth->admin))
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	/*
	 * A key of both kinds would let callers reset limits, and let the owner
	 * of the admin key use the whole API.
	 */
	if (matches_any(auth, auth->admin))
		return aic_fail(err, AIC_ECONF,
		    "API_ADMIN_KEY is also a key of API_SECRET_KEY");
	auth->has_admin = true;
	return AIC_OK;
}

enum aic_code
aic_auth_open(struct aic_auth **ret_auth, const char *keys,
    const char *admin_key, struct aic_err *err)
{
	struct aic_auth *auth;
	enum aic_code rc;
	size_t n = 1;
	const char *p;

	for (p = keys; *p; p++)
		n += *p == ',';
	auth = calloc(1, sizeof(*auth) + n * sizeof(auth->keys[0]));
	if (!auth)
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	rc = add_keys(auth, keys, err);
	if (!rc)
		rc = set_admin(auth, admin_key, err);
	if (rc)
		aic_auth_close(auth);
	else
		*ret_auth = auth;
	return rc;
}

void
aic_auth_close(struct aic_auth *auth)
{
	if (!auth)
		return;
	/* The digest of a short key can be reversed. */
	explicit_bzero(auth, sizeof(*auth) + auth->n * sizeof(auth->keys[0]));
	free(auth);
}

enum aic_code
aic_auth_check(const struct aic_auth *auth, enum aic_auth_need need,
    const char *given, struct aic_err *err)
{
	unsigned char digest[AIC_DIGEST_BYTES];
	bool ok;

	if (need == AIC_AUTH_NONE)
		return AIC_OK;
	if (!given)
		return aic_fail(err, AIC_EAUTH, "no key");
	if (!aic_digest_bytes(given, strlen(given), digest))
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	if (need == AIC_AUTH_ADMIN && auth->has_admin)
		ok = is_same(auth->admin, digest);
	else
		ok = matches_any(auth, digest);
	return ok ? AIC_OK : aic_fail(err, AIC_EAUTH, "wrong key");
}
