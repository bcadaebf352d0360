/*
 * user -- what there is to know about one user: history, limits, statistics, and
 * the reset of a limit, a new conversation.
 */
#ifndef USER_H
#define USER_H

#include "app/worker/request.h"

enum aic_code user_history(struct request *rq, struct aic_err *err);
enum aic_code user_limits(struct request *rq, struct aic_err *err);
enum aic_code user_reset(struct request *rq, struct aic_err *err);
enum aic_code user_clear(struct request *rq, struct aic_err *err);
enum aic_code user_stats(struct request *rq, struct aic_err *err);

#endif
