#include "config.h"

#include "http.h"

#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"

/* Chats wait by the thousand, so what each of them holds is kept small: a page
 * for receiving, and for sending the least that libcurl takes, which it makes only
 * for a body that does not go out in one piece. */
#define SEND_BUFFER 16384L
#define RECEIVE_BUFFER 4096L

/* An answer of the API has a dozen headers; 64 KiB is what its own docs allow. */
#define HEADERS_MAX (64 * 1024)

/* Providers close idle connections after a minute or more; ours go first. */
#define IDLE_MAX_S 50L

/* A day is beyond any deadline; the bound keeps sums sane. */
#define RETRY_AFTER_MAX_US (86400 * AIC_S)

struct aic_http {
	CURL *easy;
	struct curl_slist *headers;
	/* of the call under way */
	const struct aic_http_request *req;
	struct aic_http_answer *answer;
	int requests; /* that went out, or tried to */
	size_t header_bytes;
	bool header_done;
	bool too_big;
	char why[CURL_ERROR_SIZE];
};

enum aic_code
aic_http_init(struct aic_err *err)
{
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return aic_fail(err, AIC_ENOMEM, "could not set libcurl up");
	return AIC_OK;
}

/*
 * Before each request that goes out. When a kept connection dies before the
 * answer, libcurl would send the same again on a new one, unasked: the model would
 * be paid twice, and nobody would know. What is only read may be asked for again.
 */
static int
on_request(void *arg, char *ip, char *local_ip, int port, int local_port)
{
	struct aic_http *http = arg;

	(void)ip, (void)local_ip, (void)port, (void)local_port;
	if (http->requests++ == 0 || !http->req->body)
		return CURL_PREREQFUNC_OK;
	return CURL_PREREQFUNC_ABORT;
}

static size_t
on_receive(char *data, size_t size, size_t n, void *arg)
{
	struct aic_http *http = arg;
	struct aic_buf *body = &http->answer->body;

	if (size * n > body->max - body->len)
		http->too_big = true;
	else
		aic_buf_put(body, data, size * n);
	return http->too_big || body->failed ? 0 : size * n;
}

static size_t
on_header(char *data, size_t size, size_t n, void *arg)
{
	struct aic_http *http = arg;

	/* A blank line ends them. There may be a proxy's before the server's,
	 * and trailers long after. */
	if (size * n > 4 && memcmp(data, "HTTP/", 5) == 0)
		http->header_done = false;
	else if (size * n > 0 && (*data == '\r' || *data == '\n'))
		http->header_done = true;
	http->header_bytes += size * n;
	if (http->header_bytes > HEADERS_MAX) {
		http->too_big = true;
		return 0;
	}
	return size * n;
}

/* libcurl asks often while bytes move and about once a second while they don't. */
static int
on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
	struct aic_http *http = arg;

	(void)a, (void)b, (void)c, (void)d;
	return http->req->gone(http->req->gone_arg) ? 1 : 0;
}

/* What is the same for all calls; the handle keeps it. */
static void
set_once(struct aic_http *http)
{
	CURL *e = http->easy;

	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L);
	curl_easy_setopt(e, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(e, CURLOPT_BUFFERSIZE, RECEIVE_BUFFER);
	curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, SEND_BUFFER);
	/* One for each model. */
	curl_easy_setopt(e, CURLOPT_MAXCONNECTS, 2L);
	curl_easy_setopt(e, CURLOPT_MAXAGE_CONN, IDLE_MAX_S);
	/* A peer that vanished without a word is noticed within half a minute. */
	curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(e, CURLOPT_TCP_KEEPIDLE, 10L);
	curl_easy_setopt(e, CURLOPT_TCP_KEEPINTVL, 5L);
	curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, on_request);
	curl_easy_setopt(e, CURLOPT_PREREQDATA, http);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_receive);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, http);
	curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(e, CURLOPT_HEADERDATA, http);
	curl_easy_setopt(e, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(e, CURLOPT_XFERINFODATA, http);
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, http->why);
}

