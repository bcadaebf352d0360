#include "config.h"

#include "app/worker/seller_api.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/breaker.h"
#include "lib/clock.h"
#include "lib/digest.h"
#include "lib/log.h"
#include "lib/metrics.h"

/* Five questions in a row do not fail by chance. With fewer chats than that nobody
 * would mind, and each may wait in vain; then one in ten seconds does. */
#define FAILURES_MAX 5
#define OPEN_US (10 * AIC_S)

#define AUTH "X-API-SECRET-KEY: "

/* Sellers whose late answers are looked after. A big shop asks a few times in a minute,
 * so with more of them at once the Server is too slow anyway. */
#define SELLERS_MAX 64

/* A path that said "Not Found" to so many questions in a row is not there; one that has
 * answered before is believed longer. */
#define MISSING_MAX 3
#define MISSING_AGAIN_MAX 20

struct path {
	const char *text; /* the template */
	int missing; /* answers "Not Found" in a row */
	bool answered; /* it was there */
	bool told; /* the log has it that it is missing */
};

/* A seller's calls and answers between two questions. */
struct seller {
	int64_t id; /* 0: the place is free */
	int64_t kept_us; /* when it was put here */
	struct seller_api_fact facts[AIC_PATHS_MAX];
};

struct seller_api {
	char *host;
	char *auth; /* the header with the key */
	const char *headers[3];
	struct aic_http *http;
	struct aic_paths paths;
	char digest[AIC_DIGEST_HEX_SIZE]; /* of the paths; a copy is of these */
	int64_t timeout_us;
	size_t chars_max;
	struct aic_metrics *metrics; /* NULL: nothing is counted */
	struct aic_breaker breaker;
	pthread_mutex_t lock; /* of all below */
	struct path path[AIC_PATHS_MAX];
	struct seller sellers[SELLERS_MAX];
};

static int64_t
now_s(void)
{
	return (int64_t)time(NULL);
}

static bool
is_known(const struct seller_api_fact *f)
{
	int64_t age_s = now_s() - f->at_s;

	return f->at_s > 0 && age_s >= 0 && age_s <= SELLER_API_KEEP_S;
}

static void
fact_done(struct seller_api_fact *f)
{
	aic_http_drop(f->call);
	aic_seller_done(&f->told);
	*f = (struct seller_api_fact){ .call = NULL };
}

static void
facts_done(struct seller_api_fact facts[AIC_PATHS_MAX])
{
	int i;

	for (i = 0; i < AIC_PATHS_MAX; i++)
		fact_done(&facts[i]);
}

/* --- start and end ------------------------------------------------------- */

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

static enum aic_code
set_up(struct seller_api *p, const struct aic_conf *conf, struct aic_err *err)
{
	const char *texts[] = { conf->server_host, conf->server_paths, NULL };
	unsigned char digest[AIC_DIGEST_BYTES];
	enum aic_code rc;
	int i;

	rc = aic_paths_read(&p->paths, conf->server_paths, err);
	if (rc)
		return rc;
	for (i = 0; i < p->paths.n; i++)
		p->path[i].text = p->paths.path[i];
	p->host = strdup(conf->server_host);
	p->auth = join(AUTH, conf->server_api_key);
	p->headers[0] = p->auth;
	p->headers[1] = "Accept: application/json";
	if (!p->host || !p->auth || !aic_digest(texts, digest))
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	aic_digest_hex(digest, p->digest);
	return AIC_OK;
}

enum aic_code
seller_api_open(struct seller_api **ret_api, struct aic_http *http,
    const struct aic_conf *conf, struct aic_err *err)
{
	struct seller_api *p;
	enum aic_code rc;

	*ret_api = NULL;
	if (!conf->server_host)
		return AIC_OK;
	p = calloc(1, sizeof(*p));
	if (!p)
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	aic_breaker_init(&p->breaker, FAILURES_MAX, OPEN_US);
	pthread_mutex_init(&p->lock, NULL);
	p->chars_max = (size_t)conf->user_context_chars;
	p->timeout_us = conf->server_timeout_ms * AIC_MS;
	p->http = http;
	rc = set_up(p, conf, err);
	if (rc) {
		seller_api_close(p);
		return rc;
	}
	*ret_api = p;
	return AIC_OK;
}

