/*
 * seller -- what the Server knows of a seller, as a short text for the model.
 *
 * The Server answers {"sales", "stocks", "orders", "reviews"}, each an object, a list
 * or absent; or, as wb_assist does, one of many documents that have parts of these under
 * other names, and in envelopes. What is in them is not agreed upon, so a table of names
 * (words.h) says how the usual ones are called in Russian; lists are counted and added
 * up, and their first few shown; and what has another name is passed on under its own.
 * Several documents become one text.
 *
 * All of it was written by strangers: buyers write reviews, competitors name products.
 * So every text, and every name that is not of the table, is quoted «so», in one line,
 * without guillemets and what cannot be seen, and cut; what is not between guillemets
 * is ours, or a number.
 */
#ifndef AIC_SELLER_H
#define AIC_SELLER_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/buf.h"
#include "lib/err.h"

/* A hundred of each kind, with all fields that the Wildberries API has, are half of
 * it; what is more is no summary. */
#define AIC_SELLER_ANSWER_MAX (256 * 1024)

/* The parts of a text, in their order. */
enum aic_seller_part {
	AIC_SELLER_SHOP,
	AIC_SELLER_ORDERS,
	AIC_SELLER_SALES,
	AIC_SELLER_STOCKS,
	AIC_SELLER_REVIEWS,
	AIC_SELLER__MAX
};

/* What one document tells; a part of which it tells nothing is NULL. */
struct aic_seller {
	char *part[AIC_SELLER__MAX];
};

/*
 * aic_seller_read -- read one document.
 *
 * text      the body of the Server's answer, any bytes
 * chars_max of the text that it is for, in code points: no part gets longer than makes
 *           sense for it
 * ret_seller  set on AIC_OK
 *
 * Errors:   AIC_EINPUT  not a JSON object; AIC_ENOMEM
 * Memory:   gives; aic_seller_done()
 */
enum aic_code aic_seller_read(const char *text, size_t len, size_t chars_max,
    struct aic_seller *ret_seller) AIC_MUST_CHECK;

/* aic_seller_done -- copes with a zeroed one, and leaves a zeroed one. */
void aic_seller_done(struct aic_seller *seller);

/*
 * aic_seller_join -- n documents as one text; what two of them tell alike is told once.
 *
 * chars_max of the text, in code points; when there is more, each of the parts gives up
 *           its last lines
 * ret_text  valid UTF-8 without NUL; NULL: they tell nothing
 *
 * Errors:   AIC_ENOMEM
 * Memory:   gives *ret_text; free()
 */
enum aic_code aic_seller_join(const struct aic_seller *all, int n,
    size_t chars_max, char **ret_text) AIC_MUST_CHECK;

/* aic_seller_summary -- the text of one document: read and join. */
enum aic_code aic_seller_summary(const char *text, size_t len, size_t chars_max,
    char **ret_text) AIC_MUST_CHECK;

/* aic_seller_pack -- a copy to keep elsewhere. Errors: to->failed. */
void aic_seller_pack(const struct aic_seller *seller, struct aic_buf *to);

/*
 * aic_seller_unpack -- read a copy.
 *
 * at        moved behind it
 *
 * False: it is none, or there is no memory. Memory: gives; aic_seller_done().
 */
bool aic_seller_unpack(struct aic_seller *ret_seller, const char **at,
    const char *end) AIC_MUST_CHECK;

#endif
