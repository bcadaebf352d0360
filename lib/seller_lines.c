#include "config.h"

#include "lib/seller_lines.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/plural.h"
#include "lib/seller_fields.h"
#include "lib/seller_sums.h"
#include "lib/seller_text.h"

/*
 * The most that is shown of an object, of an item in one line, and of the
 * elements of a list in one line. A model cannot make use of more.
 */
#define LINES_MAX 40
#define FIELDS_MAX 10
#define ELEMENTS_MAX AIC_SELLER_SUMS_FIRST
#define TEXT_MAX_CHARS 80

static bool
is_full(const struct aic_seller_lines *w)
{
	return w->b->failed || w->b->len >= w->stop;
}

static bool
put_text(struct aic_seller_lines *w, int field, struct json_object *v)
{
	const char *s = json_object_get_string(v);
	size_t len = (size_t)json_object_get_string_len(v);
	const struct aic_seller_fields_value *value = NULL;

	if (aic_seller_fields_is_nothing(s))
		return false;
	if (aic_seller_fields_how(field) == AIC_SELLER_FIELDS_KIND)
		value = aic_seller_fields_value(s);
	if (value) {
		aic_buf_puts(w->b, value->label);
		return true;
	}
	return aic_seller_text_moment(w->b, s, len) ||
	    aic_seller_text_quote(w->b, s, len,
		aic_seller_fields_how(field) == AIC_SELLER_FIELDS_LONG
		    ? AIC_SELLER_LINES_LONG_CHARS
		    : TEXT_MAX_CHARS);
}

static bool
put_number(struct aic_seller_lines *w, int field, double x)
{
	static const struct aic_plural days = { " день", " дня", " дней" };

	if (!aic_seller_fields_is_shown(field, x, w->in_list))
		return false;
	aic_seller_text_group(w->b, x, aic_seller_fields_is_money(field));
	aic_buf_puts(w->b,
	    aic_seller_fields_how(field) == AIC_SELLER_FIELDS_DAYS
		? aic_plural_of(&days, x)
		: aic_seller_fields_get(field)->unit);
	return true;
}

static bool
put_scalar(struct aic_seller_lines *w, int field, struct json_object *v)
{
	enum aic_seller_fields_how how = aic_seller_fields_how(field);
	double x;

	if (json_object_is_type(v, json_type_boolean)) {
		if (how == AIC_SELLER_FIELDS_CANCEL &&
		    !json_object_get_boolean(v))
			return false;
		aic_buf_puts(w->b, json_object_get_boolean(v) ? "да" : "нет");
		return true;
	}
	if (how == AIC_SELLER_FIELDS_ID &&
	    json_object_is_type(v, json_type_int)) {
		aic_buf_printf(w->b, "%lld",
		    (long long)json_object_get_int64(v));
		return true;
	}
	/*
	 * A text is read as a number only in a field whose values are numbers.
	 */
	if ((aic_seller_text_is_number(v) ||
		aic_seller_fields_is_money(field) ||
		aic_seller_fields_adds_up(field) ||
		how == AIC_SELLER_FIELDS_RATING ||
		how == AIC_SELLER_FIELDS_DAYS) &&
	    aic_seller_text_number(v, &x))
		return put_number(w, field, x);
	return json_object_is_type(v, json_type_string) &&
	    put_text(w, field, v);
}

static bool
put_fields(struct aic_seller_lines *w, struct json_object *obj, int depth);

/* Writes " (с 01.11.2025, по 28.11.2025)" after the label of totals. */
static void
put_period(struct aic_seller_lines *w)
{
	struct json_object *period = w->period;
	size_t begin = w->b->len;

	w->period = NULL;
	aic_buf_puts(w->b, " (");
	if (put_fields(w, period, AIC_SELLER_LINES_DEPTH))
		aic_buf_putc(w->b, ')');
	else
		aic_seller_text_cut(w->b, begin);
}

static bool
put_label(struct aic_seller_lines *w, int field, const char *name)
{
	if (field == 0)
		return aic_seller_text_quote(w->b, name, strlen(name),
		    AIC_SELLER_LINES_NAME_CHARS);
	aic_buf_puts(w->b, aic_seller_fields_get(field)->label);
	if (w->period && aic_seller_fields_is_totals(field))
		put_period(w);
	return true;
}

static bool
is_scalar(struct json_object *v)
{
	return v && !json_object_is_type(v, json_type_object) &&
	    !json_object_is_type(v, json_type_array);
}

