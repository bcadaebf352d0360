/*
 * auth -- may this caller do that? Compared in constant time.
 */
#ifndef AIC_AUTH_H
#define AIC_AUTH_H

#include "lib/err.h"

enum aic_auth_need {
	AIC_AUTH_NONE, /* open to all */
	AIC_AUTH_CALLER, /* any of API_SECRET_KEY */
	AIC_AUTH_ADMIN, /* API_ADMIN_KEY when it is set, else as a caller */
};

/*
 * aic_auth_check -- compare a key with those that open a door.
 *
 * keys      separated by commas, blanks around them do not count
 * admin_key NULL: there is none
 * given     what the caller sent; NULL: nothing
 *
 * The time taken depends on the length of what was given and on the keys set,
 * not on how much of it is right.
 *
 * Errors:   AIC_EAUTH
 */
enum aic_code
aic_auth_check(const char *keys, const char *admin_key, enum aic_auth_need need,
    const char *given, struct aic_err *err) AIC_MUST_CHECK;

#endif
