/*
 * ctl_run -- running another program until its end, without a shell.
 */
#ifndef CTL_RUN_H
#define CTL_RUN_H

#include <stddef.h>

#include "lib/buf.h"
#include "lib/err.h"

struct ctl_run {
	struct aic_buf out, err; /* its output, up to some megabytes */
	int status; /* as in a shell: 128 and above for a signal */
};

/*
 * ctl_run -- run a program and wait until the program ends. The program leads
 * its own process group, so that Ctrl-C does not interrupt the program in the
 * middle of its work. Its standard input is empty.
 *
 * argv      the program, found by PATH, and its arguments; no secrets, because
 *           all users can read arguments
 * env       the environment of the program; NULL: that of this process
 * r         call ctl_run_done(), whatever the outcome
 *
 * Errors:   AIC_ECONF  the program cannot be run; its failure is no error here;
 *           AIC_ENOMEM
 * Blocks:   until the program ends; its children may keep the pipes open
 */
enum aic_code ctl_run(struct ctl_run *r, const char *const *argv,
    char *const *env, struct aic_err *err) AIC_MUST_CHECK;

void ctl_run_done(struct ctl_run *r);

/*
 * ctl_run_why -- the reason of a failed program: its last line, or the line
 * that contains `mark', if there is one.
 *
 * mark      NULL: any line
 */
void
ctl_run_why(const struct ctl_run *r, const char *mark, char *to, size_t size);

#endif
