#include "config.h"

#include "lib/http_transfer.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/http_trust.h"

/*
 * Thousands of chats wait at a time, so the memory of each is kept small. This
 * is the smallest send buffer that libcurl accepts; it is freed when the body
 * has been sent.
 */
#define SEND_BUFFER 16384L

/* The receive buffer of libcurl for plain HTTP. */
#define RECEIVE_BUFFER_PLAIN 4096L

/*
 * A response of a model has a dozen headers; the documentation of the API
 * allows 64 KiB.
 */
#define HEADERS_MAX (64 * 1024)

/* A day is beyond any deadline. The limit prevents overflow of sums. */
#define RETRY_AFTER_MAX_US (86400 * AIC_S)

/*
 * Content codings that every server supports. The default list depends on how
 * libcurl was built.
 */
#define CODINGS "gzip, deflate"

static size_t
on_receive(char *data, size_t size, size_t n, void *arg)
{
	struct aic_http_transfer *t = arg;
	struct aic_buf *body = &t->answer.body;

	if (size * n > body->max - body->len)
		t->too_big = true;
	else
		aic_buf_put(body, data, size * n);
	return t->too_big || body->failed ? 0 : size * n;
}

static size_t
on_header(char *data, size_t size, size_t n, void *arg)
{
	struct aic_http_transfer *t = arg;

	/*
	 * A blank line ends a block of headers. The block of a proxy may
	 * precede that of the server, and trailers may follow.
	 */
	if (size * n > 4 && memcmp(data, "HTTP/", 5) == 0)
		t->header_done = false;
	else if (size * n > 0 && (*data == '\r' || *data == '\n'))
		t->header_done = true;
	t->header_bytes += size * n;
	if (t->header_bytes > HEADERS_MAX) {
		t->too_big = true;
		return 0;
	}
	return size * n;
}

/*
 * libcurl 7.88 reports only in its log that a stream was refused before it was
 * processed, and only for the first stream of a connection. Other refused
 * streams look like a connection that has ended, and count as attempts.
 */
#define REFUSED "REFUSED_STREAM, retrying"

static int
on_log(CURL *easy, curl_infotype type, char *text, size_t n, void *arg)
{
	struct aic_http_transfer *t = arg;

	(void)easy;
	if (type == CURLINFO_TEXT && n >= sizeof(REFUSED) - 1 &&
	    memcmp(text, REFUSED, sizeof(REFUSED) - 1) == 0)
		t->requests = 0;
	return 0;
}

CURL *
aic_http_transfer_handle(CURLSH *share)
{
	CURL *e = curl_easy_init();

	if (!e)
		return NULL;
	if (curl_easy_setopt(e, CURLOPT_SHARE, share) != CURLE_OK ||
	    curl_easy_setopt(e, CURLOPT_ACCEPT_ENCODING, CODINGS) != CURLE_OK) {
		curl_easy_cleanup(e);
		return NULL;
	}
	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	/* Do not wait for the thread of the resolver. */
	curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L);
	curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, SEND_BUFFER);
	curl_easy_setopt(e, CURLOPT_MAXAGE_CONN, (long)AIC_HTTP_IDLE_MAX_S);
	/* Detect a peer that has vanished within half a minute. */
	curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(e, CURLOPT_TCP_KEEPIDLE, 10L);
	curl_easy_setopt(e, CURLOPT_TCP_KEEPINTVL, 5L);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_receive);
	curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(e, CURLOPT_DEBUGFUNCTION, on_log);
	return e;
}

static bool
copy_headers(struct aic_http_transfer *t, const char *const *headers)
{
	struct curl_slist *more;

	for (; *headers; headers++) {
		more = curl_slist_append(t->headers, *headers);
		if (!more)
			return false;
		t->headers = more;
	}
	return true;
}

static bool
is_plain(const struct aic_http_request *req)
{
	return strncmp(req->url, "http://", 7) == 0;
}

/* Set the options whose values are copied, which may fail without memory. */
static bool
set_target(struct aic_http_transfer *t, const struct aic_http_request *req,
    struct aic_http_trust *trust)
{
	bool plain = is_plain(req);
	CURL *e = t->easy;

