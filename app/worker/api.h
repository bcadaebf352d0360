/*
 * api -- the table of endpoints: method and path to input and handler.
 */
#ifndef API_H
#define API_H

#include "app/worker/endpoint.h"

/* api_endpoints -- all endpoints; static. */
const struct endpoint *api_endpoints(int *ret_n);

/*
 * api_find -- the endpoint of a path.
 *
 * ret_tail  the part of the path after the endpoint's own; borrows from path
 *
 * NULL: there is none, or it is off with these settings.
 */
const struct endpoint *
api_find(const char *path, const struct aic_conf *conf, const char **ret_tail);

/* api_index -- the position of an endpoint in the table; NULL: -1. */
int api_index(const struct endpoint *e);

/* api_labels -- the labels of the metrics, one for each endpoint: its path up
 * to the segment that varies; static. */
const char *const *api_labels(int *ret_n);

#endif
