#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "app/worker/fcgi.h"
#include "app/worker/route.h"
#include "app/worker/sd_notify.h"
#include "app/worker/seller_api.h"
#include "app/worker/worker.h"
#include "lib/clock.h"
#include "lib/conf.h"
#include "lib/http.h"
#include "lib/limits.h"
#include "lib/log.h"

/* What a thread needs is known: no deep recursion, no large arrays; the most is
 * a TLS handshake. It is address space, not memory. */
#define STACK_BYTES (512 * 1024)

/* Threads by the hundred share these. Each keeps memory that it once had, so that more
 * cost memory: 16 took 109 KB for each of 2,000 chats where 4 take 101. With fewer,
 * threads wait for each other's lock. */
#define ARENAS 4

/* A chat takes and gives back some 50 KB. Memory below this is kept, in each arena, for
 * the next one: to return it to the kernel and fault it in again costs more than the chat's
 * own work. */
#define KEEP_FREE (2 * 1024 * 1024)

/* What is as large as this gets pages of its own, and goes back at once. It is rare but for
 * libcurl's buffer for receiving, of which there is one of 1.1 MB a call, most of which is
 * never touched: address space, not memory. */
#define LARGE (32 * 1024)

/* Of <linux/prctl.h> since Linux 6.16; Debian 12 has headers of 6.1. */
#ifndef PR_FUTEX_HASH
#define PR_FUTEX_HASH 78
#define PR_FUTEX_HASH_SET_SLOTS 1
#endif

/* After a failed accept(): long enough for a descriptor to be freed. */
#define ACCEPT_PAUSE_US (50 * AIC_MS)

/* How old the gauges of another worker may be, for Prometheus asks less often; and
 * how long a reservation is left behind, once the database answers again. */
#define TICK_US (1 * AIC_S)

/* Headers and body of an answer: the longest is a page of history. 100 items of
 * 1 MiB answers, escaped, are more than anybody can read. */
#define OUT_MAX (256 * 1024 * 1024)

/* A buffer that a long answer made large is given back, not kept a thread. */
#define KEEP_BYTES (16 * 1024)

struct thread {
	pthread_t id;
	struct crew *crew;
	struct fcgi *fcgi;
	_Atomic int64_t since_us; /* of the request under way; 0: none */
};

/* All threads, and who wants to know whether they are well. */
struct crew {
	struct worker *worker;
	struct thread *threads;
	int n;
	int64_t hang_us; /* a request that is older hangs */
	struct sd_notify notify;
	int64_t ping_us; /* when the next ping is due */
	bool hung;
	pthread_mutex_t lock; /* of all below */
	int serving;
	pthread_cond_t changed;
};

static const char usage[] =
    "usage: ai-chat-worker [--check | --version | --help]\n"
    "\n"
    "Answers sellers' questions. Speaks FastCGI on standard input, a listening\n"
    "socket, as spawn-fcgi hands it over:\n"
    "\n"
    "  spawn-fcgi -n -s /run/ai-chat/1.sock -M 0660 -- ai-chat-worker\n"
    "\n"
    "  --check    check the settings and the database, and exit\n"
    "  --version  print the version, and exit\n"
    "  --help     print this, and exit\n"
    "\n"
    "All settings come from the environment. API_SECRET_KEY, DATABASE_URL and\n"
    "OPENAI_API_KEY are mandatory; ai-chat.env lists and explains them all.\n"
    "SIGTERM and SIGINT: serve what is queued, then exit.\n"
    "\n"
    "Exit status: 0 done; 1 something failed while running; 2 wrong settings.\n";

static void
trim(struct aic_buf *b)
{
	if (b->cap > KEEP_BYTES)
		aic_buf_done(b);
}