void
seller_api_close(struct seller_api *p)
{
	int i;

	if (!p)
		return;
	if (p->auth)
		explicit_bzero(p->auth, strlen(p->auth));
	for (i = 0; i < SELLERS_MAX; i++)
		facts_done(p->sellers[i].facts);
	aic_breaker_done(&p->breaker);
	pthread_mutex_destroy(&p->lock);
	aic_paths_done(&p->paths);
	free(p->auth);
	free(p->host);
	free(p);
}

int
seller_api_calls(const struct aic_conf *conf)
{
	struct aic_err ignored = AIC_ERR_INIT;
	struct aic_paths paths;
	int n;

	if (!conf->server_host ||
	    aic_paths_read(&paths, conf->server_paths, &ignored))
		return 0;
	n = paths.n;
	aic_paths_done(&paths);
	return ((int)conf->threads + SELLERS_MAX) * n;
}

void
seller_api_count_in(struct seller_api *p, struct aic_metrics *metrics)
{
	if (p)
		p->metrics = metrics;
}

bool
seller_api_is_open(struct seller_api *p)
{
	return p && aic_breaker_wait(&p->breaker, aic_clock_us()) > 0;
}

/* --- the breaker --------------------------------------------------------- */

static void
leave(struct seller_api *p, uint64_t round, enum aic_breaker_verdict verdict,
    enum aic_metrics_server how)
{
	switch (aic_breaker_leave(&p->breaker, round, verdict,
	    aic_clock_us())) {
	case AIC_BREAKER_OPENED:
		aic_log_event(AIC_LOG_WARN, "breaker",
		    "the Server failed %d times in a row (%s) and is not asked "
		    "for %lld ms",
		    FAILURES_MAX, aic_metrics_server_name(how),
		    (long long)(OPEN_US / AIC_MS));
		break;
	case AIC_BREAKER_CLOSED:
		aic_log_event(AIC_LOG_INFO, "breaker",
		    "the Server answers again");
		break;
	case AIC_BREAKER_SAME:
		break;
	}
}

static enum aic_breaker_verdict
verdict_of(enum aic_metrics_server how)
{
	switch (how) {
	case AIC_METRICS_SERVER_TOLD:
	case AIC_METRICS_SERVER_LATE:
	case AIC_METRICS_SERVER_NOTHING:
	case AIC_METRICS_SERVER_UNKNOWN:
	case AIC_METRICS_SERVER_MISSING:
		return AIC_BREAKER_WELL;
	case AIC_METRICS_SERVER_BUSY:
	case AIC_METRICS_SERVER_DROPPED:
		return AIC_BREAKER_NEUTRAL;
	default:
		return AIC_BREAKER_FAILED;
	}
}

/* --- reading ------------------------------------------------------------- */

static enum aic_metrics_server
read_body(const struct seller_api *p, const struct aic_buf *body,
    struct aic_seller *ret_told)
{
	int i;

	switch (aic_seller_read(body->data, body->len, p->chars_max,
	    ret_told)) {
	case AIC_OK:
		break;
	case AIC_ENOMEM:
		return AIC_METRICS_SERVER_BUSY;
	default:
		return AIC_METRICS_SERVER_NONSENSE;
	}
	for (i = 0; i < AIC_SELLER__MAX; i++)
		if (ret_told->part[i])
			return AIC_METRICS_SERVER_TOLD;
	return AIC_METRICS_SERVER_NOTHING;
}

