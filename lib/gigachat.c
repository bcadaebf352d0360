#include "config.h"

#include "lib/gigachat.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/buf.h"
#include "lib/id.h"
#include "lib/json.h"

/* A token has about 1 KiB. */
#define ANSWER_MAX (64 * 1024)
#define TOKEN_MAX 8192

/* The endpoint normally answers within a second. */
#define ASK_US (10 * AIC_S)
#define CONNECT_US (5 * AIC_S)

/*
 * A renewal is early while the old token is still valid. It therefore delays
 * the chat that makes it by EARLY_US at most. After a failure, the next early
 * renewal is made EARLY_AGAIN_US later.
 */
#define EARLY_US (3 * AIC_S)
#define EARLY_AGAIN_US (10 * AIC_S)

/* Minimum interval between renewals of refused tokens. */
#define REFUSED_AGAIN_US (10 * AIC_S)

/*
 * How often a chat that waits for the renewal of another thread checks whether
 * its caller has left.
 */
#define GONE_EVERY_US (500 * AIC_MS)

#define BEARER "Authorization: Bearer "

struct aic_gigachat {
	char *url;
	char *basic; /* the header with the key */
	char *form; /* the body */
	int64_t (*now_us)(void);
	int64_t (*wall_ms)(void);

	pthread_mutex_t lock; /* guards all members below */
	pthread_cond_t changed;
	char *header; /* NULL: there is no token */
	uint64_t serial; /* changes whenever the token changes or is lost */
	int64_t renew_us, expires_us; /* of the token */
	bool renewing;
	int64_t early_us; /* no early renewal before */
	/* when a refused token was last discarded; 0: never */
	int64_t refused_us;
	uint64_t failures; /* number of failures recorded */
	/* the last failure; no request before failed_until_us */
	enum aic_http_end failed;
	int64_t failed_until_us;
	char failed_why[AIC_HTTP_WHY_SIZE];
};

/* The result of a request for a token. */
struct fresh {
	enum aic_http_end end;
	char *header;
	int64_t renew_us, expires_us;
	char why[AIC_HTTP_WHY_SIZE];
};

static int64_t
wall_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void
wipe_text(char *s)
{
	if (s)
		explicit_bzero(s, strlen(s));
	free(s);
}

/* Source: WHATWG URL, application/x-www-form-urlencoded. */
static char *
make_form(const char *scope)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789*-._";
	struct aic_buf b;
	char *s;

	aic_buf_init(&b, 64 * 1024);
	aic_buf_puts(&b, "scope=");
	for (; *scope; scope++) {
		if (strchr(plain, *scope))
			aic_buf_putc(&b, *scope);
		else
			aic_buf_printf(&b, "%%%02X", (unsigned char)*scope);
	}
	s = aic_buf_take(&b, NULL);
	aic_buf_done(&b);
	return s;
}

enum aic_code
aic_gigachat_open(struct aic_gigachat **ret_gigachat,
    const struct aic_gigachat_conf *conf, struct aic_err *err)
{
	struct aic_gigachat *g = calloc(1, sizeof(*g));

	if (!g)
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->changed, NULL);
	g->now_us = conf->now_us ? conf->now_us : aic_clock_us;
	g->wall_ms = conf->wall_ms ? conf->wall_ms : wall_ms;
	g->url = aic_buf_join(conf->url, "");
	g->basic = aic_buf_join("Authorization: Basic ", conf->key);
	g->form = make_form(conf->scope);
	if (!g->url || !g->basic || !g->form) {
		aic_gigachat_close(g);
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	}
	*ret_gigachat = g;
	return AIC_OK;
}

void
aic_gigachat_close(struct aic_gigachat *g)
{
	if (!g)
		return;
	wipe_text(g->basic);
	wipe_text(g->header);
	free(g->url);
	free(g->form);
	pthread_cond_destroy(&g->changed);
	pthread_mutex_destroy(&g->lock);
	free(g);
}

void
aic_gigachat_token_done(struct aic_gigachat_token *t)
{
	wipe_text(t->header);
	*t = (struct aic_gigachat_token){ .serial = 0 };
}

/* --- one request --------------------------------------------------------- */

