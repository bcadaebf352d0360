#include "config.h"

#include "lib/http_trust.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct aic_http_trust {
	X509_STORE *store;
	atomic_int holders;
	char tag[32]; /* distinguishes connections of this store */
};

static enum aic_code
fail_file(struct aic_err *err, const char *ca_file)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	aic_fail(err, AIC_ECONF, "could not read certificates from \"%s\": %s",
	    ca_file, reason ? reason : "no certificate in it");
	ERR_clear_error();
	return AIC_ECONF;
}

enum aic_code
aic_http_trust_open(struct aic_http_trust **ret_trust, const char *ca_file,
    struct aic_err *err)
{
	static atomic_int stores;
	struct aic_http_trust *t = calloc(1, sizeof(*t));
	enum aic_code rc = AIC_OK;

	if (!t)
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	atomic_init(&t->holders, 1);
	snprintf(t->tag, sizeof(t->tag), "/dev/null/ai-chat-%d",
	    atomic_fetch_add(&stores, 1));
	ERR_clear_error();
	t->store = X509_STORE_new();
	if (!t->store || X509_STORE_set_default_paths(t->store) != 1)
		rc = aic_fail(err, AIC_ENOMEM,
		    "could not set up the store of certificates");
	else if (ca_file && X509_STORE_load_file(t->store, ca_file) != 1)
		rc = fail_file(err, ca_file);
	if (rc) {
		aic_http_trust_close(t);
		return rc;
	}
	/*
	 * Discard the error that OpenSSL records on a system that has the
	 * directory of certificates but no bundle file.
	 */
	ERR_clear_error();
	*ret_trust = t;
	return AIC_OK;
}

void
aic_http_trust_close(struct aic_http_trust *t)
{
	if (!t || atomic_fetch_sub(&t->holders, 1) > 1)
		return;
	X509_STORE_free(t->store);
	free(t);
}

struct aic_http_trust *
aic_http_trust_hold(struct aic_http_trust *t)
{
	atomic_fetch_add(&t->holders, 1);
	return t;
}

static CURLcode
on_context(CURL *easy, void *context, void *arg)
{
	struct aic_http_trust *t = arg;

	(void)easy;
	SSL_CTX_set1_cert_store(context, t->store);
	/* An idle connection then keeps no record buffers, which are 34 KB. */
	SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
	return CURLE_OK;
}

bool
aic_http_trust_set(struct aic_http_trust *t, CURL *easy)
{
	/*
	 * libcurl does not take the store into account when it reuses a
	 * connection, and would let a call use a connection that was verified
	 * with another store. It does distinguish connections by CAPATH, so
	 * CAPATH is set to the tag of the store. As a directory the tag would
	 * contain no certificates; the store replaces it.
	 */
	return curl_easy_setopt(easy, CURLOPT_CAINFO, NULL) == CURLE_OK &&
	    curl_easy_setopt(easy, CURLOPT_CAPATH, t->tag) == CURLE_OK &&
	    curl_easy_setopt(easy, CURLOPT_PROXY_CAINFO, NULL) == CURLE_OK &&
	    curl_easy_setopt(easy, CURLOPT_PROXY_CAPATH, t->tag) == CURLE_OK &&
	    curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, on_context) ==
	    CURLE_OK &&
	    curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, t) == CURLE_OK;
}