	return copy_headers(t, req->headers) &&
	    (!req->more || copy_headers(t, req->more)) &&
	    curl_easy_setopt(e, CURLOPT_HTTPHEADER, t->headers) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR,
		plain ? "http" : "https") == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_URL, req->url) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_PROXY, req->proxy ? req->proxy : "") ==
	    CURLE_OK &&
	    /* Otherwise no_proxy of the environment would bypass the proxy. */
	    curl_easy_setopt(e, CURLOPT_NOPROXY, "") == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_HTTP_VERSION,
		plain ? CURL_HTTP_VERSION_1_1 : CURL_HTTP_VERSION_2TLS) ==
	    CURLE_OK &&
	    aic_http_trust_set(trust, e);
}

/*
 * The size of the receive buffer of libcurl.
 *
 * With HTTP/2, libcurl 7.88 reads all data that the socket has, and copies the
 * data of each stream into the buffer of that stream. When a buffer is full,
 * libcurl stops within the data that it has read. It continues when the socket
 * has more data. If the data that it has read end with the last frame of the
 * stream, the one with END_STREAM, it never continues. The buffer is therefore
 * as large as the largest allowed answer. A larger answer exceeds its limit,
 * and the transfer ends when the full buffer is delivered.
 *
 * The buffer has pages of its own (http_memory.h), of which a short answer
 * touches one or two.
 */
static long
receive_buffer(const struct aic_http_request *req)
{
	return is_plain(req) ? RECEIVE_BUFFER_PLAIN
			     : (long)req->answer_max + HEADERS_MAX;
}

bool
aic_http_transfer_init(struct aic_http_transfer *t,
    const struct aic_http_request *req, struct aic_http_trust *trust)
{
	CURL *e = t->easy;

	aic_buf_init(&t->answer.body, req->answer_max);
	t->answer.retry_after_us = -1;
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->why);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, t);
	curl_easy_setopt(e, CURLOPT_HEADERDATA, t);
	curl_easy_setopt(e, CURLOPT_DEBUGDATA, t);
	curl_easy_setopt(e, CURLOPT_BUFFERSIZE, receive_buffer(req));
	return set_target(t, req, trust);
}

void
aic_http_transfer_take_body(struct aic_http_transfer *t,
    const struct aic_http_request *req)
{
	CURL *e = t->easy;

	t->has_body = req->body != NULL;
	if (!req->body) {
		curl_easy_setopt(e, CURLOPT_HTTPGET, 1L);
		return;
	}
	t->body = *req->body;
	aic_buf_init(req->body, t->body.max);
	curl_easy_setopt(e, CURLOPT_POST, 1L);
	curl_easy_setopt(e, CURLOPT_POSTFIELDS,
	    t->body.data ? t->body.data : "");
	curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE,
	    (curl_off_t)t->body.len);
}

void
aic_http_transfer_watch_refusals(struct aic_http_transfer *t, bool on)
{
	curl_easy_setopt(t->easy, CURLOPT_VERBOSE, on ? 1L : 0L);
}

bool
aic_http_transfer_may_send(struct aic_http_transfer *t)
{
	return t->requests++ == 0 || !t->has_body;
}

bool
aic_http_transfer_may_connect(const struct aic_http_transfer *t)
{
	return t->requests == 0 || !t->has_body;
}

bool
aic_http_transfer_free_sent(struct aic_http_transfer *t)
{
	curl_off_t sent = 0;

	if (curl_easy_getinfo(t->easy, CURLINFO_SIZE_UPLOAD_T, &sent) !=
		CURLE_OK ||
	    sent < (curl_off_t)t->body.len)
		return false;
	/*
	 * Setting the size, even to the same value, frees the buffer. libcurl
	 * allocates it again on demand.
	 */
	curl_easy_setopt(t->easy, CURLOPT_UPLOAD_BUFFERSIZE, SEND_BUFFER);
	return true;
}

/* --- results -------------------------------------------------------- */

