#include "config.h"

#include "app/ctl/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/http.h"
#include "lib/openai.h"
#include "lib/paths.h"
#include "lib/prompt.h"
#include "lib/provider.h"
#include "lib/redis.h"
#include "lib/seller.h"

/* The timeout for one path of the seller-data API; a big shop takes long. */
#define SELLER_API_US (5 * AIC_S)

/* The timeout for the list of models, including a token. */
#define MODEL_US (10 * AIC_S)

/* The timeouts for Redis, which responds in milliseconds. */
#define REDIS_US (2 * AIC_S)

/* A token, the list, and a call that is being cancelled. */
#define CALLS 4

/* The rules of the prompt, as JSON, and a question. */
#define BODY_MAX (6 * AIC_PROMPT_FILE_MAX)

/* The names of the checks of the two models, and of the settings. */
static const char *const model_names[AIC_OPENAI_MODELS] = { "model",
	"fallback" };

/* --- models --------------------------------------------------------------- */

/* The host of a URL, for messages, without a user and a password. */
static void
copy_host(const char *url, char *to, size_t size)
{
	const char *from = strstr(url, "://");
	size_t n;

	from = from ? from + 3 : url;
	n = strcspn(from, "/");
	while (memchr(from, '@', n)) {
		n -= strcspn(from, "@") + 1;
		from += strcspn(from, "@") + 1;
	}
	snprintf(to, size, "%.*s", (int)n, from);
}

/* A key of OpenAI can be allowed to chat and not to list models. */
static bool
lacks_scope(const struct aic_http_answer *a)
{
	return a->body.len > 0 &&
	    (strstr(a->body.data, "issing scopes") ||
		strstr(a->body.data, "insufficient permissions"));
}

static void
report_list(struct check *k, int model, const struct aic_provider_conf *conf,
    const struct aic_http_answer *a)
{
	const char *what = model_names[model];
	char host[200];

	copy_host(conf->base_url, host, sizeof(host));
	if (a->end != AIC_HTTP_ANSWERED && a->end != AIC_HTTP_TOO_BIG)
		check_report(k, what, false, "could not reach %s: %s", host,
		    a->why[0] ? a->why : "no response");
	else if (a->status >= 500)
		check_report(k, what, false, "%s fails: HTTP %d to GET /models",
		    host, a->status);
	else if ((a->status == 401 || a->status == 403) && lacks_scope(a))
		check_report(k, what, true,
		    "%s responds; %sAPI_KEY may not list models, so only "
		    "--model can test it",
		    host, conf->prefix);
	else if (a->status == 401 || a->status == 403)
		check_report(k, what, false,
		    "%s rejects %sAPI_KEY: HTTP %d to GET /models", host,
		    conf->prefix, a->status);
	else if (a->status >= 400)
		check_report(k, what, true,
		    "%s responds: HTTP %d to GET /models, so only --model can "
		    "test the key and the path",
		    host, a->status);
	else
		check_report(k, what, true, "%s accepts %sAPI_KEY", host,
		    conf->prefix);
}

static void
list_models(struct check *k, struct aic_http *http, int model,
    const struct aic_provider_conf *conf)
{
	struct aic_http_answer a = { .end = AIC_HTTP_NO_MEMORY };
	struct aic_err err = AIC_ERR_INIT;
	struct aic_provider *provider;

	if (aic_provider_open(&provider, conf, &err)) {
		check_report(k, model_names[model], false, "%s", err.detail);
		return;
	}
	if (aic_provider_list(provider, http, aic_clock_us() + MODEL_US, &a) ==
	    AIC_PROVIDER_TOKEN_MISSING)
		check_report(k, model_names[model], false,
		    "could not get a token with %sAPI_KEY: %s", conf->prefix,
		    a.why[0] ? a.why : "no response");
	else
		report_list(k, model, conf, &a);
	aic_buf_done(&a.body);
	aic_provider_close(provider);
}

/* Write the messages of a chat, as a worker does. False: err is set. */
static bool
write_question(struct check *k, struct aic_buf *body, struct aic_err *err)
{
	struct aic_prompt prompt;

	if (aic_prompt_load(&prompt, k->c->conf.prompt_file,
		k->c->conf.answer_format, err))
		return false;
	aic_completion_begin(body);
	aic_prompt_begin(&prompt, body);
	aic_prompt_ask(body, NULL,
	    "\xd0\x9e\xd1\x82\xd0\xb2\xd0\xb5\xd1\x82\xd1\x8c "
	    "\xd0\xbe\xd0\xb4\xd0\xbd\xd0\xb8\xd0\xbc "
	    "\xd1\x81\xd0\xbb\xd0\xbe\xd0\xb2\xd0\xbe\xd0\xbc.");
	aic_prompt_done(&prompt);
	return !body->failed;
}

/* Ask the model a question, in one paid call. */
static void
call_model(struct check *k, struct aic_http *http, int model,
    const struct aic_provider_conf *conf)
{
	struct aic_openai_conf terms = { .models = { *conf },
		.temperature = k->c->conf.openai_temperature,
		.max_tokens = k->c->conf.openai_max_tokens };
	struct aic_openai_answer answer = { .text = NULL };
	struct aic_err err = AIC_ERR_INIT;
	int64_t start = aic_clock_us();
	struct aic_openai *openai = NULL;
	struct aic_openai_ask ask;
	struct aic_buf body;
	bool ok;

	aic_buf_init(&body, BODY_MAX);
	ask = (struct aic_openai_ask){ .body = &body,
		.deadline_us = start + k->c->conf.deadline_ms * AIC_MS };
	ok = write_question(k, &body, &err) &&
	    !aic_openai_open(&openai, &terms, &err) &&
	    !aic_openai_ask(openai, http, &ask, &answer, &err);
	if (ok)
		check_report(k, model_names[model], true,
		    "%s answered a question in %lld ms, for %lld tokens",
		    conf->name, (long long)((aic_clock_us() - start) / AIC_MS),
		    (long long)answer.tokens);
	else
		check_report(k, model_names[model], false,
		    "%s did not answer a question: %s", conf->name,
		    err.detail[0] ? err.detail : "out of memory");
	free(answer.text);
	aic_openai_close(openai);
	aic_buf_done(&body);
}