/* All threads meet the same lack, over and over: a line a second will do. */
static void
warn_accept(const struct aic_err *err)
{
	static _Atomic int64_t next_us;
	int64_t now = aic_clock_us(), next = next_us;

	if (now >= next &&
	    atomic_compare_exchange_strong(&next_us, &next, now + AIC_S))
		aic_log_event(AIC_LOG_WARN, "accept", "%s", err->detail);
}

/* Nothing is ordered by it: a ping more or less does not matter. */
static void
note_since(struct thread *t, int64_t us)
{
	atomic_store_explicit(&t->since_us, us, memory_order_relaxed);
}

static void *
serve(void *arg)
{
	struct thread *t = arg;
	struct request rq = { .worker = t->crew->worker, .fcgi = t->fcgi };
	struct aic_err err = AIC_ERR_INIT;

	aic_buf_init(&rq.body, AIC_LIMITS_BODY);
	aic_buf_init(&rq.out, OUT_MAX);
	for (;;) {
		switch (fcgi_accept(t->fcgi, &rq.in, &err)) {
		case FCGI_REQUEST:
			rq.start_us = aic_clock_us();
			note_since(t, rq.start_us);
			route_run(&rq);
			note_since(t, 0);
			trim(&rq.body);
			trim(&rq.out);
			continue;
		case FCGI_NONE:
			warn_accept(&err);
			/* Or the idle would hold all descriptors that there
			 * are, and nobody could ever come in. */
			aic_http_close_idle(t->crew->worker->http);
			aic_clock_sleep(aic_clock_us() + ACCEPT_PAUSE_US);
			continue;
		case FCGI_NOISE:
			warn_accept(&err);
			continue;
		case FCGI_STOPPED:
			break;
		case FCGI_BROKEN:
			/* One thread less would hardly be noticed, a process
			 * that ends is started again. */
			aic_log_event(AIC_LOG_ERROR, "accept", "%s",
			    err.detail);
			_exit(1);
		}
		break;
	}
	aic_buf_done(&rq.body);
	aic_buf_done(&rq.out);
	pthread_mutex_lock(&t->crew->lock);
	t->crew->serving--;
	pthread_cond_signal(&t->crew->changed);
	pthread_mutex_unlock(&t->crew->lock);
	return NULL;
}

/* Start all threads; how many there are. */
static int
start(struct crew *c, int n)
{
	struct thread *threads = c->threads;
	pthread_attr_t attr;
	int i, rc;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	for (i = 0; i < n; i++) {
		threads[i].crew = c;
		threads[i].fcgi = fcgi_new();
		rc = threads[i].fcgi
		    ? pthread_create(&threads[i].id, &attr, serve, &threads[i])
		    : ENOMEM;
		if (rc) {
			aic_log_event(AIC_LOG_ERROR, "start",
			    "could not start thread %d of %d: %s", i + 1, n,
			    strerror(rc));
			fcgi_free(threads[i].fcgi);
			break;
		}
	}
	pthread_attr_destroy(&attr);
	pthread_mutex_lock(&c->lock);
	c->serving += i;
	pthread_mutex_unlock(&c->lock);
	return i;
}

/* A ping says that no request hangs: an idle thread that pings would prove nothing. */
static void
ping_when_due(struct crew *c)
{
	int64_t now = aic_clock_us(), since;
	bool hung = false;
	int i;

	if (!c->notify.ping_us || now < c->ping_us)
		return;
	c->ping_us = now + c->notify.ping_us;
	for (i = 0; i < c->n; i++) {
		since = atomic_load_explicit(&c->threads[i].since_us,
		    memory_order_relaxed);
		hung = hung || (since && now - since > c->hang_us);
	}
	if (!hung)
		sd_notify_send(&c->notify, "WATCHDOG=1");
	else if (!c->hung)
		aic_log_event(AIC_LOG_ERROR, "watchdog",
		    "a request hangs; no more pings");
	c->hung = hung;
}

