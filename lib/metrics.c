#include "config.h"

#include "lib/metrics.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Identifies the layout, together with the size of the file. */
#define MAGIC "aichat1"

#define SUFFIX ".metrics"

/* The statuses of responses; the last one stands for any other status. */
static const int statuses[] = { 200, 400, 403, 404, 405, 413, 422, 429, 499,
	500, 503, 0 };
#define STATUSES ((int)(sizeof(statuses) / sizeof(statuses[0])))

/*
 * In microseconds. The bounds include the targets of the service, so that an
 * alert rule can compute the share of requests within each target: 50 and 200
 * ms, 100 and 500 ms, 2 and 8 s, 3 and 10 s.
 */
static const int64_t bounds_us[] = { 1000, 2500, 5000, 10000, 25000, 50000,
	100000, 200000, 500000, 1000000, 2000000, 3000000, 5000000, 8000000,
	10000000, 20000000, 40000000, 60000000 };
#define BOUNDS ((int)(sizeof(bounds_us) / sizeof(bounds_us[0])))

/* The outcomes of a send. */
enum outcome {
	ANSWERED,
	REPLAYED,
	LIMITED,
	CROWDED,
	INVALID,
	MODEL,
	MODEL_OPEN,
	DATABASE,
	BUSY,
	GONE,
	FAILED,
	OUTCOMES
};

static const char *const outcomes[] = {
	[ANSWERED] = "answered",
	[REPLAYED] = "replayed",
	[LIMITED] = "limited",
	[CROWDED] = "crowded",
	[INVALID] = "invalid",
	[MODEL] = "model_failed",
	[MODEL_OPEN] = "model_open",
	[DATABASE] = "database_failed",
	[BUSY] = "busy",
	[GONE] = "caller_gone",
	[FAILED] = "failed",
};

static const char *const calls[] = {
	[AIC_OPENAI_USABLE] = "usable",
	[AIC_OPENAI_USELESS] = "useless",
	[AIC_OPENAI_REFUSED] = "refused",
	[AIC_OPENAI_LIMITED] = "limited",
	[AIC_OPENAI_QUOTA] = "quota",
	[AIC_OPENAI_BROKEN] = "server_error",
	[AIC_OPENAI_UNREACHED] = "unreachable",
	[AIC_OPENAI_CUT] = "cut_off",
	[AIC_OPENAI_TIMEOUT] = "timeout",
	[AIC_OPENAI_GONE] = "caller_gone",
};
_Static_assert(sizeof(calls) / sizeof(calls[0]) == AIC_OPENAI_CALL__MAX,
    "every end of a call has a name");

static const char *const servers[] = {
	[AIC_METRICS_SERVER_TOLD] = "told",
	[AIC_METRICS_SERVER_LATE] = "late",
	[AIC_METRICS_SERVER_NOTHING] = "nothing",
	[AIC_METRICS_SERVER_UNKNOWN] = "unknown",
	[AIC_METRICS_SERVER_MISSING] = "missing",
	[AIC_METRICS_SERVER_REFUSED] = "refused",
	[AIC_METRICS_SERVER_FAILED] = "failed",
	[AIC_METRICS_SERVER_UNREACHED] = "unreachable",
	[AIC_METRICS_SERVER_CUT] = "cut_off",
	[AIC_METRICS_SERVER_TIMEOUT] = "timeout",
	[AIC_METRICS_SERVER_NONSENSE] = "nonsense",
	[AIC_METRICS_SERVER_OPEN] = "open",
	[AIC_METRICS_SERVER_BUSY] = "busy",
	[AIC_METRICS_SERVER_DROPPED] = "dropped",
};
_Static_assert(sizeof(servers) / sizeof(servers[0]) == AIC_METRICS_SERVER__MAX,
    "everything that can come of it has a name");

static const char *const recalls[] = {
	[AIC_METRICS_RECALL_USED] = "used_up",
	[AIC_METRICS_RECALL_CONTEXT] = "context",
	[AIC_METRICS_RECALL_SELLER] = "seller",
	[AIC_METRICS_RECALL_ANSWER] = "answer",
};
_Static_assert(sizeof(recalls) / sizeof(recalls[0]) == AIC_METRICS_RECALL__MAX,
    "all that is looked for has a name");

