/*
 * durable -- settings of the server and of our tables under which a commit that was
 * acknowledged can be lost when PostgreSQL or its machine crashes. No session can
 * change them, so they are reported. synchronous_commit is none of them, because the
 * statements set it themselves where they need it: AIC_DB_SQL_DURABLE.
 *
 * Two halves round aic_db_run(), as in limit.h.
 */
#ifndef AIC_DURABLE_H
#define AIC_DURABLE_H

#include "lib/db.h"

/* aic_durable_ask -- look. Tables that are not there are passed over. */
void aic_durable_ask(struct aic_db_call *call);

/* aic_durable_got -- what is wrong, separated by commas; "" where nothing is.
 * Memory: borrows from the call. */
const char *aic_durable_got(const struct aic_db_call *call);

#endif