bool
aic_seller_lines_elements(struct aic_seller_lines *w, int field,
    struct json_object *list)
{
	size_t begin = w->b->len, mark, i, n = json_object_array_length(list);
	struct json_object *v;
	int shown = 0;

	for (i = 0; i < n && shown < ELEMENTS_MAX && !is_full(w); i++) {
		v = json_object_array_get_idx(list, i);
		mark = w->b->len;
		if (shown > 0)
			aic_buf_puts(w->b, ", ");
		if (is_scalar(v) && put_scalar(w, field, v))
			shown++;
		else
			aic_seller_text_cut(w->b, mark);
	}
	if (shown > 0 && i < n)
		aic_buf_printf(w->b, " и ещё %zu", n - i);
	if (shown == 0 && n > 0) {
		aic_seller_text_cut(w->b, begin);
		aic_buf_printf(w->b, "%zu", n);
	}
	return n > 0;
}

/* The field of a member of the object that is being written. */
static int
field_of(const struct aic_seller_lines *w, const char *name)
{
	return aic_seller_fields_within(w->outer, aic_seller_fields_find(name));
}

/*
 * True if the object has members whose sum is another member; see
 * aic_seller_fields_is_double().
 */
static bool
has_parts(struct json_object *obj)
{
	struct json_object_iterator it, end = json_object_iter_end(obj);

	for (it = json_object_iter_begin(obj);
	     !json_object_iter_equal(&it, &end); json_object_iter_next(&it))
		if (aic_seller_fields_is_part(aic_seller_fields_find(
			json_object_iter_peek_name(&it))))
			return true;
	return false;
}

static bool
is_hidden(int field, bool parts)
{
	return aic_seller_fields_is_hidden(field) ||
	    (parts && aic_seller_fields_is_double(field));
}

/*
 * Writes "label value". Returns false and writes nothing if there is nothing to
 * show.
 */
static bool
put_field(struct aic_seller_lines *w, const char *name, struct json_object *v,
    const char *between, int depth)
{
	int field = field_of(w, name), outer = w->outer;
	size_t begin = w->b->len;
	bool line = *between == ':';
	bool ok = v && put_label(w, field, name);

	if (aic_seller_fields_how(field) == AIC_SELLER_FIELDS_DAYS)
		between = " ";
	if (ok && json_object_is_type(v, json_type_object)) {
		aic_buf_puts(w->b, line ? between : " (");
		w->outer = field;
		ok = depth < AIC_SELLER_LINES_DEPTH &&
		    put_fields(w, v, depth + 1);
		w->outer = outer;
		aic_buf_puts(w->b, line ? "" : ")");
	} else if (ok && json_object_is_type(v, json_type_array)) {
		aic_buf_puts(w->b, between);
		ok = aic_seller_lines_elements(w, field, v);
	} else if (ok) {
		aic_buf_puts(w->b, between);
		ok = put_scalar(w, field, v);
	}
	if (!ok)
		aic_seller_text_cut(w->b, begin);
	return ok;
}

/*
 * Writes an object in one line. Members whose names are in the table of fields
 * come first.
 */
static bool
put_fields(struct aic_seller_lines *w, struct json_object *obj, int depth)
{
	struct json_object_iterator it, end = json_object_iter_end(obj);
	bool parts = has_parts(obj);
	size_t mark;
	int shown = 0, known;

	for (known = 1; known >= 0; known--)
		for (it = json_object_iter_begin(obj);
		     !json_object_iter_equal(&it, &end) && shown < FIELDS_MAX &&
		     !is_full(w);
		     json_object_iter_next(&it)) {
			const char *name = json_object_iter_peek_name(&it);
			int field = field_of(w, name);

			if ((field != 0) != known || is_hidden(field, parts))
				continue;
			mark = w->b->len;
			if (shown > 0)
				aic_buf_puts(w->b, ", ");
			if (put_field(w, name, json_object_iter_peek_value(&it),
				" ", depth))
				shown++;
			else
				aic_seller_text_cut(w->b, mark);
		}
	return shown > 0;
}

/* --- lists ------------------------------------------------------------- */

static void
put_indent(struct aic_seller_lines *w, int depth)
{
	while (depth-- > 0)
		aic_buf_puts(w->b, "  ");
}

void
aic_seller_lines_list(struct aic_seller_lines *w, struct json_object *list,
    enum aic_seller_order order, int depth)
{
	size_t n = json_object_array_length(list), mark, pages = w->pages;
	struct aic_seller_sums sums;
	int k, outer = w->outer;