/* Tokens by kind; the cached tokens are a part of the prompt's. */
enum usage { USAGE_PROMPT, USAGE_COMPLETION, USAGE_CACHED, USAGES };

typedef _Atomic int64_t counter;

struct histogram {
	counter below[BOUNDS + 1]; /* not cumulative */
	counter sum_us;
};

/* The number of its fields, each an int64_t. */
#define NOWS (sizeof(struct aic_metrics_now) / sizeof(int64_t))

/* The content of the file. A zeroed page is a valid initial state. */
struct page {
	char magic[8];
	counter started_s;
	counter running; /* 0 after a clean shutdown */
	char version[32];
	counter requests[AIC_METRICS_ROUTES][STATUSES];
	counter chats[OUTCOMES];
	counter calls[AIC_OPENAI_MODELS][AIC_OPENAI_CALL__MAX];
	counter cache[AIC_CACHE_END__MAX];
	counter recalls[AIC_METRICS_RECALL__MAX][2]; /* misses, hits */
	counter servers[AIC_METRICS_SERVER__MAX];
	counter tokens;
	counter usage[AIC_OPENAI_MODELS][USAGES];
	counter lapsed;
	counter held;
	struct histogram time[AIC_METRICS_TIME__MAX];
	counter now[NOWS];
};

struct aic_metrics {
	struct page *page;
	char *dir; /* NULL: none */
	int number;
	int fd; /* holds the lock; -1: none */
	const char *const *routes;
	int n_routes;
};

