/*
 * alloc -- a preloaded library that makes one chosen allocation of a worker
 * fail. t/alloc.t controls it through a shared mapping of the file that
 * AIC_ALLOC in the environment names.
 *
 * While the library is armed it counts the allocations of the whole process:
 * our own and those of json-c, libcurl, libpq and libc. It does not count those
 * of libfcgi, because libfcgi ends the process when it gets no memory, which a
 * worker cannot prevent. It does not count those after which libcurl 7.88 ends
 * the process either: see SSL_CTX_sess_set_new_cb() and is_of_transfers().
 *
 * It also counts the blocks in use, so that a worker that exits shows what it
 * has not freed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct ssl_ctx_st;
struct ssl_st;
struct ssl_session_st;

/* The layout that t/alloc.t packs and unpacks. */
struct control {
	atomic_llong fail_at; /* from 1; 0: not armed */
	atomic_llong count; /* since it was armed, up to fail_at */
	atomic_llong blocks; /* in use */
	char where[104]; /* the caller of the allocation that failed */
};

/*
 * The functions of glibc, under the names for programs that replace malloc().
 */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *p);

static struct control unmapped;
static struct control *control = &unmapped;
static _Thread_local bool keeps_session;

/* A library with special allocations, and the range of its code. */
struct library {
	const char *name;
	uintptr_t from, to;
};

static struct library fcgi = { .name = "libfcgi" };
static struct library curl = { .name = "libcurl" };

static bool
is_in(const struct library *lib, uintptr_t caller)
{
	return caller >= lib->from && caller < lib->to;
}

static int
find_library(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct library *lib = arg;
	const ElfW(Phdr) * ph;
	int i;

	(void)size;
	if (!strstr(info->dlpi_name, lib->name))
		return 0;
	for (i = 0; i < info->dlpi_phnum; i++) {
		ph = &info->dlpi_phdr[i];
		if (ph->p_type != PT_LOAD || !(ph->p_flags & PF_X))
			continue;
		lib->from = info->dlpi_addr + ph->p_vaddr;
		lib->to = lib->from + ph->p_memsz;
	}
	return 1;
}

__attribute__((constructor)) static void
set_up(void)
{
	const char *path = getenv("AIC_ALLOC");
	struct control *c;
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;

	dl_iterate_phdr(find_library, &fcgi);
	dl_iterate_phdr(find_library, &curl);
	if (fd < 0 || fcgi.from == 0)
		return;
	c = mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (c == MAP_FAILED)
		return;
	c->blocks = unmapped.blocks;
	control = c;
}

static void
note_caller(uintptr_t caller)
{
	Dl_info info = { .dli_fname = NULL };
	const char *file = "?";

	if (dladdr((void *)caller, &info) && info.dli_fname) {
		file = strrchr(info.dli_fname, '/');
		file = file ? file + 1 : info.dli_fname;
	}
	snprintf(control->where, sizeof(control->where), "%s+%#lx %s", file,
	    (unsigned long)(caller - (uintptr_t)info.dli_fbase),
	    info.dli_sname ? info.dli_sname : "");
}

/* Whether this allocation is the chosen one. */
static bool
fails(void *caller)
{
	long long at = atomic_load(&control->fail_at);
	uintptr_t from = (uintptr_t)caller;

	if (at == 0 || keeps_session || is_in(&fcgi, from) ||
	    atomic_load(&control->count) >= at ||
	    atomic_fetch_add(&control->count, 1) + 1 != at)
		return false;
	note_caller(from);
	errno = ENOMEM;
	return true;
}

static void *
counted(void *p)
{
	if (p)
		atomic_fetch_add(&control->blocks, 1);
	return p;
}

/*
 * Whether an allocation is for libcurl's table of the transfers that wait for
 * one socket, or for an entry of it. If libcurl 7.88 gets no memory for these,
 * it destroys the table, uses it afterwards, and divides by its size, which is
 * 0: singlesocket() in lib/multi.c. A worker cannot prevent that.
 */
static bool
is_of_transfers(void *caller, size_t size)
{
	const size_t table = 13 * 32; /* slots, each the head of a list */
	const size_t entry = 48 + 8; /* with its key, a pointer */

	return (size == table || size == entry) &&
	    is_in(&curl, (uintptr_t)caller);
}

void *
malloc(size_t size)
{
	void *caller = __builtin_return_address(0);

	return !is_of_transfers(caller, size) && fails(caller)
	    ? NULL
	    : counted(__libc_malloc(size));
}

void *
calloc(size_t n, size_t size)
{
	return fails(__builtin_return_address(0))
	    ? NULL
	    : counted(__libc_calloc(n, size));
}

void *
realloc(void *p, size_t size)
{
	void *to;

	if (size > 0 && fails(__builtin_return_address(0)))
		return NULL;
	to = __libc_realloc(p, size);
	if (!p)
		return counted(to);
	if (size == 0)
		atomic_fetch_sub(&control->blocks, 1);
	return to;
}

int
posix_memalign(void **to, size_t alignment, size_t size)
{
	void *p = fails(__builtin_return_address(0))
	    ? NULL
	    : counted(__libc_memalign(alignment, size));

	if (!p)
		return ENOMEM;
	*to = p;
	return 0;
}

void *
aligned_alloc(size_t alignment, size_t size)
{
	return fails(__builtin_return_address(0))
	    ? NULL
	    : counted(__libc_memalign(alignment, size));
}

void
free(void *p)
{
	int saved = errno;

	if (p)
		atomic_fetch_sub(&control->blocks, 1);
	__libc_free(p);
	errno = saved;
}

typedef int new_session(struct ssl_st *ssl, struct ssl_session_st *session);

static _Atomic(new_session *) keep_session;

static int
keep_session_whole(struct ssl_st *ssl, struct ssl_session_st *session)
{
	int kept;

	keeps_session = true;
	kept = atomic_load(&keep_session)(ssl, session);
	keeps_session = false;
	return kept;
}

/*
 * Replaces the function of OpenSSL by which libcurl sets its callback for new
 * sessions. If libcurl 7.88 gets no memory for the last parts of an entry of
 * its session cache, it frees the name in the entry twice, the second time when
 * the entry is used again: Curl_ssl_addsessionid(). A worker cannot prevent
 * that.
 */
void SSL_CTX_sess_set_new_cb(struct ssl_ctx_st *ctx, new_session *keep);

void
SSL_CTX_sess_set_new_cb(struct ssl_ctx_st *ctx, new_session *keep)
{
	void (*set)(struct ssl_ctx_st *, new_session *);

	*(void **)&set = dlsym(RTLD_NEXT, "SSL_CTX_sess_set_new_cb");
	atomic_store(&keep_session, keep);
	set(ctx, keep ? keep_session_whole : NULL);
}
