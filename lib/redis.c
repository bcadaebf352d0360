#include "config.h"

#include "lib/redis.h"

#include <errno.h>
#include <hiredis.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/redis_connect.h"

/* The most bytes that one read() takes. */
#define PIECE (16 * 1024)

/* The most bytes of one request: 8 values of 1 MiB and their commands. */
#define OUT_MAX (9 * 1024 * 1024)

/* A buffer for requests that has grown beyond this is freed after the call. */
#define KEEP_BYTES (16 * 1024)

struct aic_redis {
	int fd;
	redisReader *reader;
	struct aic_buf out;
	/* the call in progress */
	const struct aic_redis_ask *ask;
	int answered;
	int items; /* read so far, of the current reply */
	bool is_array;
	bool wrong; /* the reply does not match the request */
};

/* --- replies ----------------------------------------------------------- */

/*
 * hiredis calls these functions for each element that it reads. They build no
 * tree of objects but pass each element on at once. An unexpected element ends
 * the reading before memory is allocated for it.
 */

/* The signature of createArray() changed in hiredis 1.0. */
#if HIREDIS_MAJOR >= 1
typedef size_t reply_count;
#else
typedef int reply_count;
#endif

static void *
refuse_reply(struct aic_redis *r)
{
	r->wrong = true;
	return NULL;
}

static void *
hand_over(const redisReadTask *task, enum aic_redis_type type, const char *data,
    size_t len)
{
	struct aic_redis *r = task->privdata;
	struct aic_redis_reply reply = { .command = r->answered,
		.item = task->parent ? task->idx : -1,
		.type = type,
		.data = data,
		.len = len };

	/*
	 * Where an array is expected, the only other valid reply is an error.
	 */
	if (!task->parent && r->ask->items > 0 && type != AIC_REDIS_ERROR)
		return refuse_reply(r);
	r->items += task->parent != NULL;
	r->ask->on_reply(r->ask->arg, &reply);
	return r;
}

static void *
on_string(const redisReadTask *task, char *data, size_t len)
{
	enum aic_redis_type type = task->type == REDIS_REPLY_ERROR
	    ? AIC_REDIS_ERROR
	    : task->type == REDIS_REPLY_STATUS ? AIC_REDIS_STATUS
					       : AIC_REDIS_STRING;

	return hand_over(task, type, data, len);
}

static void *
on_integer(const redisReadTask *task, long long n)
{
	(void)n;
	return hand_over(task, AIC_REDIS_INTEGER, "", 0);
}

static void *
on_nil(const redisReadTask *task)
{
	return hand_over(task, AIC_REDIS_NIL, "", 0);
}

static void *
on_array(const redisReadTask *task, reply_count n)
{
	struct aic_redis *r = task->privdata;

	if (task->parent || n <= 0 || (int)n != r->ask->items)
		return refuse_reply(r);
	r->is_array = true;
	return r;
}

static void
on_free(void *reply)
{
	(void)reply;
}

static redisReplyObjectFunctions on_found = {
	.createString = on_string,
	.createArray = on_array,
	.createInteger = on_integer,
	.createNil = on_nil,
	.freeObject = on_free,
};

static void
begin_replies(struct aic_redis *r, const struct aic_redis_ask *ask)
{
	r->ask = ask;
	r->answered = 0;
	r->wrong = false;
	r->items = 0;
	r->is_array = false;
}

/*
 * Reads as many replies as the received bytes contain. AIC_REDIS_TIMEOUT: more
 * bytes are needed.
 */
static enum aic_redis_end
read_replies(struct aic_redis *r)
{
	redisReader *reader = r->reader;
	void *found;

	while (r->answered < r->ask->replies) {
		found = NULL;
		if (redisReaderGetReply(reader, &found) != REDIS_OK)
			return reader->err == REDIS_ERR_OOM && !r->wrong
			    ? AIC_REDIS_NO_MEMORY
			    : AIC_REDIS_BROKEN;
		if (!found)
			return AIC_REDIS_TIMEOUT;
		/* A type that only a later version of the protocol has. */
		if (found != r || (r->is_array && r->items != r->ask->items))
			return AIC_REDIS_BROKEN;
		r->answered++;
		r->items = 0;
		r->is_array = false;
	}
	return reader->pos == reader->len ? AIC_REDIS_ANSWERED
					  : AIC_REDIS_BROKEN;
}

