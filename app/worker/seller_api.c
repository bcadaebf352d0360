#include "config.h"

#include "app/worker/seller_api.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/breaker.h"
#include "lib/clock.h"
#include "lib/conf_hints.h"
#include "lib/digest.h"
#include "lib/log.h"
#include "lib/metrics.h"

/* Five consecutive failures are not a coincidence. Until the circuit breaker
 * opens, each chat waits for the timeout and goes on without the data. While it
 * is open, only one chat in ten seconds, the trial, waits. */
#define FAILURES_MAX 5
#define OPEN_US (10 * AIC_S)

#define AUTH "X-API-SECRET-KEY: "

/* The number of sellers whose late answers are kept. If more sellers than that
 * have late answers, the API is too slow for this cache to help. */
#define ENTRIES_MAX 64

/* A path is reported as missing after this many consecutive "Not Found". A path
 * that has answered before needs more of them. */
#define MISSING_MAX 3
#define MISSING_AGAIN_MAX 20

struct path {
	const char *text; /* the template of the URL */
	int missing; /* consecutive "Not Found" */
	bool answered; /* the path has answered before */
	bool logged; /* the warning was logged */
};

/* The calls and answers of a seller, kept between two queries. */
struct entry {
	int64_t id; /* 0: the entry is free */
	int64_t kept_us; /* when the entry was written */
	struct seller_api_fetch fetches[AIC_PATHS_MAX];
};

struct seller_api {
	char *host;
	char *auth; /* the header with the API key */
	const char *headers[3];
	struct aic_http *http;
	struct aic_paths paths;
	/* Of SERVER_HOST and the paths. A copy in Redis is used only if both
	 * are the same. */
	char digest[AIC_DIGEST_HEX_SIZE];
	int64_t timeout_us;
	size_t chars_max;
	struct aic_metrics *metrics; /* NULL: outcomes are not counted */
	struct aic_breaker breaker;
	pthread_mutex_t lock; /* guards all members below */
	struct path path[AIC_PATHS_MAX];
	struct entry entries[ENTRIES_MAX];
};

static int64_t
now_s(void)
{
	return (int64_t)time(NULL);
}

static bool
is_known(const struct seller_api_fetch *f)
{
	int64_t age_s = now_s() - f->at_s;

	return f->at_s > 0 && age_s >= 0 && age_s <= SELLER_API_KEEP_S;
}

static void
free_fetch(struct seller_api_fetch *f)
{
	aic_http_drop(f->call);
	aic_seller_done(&f->data);
	*f = (struct seller_api_fetch){ .call = NULL };
}

static void
free_fetches(struct seller_api_fetch fetches[AIC_PATHS_MAX])
{
	int i;

	for (i = 0; i < AIC_PATHS_MAX; i++)
		free_fetch(&fetches[i]);
}

/* --- opening and closing -------------------------------------------------- */

static enum aic_code
init_client(struct seller_api *p, const struct aic_conf *conf,
    struct aic_err *err)
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
	p->auth = aic_buf_join(AUTH, conf->server_api_key);
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
	rc = init_client(p, conf, err);
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
	for (i = 0; i < ENTRIES_MAX; i++)
		free_fetches(p->entries[i].fetches);
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
	return ((int)conf->threads + ENTRIES_MAX) * n;
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

/* --- the circuit breaker -------------------------------------------------- */

static void
leave_breaker(struct seller_api *p, uint64_t round,
    enum aic_breaker_verdict verdict, enum aic_metrics_seller how)
{
	switch (aic_breaker_leave(&p->breaker, round, verdict,
	    aic_clock_us())) {
	case AIC_BREAKER_OPENED:
		aic_log_event(AIC_LOG_WARN, "breaker",
		    "circuit breaker for the seller-data API opened: %d calls "
		    "in a row failed (%s), no calls for %lld ms",
		    FAILURES_MAX, aic_metrics_seller_name(how),
		    (long long)(OPEN_US / AIC_MS));
		break;
	case AIC_BREAKER_CLOSED:
		aic_log_event(AIC_LOG_INFO, "breaker",
		    "circuit breaker for the seller-data API closed");
		break;
	case AIC_BREAKER_SAME:
		break;
	}
}

static enum aic_breaker_verdict
map_verdict(enum aic_metrics_seller how)
{
	switch (how) {
	case AIC_METRICS_SELLER_ANSWERED:
	case AIC_METRICS_SELLER_LATE:
	case AIC_METRICS_SELLER_NOTHING:
	case AIC_METRICS_SELLER_UNKNOWN:
	case AIC_METRICS_SELLER_MISSING:
		return AIC_BREAKER_WELL;
	case AIC_METRICS_SELLER_BUSY:
	case AIC_METRICS_SELLER_DROPPED:
		return AIC_BREAKER_NEUTRAL;
	default:
		return AIC_BREAKER_FAILED;
	}
}

