#include "config.h"

#include "lib/http.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "lib/clock.h"
#include "lib/http_transfer.h"
#include "server.h"
#include "unit.h"

static const char *const headers[] = { "Authorization: Bearer key",
	"Content-Type: application/json", "Expect:", NULL };

#define BODY "{\"a\":[1,2]}"

static struct aic_http *http;
static struct aic_buf sent; /* the body of the next request */

static int
open_engine(void **state)
{
	struct aic_http_conf conf = { .calls_max = 16 };
	struct aic_err err = AIC_ERR_INIT;

	(void)state;
	aic_buf_init(&sent, 1000000);
	aic_buf_puts(&sent, BODY);
	return aic_http_open(&http, &conf, &err) == AIC_OK ? 0 : -1;
}

static int
close_engine(void **state)
{
	(void)state;
	aic_http_close(http);
	http = NULL;
	aic_buf_done(&sent);
	return 0;
}

static struct aic_http_request
request(const char *url)
{
	return (struct aic_http_request){ .url = url,
		.headers = headers,
		.body = &sent,
		.deadline_us = aic_clock_us() + 8 * AIC_S,
		.connect_us = 2 * AIC_S };
}

/* One call, with a ceiling for the size of the response. */
static struct aic_http_answer
post_max(const struct aic_http_request *req, size_t max)
{
	struct aic_http_request limited = *req;
	struct aic_http_answer a;
	struct aic_buf before = sent;

	memset(&a, 0x5a, sizeof(a));
	limited.answer_max = max;
	aic_http_run(http, &limited, NULL, NULL, &a);
	/* The response has the same bytes. */
	assert_ptr_equal(sent.data, before.data);
	assert_int_equal(sent.len, before.len);
	return a;
}

static struct aic_http_answer
post(struct server *s)
{
	struct aic_http_request req = request(server_url(s));

	return post_max(&req, 100000);
}

static struct server *
serve_one(struct server_step step)
{
	return server_new(&step, 1);
}

#define REPLY(status, headers, body)                                           \
	server_reply(status, headers, body, strlen(body))

/* How a call ends when the server takes this step. */
static void
ends(enum aic_http_end want, struct server_step step, int requests)
{
	struct server *s = serve_one(step);
	struct aic_http_answer a = post(s);

	if (a.end != want)
		fail_msg("end is %d, not %d (%s)", a.end, want, a.why);
	if (want != AIC_HTTP_ANSWERED)
		assert_true(a.why[0] != '\0');
	assert_int_equal(server_requests(s), requests);
	aic_buf_done(&a.body);
	server_free(s);
}

static void
a_response_has_a_status_and_a_body(void **state)
{
	struct server *s = serve_one(REPLY(200, "X-A: b\r\n", "{\"x\":1}"));
	struct aic_http_answer a = post(s);

	(void)state;
	assert_int_equal(a.end, AIC_HTTP_ANSWERED);
	assert_int_equal(a.status, 200);
	assert_int_equal(a.body.len, 7);
	assert_string_equal(a.body.data, "{\"x\":1}");
	assert_int_equal(a.retry_after_us, -1);
	assert_string_equal(a.why, "");
	aic_buf_done(&a.body);
	server_free(s);
}

static void
a_response_with_any_status_is_returned(void **state)
{
	static const int statuses[] = { 200, 201, 204, 302, 400, 401, 404, 408,
		429, 500, 503, 599 };
	struct aic_http_answer a;
	struct server *s;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		s = serve_one(REPLY(statuses[i], "Connection: close\r\n", ""));
		a = post(s);
		assert_int_equal(a.end, AIC_HTTP_ANSWERED);
		assert_int_equal(a.status, statuses[i]);
		aic_buf_done(&a.body);
		server_free(s);
	}
}

static void
the_request_is_a_post_with_its_headers_and_whole_body(void **state)
{
	struct server *s = serve_one(REPLY(200, "", "x"));
	struct aic_http_answer a = post(s);
	const char *head = server_head(s, 0);

	(void)state;
	assert_int_equal(strncmp(head, "POST / HTTP/1.1\r\n", 17), 0);
	assert_non_null(strstr(head, "\r\nAuthorization: Bearer key"));
	assert_non_null(strstr(head, "\r\nContent-Type: application/json"));
	assert_non_null(strstr(head, "\r\nContent-Length: 11"));
	assert_null(strcasestr(head, "Expect"));
	assert_null(strcasestr(head, "Transfer-Encoding"));
	assert_non_null(strstr(head, "\r\nAccept-Encoding: gzip, deflate"));
	assert_string_equal(server_body(s, 0), "{\"a\":[1,2]}");
	aic_buf_done(&a.body);
	server_free(s);
}

