/*
 * http_trust -- the certificates that a server's own must descend from, one store
 * for all connections of a worker.
 *
 * libcurl would parse the bundle of some 140 certificates for each connection, which
 * costs 20 ms of CPU and half a megabyte each time. A store here is made once, and
 * the system's roots are looked up in their directory only when a handshake needs
 * them. So a root that is added to the system's directory is trusted at once; one
 * that is removed, and a changed file, count from the next start of the worker.
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
 * aic_http_trust_open -- the system's roots, and those of a file besides.
 *
 * ca_file   PEM with one or more certificates; NULL: none besides
 *
 * Errors:   AIC_ECONF  the file cannot be read or has no certificate;
 *           err->detail names the file
 *           AIC_ENOMEM
 * Blocks:   on the file
 * Memory:   gives; aic_http_trust_close()
 * Source:   X509_STORE_set_default_paths(3): SSL_CERT_FILE and SSL_CERT_DIR of the
 *           environment replace the system's places
 */
enum aic_code aic_http_trust_open(struct aic_http_trust **ret_trust,
    const char *ca_file, struct aic_err *err) AIC_MUST_CHECK;

/* aic_http_trust_close -- let go of it; it is freed when nobody holds it any more.
 * NULL is fine. */
void aic_http_trust_close(struct aic_http_trust *trust);

/* aic_http_trust_hold -- hold it once more, as a call does that may outlive its
 * caller. */
struct aic_http_trust *aic_http_trust_hold(struct aic_http_trust *trust);

/* aic_http_trust_set -- have a libcurl handle verify with this store. Errors: false,
 * no memory. */
bool aic_http_trust_set(struct aic_http_trust *trust, CURL *easy);

#endif
