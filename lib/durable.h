/*
 * durable -- find settings of the server and of the tables with which an
 * acknowledged commit can be lost when PostgreSQL or its host crashes.
 *
 * A session cannot change these settings, so they are reported.
 * synchronous_commit is not one of them, because the statements that need it
 * set it themselves: AIC_SQL_DURABLE.
 *
 * Bind and read a call around aic_db_run(), as in limit.h.
 */
#ifndef AIC_DURABLE_H
#define AIC_DURABLE_H

#include "lib/db.h"

/* aic_durable_bind -- query the settings. Missing tables are ignored. */
void aic_durable_bind(struct aic_db_call *call);

/*
 * aic_durable_read -- the unsafe settings, separated by commas; "": none.
 *
 * Memory:   borrows from the call
 */
const char *aic_durable_read(const struct aic_db_call *call);

#endif