/* Larger than the send buffer, and empty. */
static void
a_request_body_of_any_size_arrives_complete(void **state)
{
	static char big[300000];
	static const size_t sizes[] = { 0, 1, 16383, 16384, 16385, 70000,
		300000 };
	struct aic_http_request req;
	struct aic_http_answer a;
	struct server *s;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(big); i++)
		big[i] = (char)(i * 7 + i / 251);
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		s = serve_one(REPLY(200, "", "x"));
		req = request(server_url(s));
		aic_buf_clear(&sent);
		aic_buf_put(&sent, big, sizes[i]);
		a = post_max(&req, 100);
		assert_int_equal(a.end, AIC_HTTP_ANSWERED);
		assert_int_equal(server_body_len(s, 0), sizes[i]);
		assert_memory_equal(server_body(s, 0), big, sizes[i]);
		aic_buf_done(&a.body);
		server_free(s);
	}
}

static void
the_connection_is_reused_for_the_next_call(void **state)
{
	struct server *s = serve_one(REPLY(200, "", "x"));
	struct aic_http_answer a;
	int i;

	(void)state;
	for (i = 0; i < 3; i++) {
		a = post(s);
		assert_int_equal(a.end, AIC_HTTP_ANSWERED);
		assert_string_equal(server_body(s, i), "{\"a\":[1,2]}");
		aic_buf_done(&a.body);
	}
	assert_int_equal(server_requests(s), 3);
	assert_int_equal(server_connections(s), 1);
	server_free(s);
}

static void
each_call_has_its_own_address_headers_and_body(void **state)
{
	static const char *const others[] = { "X-Other: 1", NULL };
	struct server *a = serve_one(REPLY(200, "", "a"));
	struct server *b = serve_one(REPLY(200, "", "b"));
	struct aic_http_request req;
	struct aic_http_answer got;

	(void)state;
	got = post(a);
	aic_buf_done(&got.body);
	req = request(server_url(b));
	req.headers = others;
	got = post_max(&req, 100);
	assert_string_equal(got.body.data, "b");
	aic_buf_done(&got.body);
	assert_non_null(strstr(server_head(b, 0), "X-Other: 1"));
	assert_null(strstr(server_head(b, 0), "Authorization"));
	got = post(a);
	assert_string_equal(got.body.data, "a");
	aic_buf_done(&got.body);
	server_free(a);
	server_free(b);
}

/* The zlib form with its header; "raw" deflate has none. */
static struct server_step
compressed(const char *coding, const void *text, size_t len, int window)
{
	static unsigned char out[100000];
	z_stream z = { .next_in = (void *)(uintptr_t)text,
		.avail_in = (unsigned)len,
		.next_out = out,
		.avail_out = sizeof(out) };
	struct server_step step;
	char head[100];

	assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, window, 8,
			     Z_DEFAULT_STRATEGY),
	    Z_OK);
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	snprintf(head, sizeof(head), "Content-Encoding: %s\r\n", coding);
	step = server_reply(200, head, (char *)out, z.total_out);
	deflateEnd(&z);
	return step;
}

static void
a_compressed_response_is_decompressed(void **state)
{
	static const struct {
		const char *coding;
		int window;
	} rows[] = { { "gzip", 31 }, { "x-gzip", 31 }, { "GZIP", 31 },
		{ "deflate", 15 }, { "deflate", -15 } };
	struct aic_http_answer a;
	struct server *s;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		s = serve_one(compressed(rows[i].coding, LIT(BODY),
		    rows[i].window));
		a = post(s);
		if (a.end != AIC_HTTP_ANSWERED)
			fail_msg("%s: %s", rows[i].coding, a.why);
		assert_string_equal(a.body.data, BODY);
		aic_buf_done(&a.body);
		server_free(s);
	}
}

/* A decompression bomb: 2 MB in 2 KB. */
static void
the_ceiling_counts_the_bytes_after_decompression(void **state)
{
	static char zeros[2000000];
	struct server *s = serve_one(compressed("gzip", zeros, sizeof(zeros),
	    31));
	struct aic_http_answer a = post(s);

	(void)state;
	assert_int_equal(a.end, AIC_HTTP_TOO_BIG);
	assert_true(a.body.len <= 100000);
	aic_buf_done(&a.body);
	server_free(s);
}

