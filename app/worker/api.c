#include "config.h"

#include "app/worker/api.h"

#include <stdio.h>
#include <string.h>

#include "app/worker/admin.h"
#include "app/worker/health.h"
#include "app/worker/openapi.h"
#include "app/worker/pages.h"
#include "app/worker/send.h"
#include "app/worker/user.h"
#include "lib/render.h"

static bool
has_docs(const struct aic_conf *conf)
{
	return conf->api_docs;
}

static bool
has_admin(const struct aic_conf *conf)
{
	return aic_auth_has_admin(conf->auth);
}

static const struct endpoint endpoints[] = {
	{ "GET", "/health", AIC_AUTH_NONE, WORKER_SLOT_NONE, health_live,
	    .id = "getHealth", .tag = "Health", .summary = "Liveness",
	    .about = "The worker serves requests. No other system is called.",
	    .answer = &health_live_shape },
	/* The same check, at a path to which Nginx lets callers through. */
	{ "GET", "/v1/chat/health", AIC_AUTH_NONE, WORKER_SLOT_NONE,
	    health_live, .id = "getChatHealth", .tag = "Health",
	    .summary = "Liveness, as /health",
	    .about = "For callers that reach only the paths below `/v1/`.",
	    .answer = &health_live_shape },
	{ "GET", "/health/ready", AIC_AUTH_NONE, WORKER_SLOT_NONE, health_ready,
	    .id = "getReadiness", .tag = "Health", .summary = "Readiness",
	    .about = "Whether a chat could be reserved and saved now, and the "
		     "state of each part. No paid call is made. The status is "
		     "503 if the database is not usable.",
	    .answer = &health_ready_shape, .other_status = 503 },
	{ "GET", "/metrics", AIC_AUTH_CALLER, WORKER_SLOT_NONE, health_metrics,
	    .id = "getMetrics", .tag = "Health",
	    .summary = "Metrics for Prometheus",
	    .about = "The metrics of all workers of the host. The listener for "
		     "the local monitoring requires no key.",
	    .type = "text/plain" },
	{ "POST", "/v1/chat/send", AIC_AUTH_CALLER, WORKER_SLOT_CHAT, send_chat,
	    .input = &send_input, .id = "sendMessage", .tag = "Chat",
	    .summary = "Ask the assistant a question",
	    .about = "Calls the model with the user's last exchanges and the "
		     "seller's data, stores the exchange and counts the chat. "
		     "A chat that fails is not counted. The response can take "
		     "up to the deadline of the service, 55 seconds unless "
		     "configured otherwise. A caller that closes the "
		     "connection cancels the chat, unless the request has an "
		     "`Idempotency-Key`.",
	    .answer = &aic_render_answer_shape,
	    .errors = 1U << AIC_ELIMIT | 1U << AIC_ECROWD |
		1U << AIC_EUPSTREAM | 1U << AIC_EOPEN,
	    .replays = true, .reads_limit = true },
	{ "POST", "/v1/chat/history", AIC_AUTH_CALLER, WORKER_SLOT_DB,
	    user_history, .input = &user_history_input, .id = "getHistory",
	    .tag = "Users", .summary = "Stored exchanges of a user",
	    .about = "A page of the exchanges, newest first.",
	    .answer = &aic_render_history_shape },
	{ "POST", "/v1/chat/clear", AIC_AUTH_CALLER, WORKER_SLOT_DB, user_clear,
	    .input = &user_body_input, .id = "clearConversation",
	    .tag = "Users", .summary = "Start a new conversation",
	    .about = "The model receives no exchange from before. The history "
		     "and the limit do not change.",
	    .answer = &user_clear_shape },
	{ "GET", "/v1/chat/limits/{telegram_id}", AIC_AUTH_CALLER,
	    WORKER_SLOT_DB, user_limits, .input = &user_path_input,
	    .id = "getLimits", .tag = "Users",
	    .summary = "Daily limit of a user",
	    .about = "Changes nothing. A user who has never chatted has the "
		     "whole limit.",
	    .answer = &aic_render_limits_shape, .reads_limit = true },
	{ "POST", "/v1/chat/reset-limit", AIC_AUTH_ADMIN, WORKER_SLOT_DB,
	    user_reset, .input = &user_body_input, .id = "resetLimit",
	    .tag = "Users", .summary = "Reset the daily limit of a user",
	    .about = "Sets the number of chats of the day to 0. Chats in "
		     "flight stay reserved. If `API_ADMIN_KEY` is set, only "
		     "that key is accepted.",
	    .answer = &aic_render_reset_shape, .reads_limit = true },
	{ "GET", "/v1/chat/stats/{telegram_id}", AIC_AUTH_CALLER,
	    WORKER_SLOT_DB, user_stats, .input = &user_stats_input,
	    .id = "getStats", .tag = "Users",
	    .summary = "Sums and averages of a user",
	    .about = "Over the last calendar days, today included.",
	    .answer = &aic_render_stats_shape },
	{ "GET", "/v1/admin/overview", AIC_AUTH_OPERATOR, WORKER_SLOT_DB,
	    admin_overview, .is_on = has_admin, .input = &admin_overview_input,
	    .id = "getOverview", .tag = "Administration",
	    .summary = "Sums of the last days",
	    .about = "Chats, tokens, users, refusals and failures of each day.",
	    .answer = &admin_overview_shape },
	{ "GET", "/v1/admin/users", AIC_AUTH_OPERATOR, WORKER_SLOT_DB,
	    admin_users, .is_on = has_admin, .input = &admin_users_input,
	    .id = "getTopUsers", .tag = "Administration",
	    .summary = "Users with the most chats or tokens",
	    .about = "In a month or on a day.", .answer = &admin_users_shape },
	{ "GET", "/v1/admin/user/{telegram_id}", AIC_AUTH_OPERATOR,
	    WORKER_SLOT_DB, admin_user, .is_on = has_admin,
	    .input = &admin_user_input, .id = "getUser",
	    .tag = "Administration", .summary = "One user",
	    .about = "The limit of today, the statistics, and each of the last "
		     "days.",
	    .answer = &admin_user_shape },
	{ "GET", "/v1/admin/history/{telegram_id}", AIC_AUTH_OPERATOR,
	    WORKER_SLOT_DB, admin_history, .is_on = has_admin,
	    .input = &admin_history_input, .id = "readHistory",
	    .tag = "Administration", .summary = "Stored exchanges of a user",
	    .about = "A page of the exchanges, newest first. That they were "
		     "read is recorded.",
	    .answer = &aic_render_history_shape },
	{ "POST", "/v1/admin/reset-limit", AIC_AUTH_OPERATOR, WORKER_SLOT_DB,
	    user_reset, .is_on = has_admin, .input = &user_body_input,
	    .id = "adminResetLimit", .tag = "Administration",
	    .summary = "Reset the daily limit of a user",
	    .about = "Sets the number of chats of the day to 0. Chats in "
		     "flight stay reserved. The action is recorded.",
	    .answer = &aic_render_reset_shape, .reads_limit = true },
	{ "POST", "/v1/admin/clear", AIC_AUTH_OPERATOR, WORKER_SLOT_DB,
	    user_clear, .is_on = has_admin, .input = &user_body_input,
	    .id = "adminClearConversation", .tag = "Administration",
	    .summary = "Start a new conversation of a user",
	    .about = "The model receives no exchange from before. The history "
		     "and the limit do not change. The action is recorded.",
	    .answer = &user_clear_shape },
	{ "POST", "/v1/admin/forget", AIC_AUTH_OPERATOR, WORKER_SLOT_DB,
	    admin_forget, .is_on = has_admin, .input = &admin_target_input,
	    .id = "forgetUser", .tag = "Administration",
	    .summary = "Erase a user",
	    .about = "Deletes everything that is stored about the user, "
		     "permanently. Chats in flight are not stored. The action "
		     "is recorded.",
	    .answer = &admin_forget_shape },
	/* Takes no slot, because operators call it when all slots are in use.
	 */
	{ "GET", "/v1/admin/service", AIC_AUTH_OPERATOR, WORKER_SLOT_NONE,
	    admin_service, .is_on = has_admin, .id = "getService",
	    .tag = "Administration", .summary = "State of the workers",
	    .about = "The workers of this host, their circuit breakers, and "
		     "the last errors.",
	    .answer = &admin_service_shape },
	{ "GET", "/v1/admin/audit", AIC_AUTH_OPERATOR, WORKER_SLOT_DB,
	    admin_audit_list, .is_on = has_admin, .input = &admin_audit_input,
	    .id = "getAudit", .tag = "Administration",
	    .summary = "Actions of operators",
	    .about = "Which key did what about whom, and when.",
	    .answer = &admin_audit_shape },
	{ "GET", "/openapi.json", AIC_AUTH_NONE, WORKER_SLOT_NONE, openapi_get,
	    .is_on = has_docs },
	{ "GET", "/docs", AIC_AUTH_NONE, WORKER_SLOT_NONE, pages_get,
	    .is_on = has_docs },
	{ "GET", "/docs/*", AIC_AUTH_NONE, WORKER_SLOT_NONE, pages_get,
	    .is_on = has_docs },
	/* The page has no secret. Its requests have the key. */
	{ "GET", "/admin", AIC_AUTH_NONE, WORKER_SLOT_NONE, pages_get,
	    .is_on = has_admin },
	{ "GET", "/admin/*", AIC_AUTH_NONE, WORKER_SLOT_NONE, pages_get,
	    .is_on = has_admin },
};

