/*
 * seller_fields -- the Russian labels of the usual fields of a shop's figures,
 * and the kind of each figure. The table has the names of the Wildberries API,
 * names that are common in services for sellers, and the names of wb_assist, a
 * service whose API some bots for sellers use. If a name of wb_assist is
 * misleading, the label says what the figure really is.
 *
 * Threads: any; the functions only read.
 */
#ifndef AIC_SELLER_FIELDS_H
#define AIC_SELLER_FIELDS_H

#include <stdbool.h>
#include <stddef.h>

/* The kind of a number; most numbers are plain. */
enum aic_seller_fields_how {
	AIC_SELLER_FIELDS_PLAIN,
	AIC_SELLER_FIELDS_SUM, /* added up over a list */
	AIC_SELLER_FIELDS_STOCK, /* added up; 0 means that nothing is left */
	AIC_SELLER_FIELDS_MONEY, /* with kopecks, if there are any */
	AIC_SELLER_FIELDS_MONEY_SUM, /* money, added up over a list */
	AIC_SELLER_FIELDS_BACK_SUM, /* money that was returned, added up */
	AIC_SELLER_FIELDS_RATING, /* averaged over a list of reviews */
	/* followed by a noun in the form of the number */
	AIC_SELLER_FIELDS_DAYS,
	/* a count, added up, or `true': the item is no revenue */
	AIC_SELLER_FIELDS_CANCEL,
	/* a text of a fixed set; see aic_seller_fields_value() */
	AIC_SELLER_FIELDS_KIND,
	AIC_SELLER_FIELDS_SALE_ID, /* not shown; R and digits mean a return */
	AIC_SELLER_FIELDS_ID, /* an identifier: its digits are not grouped */
	AIC_SELLER_FIELDS_LONG, /* a text that may be longer than others */
	AIC_SELLER_FIELDS_SKIP, /* not shown: useless, or a person's name */
};

/* The meaning of a 0. */
enum aic_seller_fields_zero {
	AIC_SELLER_FIELDS_ZERO,
	AIC_SELLER_FIELDS_NO_ZERO, /* 0 stands for "unknown" */
	/* 0 stands for "unknown" in an item of a list */
	AIC_SELLER_FIELDS_NO_ZERO_IN_LIST,
};

struct aic_seller_field {
	const char *label;
	const char *unit; /* written after a number */
	enum aic_seller_fields_how how;
	enum aic_seller_fields_zero zero;
};

/* The table has no more fields than this. */
#define AIC_SELLER_FIELDS_MAX 160

/*
 * aic_seller_fields_find -- find a field by any of its names; "nm_id", "nmId"
 * and "NMID" are the same name. The value is the field's number, below
 * AIC_SELLER_FIELDS_MAX; 0: the table does not have the name.
 */
int aic_seller_fields_find(const char *name);

/*
 * aic_seller_fields_get -- the field of a number; field 0 has no label and is
 * plain.
 */
const struct aic_seller_field *aic_seller_fields_get(int field);

/* aic_seller_fields_how -- the kind of a field. */
enum aic_seller_fields_how aic_seller_fields_how(int field);

/*
 * aic_seller_fields_is_money -- true for an amount of money.
 * aic_seller_fields_adds_up -- true if a list shows the sum of the field.
 */
bool aic_seller_fields_is_money(int field);
bool aic_seller_fields_adds_up(int field);

/* aic_seller_fields_is_hidden -- true for a field that is not shown. */
bool aic_seller_fields_is_hidden(int field);

/*
 * aic_seller_fields_is_shown -- false if the number stands for "unknown".
 *
 * in_list   the number belongs to an item of a list
 */
bool aic_seller_fields_is_shown(int field, double x, bool in_list);

/*
 * aic_seller_fields_within -- the field that a member is inside an object:
 * outer is the field of the object, `field' the one of the member's name.
 *
 * In sales_periods of wb_assist, "7_days" begins on Monday, and "30_days" on
 * the first of the month.
 */
int aic_seller_fields_within(int outer, int field);

/*
 * aic_seller_fields_is_totals -- true for the totals of the document's period.
 */
bool aic_seller_fields_is_totals(int field);

/*
 * aic_seller_fields_is_part, aic_seller_fields_is_double -- Some objects divide
 * sales into buyouts and returns: they have the amount of at least one of the
 * two (is_part). Their total amount and their number of sales then add up both
 * (is_double). Such a total is no revenue, so it is not shown.
 */
bool aic_seller_fields_is_part(int field);
bool aic_seller_fields_is_double(int field);

/* The meaning of a text of AIC_SELLER_FIELDS_KIND. */
struct aic_seller_fields_value {
	const char *name;
	const char *label;
	bool no_revenue; /* of an item of this kind */
};

/*
 * aic_seller_fields_value -- find a text of the fixed set; NULL: not one of
 * these.
 */
const struct aic_seller_fields_value *aic_seller_fields_value(const char *name);

/* aic_seller_fields_is_nothing -- true if the text stands for "unknown". */
bool aic_seller_fields_is_nothing(const char *text);

#endif
