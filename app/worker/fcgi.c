#include "config.h"

#include "app/worker/fcgi.h"

#include <errno.h>
#include <fcgiapp.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "app/worker/accept_gate.h"
#include "lib/bounds.h"

/* spawn-fcgi passes the listening socket as standard input. */
#define LISTEN_FD 0

/*
 * The timeout of a read or write on a connection. Nginx connects only when it
 * has the whole request, and reads a response as fast as the response arrives.
 * So a peer that is silent for this long is stuck, or is not Nginx. The timeout
 * is shorter than the time that a request may exceed its deadline before the
 * request counts as stuck (main.c).
 */
#define SILENCE_MAX_S 4

/* The maximum size of the status line and the headers; reply.c writes at most
 * 480 bytes of headers. */
#define HEAD_MAX 1024

/*
 * The content of one FastCGI record, and so of one write.
 *
 * The size avoids a fault of Nginx 1.22: Nginx loses the timer of a request
 * when a read fills a buffer to the last byte and no more data have arrived yet
 * (ngx_readv_chain() then returns "again" and leaves the event ready). After a
 * reload, an old process of Nginx exits when no timer is left, which truncates
 * that response. With libfcgi's own records of 8,192 bytes, each reload under
 * load truncated responses.
 *
 * So no write except the last may end at the end of a buffer. A buffer begins
 * at the start of the response, or after a read that has taken all data so far,
 * and its size is a multiple of 4 KB. The writes end at multiples of 8,152,
 * which is 8 times 1,019. Since 1,019 is odd, the first of these multiples that
 * is also a multiple of 4,096 comes after 4 MB, and of 8,192 after 8 MB.
 *
 * The last write has room for the records that end the request, so that the
 * response ends with that write.
 */
#define RECORD_BYTES 8144
_Static_assert((RECORD_BYTES + 8) % 8 == 0 && (RECORD_BYTES + 8) / 8 % 2 == 1,
    "an odd number of 8 bytes a record");
_Static_assert(RECORD_BYTES + 4 * 8 <= 8192,
    "libfcgi's buffer has room for the end of the request, too");

struct fcgi {
	FCGX_Request request;
	bool all_read; /* the socket has no unread bytes of the request */
};

static atomic_bool stopping;

bool
fcgi_init(void)
{
	int on = 0;
	socklen_t len = sizeof(on);

	if (getsockopt(LISTEN_FD, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) != 0 ||
	    !on)
		return false;
	if (FCGX_Init() != 0)
		return false;
	/* FCGX_Init() installs a handler if the signal is ignored, so the
	 * signal is ignored afterwards. */
	signal(SIGPIPE, SIG_IGN);
	return true;
}

struct fcgi *
fcgi_new(void)
{
	struct fcgi *f = calloc(1, sizeof(*f));

	/* Without a socket, libfcgi cannot accept by itself; see
	 * fcgi_accept(). */
	if (f && FCGX_InitRequest(&f->request, -1, 0) != 0) {
		free(f);
		f = NULL;
	}
	return f;
}

void
fcgi_free(struct fcgi *f)
{
	if (!f)
		return;
	FCGX_Free(&f->request, 1);
	free(f);
}

/* Read all parameters in one pass. If the caller sent two API keys, neither is
 * used, because the intended one is unknown. */
static void
read_params(char **env, struct fcgi_request *rq)
{
	static const struct {
		const char *name;
		size_t len;
		size_t offset;
	} names[] = {
#define PARAM(name, field)                                                     \
	{ name "=", sizeof(name), offsetof(struct fcgi_request, field) }
		PARAM("REQUEST_METHOD", method),
		PARAM("DOCUMENT_URI", path),
		PARAM("QUERY_STRING", query),
		PARAM("HTTP_X_API_KEY", api_key),
		PARAM("HTTP_IDEMPOTENCY_KEY", key),
		PARAM("HTTP_TRACEPARENT", traceparent),
		PARAM("HTTP_TRACESTATE", tracestate),
		PARAM("X_REQUEST_ID", id),
		PARAM("PUBLIC", is_public),
#undef PARAM
	};
	const char **to;
	size_t i, keys = 0;

	for (; *env; env++) {
		for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
			if (strncmp(*env, names[i].name, names[i].len) == 0)
				break;
		if (i == sizeof(names) / sizeof(names[0])) {
			if (strncmp(*env, "CONTENT_LENGTH=", 15) == 0)
				rq->content_length = strtoull(*env + 15, NULL,
				    10);
			continue;
		}
		to = (const char **)((char *)rq + names[i].offset);
		*to = *env + names[i].len;
		if (to == &rq->api_key && **to && ++keys > 1)
			*to = "";
	}
	/* Nginx passes a header that the caller did not send as an empty
	 * parameter. */
	if (keys != 1)
		rq->api_key = keys ? "" : NULL;
}

/* Also consume the record that ends the body. */
static bool
read_end(struct fcgi *f)
{
	return FCGX_GetChar(f->request.in) == EOF &&
	    FCGX_GetError(f->request.in) == 0;
}

/* Accept the next connection; -1: errno is set. */
static int
accept_connection(void)
{
	static const struct timeval limit = { .tv_sec = SILENCE_MAX_S };
	int fd = accept4(LISTEN_FD, NULL, NULL, SOCK_CLOEXEC);

	if (fd >= 0) {
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	}
	return fd;
}

