#include "config.h"

#include "provider.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "json.h"

/* The longest value of a setting is 8 KiB, and each byte can become six. */
#define TEXT_MAX (64 * 1024)

/* Of just its size: a buffer that grows would leave copies of a key behind. */
static char *
join(const char *a, const char *b)
{
	size_t n = strlen(a), m = strlen(b);
	char *s = malloc(n + m + 1);

	if (!s)
		return NULL;
	memcpy(s, a, n);
	memcpy(s + n, b, m + 1);
	return s;
}

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
wipe(char *s)
{
	if (s)
		explicit_bzero(s, strlen(s));
	free(s);
}

bool
aic_provider_inherit(struct aic_provider_conf *second,
    const struct aic_provider_conf *first)
{
	bool same = !second->base_url ||
	    strcmp(second->base_url, first->base_url) == 0;

	if (!second->base_url && !second->api_key && !second->name)
		return false;
	if (!second->base_url)
		second->base_url = first->base_url;
	if (!second->name)
		second->name = first->name;
	if (!second->proxy)
		second->proxy = first->proxy;
	if (same && !second->api_key)
		second->api_key = first->api_key;
	if (same && !second->ca_file)
		second->ca_file = first->ca_file;
	return true;
}

/* False: no memory. */
static bool
copy(char **ret, const char *s)
{
	*ret = s ? strdup(s) : NULL;
	return *ret || !s;
}

enum aic_code
aic_provider_open(struct aic_provider **ret_provider,
    const struct aic_provider_conf *conf, struct aic_err *err)
{
	bool direct = conf->proxy &&
	    strcmp(conf->proxy, AIC_PROVIDER_DIRECT) == 0;
	struct aic_provider *p = calloc(1, sizeof(*p));

	if (!p)
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	p->url = join(conf->base_url, "/chat/completions");
	p->auth = join("Authorization: Bearer ", conf->api_key);
	p->model = make_model(conf->name);
	if (!p->url || !p->auth || !p->model || !copy(&p->key, conf->api_key) ||
	    !copy(&p->proxy, direct ? NULL : conf->proxy) ||
	    !copy(&p->ca_file, conf->ca_file)) {
		aic_provider_close(p);
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	}
	p->headers[0] = p->auth;
	p->headers[1] = "Content-Type: application/json";
	p->headers[2] = "Accept: application/json";
	p->headers[3] = "Expect:"; /* no waiting for 100 Continue */
	*ret_provider = p;
	return AIC_OK;
}

void
aic_provider_close(struct aic_provider *p)
{
	if (!p)
		return;
	wipe(p->key);
	wipe(p->auth);
	wipe(p->proxy); /* it can hold a password */
	free(p->ca_file);
	free(p->url);
	free(p->model);
	free(p);
}
