#include "config.h"

#include "lib/seller_sums.h"

#include <json-c/json.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/seller_fields.h"
#include "lib/seller_text.h"

/* A review with so many stars or fewer is a bad review. */
#define BAD_RATING 3

/*
 * Wildberries' saleID of a return is R and digits. Other servers put other
 * names into this field, which can begin with any letter.
 */
static bool
is_return_id(const char *id)
{
	return id[0] == 'R' && id[1] != '\0' &&
	    strspn(id + 1, "0123456789") == strlen(id + 1);
}

/*
 * True for a cancelled order and for a return: the money is no revenue, and the
 * pieces are not sold.
 */
static bool
is_no_revenue(struct json_object *item)
{
	struct json_object_iterator it, end = json_object_iter_end(item);
	const struct aic_seller_fields_value *value;
	const char *text;

	for (it = json_object_iter_begin(item);
	     !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
		int field =
		    aic_seller_fields_find(json_object_iter_peek_name(&it));
		struct json_object *v = json_object_iter_peek_value(&it);

		if (aic_seller_fields_how(field) == AIC_SELLER_FIELDS_CANCEL &&
		    json_object_is_type(v, json_type_boolean) &&
		    json_object_get_boolean(v))
			return true;
		if (!json_object_is_type(v, json_type_string))
			continue;
		text = json_object_get_string(v);
		value = aic_seller_fields_value(text);
		if ((aic_seller_fields_how(field) == AIC_SELLER_FIELDS_KIND &&
			value && value->no_revenue) ||
		    (aic_seller_fields_how(field) ==
			    AIC_SELLER_FIELDS_SALE_ID &&
			is_return_id(text)))
			return true;
	}
	return false;
}

/*
 * Adds up the pieces of all sizes: {"44": 3, "46": 0}. False: the object is not
 * of this kind.
 */
static bool
read_sizes(struct json_object *obj, double *ret)
{
	struct json_object_iterator it, end;
	double x, sum = 0;

	if (!json_object_is_type(obj, json_type_object) ||
	    json_object_object_length(obj) == 0)
		return false;
	end = json_object_iter_end(obj);
	for (it = json_object_iter_begin(obj);
	     !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
		if (!aic_seller_text_is_number(
			json_object_iter_peek_value(&it)) ||
		    !aic_seller_text_number(json_object_iter_peek_value(&it),
			&x))
			return false;
		sum += x;
	}
	*ret = sum;
	return true;
}

/*
 * A rating of 0 means that there is no review yet. Only a review has a rating
 * of its own. The rating of anything else, such as a product or a day, is an
 * average already, and the average of such averages would differ from that of
 * the reviews.
 */
static void
add_number(struct aic_seller_sums *s, enum aic_seller_order order, int field,
    double x)
{
	if (aic_seller_fields_how(field) == AIC_SELLER_FIELDS_RATING &&
	    (x == 0 || order != AIC_SELLER_ORDER_WORST))
		return;
	s->sum[field] += x;
	s->n[field]++;
	if (aic_seller_fields_how(field) == AIC_SELLER_FIELDS_STOCK && x <= 0)
		s->none_left++;
	if (aic_seller_fields_how(field) == AIC_SELLER_FIELDS_RATING &&
	    x <= BAD_RATING)
		s->bad++;
}

/*
 * The place of an item in its list: items with smaller values come first.
 * False: the field does not determine the place.
 */
static bool
place_of(enum aic_seller_order order, int field, double x, double *ret_place)
{
	enum aic_seller_fields_how how = aic_seller_fields_how(field);

	switch (order) {
	case AIC_SELLER_ORDER_MOST:
		*ret_place = -x;
		return how == AIC_SELLER_FIELDS_MONEY_SUM;
	case AIC_SELLER_ORDER_LEAST_LEFT:
		*ret_place = x;
		return how == AIC_SELLER_FIELDS_STOCK ||
		    how == AIC_SELLER_FIELDS_DAYS;
	case AIC_SELLER_ORDER_WORST:
		*ret_place = x;
		return how == AIC_SELLER_FIELDS_RATING && x > 0;
	default:
		return false;
	}
}

/* False for a field that neither adds up nor determines an item's place. */
static bool
has_sum_or_place(int field)
{
	return aic_seller_fields_adds_up(field) ||
	    aic_seller_fields_how(field) == AIC_SELLER_FIELDS_RATING ||
	    aic_seller_fields_how(field) == AIC_SELLER_FIELDS_DAYS;
}

