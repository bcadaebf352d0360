/*
 * redis -- one connection to Redis: where it is, commands with a deadline, and what
 * comes back, believed in nothing.
 *
 * hiredis reads the protocol. The sockets are our own: hiredis has no deadline for a
 * call as a whole, gets a SIGPIPE where the server has left, and would make room for
 * whatever a server announces.
 *
 * Threads: a struct aic_redis belongs to one thread at a time.
 */
#ifndef AIC_REDIS_H
#define AIC_REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

/* What REDIS_URL says. */
struct aic_redis_where {
	char *path; /* a unix socket; NULL: host and port */
	char *host; /* a name or an address, without brackets */
	int port;
	int db;
	char *user; /* NULL: the default one */
	char *password; /* NULL: none is needed */
};

/*
 * aic_redis_parse -- redis://[[user]:password@]host[:port][/db], or
 * unix://[[user]:password@]/path[?db=N]; user, password and path may have %XX.
 *
 * Errors:   AIC_ECONF  err->detail says what is wrong, and quotes nothing
 *           AIC_ENOMEM
 * Memory:   gives; aic_redis_where_done()
 */
enum aic_code aic_redis_parse(struct aic_redis_where *ret_where,
    const char *url, struct aic_err *err) AIC_MUST_CHECK;

/* aic_redis_where_done -- wipes the password. Copes with a zeroed struct. */
void aic_redis_where_done(struct aic_redis_where *where);

/* aic_redis_is_built_in -- was there a hiredis to build with? Without it no
 * connection can be opened. */
bool aic_redis_is_built_in(void);

/* How something ended. */
enum aic_redis_end {
	AIC_REDIS_ANSWERED, /* errors that the server tells of are answers too */
	AIC_REDIS_UNREACHED, /* there is no server, or it refuses us */
	AIC_REDIS_TIMEOUT,
	AIC_REDIS_BROKEN, /* closed, out of protocol, too large */
	AIC_REDIS_NO_MEMORY,
};

/* A reason, for the log. */
#define AIC_REDIS_WHY 160

struct aic_redis;

/*
 * aic_redis_open -- connect, say who we are, and have a PING answered.
 *
 * connect_us  for each address of the host
 * hello_us    for the answers after that
 * why         AIC_REDIS_WHY bytes; set when it fails
 *
 * Blocks:   as said, and on the resolver for as long as that takes
 * Memory:   gives; aic_redis_close()
 */
enum aic_redis_end aic_redis_open(struct aic_redis **ret_redis,
    const struct aic_redis_where *where, int64_t connect_us, int64_t hello_us,
    char *why) AIC_MUST_CHECK;

/* aic_redis_close -- NULL is fine. */
void aic_redis_close(struct aic_redis *r);

/* aic_redis_is_fresh -- a connection that nobody uses: is it still there, with
 * nothing to read? One system call. */
bool aic_redis_is_fresh(struct aic_redis *r);

/*
 * aic_redis_command, aic_redis_word -- write down a command of so many words, and each
 * of them, in one or two pieces. They only go out with aic_redis_ask().
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

/* A reply, or an item of one that is an array. */
struct aic_redis_reply {
	int command; /* from 0, in the order in which they were written */
	int item; /* from 0; -1: the reply itself */
	enum aic_redis_type type;
	const char *data; /* without a NUL; gone when the call returns */
	size_t len;
};

struct aic_redis_ask {
	int replies; /* that belong to the commands written */
	int items; /* each reply is an array of so many; 0: of none */
	size_t bytes_max; /* of all replies, as they come over the wire */
	int64_t deadline_us;
	void (*on_reply)(void *arg, const struct aic_redis_reply *reply);
	void *arg;
};

/*
 * aic_redis_ask -- send what was written, and hand over what comes back.
 *
 * A reply that is an error takes the place of an array. After any other end than
 * AIC_REDIS_ANSWERED the connection is good for nothing but aic_redis_close().
 *
 * Blocks:   until the deadline, however the server deals its bytes out
 * Memory:   keeps up to 16 KiB of each, what was sent and what came, for the next call
 */
enum aic_redis_end aic_redis_ask(struct aic_redis *r,
    const struct aic_redis_ask *ask) AIC_MUST_CHECK;

/*
 * aic_redis_read -- the same of bytes that have come already, for the fuzzer.
 *
 * AIC_REDIS_TIMEOUT: they end too early.
 */
enum aic_redis_end aic_redis_read(const struct aic_redis_ask *ask,
    const void *bytes, size_t len) AIC_MUST_CHECK;

#endif
