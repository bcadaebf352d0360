/*
 * health -- is the process alive; can it serve?
 */
#ifndef HEALTH_H
#define HEALTH_H

#include "app/worker/request.h"

/* health_live -- GET /health: asks nobody. */
enum aic_code health_live(struct request *rq, struct aic_err *err);

/* health_ready -- GET /health/ready: what is known of the database, the model and of
 * Redis; never makes a paid call. The database is asked once a second at most,
 * however many requests come, see worker_ping(). */
enum aic_code health_ready(struct request *rq, struct aic_err *err);

/* health_metrics -- GET /metrics: all workers of this machine, for Prometheus. Looks
 * for a database that is away, which takes up to a second. */
enum aic_code health_metrics(struct request *rq, struct aic_err *err);

#endif
