#include "config.h"

#include "lib/seller.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/json.h"
#include "lib/seller_fields.h"
#include "lib/seller_lines.h"
#include "lib/seller_text.h"

static const struct part {
	const char *label;
	enum aic_seller_order order; /* the order of its lists */
} parts[] = {
	[AIC_SELLER_SHOP] = { "Магазин", AIC_SELLER_ORDER_AS_IS },
	[AIC_SELLER_ORDERS] = { "Заказы", AIC_SELLER_ORDER_MOST },
	[AIC_SELLER_SALES] = { "Продажи", AIC_SELLER_ORDER_MOST },
	[AIC_SELLER_STOCKS] = { "Остатки", AIC_SELLER_ORDER_LEAST_LEFT },
	[AIC_SELLER_REVIEWS] = { "Отзывы", AIC_SELLER_ORDER_WORST },
};
_Static_assert(sizeof(parts) / sizeof(parts[0]) == AIC_SELLER__MAX,
    "every part has a label");

/* The part to which a member of a document, or of an envelope, belongs. */
static const struct place {
	const char *name;
	enum { WHOLE, MEMBER, ENVELOPE } how;
	enum aic_seller_part part;
} places[] = {
	{ "orders", WHOLE, AIC_SELLER_ORDERS },
	{ "order", WHOLE, AIC_SELLER_ORDERS },
	{ "sales", WHOLE, AIC_SELLER_SALES },
	{ "stocks", WHOLE, AIC_SELLER_STOCKS },
	{ "reviews", WHOLE, AIC_SELLER_REVIEWS },
	{ "data", ENVELOPE, 0 },
	{ "dashboard", ENVELOPE, 0 },
	{ "analytics", ENVELOPE, 0 },
	{ "cabinet_name", MEMBER, AIC_SELLER_SHOP },
	{ "last_sync", MEMBER, AIC_SELLER_SHOP },
	{ "products", MEMBER, AIC_SELLER_SHOP },
	{ "orders_today", MEMBER, AIC_SELLER_ORDERS },
	{ "orders_7d", MEMBER, AIC_SELLER_ORDERS },
	{ "orders_30d", MEMBER, AIC_SELLER_ORDERS },
	{ "total_orders", MEMBER, AIC_SELLER_ORDERS },
	{ "statistics", MEMBER, AIC_SELLER_SALES },
	{ "summary", MEMBER, AIC_SELLER_SALES },
	{ "period", MEMBER, AIC_SELLER_SALES },
	{ "sales_periods", MEMBER, AIC_SELLER_SALES },
	{ "dynamics", MEMBER, AIC_SELLER_SALES },
	{ "yesterday", MEMBER, AIC_SELLER_SALES },
	{ "top_products", MEMBER, AIC_SELLER_SALES },
	{ "buyouts", MEMBER, AIC_SELLER_SALES },
	{ "returns", MEMBER, AIC_SELLER_SALES },
	{ "buyouts_count", MEMBER, AIC_SELLER_SALES },
	{ "buyouts_amount", MEMBER, AIC_SELLER_SALES },
	{ "returns_count", MEMBER, AIC_SELLER_SALES },
	{ "returns_amount", MEMBER, AIC_SELLER_SALES },
	{ "buyout_rate", MEMBER, AIC_SELLER_SALES },
	{ "aggregates", MEMBER, AIC_SELLER_SALES },
	{ "time_series", MEMBER, AIC_SELLER_SALES },
	{ "stocks_summary", MEMBER, AIC_SELLER_STOCKS },
	{ "critical_products", MEMBER, AIC_SELLER_STOCKS },
	{ "zero_products", MEMBER, AIC_SELLER_STOCKS },
	{ "at_risk_positions", MEMBER, AIC_SELLER_STOCKS },
};

static const struct place *
find_place(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (strcmp(name, places[i].name) == 0)
			return &places[i];
	return NULL;
}

/*
 * wb_assist answers 200 with zeroes if it could not read its database. These
 * members of the answer show the error.
 */
static bool
is_failed(struct json_object *obj)
{
	struct json_object *v;

	if (json_object_object_get_ex(obj, "cabinet_name", &v) &&
	    json_object_is_type(v, json_type_string) &&
	    strcmp(json_object_get_string(v), "Ошибка") == 0)
		return true;
	return json_object_object_get_ex(obj, "recommendations", &v) &&
	    json_object_is_type(v, json_type_array) &&
	    json_object_array_length(v) == 1 &&
	    json_object_is_type(json_object_array_get_idx(v, 0),
		json_type_string) &&
	    strcmp(json_object_get_string(json_object_array_get_idx(v, 0)),
		"Ошибка получения данных") == 0;
}

/*
 * Writes the label of the part if the part is still empty, and sets the order
 * of its lists.
 */
static void
begin_part(struct aic_seller_lines *w, enum aic_seller_part part)
{
	if (w->b->len == 0)
		aic_buf_printf(w->b, "%s:\n", parts[part].label);
	w->order = parts[part].order;
}