#define N_ENDPOINTS ((int)(sizeof(endpoints) / sizeof(endpoints[0])))
_Static_assert(N_ENDPOINTS < AIC_METRICS_ROUTES, "each endpoint is counted");

const struct endpoint *
api_endpoints(int *ret_n)
{
	*ret_n = N_ENDPOINTS;
	return endpoints;
}

int
api_index(const struct endpoint *e)
{
	return e ? (int)(e - endpoints) : -1;
}

/* The length of the part of the path that does not vary. */
static size_t
fixed_length(const struct endpoint *e)
{
	return strcspn(e->path, "{*");
}

#define LABEL_MAX 64

const char *const *
api_labels(int *ret_n)
{
	static char texts[N_ENDPOINTS][LABEL_MAX];
	static const char *labels[N_ENDPOINTS];
	int i;

	for (i = 0; i < N_ENDPOINTS; i++) {
		snprintf(texts[i], LABEL_MAX, "%.*s",
		    (int)fixed_length(&endpoints[i]), endpoints[i].path);
		labels[i] = texts[i];
	}
	*ret_n = N_ENDPOINTS;
	return labels;
}

/* The part of the path after the endpoint's own; NULL: another endpoint. */
static const char *
match_path(const struct endpoint *e, const char *path)
{
	size_t n = fixed_length(e);

	if (strncmp(path, e->path, n) != 0)
		return NULL;
	path += n;
	switch (e->path[n]) {
	case '{':
		return *path && !strchr(path, '/') ? path : NULL;
	case '*':
		return strchr(path, '/') ? NULL : path;
	default:
		return *path ? NULL : path;
	}
}

const struct endpoint *
api_find(const char *path, const struct aic_conf *conf, const char **ret_tail)
{
	const struct endpoint *e;
	const char *tail;

	for (e = endpoints; e < endpoints + N_ENDPOINTS; e++) {
		tail = match_path(e, path);
		if (!tail || (e->is_on && !e->is_on(conf)))
			continue;
		*ret_tail = tail;
		return e;
	}
	return NULL;
}
