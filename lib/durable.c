#include "config.h"

#include "lib/durable.h"

/*
 * Idempotent: reads only. Without fsync, no write is known to be on the disk.
 * Without full_page_writes, a page that was half written at a power failure
 * cannot be repaired. An unlogged table is emptied after every crash.
 */
static const struct aic_db_stmt durable = {
	"durable",
	"SELECT pg_catalog.concat_ws(', ',"
	"  CASE WHEN current_setting('fsync') = 'off'"
	"   THEN 'fsync is off' END,"
	"  CASE WHEN current_setting('full_page_writes') = 'off'"
	"   THEN 'full_page_writes is off' END,"
	"  (SELECT string_agg('table ' || c.relname::text || ' is unlogged',"
	"    ', ' ORDER BY c.relname) FROM pg_class c"
	"   WHERE c.relpersistence <> 'p' AND c.oid IN"
	"    (to_regclass('ai_chat_daily_limits')::oid,"
	"     to_regclass('ai_chat_requests')::oid)))",
	0,
	NULL,
};

void
aic_durable_bind(struct aic_db_call *call)
{
	aic_db_call(call, &durable);
}

const char *
aic_durable_read(const struct aic_db_call *call)
{
	return aic_db_get(call, 0, 0);
}
