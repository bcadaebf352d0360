/*
 * audit -- the record of the actions of operators: which key, what, about
 * whom, when.
 *
 * The row of an action is inserted in the batch of the action, so in the same
 * transaction: there is no action without a row, and no row without an action.
 * An erasure takes several transactions, and has its row in the first one.
 *
 * Threads: any.
 */
#ifndef AIC_AUDIT_H
#define AIC_AUDIT_H

#include <stdint.h>

#include "lib/db.h"
#include "lib/err.h"
#include "lib/id.h"

/* Rows are kept for at least so many days: three years. */
#define AIC_AUDIT_DAYS "1096"

/* The key_name of actions of ai-chatctl, which needs no key. */
#define AIC_AUDIT_CTL "ai-chatctl"

struct aic_audit {
	char id[AIC_ID_SIZE]; /* of the action; aic_id_new() */
	const char *key; /* the name of the key, never the key */
	const char *action; /* "reset-limit", "clear", "forget", "history" */
	int64_t telegram_id;
	const char *request_id; /* NULL: none */
};

/*
 * aic_audit_bind -- add the row of an action to its batch; borrows the texts
 * until the call has run.
 */
void aic_audit_bind(struct aic_db_call *call, const struct aic_audit *a);

struct aic_audit_item {
	int64_t id;
	const char *at; /* ISO 8601, UTC */
	const char *key;
	const char *action;
	int64_t telegram_id;
	const char *request_id; /* NULL: none */
};

/*
 * aic_audit_list_bind -- query a page of rows, newest first, and their total
 * number: two calls for one batch.
 *
 * telegram_id  only rows about this user; 0: all rows
 */
void aic_audit_list_bind(struct aic_db_call calls[2], int64_t telegram_id,
    int64_t limit, int64_t offset);

int64_t aic_audit_total(const struct aic_db_call calls[2]);

/* aic_audit_count -- the number of items on this page. */
int aic_audit_count(const struct aic_db_call calls[2]);

/*
 * aic_audit_get -- item i of the page.
 *
 * Memory:   the texts are valid as long as the results of the calls
 */
struct aic_audit_item aic_audit_get(const struct aic_db_call calls[2], int i);

#endif