static bool
new_reader(struct aic_redis *r)
{
	r->reader = redisReaderCreateWithFunctions(&on_found);
	if (r->reader)
		r->reader->privdata = r;
	return r->reader != NULL;
}

enum aic_redis_end
aic_redis_read(const struct aic_redis_ask *ask, const void *bytes, size_t len)
{
	struct aic_redis r = { .fd = -1 };
	enum aic_redis_end end = AIC_REDIS_NO_MEMORY;

	if (!new_reader(&r))
		return end;
	begin_replies(&r, ask);
	if (len > ask->bytes_max)
		end = AIC_REDIS_BROKEN;
	else if (len == 0)
		end = AIC_REDIS_TIMEOUT;
	else if (redisReaderFeed(r.reader, bytes, len) == REDIS_OK)
		end = read_replies(&r);
	redisReaderFree(r.reader);
	return end;
}

/* --- requests ------------------------------------------------------------ */

void
aic_redis_command(struct aic_redis *r, int words)
{
	aic_buf_printf(&r->out, "*%d\r\n", words);
}

void
aic_redis_word_of(struct aic_redis *r, const void *head, size_t head_len,
    const void *p, size_t len)
{
	aic_buf_printf(&r->out, "$%zu\r\n", head_len + len);
	aic_buf_put(&r->out, head, head_len);
	aic_buf_put(&r->out, p, len);
	aic_buf_puts(&r->out, "\r\n");
}

void
aic_redis_word(struct aic_redis *r, const void *p, size_t len)
{
	aic_redis_word_of(r, "", 0, p, len);
}

void
aic_redis_text(struct aic_redis *r, const char *text)
{
	aic_redis_word(r, text, strlen(text));
}

static enum aic_redis_end
send_all(struct aic_redis *r, int64_t deadline_us)
{
	const char *p = r->out.data;
	size_t left = r->out.len;
	ssize_t n;

	while (left > 0) {
		n = send(r->fd, p, left, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n >= 0) {
			p += n;
			left -= (size_t)n;
		} else if (errno != EAGAIN && errno != EINTR) {
			return AIC_REDIS_BROKEN;
		} else if (!aic_clock_poll(r->fd, POLLOUT, deadline_us)) {
			return AIC_REDIS_TIMEOUT;
		}
		if (left > 0 && aic_clock_us() > deadline_us)
			return AIC_REDIS_TIMEOUT;
	}
	return AIC_REDIS_ANSWERED;
}

static enum aic_redis_end
receive_all(struct aic_redis *r)
{
	const struct aic_redis_ask *ask = r->ask;
	enum aic_redis_end end;
	size_t got = 0;
	char piece[PIECE];
	ssize_t n;

	for (;;) {
		if (!aic_clock_poll(r->fd, POLLIN, ask->deadline_us))
			return AIC_REDIS_TIMEOUT;
		n = recv(r->fd, piece, sizeof(piece), MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n <= 0)
			return AIC_REDIS_BROKEN;
		got += (size_t)n;
		if (got > ask->bytes_max)
			return AIC_REDIS_BROKEN;
		if (redisReaderFeed(r->reader, piece, (size_t)n) != REDIS_OK)
			return AIC_REDIS_NO_MEMORY;
		end = read_replies(r);
		/*
		 * Bytes that arrived before the deadline count even if the
		 * thread reads them later.
		 */
		if (end != AIC_REDIS_TIMEOUT ||
		    aic_clock_us() > ask->deadline_us)
			return end;
	}
}

