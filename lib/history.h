/* history -- the stored exchanges of a user. */
#ifndef AIC_HISTORY_H
#define AIC_HISTORY_H

#include <stdint.h>

#include "lib/db.h"

struct aic_history_item {
	int64_t id;
	const char *message;
	const char *response;
	int64_t tokens;
	const char *created_at; /* ISO 8601, UTC */
};

/*
 * aic_history_bind -- query a page of a user's exchanges, newest first, and
 * their total number: two calls for one batch.
 */
void aic_history_bind(struct aic_db_call calls[2], int64_t telegram_id,
    int64_t limit, int64_t offset);

int64_t aic_history_total(const struct aic_db_call calls[2]);

/* aic_history_count -- the number of items on this page. */
int aic_history_count(const struct aic_db_call calls[2]);

/*
 * aic_history_get -- item i of the page.
 *
 * Memory:   the texts are valid as long as the results of the calls
 */
struct aic_history_item
aic_history_get(const struct aic_db_call calls[2], int i);

#endif