static void
put_whole(struct aic_seller_lines *w, enum aic_seller_part part,
    const char *name, struct json_object *v)
{
	size_t begin = w->b->len;
	bool ok = false;

	if (json_object_is_type(v, json_type_array) &&
	    aic_seller_lines_has_objects(v) && begin == 0) {
		w->order = parts[part].order;
		aic_buf_puts(w->b, parts[part].label);
		aic_seller_lines_list(w, v, w->order, 1);
		return;
	}
	begin_part(w, part);
	if (json_object_is_type(v, json_type_object) && !is_failed(v)) {
		ok = aic_seller_lines_object(w, v, 1);
	} else if (json_object_is_type(v, json_type_array) && begin == 0) {
		/* When memory is exhausted, the label can be missing. */
		if (w->b->failed)
			return;
		w->b->data[w->b->len - 1] = ' ';
		ok = aic_seller_lines_elements(w, 0, v);
		aic_buf_putc(w->b, '\n');
	} else if (json_object_is_type(v, json_type_array)) {
		ok = aic_seller_lines_member(w, name, v, 1);
	}
	if (!ok)
		aic_seller_text_cut(w->b, begin);
}

static void
put_member(struct aic_seller_lines *w, enum aic_seller_part part,
    const char *name, struct json_object *v)
{
	size_t begin = w->b->len;

	if (aic_seller_fields_is_hidden(aic_seller_fields_find(name)))
		return;
	begin_part(w, part);
	if (!aic_seller_lines_member(w, name, v, 1))
		aic_seller_text_cut(w->b, begin);
}

/*
 * `statistics' and `summary' are figures about the list beside them, so
 * `statistics' goes to the part of that list. A `summary' beside two lists
 * repeats the sums of the lists; false: it is not shown.
 */
static bool
move_place(struct json_object *obj, const char *name,
    enum aic_seller_part *part)
{
	bool orders = json_object_object_get_ex(obj, "orders", NULL);
	bool sales = json_object_object_get_ex(obj, "sales", NULL);

	if (strcmp(name, "statistics") == 0 && orders && !sales)
		*part = AIC_SELLER_ORDERS;
	return strcmp(name, "summary") != 0 || !(orders && sales);
}

/*
 * The period of a document's totals, or NULL. The totals of several documents
 * are shown together, so each needs its period.
 */
static struct json_object *
find_period(struct json_object *obj)
{
	struct json_object *meta, *period;

	if (!json_object_object_get_ex(obj, "summary", NULL) &&
	    !json_object_object_get_ex(obj, "aggregates", NULL))
		return NULL;
	if (!json_object_object_get_ex(obj, "period", &period) &&
	    !(json_object_object_get_ex(obj, "meta", &meta) &&
		json_object_object_get_ex(meta, "date_range", &period)))
		return NULL;
	return json_object_is_type(period, json_type_object) ? period : NULL;
}

static void
put_document(struct aic_seller_lines w[AIC_SELLER__MAX],
    struct json_object *obj, int depth)
{
	struct json_object_iterator it, end = json_object_iter_end(obj);
	struct json_object *period = find_period(obj);
	enum aic_seller_part part;
	const struct place *place;
	int lists;

	if (depth > AIC_SELLER_LINES_DEPTH || is_failed(obj))
		return;
	/* Lists come last: the first lines are the important figures. */
	for (lists = 0; lists < 2; lists++)
		for (it = json_object_iter_begin(obj);
		     !json_object_iter_equal(&it, &end);
		     json_object_iter_next(&it)) {
			const char *name = json_object_iter_peek_name(&it);
			struct json_object *v =
			    json_object_iter_peek_value(&it);

			place = find_place(name);
			if (!place || !v ||
			    json_object_is_type(v, json_type_array) != lists)
				continue;
			part = place->part;
			if (v == period || !move_place(obj, name, &part))
				continue;
			w[part].pages = aic_seller_lines_pages(obj);
			w[part].period = place->how == MEMBER ? period : NULL;
			if (place->how == WHOLE)
				put_whole(&w[part], part, name, v);
			else if (place->how == MEMBER)
				put_member(&w[part], part, name, v);
			else if (json_object_is_type(v, json_type_object))
				put_document(w, v, depth + 1);
		}
}

enum aic_code
aic_seller_read(const char *text, size_t len, size_t chars_max,
    struct aic_seller *ret_seller)
{
	struct aic_buf part[AIC_SELLER__MAX];
	struct aic_seller_lines w[AIC_SELLER__MAX];
	struct json_object *doc = NULL;
	enum aic_code rc;
	int i;

	rc = aic_json_parse(text, len, &doc);
	if (!rc && !json_object_is_type(doc, json_type_object))
		rc = AIC_EINPUT;
	if (rc) {
		json_object_put(doc);
		return rc;
	}
	*ret_seller = (struct aic_seller){ .part = { NULL } };
	for (i = 0; i < AIC_SELLER__MAX; i++) {
		/*
		 * Two fields, a label and the sums of a list can exceed the
		 * limit.
		 */
		aic_buf_init(&part[i],
		    4 * chars_max + 8 * AIC_SELLER_LINES_FIELD_BYTES);
		w[i] = (struct aic_seller_lines){ .b = &part[i],
			.stop = 4 * chars_max };
	}
	put_document(w, doc, 0);
	for (i = 0; i < AIC_SELLER__MAX; i++) {
		if (part[i].failed)
			rc = AIC_ENOMEM;
		else if (part[i].len > 0)
			ret_seller->part[i] = aic_buf_take(&part[i], NULL);
		if (part[i].failed)
			rc = AIC_ENOMEM;
		aic_buf_done(&part[i]);
	}
	json_object_put(doc);
	if (rc)
		aic_seller_done(ret_seller);
	return rc;
}

void
aic_seller_done(struct aic_seller *seller)
{
	int i;

	for (i = 0; i < AIC_SELLER__MAX; i++) {
		free(seller->part[i]);
		seller->part[i] = NULL;
	}
}
