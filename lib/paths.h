/*
 * paths -- the endpoints of the seller-data API: a list of path templates, each
 * with a place for the seller's id.
 *
 * Threads: read-only after aic_paths_read().
 */
#ifndef AIC_PATHS_H
#define AIC_PATHS_H

#include <stdbool.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/http.h"

/* The most paths; each path is one call for each question. */
#define AIC_PATHS_MAX 8

/* The place of the id in a template. */
#define AIC_PATHS_ID "{telegram_id}"

struct aic_paths {
	char *text;
	const char *path[AIC_PATHS_MAX]; /* pointers into text */
	int n;
};

/*
 * aic_paths_read -- read a list that is separated by commas or blanks.
 *
 * Errors:   AIC_ECONF  err->detail describes the error, without the name of the
 *                      setting; AIC_ENOMEM
 * Memory:   gives; aic_paths_done()
 */
enum aic_code aic_paths_read(struct aic_paths *ret_paths, const char *list,
    struct aic_err *err) AIC_MUST_CHECK;

/* aic_paths_done -- free; accepts a zeroed struct. */
void aic_paths_done(struct aic_paths *paths);

/*
 * aic_paths_url -- write the host, and the path with the id in it. Errors:
 * to->failed.
 */
void aic_paths_url(struct aic_buf *to, const char *host, const char *path,
    const char *id);

/*
 * aic_paths_is_missing -- true if the answer means that the endpoint does not
 * exist.
 *
 * A framework answers 404 {"detail":"Not Found"} if no route matches. A handler
 * that does not find the seller also answers 404, nearly always with another
 * text.
 *
 * Source:   Starlette, Router.not_found()
 */
bool aic_paths_is_missing(const struct aic_http_answer *answer);

#endif
