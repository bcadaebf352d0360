#include "config.h"

#include "lib/http_driver.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/http_engine.h"

/* The longest sleep of the engine's thread while it drives. */
#define SLEEP_MAX_US (60 * AIC_S)

/*
 * With more calls in flight than this, the thread of the engine drives. It
 * hardly ever sleeps under such a load, so callers rarely wait for it to wake
 * up. This also saves memory: a caller that drives runs the code of TLS, which
 * enlarges its stack by 25 KB, and there can be thousands of callers.
 */
#define CROWD 48

/*
 * A caller that begins to drive polls the sockets first if the last poll is
 * older than this, to find the idle connections that have ended.
 */
#define POLL_AGE_US (5 * AIC_MS)

/*
 * Which thread drives libcurl
 *
 * Invariant: at most one thread drives, that is, calls libcurl's multi
 * functions. `driven' says whether one does.
 *
 * A caller that waits drives by itself if no other thread does. With one caller
 * at a time, an exchange then costs no switch between threads, each of which
 * takes longer than the exchange itself. When its own call is over,
 * hand_on_driving() makes another waiting caller the driver. The thread of the
 * engine drives in two cases: calls are in flight that no caller waits for
 * (started ahead, or cancelled), and more than CROWD calls are in flight.
 *
 * Example: A waits and drives. B starts a call, wakes A through the eventfd,
 * and sleeps as a follower. A sends the request of B along with its own. The
 * response for A arrives first: A sets `promoted' of B, posts its semaphore and
 * returns. B wakes up, drives until its response arrives, and finds no
 * follower. No work is left, so no thread drives.
 *
 * A promoted caller that is done at the same moment must pass the role on,
 * because no other thread would drive; see aic_http_driver_wait().
 */

/* Wake the driving thread if it sleeps. */
static void
wake_driver(struct aic_http *h)
{
	static const uint64_t one = 1;
	ssize_t n;

	if (!atomic_exchange(&h->asleep, false))
		return;
	do {
		n = write(h->wakeup, &one, sizeof(one));
	} while (n < 0 && errno == EINTR);
}

void
aic_http_driver_notify(struct aic_http *h)
{
	bool driven;

	pthread_mutex_lock(&h->lock);
	driven = h->driven;
	if (!driven)
		pthread_cond_signal(&h->idle);
	pthread_mutex_unlock(&h->lock);
	if (driven)
		wake_driver(h);
}

static bool
is_crowd(const struct aic_http *h)
{
	return atomic_load_explicit(&h->n_begun, memory_order_relaxed) > CROWD;
}

/* The lock is held. */
static void
add_follower(struct aic_http *h, struct aic_http_call *call)
{
	call->follows = true;
	call->prev_follower = NULL;
	call->next_follower = h->followers;
	if (h->followers)
		h->followers->prev_follower = call;
	h->followers = call;
}

/* The lock is held. */
static void
remove_follower(struct aic_http *h, struct aic_http_call *call)
{
	if (!call->follows)
		return;
	if (call->prev_follower)
		call->prev_follower->next_follower = call->next_follower;
	else
		h->followers = call->next_follower;
	if (call->next_follower)
		call->next_follower->prev_follower = call->prev_follower;
	call->follows = false;
}

/*
 * The driving thread stops driving and passes the role on if there is work. The
 * newest follower is chosen, because it will probably wait longest. A follower
 * whose call is over is about to return. The lock is held.
 */
static void
hand_on_driving(struct aic_http *h)
{
	struct aic_http_call *next = h->followers;

	while (next && atomic_load(&next->over))
		next = next->next_follower;
	if (next && !is_crowd(h)) {
		remove_follower(h, next);
		next->promoted = true;
		sem_post(&next->wake);
		return;
	}
	h->driven = false;
	if (aic_http_engine_has_work(h))
		pthread_cond_signal(&h->idle);
}

/* Drive all calls until this one is over or until_us has passed. */
static void
drive_engine(struct aic_http *h, const struct aic_http_call *call,
    int64_t until_us)
{
	if (aic_clock_us() - h->polled_us > POLL_AGE_US)
		aic_http_engine_wait(h, 0);
	for (;;) {
		aic_http_engine_step(h);
		if (atomic_load(&call->over) || aic_clock_us() >= until_us)
			return;
		aic_http_engine_wait(h, until_us);
	}
}

/*
 * Drive with the thread of the engine, until a caller waits and can drive, or
 * no work is left.
 */
static void
drive_alone(struct aic_http *h)
{
	bool more;

	aic_http_engine_wait(h, 0);
	do {
		aic_http_engine_step(h);
		pthread_mutex_lock(&h->lock);
		more = (!h->followers || is_crowd(h)) &&
		    aic_http_engine_has_work(h);
		pthread_mutex_unlock(&h->lock);
		if (more)
			aic_http_engine_wait(h, aic_clock_us() + SLEEP_MAX_US);
	} while (more && !atomic_load(&h->stop));
}

void *
aic_http_driver_run(void *arg)
{
	struct aic_http *h = arg;

	pthread_mutex_lock(&h->lock);
	while (!atomic_load(&h->stop)) {
		if (h->driven || !aic_http_engine_has_work(h)) {
			pthread_cond_wait(&h->idle, &h->lock);
			continue;
		}
		h->driven = h->alone = true;
		pthread_mutex_unlock(&h->lock);
		drive_alone(h);
		pthread_mutex_lock(&h->lock);
		h->alone = false;
		hand_on_driving(h);
	}
	pthread_mutex_unlock(&h->lock);
	/* No caller waits for a call any more. */
	aic_http_engine_cancel_all(h);
	return NULL;
}

/*
 * Sleep until the call is over, its caller is to drive, or until_us has passed.
 * The lock is held on entry and on return, and released meanwhile.
 */
static void
follow_driver(struct aic_http *h, struct aic_http_call *call, int64_t until_us)
{
	struct timespec until = aic_clock_spec(until_us);
	bool late = false, alone = h->alone;

	add_follower(h, call);
	pthread_mutex_unlock(&h->lock);
	/*
	 * Wake the driver, because it has a new call to take, or because the
	 * thread of the engine should let this caller drive.
	 */
	if ((alone && !is_crowd(h)) || atomic_load(&h->submitted))
		wake_driver(h);
	while (!late &&
	    sem_clockwait(&call->wake, CLOCK_MONOTONIC, &until) != 0)
		late = errno == ETIMEDOUT;
	pthread_mutex_lock(&h->lock);
	remove_follower(h, call);
}

bool
aic_http_driver_wait(struct aic_http_call *call, int64_t until_us)
{
	struct aic_http *h = call->http;

	if (atomic_load(&call->over))
		return true;
	pthread_mutex_lock(&h->lock);
	while (!atomic_load(&call->over) && aic_clock_us() < until_us) {
		if (!h->driven && is_crowd(h))
			pthread_cond_signal(&h->idle);
		if ((h->driven || is_crowd(h)) && !call->promoted) {
			follow_driver(h, call, until_us);
			continue;
		}
		h->driven = true;
		call->promoted = false;
		pthread_mutex_unlock(&h->lock);
		drive_engine(h, call, until_us);
		pthread_mutex_lock(&h->lock);
		hand_on_driving(h);
	}
	if (call->promoted) {
		call->promoted = false;
		hand_on_driving(h);
	}
	pthread_mutex_unlock(&h->lock);
	return atomic_load(&call->over);
}
