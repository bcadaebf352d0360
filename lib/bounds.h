/*
 * bounds -- sizes and time margins on which several programs, or the settings
 * and the code that uses them, must agree.
 *
 * The limits of a Telegram message are in parts.h, the daily limit of a user in
 * limit.h.
 */
#ifndef AIC_BOUNDS_H
#define AIC_BOUNDS_H

/*
 * The maximum body of a request, in bytes. Nginx enforces the same limit first
 * (client_max_body_size) and sends the 413; a worker that is reached without
 * Nginx enforces it itself.
 */
#define AIC_BOUNDS_BODY 262144

/*
 * A request that runs for this much longer than its deadline is stuck: a worker
 * that drains exits without waiting for it. A service manager must not kill the
 * worker earlier.
 */
#define AIC_BOUNDS_DRAIN_SPARE_MS 5000

/* The time between the save and the deadline, in which the response is sent. */
#define AIC_BOUNDS_ANSWER_MS 200

#endif
