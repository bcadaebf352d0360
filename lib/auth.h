/*
 * auth -- check the API key of a request, in constant time.
 *
 * Threads: any; a struct aic_auth does not change.
 */
#ifndef AIC_AUTH_H
#define AIC_AUTH_H

#include "lib/err.h"

enum aic_auth_need {
	AIC_AUTH_NONE, /* no key */
	AIC_AUTH_CALLER, /* a key of API_SECRET_KEY */
	AIC_AUTH_ADMIN, /* API_ADMIN_KEY if it is set, else as CALLER */
};

struct aic_auth;

/*
 * aic_auth_open -- read the keys that are accepted.
 *
 * keys      API_SECRET_KEY: separated by commas; blanks around a key are
 *           ignored
 * admin_key  API_ADMIN_KEY; NULL: none
 * ret_auth  set on AIC_OK
 *
 * Errors:   AIC_ECONF  a key is empty, or the admin key is one of the keys
 *           AIC_ENOMEM
 * Memory:   gives; aic_auth_close(). Keeps digests of the keys, not the keys.
 */
enum aic_code aic_auth_open(struct aic_auth **ret_auth, const char *keys,
    const char *admin_key, struct aic_err *err) AIC_MUST_CHECK;

/* aic_auth_close -- NULL is allowed. */
void aic_auth_close(struct aic_auth *auth);

/*
 * aic_auth_check -- check the key of a request.
 *
 * given     the key of the request; NULL: none
 *
 * The duration depends on the length of `given' and on the number of the keys,
 * not on the number of correct bytes.
 *
 * Errors:   AIC_EAUTH, AIC_ENOMEM
 */
enum aic_code
aic_auth_check(const struct aic_auth *auth, enum aic_auth_need need,
    const char *given, struct aic_err *err) AIC_MUST_CHECK;

#endif