/* SIGTERM or SIGINT; the others are for programs that have something to reload. */
static int
wait_for_signal(struct crew *c, const sigset_t *signals)
{
	struct timespec left;
	int64_t us;
	int sig;

	do {
		ping_when_due(c);
		worker_release_all(c->worker);
		worker_reset_all(c->worker);
		worker_keep_warm(c->worker);
		seller_api_sweep(c->worker->seller_api);
		worker_update_gauges(c->worker);
		us = TICK_US;
		if (c->notify.ping_us && c->ping_us - aic_clock_us() < us)
			us = c->ping_us - aic_clock_us();
		left = aic_clock_spec(us > 0 ? us : 0);
		sig = sigtimedwait(signals, NULL, &left);
	} while (sig != SIGTERM && sig != SIGINT);
	return sig;
}

/* False: not all of them have ended in time. */
static bool
all_ended(struct crew *c, int64_t deadline_us)
{
	struct timespec until;
	int serving;

	pthread_mutex_lock(&c->lock);
	while (c->serving > 0 && aic_clock_us() < deadline_us) {
		until = aic_clock_spec(c->notify.ping_us &&
			    c->ping_us < deadline_us
			? c->ping_us
			: deadline_us);
		pthread_cond_clockwait(&c->changed, &c->lock, CLOCK_MONOTONIC,
		    &until);
		pthread_mutex_unlock(&c->lock);
		ping_when_due(c);
		pthread_mutex_lock(&c->lock);
	}
	serving = c->serving;
	pthread_mutex_unlock(&c->lock);
	return serving == 0;
}

/* They are waited for by count, as a join with a deadline is one that ThreadSanitizer
 * does not understand. */
static bool
join(struct crew *c, int64_t deadline_us)
{
	int i;

	if (!all_ended(c, deadline_us))
		return false;
	for (i = 0; i < c->n; i++) {
		pthread_join(c->threads[i].id, NULL);
		fcgi_free(c->threads[i].fcgi);
	}
	return true;
}

/*
 * Since Linux 6.16 a process has a table of its own for the threads that sleep in
 * futex(2), with 16 slots on two processors, and each wake-up searches one slot. With
 * 5,000 threads asleep the search was a fifth of the processor time of a chat. A slot
 * takes 64 bytes of the kernel's memory. Earlier kernels, and those without the table,
 * refuse, and have one table for all processes.
 *
 * n  threads that may sleep
 */
static void
set_futex_slots(int n)
{
	unsigned long slots = 16;

	while (slots < (unsigned long)n)
		slots *= 2;
	prctl(PR_FUTEX_HASH, PR_FUTEX_HASH_SET_SLOTS, slots, 0UL, 0UL);
}

/* Serve until a signal says to stop. */
static int
run(struct worker *w, const sigset_t *signals)
{
	struct crew c = { .worker = w,
		.hang_us = w->conf.deadline_ms * AIC_MS +
		    AIC_LIMITS_DRAIN_SPARE_MS * AIC_MS,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.changed = PTHREAD_COND_INITIALIZER };
	int n = worker_threads(w), sig;

	c.threads = calloc((size_t)n, sizeof(*c.threads));
	if (!c.threads) {
		aic_log_event(AIC_LOG_ERROR, "start", "out of memory");
		return 1;
	}
	set_futex_slots(n);
	sd_notify_open(&c.notify, environ);
	c.n = start(&c, n);
	if (c.n == n) {
		aic_log_event(AIC_LOG_INFO, "start",
		    "version %s, %lld chats at once, limit %lld a day",
		    PACKAGE_VERSION, (long long)w->conf.threads,
		    (long long)w->conf.daily_limit);
		sd_notify_send(&c.notify, "READY=1");
		sig = wait_for_signal(&c, signals);
		sd_notify_send(&c.notify, "STOPPING=1");
		aic_log_event(AIC_LOG_INFO, "drain", "%s: serving what is left",
		    sig == SIGTERM ? "SIGTERM" : "SIGINT");
	}
	fcgi_stop();
	if (!join(&c, aic_clock_us() + c.hang_us)) {
		aic_log_event(AIC_LOG_ERROR, "drain",
		    "a request hangs; leaving without it");
		_exit(1);
	}
	sd_notify_close(&c.notify);
	free(c.threads);
	if (c.n < n)
		return 1;
	aic_log_event(AIC_LOG_INFO, "stop", "all served");
	return 0;
}

