/*
 * ctl_check -- the checks of ai-chatctl check. Each file check_*.c has those of
 * one part of the installation; check.c runs all of them.
 *
 * A check only reads. It reports each result with check_report(), and a fault
 * with its reason and, where that is not plain, with what to do.
 */
#ifndef CTL_CHECK_H
#define CTL_CHECK_H

#include <stdbool.h>

#include "app/ctl/ctl.h"
#include "app/ctl/service.h"
#include "app/ctl/state.h"

struct check {
	struct ctl *c; /* c->conf is valid */
	const struct ctl_state *state;
	int n; /* checks reported so far */
	bool has_db; /* a query has succeeded */
};

/* check_report -- report the result of a check. what: its name. */
void check_report(struct check *k, const char *what, bool ok, const char *fmt,
    ...) AIC_PRINTF(4, 5);

/*
 * check_connections -- the number of connections; sets k->has_db.
 *
 * reported  true: a database that cannot be reached has been reported already
 */
void check_connections(struct check *k, bool reported);

/* For a database that can be reached. */
void check_durability(struct check *k);
void check_search_path(struct check *k);
void check_disk(struct check *k);

/* check_seller -- find a seller for whom the seller-data API was called before.
 * False: there was no chat yet. */
bool check_seller(struct check *k, char id[24]);

/* check_nginx -- Nginx, its site, and a request to each listener. without_conf:
 * c->conf is not valid, because the settings are not. */
void check_nginx(struct check *k, bool without_conf);

/* The upstreams: the models, Redis, the seller-data API. */
void check_models(struct check *k);
void check_redis(struct check *k);
void check_seller_api(struct check *k);

#endif