static void
an_invalid_or_unknown_compression_is_a_broken_response(void **state)
{
	struct server_step cut = compressed("gzip", LIT(BODY), 31);

	(void)state;
	ends(AIC_HTTP_BROKEN,
	    REPLY(200, "Content-Encoding: gzip\r\n", "not gzip"), 1);
	ends(AIC_HTTP_BROKEN, REPLY(200, "Content-Encoding: rot13\r\n", "x"),
	    1);
	ends(AIC_HTTP_BROKEN,
	    REPLY(200,
		"Content-Encoding: gzip, gzip, gzip, gzip, gzip, gzip\r\n",
		"x"),
	    1);
	/*
	 * Half of the compressed bytes, with the Content-Length of that half.
	 */
	cut.answer[cut.len - 12] = '\0';
	ends(AIC_HTTP_BROKEN, cut, 1);
}

/* A response in chunks of 1000 bytes, without an announced length. */
static struct server_step
chunked(size_t n)
{
	struct aic_buf b;
	struct server_step step = { .then = KEEP };
	char chunk[1001];

	memset(chunk, 'x', 1000);
	chunk[1000] = '\0';
	aic_buf_init(&b, 10000000);
	aic_buf_puts(&b,
	    "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n");
	for (; n >= 1000; n -= 1000)
		aic_buf_printf(&b, "3e8\r\n%s\r\n", chunk);
	if (n > 0)
		aic_buf_printf(&b, "%zx\r\n%.*s\r\n", n, (int)n, chunk);
	aic_buf_puts(&b, "0\r\n\r\n");
	step.answer = aic_buf_take(&b, &step.len);
	return step;
}

static void
a_response_over_the_ceiling_is_too_big_however_it_is_sent(void **state)
{
	static char body[50000];
	static const size_t sizes[] = { 9999, 10000, 10001, 50000 };
	struct aic_http_request req;
	struct aic_http_answer a;
	struct server *s;
	size_t i, how;

	(void)state;
	memset(body, 'x', sizeof(body));
	for (i = 0; i < 4; i++)
		for (how = 0; how < 3; how++) {
			struct server_step step;

			step = how == 0 ? server_reply(200, "", body, sizes[i])
			    : how == 1	? chunked(sizes[i])
					: server_reply(200, "", body, sizes[i]);
			if (how == 2) { /* without any length */
				memcpy(strstr(step.answer, "Content-Length"),
				    "X-Some-Length_", 14);
				step.then = CLOSE;
			}
			s = serve_one(step);
			req = request(server_url(s));
			a = post_max(&req, 10000);
			assert_int_equal(a.end,
			    sizes[i] > 10000 ? AIC_HTTP_TOO_BIG
					     : AIC_HTTP_ANSWERED);
			assert_true(a.body.len <= 10000);
			if (sizes[i] <= 10000)
				assert_int_equal(a.body.len, sizes[i]);
			assert_int_equal(server_requests(s), 1);
			aic_buf_done(&a.body);
			server_free(s);
		}
}

static void
a_huge_announced_length_does_no_harm(void **state)
{
	struct server *s = serve_one(server_raw(
	    "HTTP/1.1 200 X\r\nContent-Length: 9000000000000000000\r\n\r\nabc",
	    CLOSE));
	struct aic_http_answer a = post(s);

	(void)state;
	assert_true(a.end == AIC_HTTP_BROKEN || a.end == AIC_HTTP_TOO_BIG);
	aic_buf_done(&a.body);
	server_free(s);
}

static void
a_flood_of_headers_is_too_big(void **state)
{
	static const size_t lines[] = { 100, 3000, 100000 };
	struct aic_http_answer a;
	struct server_step step = { .then = CLOSE };
	struct server *s;
	struct aic_buf b;
	size_t i, n;

	(void)state;
	for (i = 0; i < 3; i++) {
		/* Many lines, each of them short. */
		aic_buf_init(&b, 10000000);
		aic_buf_puts(&b, "HTTP/1.1 200 X\r\n");
		for (n = 0; n < lines[i]; n++)
			aic_buf_printf(&b, "X-%06zu: 0123456789\r\n", n);
		aic_buf_puts(&b, "Content-Length: 1\r\n\r\nx");
		step.answer = aic_buf_take(&b, &step.len);
		s = serve_one(step);
		a = post(s);
		if (a.end !=
		    (lines[i] == 100 ? AIC_HTTP_ANSWERED : AIC_HTTP_TOO_BIG))
			fail_msg("%zu lines: %d %s", lines[i], a.end, a.why);
		aic_buf_done(&a.body);
		server_free(s);
	}
}

