/*
 * server -- an HTTP server of one thread that does what it is told, on a port of
 * its own of 127.0.0.1.
 *
 * It counts requests and connections, so that a test can tell one call from two.
 *
 * Threads: all functions but the constructor may be called while it serves.
 */
#ifndef AIC_UNIT_SERVER_H
#define AIC_UNIT_SERVER_H

#include <stdbool.h>
#include <stddef.h>

enum server_then {
	KEEP, /* the connection stays open */
	CLOSE, /* it is closed in good order */
	RESET, /* it is torn down */
};

/* What to do about one request; the last step is done over and over. */
struct server_step {
	char *answer; /* all bytes of it; NULL: none */
	size_t len;
	int delay_ms; /* before it */
	enum server_then then;
	bool unread; /* end the connection before its request is read */
};

#define SERVER_STEPS 8

struct server;

/* server_new -- takes the answers of the steps, made by server_reply(). */
struct server *server_new(const struct server_step *steps, int n);

/* server_free -- ends the thread. NULL is fine. */
void server_free(struct server *s);

/* server_url -- "http://127.0.0.1:PORT"; lives as long as the server. */
const char *server_url(const struct server *s);

int server_requests(struct server *s);
int server_connections(struct server *s);

/* server_head, server_body -- of the n-th request, from 0; "" when there was
 * none. They live as long as the server. */
const char *server_head(struct server *s, int n);
const char *server_body(struct server *s, int n);
size_t server_body_len(struct server *s, int n);

/*
 * server_reply -- an answer with its Content-Length.
 *
 * headers   lines, each with its "\r\n"
 *
 * Memory:   gives; server_new() takes it
 */
struct server_step
server_reply(int status, const char *headers, const char *body, size_t len);

/* server_raw -- an answer as it stands. */
struct server_step server_raw(const char *bytes, enum server_then then);

#endif
