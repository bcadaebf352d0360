#include "config.h"

#include "personal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "breaker.h"
#include "clock.h"
#include "log.h"
#include "metrics.h"
#include "route.h"
#include "seller.h"
#include "worker.h"

/* For a question, name resolution and all. The database takes a few milliseconds
 * of it, the model seconds afterwards. */
#define ASK_US (800 * AIC_MS)

/* Five calls in a row do not fail by chance. With fewer chats than that nobody would
 * mind, and each may wait 800 ms for nothing; then one in ten seconds does. */
#define FAILURES_MAX 5
#define OPEN_US (10 * AIC_S)

#define PATH "/api/v1/bot/user-context/"
#define AUTH "X-API-SECRET-KEY: "

struct personal {
	char *url; /* the id comes behind it */
	char *auth; /* the header with the key */
	const char *headers[3];
	struct aic_fetch *fetch;
	struct aic_breaker breaker;
	size_t chars_max;
};

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

enum aic_code
personal_open(struct personal **ret_personal, const struct aic_conf *conf,
    struct aic_err *err)
{
	struct aic_fetch_conf fetch = { .answer_max = AIC_SELLER_ANSWER_MAX,
		/* Each chat has one, and those of chats that have ended are on
		 * their way out. */
		.calls_max = 2 * (int)conf->threads };
	struct personal *p;
	enum aic_code rc;

	*ret_personal = NULL;
	if (!conf->server_host)
		return AIC_OK;
	p = calloc(1, sizeof(*p));
	if (!p)
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	aic_breaker_init(&p->breaker, FAILURES_MAX, OPEN_US);
	p->chars_max = (size_t)conf->user_context_chars;
	p->url = join(conf->server_host, PATH);
	p->auth = join(AUTH, conf->server_api_key);
	p->headers[0] = p->auth;
	p->headers[1] = "Accept: application/json";
	fetch.headers = p->headers;
	if (p->url && p->auth)
		rc = aic_fetch_open(&p->fetch, &fetch, err);
	else
		rc = aic_fail(err, AIC_ENOMEM, "out of memory");
	if (rc) {
		personal_close(p);
		return rc;
	}
	*ret_personal = p;
	return AIC_OK;
}

void
personal_close(struct personal *p)
{
	if (!p)
		return;
	aic_fetch_close(p->fetch);
	if (p->auth)
		explicit_bzero(p->auth, strlen(p->auth));
	aic_breaker_done(&p->breaker);
	free(p->auth);
	free(p->url);
	free(p);
}

bool
personal_is_open(struct personal *p)
{
	return p && aic_breaker_wait(&p->breaker, aic_clock_us()) > 0;
}

/* --- asking ------------------------------------------------------------ */

static void
note(struct job *job, enum metrics_server how)
{
	job->server = metrics_server_name(how);
	metrics_server(job->worker->metrics, how);
}

/* What became of a question that was asked. */
static void
settle(struct job *job, struct personal_ask *ask, enum metrics_server how,
    enum aic_breaker_verdict verdict)
{
	struct personal *p = job->worker->personal;

	aic_fetch_drop(ask->call);
	ask->call = NULL;
	ask->known = verdict == AIC_BREAKER_WELL;
	note(job, how);
	switch (aic_breaker_leave(&p->breaker, ask->round, verdict,
	    aic_clock_us())) {
	case AIC_BREAKER_OPENED:
		aic_log_event(AIC_LOG_WARN, "breaker",
		    "the Server failed %d times in a row (%s) and is not asked "
		    "for %lld ms",
		    FAILURES_MAX, job->server, (long long)(OPEN_US / AIC_MS));
		break;
	case AIC_BREAKER_CLOSED:
		aic_log_event(AIC_LOG_INFO, "breaker",
		    "the Server answers again");
		break;
	case AIC_BREAKER_SAME:
		break;
	}
}

static struct aic_fetch_call *
ask_of(const struct personal *p, int64_t telegram_id, int64_t deadline_us)
{
	struct aic_fetch_call *call = NULL;
	struct aic_buf url;

	aic_buf_init(&url, strlen(p->url) + 32);
	aic_buf_printf(&url, "%s%lld", p->url, (long long)telegram_id);
	if (!url.failed)
		call = aic_fetch_start(p->fetch, url.data, deadline_us);
	aic_buf_done(&url);
	return call;
}