static void
a_header_that_is_too_long_ends_the_call(void **state)
{
	static const size_t sizes[] = { 70000, 90000, 200000, 1000000 };
	struct aic_http_answer a;
	struct server_step step = { .then = CLOSE };
	struct server *s;
	struct aic_buf b;
	size_t i, n;

	(void)state;
	for (i = 0; i < 4; i++) {
		aic_buf_init(&b, 10000000);
		aic_buf_puts(&b, "HTTP/1.1 200 X\r\nX: ");
		for (n = 0; n < sizes[i]; n++)
			aic_buf_putc(&b, 'x');
		aic_buf_puts(&b, "\r\nContent-Length: 1\r\n\r\nx");
		step.answer = aic_buf_take(&b, &step.len);
		s = serve_one(step);
		a = post(s);
		if (a.end != AIC_HTTP_TOO_BIG)
			fail_msg("%zu bytes: %d %s", sizes[i], a.end, a.why);
		aic_buf_done(&a.body);
		server_free(s);
	}
}

static void
a_response_that_is_cut_off_is_broken(void **state)
{
	(void)state;
	ends(AIC_HTTP_BROKEN,
	    server_raw("HTTP/1.1 200 X\r\nContent-Length: 10\r\n\r\nabc",
		CLOSE),
	    1);
	ends(AIC_HTTP_BROKEN, server_raw("HTTP/1.1 200 X\r\nContent-Le", CLOSE),
	    1);
	ends(AIC_HTTP_BROKEN, server_raw("HTTP/1.1 200 X\r\n", RESET), 1);
	ends(AIC_HTTP_BROKEN,
	    server_raw("HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n"
		       "5\r\nab",
		CLOSE),
	    1);
	ends(AIC_HTTP_BROKEN,
	    server_raw("HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n"
		       "zz\r\nab\r\n",
		CLOSE),
	    1);
}

static void
a_response_is_complete_however_its_end_is_marked(void **state)
{
	(void)state;
	ends(AIC_HTTP_ANSWERED,
	    server_raw("HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n"
		       "2\r\nab\r\n0\r\nX-Trailer: y\r\n\r\n",
		KEEP),
	    1);
	ends(AIC_HTTP_ANSWERED, server_raw("HTTP/1.0 200 X\r\n\r\nab", CLOSE),
	    1);
	ends(AIC_HTTP_ANSWERED, server_raw("HTTP/1.1 200 X\n\nab", CLOSE), 1);
	ends(AIC_HTTP_ANSWERED,
	    server_raw("HTTP/1.1 100 Continue\r\n\r\n"
		       "HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n",
		KEEP),
	    1);
	ends(AIC_HTTP_BROKEN,
	    server_raw("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 X\r\nA: b",
		CLOSE),
	    1);
	ends(AIC_HTTP_BROKEN,
	    server_raw("HTTP/1.1 100 Continue\r\n\r\n", CLOSE), 1);
}

static void
a_connection_closed_without_a_response_is_broken(void **state)
{
	(void)state;
	ends(AIC_HTTP_BROKEN, (struct server_step){ .then = CLOSE }, 1);
	ends(AIC_HTTP_BROKEN, (struct server_step){ .then = RESET }, 1);
	ends(AIC_HTTP_BROKEN,
	    (struct server_step){ .then = CLOSE, .unread = true }, 0);
}

static void
a_response_that_is_not_http_is_broken(void **state)
{
	(void)state;
	ends(AIC_HTTP_BROKEN, server_raw("hello\r\n\r\n", CLOSE), 1);
	ends(AIC_HTTP_BROKEN, server_raw("\r\n\r\n\r\n", CLOSE), 1);
	ends(AIC_HTTP_BROKEN,
	    server_raw("HTTP/1.1 abc\r\nContent-Length: 0\r\n\r\n", CLOSE), 1);
	ends(AIC_HTTP_BROKEN,
	    server_raw("HTTP/1.1 200 X\r\nContent-Length: -5\r\n\r\nx", CLOSE),
	    1);
}

static void
a_port_without_a_listener_is_a_failed_connection(void **state)
{
	struct sockaddr_in addr = { .sin_family = AF_INET };
	socklen_t len = sizeof(addr);
	struct aic_http_request req;
	struct aic_http_answer a;
	char url[64];
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	(void)state;
	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (void *)&addr, sizeof(addr)), 0);
	getsockname(fd, (void *)&addr, &len);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/",
	    (unsigned)ntohs(addr.sin_port));
	req = request(url);
	a = post_max(&req, 100);
	assert_int_equal(a.end, AIC_HTTP_CONNECT);
	assert_int_equal(a.status, 0);
	assert_true(a.why[0] != '\0');
	aic_buf_done(&a.body);
	close(fd);
}