static bool
is_token(const char *s, size_t len)
{
	size_t n;

	for (n = 0; s[n]; n++)
		if (s[n] <= 0x20 || s[n] >= 0x7f)
			return false;
	return n > 0 && n <= TOKEN_MAX && n == len;
}

/*
 * The life of a token, from the time of the request.
 *
 * The server states the time of expiry by its own clock, and the clock of this
 * machine is subtracted from it. If the clock of this machine is wrong, the
 * token seems to have expired or to be valid for hours. The difference is then
 * not used.
 */
static int64_t
get_life(struct json_object *doc, int64_t asked_ms)
{
	struct json_object *at;
	int64_t ms;

	if (!json_object_object_get_ex(doc, "expires_at", &at) ||
	    !json_object_is_type(at, json_type_int))
		return AIC_GIGACHAT_LIFE_UNKNOWN_US;
	ms = json_object_get_int64(at);
	if (ms <= asked_ms)
		return AIC_GIGACHAT_LIFE_UNKNOWN_US;
	if (ms - asked_ms > AIC_GIGACHAT_LIFE_US / AIC_MS)
		return AIC_GIGACHAT_LIFE_US;
	return (ms - asked_ms) * AIC_MS;
}

/*
 * Overwrites a string with zeros. json-c writes the new value in place if it is
 * not longer than the old one.
 */
static void
wipe_string(struct json_object *string, size_t len)
{
	char *zeros = calloc(1, len + 1);

	if (zeros)
		(void)json_object_set_string_len(string, zeros, (int)len);
	free(zeros);
}

static void
set_why(struct fresh *f, enum aic_http_end end, const char *why)
{
	f->end = end;
	snprintf(f->why, sizeof(f->why), "could not get a token: %.100s", why);
}

static void
read_token(struct fresh *f, struct json_object *doc, int64_t asked_us,
    int64_t asked_ms)
{
	struct json_object *token;
	int64_t life;
	size_t len;

	if (!json_object_is_type(doc, json_type_object) ||
	    !json_object_object_get_ex(doc, "access_token", &token) ||
	    !json_object_is_type(token, json_type_string)) {
		set_why(f, AIC_HTTP_CONNECT, "the answer has no access_token");
		return;
	}
	len = (size_t)json_object_get_string_len(token);
	if (!is_token(json_object_get_string(token), len)) {
		set_why(f, AIC_HTTP_CONNECT,
		    "the access_token is not fit for a header");
		return;
	}
	f->header = aic_buf_join(BEARER, json_object_get_string(token));
	wipe_string(token, len);
	if (!f->header) {
		set_why(f, AIC_HTTP_NO_MEMORY, "out of memory");
		return;
	}
	life = get_life(doc, asked_ms);
	f->end = AIC_HTTP_ANSWERED;
	f->expires_us = asked_us + life;
	f->renew_us = asked_us + life / 5 * 4;
}

static void
read_answer(struct fresh *f, const struct aic_http_answer *answer,
    int64_t asked_us, int64_t asked_ms)
{
	struct json_object *doc = NULL;
	char why[64];
	enum aic_code rc;

	if (answer->end != AIC_HTTP_ANSWERED) {
		/*
		 * A token costs nothing, so a request whose answer was lost may
		 * be repeated, as after AIC_HTTP_CONNECT.
		 */
		set_why(f,
		    answer->end == AIC_HTTP_BROKEN ||
			    answer->end == AIC_HTTP_TOO_BIG
			? AIC_HTTP_CONNECT
			: answer->end,
		    answer->why);
		return;
	}
	if (answer->status != 200) {
		snprintf(why, sizeof(why),
		    "the token endpoint answered HTTP %d", answer->status);
		set_why(f,
		    answer->status == 408 || answer->status == 429 ||
			    answer->status >= 500
			? AIC_HTTP_CONNECT
			: AIC_HTTP_FAILED,
		    why);
		return;
	}
	rc = aic_json_parse(answer->body.data, answer->body.len, &doc);
	if (rc == AIC_ENOMEM)
		set_why(f, AIC_HTTP_NO_MEMORY, "out of memory");
	else if (rc)
		set_why(f, AIC_HTTP_CONNECT, "the answer is not JSON");
	else
		read_token(f, doc, asked_us, asked_ms);
	json_object_put(doc);
}

