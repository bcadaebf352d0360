/*
 * http_trust -- the trusted root certificates, in one store for all connections
 * of a worker.
 *
 * libcurl would parse the bundle of some 140 certificates for each connection,
 * which costs 20 ms of CPU and half a megabyte each time. This store is made
 * once. A root of the system is read from its directory when a handshake first
 * needs it. A root that is added to the system directory is therefore trusted
 * at once, whereas a removed root and a changed ca_file take effect at the next
 * start of the worker.
 *
 * Threads: read-only once open; OpenSSL locks the store itself.
 */
#ifndef AIC_HTTP_TRUST_H
#define AIC_HTTP_TRUST_H

#include <curl/curl.h>
#include <stdbool.h>

#include "lib/err.h"

struct aic_http_trust;

/*
 * aic_http_trust_open -- make a store with the roots of the system, and with
 * those of a file.
 *
 * ca_file   PEM with one or more certificates; NULL: the roots of the system
 *           alone
 *
 * Errors:   AIC_ECONF  the file cannot be read or contains no certificate;
 *           err->detail names the file
 *           AIC_ENOMEM
 * Blocks:   on the file
 * Memory:   gives; aic_http_trust_close()
 * Source:   X509_STORE_set_default_paths(3): SSL_CERT_FILE and SSL_CERT_DIR of
 *           the environment replace the places of the system
 */
enum aic_code aic_http_trust_open(struct aic_http_trust **ret_trust,
    const char *ca_file, struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_http_trust_close -- release a reference. The last one frees the store.
 * NULL is allowed.
 */
void aic_http_trust_close(struct aic_http_trust *trust);

/*
 * aic_http_trust_hold -- add a reference, for a call that may outlive its
 * caller.
 */
struct aic_http_trust *aic_http_trust_hold(struct aic_http_trust *trust);

/*
 * aic_http_trust_set -- make a libcurl handle verify with this store.
 *
 * Errors:   false: out of memory
 */
bool aic_http_trust_set(struct aic_http_trust *trust, CURL *easy);

#endif
