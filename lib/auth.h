/*
 * auth -- check the API key of a request, in constant time.
 *
 * Threads: any; a struct aic_auth does not change.
 */
#ifndef AIC_AUTH_H
#define AIC_AUTH_H

#include <stdbool.h>

#include "lib/err.h"

#define AIC_AUTH_NAME_SIZE 65 /* of the name of a key, with a NUL */

enum aic_auth_need {
	AIC_AUTH_NONE, /* no key */
	AIC_AUTH_CALLER, /* a key of API_SECRET_KEY */
	AIC_AUTH_ADMIN, /* API_ADMIN_KEY if it is set, else as CALLER */
	AIC_AUTH_OPERATOR, /* API_ADMIN_KEY; without it, no key */
};

struct aic_auth;

/*
 * aic_auth_open -- read the keys that are accepted.
 *
 * keys      API_SECRET_KEY: separated by commas; blanks around a key are
 *           ignored
 * admin_keys  API_ADMIN_KEY; NULL: none. Without names it is one key, which may
 *           contain commas; with names it is a list as `keys'
 * admin_names  AI_CHAT_ADMIN_KEY_NAMES: a name for each admin key, separated by
 *           commas; NULL: the name of the key is "key 1"
 * ret_auth  set on AIC_OK
 *
 * Errors:   AIC_ECONF  a key is empty, an admin key is one of the keys, or the
 *           names do not fit the admin keys
 *           AIC_ENOMEM
 * Memory:   gives; aic_auth_close(). Keeps digests of the keys, not the keys.
 */
enum aic_code aic_auth_open(struct aic_auth **ret_auth, const char *keys,
    const char *admin_keys, const char *admin_names,
    struct aic_err *err) AIC_MUST_CHECK;

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

/* aic_auth_has_admin -- whether there is an admin key. */
bool aic_auth_has_admin(const struct aic_auth *auth);

/*
 * aic_auth_admin_name -- the name of an admin key, for the audit.
 *
 * given     the key of the request; NULL: none
 *
 * Memory:   valid until aic_auth_close(). NULL: it is no admin key, or out of
 *           memory
 */
const char *aic_auth_admin_name(const struct aic_auth *auth, const char *given);

#endif
