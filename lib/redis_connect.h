/*
 * redis_connect -- connect a socket to a Redis server.
 *
 * Threads: any.
 */
#ifndef AIC_REDIS_CONNECT_H
#define AIC_REDIS_CONNECT_H

#include <stddef.h>
#include <stdint.h>

#include "lib/redis_url.h"

/*
 * aic_redis_connect -- resolve the host, and try its addresses in order.
 *
 * connect_us  timeout for each address
 * why         size bytes; set on failure: the reason, for the log
 *
 * The value is a descriptor that does not block; -1: no address accepted the
 * connection.
 *
 * Blocks:   for the timeouts, and on the resolver without a limit
 */
int aic_redis_connect(const struct aic_redis_url *url, int64_t connect_us,
    char *why, size_t size);

#endif