static enum aic_metrics_server
read_answer(const struct seller_api *p, const struct aic_http_answer *a,
    struct aic_seller *ret_told)
{
	static const enum aic_metrics_server ends[AIC_HTTP__MAX] = {
		[AIC_HTTP_CONNECT] = AIC_METRICS_SERVER_UNREACHED,
		[AIC_HTTP_UNTRUSTED] = AIC_METRICS_SERVER_UNREACHED,
		[AIC_HTTP_BROKEN] = AIC_METRICS_SERVER_CUT,
		[AIC_HTTP_TIMEOUT] = AIC_METRICS_SERVER_TIMEOUT,
		[AIC_HTTP_TOO_BIG] = AIC_METRICS_SERVER_NONSENSE,
		[AIC_HTTP_GONE] = AIC_METRICS_SERVER_DROPPED,
		[AIC_HTTP_FAILED] = AIC_METRICS_SERVER_UNREACHED,
		[AIC_HTTP_NO_MEMORY] = AIC_METRICS_SERVER_BUSY,
	};

	if (a->end != AIC_HTTP_ANSWERED)
		return ends[a->end];
	switch (a->status) {
	case 200:
		return read_body(p, &a->body, ret_told);
	case 404:
		return aic_paths_is_missing(a) ? AIC_METRICS_SERVER_MISSING
					       : AIC_METRICS_SERVER_UNKNOWN;
	case 401:
	case 403:
		return AIC_METRICS_SERVER_REFUSED;
	default:
		return AIC_METRICS_SERVER_FAILED;
	}
}

/* "Not Found" to everybody, or to somebody. */
static void
note_path(struct seller_api *p, int i, enum aic_metrics_server how)
{
	struct path *path = &p->path[i];
	bool tell = false;

	if (verdict_of(how) != AIC_BREAKER_WELL)
		return;
	pthread_mutex_lock(&p->lock);
	if (how != AIC_METRICS_SERVER_MISSING) {
		path->missing = 0;
		path->answered = true;
		path->told = false;
	} else if (!path->told &&
	    ++path->missing >=
		(path->answered ? MISSING_AGAIN_MAX : MISSING_MAX)) {
		path->told = tell = true;
	}
	pthread_mutex_unlock(&p->lock);
	if (tell)
		aic_log_event(AIC_LOG_WARN, "server",
		    "the Server has no %s: \"Not Found\" to every question; "
		    "set SERVER_CONTEXT_PATHS to what it has",
		    path->text);
}

/* Takes a call that has ended; the value is what came of it. */
static enum aic_metrics_server
take_answer(struct seller_api *p, struct seller_api_fact *f, int i,
    const struct aic_http_answer *a)
{
	enum aic_metrics_server how = read_answer(p, a, &f->told);

	if (how == AIC_METRICS_SERVER_REFUSED)
		aic_log_event(AIC_LOG_WARN, "server",
		    "the Server refuses SERVER_API_KEY: HTTP %d", a->status);
	aic_http_drop(f->call);
	f->call = NULL;
	note_path(p, i, how);
	if (how == AIC_METRICS_SERVER_TOLD ||
	    how == AIC_METRICS_SERVER_NOTHING ||
	    how == AIC_METRICS_SERVER_UNKNOWN)
		f->at_s = now_s();
	return how;
}

/* --- between two questions ------------------------------------------------ */

/* What is over by now, of calls for which nobody waits. True: something is left for the
 * seller's next question. */
static bool
collect(struct seller_api *p, struct seller_api_fact facts[AIC_PATHS_MAX])
{
	const struct aic_http_answer *a;
	enum aic_metrics_server how;
	bool any = false;
	int i;

	for (i = 0; i < p->paths.n; i++) {
		a = facts[i].call ? aic_http_wait(facts[i].call, 0) : NULL;
		if (a) {
			how = take_answer(p, &facts[i], i, a);
			if (how == AIC_METRICS_SERVER_TOLD)
				how = AIC_METRICS_SERVER_LATE;
			aic_metrics_server(p->metrics, how);
			/* It is slow, and not away. */
			if (verdict_of(how) == AIC_BREAKER_WELL)
				leave(p, 0, AIC_BREAKER_WELL, how);
			facts[i].late = facts[i].at_s > 0;
		}
		any = any || facts[i].call ||
		    (facts[i].late && is_known(&facts[i]));
	}
	return any;
}

