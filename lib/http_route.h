/*
 * http_route -- admission: when a call may begin, from the connections of a
 * server and from the calls that use them or wait for them.
 *
 * libcurl 7.88 opens one more connection for each call that finds the others
 * full or still connecting, whatever CURLOPT_PIPEWAIT says. A burst of 2,000
 * calls would cause 1,900 handshakes. Calls therefore begin only when there is
 * room for them:
 *
 * - While the protocol of the server is unknown, a few connections are opened
 *   at once, and the other calls wait for the first of them.
 * - With HTTP/2, up to connections_max connections are opened, a few at a time,
 *   as long as each has more than a few streams. Further calls become further
 *   streams.
 * - With HTTP/1.1, each call needs a connection of its own. Only a limited
 *   number are opened at a time, because a handshake costs a millisecond or two
 *   of CPU, and thousands at once would all be late.
 *
 * Threads: only the one that drives the engine.
 */
#ifndef AIC_HTTP_ROUTE_H
#define AIC_HTTP_ROUTE_H

#include <stdbool.h>
#include <stdint.h>

/* The protocol of a server. */
enum aic_http_protocol {
	AIC_HTTP_UNKNOWN, /* no connection has been made yet */
	AIC_HTTP_1,
	AIC_HTTP_2,
};

/* The decision about a waiting call. */
enum aic_http_admission {
	AIC_HTTP_WAIT,
	AIC_HTTP_REUSE, /* begin on an existing connection */
	AIC_HTTP_OPEN, /* begin with a connection of its own */
};

struct aic_http_route {
	bool plain; /* no TLS, hence HTTP/1.1 */
	enum aic_http_protocol protocol;
	int connections_max; /* limit for HTTP/2 */
	/* Connections, counted by their sockets. */
	int sockets; /* all open sockets */
	int connecting; /* of these, not yet usable */
	int stale; /* of these, closed by the server while idle */
	/* Calls. */
	int calls; /* calls that have begun */
	int opening; /* of these, waiting for their own connection */
};

/* aic_http_route_init -- connections_max: 1.. */
void
aic_http_route_init(struct aic_http_route *r, bool plain, int connections_max);

/*
 * aic_http_route_admit -- whether and how one more call may begin. When the
 * caller begins the call, it has to count the call in `calls', and in `opening'
 * if it opens a connection.
 */
enum aic_http_admission aic_http_route_admit(const struct aic_http_route *r);

/*
 * aic_http_route_streams -- the maximum of streams per connection, such that
 * all calls that have begun find room and are spread evenly.
 */
int aic_http_route_streams(const struct aic_http_route *r);

/* aic_http_route_connected -- whether a usable connection exists. */
bool aic_http_route_connected(const struct aic_http_route *r);

#endif
