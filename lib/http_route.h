/*
 * http_route -- when a call may begin: the connections of one server, and the calls
 * that use them or wait for them.
 *
 * libcurl 7.88 opens one more connection for each call that finds the others full
 * or still connecting, whatever CURLOPT_PIPEWAIT says: a burst of 2,000 calls would
 * be 1,900 handshakes. So calls begin only when there is room for them:
 *
 * - While it is not known what the server speaks, a few connections are opened at
 *   once, and all other calls wait for the first of them.
 * - With HTTP/2, connections are opened up to connections_max, a few at a time, as
 *   long as each has more than a few streams. All others become further streams.
 * - With HTTP/1.1, each call needs a connection of its own. Those that have to be
 *   opened are opened so many at a time, because a handshake costs a millisecond or
 *   two of CPU, and thousands at once would all be late.
 *
 * Threads: only the one that drives the engine.
 */
#ifndef AIC_HTTP_ROUTE_H
#define AIC_HTTP_ROUTE_H

#include <stdbool.h>
#include <stdint.h>

/* What a server speaks. */
enum aic_http_protocol {
	AIC_HTTP_UNKNOWN, /* no connection has told yet */
	AIC_HTTP_1,
	AIC_HTTP_2,
};

/* What a call that waits should do. */
enum aic_http_admission {
	AIC_HTTP_WAIT,
	AIC_HTTP_REUSE, /* begin, on a connection that there is */
	AIC_HTTP_OPEN, /* begin, with a connection of its own */
};

struct aic_http_route {
	bool plain; /* no TLS, hence HTTP/1.1 */
	enum aic_http_protocol protocol;
	int connections_max; /* of HTTP/2 */
	/* Connections, by their sockets. */
	int sockets; /* all that are open */
	int connecting; /* of them, not yet usable */
	int stale; /* of them, closed by the server while idle */
	/* Calls. */
	int calls; /* that have begun */
	int opening; /* of them, waiting for a connection of their own */
};

/* aic_http_route_init -- connections_max: 1.. */
void
aic_http_route_init(struct aic_http_route *r, bool plain, int connections_max);

/* aic_http_route_admit -- may one more call begin now, and how? The caller counts it
 * in `calls', and in `opening', when it does begin. */
enum aic_http_admission aic_http_route_admit(const struct aic_http_route *r);

/* aic_http_route_streams -- how many streams a connection should have at the most, so
 * that all calls that have begun find room and are spread evenly. */
int aic_http_route_streams(const struct aic_http_route *r);

/* aic_http_route_connected -- is there a connection that can be used? */
bool aic_http_route_connected(const struct aic_http_route *r);

#endif