/* A socket whose backlog is full does not answer a SYN. */
static void
a_connection_that_takes_too_long_to_open_has_failed(void **state)
{
	struct sockaddr_in addr = { .sin_family = AF_INET };
	socklen_t len = sizeof(addr);
	struct aic_http_request req;
	struct aic_http_answer a;
	char url[64];
	int fd = socket(AF_INET, SOCK_STREAM, 0), fill[4], i;
	int64_t start;

	(void)state;
	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (void *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 0), 0);
	getsockname(fd, (void *)&addr, &len);
	for (i = 0; i < 4; i++) {
		fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect(fill[i], (void *)&addr, sizeof(addr));
	}
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/",
	    (unsigned)ntohs(addr.sin_port));
	req = request(url);
	req.connect_us = 200 * AIC_MS;
	start = aic_clock_us();
	a = post_max(&req, 100);
	assert_int_equal(a.end, AIC_HTTP_CONNECT);
	assert_true(aic_clock_us() - start < 2 * AIC_S);
	aic_buf_done(&a.body);
	for (i = 0; i < 4; i++)
		close(fill[i]);
	close(fd);
}

static void
the_deadline_ends_a_call_without_a_response(void **state)
{
	struct server *s = serve_one((struct server_step){ .then = KEEP });
	struct aic_http_request req = request(server_url(s));
	struct aic_http_answer a;
	int64_t start = aic_clock_us();

	(void)state;
	req.deadline_us = start + 200 * AIC_MS;
	a = post_max(&req, 100);
	assert_int_equal(a.end, AIC_HTTP_TIMEOUT);
	assert_true(aic_clock_us() - start >= 190 * AIC_MS);
	assert_true(aic_clock_us() - start < AIC_S);
	assert_int_equal(server_requests(s), 1);
	aic_buf_done(&a.body);
	server_free(s);
}

static void
the_deadline_ends_a_response_that_stops_in_the_middle(void **state)
{
	struct server *s = serve_one(server_raw(
	    "HTTP/1.1 200 X\r\nContent-Length: 10\r\n\r\nabc", KEEP));
	struct aic_http_request req = request(server_url(s));
	struct aic_http_answer a;

	(void)state;
	req.deadline_us = aic_clock_us() + 200 * AIC_MS;
	a = post_max(&req, 100);
	assert_int_equal(a.end, AIC_HTTP_TIMEOUT);
	aic_buf_done(&a.body);
	server_free(s);
}

static void
a_deadline_that_has_passed_sends_nothing(void **state)
{
	struct server *s = serve_one(REPLY(200, "", "x"));
	struct aic_http_request req = request(server_url(s));
	struct aic_http_answer a;

	(void)state;
	req.deadline_us = aic_clock_us() - 1;
	a = post_max(&req, 100);
	assert_int_equal(a.end, AIC_HTTP_TIMEOUT);
	assert_int_equal(a.retry_after_us, -1);
	assert_int_equal(server_connections(s), 0);
	aic_buf_done(&a.body);
	server_free(s);
}

static void
a_redirect_is_returned_and_not_followed(void **state)
{
	struct server *other = serve_one(REPLY(200, "", "secret"));
	char location[100];
	struct server *s;
	struct aic_http_answer a;
	int status;

	(void)state;
	snprintf(location, sizeof(location), "Location: %s/\r\n",
	    server_url(other));
	for (status = 301; status <= 308; status++) {
		s = serve_one(REPLY(status, location, "moved"));
		a = post(s);
		assert_int_equal(a.end, AIC_HTTP_ANSWERED);
		assert_int_equal(a.status, status);
		if (status != 304) /* a response without a body */
			assert_string_equal(a.body.data, "moved");
		assert_int_equal(server_requests(s), 1);
		aic_buf_done(&a.body);
		server_free(s);
	}
	assert_int_equal(server_connections(other), 0);
	server_free(other);
}

static void
a_proxy_of_the_environment_is_ignored(void **state)
{
	static const char *const names[] = { "http_proxy", "https_proxy",
		"HTTPS_PROXY", "all_proxy", "ALL_PROXY" };
	struct server *proxy = serve_one(REPLY(200, "", "proxy"));
	struct server *s = serve_one(REPLY(200, "", "direct"));
	struct aic_http_answer a;
	size_t i;

	(void)state;
	for (i = 0; i < 5; i++)
		setenv(names[i], server_url(proxy), 1);
	a = post(s);
	for (i = 0; i < 5; i++)
		unsetenv(names[i]);
	assert_int_equal(a.end, AIC_HTTP_ANSWERED);
	assert_string_equal(a.body.data, "direct");
	assert_int_equal(server_connections(proxy), 0);
	aic_buf_done(&a.body);
	server_free(s);
	server_free(proxy);
}

