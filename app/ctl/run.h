/*
 * ctl_run -- run another program to its end. No shell.
 */
#ifndef CTL_RUN_H
#define CTL_RUN_H

#include <stddef.h>

#include "lib/buf.h"
#include "lib/err.h"

struct ctl_run {
	struct aic_buf out, err; /* what it wrote, up to some megabytes */
	int status; /* as a shell has it: 128 and above for a signal */
};

/*
 * ctl_run -- run it and wait. It leads a process group of its own, so that Ctrl-C
 * does not tear it in two; its standard input is empty.
 *
 * argv      the program first, looked for in PATH; nothing secret: all can see it
 * env       its environment; NULL: ours
 * r         ctl_run_done() it, whatever the outcome
 *
 * Errors:   AIC_ECONF  it cannot be run; that it fails is no error here; AIC_ENOMEM
 * Blocks:   until it ends; what it has left running may hold its output open
 */
enum aic_code ctl_run(struct ctl_run *r, const char *const *argv,
    char *const *env, struct aic_err *err) AIC_MUST_CHECK;

void ctl_run_done(struct ctl_run *r);

/*
 * ctl_run_why -- what a failed one had to say: its last line, the one that has
 * `mark' in it when there is one.
 *
 * mark      NULL: any line
 */
void
ctl_run_why(const struct ctl_run *r, const char *mark, char *to, size_t size);

#endif
