/*
 * rollup -- the background work for the sums that operators look at: count the
 * stored exchanges, and store how many chats were not answered.
 *
 * A worker does this only with API_ADMIN_KEY, from its main thread. All workers
 * of all hosts take turns in counting exchanges. A chat does no work for the
 * sums: chats that were not answered are taken from the metrics.
 *
 * Threads: the main thread.
 */
#ifndef ROLLUP_H
#define ROLLUP_H

#include <stdbool.h>
#include <stdint.h>

#include "app/worker/worker.h"
#include "lib/id.h"
#include "lib/usage.h"

struct rollup {
	struct worker *worker; /* NULL: nothing to do */
	char id[AIC_ID_SIZE]; /* of this process */
	int64_t next_us; /* when the next run is due */
	/* The metrics that were taken into additions so far. */
	int64_t taken[AIC_USAGE_OUTCOME__MAX];
	/* The addition that is not stored yet; seq is its number. */
	int64_t pending[AIC_USAGE_OUTCOME__MAX];
	bool is_pending;
	int64_t seq;
	bool failing; /* the last run failed, and was logged */
};

/* rollup_begin -- prepare, after the metrics were opened. */
void rollup_begin(struct rollup *r, struct worker *w);

/* rollup_run -- do what is due. Blocks: on the database, for a second at
 * most. */
void rollup_run(struct rollup *r);

/* rollup_end -- store the last chats that were not answered, when no thread
 * serves any more. Blocks: on the database, for a second at most. */
void rollup_end(struct rollup *r);

#endif