	w->in_list = true;
	w->outer = 0;
	w->pages = 0;
	aic_seller_sums_read(&sums, list, order);
	aic_buf_printf(w->b, " (%zu", n);
	if (pages > n) {
		aic_buf_puts(w->b, " из ");
		aic_seller_text_group(w->b, (double)pages, false);
	}
	aic_buf_puts(w->b, "):");
	if (n > 1)
		aic_seller_sums_put(&sums, pages <= n, w->b);
	aic_buf_putc(w->b, '\n');
	for (k = 0; k < sums.n_first && !is_full(w); k++) {
		mark = w->b->len;
		put_indent(w, depth);
		aic_buf_printf(w->b, "%d) ", k + 1);
		if (json_object_is_type(sums.first[k], json_type_object) &&
		    put_fields(w, sums.first[k], 1))
			aic_buf_putc(w->b, '\n');
		else
			aic_seller_text_cut(w->b, mark);
	}
	w->in_list = false;
	w->outer = outer;
	w->pages = pages;
}

/* --- objects, one line for each member --------------------------------- */

bool
aic_seller_lines_has_objects(struct json_object *list)
{
	return json_object_array_length(list) > 0 &&
	    json_object_is_type(json_object_array_get_idx(list, 0),
		json_type_object);
}

/* True if the object is too large for one line. */
static bool
is_deep(struct json_object *obj)
{
	struct json_object_iterator it, end = json_object_iter_end(obj);
	struct json_object *v;

	if (json_object_object_length(obj) > FIELDS_MAX)
		return true;
	for (it = json_object_iter_begin(obj);
	     !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
		v = json_object_iter_peek_value(&it);
		if (json_object_is_type(v, json_type_object) ||
		    (json_object_is_type(v, json_type_array) &&
			aic_seller_lines_has_objects(v)))
			return true;
	}
	return false;
}

size_t
aic_seller_lines_pages(struct json_object *obj)
{
	struct json_object *pagination, *total;
	int64_t n;

	if (!json_object_object_get_ex(obj, "pagination", &pagination) ||
	    !json_object_is_type(pagination, json_type_object) ||
	    !json_object_object_get_ex(pagination, "total", &total) ||
	    !json_object_is_type(total, json_type_int))
		return 0;
	n = json_object_get_int64(total);
	return n > 0 && (double)n < AIC_SELLER_TEXT_HUGE ? (size_t)n : 0;
}

bool
aic_seller_lines_member(struct aic_seller_lines *w, const char *name,
    struct json_object *v, int depth)
{
	int field = field_of(w, name), outer = w->outer;
	size_t begin = w->b->len;
	bool list = json_object_is_type(v, json_type_array) &&
	    aic_seller_lines_has_objects(v);
	bool deep = json_object_is_type(v, json_type_object) && is_deep(v) &&
	    depth < AIC_SELLER_LINES_DEPTH;
	bool ok;

	put_indent(w, depth - 1);
	aic_buf_puts(w->b, "- ");
	if (list || deep) {
		ok = put_label(w, field, name);
		if (ok && list) {
			aic_seller_lines_list(w, v,
			    field == aic_seller_fields_find("time_series")
				? AIC_SELLER_ORDER_NEWEST
				: w->order,
			    depth);
		} else if (ok) {
			aic_buf_puts(w->b, ":\n");
			w->outer = field;
			ok = aic_seller_lines_object(w, v, depth + 1);
			w->outer = outer;
		}
	} else {
		ok = put_field(w, name, v, ": ", depth);
		aic_buf_putc(w->b, '\n');
	}
	if (!ok)
		aic_seller_text_cut(w->b, begin);
	return ok;
}

/* As in put_fields(), members with names in the table of fields come first. */
bool
aic_seller_lines_object(struct aic_seller_lines *w, struct json_object *obj,
    int depth)
{
	struct json_object_iterator it, end = json_object_iter_end(obj);
	bool parts = has_parts(obj);
	size_t pages = w->pages;
	int shown = 0, known;

	w->pages = aic_seller_lines_pages(obj);
	for (known = 1; known >= 0; known--)
		for (it = json_object_iter_begin(obj);
		     !json_object_iter_equal(&it, &end) && shown < LINES_MAX &&
		     !is_full(w);
		     json_object_iter_next(&it)) {
			const char *name = json_object_iter_peek_name(&it);
			int field = field_of(w, name);

			if ((field != 0) == known && !is_hidden(field, parts))
				shown += aic_seller_lines_member(w, name,
				    json_object_iter_peek_value(&it), depth);
		}
	w->pages = pages;
	return shown > 0;
}
