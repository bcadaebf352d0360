/*
 * sse -- a reader of event streams, which takes their bytes as they arrive.
 *
 * Events are separated by an empty line. Of an event only the `data' fields are
 * given, joined by line feeds; its name and id, comments and unknown fields are not.
 * Lines end in LF, CR or CRLF, and may be cut anywhere between two calls.
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
	struct aic_buf line; /* of which the end has not come */
	struct aic_buf data; /* of the event so far, each line ended by LF */
	bool skip_lf; /* the last byte was a CR */
	bool begun; /* a byte order mark is no longer skipped */
};

/*
 * aic_sse_event -- an event with data has come.
 *
 * data      borrowed; NUL-terminated, but may hold NULs
 *
 * False ends the reading: nothing more is taken.
 */
typedef bool aic_sse_event(void *arg, const char *data, size_t len);

/* aic_sse_init -- max: of a line, and of the data of an event, in bytes */
void aic_sse_init(struct aic_sse *sse, size_t max);

/* aic_sse_done -- copes with a zeroed struct. */
void aic_sse_done(struct aic_sse *sse);

/*
 * aic_sse_put -- take the next bytes.
 *
 * False: an event said so, a line or an event is longer than the ceiling, or there is
 * no memory (aic_sse_failed() is true for the last two).
 */
bool aic_sse_put(struct aic_sse *sse, const char *s, size_t n,
    aic_sse_event *event, void *arg);

/*
 * aic_sse_end -- no more bytes will come. A last event that lacks its empty line is
 * given, because servers leave that line out; so its data may be cut off.
 */
bool aic_sse_end(struct aic_sse *sse, aic_sse_event *event, void *arg);

bool aic_sse_failed(const struct aic_sse *sse);

/* aic_sse_looks_like -- does a body begin as an event stream does? No JSON document
 * can. */
bool aic_sse_looks_like(const char *s, size_t n);

#endif