/* Has none of the calls to be looked at, and is something worth to be kept? */
static bool
is_settled(const struct seller_api *p, const struct seller_api_fact *facts)
{
	bool any = false;
	int i;

	for (i = 0; i < p->paths.n; i++) {
		if (facts[i].call)
			return false;
		any = any || (facts[i].late && is_known(&facts[i]));
	}
	return any;
}

/* The place of this seller, else a free one, else that of the oldest. */
static struct seller *
find_seller(struct seller_api *p, int64_t id)
{
	struct seller *best = &p->sellers[0];
	int i;

	for (i = 0; i < SELLERS_MAX; i++) {
		if (p->sellers[i].id == id)
			return &p->sellers[i];
		if (best->id &&
		    (!p->sellers[i].id ||
			p->sellers[i].kept_us < best->kept_us))
			best = &p->sellers[i];
	}
	return best;
}

/* The lock is not held while libcurl is driven. A question of the same seller that comes
 * meanwhile does not find the entry, and asks the API again. */
static void
sweep(struct seller_api *p, struct seller *place)
{
	struct seller s, *to;

	pthread_mutex_lock(&p->lock);
	s = *place;
	if (s.id && is_settled(p, s.facts))
		s.id = 0;
	else
		*place = (struct seller){ .id = 0 };
	pthread_mutex_unlock(&p->lock);
	if (s.id == 0)
		return;
	if (collect(p, s.facts)) {
		pthread_mutex_lock(&p->lock);
		to = find_seller(p, s.id);
		if (to->id == 0) {
			*to = s;
			s.id = 0;
		}
		pthread_mutex_unlock(&p->lock);
	}
	if (s.id)
		facts_done(s.facts);
}

void
seller_api_sweep(struct seller_api *p)
{
	int i;

	for (i = 0; p && i < SELLERS_MAX; i++)
		sweep(p, &p->sellers[i]);
}

/* What was left behind by the seller's last question. */
static void
take_seller(struct seller_api *p, int64_t id, struct seller_api_ask *ask)
{
	struct seller_api_fact left[AIC_PATHS_MAX] = { { .call = NULL } };
	int i;

	pthread_mutex_lock(&p->lock);
	for (i = 0; i < SELLERS_MAX; i++)
		if (p->sellers[i].id == id) {
			memcpy(left, p->sellers[i].facts, sizeof(left));
			p->sellers[i] = (struct seller){ .id = 0 };
			break;
		}
	pthread_mutex_unlock(&p->lock);
	for (i = 0; i < p->paths.n; i++) {
		if (is_known(&ask->facts[i]) ||
		    (!left[i].call && !is_known(&left[i])))
			continue;
		fact_done(&ask->facts[i]);
		ask->facts[i] = left[i];
		left[i] = (struct seller_api_fact){ .call = NULL };
	}
	facts_done(left);
}

static void
put_seller(struct seller_api *p, int64_t id, struct seller_api_ask *ask)
{
	struct seller old, *place;

	pthread_mutex_lock(&p->lock);
	place = find_seller(p, id);
	old = *place;
	*place = (struct seller){ .id = id, .kept_us = aic_clock_us() };
	memcpy(place->facts, ask->facts, sizeof(place->facts));
	pthread_mutex_unlock(&p->lock);
	memset(ask->facts, 0, sizeof(ask->facts));
	facts_done(old.facts);
}

/* --- copies --------------------------------------------------------------- */

/* Digest of the paths, and of each the time of the answer ("0": none) and its parts; each
 * text ends with a NUL. */

bool
seller_api_recall(struct seller_api_ask *ask, const char *data, size_t len)
{
	struct seller_api *p = ask->api;
	const char *at = data, *end = data + len, *nul;
	struct seller_api_fact *f;
	bool all = true;
	int i;

	if (!p || len < sizeof(p->digest) ||
	    memcmp(data, p->digest, sizeof(p->digest)) != 0)
		return false;
	at += sizeof(p->digest);
	for (i = 0; i < p->paths.n; i++) {
		f = &ask->facts[i];
		nul = memchr(at, '\0', (size_t)(end - at));
		if (!nul)
			return false;
		f->at_s = strtoll(at, NULL, 10);
		at = nul + 1;
		if (!aic_seller_unpack(&f->told, &at, end)) {
			f->at_s = 0;
			return false;
		}
		if (!is_known(f)) {
			fact_done(f);
			all = false;
		}
	}
	return all;
}

