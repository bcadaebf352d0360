/*
 * Prunes and erases from a command line, for the tests:
 *
 *	ai-chat-retain prune DAYS [BATCH [PAUSE_MS [SECONDS]]]
 *	ai-chat-retain prune-all DAYS
 *	ai-chat-retain forget ID
 *
 * DATABASE_URL names the database. The results are printed as name=value; after
 * each batch, the milliseconds that it took.
 */
#include "config.h"

#include "lib/retain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/conf.h"

static bool
batch_done(const struct aic_retain_done *done, void *arg)
{
	(void)arg;
	printf("batch=%lld ms=%.1f\n", (long long)done->batches,
	    (double)done->batch_us / 1000);
	return true;
}

static enum aic_code
prune(struct aic_db *db, bool all, int argc, char **argv, struct aic_err *err)
{
	struct aic_retain r = { .days = strtoll(argv[2], NULL, 10),
		.all = all,
		.go_on = batch_done };
	struct aic_retain_done done;
	int64_t seconds = 600;
	enum aic_code rc;

	if (argc > 3)
		r.batch = (int)strtol(argv[3], NULL, 10);
	if (argc > 4)
		r.pause_us = strtoll(argv[4], NULL, 10) * AIC_MS;
	if (argc > 5)
		seconds = strtoll(argv[5], NULL, 10);
	rc = aic_retain_prune(db, &r, aic_clock_us() + seconds * AIC_S, &done,
	    err);
	printf("exchanges=%lld users=%lld seen=%lld batches=%lld complete=%d\n",
	    (long long)done.exchanges, (long long)done.users,
	    (long long)done.seen, (long long)done.batches, done.complete);
	return rc;
}

static enum aic_code
forget(struct aic_db *db, const char *id, struct aic_err *err)
{
	struct aic_forgotten f;
	enum aic_code rc;

	rc = aic_retain_forget(db, strtoll(id, NULL, 10), NULL,
	    aic_clock_us() + 30 * AIC_S, &f, err);
	if (rc)
		return rc;
	printf("exchanges=%lld known=%d counter_kept=%d\n",
	    (long long)f.exchanges, f.known, f.counter_kept);
	return AIC_OK;
}

int
main(int argc, char **argv)
{
	struct aic_err err = AIC_ERR_INIT;
	struct aic_db_conf dc = {
		.pool = 1, .timeout_ms = 10000, .prepare = 1
	};
	struct aic_conf conf;
	struct aic_db *db;
	enum aic_code rc;

	if (argc < 3)
		return 2;
	rc = aic_conf_load_url(&conf, environ, &err);
	dc.url = conf.database_url;
	if (!rc)
		rc = aic_db_open(&db, &dc, &err);
	if (!rc)
		rc = strcmp(argv[1], "forget") == 0
		    ? forget(db, argv[2], &err)
		    : prune(db, strcmp(argv[1], "prune-all") == 0, argc, argv,
			  &err);
	if (rc) {
		fprintf(stderr, "%s %s\n", aic_code_name(rc), err.detail);
		return 1;
	}
	aic_db_close(db);
	aic_conf_done(&conf);
	return 0;
}