struct aic_http *
aic_http_new(void)
{
	struct aic_http *http = calloc(1, sizeof(*http));

	if (!http)
		return NULL;
	http->easy = curl_easy_init();
	if (!http->easy) {
		free(http);
		return NULL;
	}
	set_once(http);
	return http;
}

void
aic_http_free(struct aic_http *http)
{
	if (!http)
		return;
	curl_easy_cleanup(http->easy);
	curl_slist_free_all(http->headers);
	free(http);
}

void
aic_http_hang_up(struct aic_http *http)
{
	CURL *fresh = curl_easy_init();

	if (!fresh)
		return;
	curl_easy_cleanup(http->easy);
	http->easy = fresh;
	set_once(http);
}

static bool
set_headers(struct aic_http *http, const char *const *headers)
{
	struct curl_slist *more;

	curl_slist_free_all(http->headers);
	http->headers = NULL;
	for (; *headers; headers++) {
		more = curl_slist_append(http->headers, *headers);
		if (!more)
			return false;
		http->headers = more;
	}
	return true;
}

/* What a call brings along. These copy, and may run out of memory. */
static bool
set_target(struct aic_http *http, const struct aic_http_request *req)
{
	const char *protocol = strncmp(req->url, "http://", 7) == 0 ? "http"
								    : "https";
	CURL *e = http->easy;

	return set_headers(http, req->headers) &&
	    curl_easy_setopt(e, CURLOPT_HTTPHEADER, http->headers) ==
	    CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, protocol) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_URL, req->url) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_PROXY, req->proxy ? req->proxy : "") ==
	    CURLE_OK &&
	    /* Or the environment's no_proxy would go round it. */
	    curl_easy_setopt(e, CURLOPT_NOPROXY, "") == CURLE_OK;
}

static enum aic_http_end
end_of(const struct aic_http *http, CURLcode rc)
{
	curl_off_t connected = 0;

	curl_easy_getinfo(http->easy, CURLINFO_PRETRANSFER_TIME_T, &connected);
	switch (rc) {
	case CURLE_OK:
		/* To libcurl, headers without an end are an answer. */
		return http->header_done ? AIC_HTTP_ANSWERED : AIC_HTTP_BROKEN;
	case CURLE_WRITE_ERROR:
		return http->too_big ? AIC_HTTP_TOO_BIG : AIC_HTTP_NO_MEMORY;
	case CURLE_OUT_OF_MEMORY:
		/* It says so of a header over 100 KiB, too. */
		return errno == ENOMEM ? AIC_HTTP_NO_MEMORY : AIC_HTTP_TOO_BIG;
	case CURLE_ABORTED_BY_CALLBACK:
		/* The second request was held back: the first one was lost. */
		return http->requests > 1 ? AIC_HTTP_BROKEN : AIC_HTTP_GONE;
	case CURLE_OPERATION_TIMEDOUT:
		/* While connecting, nothing was sent: worth another try. */
		return connected > 0 ? AIC_HTTP_TIMEOUT : AIC_HTTP_CONNECT;
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_COULDNT_CONNECT:
	case CURLE_PROXY:
	case CURLE_SSL_CONNECT_ERROR:
		return AIC_HTTP_CONNECT;
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_GOT_NOTHING:
	case CURLE_PARTIAL_FILE:
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_UNSUPPORTED_PROTOCOL: /* an answer of HTTP/0.9 */
		return AIC_HTTP_BROKEN;
	default:
		return AIC_HTTP_FAILED;
	}
}

/* A number of so many microseconds; -1: it is not one, or not over 0. */
static int64_t
read_number(const char *text, double unit_us)
{
	char *end;
	double us;

	/* No hexadecimals, no "nan". */
	us = strtod(text, &end) * unit_us;
	if (text[strspn(text, "0123456789.eE+-")] || end == text || *end ||
	    !(us > 0))
		return -1;
	return us < RETRY_AFTER_MAX_US ? (int64_t)us : RETRY_AFTER_MAX_US;
}

