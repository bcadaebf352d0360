#include "config.h"

#include "lib/metrics_page.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Identifies the layout, together with the size of the file. */
#define MAGIC "aichat1"

#define SUFFIX ".metrics"

const int aic_metrics_statuses[] = { 200, 400, 403, 404, 405, 413, 422, 429,
	499, 500, 503, 0 };
_Static_assert(sizeof(aic_metrics_statuses) / sizeof(aic_metrics_statuses[0]) ==
	AIC_METRICS_STATUSES,
    "the number of statuses");

/*
 * The bounds include the targets of the service, so that an alert rule can
 * compute the share of requests within each target: 50 and 200 ms, 100 and 500
 * ms, 2 and 8 s, 3 and 10 s.
 */
const int64_t aic_metrics_bounds_us[] = { 1000, 2500, 5000, 10000, 25000, 50000,
	100000, 200000, 500000, 1000000, 2000000, 3000000, 5000000, 8000000,
	10000000, 20000000, 40000000, 60000000 };
_Static_assert(sizeof(aic_metrics_bounds_us) /
	    sizeof(aic_metrics_bounds_us[0]) ==
	AIC_METRICS_BOUNDS,
    "the number of bounds");

const enum aic_metrics_outcome aic_metrics_failures[AIC_METRICS_FAILURES] = {
	AIC_METRICS_OUTCOME_MODEL_FAILED,
	AIC_METRICS_OUTCOME_MODEL_OPEN,
	AIC_METRICS_OUTCOME_DATABASE_FAILED,
	AIC_METRICS_OUTCOME_BUSY,
	AIC_METRICS_OUTCOME_FAILED,
};

const char *const aic_metrics_outcomes[AIC_METRICS_OUTCOME__MAX] = {
	[AIC_METRICS_OUTCOME_ANSWERED] = "answered",
	[AIC_METRICS_OUTCOME_REPLAYED] = "replayed",
	[AIC_METRICS_OUTCOME_LIMITED] = "limited",
	[AIC_METRICS_OUTCOME_CROWDED] = "crowded",
	[AIC_METRICS_OUTCOME_INVALID] = "invalid",
	[AIC_METRICS_OUTCOME_MODEL_FAILED] = "model_failed",
	[AIC_METRICS_OUTCOME_MODEL_OPEN] = "model_open",
	[AIC_METRICS_OUTCOME_DATABASE_FAILED] = "database_failed",
	[AIC_METRICS_OUTCOME_BUSY] = "busy",
	[AIC_METRICS_OUTCOME_CALLER_GONE] = "caller_gone",
	[AIC_METRICS_OUTCOME_FAILED] = "failed",
};

/* --- the file of this worker ------------------------------------------- */

static struct flock
whole_file(void)
{
	return (struct flock){ .l_type = F_WRLCK, .l_whence = SEEK_SET };
}

/*
 * A worker holds a lock on its file while its process runs. The check does not
 * change the lock.
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
static struct aic_metrics_page *_Atomic mapped;
static atomic_bool lost;

static void
on_bus_error(int sig, siginfo_t *info, void *context)
{
	char *page = (char *)atomic_load(&mapped), *at = info->si_addr;
	int saved = errno;

	(void)context;
	if (page && at >= page && at < page + sizeof(struct aic_metrics_page) &&
	    mmap(page, sizeof(struct aic_metrics_page), PROT_READ | PROT_WRITE,
		MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == page)
		atomic_store(&lost, true);
	else
		signal(sig, SIG_DFL); /* any other SIGBUS is a bug */
	errno = saved;
}

