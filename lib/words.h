/*
 * words -- what the usual names of a shop's figures are in Russian, and what kind of
 * figure each is: those of the Wildberries API, those that servers for sellers give
 * theirs, and those of wb_assist, whose API some sellers' bots use. Where a name means
 * something else there than it says, the word is what it means.
 *
 * Threads: only reads.
 */
#ifndef AIC_WORDS_H
#define AIC_WORDS_H

#include <stdbool.h>
#include <stddef.h>

/* What a number is; most just are. */
enum aic_words_how {
	AIC_WORDS_PLAIN,
	AIC_WORDS_SUM, /* in a list they add up */
	AIC_WORDS_STOCK, /* likewise; where it is 0, nothing is left */
	AIC_WORDS_MONEY, /* with kopecks, if there are any */
	AIC_WORDS_MONEY_SUM, /* likewise, and they add up */
	AIC_WORDS_BACK_SUM, /* likewise, of money that went back */
	AIC_WORDS_RATING, /* in a list of reviews they have an average */
	AIC_WORDS_DAYS, /* the noun behind the number takes its form */
	AIC_WORDS_CANCEL, /* a count that adds up; true: the item is no revenue */
	AIC_WORDS_KIND, /* one of some texts, see aic_words_value() */
	AIC_WORDS_SALE_ID, /* not told; an R and digits are a return's */
	AIC_WORDS_ID, /* names a thing: its digits are not grouped */
	AIC_WORDS_LONG, /* a text that may be longer than others */
	AIC_WORDS_SKIP, /* of no use to anybody, or somebody's name */
};

/* What a 0 says. */
enum aic_words_zero {
	AIC_WORDS_ZERO,
	AIC_WORDS_NO_ZERO, /* nothing: it stands for "not known" */
	AIC_WORDS_NO_ZERO_IN_LIST, /* nothing, of an item of a list */
};

struct aic_word {
	const char *label;
	const char *unit; /* behind a number */
	enum aic_words_how how;
	enum aic_words_zero zero;
};

/* There are no more of them. */
#define AIC_WORDS_MAX 160

/* aic_words_find -- by any of its names: "nm_id", "nmId" and "NMID" are one. The
 * value is a number below AIC_WORDS_MAX; 0: not known. */
int aic_words_find(const char *name);

/* aic_words_get -- the word of a number; that of 0 has no label and is plain. */
const struct aic_word *aic_words_get(int word);

/*
 * aic_words_within -- the word, where it is a member of an object of the word outer.
 *
 * In sales_periods of wb_assist "7_days" begins on Monday, and "30_days" with the month.
 */
int aic_words_within(int outer, int word);

/* aic_words_is_totals -- figures of the period that the document is about. */
bool aic_words_is_totals(int word);

/*
 * aic_words_is_part, aic_words_is_double -- an object that has the amount of buyouts or
 * of returns has parts; then its total amount and number of sales are those of both
 * added up, which is no revenue, and they are not told.
 */
bool aic_words_is_part(int word);
bool aic_words_is_double(int word);

/* What a text of AIC_WORDS_KIND says. */
struct aic_words_value {
	const char *name;
	const char *label;
	bool no_revenue; /* an item of this kind */
};

/* aic_words_value -- NULL: it is none of them. */
const struct aic_words_value *aic_words_value(const char *name);

/* aic_words_is_nothing -- does a text stand for "not known"? */
bool aic_words_is_nothing(const char *text);

#endif
