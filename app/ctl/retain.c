#include "config.h"

#include "app/ctl/ctl.h"

#include <stdio.h>
#include <string.h>

#include "lib/audit.h"
#include "lib/cache_keys.h"
#include "lib/clock.h"
#include "lib/render.h"
#include "lib/retain.h"

/* The deletion of years of history takes hours. Most of the time is left to the
 * chats. */
#define PRUNE_S (24 * 3600)

/* The timeout for the deletion of the rows of one user. */
#define FORGET_S 60

static bool
may_continue(const struct aic_retain_done *done, void *arg)
{
	(void)done;
	(void)arg;
	return !ctl_interrupted();
}

/* A failed batch without an SQLSTATE may have been committed. */
static enum aic_code
fail_prune(enum aic_code rc, const struct aic_retain_done *done, bool began,
    struct aic_err *err)
{
	struct aic_err why = *err;
	bool lost = began && *why.sqlstate == '\0';

	if (!lost && done->exchanges == 0 && done->users == 0 &&
	    done->sums == 0 && done->actions == 0)
		return aic_fail(err, rc, "nothing was deleted: %s", why.detail);
	return aic_fail(err, rc,
	    "stopped after %s%lld exchanges, the counters of %lld users, %lld "
	    "sums of users and %lld recorded actions were deleted: %s",
	    lost ? "at least " : "", (long long)done->exchanges,
	    (long long)done->users, (long long)done->sums,
	    (long long)done->actions, why.detail);
}

enum aic_code
ctl_prune(struct ctl *c, struct aic_err *err)
{
	const struct aic_retain what = { .days = c->older_than,
		.go_on = may_continue };
	struct aic_retain_done done = { .exchanges = 0 };
	enum aic_code rc;

	if (!c->older_than)
		return aic_fail(err, AIC_EPARAM,
		    "prune needs --older-than DAYS");
	ctl_catch_signals();
	rc = ctl_open_db(c, err);
	if (!rc)
		rc = aic_retain_prune(c->db, &what,
		    aic_clock_us() + PRUNE_S * AIC_S, &done, err);
	if (rc)
		return fail_prune(rc, &done, c->db != NULL, err);
	aic_buf_printf(&c->doc,
	    "{\"days\":%lld,\"exchanges\":%lld,\"users\":%lld,\"sums\":%lld,"
	    "\"actions\":%lld,\"complete\":%s}",
	    (long long)c->older_than, (long long)done.exchanges,
	    (long long)done.users, (long long)done.sums,
	    (long long)done.actions, done.complete ? "true" : "false");
	ctl_say(c,
	    "deleted %lld exchanges, the counters of %lld users, %lld sums of "
	    "users and %lld recorded actions",
	    (long long)done.exchanges, (long long)done.users,
	    (long long)done.sums, (long long)done.actions);
	if (!done.complete) {
		ctl_warn("stopped early; the next run continues");
		c->bad = true;
	}
	return AIC_OK;
}

/* The question goes to standard error, because standard output can be a
 * document. */
static bool
is_meant(const struct ctl *c)
{
	char line[16];

	if (c->yes)
		return true;
	fprintf(stderr,
	    "Everything stored about user %lld will be deleted permanently. "
	    "Type yes: ",
	    (long long)c->id);
	fflush(stderr);
	return fgets(line, sizeof(line), stdin) && strcmp(line, "yes\n") == 0;
}

enum aic_code
ctl_forget(struct ctl *c, struct aic_err *err)
{
	struct aic_audit audit = {
		.key = AIC_AUDIT_CTL, .action = "forget", .telegram_id = c->id
	};
	struct aic_forgotten done;
	struct aic_err why;
	enum aic_code rc;

	if (!is_meant(c))
		return aic_fail(err, AIC_EGONE, "nothing was deleted");
	rc = aic_id_new(audit.id, err);
	if (!rc)
		rc = ctl_open_db(c, err);
	if (rc) {
		why = *err;
		return aic_fail(err, rc, "nothing was deleted: %s", why.detail);
	}
	rc = aic_retain_forget(c->db, c->id, &audit,
	    aic_clock_us() + FORGET_S * AIC_S, &done, err);
	if (rc)
		return rc;
	ctl_update_cache(c, aic_cache_keys_forget,
	    "its entries about the user expire within ten minutes");
	aic_buf_putc(&c->doc, '{');
	aic_render_forgotten(&c->doc, c->id, &done);
	aic_buf_putc(&c->doc, '}');
	ctl_say(c, "user %lld: deleted %lld exchanges", (long long)c->id,
	    (long long)done.exchanges);
	if (done.counter_kept)
		ctl_say(c,
		    "the counter is of today or yesterday; a later prune "
		    "deletes it");
	return AIC_OK;
}
