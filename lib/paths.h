/*
 * paths -- where the seller-data API has the figures of a seller: a list of path
 * templates, each with the seller's id in it.
 *
 * Threads: read-only once it is made.
 */
#ifndef AIC_PATHS_H
#define AIC_PATHS_H

#include <stdbool.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/http.h"

/* More than one question needs; each is one call. */
#define AIC_PATHS_MAX 8

/* What stands for the id in a template. */
#define AIC_PATHS_ID "{telegram_id}"

struct aic_paths {
	char *text;
	const char *path[AIC_PATHS_MAX]; /* in text */
	int n;
};

/*
 * aic_paths_read -- read a list, divided by commas or blanks.
 *
 * Errors:   AIC_ECONF  err->detail says what is wrong, without the setting's name;
 *           AIC_ENOMEM
 * Memory:   gives; aic_paths_done()
 */
enum aic_code aic_paths_read(struct aic_paths *ret_paths, const char *list,
    struct aic_err *err) AIC_MUST_CHECK;

/* aic_paths_done -- copes with a zeroed one. */
void aic_paths_done(struct aic_paths *paths);

/* aic_paths_url -- host, and the path with the id in it. Errors: to->failed. */
void aic_paths_url(struct aic_buf *to, const char *host, const char *path,
    const char *id);

/*
 * aic_paths_is_missing -- does the answer say that there is no such endpoint?
 *
 * A framework answers 404 {"detail":"Not Found"} where no route matches. A handler that
 * does not know the seller answers 404 as well, nearly always in words of its own.
 *
 * Source:   Starlette, Router.not_found()
 */
bool aic_paths_is_missing(const struct aic_http_answer *answer);

#endif
