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

/* aic_durable_bind -- look. Tables that are not there are passed over. */
void aic_durable_bind(struct aic_db_call *call);

/* aic_durable_read -- what is wrong, separated by commas; "" where nothing is.
 * Memory: borrows from the call. */
const char *aic_durable_read(const struct aic_db_call *call);

#endif
