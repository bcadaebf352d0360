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

#include "err.h"

struct aic_provider_conf {
	const char *base_url;
	const char *api_key;
	const char *name; /* of the model */
	const char *proxy; /* NULL: none */
};

struct aic_provider {
	char *url; /* of chat completions */
	char *key;
	char *auth; /* the header with the key */
	char *model; /* the member of the body, with a comma before it */
	char *proxy; /* NULL: none */
	const char *headers[5]; /* "Name: value", NULL at the end */
};

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