/* --- reading an answer ---------------------------------------------------- */

static enum aic_metrics_seller
read_body(const struct seller_api *p, const struct aic_buf *body,
    struct aic_seller *ret_data)
{
	int i;

	switch (aic_seller_read(body->data, body->len, p->chars_max,
	    ret_data)) {
	case AIC_OK:
		break;
	case AIC_ENOMEM:
		return AIC_METRICS_SELLER_BUSY;
	default:
		return AIC_METRICS_SELLER_NONSENSE;
	}
	for (i = 0; i < AIC_SELLER__MAX; i++)
		if (ret_data->part[i])
			return AIC_METRICS_SELLER_ANSWERED;
	return AIC_METRICS_SELLER_NOTHING;
}

static enum aic_metrics_seller
read_answer(const struct seller_api *p, const struct aic_http_answer *a,
    struct aic_seller *ret_data)
{
	static const enum aic_metrics_seller ends[AIC_HTTP__MAX] = {
		[AIC_HTTP_CONNECT] = AIC_METRICS_SELLER_UNREACHED,
		[AIC_HTTP_UNTRUSTED] = AIC_METRICS_SELLER_UNREACHED,
		[AIC_HTTP_BROKEN] = AIC_METRICS_SELLER_CUT,
		[AIC_HTTP_TIMEOUT] = AIC_METRICS_SELLER_TIMEOUT,
		[AIC_HTTP_TOO_BIG] = AIC_METRICS_SELLER_NONSENSE,
		[AIC_HTTP_GONE] = AIC_METRICS_SELLER_DROPPED,
		[AIC_HTTP_FAILED] = AIC_METRICS_SELLER_UNREACHED,
		[AIC_HTTP_NO_MEMORY] = AIC_METRICS_SELLER_BUSY,
	};

	if (a->end != AIC_HTTP_ANSWERED)
		return ends[a->end];
	switch (a->status) {
	case 200:
		return read_body(p, &a->body, ret_data);
	case 404:
		return aic_paths_is_missing(a) ? AIC_METRICS_SELLER_MISSING
					       : AIC_METRICS_SELLER_UNKNOWN;
	case 401:
	case 403:
		return AIC_METRICS_SELLER_REFUSED;
	default:
		return AIC_METRICS_SELLER_FAILED;
	}
}

/* Log what an operator has to correct, with the file of the setting. */
static void AIC_PRINTF(1, 2) log_setting(const char *fmt, ...)
{
	char text[600];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	aic_conf_hints_place(text, sizeof(text), environ);
	aic_log_event(AIC_LOG_WARN, "server", "%s", text);
}

/* "Not Found" has two meanings: the API has no such path, or no such seller.
 * aic_paths_is_missing() has distinguished them. */
static void
note_path(struct seller_api *p, int i, enum aic_metrics_seller how)
{
	struct path *path = &p->path[i];
	bool log = false;

	if (map_verdict(how) != AIC_BREAKER_WELL)
		return;
	pthread_mutex_lock(&p->lock);
	if (how != AIC_METRICS_SELLER_MISSING) {
		path->missing = 0;
		path->answered = true;
		path->logged = false;
	} else if (!path->logged &&
	    ++path->missing >=
		(path->answered ? MISSING_AGAIN_MAX : MISSING_MAX)) {
		path->logged = log = true;
	}
	pthread_mutex_unlock(&p->lock);
	if (log)
		log_setting("the seller-data API has no path %s: every "
			    "response is \"Not Found\" to this path of "
			    "SERVER_CONTEXT_PATHS",
		    path->text);
}

/* Read the answer of a call that has ended, and return its outcome. */
static enum aic_metrics_seller
read_call(struct seller_api *p, struct seller_api_fetch *f, int i,
    const struct aic_http_answer *a)
{
	enum aic_metrics_seller how = read_answer(p, a, &f->data);

	if (how == AIC_METRICS_SELLER_REFUSED)
		log_setting("the seller-data API rejects SERVER_API_KEY: "
			    "HTTP %d",
		    a->status);
	aic_http_drop(f->call);
	f->call = NULL;
	note_path(p, i, how);
	if (how == AIC_METRICS_SELLER_ANSWERED ||
	    how == AIC_METRICS_SELLER_NOTHING ||
	    how == AIC_METRICS_SELLER_UNKNOWN)
		f->at_s = now_s();
	return how;
}

