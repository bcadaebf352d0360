/*
 * value -- check values of settings: a key, the URL of an API, the URL of a
 * proxy, a file of certificates, addresses to listen on.
 *
 * Each function gets the setting's name for its message. No message quotes a
 * value that can be a secret.
 *
 * Threads: any.
 */
#ifndef AIC_VALUE_H
#define AIC_VALUE_H

#include "lib/err.h"

/*
 * The kind of a key. A key that is sent to a server is visible ASCII. A key
 * that callers send to this service, or a list of such keys, can have blanks
 * inside and letters that are not ASCII.
 */
enum aic_value_keys { AIC_VALUE_KEY_SENT, AIC_VALUE_KEY_TAKEN };

/*
 * aic_value_key -- check that a key has visible characters only; blanks around
 * it are removed.
 *
 * Copying from a web page or from a Windows editor can add an invisible
 * character (a byte order mark, U+200B, a carriage return). The server would
 * answer that the key is wrong, and the cause would not be visible.
 *
 * value     changed in place
 *
 * Errors:   AIC_ECONF
 */
enum aic_code aic_value_key(const char *name, char *value,
    enum aic_value_keys whose, struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_value_url -- check for http or https, a host, and optionally a path;
 * slashes at the end are removed.
 *
 * value     changed in place
 *
 * Errors:   AIC_ECONF
 */
enum aic_code aic_value_url(const char *name, char *value,
    struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_value_base_url -- the same, and refuse the whole path of chat
 * completions, which the worker appends.
 */
enum aic_code aic_value_base_url(const char *name, char *value,
    struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_value_proxy -- check for http, https, socks5 or socks5h (the proxy
 * resolves names), optionally a user and a password, a host, and optionally a
 * port from 1 to 65535. Only a slash can follow; it is removed.
 *
 * value     changed in place
 *
 * Errors:   AIC_ECONF
 * Source:   RFC 3986, 3.2; RFC 1929, for the longest user and password
 */
enum aic_code aic_value_proxy(const char *name, char *value,
    struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_value_ca -- check for a PEM file with at least one certificate, all of
 * which can be read.
 *
 * Errors:   AIC_ECONF, AIC_ENOMEM
 */
enum aic_code aic_value_ca(const char *name, const char *path,
    struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_value_schema -- check the name of a schema, which is written without
 * quotes: small letters, digits and underscores, no digit first, at most 63
 * bytes; not pg_temp or another schema of the database's own.
 *
 * Errors:   AIC_ECONF
 */
enum aic_code aic_value_schema(const char *name, const char *value,
    struct aic_err *err) AIC_MUST_CHECK;

/* The most addresses of a setting: a host rarely has more than four. */
#define AIC_VALUE_ADDRESSES_MAX 16

/*
 * aic_value_addresses -- check IPv4 and IPv6 addresses, separated by commas;
 * blanks around them are removed. Names of hosts are refused, because Nginx
 * would not start while a name cannot be resolved.
 *
 * value     changed in place
 *
 * Errors:   AIC_ECONF
 */
enum aic_code aic_value_addresses(const char *name, char *value,
    struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_value_site_file -- check that a path is absolute and has only characters
 * that need no quotes in a configuration of Nginx. The file is not read,
 * because only root may be able to read it.
 *
 * Errors:   AIC_ECONF
 */
enum aic_code aic_value_site_file(const char *name, const char *path,
    struct aic_err *err) AIC_MUST_CHECK;

#endif
