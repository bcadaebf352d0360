#include "config.h"

#include "lib/provider.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/completion.h"
#include "lib/file.h"
#include "lib/http_trust.h"
#include "lib/json.h"

/*
 * The longest value of a setting is 8 KiB, and each byte can become six bytes.
 */
#define TEXT_MAX (64 * 1024)

/* The size of "OPENAI_FALLBACK_EXTRA_BODY_FILE" and a NUL, rounded up. */
#define NAME_SIZE 64

/*
 * The least length of a secret. A shorter value of a header, such as "false",
 * is no secret, and would be found in every other answer.
 */
#define SECRET_LEAST 8

/*
 * TCP and TLS handshakes across the world take well under a second. If the
 * server is down, the timeout leaves time for two more attempts.
 */
#define CONNECT_US (5 * AIC_S)

const char *const aic_provider_auth_names[AIC_PROVIDER_AUTH__MAX + 1] = {
	[AIC_PROVIDER_BEARER] = "bearer",
	[AIC_PROVIDER_API_KEY] = "api-key",
	[AIC_PROVIDER_GIGACHAT] = "gigachat",
};

static char *
make_model(const char *name)
{
	struct aic_buf b;
	char *s;

	aic_buf_init(&b, TEXT_MAX);
	aic_buf_puts(&b, ",\"model\":");
	aic_json_put_str(&b, name);
	s = aic_buf_take(&b, NULL);
	aic_buf_done(&b);
	return s;
}

static void
wipe_text(char *s)
{
	if (s)
		explicit_bzero(s, strlen(s));
	free(s);
}

bool
aic_provider_inherit(struct aic_provider_conf *fallback,
    const struct aic_provider_conf *primary)
{
	bool same = !fallback->base_url ||
	    strcmp(fallback->base_url, primary->base_url) == 0;

	if (!fallback->base_url && !fallback->api_key && !fallback->name)
		return false;
	if (!fallback->base_url)
		fallback->base_url = primary->base_url;
	if (!fallback->name)
		fallback->name = primary->name;
	if (!fallback->proxy)
		fallback->proxy = primary->proxy;
	if (same && !fallback->api_key)
		fallback->api_key = primary->api_key;
	if (same && fallback->auth == AIC_PROVIDER_AUTH_UNSET)
		fallback->auth = primary->auth;
	if (same && !fallback->auth_url)
		fallback->auth_url = primary->auth_url;
	if (same && !fallback->auth_scope)
		fallback->auth_scope = primary->auth_scope;
	if (same && !fallback->ca_file)
		fallback->ca_file = primary->ca_file;
	if (same && !fallback->headers_file)
		fallback->headers_file = primary->headers_file;
	if (same && !fallback->extra_body_file)
		fallback->extra_body_file = primary->extra_body_file;
	return true;
}

/* False: out of memory. */
static bool
copy_text(char **ret, const char *s)
{
	*ret = s ? strdup(s) : NULL;
	return *ret || !s;
}

/* --- opening ------------------------------------------------------------ */

static void
name_setting(const struct aic_provider_conf *conf, const char *name,
    char to[NAME_SIZE])
{
	snprintf(to, NAME_SIZE, "%s%s", conf->prefix ? conf->prefix : "OPENAI_",
	    name);
}

static enum aic_code
read_headers(struct aic_provider *p, const struct aic_provider_conf *conf,
    struct aic_err *err)
{
	char name[NAME_SIZE], *text = NULL;
	enum aic_code rc;
	size_t len = 0;

	if (!conf->headers_file)
		return AIC_OK;
	name_setting(conf, "HEADERS_FILE", name);
	rc = aic_file_read(name, conf->headers_file, AIC_HEADERS_FILE_MAX,
	    &text, &len, err);
	if (rc)
		return rc;
	return aic_headers_read(&p->own, text, len, name, conf->headers_file,
	    conf->auth == AIC_PROVIDER_API_KEY, err);
}

static enum aic_code
read_extra(struct aic_provider *p, const struct aic_provider_conf *conf,
    struct aic_err *err)
{
	char name[NAME_SIZE], *text = NULL;
	enum aic_code rc;
	size_t len = 0;

