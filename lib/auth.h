/* auth -- API-key authorisation, in constant time. */
#ifndef AIC_AUTH_H
#define AIC_AUTH_H

#include "lib/err.h"

enum aic_auth_need {
	AIC_AUTH_NONE, /* no key */
	AIC_AUTH_CALLER, /* a key of API_SECRET_KEY */
	AIC_AUTH_ADMIN, /* API_ADMIN_KEY if it is set, else as CALLER */
};

/*
 * aic_auth_check -- check the key of a request.
 *
 * keys      separated by commas; blanks around a key are ignored
 * admin_key  NULL: none
 * given     the key of the request; NULL: none
 *
 * The duration depends on the length of `given' and on the configured keys, not
 * on the number of correct bytes.
 *
 * Errors:   AIC_EAUTH
 */
enum aic_code
aic_auth_check(const char *keys, const char *admin_key, enum aic_auth_need need,
    const char *given, struct aic_err *err) AIC_MUST_CHECK;

#endif
