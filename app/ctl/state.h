/*
 * ctl_state -- the state of each worker of this machine, and the problems that
 * it has.
 *
 * The state comes from four sources: the service manager (the worker has a
 * process), Nginx's list (the worker is expected), the worker itself
 * (/health/ready), and the metrics that the worker exports once a second.
 */
#ifndef CTL_STATE_H
#define CTL_STATE_H

#include <stdbool.h>
#include <sys/types.h>

#include "app/ctl/ctl.h"
#include "lib/metrics.h"

enum ctl_phase {
	CTL_RUNNING,
	CTL_STARTING,
	CTL_DOWN, /* not running; a restart is due or given up */
	CTL_DEAD, /* crashed, and no service manager restarts it */
	CTL_MISSING, /* in Nginx's list, but does not exist */
	CTL_PHASE__MAX
};

/* The names of the phases. */
extern const char *const ctl_phase_names[CTL_PHASE__MAX];

/* What can be wrong with a worker. */
enum ctl_problem {
	CTL_NOT_RUNNING, /* its phase is not CTL_RUNNING */
	CTL_UNLISTED,
	CTL_SILENT,
	CTL_NO_DATABASE,
	CTL_SAVES_OPEN,
	CTL_PRIMARY_OPEN,
	CTL_FALLBACK_OPEN,
	CTL_REDIS_DOWN,
	CTL_REDIS_OPEN,
	CTL_SELLER_OPEN,
	CTL_STALE,
	CTL_NO_METRICS,
	CTL_PROBLEM__MAX
};

/* The maximum age of metrics that are shown without their age. */
#define CTL_FRESH_US (2 * AIC_S)

struct ctl_worker {
	int number;
	enum ctl_phase phase;
	bool managed; /* the service manager has this worker */
	bool listed; /* in Nginx's list */
	bool counted; /* the metrics have this worker */
	pid_t pid; /* 0: no process */
	int restarts;
	bool database; /* the database is usable, as far as known */
	struct aic_metrics_worker m; /* only if counted */
	unsigned problems; /* bits: 1 << enum ctl_problem */
};

struct ctl_state {
	/* Whether the source could be read. */
	bool managed, listed;
	/* Why not; "": it could be read, or there is no list. */
	char managed_why[400], listed_why[400];
	bool nginx_stopped; /* false: running, or unknown */
	/* Nginx runs where this program cannot reach it, such as in another
	 * container. */
	bool nginx_elsewhere;
	struct ctl_worker w[3 * AIC_METRICS_WORKERS]; /* by number */
	int n;
};

/*
 * ctl_state_read -- collect the state of all workers, from the sources that can
 * be read.
 *
 * NULL: out of memory.
 *
 * Blocks:   some seconds at most, if a worker does not respond
 * Memory:   gives; free()
 */
struct ctl_state *ctl_state_read(struct ctl *c);

/* ctl_state_has -- true if the worker has the problem. */
bool ctl_state_has(const struct ctl_worker *w, enum ctl_problem problem);

/* ctl_state_text -- a problem in words, without the worker. */
void ctl_state_text(const struct ctl_worker *w, enum ctl_problem problem,
    char *to, size_t size);

#endif
