/*
 * provider -- what a model's server is: where it is reached, how a request
 * proves who sends it, and which members of the body are this server's own.
 *
 * What the answer means, and how often a request is repeated, is not decided
 * here; see openai.h.
 *
 * Threads: read-only after aic_provider_open().
 */
#ifndef AIC_PROVIDER_H
#define AIC_PROVIDER_H

#include <stdbool.h>

#include "err.h"

/* The word that stands for no proxy, where a NULL would mean another one. */
#define AIC_PROVIDER_DIRECT "direct"

struct aic_provider_conf {
	const char *base_url;
	const char *api_key;
	const char *name; /* of the model */
	const char *proxy; /* NULL or AIC_PROVIDER_DIRECT: none */
	const char *ca_file; /* added to the system's roots; NULL: none */
};

struct aic_provider {
	char *url; /* of chat completions */
	char *key;
	char *auth; /* the header with the key */
	char *model; /* the member of the body, with a comma before it */
	char *proxy; /* NULL: none */
	char *ca_file; /* NULL: none */
	const char *headers[5]; /* "Name: value", NULL at the end */
};

/*
 * aic_provider_inherit -- take from the first provider what the second leaves out.
 *
 * The URL, the name of the model and the proxy are the first's wherever they are
 * left out. The key and the file of certificates are for one server, and are
 * inherited only where both have the same URL.
 *
 * False: the second is not set, because it has neither a URL nor a key nor a name.
 */
bool aic_provider_inherit(struct aic_provider_conf *second,
    const struct aic_provider_conf *first);

/*
 * aic_provider_open -- conf is borrowed; its first three members are not NULL.
 *
 * Errors:   AIC_ENOMEM
 * Memory:   gives; aic_provider_close()
 */
enum aic_code aic_provider_open(struct aic_provider **ret_provider,
    const struct aic_provider_conf *conf, struct aic_err *err) AIC_MUST_CHECK;

/* aic_provider_close -- wipes the key. NULL is fine. */
void aic_provider_close(struct aic_provider *provider);

#endif
