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
#include "lib/limits.h"

/* spawn-fcgi hands the listening socket over as standard input. */
#define LISTEN_FD 0

/*
 * Nginx has the whole request before it connects, and takes an answer as fast as it
 * comes. A peer that is silent for this long hangs, or is not Nginx. Less than what
 * a request may last beyond its deadline before it counts as hung (main.c).
 */
#define SILENCE_MAX_S 4

/* Status line and headers of an answer; reply.c has some 200 bytes of them. */
#define HEAD_MAX 1024

/*
 * Content of one record, and so of one write. Nginx 1.22 loses the timer of a request
 * when a read fills one of its buffers to the last byte and nothing more has come yet
 * (ngx_readv_chain() then answers "again" and leaves the event ready). After a
 * reload, an old process of Nginx exits when no timer is left, which cuts that answer:
 * with libfcgi's own records of 8,192 bytes each reload under load did. So no write but the last one
 * may end where a buffer ends. Buffers begin at the start of the answer or behind a
 * read that has taken all there was, and their sizes are multiples of 4 KB; the ends of
 * the writes are multiples of 8,152 = 8 * 1,019, and 1,019 is odd, hence the first of them
 * that is also a multiple of 4,096 comes after 4 MB, and of 8,192 after 8 MB. The last
 * write has room for the records that end the request, so that it is the end of all.
 */
#define RECORD_BYTES 8144
_Static_assert((RECORD_BYTES + 8) % 8 == 0 && (RECORD_BYTES + 8) / 8 % 2 == 1,
    "an odd number of 8 bytes a record");
_Static_assert(RECORD_BYTES + 4 * 8 <= 8192,
    "libfcgi's buffer has room for the end of the request, too");

struct fcgi {
	FCGX_Request request;
	bool all_read; /* nothing of the request is left in the socket */
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
	/* After FCGX_Init(), which sets a handler where it finds SIG_IGN. */
	signal(SIGPIPE, SIG_IGN);
	return true;
}

struct fcgi *
fcgi_new(void)
{
	struct fcgi *f = calloc(1, sizeof(*f));

	/* No socket: libfcgi is to accept nothing by itself; see fcgi_accept(). */
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

/* One walk over the parameters; of a key that was sent twice neither counts, for
 * who is to say which one the caller meant. */
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
	/* Nginx passes a header that was not sent as an empty parameter. */
	if (keys != 1)
		rq->api_key = keys ? "" : NULL;
}

/* Take the record that ends the body, too. */
static bool
at_end(struct fcgi *f)
{
	return FCGX_GetChar(f->request.in) == EOF &&
	    FCGX_GetError(f->request.in) == 0;
}

/* The next connection, or -1 and errno. */
static int
take_connection(void)
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
failed_accept(int why, struct aic_err *err)
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
 * libfcgi would accept and then read the request without any limit of time: a byte
 * and then nothing holds a thread for good, and a few of them the gate. So the
 * connection is taken here, and libfcgi finds it as one that was kept from an
 * earlier request; when it does not like it and wants another, it has no socket to
 * take one from.
 */
enum fcgi_got
fcgi_accept(struct fcgi *f, struct fcgi_request *rq, struct aic_err *err)
{
	int fd, why;

	accept_gate_pass();
	fd = take_connection();
	why = errno;
	accept_gate_done();
	if (fd < 0)
		return failed_accept(why, err);
	f->request.ipcFd = fd;
	f->request.keepConnection = 1;
	/* Parameters that end too early are as good as any, to libfcgi. */
	if (FCGX_Accept_r(&f->request) < 0 ||
	    FCGX_GetError(f->request.in) != 0) {
		FCGX_Free(&f->request, 1);
		aic_fail(err, AIC_EBUSY,
		    "a connection brought no request: not from Nginx?");
		return FCGI_NOISE;
	}
	/* Whatever the peer asks for: a kept connection would hold a thread. */
	f->request.keepConnection = 0;
	*rq = (struct fcgi_request){ .method = "", .path = "", .query = "" };
	read_params(f->request.envp, rq);
	f->all_read = rq->content_length == 0 && at_end(f);
	return FCGI_REQUEST;
}

enum aic_code
fcgi_body(struct fcgi *f, const struct fcgi_request *rq, struct aic_buf *to,
    struct aic_err *err)
{
	int n;

	if (rq->content_length > AIC_LIMITS_BODY)
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
	f->all_read = at_end(f);
	/* Its buffer of 8 KB is of no use while the model thinks. */
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
	/* The last stream to be closed sends the end of the request along with
	 * the rest, in one write. Only the stream's error tells the truth. */
	FCGX_FClose(f->request.err);
	FCGX_FClose(out);
	return FCGX_GetError(out) == 0;
}

void
fcgi_finish(struct fcgi *f)
{
	int fd = f->request.ipcFd;

	/*
	 * FCGX_Finish_r() waits for Nginx to close first, for fear that what is
	 * unread makes the close a reset that overtakes the answer. Where all
	 * was read, there is nothing to wait for.
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
	/* Wakes all threads in accept(); closing would wake none. */
	shutdown(LISTEN_FD, SHUT_RDWR);
	accept_gate_open();
}
