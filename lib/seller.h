/*
 * seller -- what the Server knows of a seller, as a short text for the model.
 *
 * The Server answers {"sales", "stocks", "orders", "reviews"}, each an object, a list
 * or absent. What is in them is not agreed upon, so a table of names says how the
 * usual ones are called in Russian, those of the Wildberries API included; lists are
 * counted and added up, and their first few shown; and what has another name is
 * passed on under its own.
 *
 * All of it was written by strangers: buyers write reviews, competitors name products.
 * So every text, and every name that is not of the table, is quoted «so», in one line,
 * without guillemets and what cannot be seen, and cut; what is not between guillemets
 * is ours, or a number.
 */
#ifndef AIC_SELLER_H
#define AIC_SELLER_H

#include "err.h"

/* A hundred of each kind, with all fields that the Wildberries API has, are half of
 * it; what is more is no summary. */
#define AIC_SELLER_ANSWER_MAX (256 * 1024)

/*
 * aic_seller_summary -- the text.
 *
 * text      the body of the Server's answer, any bytes
 * chars_max of the summary, in code points; when there is more, each of the parts
 *           gives up its last lines
 * ret_text  set on AIC_OK: valid UTF-8 without NUL; NULL: it tells nothing
 *
 * Errors:   AIC_EINPUT  not a JSON object; AIC_ENOMEM
 * Memory:   gives *ret_text; free()
 */
enum aic_code aic_seller_summary(const char *text, size_t len, size_t chars_max,
    char **ret_text) AIC_MUST_CHECK;

#endif
