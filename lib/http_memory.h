/*
 * http_memory -- the allocator that libcurl uses in this process: malloc(),
 * except for receive buffers over TLS.
 *
 * Each call over TLS needs a buffer as large as the largest answer
 * (http_transfer.c), and touches only as much of it as the answer is long. With
 * malloc() each call maps and unmaps a megabyte. While another thread runs on
 * another processor, unmapping interrupts that processor, and both together
 * take 20 us, a tenth of the CPU time of a chat. So some buffers stay mapped
 * for the next call.
 *
 * libcurl has one allocator a process, which makes this state that of the
 * process.
 */
#ifndef AIC_HTTP_MEMORY_H
#define AIC_HTTP_MEMORY_H

#include <stdbool.h>

/*
 * Initialize libcurl with this allocator. Later calls do nothing. False: out of
 * memory. If the buffers cannot be mapped, malloc() allocates all of them.
 *
 * Threads: call it before the first function of libcurl, from one thread.
 */
bool aic_http_memory_init(void);

#endif
