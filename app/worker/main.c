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

#include "app/worker/api.h"
#include "app/worker/fcgi.h"
#include "app/worker/openapi.h"
#include "app/worker/rollup.h"
#include "app/worker/route.h"
#include "app/worker/sd_notify.h"
#include "app/worker/seller_api.h"
#include "app/worker/worker.h"
#include "lib/bounds.h"
#include "lib/clock.h"
#include "lib/conf.h"
#include "lib/conf_hints.h"
#include "lib/http.h"
#include "lib/log.h"

/* A thread has no deep recursion and no large arrays; a TLS handshake needs the
 * most stack. The size is address space, not memory. */
#define STACK_BYTES (512 * 1024)

/*
 * Hundreds of threads share these malloc arenas. An arena keeps memory that was
 * freed, so more arenas need more memory: with 2,000 chats in flight, 16 arenas
 * took 109 KB for each chat and 4 arenas took 101 KB. With fewer arenas,
 * threads wait for each other's lock.
 */
#define ARENAS_MAX 4

/* A chat allocates and frees about 50 KB. Each arena keeps up to this much
 * free memory for the next chat, because returning the memory to the kernel and
 * faulting it in again costs more than the chat's own work. */
#define KEEP_FREE_BYTES (2 * 1024 * 1024)

/*
 * An allocation of this size or more gets pages of its own, which free()
 * returns to the kernel at once. Such allocations are rare, except for
 * libcurl's receive buffers, of which lib/http_memory.c keeps some.
 */
#define LARGE_BYTES (32 * 1024)

/* <linux/prctl.h> has these since Linux 6.16; Debian 12 has the headers of
 * 6.1. */
#ifndef PR_FUTEX_HASH
#define PR_FUTEX_HASH 78
#define PR_FUTEX_HASH_SET_SLOTS 1
#endif

/* The pause after a failed accept(), in which a descriptor can become free. */
#define ACCEPT_PAUSE_US (50 * AIC_MS)

/* The interval of periodic work. The gauges of another worker are about this
 * old, and Prometheus scrapes less often. A queued release waits about this
 * long after the database has come up. */
#define TICK_US (1 * AIC_S)

/* The maximum size of headers and body of a response. The longest body is a
 * page of history. A page of 100 answers of 1 MiB, escaped, can exceed the
 * maximum; the response is then a 500. No person can read a page that long. */
#define OUT_MAX (256 * 1024 * 1024)

/* A buffer that a long response has enlarged is freed, so that not every thread
 * keeps such a buffer. */
#define KEEP_BYTES (16 * 1024)

struct thread {
	pthread_t id;
	struct crew *crew;
	struct fcgi *fcgi;
	_Atomic int64_t since_us; /* start of the current request; 0: idle */
};

/* All threads, and what supervises them. */
struct crew {
	struct worker *worker;
	struct thread *threads;
	int n;
	int64_t stuck_us; /* a request that runs longer is stuck */
	struct sd_notify notify;
	struct rollup rollup;
	int64_t ping_us; /* when the next ping is due */
	bool stuck;
	pthread_mutex_t lock; /* guards all members below */
	int serving;
	pthread_cond_t changed;
};

static const char usage[] =
    "usage: ai-chat-worker [--check | --openapi | --version |\n"
    "                      --help]\n"
    "\n"
    "Answers questions of sellers with a language model. Serves FastCGI\n"
    "requests on standard input, which must be a listening socket, as\n"
    "spawn-fcgi passes it:\n"
    "\n"
    "  spawn-fcgi -n -s /run/ai-chat/1.sock -M 0660 -- ai-chat-worker\n"
    "\n"
    "  --check    check the settings and the database, and exit\n"
    "  --openapi  print the OpenAPI document of the API, and exit\n"
    "  --version  print the version, and exit\n"
    "  --help     print this help, and exit\n"
    "\n"
    "All settings come from the environment. API_SECRET_KEY, DATABASE_URL and\n"
    "OPENAI_API_KEY are mandatory; ai-chat.env(5) describes all settings.\n"
    "On SIGTERM and SIGINT the worker drains: it answers the requests that\n"
    "are accepted or queued, and exits.\n"
    "\n"
    "Exit status: 0 success; 1 failure at run time; 2 invalid settings or\n"
    "arguments.\n";