static void
add_count(counter *c, int64_t n)
{
	atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

static int64_t
get_count(const counter *c)
{
	return atomic_load_explicit(c, memory_order_relaxed);
}

/* --- the file ---------------------------------------------------------- */

static struct flock
whole_file(void)
{
	return (struct flock){ .l_type = F_WRLCK, .l_whence = SEEK_SET };
}

/*
 * A worker holds a lock on its file as long as its process lives. The check
 * does not change the lock.
 */
static bool
is_owned(int fd)
{
	struct flock lock = whole_file();

	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static void
file_name(char *to, size_t size, const char *dir, int number)
{
	snprintf(to, size, "%s/%d" SUFFIX, dir, number);
}

/*
 * If another program truncates the file, an access to the mapped page raises
 * SIGBUS, which would kill the process. The signal handler therefore maps
 * anonymous memory in place of the page. The counters then restart from zero,
 * which Prometheus treats as a restart of the worker. A signal handler has no
 * argument, hence the two variables; a process has one struct aic_metrics.
 */
static struct page *_Atomic mapped;
static atomic_bool lost;

static void
on_bus_error(int sig, siginfo_t *info, void *context)
{
	char *page = (char *)atomic_load(&mapped), *at = info->si_addr;
	int saved = errno;

	(void)context;
	if (page && at >= page && at < page + sizeof(struct page) &&
	    mmap(page, sizeof(struct page), PROT_READ | PROT_WRITE,
		MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == page)
		atomic_store(&lost, true);
	else
		signal(sig, SIG_DFL); /* any other SIGBUS is a bug */
	errno = saved;
}

static struct page *
map_file(int fd)
{
	struct sigaction action = { .sa_sigaction = on_bus_error,
		.sa_flags = SA_SIGINFO | SA_RESTART };
	void *p = mmap(NULL, sizeof(struct page), PROT_READ | PROT_WRITE,
	    MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return NULL;
	sigemptyset(&action.sa_mask);
	atomic_store(&mapped, p);
	sigaction(SIGBUS, &action, NULL);
	return p;
}

static void
unmap_file(struct page *page)
{
	atomic_store(&mapped, NULL);
	munmap(page, sizeof(*page));
}

bool
aic_metrics_was_lost(void)
{
	return atomic_exchange(&lost, false);
}

/*
 * Classify an error: a full or failing volume is no reason to refuse to serve.
 */
static enum aic_code
fail_write(struct aic_err *err, const char *path, int why)
{
	bool full = why == ENOSPC || why == EDQUOT || why == EIO;

	return aic_fail(err, full ? AIC_EBUSY : AIC_ECONF,
	    "could not write \"%s\": %s", path, strerror(why));
}

/*
 * Allocates all blocks, because an access to a block that the volume has no
 * space for would raise SIGBUS.
 */
static int
give_size(int fd, bool ours)
{
	/*
	 * A file of another version is truncated first, so that it is all
	 * zeroes.
	 */
	if (!ours && ftruncate(fd, 0) != 0)
		return errno;
	return posix_fallocate(fd, 0, sizeof(struct page));
}

static bool
is_ours(int fd)
{
	struct stat st;
	char magic[sizeof(MAGIC)];

	return fstat(fd, &st) == 0 && st.st_size == sizeof(struct page) &&
	    pread(fd, magic, sizeof(magic), 0) == (ssize_t)sizeof(magic) &&
	    memcmp(magic, MAGIC, sizeof(magic)) == 0;
}

static enum aic_code
open_file(struct aic_metrics *m, struct aic_err *err)
{
	struct flock lock = whole_file();
	char path[4096];
	int why;

	if (mkdir(m->dir, 0755) != 0 && errno != EEXIST)
		return aic_fail(err, errno == ENOSPC ? AIC_EBUSY : AIC_ECONF,
		    "could not make AI_CHAT_METRICS_DIR \"%s\": %s", m->dir,
		    strerror(errno));
	file_name(path, sizeof(path), m->dir, m->number);
	m->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (m->fd < 0)
		return fail_write(err, path, errno);
	if (fcntl(m->fd, F_OFD_SETLK, &lock) != 0)
		return aic_fail(err, AIC_ECONF,
		    "\"%s\" belongs to another worker: is AI_CHAT_INSTANCE "
		    "its own?",
		    path);
	why = give_size(m->fd, is_ours(m->fd));
	if (why)
		return fail_write(err, path, why);
	m->page = map_file(m->fd);
	return m->page ? AIC_OK : aic_fail(err, AIC_ENOMEM, "out of memory");
}

enum aic_code
aic_metrics_open(struct aic_metrics **ret_metrics, const char *dir, int number,
    const char *const *routes, int n_routes, struct aic_err *err)
{
	struct aic_metrics *m = calloc(1, sizeof(*m));
	enum aic_code rc = AIC_OK;

	if (!m)
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	m->fd = -1;
	m->number = number;
	m->routes = routes;
	m->n_routes = n_routes;
	if (dir) {
		m->dir = strdup(dir);
		rc = m->dir ? open_file(m, err)
			    : aic_fail(err, AIC_ENOMEM, "out of memory");
	} else {
		m->page = calloc(1, sizeof(*m->page));
		if (!m->page)
			rc = aic_fail(err, AIC_ENOMEM, "out of memory");
	}
	if (!m->page) {
		aic_metrics_close(m);
		return rc;
	}
	memcpy(m->page->magic, MAGIC, sizeof(MAGIC));
	snprintf(m->page->version, sizeof(m->page->version), "%s",
	    PACKAGE_VERSION);
	/* The reservations that this worker had when it was killed. */
	add_count(&m->page->lapsed, get_count(&m->page->held));
	m->page->held = 0;
	aic_metrics_now(m, &(struct aic_metrics_now){ .db_up = 1 });
	m->page->started_s = (int64_t)time(NULL);
	m->page->running = 1;
	*ret_metrics = m;
	return AIC_OK;
}

void
aic_metrics_close(struct aic_metrics *m)
{
	if (!m)
		return;
	if (m->page && m->dir) {
		m->page->running = 0;
		unmap_file(m->page);
	} else {
		free(m->page);
	}
	if (m->fd >= 0)
		close(m->fd);
	free(m->dir);
	free(m);
}

/* --- counting ---------------------------------------------------------- */

void
aic_metrics_request(struct aic_metrics *m, int route, int status)
{
	int i = 0;

	while (i < STATUSES - 1 && statuses[i] != status)
		i++;
	if (route < 0 || route >= m->n_routes)
		route = AIC_METRICS_ROUTES - 1;
	add_count(&m->page->requests[route][i], 1);
}

void
aic_metrics_chat(struct aic_metrics *m, enum aic_code rc, bool replayed)
{
	static const enum outcome of[AIC__MAX] = {
		[AIC_OK] = ANSWERED,
		[AIC_EAUTH] = INVALID,
		[AIC_ENOROUTE] = INVALID,
		[AIC_EMETHOD] = INVALID,
		[AIC_EINPUT] = INVALID,
		[AIC_EPARAM] = INVALID,
		[AIC_EBIG] = INVALID,
		[AIC_ELIMIT] = LIMITED,
		[AIC_ECROWD] = CROWDED,
		[AIC_EUPSTREAM] = MODEL,
		[AIC_EOPEN] = MODEL_OPEN,
		[AIC_EDB] = DATABASE,
		[AIC_EBUSY] = BUSY,
		[AIC_EGONE] = GONE,
		[AIC_ENOMEM] = FAILED,
		[AIC_ECONF] = FAILED,
		[AIC_EBUG] = FAILED,
	};

	add_count(&m->page->chats[replayed ? REPLAYED : of[rc]], 1);
}

void
aic_metrics_time(struct aic_metrics *m, enum aic_metrics_time what, int64_t us)
{
	struct histogram *h = &m->page->time[what];
	int i = 0;

	while (i < BOUNDS && us > bounds_us[i])
		i++;
	add_count(&h->below[i], 1);
	add_count(&h->sum_us, us);
}

void
aic_metrics_model(struct aic_metrics *m, const struct aic_openai_answer *answer)
{
	counter *usage = m->page->usage[answer->model];
	int i, j;

	for (i = 0; i < AIC_OPENAI_MODELS; i++)
		for (j = 0; j < AIC_OPENAI_CALL__MAX; j++)
			if (answer->calls[i][j])
				add_count(&m->page->calls[i][j],
				    answer->calls[i][j]);
	add_count(&m->page->tokens, answer->tokens);
	add_count(&usage[USAGE_PROMPT], answer->usage.prompt);
	add_count(&usage[USAGE_COMPLETION], answer->usage.completion);
	add_count(&usage[USAGE_CACHED], answer->usage.cached);
}

void
aic_metrics_cache(struct aic_metrics *m, enum aic_cache_end end, int64_t us)
{
	add_count(&m->page->cache[end], 1);
	/* The other outcomes made no call and would distort the histogram. */
	if (end != AIC_CACHE_OFF && end != AIC_CACHE_NONE &&
	    end != AIC_CACHE_OPEN)
		aic_metrics_time(m, AIC_METRICS_CACHE, us);
}

void
aic_metrics_recall(struct aic_metrics *m, enum aic_metrics_recall what,
    bool there)
{
	add_count(&m->page->recalls[what][there], 1);
}

void
aic_metrics_server(struct aic_metrics *m, enum aic_metrics_server how)
{
	add_count(&m->page->servers[how], 1);
}

const char *
aic_metrics_server_name(enum aic_metrics_server how)
{
	return servers[how];
}

void
aic_metrics_reserved(struct aic_metrics *m, int n)
{
	add_count(&m->page->held, n);
}

void
aic_metrics_lapse(struct aic_metrics *m)
{
	add_count(&m->page->lapsed, 1);
}

void
aic_metrics_now(struct aic_metrics *m, const struct aic_metrics_now *now)
{
	int64_t n[NOWS];
	size_t i;

	memcpy(n, now, sizeof(n));
	for (i = 0; i < NOWS; i++)
		atomic_store_explicit(&m->page->now[i], n[i],
		    memory_order_relaxed);
}

/* --- exporting --------------------------------------------------------- */

/*
 * The figures of one worker for one scrape. The pages of other workers are
 * copies, because a mapped file could be truncated during the scrape.
 */
struct view {
	int number;
	bool up;
	struct page *page;
	const struct aic_metrics *m; /* the source of the names of routes */
};

struct views {
	struct view v[AIC_METRICS_WORKERS];
	int n;
};

static int
compare_numbers(const void *a, const void *b)
{
	const struct view *x = a, *y = b;

	return x->number - y->number;
}

/* NULL: the file is shorter than a page, or out of memory. */
static struct page *
read_page(int fd)
{
	struct page *page = malloc(sizeof(*page));

	if (page && pread(fd, page, sizeof(*page), 0) != sizeof(*page)) {
		free(page);
		page = NULL;
	}
	return page;
}

static void
add_view(struct views *all, const char *dir, int but, const char *name)
{
	char path[4096], *end;
	long number = strtol(name, &end, 10);
	struct view *v = &all->v[all->n];
	int fd;

	if (end == name || strcmp(end, SUFFIX) != 0 || number == but ||
	    all->n == AIC_METRICS_WORKERS)
		return;
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (is_ours(fd))
		v->page = read_page(fd);
	if (v->page) {
		v->number = (int)number;
		v->up = is_owned(fd);
		all->n++;
	}
	close(fd);
}

/* Reads all files except the one of the number `but'. */
static void
read_directory(struct views *all, const char *dir, int but)
{
	struct dirent *e;
	DIR *d = opendir(dir);

	while (d && (e = readdir(d)))
		add_view(all, dir, but, e->d_name);
	if (d)
		closedir(d);
	qsort(all->v, (size_t)all->n, sizeof(all->v[0]), compare_numbers);
}

static void
read_views(struct views *all, const struct aic_metrics *m)
{
	int i;

	memset(all, 0, sizeof(*all));
	all->v[all->n++] = (struct view){
		.number = m->number, .up = true, .page = m->page
	};
	if (m->dir)
		read_directory(all, m->dir, m->number);
	for (i = 0; i < all->n; i++)
		all->v[i].m = m;
}

static void
free_views(struct views *all, const struct page *own)
{
	int i;

	for (i = 0; i < all->n; i++)
		if (all->v[i].page != own)
			free(all->v[i].page);
}

#define AT(field) offsetof(struct page, field)
#define NOW(field) (AT(now) + offsetof(struct aic_metrics_now, field))

static const counter *
counter_at(const struct page *page, size_t offset)
{
	return (const counter *)(const void *)((const char *)page + offset);
}

static void
put_head(struct aic_buf *to, const char *name, const char *type,
    const char *help)
{
	aic_buf_printf(to, "# HELP ai_chat_%s %s\n# TYPE ai_chat_%s %s\n", name,
	    help, name, type);
}

static void
put_requests(struct aic_buf *to, const struct view *v)
{
	const char *route;
	int i, j;
	int64_t n;

	for (i = 0; i < AIC_METRICS_ROUTES; i++) {
		route = i < v->m->n_routes ? v->m->routes[i] : "other";
		if (i >= v->m->n_routes && i != AIC_METRICS_ROUTES - 1)
			continue;
		for (j = 0; j < STATUSES; j++) {
			n = get_count(&v->page->requests[i][j]);
			/* Most combinations never occur. */
			if (n == 0 && statuses[j] != 200)
				continue;
			aic_buf_printf(to,
			    "ai_chat_requests_total{worker=\"%d\",route=\"%s\","
			    "status=\"%d\"} %lld\n",
			    v->number, route, statuses[j], (long long)n);
		}
	}
}

static void
put_chats(struct aic_buf *to, const struct view *v)
{
	int i;

	for (i = 0; i < OUTCOMES; i++)
		aic_buf_printf(to,
		    "ai_chat_chats_total{worker=\"%d\",outcome=\"%s\"} %lld\n",
		    v->number, outcomes[i],
		    (long long)get_count(&v->page->chats[i]));
}

static const char *const models[AIC_OPENAI_MODELS] = { "first", "fallback" };

static void
put_calls(struct aic_buf *to, const struct view *v)
{
	int i, j;

	for (i = 0; i < AIC_OPENAI_MODELS; i++)
		for (j = 0; j < AIC_OPENAI_CALL__MAX; j++)
			aic_buf_printf(to,
			    "ai_chat_model_calls_total{worker=\"%d\","
			    "model=\"%s\",result=\"%s\"} %lld\n",
			    v->number, models[i], calls[j],
			    (long long)get_count(&v->page->calls[i][j]));
}

static void
put_usage(struct aic_buf *to, const struct view *v, const char *name,
    enum usage usage)
{
	int i;

	for (i = 0; i < AIC_OPENAI_MODELS; i++)
		aic_buf_printf(to,
		    "ai_chat_%s{worker=\"%d\",model=\"%s\"} %lld\n", name,
		    v->number, models[i],
		    (long long)get_count(&v->page->usage[i][usage]));
}

static void
put_prompt_tokens(struct aic_buf *to, const struct view *v)
{
	put_usage(to, v, "prompt_tokens_total", USAGE_PROMPT);
}

static void
put_completion_tokens(struct aic_buf *to, const struct view *v)
{
	put_usage(to, v, "completion_tokens_total", USAGE_COMPLETION);
}

static void
put_cached_tokens(struct aic_buf *to, const struct view *v)
{
	put_usage(to, v, "cached_tokens_total", USAGE_CACHED);
}

static void
put_servers(struct aic_buf *to, const struct view *v)
{
	int i;

	for (i = 0; i < AIC_METRICS_SERVER__MAX; i++)
		aic_buf_printf(to,
		    "ai_chat_server_calls_total{worker=\"%d\","
		    "result=\"%s\"} %lld\n",
		    v->number, servers[i],
		    (long long)get_count(&v->page->servers[i]));
}

static void
put_recalls(struct aic_buf *to, const struct view *v)
{
	int i, there;

	for (i = 0; i < AIC_METRICS_RECALL__MAX; i++)
		for (there = 0; there < 2; there++)
			aic_buf_printf(to,
			    "ai_chat_recalls_total{worker=\"%d\","
			    "what=\"%s\",result=\"%s\"} %lld\n",
			    v->number, recalls[i], there ? "hit" : "miss",
			    (long long)get_count(&v->page->recalls[i][there]));
}

static void
put_histogram(struct aic_buf *to, const struct view *v, const char *name,
    const char *label, enum aic_metrics_time what)
{
	const struct histogram *h = &v->page->time[what];
	int64_t n = 0;
	int i;

	for (i = 0; i <= BOUNDS; i++) {
		n += get_count(&h->below[i]);
		aic_buf_printf(to, "ai_chat_%s_bucket{worker=\"%d\"%s,le=\"",
		    name, v->number, label);
		if (i < BOUNDS)
			aic_buf_printf(to, "%g", (double)bounds_us[i] / 1e6);
		else
			aic_buf_puts(to, "+Inf");
		aic_buf_printf(to, "\"} %lld\n", (long long)n);
	}
	aic_buf_printf(to, "ai_chat_%s_sum{worker=\"%d\"%s} %.6f\n", name,
	    v->number, label, (double)get_count(&h->sum_us) / 1e6);
	aic_buf_printf(to, "ai_chat_%s_count{worker=\"%d\"%s} %lld\n", name,
	    v->number, label, (long long)n);
}

static void
put_stages(struct aic_buf *to, const struct view *v)
{
	static const char name[] = "stage_duration_seconds";

	put_histogram(to, v, name, ",stage=\"limit\"", AIC_METRICS_LIMIT);
	put_histogram(to, v, name, ",stage=\"context\"", AIC_METRICS_CONTEXT);
	put_histogram(to, v, name, ",stage=\"model\"", AIC_METRICS_MODEL);
	put_histogram(to, v, name, ",stage=\"save\"", AIC_METRICS_SAVE);
	put_histogram(to, v, name, ",stage=\"server\"", AIC_METRICS_SERVER);
}

static void
put_chat_time(struct aic_buf *to, const struct view *v)
{
	put_histogram(to, v, "chat_duration_seconds", "", AIC_METRICS_CHAT);
}

static void
put_overhead(struct aic_buf *to, const struct view *v)
{
	put_histogram(to, v, "overhead_seconds", "", AIC_METRICS_OVERHEAD);
}

static void
put_cache_time(struct aic_buf *to, const struct view *v)
{
	put_histogram(to, v, "cache_duration_seconds", "", AIC_METRICS_CACHE);
}

static void
put_cache_calls(struct aic_buf *to, const struct view *v)
{
	int i;

	for (i = AIC_CACHE_OFF + 1; i < AIC_CACHE_END__MAX; i++)
		aic_buf_printf(to,
		    "ai_chat_cache_calls_total{worker=\"%d\","
		    "result=\"%s\"} %lld\n",
		    v->number, aic_cache_end_name(i),
		    (long long)get_count(&v->page->cache[i]));
}

static void
put_build(struct aic_buf *to, const struct view *v)
{
	aic_buf_printf(to,
	    "ai_chat_build_info{worker=\"%d\",version=\"%.31s\"} 1\n",
	    v->number, v->page->version);
}

/*
 * A worker that shut down cleanly is not exported, so it is not reported as
 * down.
 */
static void
put_up(struct aic_buf *to, const struct view *v)
{
	if (v->up || get_count(&v->page->running))
		aic_buf_printf(to, "ai_chat_worker_up{worker=\"%d\"} %d\n",
		    v->number, v->up);
}

static void
put_breaker(struct aic_buf *to, const struct view *v)
{
	int i;

	for (i = 0; v->up && i < AIC_OPENAI_MODELS; i++)
		aic_buf_printf(to,
		    "ai_chat_breaker_open{worker=\"%d\",model=\"%s\"} %lld\n",
		    v->number, models[i],
		    (long long)get_count(counter_at(v->page, NOW(open[i]))));
}

/* The workers for which a number is exported. */
enum scope {
	EVER,
	LIVING,
	CACHING, /* running workers with a Redis configured */
};

/* Metric families with one number each. */
struct family {
	const char *name, *type, *help;
	size_t offset; /* in struct page */
	enum scope scope;
};

static const struct family families[] = {
	{ "tokens_total", "counter", "Tokens that answers have cost.",
	    AT(tokens), EVER },
	{ "reservations_lapsed_total", "counter",
	    "Reservations that were neither used nor given back.", AT(lapsed),
	    EVER },
	{ "reservations_held", "gauge", "Reservations of chats under way.",
	    AT(held), LIVING },
	{ "worker_start_time_seconds", "gauge",
	    "When the worker started, as Unix time.", AT(started_s), LIVING },
	{ "slots", "gauge", "Chats that may be under way at once.", NOW(slots),
	    LIVING },
	{ "slots_used", "gauge", "Chats under way.", NOW(slots_used), LIVING },
	{ "other_requests", "gauge", "Other requests under way.", NOW(others),
	    LIVING },
	{ "database_up", "gauge",
	    "Whether the worker reaches the database, as far as it knows.",
	    NOW(db_up), LIVING },
	{ "save_breaker_open", "gauge",
	    "Whether new chats are refused (1) because answers "
	    "cannot be saved.",
	    NOW(saves_open), LIVING },
	{ "database_connections", "gauge", "Open connections to the database.",
	    NOW(db_connections), LIVING },
	{ "database_connections_busy", "gauge", "Those that are in use.",
	    NOW(db_busy), LIVING },
	{ "database_waiting", "gauge",
	    "Requests that wait for a connection to the database.",
	    NOW(db_waiting), LIVING },
	{ "cache_up", "gauge",
	    "Whether the worker reaches Redis, as far as it knows.",
	    NOW(cache_up), CACHING },
	{ "cache_breaker_open", "gauge", "1: Redis is left alone for a while.",
	    NOW(cache_open), CACHING },
	{ "cache_connections", "gauge", "Open connections to Redis.",
	    NOW(cache_connections), CACHING },
	{ "cache_connections_busy", "gauge", "Those that are in use.",
	    NOW(cache_busy), CACHING },
	{ "server_breaker_open", "gauge",
	    "1: the Server is left alone for a while.", NOW(server_open),
	    LIVING },
};

static void
put_number(struct aic_buf *to, const struct family *f, const struct view *v)
{
	if ((f->scope == EVER || v->up) &&
	    (f->scope != CACHING || get_count(counter_at(v->page, NOW(cache)))))
		aic_buf_printf(to, "ai_chat_%s{worker=\"%d\"} %lld\n", f->name,
		    v->number,
		    (long long)get_count(counter_at(v->page, f->offset)));
}

/* Metric families with several numbers. */
static const struct {
	const char *name, *type, *help;
	void (*put)(struct aic_buf *to, const struct view *v);
} tables[] = {
	{ "build_info", "gauge", "The worker's version.", put_build },
	{ "worker_up", "gauge",
	    "1: the worker runs; 0: it has died and was not started again.",
	    put_up },
	{ "requests_total", "counter",
	    "Requests answered, by route and status.", put_requests },
	{ "chats_total", "counter", "Sends, by how they ended.", put_chats },
	{ "chat_duration_seconds", "histogram",
	    "Answered chats, from the request to the answer.", put_chat_time },
	{ "overhead_seconds", "histogram",
	    "Answered chats, less the model's time.", put_overhead },
	{ "stage_duration_seconds", "histogram",
	    "Stages of a chat; limit brings the context along, context makes "
	    "the prompt of it, server runs beside limit.",
	    put_stages },
	{ "model_calls_total", "counter",
	    "Calls of the model, by how they ended.", put_calls },
	{ "prompt_tokens_total", "counter",
	    "Tokens of the requests that were answered, as the model counts.",
	    put_prompt_tokens },
	{ "completion_tokens_total", "counter",
	    "Tokens of the answers, as the model counts.",
	    put_completion_tokens },
	{ "cached_tokens_total", "counter",
	    "Tokens of the requests that the model's provider had in its "
	    "cache.",
	    put_cached_tokens },
	{ "breaker_open", "gauge", "1: the model is left alone for a while.",
	    put_breaker },
	{ "cache_calls_total", "counter", "Calls of Redis, by how they ended.",
	    put_cache_calls },
	{ "cache_duration_seconds", "histogram",
	    "Calls of Redis that went out to it.", put_cache_time },
	{ "recalls_total", "counter",
	    "What was looked for in Redis, and whether it was there.",
	    put_recalls },
	{ "server_calls_total", "counter",
	    "Questions to the Server about a seller, by what came of them.",
	    put_servers },
};

void
aic_metrics_write(struct aic_metrics *m, struct aic_buf *to)
{
	struct views all;
	size_t i;
	int j;

	read_views(&all, m);
	for (i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		put_head(to, tables[i].name, tables[i].type, tables[i].help);
		for (j = 0; j < all.n; j++)
			tables[i].put(to, &all.v[j]);
	}
	for (i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		put_head(to, families[i].name, families[i].type,
		    families[i].help);
		for (j = 0; j < all.n; j++)
			put_number(to, &families[i], &all.v[j]);
	}
	free_views(&all, m->page);
}

/* Chats that failed for a reason other than the caller's request. */
static int64_t
count_failed(const struct page *page)
{
	static const enum outcome ours[] = { MODEL, MODEL_OPEN, DATABASE, BUSY,
		FAILED };
	int64_t n = 0;
	size_t i;

	for (i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		n += get_count(&page->chats[ours[i]]);
	return n;
}

static void
export_worker(struct aic_metrics_worker *to, const struct view *v)
{
	int64_t now[NOWS] = { 0 };
	size_t i;

	*to = (struct aic_metrics_worker){ .number = v->number,
		.up = v->up,
		.ended = !v->up && !get_count(&v->page->running),
		.started_s = get_count(&v->page->started_s),
		.answered = get_count(&v->page->chats[ANSWERED]) +
		    get_count(&v->page->chats[REPLAYED]),
		.failed = count_failed(v->page) };
	snprintf(to->version, sizeof(to->version), "%.31s", v->page->version);
	for (i = 0; i < NOWS; i++)
		now[i] = get_count(&v->page->now[i]);
	memcpy(&to->now, now, sizeof(now));
}

int
aic_metrics_look(const char *dir, struct aic_metrics_worker *to)
{
	struct views all;
	int i;

	memset(&all, 0, sizeof(all));
	read_directory(&all, dir, 0);
	for (i = 0; i < all.n; i++)
		export_worker(&to[i], &all.v[i]);
	free_views(&all, NULL);
	return all.n;
}
