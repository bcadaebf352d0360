#include "config.h"

#include "app/worker/chat.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/bounds.h"
#include "lib/clock.h"
#include "lib/utf8.h"

void
chat_begin(struct chat *c, struct request *rq)
{
	*c = (struct chat){ .rq = rq,
		.worker = rq->worker,
		.conf = &rq->worker->conf,
		.metrics = rq->worker->metrics };
}

void
chat_free(struct chat *c)
{
	free(c->seller);
	free(c->found.answer);
	aic_context_done(&c->context);
	aic_buf_done(&c->body);
	free(c->answer.text);
	json_object_put(c->doc);
}

void
chat_set_reservation(struct chat *c, enum reservation_state state)
{
	bool was_held = c->reservation.state == RESERVATION_HELD;
	bool is_held = state == RESERVATION_HELD;

	if (is_held != was_held)
		aic_metrics_reserved(c->metrics, is_held ? 1 : -1);
	c->reservation.state = state;
}

int64_t
chat_model_deadline(const struct chat *c)
{
	return c->rq->deadline_us -
	    (AIC_BOUNDS_ANSWER_MS + c->conf->db_timeout_ms) * AIC_MS;
}

struct aic_context_terms
chat_context_terms(const struct chat *c)
{
	return (struct aic_context_terms){
		.exchanges = c->conf->context_messages,
		.chars = c->conf->context_chars,
		.ttl_s = c->conf->context_ttl_s,
		.now_us = (int64_t)time(NULL) * AIC_S,
		.from_us = c->context_from_us
	};
}

bool
chat_has_data(const struct chat *c)
{
	const char *data = c->in.user_context;

	return data && !aic_utf8_blank(data, strlen(data));
}
