/*
 * seller_sums -- what one line shows about a list of a seller's figures: the
 * sums of its items, and which items come first. A part of seller.h.
 *
 * Which fields are added up, and which are averaged, is in the table of fields
 * (seller_fields.h). Cancelled orders and returns are counted, but their money
 * and pieces are in no sum.
 *
 * Threads: any.
 */
#ifndef AIC_SELLER_SUMS_H
#define AIC_SELLER_SUMS_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/seller_fields.h"

struct aic_buf;
struct json_object;

/* The items of a list that are shown. A model cannot make use of more. */
#define AIC_SELLER_SUMS_FIRST 5

/* Which items of a list come first. */
enum aic_seller_order {
	AIC_SELLER_ORDER_AS_IS, /* the order of the list */
	AIC_SELLER_ORDER_NEWEST, /* the list from its end */
	AIC_SELLER_ORDER_MOST, /* by money, the most first */
	AIC_SELLER_ORDER_LEAST_LEFT, /* by stock, or by the days it lasts */
	AIC_SELLER_ORDER_WORST /* by rating */
};

struct aic_seller_sums {
	double sum[AIC_SELLER_FIELDS_MAX]; /* by field */
	size_t n[AIC_SELLER_FIELDS_MAX]; /* items that have the field */
	size_t none_left; /* items of which nothing is left */
	size_t bad; /* bad reviews */
	size_t no_revenue; /* cancelled orders and returns */
	struct json_object *first[AIC_SELLER_SUMS_FIRST]; /* in their order */
	double place[AIC_SELLER_SUMS_FIRST]; /* smaller places come first */
	int n_first;
};

/*
 * aic_seller_sums_read -- add up the items of a list, and find the first ones.
 *
 * order     decides which items become the first ones
 *
 * Memory:   `first' points into the list
 */
void aic_seller_sums_read(struct aic_seller_sums *s, struct json_object *list,
    enum aic_seller_order order);

/*
 * aic_seller_sums_put -- write the sums in one line, for example " итого
 * количество 12, нет в наличии: 1"; nothing if there are none.
 *
 * all       false: the list is one page of several, and the text says so
 *
 * Errors:   b->failed
 */
void aic_seller_sums_put(const struct aic_seller_sums *s, bool all,
    struct aic_buf *b);

#endif
