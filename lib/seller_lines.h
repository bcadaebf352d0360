/*
 * seller_lines -- the JSON of a seller's figures as lines of text. A part of
 * seller.h.
 *
 * There are two forms. An object in one line is "label value, label (label
 * value, label value)". Over several lines, an object has one line for each
 * member. A list then has a line with the number and the sums of its items, and
 * below it one line for each of its first items:
 *
 *	- выручка: 12 500 ₽
 *	- товары (37): итого остаток 412
 *	  1) название «Платье», остаток 2
 *
 * Members whose names are in the table of fields (seller_fields.h) come before
 * all others.
 *
 * Threads: any. Errors: w->b->failed, in all functions that write.
 */
#ifndef AIC_SELLER_LINES_H
#define AIC_SELLER_LINES_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/seller_sums.h"

struct aic_buf;
struct json_object;

/* Objects inside of objects; what is deeper is left out. */
#define AIC_SELLER_LINES_DEPTH 4

/* The longest name, and the longest text: that of a review. */
#define AIC_SELLER_LINES_NAME_CHARS 40
#define AIC_SELLER_LINES_LONG_CHARS 200

/* The longest field, if each of its characters takes four bytes. */
#define AIC_SELLER_LINES_FIELD_BYTES                                           \
	(4 * (AIC_SELLER_LINES_NAME_CHARS + AIC_SELLER_LINES_LONG_CHARS) + 256)

/*
 * The text that is being written, which grows by whole lines. The caller sets
 * b, stop, order, pages and period; the rest is zeroed.
 */
struct aic_seller_lines {
	struct aic_buf *b;
	size_t stop; /* bytes; no field begins after so many */
	int outer; /* the field of the enclosing object */
	bool in_list; /* an item of a list is being written */
	enum aic_seller_order order; /* the order of the lists of this part */
	size_t pages; /* items on all pages of the next list; 0: unknown */
	struct json_object *period; /* of the next totals; NULL: none */
};

/*
 * aic_seller_lines_object -- write a line for each member of an object.
 *
 * depth     1 for an object of the document; the indentation, in steps
 *
 * False: there is nothing to show, and nothing is written.
 */
bool aic_seller_lines_object(struct aic_seller_lines *w,
    struct json_object *obj, int depth);

/*
 * aic_seller_lines_member -- write one member of an object: one line, or more
 * for a list or a large object. False: nothing is written.
 */
bool aic_seller_lines_member(struct aic_seller_lines *w, const char *name,
    struct json_object *v, int depth);

/*
 * aic_seller_lines_list -- write a list of objects after its label: the number
 * of items, their sums, and the first items.
 */
void aic_seller_lines_list(struct aic_seller_lines *w, struct json_object *list,
    enum aic_seller_order order, int depth);

/*
 * aic_seller_lines_elements -- write the first elements of a list in one line,
 * without a newline.
 *
 * field     the field that they are values of; 0: unknown
 *
 * False: the list is empty.
 */
bool aic_seller_lines_elements(struct aic_seller_lines *w, int field,
    struct json_object *list);

/* aic_seller_lines_has_objects -- true if the first element is an object. */
bool aic_seller_lines_has_objects(struct json_object *list);

/*
 * aic_seller_lines_pages -- the number of items on all pages, where the lists
 * of an object are one page; 0: unknown.
 */
size_t aic_seller_lines_pages(struct json_object *obj);

#endif