	if (!conf->extra_body_file)
		return AIC_OK;
	name_setting(conf, "EXTRA_BODY_FILE", name);
	rc = aic_file_read(name, conf->extra_body_file, AIC_EXTRA_FILE_MAX,
	    &text, &len, err);
	if (rc)
		return rc;
	rc = aic_extra_read(&p->extra, text, len, name, conf->extra_body_file,
	    err);
	aic_file_wipe(text, len);
	return rc;
}

static enum aic_code
copy_texts(struct aic_provider *p, const struct aic_provider_conf *conf,
    struct aic_err *err)
{
	bool direct = conf->proxy &&
	    strcmp(conf->proxy, AIC_PROVIDER_DIRECT) == 0;

	p->url = aic_buf_join(conf->base_url, "/chat/completions");
	p->models_url = aic_buf_join(conf->base_url, "/models");
	if (conf->auth != AIC_PROVIDER_GIGACHAT)
		p->auth = aic_buf_join(conf->auth == AIC_PROVIDER_API_KEY
			? "api-key: "
			: "Authorization: Bearer ",
		    conf->api_key);
	p->model = make_model(conf->name);
	if (!p->url || !p->models_url ||
	    (!p->auth && conf->auth != AIC_PROVIDER_GIGACHAT) || !p->model ||
	    !copy_text(&p->key, conf->api_key) ||
	    !copy_text(&p->proxy, direct ? NULL : conf->proxy))
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	return AIC_OK;
}

static enum aic_code
open_gigachat(struct aic_provider *p, const struct aic_provider_conf *conf,
    struct aic_err *err)
{
	struct aic_gigachat_conf giga = { .key = conf->api_key,
		.url = conf->auth_url ? conf->auth_url : AIC_GIGACHAT_URL,
		.scope = conf->auth_scope ? conf->auth_scope
					  : AIC_GIGACHAT_SCOPE };

	if (conf->auth != AIC_PROVIDER_GIGACHAT)
		return AIC_OK;
	return aic_gigachat_open(&p->gigachat, &giga, err);
}

static void
list_headers(struct aic_provider *p)
{
	int n = 0, i;

	p->headers[n++] = p->auth; /* NULL: send_with_token() replaces it */
	p->headers[n++] = "Content-Type: application/json";
	p->headers[n++] = "Accept: application/json";
	p->headers[n++] = "Expect:"; /* disables waiting for 100 Continue */
	for (i = 0; i < p->own.n; i++)
		p->headers[n++] = p->own.line[i];
	/*
	 * A local server accepts any key. A key as short as "x" also occurs in
	 * the names of errors, by which the retry rule decides.
	 */
	if (strlen(p->key) >= SECRET_LEAST)
		p->secrets[p->n_secrets++] = p->key;
	for (i = 0; i < p->own.n; i++)
		if (strlen(p->own.value[i]) >= SECRET_LEAST)
			p->secrets[p->n_secrets++] = p->own.value[i];
}

enum aic_code
aic_provider_open(struct aic_provider **ret_provider,
    const struct aic_provider_conf *conf, struct aic_err *err)
{
	struct aic_provider *p = calloc(1, sizeof(*p));
	enum aic_code rc;

	if (!p)
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	rc = copy_texts(p, conf, err);
	if (!rc && conf->ca_file)
		rc = aic_http_trust_open(&p->trust, conf->ca_file, err);
	if (!rc)
		rc = open_gigachat(p, conf, err);
	if (!rc)
		rc = read_headers(p, conf, err);
	if (!rc)
		rc = read_extra(p, conf, err);
	if (rc) {
		aic_provider_close(p);
		return rc;
	}
	list_headers(p);
	*ret_provider = p;
	return AIC_OK;
}

void
aic_provider_close(struct aic_provider *p)
{
	if (!p)
		return;
	wipe_text(p->key);
	wipe_text(p->auth);
	wipe_text(p->proxy); /* can contain a password */
	aic_gigachat_close(p->gigachat);
	aic_headers_done(&p->own);
	aic_extra_done(&p->extra);
	aic_http_trust_close(p->trust);
	free(p->url);
	free(p->models_url);
	free(p->model);
	free(p);
}

