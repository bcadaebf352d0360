/*
 * sse -- a parser of event streams that reads the bytes as they arrive.
 *
 * An empty line separates events. The callback gets only the `data' fields of
 * an event, joined by line feeds; its name and id, comments and unknown fields
 * are dropped. Lines end in LF, CR or CRLF, and a call can end anywhere within
 * a line.
 *
 * Threads: any; each with its own struct.
 * Source:   HTML Living Standard, 9.2.6 "Interpreting an event stream"
 */
#ifndef AIC_SSE_H
#define AIC_SSE_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/buf.h"

struct aic_sse {
	struct aic_buf line; /* a line whose end has not arrived */
	struct aic_buf data; /* of the current event; LF ends each line */
	bool skip_lf; /* the last byte was a CR */
	bool begun; /* the check for a byte order mark is done */
};

/*
 * aic_sse_event -- called for an event with data.
 *
 * data      borrowed; NUL-terminated, but can contain NULs
 *
 * False ends the reading: all further bytes are ignored.
 */
typedef bool aic_sse_event(void *arg, const char *data, size_t len);

/* aic_sse_init -- max: the most bytes of a line, and of the data of an event */
void aic_sse_init(struct aic_sse *sse, size_t max);

/* aic_sse_done -- free; accepts a zeroed struct. */
void aic_sse_done(struct aic_sse *sse);

/*
 * aic_sse_put -- read the next bytes.
 *
 * False: the callback returned false, a line or an event exceeds the maximum,
 * or out of memory (aic_sse_failed() is true for the last two).
 */
bool aic_sse_put(struct aic_sse *sse, const char *s, size_t n,
    aic_sse_event *event, void *arg);

/*
 * aic_sse_end -- end the input. A last event without its empty line is passed
 * to the callback, because servers omit this line; so its data can be
 * incomplete.
 */
bool aic_sse_end(struct aic_sse *sse, aic_sse_event *event, void *arg);

bool aic_sse_failed(const struct aic_sse *sse);

/*
 * aic_sse_looks_like -- true if a body begins like an event stream. No JSON
 * document begins so.
 */
bool aic_sse_looks_like(const char *s, size_t n);

#endif