enum aic_redis_end
aic_redis_ask(struct aic_redis *r, const struct aic_redis_ask *ask)
{
	enum aic_redis_end end = AIC_REDIS_NO_MEMORY;

	begin_replies(r, ask);
	if (!r->out.failed)
		end = send_all(r, ask->deadline_us);
	if (end == AIC_REDIS_ANSWERED)
		end = receive_all(r);
	if (r->out.cap > KEEP_BYTES)
		aic_buf_done(&r->out);
	else
		aic_buf_clear(&r->out);
	r->ask = NULL;
	return end;
}

bool
aic_redis_is_fresh(struct aic_redis *r)
{
	char c;

	return recv(r->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
	    (errno == EAGAIN || errno == EINTR);
}

/* --- the first commands -------------------------------------------------- */

static void
on_hello(void *arg, const struct aic_redis_reply *reply)
{
	char *why = arg;
	size_t len = reply->len < 80 ? reply->len : 80;

	/* The first error is the cause of those that follow. */
	if (reply->type == AIC_REDIS_ERROR && !*why)
		snprintf(why, AIC_REDIS_WHY, "Redis returned an error: %.*s",
		    (int)len, reply->data);
	else if (reply->type != AIC_REDIS_STATUS && !*why)
		snprintf(why, AIC_REDIS_WHY, "the server is not Redis");
}

static enum aic_redis_end
say_hello(struct aic_redis *r, const struct aic_redis_url *url,
    int64_t hello_us, char *why)
{
	struct aic_redis_ask ask = { .replies = 1,
		.bytes_max = PIECE,
		.on_reply = on_hello,
		.arg = why };
	enum aic_redis_end end;
	char db[12];

	if (url->password) {
		ask.replies++;
		aic_redis_command(r, url->user ? 3 : 2);
		aic_redis_text(r, "AUTH");
		if (url->user)
			aic_redis_text(r, url->user);
		aic_redis_text(r, url->password);
	}
	if (url->db > 0) {
		ask.replies++;
		snprintf(db, sizeof(db), "%d", url->db);
		aic_redis_command(r, 2);
		aic_redis_text(r, "SELECT");
		aic_redis_text(r, db);
	}
	aic_redis_command(r, 1);
	aic_redis_text(r, "PING");
	ask.deadline_us = aic_clock_us() + hello_us;
	end = aic_redis_ask(r, &ask);
	/* The buffer contained the password. */
	if (r->out.data)
		explicit_bzero(r->out.data, r->out.cap);
	if (end == AIC_REDIS_ANSWERED && *why)
		return AIC_REDIS_UNREACHED;
	if (end == AIC_REDIS_TIMEOUT)
		snprintf(why, AIC_REDIS_WHY, "Redis did not answer in %d ms",
		    (int)(hello_us / AIC_MS));
	else if (end != AIC_REDIS_ANSWERED)
		snprintf(why, AIC_REDIS_WHY,
		    "the connection to Redis broke during the first reply");
	return end;
}

enum aic_redis_end
aic_redis_open(struct aic_redis **ret_redis, const struct aic_redis_url *url,
    int64_t connect_us, int64_t hello_us, char *why)
{
	struct aic_redis *r = calloc(1, sizeof(*r));
	enum aic_redis_end end;

	*why = '\0';
	if (!r || !new_reader(r)) {
		free(r);
		snprintf(why, AIC_REDIS_WHY, "out of memory");
		return AIC_REDIS_NO_MEMORY;
	}
	aic_buf_init(&r->out, OUT_MAX);
	r->fd = aic_redis_connect(url, connect_us, why, AIC_REDIS_WHY);
	end = r->fd < 0 ? AIC_REDIS_UNREACHED
			: say_hello(r, url, hello_us, why);
	if (end != AIC_REDIS_ANSWERED) {
		aic_redis_close(r);
		return end;
	}
	*ret_redis = r;
	return end;
}

void
aic_redis_close(struct aic_redis *r)
{
	if (!r)
		return;
	if (r->fd >= 0)
		close(r->fd);
	redisReaderFree(r->reader);
	aic_buf_done(&r->out);
	free(r);
}
