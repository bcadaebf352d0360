/*
 * user -- the handlers for one user: history, limits and statistics, the reset
 * of a limit, and the start of a new conversation.
 */
#ifndef USER_H
#define USER_H

#include "app/worker/request.h"
#include "lib/input.h"
#include "lib/shape.h"

enum aic_code user_history(struct request *rq, struct aic_err *err);
enum aic_code user_limits(struct request *rq, struct aic_err *err);
enum aic_code user_reset(struct request *rq, struct aic_err *err);
enum aic_code user_clear(struct request *rq, struct aic_err *err);
enum aic_code user_stats(struct request *rq, struct aic_err *err);

extern const struct aic_input_schema user_history_input;
extern const struct aic_input_schema user_body_input; /* reset, clear */
extern const struct aic_input_schema user_path_input; /* limits */
extern const struct aic_input_schema user_stats_input;
extern const struct aic_shape user_clear_shape;

#endif
