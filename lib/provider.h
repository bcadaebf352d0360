/*
 * provider -- what a model's server is: where it is reached, how a request
 * proves who sends it, and which members of the body are this server's own.
 *
 * What the answer means, and how often a request is repeated, is not decided
 * here; see openai.h.
 *
 * Threads: any; nothing but the token changes after aic_provider_open(), and it has a
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

/* The word that stands for no proxy, where a NULL would mean another one. */
#define AIC_PROVIDER_DIRECT "direct"

/* How a request proves who sends it. */
enum aic_provider_auth {
	AIC_PROVIDER_AUTH_UNSET, /* as the first has it, or bearer */
	AIC_PROVIDER_BEARER, /* Authorization: Bearer KEY */
	AIC_PROVIDER_API_KEY, /* api-key: KEY, as Azure has it */
	AIC_PROVIDER_GIGACHAT, /* a token that KEY is exchanged for */
	AIC_PROVIDER_AUTH__MAX
};

/* The words of the setting; NULL for UNSET, and at the end. */
extern const char *const aic_provider_auth_names[AIC_PROVIDER_AUTH__MAX + 1];

struct aic_provider_conf {
	const char *base_url;
	const char *api_key;
	const char *name; /* of the model */
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

/* Besides those of a file: who asks, two about the type of the body, no waiting for
 * 100 Continue, and the NULL at the end. */
#define AIC_PROVIDER_HEADERS (AIC_HEADERS_MAX + 5)

/* Each of a file's headers, and the key. */
#define AIC_PROVIDER_SECRETS (AIC_HEADERS_MAX + 1)

struct aic_provider {
	char *url; /* of chat completions */
	char *models_url; /* of the list of models */
	char *key;
	char *auth; /* the header with the key; NULL: there is a gigachat */
	struct aic_gigachat *gigachat; /* NULL: no token is needed */
	char *model; /* the member of the body, with a comma before it */
	char *proxy; /* NULL: none */
	struct aic_http_trust *trust; /* NULL: the system's roots alone */
	struct aic_headers own; /* the operator's */
	struct aic_extra extra; /* members of the body, the operator's */
	/* NULL at the end; the first one is the key's or the token's. */
	const char *headers[AIC_PROVIDER_HEADERS];
	/* What a server must not bring into the log by quoting it. */
	const char *secrets[AIC_PROVIDER_SECRETS];
	int n_secrets;
};

/*
 * aic_provider_inherit -- take from the first provider what the second leaves out.
 *
 * The URL, the name of the model and the proxy are the first's wherever they are
 * left out. All else is for one server: the key and how it is used, the file of
 * certificates, headers, members of the body. It is inherited only where both have the same URL. A file
 * that is empty, or of no members, is the way to have none.
 *
 * False: the second is not set, because it has neither a URL nor a key nor a name.
 */
bool aic_provider_inherit(struct aic_provider_conf *second,
    const struct aic_provider_conf *first);

/*
 * aic_provider_open -- conf is borrowed; its first three members are not NULL.
 *
 * Errors:   AIC_ECONF  err->detail names the setting of a file, and what is wrong
 *                      with it; AIC_ENOMEM
 * Blocks:   on reading the files
 * Memory:   gives; aic_provider_close()
 */
enum aic_code aic_provider_open(struct aic_provider **ret_provider,
    const struct aic_provider_conf *conf, struct aic_err *err) AIC_MUST_CHECK;

/* aic_provider_close -- wipes the secrets. NULL is fine. */
void aic_provider_close(struct aic_provider *provider);

struct aic_provider_call {
	struct aic_buf *body; /* its bytes are the call's for its time */
	int64_t deadline_us;
	bool (*gone)(void *arg); /* the caller has left; NULL: never asked */
	void *gone_arg;
};

/* What a call was as to the token that it needs. */
enum aic_provider_token {
	AIC_PROVIDER_TOKEN_USED, /* or none is needed */
	/* There was none, and nothing was sent to the model; the answer's end and why
	 * are about the token. AIC_HTTP_CONNECT: another attempt may have one. */
	AIC_PROVIDER_TOKEN_MISSING,
	/* The model refused it, and the next call will have another one. */
	AIC_PROVIDER_TOKEN_STALE,
};

/*
 * aic_provider_post -- send a body to the model and read the answer, after getting a
 * token if need be.
 *
 * answer    set; its body is given. Where the server quotes the token, it is made
 *           unreadable
 *
 * Errors:   in answer->end
 * Blocks:   until the deadline at most
 */
enum aic_provider_token
aic_provider_post(struct aic_provider *provider, struct aic_http *http,
    const struct aic_provider_call *call, struct aic_http_answer *answer);

#endif