static void
a_proxy_that_is_named_is_used(void **state)
{
	struct server *proxy = serve_one(REPLY(200, "", "proxy"));
	struct aic_http_request req = request("http://model.invalid/v1");
	struct aic_http_answer a;

	(void)state;
	req.proxy = server_url(proxy);
	setenv("no_proxy", "model.invalid", 1);
	a = post_max(&req, 100);
	unsetenv("no_proxy");
	assert_int_equal(a.end, AIC_HTTP_ANSWERED);
	assert_string_equal(a.body.data, "proxy");
	assert_int_equal(strncmp(server_head(proxy, 0),
			     "POST http://model.invalid/v1 ", 29),
	    0);
	aic_buf_done(&a.body);
	server_free(proxy);
}

/* libcurl by itself would send the request again on a new connection. */
static void
a_post_on_a_kept_connection_that_closes_is_not_sent_again(void **state)
{
	static const enum server_then how[] = { CLOSE, RESET };
	struct server_step steps[3];
	struct aic_http_answer a;
	struct server *s;
	int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		steps[0] = REPLY(200, "", "one");
		steps[1] = (struct server_step){ .then = how[i] };
		steps[2] = REPLY(200, "", "two");
		s = server_new(steps, 3);
		a = post(s);
		assert_int_equal(a.end, AIC_HTTP_ANSWERED);
		aic_buf_done(&a.body);
		a = post(s);
		assert_int_equal(a.end, AIC_HTTP_BROKEN);
		assert_int_equal(server_requests(s), 2);
		aic_buf_done(&a.body);
		/* The next call sends it; the handle can be used again. */
		a = post(s);
		assert_int_equal(a.end, AIC_HTTP_ANSWERED);
		assert_string_equal(a.body.data, "two");
		assert_string_equal(server_body(s, 2), "{\"a\":[1,2]}");
		assert_int_equal(server_requests(s), 3);
		aic_buf_done(&a.body);
		server_free(s);
	}
}

static void
a_connection_that_was_closed_while_idle_is_replaced(void **state)
{
	struct server_step steps[2] = { REPLY(200, "", "one"),
		REPLY(200, "", "two") };
	struct aic_http_answer a;
	struct server *s;

	(void)state;
	steps[0].then = CLOSE;
	s = server_new(steps, 2);
	a = post(s);
	aic_buf_done(&a.body);
	aic_clock_sleep(aic_clock_us() + 50 * AIC_MS);
	a = post(s);
	assert_int_equal(a.end, AIC_HTTP_ANSWERED);
	assert_string_equal(a.body.data, "two");
	assert_int_equal(server_requests(s), 2);
	assert_int_equal(server_connections(s), 2);
	aic_buf_done(&a.body);
	server_free(s);
}

/* --- when to come again ------------------------------------------------- */

static void
retry_after_is_read_in_all_its_forms(void **state)
{
	static const struct {
		const char *headers;
		int64_t want_us;
	} rows[] = {
		{ "", -1 },
		{ "Retry-After: 3\r\n", 3 * AIC_S },
		{ "retry-after: 3\r\n", 3 * AIC_S },
		{ "Retry-After:7\r\n", 7 * AIC_S },
		{ "Retry-After: 0\r\n", -1 },
		{ "Retry-After: -5\r\n", -1 },
		{ "Retry-After: soon\r\n", -1 },
		{ "Retry-After:\r\n", -1 },
		{ "Retry-After: 4000000000\r\n", 86400 * AIC_S },
		{ "Retry-After: 99999999999999999999\r\n", 86400 * AIC_S },
		{ "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n", -1 },
		{ "retry-after-ms: 250\r\n", 250 * AIC_MS },
		{ "Retry-After-Ms: 250.5\r\n", 250500 },
		{ "retry-after-ms: 0\r\n", -1 },
		{ "retry-after-ms: -1\r\n", -1 },
		{ "retry-after-ms: soon\r\n", -1 },
		{ "retry-after-ms: nan\r\n", -1 },
		{ "retry-after-ms: inf\r\n", -1 },
		{ "retry-after-ms: 1e300\r\n", 86400 * AIC_S },
		{ "retry-after-ms: 250x\r\n", -1 },
		{ "retry-after-ms:\r\n", -1 },
		{ "Retry-After: 3\r\nretry-after-ms: 250\r\n", 250 * AIC_MS },
		{ "Retry-After: 3\r\nretry-after-ms: x\r\n", 3 * AIC_S },
		{ "Retry-After: 3\r\nretry-after-ms: -1\r\n", 3 * AIC_S },
		{ "Retry-After: 3\r\nretry-after-ms: 0\r\n", 3 * AIC_S },
	};
	struct aic_http_answer a;
	struct server *s;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		s = serve_one(REPLY(429, rows[i].headers, "x"));
		a = post(s);
		assert_int_equal(a.end, AIC_HTTP_ANSWERED);
		if (a.retry_after_us != rows[i].want_us)
			fail_msg("%s: %lld, not %lld", rows[i].headers,
			    (long long)a.retry_after_us,
			    (long long)rows[i].want_us);
		aic_buf_done(&a.body);
		server_free(s);
	}
}

