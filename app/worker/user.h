/*
 * user -- the handlers for one user: history, limits and statistics, the reset
 * of a limit, and the start of a new conversation.
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
