#include "config.h"

#include "lib/http_memory.h"

#include <curl/curl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/*
 * As many as calls usually begin while others end. With more calls in flight,
 * malloc() allocates the buffers of the others; a call that ends leaves its
 * buffer to the next one all the same.
 */
#define BUFFERS 64

/* The largest answer of a model, its header and the byte that libcurl adds. */
#define BUFFER_BYTES ((size_t)(1024 + 128) * 1024)

/* malloc() has smaller blocks at hand. */
#define BUFFER_LEAST ((size_t)32 * 1024)

/*
 * What an idle buffer keeps of its memory: most answers fit. All idle buffers
 * together keep 4 MiB at most.
 */
#define BUFFER_KEPT ((size_t)64 * 1024)

static char *buffers; /* NULL: none are kept */
static _Atomic uint64_t idle; /* bit i: buffer i is not in use */

static bool
is_buffer(const void *p)
{
	uintptr_t at = (uintptr_t)p, from = (uintptr_t)buffers;

	return buffers && at >= from && at - from < BUFFERS * BUFFER_BYTES;
}

/* The first one, because its memory was probably touched before. */
static void *
take_buffer(void)
{
	uint64_t was = atomic_load_explicit(&idle, memory_order_relaxed);

	while (was &&
	    !atomic_compare_exchange_weak_explicit(&idle, &was, was & (was - 1),
		memory_order_acquire, memory_order_relaxed))
		;
	return was ? buffers + (size_t)__builtin_ctzll(was) * BUFFER_BYTES
		   : NULL;
}

static void
give_buffer(char *p)
{
	size_t i = (size_t)(p - buffers) / BUFFER_BYTES;

	madvise(p + BUFFER_KEPT, BUFFER_BYTES - BUFFER_KEPT, MADV_DONTNEED);
	atomic_fetch_or_explicit(&idle, UINT64_C(1) << i, memory_order_release);
}

static void *
allocate(size_t size)
{
	void *p = NULL;

	if (size >= BUFFER_LEAST && size <= BUFFER_BYTES)
		p = take_buffer();
	return p ? p : malloc(size);
}

static void
release(void *p)
{
	if (is_buffer(p))
		give_buffer(p);
	else
		free(p);
}

/* libcurl does not do this to a receive buffer, but it could. */
static void *
reallocate(void *p, size_t size)
{
	void *to;

	if (!is_buffer(p))
		return realloc(p, size);
	to = malloc(size);
	if (!to)
		return NULL;
	memcpy(to, p, size < BUFFER_BYTES ? size : BUFFER_BYTES);
	give_buffer(p);
	return to;
}

bool
aic_http_memory_init(void)
{
	static bool done;
	void *p;

	if (done)
		return true;
	p = mmap(NULL, BUFFERS * BUFFER_BYTES, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p != MAP_FAILED) {
		buffers = p;
		atomic_store(&idle, UINT64_MAX);
	}
	done = curl_global_init_mem(CURL_GLOBAL_DEFAULT, allocate, release,
		   reallocate, strdup, calloc) == CURLE_OK;
	return done;
}