/*
 * Adds an item to the sums. The value is the item's place: items with smaller
 * values come first. For stock, the days until it runs out determine the place
 * rather than the pieces.
 */
static double
add_item(struct aic_seller_sums *s, struct json_object *item,
    enum aic_seller_order order)
{
	struct json_object_iterator it, end;
	enum aic_seller_fields_how how;
	double place = AIC_SELLER_TEXT_HUGE, here, x;
	bool placed = false, days = false;
	int stock = aic_seller_fields_find("stock");

	if (!json_object_is_type(item, json_type_object))
		return place;
	if (is_no_revenue(item)) {
		s->no_revenue++;
		return place;
	}
	end = json_object_iter_end(item);
	for (it = json_object_iter_begin(item);
	     !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
		struct json_object *v = json_object_iter_peek_value(&it);
		int field =
		    aic_seller_fields_find(json_object_iter_peek_name(&it));

		if (field == aic_seller_fields_find("stocks") &&
		    read_sizes(v, &x))
			field = stock;
		else if (!has_sum_or_place(field) ||
		    !aic_seller_text_number(v, &x))
			continue;
		how = aic_seller_fields_how(field);
		if (how != AIC_SELLER_FIELDS_DAYS)
			add_number(s, order, field, x);
		if (!place_of(order, field, x, &here) || days ||
		    (placed && how != AIC_SELLER_FIELDS_DAYS))
			continue;
		place = here;
		placed = true;
		days = how == AIC_SELLER_FIELDS_DAYS;
	}
	return place;
}

static void
keep_first(struct aic_seller_sums *s, struct json_object *item, double place)
{
	int i;

	if (s->n_first == AIC_SELLER_SUMS_FIRST &&
	    place >= s->place[s->n_first - 1])
		return;
	if (s->n_first < AIC_SELLER_SUMS_FIRST)
		s->n_first++;
	for (i = s->n_first - 1; i > 0 && s->place[i - 1] > place; i--) {
		s->first[i] = s->first[i - 1];
		s->place[i] = s->place[i - 1];
	}
	s->first[i] = item;
	s->place[i] = place;
}

void
aic_seller_sums_read(struct aic_seller_sums *s, struct json_object *list,
    enum aic_seller_order order)
{
	size_t i, n = json_object_array_length(list);
	struct json_object *item;
	double place;

	*s = (struct aic_seller_sums){ .n_first = 0 };
	for (i = 0; i < n; i++) {
		item = json_object_array_get_idx(list, i);
		place = add_item(s, item, order);
		keep_first(s, item,
		    order == AIC_SELLER_ORDER_NEWEST ? -(double)i : place);
	}
}

static void
begin_sum(struct aic_buf *b, bool all, int *n)
{
	aic_buf_puts(b, (*n)++ ? ", " : all ? " итого " : " итого по ним ");
}

void
aic_seller_sums_put(const struct aic_seller_sums *s, bool all,
    struct aic_buf *b)
{
	double x;
	int i, n = 0;

	for (i = 1; i < AIC_SELLER_FIELDS_MAX; i++) {
		x = s->sum[i];
		if (s->n[i] == 0 || !isfinite(x) ||
		    fabs(x) >= AIC_SELLER_TEXT_HUGE ||
		    !aic_seller_fields_is_shown(i, x, true))
			continue;
		begin_sum(b, all, &n);
		if (aic_seller_fields_how(i) == AIC_SELLER_FIELDS_RATING) {
			aic_buf_puts(b, "средняя оценка ");
			x /= (double)s->n[i];
		} else {
			aic_buf_printf(b, "%s ",
			    aic_seller_fields_get(i)->label);
		}
		aic_seller_text_group(b, x, aic_seller_fields_is_money(i));
		aic_buf_puts(b, aic_seller_fields_get(i)->unit);
	}
	if (s->none_left) {
		begin_sum(b, all, &n);
		aic_buf_printf(b, "нет в наличии: %zu", s->none_left);
	}
	if (s->bad) {
		begin_sum(b, all, &n);
		aic_buf_printf(b, "с оценкой %d и ниже: %zu", BAD_RATING,
		    s->bad);
	}
	if (s->no_revenue) {
		begin_sum(b, all, &n);
		aic_buf_printf(b, "отменено и возвращено: %zu", s->no_revenue);
	}
}
