/*
 * http_state -- the state of the HTTP engine: the types that its parts share.
 * Nothing outside the engine includes this header.
 *
 * The parts, each of which uses only those above it:
 *
 *   http_memory   the allocator of libcurl
 *   http_handle   libcurl handles that are kept, and what handles share
 *   http_sock     the sockets of the connections, and epoll
 *   http_flight   a call from its start to its end
 *   http_engine   the multi handle, submitted calls, admission, events
 *   http_driver   which thread drives the engine
 *   http          the functions for callers
 *
 * Threads: at most one thread drives the engine at a time. Members marked
 * "driver" are used by that thread alone. Members marked "lock" are guarded by
 * the lock of struct aic_http. The others do not change or are atomic.
 */
#ifndef AIC_HTTP_STATE_H
#define AIC_HTTP_STATE_H

#include <curl/curl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/http_call.h"
#include "lib/http_route.h"
#include "lib/http_transfer.h"
#include "lib/http_trust.h"

struct aic_http;

/*
 * libcurl handles that are kept for later calls. One takes some 6 KB, and 10 us
 * to make. Further handles are freed after their call.
 */
#define AIC_HTTP_HANDLES_KEPT 64

enum aic_http_call_state {
	AIC_HTTP_CALL_SUBMITTED, /* in the list of submitted calls */
	AIC_HTTP_CALL_WAITING, /* in the queue of its upstream */
	AIC_HTTP_CALL_BEGUN, /* libcurl has it */
	AIC_HTTP_CALL_ENDED,
};

/*
 * A call has two owners, its caller and the engine, and a third while it is in
 * the list of cancelled calls. It is freed when all have released it. Once
 * `over' is set, the response belongs to the caller.
 */
struct aic_http_call {
	struct aic_http *http;
	/*
	 * belongs to the driver from the submission of the call until it is
	 * over
	 */
	struct aic_http_transfer transfer;
	struct aic_http_trust *trust;
	char *upstream_key; /* NULL once the upstream has taken it */
	bool plain; /* no TLS */
	int64_t start_us, deadline_us, connect_us;

	atomic_int owners;
	atomic_bool over;
	atomic_bool cancelled;
	/* GONE or TIMEOUT; set before `cancelled' */
	enum aic_http_end cancelled_as;
	sem_t wake; /* the call is over, or its caller is to drive */
	struct aic_http_call *next_submitted, *next_cancelled;

	/* Lock. */
	bool follows; /* in http->followers */
	bool promoted; /* its caller is to drive the engine */
	struct aic_http_call *prev_follower, *next_follower;

	/* Driver. */
	struct aic_http_upstream *upstream;
	enum aic_http_call_state state;
	bool opening; /* counted in upstream->route.opening */
	bool resent; /* libcurl was about to send the request again */
	bool unsent; /* begun, but the request has not been sent */
	int64_t give_up_us; /* when to end the call if it is still unsent */
	int connecting; /* sockets that are connecting for it */
	int fd; /* the latest of these sockets */
	const void *connection; /* see struct aic_http_sock */
	struct aic_http_call *prev, *next; /* in the list of its state */
	struct aic_http_call *next_sending; /* in http->sending */
};

struct aic_http_list {
	struct aic_http_call *head, *tail;
};

/*
 * A server, identified by its address, the proxy and the trust store. There are
 * only a few, because the settings name them. Used by the driver alone.
 */
struct aic_http_upstream {
	struct aic_http_upstream *next;
	char *key;
	struct aic_http_route route;
	struct aic_http_list waiting;
	int64_t used_us; /* when a call last ended */
	/* when libcurl last was about to send a request again; 0: never */
	int64_t resent_us;
};

/* The state of a descriptor. Used by the driver alone. */
struct aic_http_sock {
	/* NULL: not a connection to an upstream */
	struct aic_http_upstream *upstream;
	uint32_t events; /* the events that epoll waits for; 0: none */
	bool watched; /* registered with epoll */
	bool idle; /* no transfer uses it */
	bool connected; /* connected; libcurl then reports its close */
	bool stale; /* counted in upstream->route.stale */
	/*
	 * The HTTP/2 connection, identified by its TLS session; NULL: none, or
	 * not known. The calls of its streams have the same pointer.
	 */
	const void *connection;
};

struct aic_http {
	int calls_max; /* calls submitted and not ended */
	int connections_max; /* HTTP/2 connections to one upstream */
	int connections_kept; /* connections that libcurl keeps, idle or not */
	struct aic_http_trust *trust; /* the roots of the system */
	CURLSH *share;
	pthread_mutex_t share_locks[CURL_LOCK_DATA_LAST];
	pthread_t thread;
	int epoll, wakeup; /* wakeup: an eventfd */
	atomic_int calls;
	atomic_bool asleep; /* the driver is in epoll_wait(), or about to be */
	atomic_bool stop;
	atomic_bool shed; /* close the idle connections */
	/* Two lists without a lock, newest first. */
	struct aic_http_call *_Atomic submitted;
	struct aic_http_call *_Atomic cancelled;

	pthread_mutex_t lock;

	/* Lock. */
	CURL *handles[AIC_HTTP_HANDLES_KEPT];
	int n_handles;
	bool driven; /* a thread drives */
	bool alone; /* the driver is the thread of the engine */
	struct aic_http_call *followers; /* callers that wait, newest first */
	pthread_cond_t idle; /* signals work for the engine's thread */

	/* Driver. */
	CURLM *multi;
	int64_t timer_us; /* timeout of libcurl; INT64_MAX: none */
	int64_t sweep_us; /* next sweep of waiting and unsent calls */
	int64_t polled_us; /* time of the last epoll_wait() */
	bool broken; /* the multi handle has to be replaced */
	struct aic_http_upstream *upstreams;
	struct aic_http_list begun;
	atomic_int n_begun; /* any thread may read it */
	struct aic_http_call *sending; /* calls whose requests are being sent */
	int n_unsent;
	const void *suspect; /* an HTTP/2 connection that may have failed */
	struct aic_http_sock *socks; /* by descriptor */
	int n_socks;
};

#endif
