/*
 * send -- POST /v1/chat/send: the order of the stages of a chat.
 *
 * No other module depends on this order.
 */
#ifndef SEND_H
#define SEND_H

#include "app/worker/request.h"
#include "lib/input.h"

/* send_chat -- the handler of the route. */
enum aic_code send_chat(struct request *rq, struct aic_err *err);

extern const struct aic_input_schema send_input;

#endif
