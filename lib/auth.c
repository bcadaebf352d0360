#include "config.h"

#include "lib/auth.h"

#include <openssl/crypto.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lib/digest.h"
#include "lib/utf8.h"

/* One key of operators. */
struct admin {
	unsigned char digest[AIC_DIGEST_BYTES];
	char name[AIC_AUTH_NAME_SIZE];
};

/*
 * The keys are compared as SHA-256 digests, which are equally long. So neither
 * the length of a key nor its bytes change how long a comparison takes.
 */
struct aic_auth {
	size_t n_admins;
	struct admin *admins;
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

/* The number of the admin key, compared with every one; -1: none. */
static int
find_admin(const struct aic_auth *auth,
    const unsigned char digest[AIC_DIGEST_BYTES])
{
	int found = -1;
	size_t i;

	for (i = 0; i < auth->n_admins; i++)
		if (is_same(auth->admins[i].digest, digest))
			found = (int)i;
	return found;
}

/* The next item of a list between commas, without the blanks around it. */
static const char *
next_item(const char **at, size_t *ret_len)
{
	const char *p = *at, *end = p + strcspn(p, ",");
	size_t len;

	*at = *end ? end + 1 : end;
	p += strspn(p, " \t");
	len = p < end ? (size_t)(end - p) : 0;
	while (len > 0 && strchr(" \t", p[len - 1]))
		len--;
	*ret_len = len;
	return p;
}

static size_t
count_items(const char *list)
{
	size_t n = 1;

	for (; *list; list++)
		n += *list == ',';
	return n;
}

static enum aic_code
add_keys(struct aic_auth *auth, const char *at, struct aic_err *err)
{
	size_t n = count_items(at), len;
	const char *key;

	while (auth->n < n) {
		key = next_item(&at, &len);
		if (len == 0)
			return aic_fail(err, AIC_ECONF,
			    "API_SECRET_KEY contains an empty key");
		if (!aic_digest_bytes(key, len, auth->keys[auth->n++]))
			return aic_fail(err, AIC_ENOMEM, "out of memory");
	}
	return AIC_OK;
}

static enum aic_code
add_admin(struct aic_auth *auth, const char *key, size_t len, const char *name,
    size_t name_len, struct aic_err *err)
{
	struct admin *admin = &auth->admins[auth->n_admins];

	if (len == 0)
		return aic_fail(err, AIC_ECONF,
		    "API_ADMIN_KEY contains an empty key");
	if (!aic_digest_bytes(key, len, admin->digest))
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	/*
	 * A key of both kinds would let callers reset limits, and let the owner
	 * of the admin key use the whole API.
	 */
	if (matches_any(auth, admin->digest))
		return aic_fail(err, AIC_ECONF,
		    "API_ADMIN_KEY is also a key of API_SECRET_KEY");
	if (find_admin(auth, admin->digest) >= 0)
		return aic_fail(err, AIC_ECONF,
		    "API_ADMIN_KEY contains the same key twice");
	memcpy(admin->name, name, name_len);
	admin->name[name_len] = '\0';
	auth->n_admins++;
	return AIC_OK;
}

/* A name is shown to operators, so it is UTF-8 without control characters. */
static bool
is_name(const char *name, size_t len)
{
	size_t i, step;

	for (i = 0; i < len; i += step) {
		step = aic_utf8_next(name + i, len - i, NULL);
		if (step == 0 || (unsigned char)name[i] < ' ' ||
		    name[i] == 0x7f)
			return false;
	}
	return len > 0 && len < AIC_AUTH_NAME_SIZE;
}

static bool
has_name(const struct aic_auth *auth, const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < auth->n_admins; i++)
		if (strlen(auth->admins[i].name) == len &&
		    memcmp(auth->admins[i].name, name, len) == 0)
			return true;
	return false;
}

static enum aic_code
add_named_admins(struct aic_auth *auth, const char *keys, const char *names,
    struct aic_err *err)
{
	size_t n = count_items(names), i, len, name_len;
	enum aic_code rc = AIC_OK;
	const char *key, *name;

	if (count_items(keys) != n)
		return aic_fail(err, AIC_ECONF,
		    "AI_CHAT_ADMIN_KEY_NAMES has %zu names, but API_ADMIN_KEY "
		    "has %zu keys; set one name for each key",
		    n, count_items(keys));
	for (i = 0; !rc && i < n; i++) {
		key = next_item(&keys, &len);
		name = next_item(&names, &name_len);
		if (!is_name(name, name_len))
			return aic_fail(err, AIC_ECONF,
			    "AI_CHAT_ADMIN_KEY_NAMES: name %zu must have 1 to "
			    "%d bytes of UTF-8 without control characters",
			    i + 1, AIC_AUTH_NAME_SIZE - 1);
		if (has_name(auth, name, name_len))
			return aic_fail(err, AIC_ECONF,
			    "AI_CHAT_ADMIN_KEY_NAMES has the name \"%.*s\" "
			    "twice",
			    (int)name_len, name);
		rc = add_admin(auth, key, len, name, name_len, err);
	}
	return rc;
}

static enum aic_code
set_admins(struct aic_auth *auth, const char *keys, const char *names,
    struct aic_err *err)
{
	static const char one[] = "key 1";

	if (!keys)
		return names ? aic_fail(err, AIC_ECONF,
				   "AI_CHAT_ADMIN_KEY_NAMES is set, but "
				   "API_ADMIN_KEY is not")
			     : AIC_OK;
	auth->admins = calloc(count_items(keys), sizeof(*auth->admins));
	if (!auth->admins)
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	/* Without names, a comma is a part of the key, as in earlier versions.
	 */
	return names
	    ? add_named_admins(auth, keys, names, err)
	    : add_admin(auth, keys, strlen(keys), one, strlen(one), err);
}

enum aic_code
aic_auth_open(struct aic_auth **ret_auth, const char *keys,
    const char *admin_keys, const char *admin_names, struct aic_err *err)
{
	struct aic_auth *auth;
	enum aic_code rc;

	auth = calloc(1,
	    sizeof(*auth) + count_items(keys) * sizeof(auth->keys[0]));
	if (!auth)
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	rc = add_keys(auth, keys, err);
	if (!rc)
		rc = set_admins(auth, admin_keys, admin_names, err);
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
	if (auth->admins)
		explicit_bzero(auth->admins,
		    auth->n_admins * sizeof(auth->admins[0]));
	free(auth->admins);
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
	if (need == AIC_AUTH_OPERATOR ||
	    (need == AIC_AUTH_ADMIN && auth->n_admins > 0))
		ok = find_admin(auth, digest) >= 0;
	else
		ok = matches_any(auth, digest);
	return ok ? AIC_OK : aic_fail(err, AIC_EAUTH, "wrong key");
}

bool
aic_auth_has_admin(const struct aic_auth *auth)
{
	return auth->n_admins > 0;
}

const char *
aic_auth_admin_name(const struct aic_auth *auth, const char *given)
{
	unsigned char digest[AIC_DIGEST_BYTES];
	int i;

	if (!given || !aic_digest_bytes(given, strlen(given), digest))
		return NULL;
	i = find_admin(auth, digest);
	return i < 0 ? NULL : auth->admins[i].name;
}
