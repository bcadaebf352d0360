/*
 * provider -- the server of a model: its address, the authentication of
 * requests, and the members of the body that are particular to this server.
 *
 * openai.h interprets the answers and decides on retries.
 *
 * Threads: any. Only the token changes after aic_provider_open(), and it has a
 * lock of its own.
 */
#ifndef AIC_PROVIDER_H
#define AIC_PROVIDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"
#include "lib/extra.h"
#include "lib/gigachat.h"
#include "lib/headers.h"
#include "lib/http.h"

/* The value of a proxy setting for no proxy; NULL would mean inheriting one. */
#define AIC_PROVIDER_DIRECT "direct"

/* The authentication of a request. */
enum aic_provider_auth {
	AIC_PROVIDER_AUTH_UNSET, /* that of the primary provider, or bearer */
	AIC_PROVIDER_BEARER, /* Authorization: Bearer KEY */
	AIC_PROVIDER_API_KEY, /* api-key: KEY, for Azure */
	AIC_PROVIDER_GIGACHAT, /* KEY is exchanged for a token */
	AIC_PROVIDER_AUTH__MAX
};

/* The values of the setting; NULL for UNSET, and at the end. */
extern const char *const aic_provider_auth_names[AIC_PROVIDER_AUTH__MAX + 1];

struct aic_provider_conf {
	const char *base_url;
	const char *api_key;
	const char *name; /* the model's name */
	const char *proxy; /* NULL or AIC_PROVIDER_DIRECT: none */
	const char *ca_file; /* added to the system's roots; NULL: none */
	const char *headers_file; /* see headers.h; NULL: none */
	const char *extra_body_file; /* see extra.h; NULL: none */
	enum aic_provider_auth auth;
	/* For AIC_PROVIDER_GIGACHAT; NULL: AIC_GIGACHAT_URL and _SCOPE. */
	const char *auth_url;
	const char *auth_scope;
	const char *prefix; /* of the names of its settings; NULL: "OPENAI_" */
};

/*
 * In addition to a file's headers: the authentication, two headers about the
 * type of the body, the one that disables 100 Continue, and the NULL at the
 * end.
 */
#define AIC_PROVIDER_HEADERS (AIC_HEADERS_MAX + 5)

/* The most secrets: each header of a file, and the key. */
#define AIC_PROVIDER_SECRETS (AIC_HEADERS_MAX + 1)

struct aic_provider {
	char *url; /* the chat completions endpoint */
	char *models_url; /* the endpoint that lists models */
	char *key;
	char *auth; /* the header with the key; NULL: gigachat is set */
	struct aic_gigachat *gigachat; /* NULL: no token is needed */
	char *model; /* the member of the body, with a comma before it */
	char *proxy; /* NULL: none */
	struct aic_http_trust *trust; /* NULL: only the system's roots */
	struct aic_headers own; /* the operator's headers */
	struct aic_extra extra; /* the operator's members of the body */
	/* NULL at the end; the first one has the key or the token. */
	const char *headers[AIC_PROVIDER_HEADERS];
	/*
	 * Texts that must not get into the log, even if a server quotes them.
	 */
	const char *secrets[AIC_PROVIDER_SECRETS];
	int n_secrets;
};

/*
 * aic_provider_inherit -- copy unset values of the fallback provider from the
 * primary one.
 *
 * The URL, the name of the model and the proxy are always inherited. All other
 * values belong to one server: the key and how it is used, the file of
 * certificates, headers, members of the body. They are inherited only if both
 * providers have the same URL. To inherit no file, name a file that is empty or
 * has no members.
 *
 * False: the fallback provider is not configured, because it has no URL, no key
 * and no name.
 */
bool aic_provider_inherit(struct aic_provider_conf *fallback,
    const struct aic_provider_conf *primary);

/*
 * aic_provider_open -- open a provider. Borrows conf, whose first three members
 * are not NULL.
 *
 * Errors:   AIC_ECONF  err->detail names the setting of a file, and the error
 *                      in it; AIC_ENOMEM
 * Blocks:   on reading the files
 * Memory:   gives; aic_provider_close()
 */
enum aic_code aic_provider_open(struct aic_provider **ret_provider,
    const struct aic_provider_conf *conf, struct aic_err *err) AIC_MUST_CHECK;

/* aic_provider_close -- close, and wipe the secrets. NULL is fine. */
void aic_provider_close(struct aic_provider *provider);

struct aic_provider_call {
	struct aic_buf *body; /* its bytes are lent to the call */
	/* Of this call, "Name: value", NULL at the end; NULL: none. The request
	 * for a token does not have them, because other calls use the token
	 * too. */
	const char *const *headers;
	int64_t deadline_us;
	/* true: the caller has left; NULL: not checked */
	bool (*gone)(void *arg);
	void *gone_arg;
};

/* The state of the token in a call. */
enum aic_provider_token {
	AIC_PROVIDER_TOKEN_USED, /* or no token is needed */
	/*
	 * There was no token, so the model got no request; the answer's end and
	 * why are about the token. AIC_HTTP_CONNECT: another attempt can
	 * succeed.
	 */
	AIC_PROVIDER_TOKEN_MISSING,
	/* The model refused the token; the next call will use another one. */
	AIC_PROVIDER_TOKEN_STALE,
};

/*
 * aic_provider_post -- send a body to the model and read the answer, after
 * fetching a token if necessary.
 *
 * answer    set; gives its body. If the server quotes the token, asterisks
 *           replace it.
 *
 * Errors:   in answer->end
 * Blocks:   until the deadline at most
 */
enum aic_provider_token
aic_provider_post(struct aic_provider *provider, struct aic_http *http,
    const struct aic_provider_call *call, struct aic_http_answer *answer);

/*
 * aic_provider_list -- send GET /models, which lists the models and costs no
 * money, after fetching a token if necessary.
 *
 * answer    set; gives its body. If the server quotes the token, asterisks
 *           replace it.
 *
 * Errors:   in answer->end; AIC_PROVIDER_TOKEN_MISSING as in
 *           aic_provider_post()
 * Blocks:   until the deadline at most
 */
enum aic_provider_token aic_provider_list(struct aic_provider *provider,
    struct aic_http *http, int64_t deadline_us, struct aic_http_answer *answer);

#endif