static void
retry_after_can_be_a_date(void **state)
{
	time_t at = time(NULL) + 30;
	struct aic_http_answer a;
	struct server *s;
	char line[100];
	struct tm tm;

	(void)state;
	gmtime_r(&at, &tm);
	strftime(line, sizeof(line),
	    "Retry-After: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
	s = serve_one(REPLY(503, line, "x"));
	a = post(s);
	assert_true(a.retry_after_us >= 25 * AIC_S);
	assert_true(a.retry_after_us <= 30 * AIC_S);
	aic_buf_done(&a.body);
	server_free(s);
}

static void
retry_after_follows_from_the_headers_and_the_current_time(void **state)
{
	/* Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110. */
	const time_t now = 784111777;
	static const struct {
		const char *ms, *after;
		int64_t want_us;
	} rows[] = {
		{ NULL, NULL, -1 },
		{ "", "", -1 },
		{ NULL, "1.5", 1500 * AIC_MS },
		{ NULL, "0.0001", 100 },
		{ NULL, "0x10", -1 },
		{ NULL, "3 s", -1 },
		{ NULL, "inf", -1 },
		{ NULL, "1e999", 86400 * AIC_S },
		{ NULL, "86400", 86400 * AIC_S },
		{ NULL, "86401", 86400 * AIC_S },
		{ "0x10", "2", 2 * AIC_S },
		{ "1e3", "2", AIC_S },
		{ NULL, "Sun, 06 Nov 1994 08:49:37 GMT", -1 },
		{ NULL, "Sun, 06 Nov 1994 08:49:36 GMT", -1 },
		{ NULL, "Sun, 06 Nov 1994 08:49:38 GMT", AIC_S },
		{ NULL, "Sunday, 06-Nov-94 08:50:37 GMT", 60 * AIC_S },
		{ NULL, "Sun Nov  6 08:50:37 1994", 60 * AIC_S },
		{ NULL, "Mon, 07 Nov 1994 08:49:36 GMT", 86399 * AIC_S },
		{ NULL, "Mon, 07 Nov 1994 08:49:38 GMT", 86400 * AIC_S },
		{ NULL, "Fri, 31 Dec 9999 23:59:59 GMT", 86400 * AIC_S },
		{ NULL, "Mon", -1 },
		{ NULL, "-20991231", -1 },
		{ "Sun, 06 Nov 1994 08:49:38 GMT", NULL, -1 },
		{ "700", "Sun, 06 Nov 1994 08:49:39 GMT", 700 * AIC_MS },
	};
	int64_t got;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		got = aic_http_retry_after(rows[i].ms, rows[i].after, now);
		if (got != rows[i].want_us)
			fail_msg("%s, %s: %lld", rows[i].ms ? rows[i].ms : "-",
			    rows[i].after ? rows[i].after : "-",
			    (long long)got);
	}
}

static void
retry_after_of_one_response_does_not_carry_over_to_the_next(void **state)
{
	struct server_step steps[] = {
		REPLY(429, "Retry-After: 3\r\n", "x"),
		REPLY(503, "", "x"),
		REPLY(429, "retry-after-ms: 9\r\n", "x"),
		REPLY(503, "", "x"),
		(struct server_step){ .then = CLOSE },
	};
	static const int64_t want[] = { 3 * AIC_S, -1, 9 * AIC_MS, -1, -1 };
	struct server *s = server_new(steps, 5);
	struct aic_http_answer a;
	int i;

	(void)state;
	for (i = 0; i < 5; i++) {
		a = post(s);
		assert_int_equal(a.retry_after_us, want[i]);
		aic_buf_done(&a.body);
	}
	server_free(s);
}