static void
request_token(struct aic_gigachat *g, const struct aic_gigachat_call *call,
    int64_t until_us, struct fresh *f)
{
	struct aic_http_answer answer = { .end = AIC_HTTP_FAILED };
	int64_t asked_us = g->now_us(), asked_ms = g->wall_ms();
	struct aic_err err = AIC_ERR_INIT;
	struct aic_buf form;
	char id[AIC_ID_SIZE], rquid[AIC_ID_SIZE + 8];
	const char *headers[] = { g->basic, rquid,
		"Content-Type: application/x-www-form-urlencoded",
		"Accept: application/json", "Expect:", NULL };
	struct aic_http_request req = { .url = g->url,
		.headers = headers,
		.body = &form,
		.answer_max = ANSWER_MAX,
		.deadline_us = until_us,
		.connect_us = CONNECT_US };

	if (aic_id_new(id, &err) != AIC_OK) {
		set_why(f, AIC_HTTP_CONNECT, err.detail);
		return;
	}
	snprintf(rquid, sizeof(rquid), "RqUID: %s", id);
	aic_buf_init(&answer.body, ANSWER_MAX);
	aic_buf_init(&form, strlen(g->form) + 1);
	aic_buf_puts(&form, g->form);
	if (form.failed) {
		set_why(f, AIC_HTTP_NO_MEMORY, "out of memory");
		return;
	}
	call->send(call->send_arg, &req, &answer);
	read_answer(f, &answer, asked_us, asked_ms);
	if (answer.body.data)
		explicit_bzero(answer.body.data, answer.body.cap);
	aic_buf_done(&answer.body);
	aic_buf_done(&form);
}

/* --- sharing the token --------------------------------------------------- */

static int64_t
get_least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/*
 * Record a failure of the endpoint, which is returned to the waiting chats as
 * well. An end that concerns one chat only (its caller left, its deadline
 * passed) is not recorded.
 */
static void
note_failure(struct aic_gigachat *g, const struct fresh *f)
{
	if (f->end != AIC_HTTP_CONNECT && f->end != AIC_HTTP_UNTRUSTED &&
	    f->end != AIC_HTTP_FAILED)
		return;
	g->failures++;
	g->failed = f->end;
	g->failed_until_us = g->now_us() +
	    (f->end == AIC_HTTP_CONNECT ? AIC_GIGACHAT_PAUSE_US
					: AIC_GIGACHAT_REFUSED_US);
	memcpy(g->failed_why, f->why, sizeof(g->failed_why));
}

/*
 * Request a token. The lock is held on entry and on return, and released
 * meanwhile.
 *
 * A request that ended at the deadline of its chat is not a shared failure,
 * because a chat with more time may succeed. A request that ended after ASK_US
 * is one.
 */
static void
renew_token(struct aic_gigachat *g, const struct aic_gigachat_call *call,
    int64_t limit_us, struct fresh *f)
{
	int64_t until = get_least(call->deadline_us, aic_clock_us() + limit_us);
	bool early = g->header != NULL;

	g->renewing = true;
	pthread_mutex_unlock(&g->lock);
	request_token(g, call, until, f);
	pthread_mutex_lock(&g->lock);
	g->renewing = false;
	if (f->end == AIC_HTTP_TIMEOUT && until < call->deadline_us)
		f->end = AIC_HTTP_CONNECT;
	if (f->end == AIC_HTTP_ANSWERED) {
		wipe_text(g->header);
		g->header = f->header;
		f->header = NULL;
		g->serial++;
		g->renew_us = f->renew_us;
		g->expires_us = f->expires_us;
		g->failed_until_us = 0;
	} else if (early) {
		g->early_us = g->now_us() + EARLY_AGAIN_US;
	} else {
		note_failure(g, f);
	}
	pthread_cond_broadcast(&g->changed);
}

/*
 * Wait for a change, for at_most_us at most. The lock is held. A value other
 * than ANSWERED is the reason to stop waiting.
 */