int64_t
aic_http_retry_after(const char *ms, const char *after, time_t now)
{
	int64_t us = ms ? read_number(ms, AIC_MS) : -1;
	time_t date;

	if (us < 0 && after)
		us = read_number(after, AIC_S);
	/* A date begins with its day's name; libcurl would find one in -20991231. */
	if (us >= 0 || !after || !isalpha((unsigned char)*after))
		return us;
	date = curl_getdate(after, NULL);
	if (date <= now)
		return -1;
	return date - now < RETRY_AFTER_MAX_US / AIC_S ? (date - now) * AIC_S
						       : RETRY_AFTER_MAX_US;
}

static const char *
header(struct aic_http *http, const char *name)
{
	struct curl_header *h;

	return curl_easy_header(http->easy, name, 0, CURLH_HEADER, -1, &h) ==
		CURLHE_OK
	    ? h->value
	    : NULL;
}

static void
set_body(CURL *e, const struct aic_http_request *req)
{
	if (!req->body) {
		curl_easy_setopt(e, CURLOPT_HTTPGET, 1L);
		return;
	}
	curl_easy_setopt(e, CURLOPT_POST, 1L);
	curl_easy_setopt(e, CURLOPT_POSTFIELDS, req->body);
	curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE,
	    (curl_off_t)req->body_len);
}

void *
aic_http_begin(struct aic_http *http, const struct aic_http_request *req,
    struct aic_http_answer *answer)
{
	long total_ms, connect_ms;

	answer->end = AIC_HTTP_FAILED;
	answer->status = 0;
	answer->retry_after_us = -1;
	answer->why[0] = '\0';
	http->req = req;
	http->answer = answer;
	http->requests = 0;
	http->header_bytes = 0;
	http->header_done = false;
	http->too_big = false;
	http->why[0] = '\0';

	total_ms = aic_clock_left_ms(req->deadline_us);
	connect_ms = (long)(req->connect_us / AIC_MS);
	if (total_ms == 0) { /* to libcurl, 0 means for ever */
		answer->end = AIC_HTTP_TIMEOUT;
		return NULL;
	}
	if (!set_target(http, req)) {
		answer->end = AIC_HTTP_NO_MEMORY;
		return NULL;
	}
	set_body(http->easy, req);
	curl_easy_setopt(http->easy, CURLOPT_TIMEOUT_MS, total_ms);
	curl_easy_setopt(http->easy, CURLOPT_CONNECTTIMEOUT_MS,
	    connect_ms < total_ms ? connect_ms : total_ms);
	curl_easy_setopt(http->easy, CURLOPT_NOPROGRESS, req->gone ? 0L : 1L);

	errno = 0;
	return http->easy;
}

void
aic_http_finish(struct aic_http *http, int code)
{
	struct aic_http_answer *answer = http->answer;
	CURLcode rc = (CURLcode)code;
	long status = 0;

	answer->end = end_of(http, rc);
	curl_easy_getinfo(http->easy, CURLINFO_RESPONSE_CODE, &status);
	answer->status = (int)status;
	if (answer->end == AIC_HTTP_ANSWERED)
		answer->retry_after_us =
		    aic_http_retry_after(header(http, "retry-after-ms"),
			header(http, "retry-after"), time(NULL));
	else if (rc == CURLE_OK)
		snprintf(answer->why, sizeof(answer->why),
		    "the connection ended within the headers");
	else
		snprintf(answer->why, sizeof(answer->why), "%.127s",
		    http->why[0] ? http->why : curl_easy_strerror(rc));
	http->req = NULL;
	http->answer = NULL;
}

void
aic_http_post(struct aic_http *http, const struct aic_http_request *req,
    struct aic_http_answer *answer)
{
	CURL *easy = aic_http_begin(http, req, answer);

	if (easy)
		aic_http_finish(http, (int)curl_easy_perform(easy));
}
