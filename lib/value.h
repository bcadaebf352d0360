/*
 * value -- is the value of a setting what the setting needs: a key, the URL of an
 * API, the URL of a proxy, a file of certificates?
 *
 * Each function takes the setting's name for its message, and no message quotes a
 * value, because most of these values are secrets.
 *
 * Threads: any.
 */
#ifndef AIC_VALUE_H
#define AIC_VALUE_H

#include "lib/err.h"

/* Whose key it is. A server takes visible ASCII. A key of our callers, or a list of
 * them, may have blanks inside and letters that are not ASCII. */
enum aic_value_keys { AIC_VALUE_KEY_SENT, AIC_VALUE_KEY_TAKEN };

/*
 * aic_value_key -- a key is visible; blanks around it are removed.
 *
 * An invisible character (a byte order mark, U+200B, a carriage return) comes with
 * copying from a web page or from an editor of Windows. The server would answer
 * that the key is wrong, and nobody could see why.
 *
 * value     changed in place
 *
 * Errors:   AIC_ECONF
 */
enum aic_code aic_value_key(const char *name, char *value,
    enum aic_value_keys whose, struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_value_url -- http or https, a host, perhaps a path; slashes at its end are
 * removed.
 *
 * value     changed in place
 *
 * Errors:   AIC_ECONF
 */
enum aic_code aic_value_url(const char *name, char *value,
    struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_value_base_url -- the same, and not the whole path of chat completions, which
 * the worker appends to it.
 */
enum aic_code aic_value_base_url(const char *name, char *value,
    struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_value_proxy -- http, https, socks5 or socks5h (names are resolved by the
 * proxy), perhaps a user and a password, a host, perhaps a port from 1 to 65535, and
 * nothing behind it but a slash, which is removed.
 *
 * value     changed in place
 *
 * Errors:   AIC_ECONF
 * Source:   RFC 3986, 3.2; RFC 1929, for the longest user and password
 */
enum aic_code aic_value_proxy(const char *name, char *value,
    struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_value_ca -- the path of a PEM file with at least one certificate, and none
 * that cannot be read.
 *
 * Errors:   AIC_ECONF, AIC_ENOMEM
 */
enum aic_code aic_value_ca(const char *name, const char *path,
    struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_value_schema -- the name of a schema, as it is written without quotes: small
 * letters, digits and underscores, no digit first, 63 bytes at most; not pg_temp or
 * another one of the server's own.
 *
 * Errors:   AIC_ECONF
 */
enum aic_code aic_value_schema(const char *name, const char *value,
    struct aic_err *err) AIC_MUST_CHECK;

#endif