/* --- a call -------------------------------------------------------------- */

/* How a request is sent, to the model or to the token endpoint. */
struct way {
	const struct aic_provider *provider;
	struct aic_http *http;
	const struct aic_provider_call *call;
};

/* Sends any request of a provider, also that for a token. */
static void
send_request(void *arg, const struct aic_http_request *req,
    struct aic_http_answer *answer)
{
	const struct way *way = arg;
	struct aic_http_request full = *req;

	full.proxy = way->provider->proxy;
	full.trust = way->provider->trust;
	aic_http_run(way->http, &full, way->call->gone, way->call->gone_arg,
	    answer);
}

/*
 * An error can quote the token, and the code and the type of an error are
 * logged.
 */
static void
hide_token(struct aic_buf *body, const char *token)
{
	size_t n = strlen(token);
	char *at, *end;

	/* An empty body has no memory. */
	if (body->len < n)
		return;
	at = body->data;
	end = at + body->len;
	for (;;) {
		at = memmem(at, (size_t)(end - at), token, n);
		if (!at)
			return;
		memset(at, '*', n);
		at += n;
	}
}

static enum aic_provider_token
send_with_token(struct aic_provider *p, struct way *way,
    const struct aic_provider_call *call, const struct aic_http_request *req,
    struct aic_http_answer *answer)
{
	struct aic_gigachat_call ask = { .send = send_request,
		.send_arg = way,
		.deadline_us = call->deadline_us,
		.gone = call->gone,
		.gone_arg = call->gone_arg };
	enum aic_provider_token is = AIC_PROVIDER_TOKEN_USED;
	struct aic_gigachat_token token = { .header = NULL };
	const char *headers[AIC_PROVIDER_HEADERS];
	struct aic_http_request with = *req;

	*answer = (struct aic_http_answer){ .retry_after_us = -1 };
	answer->end = aic_gigachat_get(p->gigachat, &ask, &token, answer->why);
	if (answer->end != AIC_HTTP_ANSWERED)
		return AIC_PROVIDER_TOKEN_MISSING;
	memcpy(headers, p->headers, sizeof(headers));
	headers[0] = token.header;
	with.headers = headers;
	send_request(way, &with, answer);
	hide_token(&answer->body, token.text);
	if (answer->end == AIC_HTTP_ANSWERED && answer->status == 401 &&
	    aic_gigachat_refused(p->gigachat, token.serial))
		is = AIC_PROVIDER_TOKEN_STALE;
	aic_gigachat_token_done(&token);
	return is;
}

static enum aic_provider_token
send_call(struct aic_provider *p, struct aic_http *http,
    const struct aic_provider_call *call, const struct aic_http_request *req,
    struct aic_http_answer *answer)
{
	struct way way = { .provider = p, .http = http, .call = call };

	if (p->gigachat)
		return send_with_token(p, &way, call, req, answer);
	send_request(&way, req, answer);
	return AIC_PROVIDER_TOKEN_USED;
}

enum aic_provider_token
aic_provider_post(struct aic_provider *p, struct aic_http *http,
    const struct aic_provider_call *call, struct aic_http_answer *answer)
{
	struct aic_http_request req = { .url = p->url,
		.headers = p->headers,
		.more = call->headers,
		.body = call->body,
		.answer_max = AIC_COMPLETION_MAX,
		.deadline_us = call->deadline_us,
		.connect_us = CONNECT_US };

	return send_call(p, http, call, &req, answer);
}

enum aic_provider_token
aic_provider_list(struct aic_provider *p, struct aic_http *http,
    int64_t deadline_us, struct aic_http_answer *answer)
{
	const struct aic_provider_call call = { .deadline_us = deadline_us };
	struct aic_http_request req = { .url = p->models_url,
		.headers = p->headers,
		.answer_max = AIC_COMPLETION_MAX,
		.deadline_us = deadline_us,
		.connect_us = CONNECT_US };

	return send_call(p, http, &call, &req, answer);
}