/* --- callers that leave ------------------------------------------------- */

static bool
say(void *arg)
{
	int *left = arg;

	return (*left)-- <= 0;
}

static void
a_caller_that_disconnects_ends_the_call(void **state)
{
	static const int when[] = { 0, 3 };
	struct aic_http_request req;
	struct aic_http_answer a;
	struct server *s;
	int64_t start;
	int i, left;

	(void)state;
	for (i = 0; i < 2; i++) {
		s = serve_one((struct server_step){ .then = KEEP });
		req = request(server_url(s));
		left = when[i];
		req.answer_max = 100;
		start = aic_clock_us();
		aic_http_run(http, &req, say, &left, &a);
		assert_int_equal(a.end, AIC_HTTP_GONE);
		assert_true(aic_clock_us() - start < 5 * AIC_S);
		aic_buf_done(&a.body);
		server_free(s);
	}
}

static void
a_caller_that_stays_connected_gets_the_response(void **state)
{
	struct server *s = serve_one(REPLY(200, "", "x"));
	struct aic_http_request req = request(server_url(s));
	struct aic_http_answer a;
	int left = 1000000;

	(void)state;
	req.answer_max = 100;
	aic_http_run(http, &req, say, &left, &a);
	assert_int_equal(a.end, AIC_HTTP_ANSWERED);
	aic_buf_done(&a.body);
	a = post(s);
	assert_int_equal(a.end, AIC_HTTP_ANSWERED);
	aic_buf_done(&a.body);
	server_free(s);
}

static void
a_name_that_does_not_exist_is_a_failed_connection(void **state)
{
	struct aic_http_request req = request("http://model.invalid/");
	struct aic_http_answer a;

	(void)state;
	a = post_max(&req, 100);
	assert_int_equal(a.end, AIC_HTTP_CONNECT);
	aic_buf_done(&a.body);
}

static void
another_protocol_is_refused(void **state)
{
	struct aic_http_request req = request("file:///etc/passwd");
	struct aic_http_answer a;

	(void)state;
	a = post_max(&req, 10000);
	assert_int_not_equal(a.end, AIC_HTTP_ANSWERED);
	assert_int_equal(a.body.len, 0);
	aic_buf_done(&a.body);
}

#undef T
#define T(name) cmocka_unit_test_setup_teardown(name, open_engine, close_engine)

UNIT_MAIN(T(a_response_has_a_status_and_a_body),
    T(a_response_with_any_status_is_returned),
    T(the_request_is_a_post_with_its_headers_and_whole_body),
    T(a_request_body_of_any_size_arrives_complete),
    T(the_connection_is_reused_for_the_next_call),
    T(each_call_has_its_own_address_headers_and_body),
    T(a_compressed_response_is_decompressed),
    T(the_ceiling_counts_the_bytes_after_decompression),
    T(an_invalid_or_unknown_compression_is_a_broken_response),
    T(a_response_over_the_ceiling_is_too_big_however_it_is_sent),
    T(a_huge_announced_length_does_no_harm), T(a_flood_of_headers_is_too_big),
    T(a_header_that_is_too_long_ends_the_call),
    T(a_response_that_is_cut_off_is_broken),
    T(a_response_is_complete_however_its_end_is_marked),
    T(a_connection_closed_without_a_response_is_broken),
    T(a_response_that_is_not_http_is_broken),
    T(a_port_without_a_listener_is_a_failed_connection),
    T(a_connection_that_takes_too_long_to_open_has_failed),
    T(the_deadline_ends_a_call_without_a_response),
    T(the_deadline_ends_a_response_that_stops_in_the_middle),
    T(a_deadline_that_has_passed_sends_nothing),
    T(a_redirect_is_returned_and_not_followed),
    T(a_proxy_of_the_environment_is_ignored), T(a_proxy_that_is_named_is_used),
    T(a_post_on_a_kept_connection_that_closes_is_not_sent_again),
    T(a_connection_that_was_closed_while_idle_is_replaced),
    T(retry_after_is_read_in_all_its_forms), T(retry_after_can_be_a_date),
    T(retry_after_follows_from_the_headers_and_the_current_time),
    T(retry_after_of_one_response_does_not_carry_over_to_the_next),
    T(a_caller_that_disconnects_ends_the_call),
    T(a_caller_that_stays_connected_gets_the_response),
    T(a_name_that_does_not_exist_is_a_failed_connection),
    T(another_protocol_is_refused))
