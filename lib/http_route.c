#include "config.h"

#include "lib/http_route.h"

/*
 * Connections opened at once to a server whose protocol is unknown. The waiting
 * calls use them with HTTP/2 and HTTP/1.1 alike, and if one handshake hangs,
 * others succeed.
 */
#define PROBES 8

/*
 * HTTP/2: a connection is opened when the existing ones would have more streams
 * than this. Responses that arrive together are read together, which is
 * cheaper, but an event on a connection makes libcurl examine each of its
 * streams. With 32 callers, 16 cost the least CPU of 1, 4, 8 and 16.
 */
#define STREAMS_GOAL 16

/*
 * HTTP/2: servers announce 100 or more streams per connection; RFC 9113
 * recommends no fewer. If a server announces fewer, libcurl honours that and
 * opens a connection for a call that finds no stream.
 */
#define STREAMS_MAX 100

/*
 * HTTP/2: connections that are opened at a time while others carry calls. A
 * handshake takes a millisecond or two of CPU, during which the calls in flight
 * wait.
 */
#define OPENING_2 4

/*
 * HTTP/1.1: connections that are opened at a time. At 300 ms for an
 * intercontinental handshake, this makes 300 connections a second. On a local
 * network it keeps two cores busy for 0.2 s.
 */
#define OPENING_1 100

void
aic_http_route_init(struct aic_http_route *r, bool plain, int connections_max)
{
	*r = (struct aic_http_route){ .plain = plain,
		.protocol = plain ? AIC_HTTP_1 : AIC_HTTP_UNKNOWN,
		.connections_max = connections_max };
}

static int
count_usable(const struct aic_http_route *r)
{
	int n = r->sockets - r->connecting - r->stale;

	return n > 0 ? n : 0;
}

bool
aic_http_route_connected(const struct aic_http_route *r)
{
	return count_usable(r) > 0;
}

/* The decision while the protocol of the server is unknown. */
static enum aic_http_admission
admit_probe(const struct aic_http_route *r)
{
	int most = r->connections_max < PROBES ? r->connections_max : PROBES;

	return r->opening < most ? AIC_HTTP_OPEN : AIC_HTTP_WAIT;
}

static enum aic_http_admission
admit_1(const struct aic_http_route *r)
{
	if (count_usable(r) > r->calls - r->opening)
		return AIC_HTTP_REUSE;
	return r->opening < OPENING_1 ? AIC_HTTP_OPEN : AIC_HTTP_WAIT;
}

static enum aic_http_admission
admit_2(const struct aic_http_route *r)
{
	int streams = r->calls - r->opening, n = count_usable(r);

	if (n == 0)
		return admit_probe(r);
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
	return admit_probe(r);
}

int
aic_http_route_streams(const struct aic_http_route *r)
{
	int n = count_usable(r), each;

	if (r->protocol != AIC_HTTP_2 || n == 0)
		return STREAMS_MAX;
	each = (r->calls - r->opening + n - 1) / n;
	return each < 1 ? 1 : each;
}