/* --- between two queries -------------------------------------------------- */

/* Read the answers of the calls that have ended since seller_api_wait()
 * returned. True: an answer or a call is left for the seller's next query. */
static bool
collect_late(struct seller_api *p,
    struct seller_api_fetch fetches[AIC_PATHS_MAX])
{
	const struct aic_http_answer *a;
	enum aic_metrics_seller how;
	bool any = false;
	int i;

	for (i = 0; i < p->paths.n; i++) {
		a = fetches[i].call ? aic_http_wait(fetches[i].call, 0) : NULL;
		if (a) {
			how = read_call(p, &fetches[i], i, a);
			if (how == AIC_METRICS_SELLER_ANSWERED)
				how = AIC_METRICS_SELLER_LATE;
			aic_metrics_seller(p->metrics, how);
			/* The API is slow, but not down. */
			if (map_verdict(how) == AIC_BREAKER_WELL)
				leave_breaker(p, 0, AIC_BREAKER_WELL, how);
			fetches[i].late = fetches[i].at_s > 0;
		}
		any = any || fetches[i].call ||
		    (fetches[i].late && is_known(&fetches[i]));
	}
	return any;
}

/* True: no call is in flight, and at least one answer can still be used. */
static bool
is_settled(const struct seller_api *p, const struct seller_api_fetch *fetches)
{
	bool any = false;
	int i;

	for (i = 0; i < p->paths.n; i++) {
		if (fetches[i].call)
			return false;
		any = any || (fetches[i].late && is_known(&fetches[i]));
	}
	return any;
}

/* The entry of this seller, or else a free entry, or else the oldest. */
static struct entry *
find_entry(struct seller_api *p, int64_t id)
{
	struct entry *best = &p->entries[0];
	int i;

	for (i = 0; i < ENTRIES_MAX; i++) {
		if (p->entries[i].id == id)
			return &p->entries[i];
		if (best->id &&
		    (!p->entries[i].id ||
			p->entries[i].kept_us < best->kept_us))
			best = &p->entries[i];
	}
	return best;
}

/* The lock is released while libcurl works. A query about the same seller that
 * comes meanwhile does not find the entry, and calls the API again. */
static void
sweep_entry(struct seller_api *p, struct entry *entry)
{
	struct entry s, *to;

	pthread_mutex_lock(&p->lock);
	s = *entry;
	if (s.id && is_settled(p, s.fetches))
		s.id = 0;
	else
		*entry = (struct entry){ .id = 0 };
	pthread_mutex_unlock(&p->lock);
	if (s.id == 0)
		return;
	if (collect_late(p, s.fetches)) {
		pthread_mutex_lock(&p->lock);
		to = find_entry(p, s.id);
		if (to->id == 0) {
			*to = s;
			s.id = 0;
		}
		pthread_mutex_unlock(&p->lock);
	}
	if (s.id)
		free_fetches(s.fetches);
}

void
seller_api_sweep(struct seller_api *p)
{
	int i;

	for (i = 0; p && i < ENTRIES_MAX; i++)
		sweep_entry(p, &p->entries[i]);
}

/* Move the calls and answers of the seller's last query into this query. */
static void
take_entry(struct seller_api *p, int64_t id, struct seller_api_query *query)
{
	struct seller_api_fetch left[AIC_PATHS_MAX] = { { .call = NULL } };
	int i;

	pthread_mutex_lock(&p->lock);
	for (i = 0; i < ENTRIES_MAX; i++)
		if (p->entries[i].id == id) {
			memcpy(left, p->entries[i].fetches, sizeof(left));
			p->entries[i] = (struct entry){ .id = 0 };
			break;
		}
	pthread_mutex_unlock(&p->lock);
	for (i = 0; i < p->paths.n; i++) {
		if (is_known(&query->fetches[i]) ||
		    (!left[i].call && !is_known(&left[i])))
			continue;
		free_fetch(&query->fetches[i]);
		query->fetches[i] = left[i];
		left[i] = (struct seller_api_fetch){ .call = NULL };
	}
	free_fetches(left);
}

static void
store_entry(struct seller_api *p, int64_t id, struct seller_api_query *query)
{
	struct entry old, *entry;

	pthread_mutex_lock(&p->lock);
	entry = find_entry(p, id);
	old = *entry;
	*entry = (struct entry){ .id = id, .kept_us = aic_clock_us() };
	memcpy(entry->fetches, query->fetches, sizeof(entry->fetches));
	pthread_mutex_unlock(&p->lock);
	memset(query->fetches, 0, sizeof(query->fetches));
	free_fetches(old.fetches);
}

