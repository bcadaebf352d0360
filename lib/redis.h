/*
 * redis -- one connection to Redis: commands with a deadline, and replies that
 * are checked completely.
 *
 * hiredis parses the protocol. The sockets are this module's own, because
 * hiredis has no deadline for a whole call, raises SIGPIPE if the server has
 * closed the connection, and would allocate whatever size a server announces.
 *
 * Threads: a struct aic_redis belongs to one thread at a time.
 */
#ifndef AIC_REDIS_H
#define AIC_REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"
#include "lib/redis_url.h"

/* The outcome of a call. */
enum aic_redis_end {
	AIC_REDIS_ANSWERED, /* including replies that are errors */
	/* there is no server, or it refuses the connection */
	AIC_REDIS_UNREACHED,
	AIC_REDIS_TIMEOUT,
	AIC_REDIS_BROKEN, /* connection closed, protocol error, too large */
	AIC_REDIS_NO_MEMORY,
};

/* The size of a reason, for the log. */
#define AIC_REDIS_WHY 160

struct aic_redis;

/*
 * aic_redis_open -- connect, authenticate, and wait for the reply to a PING.
 *
 * connect_us  timeout for each address of the host
 * hello_us    timeout for the replies after that
 * why         AIC_REDIS_WHY bytes; set on failure
 *
 * Blocks:   for these timeouts, and on the resolver without a limit
 * Memory:   gives; aic_redis_close()
 */
enum aic_redis_end
aic_redis_open(struct aic_redis **ret_redis, const struct aic_redis_url *url,
    int64_t connect_us, int64_t hello_us, char *why) AIC_MUST_CHECK;

/* aic_redis_close -- NULL is fine. */
void aic_redis_close(struct aic_redis *r);

/*
 * aic_redis_is_fresh -- true if an idle connection is still open and has no
 * bytes to read. One system call.
 */
bool aic_redis_is_fresh(struct aic_redis *r);

/*
 * aic_redis_command -- append the head of a command that has a number of words.
 * The words follow, each by one of the next three functions: bytes, bytes in
 * two pieces, or a text. aic_redis_ask() sends them.
 */
void aic_redis_command(struct aic_redis *r, int words);
void aic_redis_word(struct aic_redis *r, const void *p, size_t len);
void aic_redis_word_of(struct aic_redis *r, const void *head, size_t head_len,
    const void *p, size_t len);
void aic_redis_text(struct aic_redis *r, const char *text);

enum aic_redis_type {
	AIC_REDIS_NIL,
	AIC_REDIS_STRING,
	AIC_REDIS_STATUS,
	AIC_REDIS_ERROR,
	AIC_REDIS_INTEGER,
};

/* A reply, or an item of a reply that is an array. */
struct aic_redis_reply {
	int command; /* from 0, in the order of the commands */
	int item; /* from 0; -1: the reply itself */
	enum aic_redis_type type;
	const char *data; /* no NUL at its end; valid during the callback */
	size_t len;
};

struct aic_redis_ask {
	int replies; /* expected for the appended commands */
	int items; /* each reply is an array of this length; 0: no array */
	size_t bytes_max; /* of all replies, in the protocol's encoding */
	int64_t deadline_us;
	void (*on_reply)(void *arg, const struct aic_redis_reply *reply);
	void *arg;
};

/*
 * aic_redis_ask -- send the appended commands, and call ask->on_reply for each
 * reply.
 *
 * A reply can be an error in place of an array. After any outcome other than
 * AIC_REDIS_ANSWERED, aic_redis_close() is the only valid call.
 *
 * Blocks:   until the deadline at most, even if bytes arrive one by one
 * Memory:   keeps up to 16 KiB each for requests and replies until the next
 *           call
 */
enum aic_redis_end aic_redis_ask(struct aic_redis *r,
    const struct aic_redis_ask *ask) AIC_MUST_CHECK;

/*
 * aic_redis_read -- read replies from bytes in memory, for the fuzzer.
 *
 * AIC_REDIS_TIMEOUT: bytes are missing at the end.
 */
enum aic_redis_end aic_redis_read(const struct aic_redis_ask *ask,
    const void *bytes, size_t len) AIC_MUST_CHECK;

#endif
