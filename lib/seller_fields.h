/*
 * words -- what the usual names of a shop's figures are in Russian, and what kind of
 * figure each is: those of the Wildberries API, those that servers for sellers give
 * theirs, and those of wb_assist, whose API some sellers' bots use. Where a name means
 * something else there than it says, the word is what it means.
 *
 * Threads: only reads.
 */
#ifndef AIC_SELLER_FIELDS_H
#define AIC_SELLER_FIELDS_H

#include <stdbool.h>
#include <stddef.h>

/* What a number is; most just are. */
enum aic_seller_fields_how {
	AIC_SELLER_FIELDS_PLAIN,
	AIC_SELLER_FIELDS_SUM, /* in a list they add up */
	AIC_SELLER_FIELDS_STOCK, /* likewise; where it is 0, nothing is left */
	AIC_SELLER_FIELDS_MONEY, /* with kopecks, if there are any */
	AIC_SELLER_FIELDS_MONEY_SUM, /* likewise, and they add up */
	AIC_SELLER_FIELDS_BACK_SUM, /* likewise, of money that went back */
	AIC_SELLER_FIELDS_RATING, /* in a list of reviews they have an average */
	AIC_SELLER_FIELDS_DAYS, /* the noun behind the number takes its form */
	AIC_SELLER_FIELDS_CANCEL, /* a count that adds up; true: the item is no revenue */
	AIC_SELLER_FIELDS_KIND, /* one of some texts, see aic_seller_fields_value() */
	AIC_SELLER_FIELDS_SALE_ID, /* not told; an R and digits are a return's */
	AIC_SELLER_FIELDS_ID, /* names a thing: its digits are not grouped */
	AIC_SELLER_FIELDS_LONG, /* a text that may be longer than others */
	AIC_SELLER_FIELDS_SKIP, /* of no use to anybody, or somebody's name */
};

/* What a 0 says. */
enum aic_seller_fields_zero {
	AIC_SELLER_FIELDS_ZERO,
	AIC_SELLER_FIELDS_NO_ZERO, /* nothing: it stands for "not known" */
	AIC_SELLER_FIELDS_NO_ZERO_IN_LIST, /* nothing, of an item of a list */
};

struct aic_seller_field {
	const char *label;
	const char *unit; /* behind a number */
	enum aic_seller_fields_how how;
	enum aic_seller_fields_zero zero;
};

/* There are no more of them. */
#define AIC_SELLER_FIELDS_MAX 160

/* aic_seller_fields_find -- by any of its names: "nm_id", "nmId" and "NMID" are one. The
 * value is a number below AIC_SELLER_FIELDS_MAX; 0: not known. */
int aic_seller_fields_find(const char *name);

/* aic_seller_fields_get -- the word of a number; that of 0 has no label and is plain. */
const struct aic_seller_field *aic_seller_fields_get(int word);

/*
 * aic_seller_fields_within -- the word, where it is a member of an object of the word outer.
 *
 * In sales_periods of wb_assist "7_days" begins on Monday, and "30_days" with the month.
 */
int aic_seller_fields_within(int outer, int word);

/* aic_seller_fields_is_totals -- figures of the period that the document is about. */
bool aic_seller_fields_is_totals(int word);

/*
 * aic_seller_fields_is_part, aic_seller_fields_is_double -- an object that has the amount of buyouts or
 * of returns has parts; then its total amount and number of sales are those of both
 * added up, which is no revenue, and they are not told.
 */
bool aic_seller_fields_is_part(int word);
bool aic_seller_fields_is_double(int word);

/* What a text of AIC_SELLER_FIELDS_KIND says. */
struct aic_seller_fields_value {
	const char *name;
	const char *label;
	bool no_revenue; /* an item of this kind */
};

/* aic_seller_fields_value -- NULL: it is none of them. */
const struct aic_seller_fields_value *aic_seller_fields_value(const char *name);

/* aic_seller_fields_is_nothing -- does a text stand for "not known"? */
bool aic_seller_fields_is_nothing(const char *text);

#endif
