/*
 * words -- what the usual names of a shop's figures are in Russian, and what kind of
 * figure each is: those of the Wildberries API, and those that servers for sellers
 * give theirs.
 *
 * Threads: only reads.
 */
#ifndef AIC_WORDS_H
#define AIC_WORDS_H

/* What a number is; most just are. */
enum aic_words_how {
	AIC_WORDS_PLAIN,
	AIC_WORDS_SUM, /* in a list they add up */
	AIC_WORDS_STOCK, /* likewise; where it is 0, nothing is left */
	AIC_WORDS_MONEY, /* with kopecks, if there are any */
	AIC_WORDS_MONEY_SUM, /* likewise, and they add up */
	AIC_WORDS_RATING, /* in a list they have an average */
	AIC_WORDS_ID, /* names a thing: its digits are not grouped */
	AIC_WORDS_LONG, /* a text that may be longer than others */
	AIC_WORDS_SKIP, /* of no use to anybody, or somebody's name */
};

struct aic_word {
	const char *label;
	const char *unit; /* behind a number */
	enum aic_words_how how;
};

/* There are no more of them. */
#define AIC_WORDS_MAX 100

/* aic_words_find -- by any of its names: "nm_id", "nmId" and "NMID" are one. The
 * value is a number below AIC_WORDS_MAX; 0: not known. */
int aic_words_find(const char *name);

/* aic_words_get -- the word of a number; that of 0 has no label and is plain. */
const struct aic_word *aic_words_get(int word);

#endif