/* --- copies for Redis ----------------------------------------------------- */

/* A copy is the digest of SERVER_HOST and the paths, and then for each path the
 * Unix time of the answer ("0": none) and the parts of the answer. Each text
 * ends with a NUL. */

bool
seller_api_restore(struct seller_api_query *query, const char *data, size_t len)
{
	struct seller_api *p = query->api;
	const char *at = data, *end = data + len, *nul;
	struct seller_api_fetch *f;
	bool all = true;
	int i;

	if (!p || len < sizeof(p->digest) ||
	    memcmp(data, p->digest, sizeof(p->digest)) != 0)
		return false;
	at += sizeof(p->digest);
	for (i = 0; i < p->paths.n; i++) {
		f = &query->fetches[i];
		nul = memchr(at, '\0', (size_t)(end - at));
		if (!nul)
			return false;
		f->at_s = strtoll(at, NULL, 10);
		at = nul + 1;
		if (!aic_seller_unpack(&f->data, &at, end)) {
			f->at_s = 0;
			return false;
		}
		if (!is_known(f)) {
			free_fetch(f);
			all = false;
		}
	}
	return all;
}

char *
seller_api_copy(struct seller_api_query *query, size_t *ret_len)
{
	struct seller_api *p = query->api;
	struct aic_buf b;
	char *data;
	int i;

	if (!p || !query->waited || !query->storable)
		return NULL;
	(void)collect_late(p, query->fetches);
	for (i = 0; i < p->paths.n; i++)
		query->fresh = query->fresh || query->fetches[i].late;
	if (!query->fresh)
		return NULL;
	aic_buf_init(&b, 1024 * 1024);
	aic_buf_put(&b, p->digest, sizeof(p->digest));
	for (i = 0; i < p->paths.n; i++) {
		aic_buf_printf(&b, "%lld", (long long)query->fetches[i].at_s);
		aic_buf_putc(&b, '\0');
		aic_seller_pack(&query->fetches[i].data, &b);
	}
	data = aic_buf_take(&b, ret_len);
	aic_buf_done(&b);
	return data;
}

/* --- a query -------------------------------------------------------------- */

void
seller_api_begin(struct seller_api_query *query, struct seller_api *api,
    int64_t telegram_id, const char *const *headers)
{
	*query = (struct seller_api_query){
		.api = api, .telegram_id = telegram_id, .headers = headers
	};
}

static struct aic_http_call *
start_call(const struct seller_api_query *query, int i, int64_t now_us)
{
	const struct seller_api *p = query->api;
	struct aic_http_request req = { .headers = p->headers,
		.more = query->headers,
		.answer_max = AIC_SELLER_ANSWER_MAX,
		.deadline_us = now_us + SELLER_API_LATE_US,
		.connect_us = p->timeout_us };
	struct aic_http_call *call = NULL;
	struct aic_buf url;
	char id[24];

	snprintf(id, sizeof(id), "%lld", (long long)query->telegram_id);
	aic_buf_init(&url, 16384);
	aic_paths_url(&url, p->host, p->path[i].text, id);
	req.url = url.data;
	if (!url.failed)
		call = aic_http_start(p->http, &req);
	aic_buf_done(&url);
	return call;
}

/* The log shows one outcome of a query, the best one. The values of the enum
 * are ordered from the best to the worst. */
static void
note_outcome(struct seller_api_query *query, enum aic_metrics_seller how,
    enum aic_metrics_seller *best)
{
	if (how < *best)
		*best = how;
	query->outcome = aic_metrics_seller_name(*best);
}

void
seller_api_start(struct seller_api_query *query)
{
	struct seller_api *p = query->api;
	enum aic_metrics_seller best = AIC_METRICS_SELLER__MAX - 1;
	int64_t now = aic_clock_us();
	int i, wanted = 0;

	if (!p)
		return;
	take_entry(p, query->telegram_id, query);
	query->start_us = now;
	for (i = 0; i < p->paths.n; i++)
		wanted += !query->fetches[i].call &&
		    !is_known(&query->fetches[i]);
	if (wanted == 0)
		return;
	if (aic_breaker_enter(&p->breaker, now, now + p->timeout_us,
		&query->round) > 0) {
		note_outcome(query, AIC_METRICS_SELLER_OPEN, &best);
		aic_metrics_seller(p->metrics, AIC_METRICS_SELLER_OPEN);
		return;
	}
	query->entered = true;
	for (i = 0; i < p->paths.n; i++) {
		if (query->fetches[i].call || is_known(&query->fetches[i]))
			continue;
		free_fetch(&query->fetches[i]);
		query->fetches[i].start_us = now;
		query->fetches[i].call = start_call(query, i, now);
		if (query->fetches[i].call)
			continue;
		note_outcome(query, AIC_METRICS_SELLER_BUSY, &best);
		aic_metrics_seller(p->metrics, AIC_METRICS_SELLER_BUSY);
	}
}

