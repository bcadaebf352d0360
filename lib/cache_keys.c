#include "config.h"

#include "lib/cache_keys.h"

#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/context.h"

/* The tombstone outlives every refusal that was read before the reset. */
#define TOMBSTONE_MS (15 * INT64_C(1000))
_Static_assert(TOMBSTONE_MS *AIC_MS >
	AIC_CACHE_KEYS_LOOK_MAX_US + AIC_CACHE_CALL_US,
    "a late refusal finds the tombstone");

/*
 * The OID of the database is read from the statistics of the connection,
 * because the role may have no right to read pg_database. Idempotent: reads
 * only.
 */
#define SCOPE_OF(cluster)                                                      \
	"SELECT " cluster ", a.datid::text, current_database()::text"          \
	" FROM pg_stat_get_activity(pg_backend_pid()) a"

enum scope_column {
	SCOPE_CLUSTER,
	SCOPE_DATABASE_OID,
	SCOPE_DATABASE,
};

static const struct aic_db_stmt scope = { "whose",
	SCOPE_OF("(SELECT system_identifier FROM pg_control_system())::text"),
	0, NULL };

/* For a role that has no right to read the system identifier. */
static const struct aic_db_stmt scope_without_cluster = { "whose_at_all",
	SCOPE_OF("''"), 0, NULL };

enum aic_code
aic_cache_keys_set_scope(struct aic_cache *cache, struct aic_db *db,
    int64_t deadline_us, struct aic_err *err)
{
	struct aic_err why = AIC_ERR_INIT;
	struct aic_db_call call;
	enum aic_code rc;
	char name[256];

	if (!cache || aic_cache_has_scope(cache))
		return AIC_OK;
	aic_db_call(&call, &scope);
	rc = aic_db_run(db, &call, 1, deadline_us, &why);
	if (rc && strcmp(why.sqlstate, AIC_DB_NO_RIGHT) == 0) {
		why = (struct aic_err)AIC_ERR_INIT;
		aic_db_call(&call, &scope_without_cluster);
		rc = aic_db_run(db, &call, 1, deadline_us, &why);
	}
	if (rc) {
		*err = why;
		return rc;
	}
	snprintf(name, sizeof(name), "%s %s %s",
	    aic_db_get(&call, 0, SCOPE_CLUSTER),
	    aic_db_get(&call, 0, SCOPE_DATABASE_OID),
	    aic_db_get(&call, 0, SCOPE_DATABASE));
	aic_cache_set_scope(cache, name);
	aic_db_call_done(&call);
	return AIC_OK;
}

void
aic_cache_keys_used(char key[AIC_CACHE_KEY_SIZE], int64_t telegram_id)
{
	aic_cache_key(key, "used", telegram_id);
}

void
aic_cache_keys_seller(char key[AIC_CACHE_KEY_SIZE], int64_t telegram_id)
{
	aic_cache_key(key, "seller2", telegram_id);
}

void
aic_cache_keys_unsaved(char key[AIC_CACHE_KEY_SIZE], int64_t telegram_id)
{
	aic_cache_key(key, "unsaved", telegram_id);
}

void
aic_cache_keys_context(char key[AIC_CACHE_KEY_SIZE], int64_t telegram_id,
    int64_t exchanges)
{
	char kind[24];

	snprintf(kind, sizeof(kind), "context%d", (int)exchanges);
	aic_cache_key(key, kind, telegram_id);
}

bool
aic_cache_keys_delete_refusal(struct aic_cache *cache, int64_t telegram_id)
{
	static const char tombstone[] = "reset";
	struct aic_cache_put put = { .data = tombstone,
		.len = sizeof(tombstone) - 1,
		.ttl_ms = TOMBSTONE_MS };

	const char *keys[] = { put.key };

	aic_cache_keys_used(put.key, telegram_id);
	/* A Redis without free memory rejects SET but accepts DEL. */
	if (aic_cache_forget(cache, keys, 1, INT64_MAX) != AIC_CACHE_OK)
		return false;
	(void)aic_cache_put(cache, &put, 1, INT64_MAX);
	return true;
}

bool
aic_cache_keys_forget(struct aic_cache *cache, int64_t telegram_id)
{
	char key[3 + AIC_CONTEXT_MAX + 1][AIC_CACHE_KEY_SIZE];
	const char *keys[3 + AIC_CONTEXT_MAX + 1];
	int i, n = 0;

	aic_cache_keys_used(key[n++], telegram_id);
	aic_cache_keys_seller(key[n++], telegram_id);
	aic_cache_keys_unsaved(key[n++], telegram_id);
	for (i = 0; i <= AIC_CONTEXT_MAX; i++)
		aic_cache_keys_context(key[n++], telegram_id, i);
	for (i = 0; i < n; i++)
		keys[i] = key[i];
	return aic_cache_forget(cache, keys, n, INT64_MAX) == AIC_CACHE_OK;
}