static struct aic_metrics_page *
map_file(int fd)
{
	struct sigaction action = { .sa_sigaction = on_bus_error,
		.sa_flags = SA_SIGINFO | SA_RESTART };
	void *p = mmap(NULL, sizeof(struct aic_metrics_page),
	    PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return NULL;
	sigemptyset(&action.sa_mask);
	atomic_store(&mapped, p);
	sigaction(SIGBUS, &action, NULL);
	return p;
}

/* Classify an error. After AIC_EBUSY the worker can serve without the file. */
static enum aic_code
fail_write(struct aic_err *err, const char *path, int why)
{
	bool full = why == ENOSPC || why == EDQUOT || why == EIO;

	return aic_fail(err, full ? AIC_EBUSY : AIC_ECONF,
	    "could not write \"%s\": %s", path, strerror(why));
}

/*
 * Allocates all blocks of the file now. Otherwise an access to a block for
 * which the volume has no space left would raise SIGBUS.
 */
static int
allocate_file(int fd, bool same_layout)
{
	/*
	 * A file of another version is truncated first, so that it is all
	 * zeroes.
	 */
	if (!same_layout && ftruncate(fd, 0) != 0)
		return errno;
	return posix_fallocate(fd, 0, sizeof(struct aic_metrics_page));
}

static bool
has_our_layout(int fd)
{
	struct stat st;
	char magic[sizeof(MAGIC)];

	return fstat(fd, &st) == 0 &&
	    st.st_size == sizeof(struct aic_metrics_page) &&
	    pread(fd, magic, sizeof(magic), 0) == (ssize_t)sizeof(magic) &&
	    memcmp(magic, MAGIC, sizeof(magic)) == 0;
}

enum aic_code
aic_metrics_page_open(struct aic_metrics *m, struct aic_err *err)
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
		    "\"%s\" belongs to another worker: AI_CHAT_INSTANCE must "
		    "be unique",
		    path);
	why = allocate_file(m->fd, has_our_layout(m->fd));
	if (why)
		return fail_write(err, path, why);
	m->page = map_file(m->fd);
	if (!m->page)
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	memcpy(m->page->magic, MAGIC, sizeof(MAGIC));
	return AIC_OK;
}

void
aic_metrics_page_close(struct aic_metrics *m)
{
	if (m->page) {
		m->page->running = 0;
		atomic_store(&mapped, NULL);
		munmap(m->page, sizeof(*m->page));
	}
	if (m->fd >= 0)
		close(m->fd);
}

void
aic_metrics_page_end(const char *dir, int number)
{
	const aic_metrics_counter running = 0;
	struct flock lock = whole_file();
	char path[4096];
	int fd;

	file_name(path, sizeof(path), dir, number);
	/* The user of the workers owns the directory, and the caller can have
	 * more rights than that user. */
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return;
	if (has_our_layout(fd) && fcntl(fd, F_OFD_SETLK, &lock) == 0)
		(void)!pwrite(fd, &running, sizeof(running),
		    offsetof(struct aic_metrics_page, running));
	close(fd);
}

bool
aic_metrics_page_was_lost(void)
{
	return atomic_exchange(&lost, false);
}

/* --- the files of all workers ------------------------------------------ */

static int
compare_numbers(const void *a, const void *b)
{
	const struct aic_metrics_view *x = a, *y = b;

	return x->number - y->number;
}

/* NULL: the file is shorter than a page, or out of memory. */
static struct aic_metrics_page *
read_page(int fd)
{
	struct aic_metrics_page *page = malloc(sizeof(*page));

	if (page && pread(fd, page, sizeof(*page), 0) != sizeof(*page)) {
		free(page);
		page = NULL;
	}
	return page;
}

static void
add_view(struct aic_metrics_views *all, const char *dir, int own_number,
    const char *name)
{
	char path[4096], *end;
	long number = strtol(name, &end, 10);
	struct aic_metrics_view *v = &all->v[all->n];
	int fd;

	if (end == name || strcmp(end, SUFFIX) != 0 || number == own_number ||
	    all->n == AIC_METRICS_WORKERS)
		return;
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (has_our_layout(fd))
		v->page = read_page(fd);
	if (v->page) {
		v->number = (int)number;
		v->up = is_owned(fd);
		all->n++;
	}
	close(fd);
}

void
aic_metrics_page_read(struct aic_metrics_views *all, const char *dir,
    int own_number)
{
	struct dirent *e;
	DIR *d = opendir(dir);

	while (d && (e = readdir(d)))
		add_view(all, dir, own_number, e->d_name);
	if (d)
		closedir(d);
	qsort(all->v, (size_t)all->n, sizeof(all->v[0]), compare_numbers);
}

void
aic_metrics_page_free(struct aic_metrics_views *all,
    const struct aic_metrics_page *own)
{
	int i;

	for (i = 0; i < all->n; i++)
		if (all->v[i].page != own)
			free(all->v[i].page);
}