static enum aic_http_end
wait_changed(struct aic_gigachat *g, const struct aic_gigachat_call *call,
    int64_t at_most_us)
{
	int64_t now = aic_clock_us();
	struct timespec until;
	bool gone;

	if (now >= call->deadline_us)
		return AIC_HTTP_TIMEOUT;
	until = aic_clock_spec(get_least(call->deadline_us,
	    now + get_least(at_most_us, GONE_EVERY_US)));
	pthread_cond_clockwait(&g->changed, &g->lock, CLOCK_MONOTONIC, &until);
	if (!call->gone)
		return AIC_HTTP_ANSWERED;
	pthread_mutex_unlock(&g->lock);
	gone = call->gone(call->gone_arg);
	pthread_mutex_lock(&g->lock);
	return gone ? AIC_HTTP_GONE : AIC_HTTP_ANSWERED;
}

static enum aic_http_end
copy_token(const struct aic_gigachat *g, struct aic_gigachat_token *ret_token)
{
	char *header = strdup(g->header);

	if (!header)
		return AIC_HTTP_NO_MEMORY;
	*ret_token = (struct aic_gigachat_token){ .header = header,
		.text = header + strlen(BEARER),
		.serial = g->serial };
	return AIC_HTTP_ANSWERED;
}

static enum aic_http_end
copy_failure(const struct aic_gigachat *g, char why[AIC_HTTP_WHY_SIZE])
{
	memcpy(why, g->failed_why, AIC_HTTP_WHY_SIZE);
	return g->failed;
}

/*
 * Get the token. The lock is held. Each iteration returns or follows a change.
 *
 * A failure is returned to the calls that waited for its request. A call that
 * comes later, in the pause after it, waits for the end of the pause. Otherwise
 * the chat would lose an attempt although no request was sent for it. A refused
 * key is different, because the next request cannot succeed either: this
 * failure is returned during the whole pause.
 *
 * A new token is returned however short its life is. Otherwise an endpoint
 * whose tokens expire at once would receive one request after the other.
 */
static enum aic_http_end
get_token(struct aic_gigachat *g, const struct aic_gigachat_call *call,
    struct aic_gigachat_token *ret_token, char why[AIC_HTTP_WHY_SIZE])
{
	struct fresh f = { .end = AIC_HTTP_FAILED };
	uint64_t failures = g->failures;
	enum aic_http_end end;
	int64_t now, pause;

	for (;;) {
		now = g->now_us();
		if (g->header && now < g->expires_us) {
			if (now < g->renew_us || now < g->early_us ||
			    g->renewing)
				return copy_token(g, ret_token);
			renew_token(g, call, EARLY_US, &f);
			if (f.end == AIC_HTTP_ANSWERED)
				return copy_token(g, ret_token);
			continue; /* with the old token, if it is still valid */
		}
		wipe_text(g->header);
		g->header = NULL;
		pause = g->failed_until_us - now;
		if (failures != g->failures ||
		    (pause > 0 && g->failed == AIC_HTTP_FAILED))
			return copy_failure(g, why);
		if (!g->renewing && pause <= 0) {
			renew_token(g, call, ASK_US, &f);
			if (f.end == AIC_HTTP_ANSWERED)
				return copy_token(g, ret_token);
			memcpy(why, f.why, AIC_HTTP_WHY_SIZE);
			return f.end;
		}
		end = wait_changed(g, call,
		    g->renewing ? GONE_EVERY_US : pause);
		if (end != AIC_HTTP_ANSWERED) {
			snprintf(why, AIC_HTTP_WHY_SIZE,
			    "could not get a token: the renewal of another "
			    "chat took too long, or has failed");
			return end;
		}
	}
}

enum aic_http_end
aic_gigachat_get(struct aic_gigachat *g, const struct aic_gigachat_call *call,
    struct aic_gigachat_token *ret_token, char ret_why[AIC_HTTP_WHY_SIZE])
{
	enum aic_http_end end;

	pthread_mutex_lock(&g->lock);
	end = get_token(g, call, ret_token, ret_why);
	pthread_mutex_unlock(&g->lock);
	return end;
}

bool
aic_gigachat_refused(struct aic_gigachat *g, uint64_t serial)
{
	int64_t now = g->now_us();
	bool again = true;

	pthread_mutex_lock(&g->lock);
	/* Otherwise the token has already been replaced. */
	if (serial == g->serial) {
		again = g->refused_us == 0 ||
		    now - g->refused_us >= REFUSED_AGAIN_US;
		if (again) {
			wipe_text(g->header);
			g->header = NULL;
			g->serial++;
			g->refused_us = now;
		}
	}
	pthread_mutex_unlock(&g->lock);
	return again;
}