static int
fail(enum aic_code code, const struct aic_err *err)
{
	aic_log_event(AIC_LOG_ERROR, "start", "%s", err->detail);
	return code == AIC_ECONF ? 2 : 1;
}

static int
serve_all(struct worker *w, const sigset_t *signals)
{
	struct aic_err err = AIC_ERR_INIT;
	const char *const *names;
	enum aic_code rc;
	int n;

	names = route_names(&n);
	rc = worker_open_metrics(w, names, n, &err);
	if (rc)
		return fail(rc, &err);
	return run(w, signals);
}

static int
check_only(struct worker *w)
{
	struct aic_err err = AIC_ERR_INIT;
	enum aic_code rc;

	rc = worker_check(w, &err);
	if (rc)
		return fail(rc, &err);
	worker_check_cache(w);
	puts("ok: settings and database are as they should be");
	return 0;
}

/* A chat takes two or three descriptors: its request, its call, a file now and
 * then. The soft limit is a leftover of select(2). */
static void
raise_files(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

static void
set_malloc(void)
{
	mallopt(M_ARENA_MAX, ARENAS);
	mallopt(M_TRIM_THRESHOLD, KEEP_FREE);
	mallopt(M_MMAP_THRESHOLD, LARGE);
	mallopt(M_TOP_PAD, 256 * 1024);
	/* A huge page is 2 MB of memory as soon as a byte of it is touched. */
	prctl(PR_SET_THP_DISABLE, 1UL, 0UL, 0UL, 0UL);
}

static int
parse_flags(int argc, char **argv, bool *ret_check)
{
	static const struct option options[] = {
		{ "check", no_argument, NULL, 'c' },
		{ "version", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			*ret_check = true;
			break;
		case 'v':
			puts("ai-chat-worker " PACKAGE_VERSION);
			return 0;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			return 2;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "ai-chat-worker: unknown argument \"%s\"\n",
		    argv[optind]);
		return 2;
	}
	return -1;
}

int
main(int argc, char **argv)
{
	struct aic_err err = AIC_ERR_INIT;
	struct aic_conf conf;
	struct worker w;
	enum aic_code rc;
	sigset_t signals;
	bool check = false;
	char foreign[600];
	int status;

	status = parse_flags(argc, argv, &check);
	if (status >= 0)
		return status;

#ifndef __SANITIZE_ADDRESS__ /* whose leak check is a ptrace */
	/* Secrets are in this process: no core dumps, no other's ptrace. */
	prctl(PR_SET_DUMPABLE, 0);
#endif
	/* Blocked before libfcgi and before any thread; see fcgi_init(). */
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	sigaddset(&signals, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	set_malloc();
	raise_files();

	rc = aic_conf_load(&conf, environ, &err);
	if (rc)
		return fail(rc, &err);
	aic_log_level(conf.log_level);
	if (aic_conf_foreign(environ, foreign, sizeof(foreign)))
		aic_log_event(AIC_LOG_WARN, "settings",
		    "these have no effect here: %s", foreign);
	rc = worker_open(&w, &conf, &err);
	if (rc)
		return fail(rc, &err);

	if (check) {
		status = check_only(&w);
	} else if (!fcgi_init()) {
		fputs("ai-chat-worker: standard input is not a listening "
		      "socket; start it through spawn-fcgi (see --help)\n",
		    stderr);
		status = 2;
	} else {
		status = serve_all(&w, &signals);
	}
	worker_close(&w);
	return status;
}
