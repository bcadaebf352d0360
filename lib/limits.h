/*
 * limits -- sizes and margins of time that several programs, or the settings and the code
 * behind them, have to agree on.
 */
#ifndef AIC_LIMITS_H
#define AIC_LIMITS_H

/* The body of a request, in bytes. Nginx has the same limit (client_max_body_size) and
 * sends the 413; a worker that is reached in another way enforces it itself. */
#define AIC_LIMITS_BODY 262144

/* A request that runs for this much longer than its deadline is stuck: a worker that
 * drains exits without it. A service manager may kill the worker only after that. */
#define AIC_LIMITS_DRAIN_SPARE_MS 5000

/* After the save the response has to get out before the deadline. */
#define AIC_LIMITS_ANSWER_MS 200

#endif
