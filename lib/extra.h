/*
 * extra -- read a file of members that are added to the body of each request to
 * the server of a model: a JSON object.
 *
 * Threads: read-only after aic_extra_read().
 */
#ifndef AIC_EXTRA_H
#define AIC_EXTRA_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/err.h"

/* A schema or a list of tools fits. More would be sent with each question. */
#define AIC_EXTRA_FILE_MAX (64 * 1024)

struct aic_extra {
	/* As written in the file, with a comma before the first; "": none. */
	char *members;
	/* Which members of the worker the file replaces. */
	bool temperature;
	bool max_tokens; /* or max_completion_tokens */
};

/*
 * aic_extra_read -- parse the text of a file.
 *
 * text      borrowed
 * name      of the setting, and the path of the file: for the message
 *
 * Errors:   AIC_ECONF, AIC_ENOMEM; err->detail names the setting and the member
 * Memory:   gives; aic_extra_done()
 */
enum aic_code
aic_extra_read(struct aic_extra *ret_extra, const char *text, size_t len,
    const char *name, const char *path, struct aic_err *err) AIC_MUST_CHECK;

/* aic_extra_done -- wipe and free. A zeroed struct is allowed. */
void aic_extra_done(struct aic_extra *extra);

#endif