static enum aic_http_end
classify_end(const struct aic_http_transfer *t, CURLcode rc)
{
	bool sent = t->requests > 0;

	switch (rc) {
	case CURLE_OK:
		/*
		 * libcurl accepts headers without an end as a complete
		 * response.
		 */
		return t->header_done ? AIC_HTTP_ANSWERED : AIC_HTTP_BROKEN;
	case CURLE_WRITE_ERROR:
		/* The last case: bytes of a content coding are invalid. */
		return t->too_big	    ? AIC_HTTP_TOO_BIG
		    : t->answer.body.failed ? AIC_HTTP_NO_MEMORY
					    : AIC_HTTP_BROKEN;
	case CURLE_OUT_OF_MEMORY:
		/*
		 * libcurl also returns this code for a header over 100 KiB,
		 * which with HTTP/2 ends the stream before. errno alone is not
		 * sufficient, because system calls set it while connecting and
		 * for other streams.
		 */
		return !sent || t->http2 || errno == ENOMEM ? AIC_HTTP_NO_MEMORY
							    : AIC_HTTP_TOO_BIG;
	case CURLE_ABORTED_BY_CALLBACK: /* a second request was refused */
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_GOT_NOTHING:
	case CURLE_PARTIAL_FILE:
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_UNSUPPORTED_PROTOCOL: /* a response of HTTP/0.9 */
	case CURLE_HTTP2:
	case CURLE_HTTP2_STREAM:
	case CURLE_BAD_CONTENT_ENCODING:
		return AIC_HTTP_BROKEN;
	case CURLE_OPERATION_TIMEDOUT:
		/*
		 * A timeout while connecting: nothing was sent, so another
		 * attempt is safe.
		 */
		return sent ? AIC_HTTP_TIMEOUT : AIC_HTTP_CONNECT;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_ISSUER_ERROR:
		return sent ? AIC_HTTP_BROKEN : AIC_HTTP_UNTRUSTED;
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_COULDNT_CONNECT:
	case CURLE_PROXY:
	case CURLE_SSL_CONNECT_ERROR:
		return sent ? AIC_HTTP_BROKEN : AIC_HTTP_CONNECT;
	default:
		return AIC_HTTP_FAILED;
	}
}

/*
 * Parse a number and convert it to microseconds; -1: not a number, or not
 * positive.
 */
static int64_t
read_number(const char *text, double unit_us)
{
	char *end;
	double us;

	/* Rejects hexadecimal numbers and "nan". */
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
	/*
	 * A date begins with the name of a day. libcurl would parse -20991231
	 * as a date.
	 */
	if (us >= 0 || !after || !isalpha((unsigned char)*after))
		return us;
	date = curl_getdate(after, NULL);
	if (date <= now)
		return -1;
	return date - now < RETRY_AFTER_MAX_US / AIC_S ? (date - now) * AIC_S
						       : RETRY_AFTER_MAX_US;
}

static const char *
get_header(CURL *easy, const char *name)
{
	struct curl_header *h;

	return curl_easy_header(easy, name, 0, CURLH_HEADER, -1, &h) ==
		CURLHE_OK
	    ? h->value
	    : NULL;
}

void
aic_http_transfer_end(struct aic_http_transfer *t, CURLcode rc)
{
	struct aic_http_answer *a = &t->answer;
	long status = 0;

	a->end = classify_end(t, rc);
	a->no_descriptor = a->end == AIC_HTTP_CONNECT && t->no_socket;
	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	a->status = (int)status;
	if (a->end == AIC_HTTP_ANSWERED)
		a->retry_after_us = aic_http_retry_after(get_header(t->easy,
							     "retry-after-ms"),
		    get_header(t->easy, "retry-after"), time(NULL));
	else if (rc == CURLE_OK)
		snprintf(a->why, sizeof(a->why),
		    "the connection ended within the headers");
	else if (a->no_descriptor)
		snprintf(a->why, sizeof(a->why),
		    "no descriptor was left for a connection");
	else if (t->has_body && t->requests > 0 &&
	    (rc == CURLE_ABORTED_BY_CALLBACK || rc == CURLE_COULDNT_CONNECT))
		snprintf(a->why, sizeof(a->why),
		    "the connection ended before the answer");
	else
		snprintf(a->why, sizeof(a->why), "%.127s",
		    t->why[0] ? t->why : curl_easy_strerror(rc));
}

void
aic_http_transfer_fail(struct aic_http_transfer *t, enum aic_http_end end,
    const char *why)
{
	t->answer.end = end;
	snprintf(t->answer.why, sizeof(t->answer.why), "%s", why);
}

void
aic_http_transfer_done(struct aic_http_transfer *t)
{
	struct curl_slist *h;

	/* One of the headers contains the API key. */
	for (h = t->headers; h; h = h->next)
		explicit_bzero(h->data, strlen(h->data));
	curl_slist_free_all(t->headers);
	aic_buf_done(&t->body);
	aic_buf_done(&t->answer.body);
}
