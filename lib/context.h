/*
 * context -- the user's last exchanges, for the model to remember.
 */
#ifndef AIC_CONTEXT_H
#define AIC_CONTEXT_H

#include "db.h"

/* One exchange; the texts belong to the call's result. */
struct aic_exchange {
	const char *message;
	const char *response;
};

/* aic_context_ask -- the last n exchanges of a user, 0..50. */
void aic_context_ask(struct aic_db_call *call, int64_t telegram_id, int64_t n);

/* aic_context_count -- how many there are. */
int aic_context_count(const struct aic_db_call *call);

/* aic_context_get -- the i-th one, oldest first. Memory: lives as long as the
 * call's result. */
struct aic_exchange aic_context_get(const struct aic_db_call *call, int i);

#endif
