/*
 * admin -- the handlers for operators, under /v1/admin/, and the record of
 * their actions. docs/api.md describes the responses.
 *
 * admin.c has what concerns one user and the record, admin_usage.c the sums,
 * and admin_service.c the state of the workers.
 */
#ifndef ADMIN_H
#define ADMIN_H

#include "app/worker/request.h"
#include "lib/audit.h"
#include "lib/input.h"
#include "lib/shape.h"

/* The parameters of all endpoints. */
struct admin_input {
	int64_t telegram_id; /* 0: none */
	int64_t days;
	int64_t limit;
	int64_t offset;
	int64_t by;
};

/* Fields that several endpoints have. */
#define ADMIN_DAYS                                                             \
	{                                                                      \
		"days", AIC_INPUT_INT,                                         \
		    .min = 1, .max = 365, .preset = 30,                        \
		    .offset = offsetof(struct admin_input, days),              \
		    .place = AIC_INPUT_QUERY,                                  \
		    .about = "The number of calendar days, today included.",   \
		    .example = "30"                                            \
	}
#define ADMIN_LIMIT(usual)                                                     \
	{                                                                      \
		"limit", AIC_INPUT_INT,                                        \
		    .min = 1, .max = 100, .preset = (usual),                   \
		    .offset = offsetof(struct admin_input, limit),             \
		    .place = AIC_INPUT_QUERY,                                  \
		    .about = "The largest number of items in the response.",   \
		    .example = #usual                                          \
	}
#define ADMIN_OFFSET(largest)                                                  \
	{                                                                      \
		"offset", AIC_INPUT_INT,                                       \
		    .min = 0, .max = (largest),                                \
		    .offset = offsetof(struct admin_input, offset),            \
		    .place = AIC_INPUT_QUERY,                                  \
		    .about = "How many of the first items are skipped.",       \
		    .example = "0"                                             \
	}

/*
 * admin_begin -- begin an action about the user of the request.
 *
 * action    static
 * ret_audit  the row to insert with the action. Its key is NULL when the
 *           endpoint accepts callers: then nothing is recorded. Valid until the
 *           request ends.
 *
 * Errors:   AIC_ENOMEM; AIC_EBUG  getrandom() failed
 */
enum aic_code admin_begin(struct request *rq, const char *action,
    struct aic_audit *ret_audit, struct aic_err *err) AIC_MUST_CHECK;

/*
 * admin_read_params -- read the parameters of the path and the query.
 *
 * Errors:   AIC_EINPUT
 */
enum aic_code
admin_read_params(struct request *rq, const struct aic_input_schema *schema,
    struct admin_input *ret_in, struct aic_err *err) AIC_MUST_CHECK;

/* admin_put_text -- write a text as JSON; NULL: null. */
void admin_put_text(struct aic_buf *to, const char *text);

enum aic_code admin_overview(struct request *rq, struct aic_err *err);
enum aic_code admin_users(struct request *rq, struct aic_err *err);
enum aic_code admin_user(struct request *rq, struct aic_err *err);
enum aic_code admin_history(struct request *rq, struct aic_err *err);
enum aic_code admin_forget(struct request *rq, struct aic_err *err);
enum aic_code admin_service(struct request *rq, struct aic_err *err);
enum aic_code admin_audit_list(struct request *rq, struct aic_err *err);

extern const struct aic_input_schema admin_overview_input;
extern const struct aic_input_schema admin_users_input;
extern const struct aic_input_schema admin_user_input;
extern const struct aic_input_schema admin_history_input;
extern const struct aic_input_schema admin_target_input; /* forget */
extern const struct aic_input_schema admin_audit_input;
extern const struct aic_shape admin_overview_shape;
extern const struct aic_shape admin_users_shape;
extern const struct aic_shape admin_user_shape;
extern const struct aic_shape admin_forget_shape;
extern const struct aic_shape admin_service_shape;
extern const struct aic_shape admin_audit_shape;

#endif
