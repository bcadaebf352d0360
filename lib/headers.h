/*
 * headers -- read a file of header lines that are sent with each request to the
 * server of a model.
 *
 * A line is `Name: value'. Blank lines and lines that begin with # are skipped.
 * A header that the worker sets itself, or that concerns the connection, is
 * refused by its name. Values may be secrets, so no message quotes one.
 *
 * Threads: read-only after aic_headers_read().
 */
#ifndef AIC_HEADERS_H
#define AIC_HEADERS_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/err.h"

/* Servers accept 8 to 32 KiB of headers in total. */
#define AIC_HEADERS_FILE_MAX (16 * 1024)
#define AIC_HEADERS_MAX 64

struct aic_headers {
	char *text; /* owns the lines */
	size_t len;
	int n;
	const char *line[AIC_HEADERS_MAX]; /* "Name: value" */
	const char *value[AIC_HEADERS_MAX];
};

/*
 * aic_headers_read -- parse the text of a file.
 *
 * text      len bytes and a NUL; taken, whatever the result
 * name      of the setting, and the path of the file: for the message
 * api_key   true: refuse the header api-key, too
 *
 * Errors:   AIC_ECONF; err->detail names the setting and the line
 * Memory:   gives; aic_headers_done()
 * Source:   RFC 9110, 5.1, 5.5 and 7.6.1; RFC 9112, 5.2, which is why no line
 *           begins with a blank
 */
enum aic_code aic_headers_read(struct aic_headers *ret_headers, char *text,
    size_t len, const char *name, const char *path, bool api_key,
    struct aic_err *err) AIC_MUST_CHECK;

/* aic_headers_done -- wipe and free. A zeroed struct is allowed. */
void aic_headers_done(struct aic_headers *headers);

#endif
