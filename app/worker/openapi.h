/*
 * openapi -- the OpenAPI 3.1 document of the API, which is generated from the
 * table of endpoints, the tables of fields, the shapes and the table of errors.
 *
 * Source: https://spec.openapis.org/oas/v3.1.1.html
 */
#ifndef OPENAPI_H
#define OPENAPI_H

#include "app/worker/endpoint.h"

/*
 * openapi_build -- write the document of the endpoints that are on.
 *
 * conf      NULL: all endpoints are on
 * to        initialised by this function
 *
 * Errors:   AIC_ENOMEM; AIC_EBUG  a text of a table that should be JSON is not
 * Memory:   gives; aic_buf_done()
 */
enum aic_code openapi_build(struct aic_buf *to, const struct endpoint *table,
    int n, const struct aic_conf *conf, struct aic_err *err) AIC_MUST_CHECK;

/* openapi_get -- GET /openapi.json: the document, built at the start. */
enum aic_code openapi_get(struct request *rq, struct aic_err *err);

#endif
