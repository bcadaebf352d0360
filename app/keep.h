/*
 * keep -- an answered chat is kept and counted once, whatever happens to the database
 * meanwhile, or the caller is told that it was not.
 */
#ifndef KEEP_H
#define KEEP_H

#include "chat.h"

/*
 * keep_chat -- save the exchange, count it and use the reservation up.
 *
 * Errors:   AIC_EDB    the database did not say; nothing was counted, as far as
 *                      could be found out
 *           AIC_EBUSY  the reservation had lapsed and no slot was left
 */
enum aic_code keep_chat(struct chat *c, struct aic_err *err) AIC_MUST_CHECK;

#endif
