/*
 * file -- read a small file at once.
 *
 * Threads: any.
 */
#ifndef AIC_FILE_H
#define AIC_FILE_H

#include <stddef.h>

#include "lib/err.h"

/*
 * aic_file_read -- read a whole regular file. A device or a pipe is refused,
 * because reading it might not end.
 *
 * name      what the file is, for the message: a setting, or two words
 * max       most bytes of the content
 * ret_text  set on AIC_OK, with a NUL after the content
 *
 * Errors:   AIC_ECONF, AIC_ENOMEM; err->detail has the name and the path
 * Memory:   gives; aic_file_wipe()
 */
enum aic_code aic_file_read(const char *name, const char *path, size_t max,
    char **ret_text, size_t *ret_len, struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_file_read_any -- read a file of any kind: an operator may pass a secret
 * through a pipe. Blocks: until a pipe is closed.
 */
enum aic_code aic_file_read_any(const char *name, const char *path, size_t max,
    char **ret_text, size_t *ret_len, struct aic_err *err) AIC_MUST_CHECK;

/* aic_file_wipe -- overwrite a content and free it. NULL is allowed. */
void aic_file_wipe(char *text, size_t len);

#endif