char *
seller_api_copy(struct seller_api_ask *ask, size_t *ret_len)
{
	struct seller_api *p = ask->api;
	struct aic_buf b;
	char *data;
	int i;

	if (!p || !ask->over || !ask->keep)
		return NULL;
	(void)collect(p, ask->facts);
	for (i = 0; i < p->paths.n; i++)
		ask->fresh = ask->fresh || ask->facts[i].late;
	if (!ask->fresh)
		return NULL;
	aic_buf_init(&b, 1024 * 1024);
	aic_buf_put(&b, p->digest, sizeof(p->digest));
	for (i = 0; i < p->paths.n; i++) {
		aic_buf_printf(&b, "%lld", (long long)ask->facts[i].at_s);
		aic_buf_putc(&b, '\0');
		aic_seller_pack(&ask->facts[i].told, &b);
	}
	data = aic_buf_take(&b, ret_len);
	aic_buf_done(&b);
	return data;
}

/* --- a question ----------------------------------------------------------- */

void
seller_api_begin(struct seller_api_ask *ask, struct seller_api *api,
    int64_t telegram_id)
{
	*ask = (struct seller_api_ask){ .api = api,
		.telegram_id = telegram_id };
}

static struct aic_http_call *
start_call(const struct seller_api *p, int i, int64_t telegram_id,
    int64_t now_us)
{
	struct aic_http_request req = { .headers = p->headers,
		.answer_max = AIC_SELLER_ANSWER_MAX,
		.deadline_us = now_us + SELLER_API_LATE_US,
		.connect_us = p->timeout_us };
	struct aic_http_call *call = NULL;
	struct aic_buf url;
	char id[24];

	snprintf(id, sizeof(id), "%lld", (long long)telegram_id);
	aic_buf_init(&url, 16384);
	aic_paths_url(&url, p->host, p->path[i].text, id);
	req.url = url.data;
	if (!url.failed)
		call = aic_http_start(p->http, &req);
	aic_buf_done(&url);
	return call;
}

/* What of several outcomes the log tells: the lower, the better. */
static void
note(struct seller_api_ask *ask, enum aic_metrics_server how,
    enum aic_metrics_server *best)
{
	if (how < *best)
		*best = how;
	ask->outcome = aic_metrics_server_name(*best);
}

void
seller_api_start(struct seller_api_ask *ask)
{
	struct seller_api *p = ask->api;
	enum aic_metrics_server best = AIC_METRICS_SERVER__MAX - 1;
	int64_t now = aic_clock_us();
	int i, wanted = 0;

	if (!p)
		return;
	take_seller(p, ask->telegram_id, ask);
	ask->start_us = now;
	for (i = 0; i < p->paths.n; i++)
		wanted += !ask->facts[i].call && !is_known(&ask->facts[i]);
	if (wanted == 0)
		return;
	if (aic_breaker_enter(&p->breaker, now, now + p->timeout_us,
		&ask->round) > 0) {
		note(ask, AIC_METRICS_SERVER_OPEN, &best);
		aic_metrics_server(p->metrics, AIC_METRICS_SERVER_OPEN);
		return;
	}
	ask->entered = true;
	for (i = 0; i < p->paths.n; i++) {
		if (ask->facts[i].call || is_known(&ask->facts[i]))
			continue;
		fact_done(&ask->facts[i]);
		ask->facts[i].start_us = now;
		ask->facts[i].call = start_call(p, i, ask->telegram_id, now);
		if (ask->facts[i].call)
			continue;
		note(ask, AIC_METRICS_SERVER_BUSY, &best);
		aic_metrics_server(p->metrics, AIC_METRICS_SERVER_BUSY);
	}
}

