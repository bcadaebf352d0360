/*
 * server -- a scripted HTTP server with one thread, on a free port of
 * 127.0.0.1.
 *
 * It counts requests and connections, so that a test can tell one call from
 * two.
 *
 * Threads: all functions except the constructor may be called while it serves.
 */
#ifndef AIC_UNIT_SERVER_H
#define AIC_UNIT_SERVER_H

#include <stdbool.h>
#include <stddef.h>

enum server_then {
	KEEP, /* the connection stays open */
	CLOSE, /* the connection is closed with a FIN */
	RESET, /* the connection is closed with a RST */
};

/* How to answer one request; the last step repeats. */
struct server_step {
	char *answer; /* complete, with its head; NULL: none */
	size_t len;
	int delay_ms; /* before the answer */
	enum server_then then;
	bool unread; /* close without reading the request */
};

#define SERVER_STEPS 8

struct server;

/*
 * server_new -- takes the answers of the steps, which server_reply() has made.
 */
struct server *server_new(const struct server_step *steps, int n);

/* server_free -- ends the thread. Accepts NULL. */
void server_free(struct server *s);

/* server_url -- "http://127.0.0.1:PORT"; valid as long as the server. */
const char *server_url(const struct server *s);

int server_requests(struct server *s);
int server_connections(struct server *s);

/*
 * server_head, server_body -- the n-th request, from 0; "" if there was none.
 * They are valid as long as the server.
 */
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

/* server_raw -- an answer of exactly these bytes. */
struct server_step server_raw(const char *bytes, enum server_then then);

#endif