static enum fcgi_got
fail_accept(int why, struct aic_err *err)
{
	if (why == EINVAL && atomic_load(&stopping))
		return FCGI_STOPPED;
	aic_fail(err, AIC_EBUSY, "could not accept a request: %s",
	    strerror(why));
	switch (why) {
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case ENOBUFS:
	case EINTR:
	case ECONNABORTED:
		return FCGI_NONE;
	default:
		return FCGI_BROKEN;
	}
}

/*
 * Accept a connection here, and let libfcgi read the request.
 *
 * libfcgi would accept and read without a timeout: a peer that sends one byte
 * and then nothing would occupy a thread forever, and a few such peers would
 * block the gate. So this function accepts the connection, sets timeouts, and
 * passes the connection to libfcgi as a connection kept from an earlier
 * request. If libfcgi rejects the connection and tries to accept another one,
 * that fails, because libfcgi has no listening socket.
 */
enum fcgi_got
fcgi_accept(struct fcgi *f, struct fcgi_request *rq, struct aic_err *err)
{
	int fd, why;

	accept_gate_pass();
	fd = accept_connection();
	why = errno;
	accept_gate_done();
	if (fd < 0)
		return fail_accept(why, err);
	f->request.ipcFd = fd;
	f->request.keepConnection = 1;
	/* libfcgi does not report truncated parameters; the error of the stream
	 * does. */
	if (FCGX_Accept_r(&f->request) < 0 ||
	    FCGX_GetError(f->request.in) != 0) {
		FCGX_Free(&f->request, 1);
		aic_fail(err, AIC_EBUSY,
		    "could not read a request from a connection; is the "
		    "client Nginx?");
		return FCGI_NOISE;
	}
	/* The peer's wish for a kept connection is ignored, because a kept
	 * connection would occupy a thread. */
	f->request.keepConnection = 0;
	*rq = (struct fcgi_request){ .method = "", .path = "", .query = "" };
	read_params(f->request.envp, rq);
	f->all_read = rq->content_length == 0 && read_end(f);
	return FCGI_REQUEST;
}

enum aic_code
fcgi_body(struct fcgi *f, const struct fcgi_request *rq, struct aic_buf *to,
    struct aic_err *err)
{
	int n;

	if (rq->content_length > AIC_BOUNDS_BODY)
		return aic_fail(err, AIC_EBIG, "body of %zu bytes",
		    rq->content_length);
	if (rq->content_length == 0)
		return AIC_OK;
	if (!aic_buf_room(to, rq->content_length))
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	n = FCGX_GetStr(to->data, (int)rq->content_length, f->request.in);
	if (n < 0 || (size_t)n != rq->content_length ||
	    FCGX_GetError(f->request.in) != 0)
		return aic_fail(err, AIC_EGONE,
		    "the body ended after %d of %zu bytes", n,
		    rq->content_length);
	to->len = (size_t)n;
	to->data[n] = '\0';
	f->all_read = read_end(f);
	/* The stream's buffer of 8 KB is not needed while the model works. */
	FCGX_FreeStream(&f->request.in);
	return AIC_OK;
}

bool
fcgi_gone(const struct fcgi *f)
{
	struct pollfd p = { .fd = f->request.ipcFd,
		.events = POLLIN | POLLRDHUP };

	return poll(&p, 1, 0) > 0 &&
	    p.revents & (POLLRDHUP | POLLHUP | POLLERR);
}

bool
fcgi_answer(struct fcgi *f, int status, const char *reason, const char *headers,
    const char *body, size_t len)
{
	FCGX_Stream *out = f->request.out;
	char head[HEAD_MAX];
	size_t n, room;

	n = (size_t)snprintf(head, sizeof(head),
	    "Status: %d %s\r\n%sContent-Length: %zu\r\n\r\n", status, reason,
	    headers, len);
	if (n >= sizeof(head))
		return false;
	FCGX_PutStr(head, (int)n, out);
	for (room = RECORD_BYTES - n; len > room; room = RECORD_BYTES) {
		FCGX_PutStr(body, (int)room, out);
		if (FCGX_FFlush(out) != 0)
			return false;
		body += room;
		len -= room;
	}
	FCGX_PutStr(body, (int)len, out);
	/* Closing the last stream sends the end of the request together with
	 * the rest of the response in one write. Only the error of the stream
	 * is reliable. */
	FCGX_FClose(f->request.err);
	FCGX_FClose(out);
	return FCGX_GetError(out) == 0;
}

void
fcgi_finish(struct fcgi *f)
{
	int fd = f->request.ipcFd;

	/*
	 * FCGX_Finish_r() waits until Nginx closes the connection, because
	 * closing a socket with unread bytes sends a reset, which can overtake
	 * the response. If all bytes were read, the wait is unnecessary.
	 */
	if (!f->all_read) {
		FCGX_Finish_r(&f->request);
		return;
	}
	FCGX_Free(&f->request, 0);
	f->request.ipcFd = -1;
	close(fd);
}

void
fcgi_stop(void)
{
	atomic_store(&stopping, true);
	/* shutdown() wakes all threads in accept(); close() would wake none. */
	shutdown(LISTEN_FD, SHUT_RDWR);
	accept_gate_open();
}
