/*
 * admin -- the handlers for operators, under /v1/admin/, and the record of
 * their actions. docs/api.md describes the responses.
 */
#ifndef ADMIN_H
#define ADMIN_H

#include "app/worker/request.h"
#include "lib/audit.h"

/*
 * admin_begin -- begin an action about the user of the request.
 *
 * action    static
 * ret_audit  the row to insert with the action. Its key is NULL when the key of
 *           the request is no admin key: then nothing is recorded. Valid until
 *           the request ends.
 *
 * Errors:   AIC_EBUG  getrandom() failed
 */
enum aic_code admin_begin(struct request *rq, const char *action,
    struct aic_audit *ret_audit, struct aic_err *err) AIC_MUST_CHECK;

enum aic_code admin_overview(struct request *rq, struct aic_err *err);
enum aic_code admin_users(struct request *rq, struct aic_err *err);
enum aic_code admin_user(struct request *rq, struct aic_err *err);
enum aic_code admin_history(struct request *rq, struct aic_err *err);
enum aic_code admin_forget(struct request *rq, struct aic_err *err);
enum aic_code admin_service(struct request *rq, struct aic_err *err);
enum aic_code admin_audit_list(struct request *rq, struct aic_err *err);

#endif
