/*
 * health -- the handlers for liveness, readiness and metrics.
 */
#ifndef HEALTH_H
#define HEALTH_H

#include "app/worker/request.h"
#include "lib/shape.h"

/* health_live -- GET /health: the process serves requests. No other system is
 * called. */
enum aic_code health_live(struct request *rq, struct aic_err *err);

/* health_ready -- GET /health/ready: the states of the database, the model and
 * Redis. No paid call is made. The database is probed at most once a second,
 * however many requests arrive; see worker_probe(). */
enum aic_code health_ready(struct request *rq, struct aic_err *err);

/* health_metrics -- GET /metrics: the metrics of all workers of this machine,
 * for Prometheus. If the database is down, the handler probes the database,
 * which takes up to a second. */
enum aic_code health_metrics(struct request *rq, struct aic_err *err);

extern const struct aic_shape health_live_shape, health_ready_shape;

#endif
