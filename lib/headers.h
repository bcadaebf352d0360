/*
 * headers -- read a file of header lines that go with each request to a model's
 * server.
 *
 * A line is `Name: value'. Blank lines and lines that begin with # are left out.
 * A header that the worker sets itself, or that is about the connection, is refused
 * by its name. Values may be secrets, so no message quotes one.
 *
 * Threads: read-only after aic_headers_read().
 */
#ifndef AIC_HEADERS_H
#define AIC_HEADERS_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/err.h"

/* Servers take 8 to 32 KiB of headers altogether, and refuse more. */
#define AIC_HEADERS_FILE_MAX (16 * 1024)
#define AIC_HEADERS_MAX 64

struct aic_headers {
	char *text; /* where the lines are */
	size_t len;
	int n;
	const char *line[AIC_HEADERS_MAX]; /* "Name: value" */
	const char *value[AIC_HEADERS_MAX];
};

/*
 * aic_headers_read -- from the text of a file.
 *
 * text      len bytes and a NUL; taken, whatever the outcome
 * name      of the setting, and the path of the file: for the message
 * api_key   true: the header api-key is refused, too
 *
 * Errors:   AIC_ECONF; err->detail names the setting and the line
 * Memory:   gives; aic_headers_done()
 * Source:   RFC 9110, 5.1, 5.5 and 7.6.1; RFC 9112, 5.2, which is why no line
 *           begins with a blank
 */
enum aic_code aic_headers_read(struct aic_headers *ret_headers, char *text,
    size_t len, const char *name, const char *path, bool api_key,
    struct aic_err *err) AIC_MUST_CHECK;

/* aic_headers_done -- wipes. Copes with a zeroed struct. */
void aic_headers_done(struct aic_headers *headers);

#endif
