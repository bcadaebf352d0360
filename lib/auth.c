#include "config.h"

#include "lib/auth.h"

#include <string.h>

/* 1 if equal, 0 if not. Compares every byte of `given' in either case. */
static unsigned
compare_key(const char *key, size_t key_len, const char *given,
    size_t given_len)
{
	volatile unsigned diff = key_len != given_len;
	size_t i;

	for (i = 0; i < given_len; i++)
		diff |= (unsigned char)given[i] ^
		    (unsigned char)key[key_len ? i % key_len : 0];
	return diff == 0;
}

static unsigned
match_any_key(const char *keys, const char *given, size_t given_len)
{
	unsigned found = 0;
	size_t n, len;

	while (*keys) {
		keys += strspn(keys, " \t");
		n = len = strcspn(keys, ",");
		while (len > 0 && strchr(" \t", keys[len - 1]))
			len--;
		found |= compare_key(keys, len, given, given_len);
		keys += n;
		if (*keys == ',')
			keys++;
	}
	return found;
}

enum aic_code
aic_auth_check(const char *keys, const char *admin_key, enum aic_auth_need need,
    const char *given, struct aic_err *err)
{
	size_t len = given ? strlen(given) : 0;
	unsigned ok = 0;

	if (need == AIC_AUTH_NONE)
		return AIC_OK;
	if (len > 0) {
		if (need == AIC_AUTH_ADMIN && admin_key)
			ok = compare_key(admin_key, strlen(admin_key), given,
			    len);
		else
			ok = match_any_key(keys, given, len);
	}
	if (ok)
		return AIC_OK;
	return aic_fail(err, AIC_EAUTH, given ? "wrong key" : "no key");
}