void
check_models(struct check *k)
{
	const struct aic_http_conf conf = { .calls_max = CALLS };
	struct aic_provider_conf models[AIC_OPENAI_MODELS];
	struct aic_err err = AIC_ERR_INIT;
	struct aic_http *http;
	int i, n;

	aic_conf_models(&k->c->conf, models);
	n = aic_provider_inherit(&models[1], &models[0]) ? 2 : 1;
	if (aic_http_open(&http, &conf, &err)) {
		check_report(k, "model", false, "%s", err.detail);
		return;
	}
	for (i = 0; i < n; i++) {
		list_models(k, http, i, &models[i]);
		if (k->c->model)
			call_model(k, http, i, &models[i]);
	}
	aic_http_close(http);
}

/* --- Redis ---------------------------------------------------------------- */

void
check_redis(struct check *k)
{
	char why[AIC_REDIS_WHY] = "out of memory";
	struct aic_redis *redis = NULL;
	struct aic_err err = AIC_ERR_INIT;
	struct aic_redis_url url;
	bool ok;

	if (!k->c->conf.redis_url)
		return;
	if (aic_redis_url_parse(&url, k->c->conf.redis_url, &err)) {
		check_report(k, "redis", false, "%s", err.detail);
		return;
	}
	ok = aic_redis_open(&redis, &url, REDIS_US, REDIS_US, why) ==
	    AIC_REDIS_ANSWERED;
	check_report(k, "redis", ok, "%s%s",
	    ok ? "Redis responds" : "could not reach Redis: ", ok ? "" : why);
	aic_redis_close(redis);
	aic_redis_url_done(&url);
}

/* --- the seller-data API -------------------------------------------------- */

static void
call_seller_api(struct check *k, struct aic_http *http, const char *path,
    const char *id, struct aic_http_answer *ret_answer)
{
	const struct aic_conf *conf = &k->c->conf;
	int64_t now = aic_clock_us();
	struct aic_buf url, auth;
	const char *headers[2] = { NULL };
	struct aic_http_request req = { .headers = headers,
		.answer_max = AIC_SELLER_ANSWER_MAX,
		.deadline_us = now + SELLER_API_US,
		.connect_us = SELLER_API_US };

	aic_buf_init(&url, 16384);
	aic_buf_init(&auth, 16384);
	aic_paths_url(&url, conf->server_host, path, id);
	aic_buf_printf(&auth, "X-API-SECRET-KEY: %s", conf->server_api_key);
	*ret_answer = (struct aic_http_answer){ .end = AIC_HTTP_NO_MEMORY };
	if (!url.failed && !auth.failed) {
		req.url = url.data;
		headers[0] = auth.data;
		aic_http_run(http, &req, NULL, NULL, ret_answer);
		explicit_bzero(auth.data, auth.len);
	}
	aic_buf_done(&auth);
	aic_buf_done(&url);
}

/* First call the path with an id that is not a number. If the path exists, the
 * framework rejects that id before the API looks up, or registers, a seller. */
static void
check_seller_api_path(struct check *k, struct aic_http *http, const char *path)
{
	struct aic_http_answer a;
	char id[24];

	call_seller_api(k, http, path, "check", &a);
	if (aic_paths_is_missing(&a) && check_seller(k, id)) {
		aic_buf_done(&a.body);
		call_seller_api(k, http, path, id, &a);
	}
	if (a.end != AIC_HTTP_ANSWERED)
		check_report(k, "server", false, "could not call %s: %s", path,
		    a.why[0] ? a.why : "no response");
	else if (a.status == 401 || a.status == 403)
		check_report(k, "server", false,
		    "the seller-data API rejects SERVER_API_KEY: HTTP %d",
		    a.status);
	else if (aic_paths_is_missing(&a))
		check_report(k, "server", false,
		    "the seller-data API has no path %s: correct "
		    "SERVER_CONTEXT_PATHS",
		    path);
	else
		check_report(k, "server", a.status < 500, "%s exists: HTTP %d",
		    path, a.status);
	aic_buf_done(&a.body);
}

void
check_seller_api(struct check *k)
{
	struct aic_http_conf conf = { .calls_max = 1 };
	struct aic_err err = AIC_ERR_INIT;
	struct aic_paths paths;
	struct aic_http *http;
	int i;

	if (!k->c->conf.server_host)
		return;
	if (aic_paths_read(&paths, k->c->conf.server_paths, &err)) {
		check_report(k, "server", false, "%s", err.detail);
		return;
	}
	if (aic_http_open(&http, &conf, &err)) {
		check_report(k, "server", false, "%s", err.detail);
	} else {
		for (i = 0; i < paths.n; i++)
			check_seller_api_path(k, http, paths.path[i]);
		aic_http_close(http);
	}
	aic_paths_done(&paths);
}