static void
free_if_large(struct aic_buf *b)
{
	if (b->cap > KEEP_BYTES)
		aic_buf_done(b);
}

/* All threads hit the same shortage repeatedly, so one line a second is
 * logged. */
static void
warn_accept(const struct aic_err *err)
{
	static _Atomic int64_t next_us;
	int64_t now = aic_clock_us(), next = next_us;

	if (now >= next &&
	    atomic_compare_exchange_strong(&next_us, &next, now + AIC_S))
		aic_log_event(AIC_LOG_WARN, "accept", "%s", err->detail);
}

/* The order is relaxed, because no other data depend on the value, and one ping
 * more or less does not matter. */
static void
set_since(struct thread *t, int64_t us)
{
	atomic_store_explicit(&t->since_us, us, memory_order_relaxed);
}

static void *
run_thread(void *arg)
{
	struct thread *t = arg;
	struct request rq = { .worker = t->crew->worker, .fcgi = t->fcgi };
	struct aic_err err = AIC_ERR_INIT;

	aic_buf_init(&rq.body, AIC_BOUNDS_BODY);
	aic_buf_init(&rq.out, OUT_MAX);
	for (;;) {
		switch (fcgi_accept(t->fcgi, &rq.in, &err)) {
		case FCGI_REQUEST:
			rq.start_us = aic_clock_us();
			set_since(t, rq.start_us);
			route_run(&rq);
			set_since(t, 0);
			free_if_large(&rq.body);
			free_if_large(&rq.out);
			continue;
		case FCGI_NONE:
			warn_accept(&err);
			/* Idle connections to upstreams could otherwise occupy
			 * all descriptors, and no request would ever be
			 * accepted. */
			aic_http_close_idle(t->crew->worker->http);
			aic_clock_sleep(aic_clock_us() + ACCEPT_PAUSE_US);
			continue;
		case FCGI_NOISE:
			warn_accept(&err);
			continue;
		case FCGI_STOPPED:
			break;
		case FCGI_BROKEN:
			/* Exit, so that the service manager restarts the
			 * worker. A worker with one thread less would go
			 * unnoticed. */
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

/* Start n threads, and return how many were started. */
static int
start_threads(struct crew *c, int n)
{
	struct thread *threads = c->threads;
	pthread_attr_t attr;
	int i, rc;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	for (i = 0; i < n; i++) {
		threads[i].crew = c;
		threads[i].fcgi = fcgi_new();
		rc = ENOMEM;
		if (threads[i].fcgi)
			rc = pthread_create(&threads[i].id, &attr, run_thread,
			    &threads[i]);
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

/* A ping means that no request is stuck, so only the main thread sends one,
 * after it has checked all threads. */
static void
ping_when_due(struct crew *c)
{
	int64_t now = aic_clock_us(), since;
	bool stuck = false;
	int i;

	if (!c->notify.ping_us || now < c->ping_us)
		return;
	c->ping_us = now + c->notify.ping_us;
	for (i = 0; i < c->n; i++) {
		since = atomic_load_explicit(&c->threads[i].since_us,
		    memory_order_relaxed);
		stuck = stuck || (since && now - since > c->stuck_us);
	}
	if (!stuck)
		sd_notify_send(&c->notify, "WATCHDOG=1");
	else if (!c->stuck)
		aic_log_event(AIC_LOG_ERROR, "watchdog",
		    "a request is stuck, watchdog pings stopped");
	c->stuck = stuck;
}

/* Wait for SIGTERM or SIGINT, and do the periodic work meanwhile. Other signals
 * are ignored, because the worker has nothing to reload. */
static int
run_main_loop(struct crew *c, const sigset_t *signals)
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
		rollup_run(&c->rollup);
		us = TICK_US;
		if (c->notify.ping_us && c->ping_us - aic_clock_us() < us)
			us = c->ping_us - aic_clock_us();
		/* Here the argument is a duration. */
		left = aic_clock_spec(us > 0 ? us : 0);
		sig = sigtimedwait(signals, NULL, &left);
	} while (sig != SIGTERM && sig != SIGINT);
	return sig;
}

/* False: some threads have not ended by the deadline. */
static bool
wait_for_threads(struct crew *c, int64_t deadline_us)
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

/* The threads are counted, because ThreadSanitizer does not support a join with
 * a deadline. */
static bool
join_threads(struct crew *c, int64_t deadline_us)
{
	int i;

	if (!wait_for_threads(c, deadline_us))
		return false;
	for (i = 0; i < c->n; i++) {
		pthread_join(c->threads[i].id, NULL);
		fcgi_free(c->threads[i].fcgi);
	}
	return true;
}

/*
 * Enlarge the futex hash table of the process.
 *
 * Since Linux 6.16 each process has its own hash table of threads that sleep in
 * futex(2). The table has 16 slots on two processors, and each wake-up searches
 * one slot. With 5,000 sleeping threads the search took a fifth of the
 * processor time of a chat. A slot takes 64 bytes of kernel memory. A kernel
 * without this table fails the call and has one table for all processes.
 *
 * n  threads that can sleep
 */
static void
set_futex_slots(int n)
{
	unsigned long slots = 16;

	while (slots < (unsigned long)n)
		slots *= 2;
	prctl(PR_FUTEX_HASH, PR_FUTEX_HASH_SET_SLOTS, slots, 0UL, 0UL);
}

/* Serve until a signal arrives, and then drain. */
static int
run_worker(struct worker *w, const sigset_t *signals)
{
	struct crew c = { .worker = w,
		.stuck_us = w->conf.deadline_ms * AIC_MS +
		    AIC_BOUNDS_DRAIN_SPARE_MS * AIC_MS,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.changed = PTHREAD_COND_INITIALIZER };
	int n = worker_threads(w), sig;

	c.threads = calloc((size_t)n, sizeof(*c.threads));
	if (!c.threads) {
		aic_log_event(AIC_LOG_ERROR, "start", "out of memory");
		return 1;
	}
	set_futex_slots(n);
	rollup_begin(&c.rollup, w);
	sd_notify_open(&c.notify, environ);
	c.n = start_threads(&c, n);
	if (c.n == n) {
		aic_log_event(AIC_LOG_INFO, "start",
		    "version %s, at most %lld chats in flight, daily limit "
		    "%lld",
		    PACKAGE_VERSION, (long long)w->conf.threads,
		    (long long)w->conf.daily_limit);
		sd_notify_send(&c.notify, "READY=1");
		sig = run_main_loop(&c, signals);
		sd_notify_send(&c.notify, "STOPPING=1");
		aic_log_event(AIC_LOG_INFO, "drain", "received %s, draining",
		    sig == SIGTERM ? "SIGTERM" : "SIGINT");
	}
	fcgi_stop();
	if (!join_threads(&c, aic_clock_us() + c.stuck_us)) {
		aic_log_event(AIC_LOG_ERROR, "drain",
		    "a request is stuck; exiting without waiting for it");
		_exit(1);
	}
	rollup_end(&c.rollup);
	sd_notify_close(&c.notify);
	free(c.threads);
	if (c.n < n)
		return 1;
	aic_log_event(AIC_LOG_INFO, "stop", "drained, exiting");
	return 0;
}

/* What an operator may have set by mistake. */
static void
warn_about_settings(const struct aic_conf *conf)
{
	const char *file = aic_conf_hints_file(environ);
	char list[600];

	if (aic_conf_hints_unknown(environ, list, sizeof(list)))
		aic_log_event(AIC_LOG_WARN, "settings",
		    "these environment variables have no effect: %s%s%s", list,
		    file ? "; they are in " : "", file ? file : "");
	if (aic_conf_hints_idle(conf, environ, list, sizeof(list)))
		aic_log_event(AIC_LOG_WARN, "settings",
		    "these settings have no effect: %s%s%s", list,
		    file ? "; they are in " : "", file ? file : "");
}

static int
log_failure(enum aic_code code, struct aic_err *err)
{
	aic_conf_hints_place(err->detail, sizeof(err->detail), environ);
	aic_log_event(AIC_LOG_ERROR, "start", "%s", err->detail);
	return code == AIC_ECONF ? 2 : 1;
}

static int
serve_requests(struct worker *w, const sigset_t *signals)
{
	struct aic_err err = AIC_ERR_INIT;
	const struct endpoint *endpoints;
	const char *const *labels;
	enum aic_code rc;
	int n;

	labels = api_labels(&n);
	rc = worker_open_metrics(w, labels, n, &err);
	if (rc)
		return log_failure(rc, &err);
	endpoints = api_endpoints(&n);
	rc = openapi_build(&w->openapi, endpoints, n, &w->conf, &err);
	if (rc)
		return log_failure(rc, &err);
	return run_worker(w, signals);
}

static int
run_check(struct worker *w)
{
	struct aic_err err = AIC_ERR_INIT;
	enum aic_code rc;

	rc = worker_check(w, &err);
	if (rc)
		return log_failure(rc, &err);
	worker_check_cache(w);
	puts("ok: the settings are valid, and the database is usable");
	return 0;
}

/* A chat needs two or three descriptors: its request, its call, and sometimes a
 * file. The low soft limit exists only for select(2), which this program does
 * not use. */
static void
raise_file_limit(void)
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
	mallopt(M_ARENA_MAX, ARENAS_MAX);
	mallopt(M_TRIM_THRESHOLD, KEEP_FREE_BYTES);
	mallopt(M_MMAP_THRESHOLD, LARGE_BYTES);
	mallopt(M_TOP_PAD, 256 * 1024);
	/* A huge page takes 2 MB of memory as soon as one byte is touched. */
	prctl(PR_SET_THP_DISABLE, 1UL, 0UL, 0UL, 0UL);
}

/* For makers of clients and for the tests: no setting and no database is
 * needed. */
static int
print_openapi(void)
{
	struct aic_err err = AIC_ERR_INIT;
	const struct endpoint *endpoints;
	struct aic_buf doc;
	enum aic_code rc;
	int n, status = 0;

	endpoints = api_endpoints(&n);
	rc = openapi_build(&doc, endpoints, n, NULL, &err);
	if (rc)
		status = log_failure(rc, &err);
	else if (puts(doc.data) == EOF || fflush(stdout) == EOF)
		status = 1;
	aic_buf_done(&doc);
	return status;
}

static int
parse_flags(int argc, char **argv, bool *ret_check)
{
	static const struct option options[] = {
		{ "check", no_argument, NULL, 'c' },
		{ "openapi", no_argument, NULL, 'o' },
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
		case 'o':
			return print_openapi();
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
	int status;

	status = parse_flags(argc, argv, &check);
	if (status >= 0)
		return status;

#ifndef __SANITIZE_ADDRESS__ /* LeakSanitizer uses ptrace(2) */
	/* This process holds secrets: disable core dumps, and ptrace(2) by
	 * other processes. */
	prctl(PR_SET_DUMPABLE, 0);
#endif
	/* Block the signals before libfcgi and before any thread starts; see
	 * fcgi_init(). */
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	sigaddset(&signals, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	set_malloc();
	raise_file_limit();

	rc = aic_conf_load(&conf, environ, &err);
	if (rc)
		return log_failure(rc, &err);
	aic_log_level(conf.log_level);
	warn_about_settings(&conf);
	rc = worker_open(&w, &conf, &err);
	if (rc)
		return log_failure(rc, &err);

	if (check) {
		status = run_check(&w);
	} else if (!fcgi_init()) {
		fputs("ai-chat-worker: standard input is not a listening "
		      "socket; start it through spawn-fcgi (see --help)\n",
		    stderr);
		status = 2;
	} else {
		status = serve_requests(&w, &signals);
	}
	worker_close(&w);
	return status;
}