void
personal_start(struct job *job, struct personal_ask *ask)
{
	struct personal *p = job->worker->personal;

	if (!p)
		return;
	ask->start_us = aic_clock_us();
	if (aic_breaker_enter(&p->breaker, ask->start_us,
		ask->start_us + ASK_US, &ask->round) > 0) {
		note(job, METRICS_SERVER_OPEN);
		return;
	}
	ask->call = ask_of(p, job->user, ask->start_us + ASK_US);
	if (!ask->call)
		settle(job, ask, METRICS_SERVER_BUSY, AIC_BREAKER_NEUTRAL);
}

/* --- reading ----------------------------------------------------------- */

static enum metrics_server
read_body(const struct personal *p, const struct aic_buf *body, char **ret_text)
{
	switch (aic_seller_summary(body->data, body->len, p->chars_max,
	    ret_text)) {
	case AIC_OK:
		return *ret_text ? METRICS_SERVER_TOLD : METRICS_SERVER_NOTHING;
	case AIC_ENOMEM:
		return METRICS_SERVER_BUSY;
	default:
		return METRICS_SERVER_NONSENSE;
	}
}

static enum metrics_server
read_answer(const struct personal *p, const struct aic_http_answer *a,
    char **ret_text)
{
	static const enum metrics_server ends[AIC_HTTP__MAX] = {
		[AIC_HTTP_CONNECT] = METRICS_SERVER_UNREACHED,
		[AIC_HTTP_UNTRUSTED] = METRICS_SERVER_UNREACHED,
		[AIC_HTTP_BROKEN] = METRICS_SERVER_CUT,
		[AIC_HTTP_TIMEOUT] = METRICS_SERVER_TIMEOUT,
		[AIC_HTTP_TOO_BIG] = METRICS_SERVER_NONSENSE,
		[AIC_HTTP_GONE] = METRICS_SERVER_DROPPED,
		[AIC_HTTP_FAILED] = METRICS_SERVER_UNREACHED,
		[AIC_HTTP_NO_MEMORY] = METRICS_SERVER_BUSY,
	};

	if (a->end != AIC_HTTP_ANSWERED)
		return ends[a->end];
	switch (a->status) {
	case 200:
		return read_body(p, &a->body, ret_text);
	case 404:
		return METRICS_SERVER_UNKNOWN;
	case 401:
	case 403:
		return METRICS_SERVER_REFUSED;
	default:
		return METRICS_SERVER_FAILED;
	}
}

static enum aic_breaker_verdict
verdict_of(enum metrics_server how)
{
	switch (how) {
	case METRICS_SERVER_TOLD:
	case METRICS_SERVER_NOTHING:
	case METRICS_SERVER_UNKNOWN:
		return AIC_BREAKER_WELL;
	case METRICS_SERVER_BUSY:
	case METRICS_SERVER_DROPPED:
		return AIC_BREAKER_NEUTRAL;
	default:
		return AIC_BREAKER_FAILED;
	}
}

char *
personal_get(struct job *job, struct personal_ask *ask, int64_t until_us)
{
	struct personal *p = job->worker->personal;
	const struct aic_http_answer *a;
	enum metrics_server how;
	char *text = NULL;

	if (!ask->call)
		return NULL;
	a = aic_fetch_wait(ask->call, until_us, &job->server_us);
	if (!a)
		job->server_us = aic_clock_us() - ask->start_us;
	metrics_time(job->worker->metrics, METRICS_SERVER, job->server_us);
	if (a)
		how = read_answer(p, a, &text);
	else if (job->server_us >= ASK_US)
		how = METRICS_SERVER_TIMEOUT;
	else /* the time was ours that ran out */
		how = METRICS_SERVER_DROPPED;
	if (how == METRICS_SERVER_REFUSED)
		aic_log_event(AIC_LOG_WARN, "server",
		    "the Server refuses SERVER_API_KEY: HTTP %d", a->status);
	settle(job, ask, how, verdict_of(how));
	return text;
}

void
personal_drop(struct job *job, struct personal_ask *ask)
{
	if (ask->call)
		settle(job, ask, METRICS_SERVER_DROPPED, AIC_BREAKER_NEUTRAL);
}
