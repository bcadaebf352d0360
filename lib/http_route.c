#include "config.h"

#include "lib/http_route.h"

/* Connections opened at once to a server of which nothing is known. With HTTP/2 and
 * HTTP/1.1 alike the calls that wait use them; and where one handshake hangs, others
 * get through. */
#define PROBES 8

/* HTTP/2: a connection is opened when the others would have more streams than this.
 * Answers that come together are read together, which is cheaper; but an event on a
 * connection makes libcurl look at each of its streams. With 32 callers 16 cost the
 * least CPU of 1, 4, 8 and 16. */
#define STREAMS_GOAL 16

/* HTTP/2: servers announce 100 or more streams a connection; RFC 9113 recommends no
 * fewer. Of a server that announces fewer libcurl knows, and opens a connection for
 * a call that it finds no stream for. */
#define STREAMS_MAX 100

/* HTTP/2: connections that are being opened at a time, while others carry calls. A
 * handshake takes a millisecond or two of CPU, which the calls under way wait for. */
#define OPENING_2 4

/* HTTP/1.1: likewise. Across the world a handshake takes 300 ms, so that these are
 * 300 connections a second; here they keep two cores busy for 0.2 s. */
#define OPENING_1 100

void
aic_http_route_init(struct aic_http_route *r, bool plain, int connections_max)
{
	*r = (struct aic_http_route){ .plain = plain,
		.protocol = plain ? AIC_HTTP_1 : AIC_HTTP_UNKNOWN,
		.connections_max = connections_max };
}

static int
usable(const struct aic_http_route *r)
{
	int n = r->sockets - r->connecting - r->stale;

	return n > 0 ? n : 0;
}

bool
aic_http_route_connected(const struct aic_http_route *r)
{
	return usable(r) > 0;
}

/* While it is not known whether there will be one. */
static enum aic_http_admission
probe(const struct aic_http_route *r)
{
	int most = r->connections_max < PROBES ? r->connections_max : PROBES;

	return r->opening < most ? AIC_HTTP_OPEN : AIC_HTTP_WAIT;
}

static enum aic_http_admission
admit_1(const struct aic_http_route *r)
{
	if (usable(r) > r->calls - r->opening)
		return AIC_HTTP_REUSE;
	return r->opening < OPENING_1 ? AIC_HTTP_OPEN : AIC_HTTP_WAIT;
}

static enum aic_http_admission
admit_2(const struct aic_http_route *r)
{
	int streams = r->calls - r->opening, n = usable(r);

	if (n == 0)
		return probe(r);
	if (n + r->opening < r->connections_max && r->opening < OPENING_2 &&
	    r->calls >= (n + r->opening) * STREAMS_GOAL)
		return AIC_HTTP_OPEN;
	return streams < n * STREAMS_MAX ? AIC_HTTP_REUSE : AIC_HTTP_WAIT;
}

enum aic_http_admission
aic_http_route_admit(const struct aic_http_route *r)
{
	switch (r->protocol) {
	case AIC_HTTP_1:
		return admit_1(r);
	case AIC_HTTP_2:
		return admit_2(r);
	case AIC_HTTP_UNKNOWN:
		break;
	}
	return probe(r);
}

int
aic_http_route_streams(const struct aic_http_route *r)
{
	int n = usable(r), each;

	if (r->protocol != AIC_HTTP_2 || n == 0)
		return STREAMS_MAX;
	each = (r->calls - r->opening + n - 1) / n;
	return each < 1 ? 1 : each;
}
