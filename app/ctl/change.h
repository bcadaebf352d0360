/*
 * ctl_change -- changing the files of Nginx: the lock that only one change at a
 * time has, and the replacement of a file.
 */
#ifndef CTL_CHANGE_H
#define CTL_CHANGE_H

#include "app/ctl/env.h"
#include "lib/err.h"

/*
 * ctl_change_lock -- take the lock of a change, AI_CHATCTL_LOCK, without
 * waiting. Two changes at the same time would undo each other. The kernel
 * releases the lock when the process exits.
 *
 * ret_fd    set on AIC_OK; the lock lasts until the caller closes it
 *
 * Errors:   AIC_EBUSY  another ai-chatctl has the lock; AIC_ECONF
 */
enum aic_code ctl_change_lock(const struct ctl_conf *conf, int *ret_fd,
    struct aic_err *err) AIC_MUST_CHECK;

/*
 * ctl_change_file -- replace a file, or create it with mode 0644. At every
 * moment, also after a crash, the name has the whole old content or the whole
 * new content. A symbolic link stays, and the file that it points to is
 * replaced. The mode of the old file is kept.
 *
 * Errors:   AIC_ECONF
 * Blocks:   until the content is on disk
 */
enum aic_code ctl_change_file(const char *name, const char *text,
    struct aic_err *err) AIC_MUST_CHECK;

/* ctl_change_remove -- remove a file; a file that does not exist is no error.
 * Errors: AIC_ECONF. */
enum aic_code
ctl_change_remove(const char *name, struct aic_err *err) AIC_MUST_CHECK;

#endif