/* Report the verdict of the query to the circuit breaker: one path that answers
 * is a success. */
static void
report_verdict(struct seller_api_query *query, enum aic_breaker_verdict verdict,
    enum aic_metrics_seller how)
{
	if (query->entered)
		leave_breaker(query->api, query->round, verdict, how);
	query->entered = false;
}

/* Record how long this query waited for the call: since its own start, or as
 * long as the call took if that is shorter. An earlier query can have started
 * the call. */
static void
note_wait(struct seller_api_query *query, const struct aic_http_answer *a)
{
	int64_t us = aic_clock_us() - query->start_us;

	if (a && a->took_us < us)
		us = a->took_us;
	if (us > query->waited_us)
		query->waited_us = us;
}

/* Wait for the calls in flight. True: there was at least one. */
static bool
wait_for_calls(struct seller_api_query *query, int64_t until_us,
    enum aic_metrics_seller *best, enum aic_breaker_verdict *verdict)
{
	struct seller_api *p = query->api;
	int64_t end_us = query->start_us + p->timeout_us;
	const struct aic_http_answer *a;
	enum aic_breaker_verdict v;
	enum aic_metrics_seller how;
	bool any = false;
	int i;

	if (end_us > until_us)
		end_us = until_us;
	for (i = 0; i < p->paths.n; i++) {
		if (!query->fetches[i].call)
			continue;
		any = true;
		a = aic_http_wait(query->fetches[i].call, end_us);
		note_wait(query, a);
		if (a) {
			how = read_call(p, &query->fetches[i], i, a);
			aic_metrics_seller(p->metrics, how);
			query->fresh = query->fresh ||
			    query->fetches[i].at_s > 0;
		} else if (end_us == until_us) { /* the chat had no time left */
			how = AIC_METRICS_SELLER_DROPPED;
		} else {
			how = AIC_METRICS_SELLER_TIMEOUT;
		}
		note_outcome(query, how, best);
		v = map_verdict(how);
		if (v == AIC_BREAKER_WELL || *verdict == AIC_BREAKER_NEUTRAL)
			*verdict = v;
	}
	return any;
}

char *
seller_api_wait(struct seller_api_query *query, int64_t until_us)
{
	struct seller_api *p = query->api;
	enum aic_metrics_seller best = AIC_METRICS_SELLER__MAX - 1;
	enum aic_breaker_verdict verdict = AIC_BREAKER_NEUTRAL;
	struct aic_seller all[AIC_PATHS_MAX];
	char *text = NULL;
	int i, n = 0;

	if (!p)
		return NULL;
	if (query->start_us && wait_for_calls(query, until_us, &best, &verdict))
		aic_metrics_time(p->metrics, AIC_METRICS_SELLER,
		    query->waited_us);
	report_verdict(query, verdict, best);
	query->waited = true;
	for (i = 0; i < p->paths.n; i++)
		if (is_known(&query->fetches[i]))
			all[n++] = query->fetches[i].data; /* borrowed */
	if (n > 0 && aic_seller_join(all, n, p->chars_max, &text))
		text = NULL;
	if (text && query->start_us)
		query->outcome =
		    aic_metrics_seller_name(AIC_METRICS_SELLER_ANSWERED);
	return text;
}

void
seller_api_cancel(struct seller_api_query *query)
{
	if (query->waited || !query->entered)
		return;
	query->outcome = aic_metrics_seller_name(AIC_METRICS_SELLER_DROPPED);
	aic_metrics_seller(query->api->metrics, AIC_METRICS_SELLER_DROPPED);
	report_verdict(query, AIC_BREAKER_NEUTRAL, AIC_METRICS_SELLER_DROPPED);
	free_fetches(query->fetches);
}

void
seller_api_finish(struct seller_api_query *query)
{
	struct seller_api *p = query->api;

	/* When one answer is late, the answers that came in time are kept as
	 * well, because a new call for them could be late, too. */
	if (p && collect_late(p, query->fetches))
		store_entry(p, query->telegram_id, query);
	free_fetches(query->fetches);
	*query = (struct seller_api_query){ .api = NULL };
}