/* What the breaker makes of it: one path that answers is enough. */
static void
settle(struct seller_api_ask *ask, enum aic_breaker_verdict verdict,
    enum aic_metrics_server how)
{
	if (ask->entered)
		leave(ask->api, ask->round, verdict, how);
	ask->entered = false;
}

/* How long this question waited; a call may be of an earlier one. */
static void
note_time(struct seller_api_ask *ask, const struct aic_http_answer *a)
{
	int64_t us = aic_clock_us() - ask->start_us;

	if (a && a->took_us < us)
		us = a->took_us;
	if (us > ask->waited_us)
		ask->waited_us = us;
}

/* Waits for the calls that are under way; true: there were some. */
static bool
wait_for_all(struct seller_api_ask *ask, int64_t until_us,
    enum aic_metrics_server *best, enum aic_breaker_verdict *verdict)
{
	struct seller_api *p = ask->api;
	int64_t end_us = ask->start_us + p->timeout_us;
	const struct aic_http_answer *a;
	enum aic_breaker_verdict v;
	enum aic_metrics_server how;
	bool any = false;
	int i;

	if (end_us > until_us)
		end_us = until_us;
	for (i = 0; i < p->paths.n; i++) {
		if (!ask->facts[i].call)
			continue;
		any = true;
		a = aic_http_wait(ask->facts[i].call, end_us);
		note_time(ask, a);
		if (a) {
			how = take_answer(p, &ask->facts[i], i, a);
			aic_metrics_server(p->metrics, how);
			ask->fresh = ask->fresh || ask->facts[i].at_s > 0;
		} else if (end_us == until_us) { /* the time was ours */
			how = AIC_METRICS_SERVER_DROPPED;
		} else {
			how = AIC_METRICS_SERVER_TIMEOUT;
		}
		note(ask, how, best);
		v = verdict_of(how);
		if (v == AIC_BREAKER_WELL || *verdict == AIC_BREAKER_NEUTRAL)
			*verdict = v;
	}
	return any;
}

char *
seller_api_wait(struct seller_api_ask *ask, int64_t until_us)
{
	struct seller_api *p = ask->api;
	enum aic_metrics_server best = AIC_METRICS_SERVER__MAX - 1;
	enum aic_breaker_verdict verdict = AIC_BREAKER_NEUTRAL;
	struct aic_seller all[AIC_PATHS_MAX];
	char *text = NULL;
	int i, n = 0;

	if (!p)
		return NULL;
	if (ask->start_us && wait_for_all(ask, until_us, &best, &verdict))
		aic_metrics_time(p->metrics, AIC_METRICS_SERVER,
		    ask->waited_us);
	settle(ask, verdict, best);
	ask->over = true;
	for (i = 0; i < p->paths.n; i++)
		if (is_known(&ask->facts[i]))
			all[n++] = ask->facts[i].told; /* borrowed */
	if (n > 0 && aic_seller_join(all, n, p->chars_max, &text))
		text = NULL;
	if (text && ask->start_us)
		ask->outcome = aic_metrics_server_name(AIC_METRICS_SERVER_TOLD);
	return text;
}

void
seller_api_drop(struct seller_api_ask *ask)
{
	if (ask->over || !ask->entered)
		return;
	ask->outcome = aic_metrics_server_name(AIC_METRICS_SERVER_DROPPED);
	aic_metrics_server(ask->api->metrics, AIC_METRICS_SERVER_DROPPED);
	settle(ask, AIC_BREAKER_NEUTRAL, AIC_METRICS_SERVER_DROPPED);
	facts_done(ask->facts);
}

void
seller_api_finish(struct seller_api_ask *ask)
{
	struct seller_api *p = ask->api;

	/* With what came late goes what came in time: a Server that is busy with the
	 * former would be late with the latter as well. */
	if (p && collect(p, ask->facts))
		put_seller(p, ask->telegram_id, ask);
	facts_done(ask->facts);
	*ask = (struct seller_api_ask){ .api = NULL };
}
