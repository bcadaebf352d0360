#include "config.h"

#include "lib/seller.h"

#include <json-c/json.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/json.h"
#include "lib/plural.h"
#include "lib/seller_fields.h"
#include "lib/utf8.h"

/*
 * The most that is shown of an object, an item or a list. A model cannot make
 * use of more.
 */
#define LINES_MAX 40 /* of an object */
#define FIELDS_MAX 10 /* of an item, in one line */
#define ITEMS_MAX 5 /* of a list */
#define DEPTH_MAX 4
#define NAME_MAX_CHARS 40
#define TEXT_MAX_CHARS 80
#define LONG_MAX_CHARS 200 /* of a review */

/* The longest field, if each of its characters takes four bytes. */
#define FIELD_BYTES (4 * (NAME_MAX_CHARS + LONG_MAX_CHARS) + 256)

/*
 * No shop sells so much. A larger number is a mistake, and a double could not
 * count it exactly.
 */
#define HUGE_NUMBER 1e15

/* A review with so many stars or fewer is a bad review. */
#define BAD_RATING 3

/* The order of a list's items: which ones come first. */
enum order {
	AS_THEY_ARE,
	NEWEST_FIRST,
	MOST_FIRST,
	LEAST_LEFT_FIRST,
	WORST_FIRST
};

/* A text that grows by whole lines, up to a length. */
struct writer {
	struct aic_buf *b;
	size_t stop; /* in bytes; longer text would be cut later anyway */
	int outer; /* the field of the enclosing object */
	bool in_list; /* an item of a list is being written */
	enum order order; /* the order of the lists of this part */
	size_t pages; /* items on all pages of the next list; 0: unknown */
	struct json_object *period; /* of the next totals; NULL: none */
};

static bool
is_full(const struct writer *w)
{
	return w->b->failed || w->b->len >= w->stop;
}

/* Shortens the text to a length that it had before. */
static void
cut_to(struct aic_buf *b, size_t len)
{
	b->len = len;
	if (b->data)
		b->data[len] = '\0';
}

static enum aic_seller_fields_how
how_of(int word)
{
	return aic_seller_fields_get(word)->how;
}

/* --- untrusted texts --------------------------------------------------- */

static bool
is_blank(uint32_t cp)
{
	return cp <= 0x20 || (cp >= 0x7f && cp <= 0xa0) || cp == 0x1680 ||
	    (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 ||
	    cp == 0x202f || cp == 0x205f || cp == 0x3000;
}

/*
 * Characters that a reader of the text does not see but a model reads: joiners,
 * direction marks, tags, variation selectors, private use.
 */
static bool
is_unseen(uint32_t cp)
{
	return cp == 0xad || cp == 0x34f || cp == 0x61c ||
	    (cp >= 0x115f && cp <= 0x1160) || (cp >= 0x17b4 && cp <= 0x17b5) ||
	    (cp >= 0x180b && cp <= 0x180f) || (cp >= 0x200b && cp <= 0x200f) ||
	    (cp >= 0x202a && cp <= 0x202e) || (cp >= 0x2060 && cp <= 0x206f) ||
	    cp == 0x3164 || (cp >= 0xe000 && cp <= 0xf8ff) ||
	    (cp >= 0xfe00 && cp <= 0xfe0f) || cp == 0xfeff || cp == 0xffa0 ||
	    (cp >= 0xfff0 && cp <= 0xfffb) || cp >= 0xe0000;
}

/* Guillemets that quote, and characters that look like them. */
static bool
is_guillemet(uint32_t cp)
{
	return cp == 0xab || cp == 0xbb || cp == 0x2039 || cp == 0x203a ||
	    (cp >= 0x201c && cp <= 0x201f) || (cp >= 0x2768 && cp <= 0x276f) ||
	    (cp >= 0x27e8 && cp <= 0x27eb) || (cp >= 0x3008 && cp <= 0x300f);
}

/* Returns false and writes nothing if the text has no visible character. */
static bool
put_quoted(struct writer *w, const char *s, size_t len, int chars_max)
{
	size_t begin = w->b->len, n;
	bool gap = false;
	uint32_t cp;
	int chars = 0;

	aic_buf_puts(w->b, "«");
	for (; len > 0 && chars < chars_max; s += n, len -= n) {
		n = aic_utf8_next(s, len, &cp);
		if (n == 0) { /* not UTF-8: treated as no text */
			n = 1;
			continue;
		}
		if (is_unseen(cp))
			continue;
		if (is_blank(cp)) {
			gap = chars > 0;
			continue;
		}
		if (gap) {
			aic_buf_putc(w->b, ' ');
			chars++;
			gap = false;
		}
		if (is_guillemet(cp))
			aic_buf_putc(w->b, '"');
		else
			aic_buf_put(w->b, s, n);
		chars++;
	}
	if (chars == 0) {
		cut_to(w->b, begin);
		return false;
	}
	aic_buf_puts(w->b, len > 0 ? "…»" : "»");
	return true;
}

/* --- numbers ----------------------------------------------------------- */

/* Python's decimals are sent as texts. */
static bool
read_text(struct json_object *v, double *ret)
{
	const char *s = json_object_get_string(v);
	size_t n = (size_t)json_object_get_string_len(v);
	char *end;

	if (n == 0 || n > 20 || strspn(s, "0123456789.-") != n)
		return false;
	*ret = strtod(s, &end);
	return *end == '\0' && end != s;
}

static bool
is_number(struct json_object *v)
{
	return json_object_is_type(v, json_type_int) ||
	    json_object_is_type(v, json_type_double);
}

/*
 * Reads a number from a field that should be one; false: the value is no
 * plausible number.
 */
static bool
read_number(struct json_object *v, double *ret)
{
	if (json_object_is_type(v, json_type_string)) {
		if (!read_text(v, ret))
			return false;
	} else if (is_number(v)) {
		*ret = json_object_get_double(v);
	} else {
		return false;
	}
	return isfinite(*ret) && fabs(*ret) < HUGE_NUMBER;
}

/* 1234567.5 becomes "1 234 567,50" as money, else "1 234 567,5". */
static void
put_grouped(struct writer *w, double x, bool money)
{
	char digits[40];
	size_t whole, i, n;

	n = (size_t)snprintf(digits, sizeof(digits), "%.2f", fabs(x));
	whole = n - 3;
	if (strcmp(digits + whole, ".00") == 0)
		n = whole;
	else if (!money && digits[n - 1] == '0')
		n--;
	if (x < 0 && digits[strspn(digits, "0.")] != '\0')
		aic_buf_putc(w->b, '-');
	for (i = 0; i < n; i++) {
		if (i > 0 && i < whole && (whole - i) % 3 == 0)
			aic_buf_putc(w->b, ' ');
		aic_buf_putc(w->b, digits[i] == '.' ? ',' : digits[i]);
	}
}

static bool
is_money(int word)
{
	return how_of(word) == AIC_SELLER_FIELDS_MONEY ||
	    how_of(word) == AIC_SELLER_FIELDS_MONEY_SUM ||
	    how_of(word) == AIC_SELLER_FIELDS_BACK_SUM;
}

static bool
adds_up(int word)
{
	enum aic_seller_fields_how how = how_of(word);

	return how == AIC_SELLER_FIELDS_SUM || how == AIC_SELLER_FIELDS_STOCK ||
	    how == AIC_SELLER_FIELDS_MONEY_SUM ||
	    how == AIC_SELLER_FIELDS_BACK_SUM ||
	    how == AIC_SELLER_FIELDS_CANCEL;
}

static bool
is_shown(const struct writer *w, int word, double x)
{
	enum aic_seller_fields_zero zero = aic_seller_fields_get(word)->zero;

	return x != 0 || zero == AIC_SELLER_FIELDS_ZERO ||
	    (zero == AIC_SELLER_FIELDS_NO_ZERO_IN_LIST && !w->in_list);
}

/* --- fields ------------------------------------------------------------ */

/*
 * Writes an ISO 8601 time as 28.11.2025 14:30. Returns false and writes nothing
 * if the text is no such time. The output consists of digits, so it needs no
 * quotes.
 */
static bool
put_moment(struct writer *w, const char *s, size_t len)
{
	static const char shape[] = "dddd-dd-ddTdd:dd";
	size_t i, n = len < sizeof(shape) - 1 ? len : sizeof(shape) - 1;

	if (len != 10 && len < sizeof(shape) - 1)
		return false;
	for (i = 0; i < n; i++)
		if (shape[i] == 'd'
			? s[i] < '0' || s[i] > '9'
			: shape[i] != s[i] && !(i == 10 && s[i] == ' '))
			return false;
	if (strspn(s + n, "0123456789:.+-Z") != len - n)
		return false;
	aic_buf_printf(w->b, "%.2s.%.2s.%.4s", s + 8, s + 5, s);
	if (n > 10 && strncmp(s + 11, "00:00", 5) != 0)
		aic_buf_printf(w->b, " %.5s", s + 11);
	return true;
}

static bool
put_text(struct writer *w, int word, struct json_object *v)
{
	const char *s = json_object_get_string(v);
	size_t len = (size_t)json_object_get_string_len(v);
	const struct aic_seller_fields_value *value = NULL;

	if (aic_seller_fields_is_nothing(s))
		return false;
	if (how_of(word) == AIC_SELLER_FIELDS_KIND)
		value = aic_seller_fields_value(s);
	if (value) {
		aic_buf_puts(w->b, value->label);
		return true;
	}
	return put_moment(w, s, len) ||
	    put_quoted(w, s, len,
		how_of(word) == AIC_SELLER_FIELDS_LONG ? LONG_MAX_CHARS
						       : TEXT_MAX_CHARS);
}

static bool
put_number(struct writer *w, int word, double x)
{
	static const struct aic_plural days = { " день", " дня", " дней" };

	if (!is_shown(w, word, x))
		return false;
	put_grouped(w, x, is_money(word));
	aic_buf_puts(w->b,
	    how_of(word) == AIC_SELLER_FIELDS_DAYS
		? aic_plural_of(&days, x)
		: aic_seller_fields_get(word)->unit);
	return true;
}

static bool
put_scalar(struct writer *w, int word, struct json_object *v)
{
	enum aic_seller_fields_how how = how_of(word);
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
	if ((is_number(v) || is_money(word) || adds_up(word) ||
		how == AIC_SELLER_FIELDS_RATING ||
		how == AIC_SELLER_FIELDS_DAYS) &&
	    read_number(v, &x))
		return put_number(w, word, x);
	return json_object_is_type(v, json_type_string) && put_text(w, word, v);
}

static bool put_fields(struct writer *w, struct json_object *obj, int depth);

/* Writes " (с 01.11.2025, по 28.11.2025)" after the label of totals. */
static void
put_period(struct writer *w)
{
	struct json_object *period = w->period;
	size_t begin = w->b->len;

	w->period = NULL;
	aic_buf_puts(w->b, " (");
	if (put_fields(w, period, DEPTH_MAX))
		aic_buf_putc(w->b, ')');
	else
		cut_to(w->b, begin);
}

static bool
put_label(struct writer *w, int word, const char *name)
{
	if (word == 0)
		return put_quoted(w, name, strlen(name), NAME_MAX_CHARS);
	aic_buf_puts(w->b, aic_seller_fields_get(word)->label);
	if (w->period && aic_seller_fields_is_totals(word))
		put_period(w);
	return true;
}

static bool
is_scalar(struct json_object *v)
{
	return v && !json_object_is_type(v, json_type_object) &&
	    !json_object_is_type(v, json_type_array);
}

/* Writes the first elements of a list in one line. */
static bool
put_elements(struct writer *w, int word, struct json_object *list)
{
	size_t begin = w->b->len, mark, i, n = json_object_array_length(list);
	struct json_object *v;
	int shown = 0;

	for (i = 0; i < n && shown < ITEMS_MAX && !is_full(w); i++) {
		v = json_object_array_get_idx(list, i);
		mark = w->b->len;
		if (shown > 0)
			aic_buf_puts(w->b, ", ");
		if (is_scalar(v) && put_scalar(w, word, v))
			shown++;
		else
			cut_to(w->b, mark);
	}
	if (shown > 0 && i < n)
		aic_buf_printf(w->b, " и ещё %zu", n - i);
	if (shown == 0 && n > 0) {
		cut_to(w->b, begin);
		aic_buf_printf(w->b, "%zu", n);
	}
	return n > 0;
}

/* The field of a member of the object that is being written. */
static int
word_of(const struct writer *w, const char *name)
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
is_hidden(int word, bool parts)
{
	return how_of(word) == AIC_SELLER_FIELDS_SKIP ||
	    how_of(word) == AIC_SELLER_FIELDS_SALE_ID ||
	    (parts && aic_seller_fields_is_double(word));
}

/*
 * Writes "label value". Returns false and writes nothing if there is nothing to
 * show.
 */
static bool
put_field(struct writer *w, const char *name, struct json_object *v,
    const char *between, int depth)
{
	int word = word_of(w, name), outer = w->outer;
	size_t begin = w->b->len;
	bool line = *between == ':';
	bool ok = v && put_label(w, word, name);

	if (how_of(word) == AIC_SELLER_FIELDS_DAYS)
		between = " ";
	if (ok && json_object_is_type(v, json_type_object)) {
		aic_buf_puts(w->b, line ? between : " (");
		w->outer = word;
		ok = depth < DEPTH_MAX && put_fields(w, v, depth + 1);
		w->outer = outer;
		aic_buf_puts(w->b, line ? "" : ")");
	} else if (ok && json_object_is_type(v, json_type_array)) {
		aic_buf_puts(w->b, between);
		ok = put_elements(w, word, v);
	} else if (ok) {
		aic_buf_puts(w->b, between);
		ok = put_scalar(w, word, v);
	}
	if (!ok)
		cut_to(w->b, begin);
	return ok;
}

/*
 * Writes an object in one line. Members that the table of fields has come
 * first.
 */
static bool
put_fields(struct writer *w, struct json_object *obj, int depth)
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
			int word = word_of(w, name);

			if ((word != 0) != known || is_hidden(word, parts))
				continue;
			mark = w->b->len;
			if (shown > 0)
				aic_buf_puts(w->b, ", ");
			if (put_field(w, name, json_object_iter_peek_value(&it),
				" ", depth))
				shown++;
			else
				cut_to(w->b, mark);
		}
	return shown > 0;
}

/* --- lists ------------------------------------------------------------- */

struct sums {
	double sum[AIC_SELLER_FIELDS_MAX];
	size_t n[AIC_SELLER_FIELDS_MAX];
	size_t none_left, bad, no_revenue;
};

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
		int word =
		    aic_seller_fields_find(json_object_iter_peek_name(&it));
		struct json_object *v = json_object_iter_peek_value(&it);

		if (how_of(word) == AIC_SELLER_FIELDS_CANCEL &&
		    json_object_is_type(v, json_type_boolean) &&
		    json_object_get_boolean(v))
			return true;
		if (!json_object_is_type(v, json_type_string))
			continue;
		text = json_object_get_string(v);
		value = aic_seller_fields_value(text);
		if ((how_of(word) == AIC_SELLER_FIELDS_KIND && value &&
			value->no_revenue) ||
		    (how_of(word) == AIC_SELLER_FIELDS_SALE_ID &&
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
		if (!is_number(json_object_iter_peek_value(&it)) ||
		    !read_number(json_object_iter_peek_value(&it), &x))
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
add_number(struct sums *s, enum order order, int word, double x)
{
	if (how_of(word) == AIC_SELLER_FIELDS_RATING &&
	    (x == 0 || order != WORST_FIRST))
		return;
	s->sum[word] += x;
	s->n[word]++;
	if (how_of(word) == AIC_SELLER_FIELDS_STOCK && x <= 0)
		s->none_left++;
	if (how_of(word) == AIC_SELLER_FIELDS_RATING && x <= BAD_RATING)
		s->bad++;
}

/*
 * The place of an item in its list: items with smaller values come first.
 * False: the field does not determine the place.
 */
static bool
place_of(enum order order, int word, double x, double *ret_place)
{
	enum aic_seller_fields_how how = how_of(word);

	switch (order) {
	case MOST_FIRST:
		*ret_place = -x;
		return how == AIC_SELLER_FIELDS_MONEY_SUM;
	case LEAST_LEFT_FIRST:
		*ret_place = x;
		return how == AIC_SELLER_FIELDS_STOCK ||
		    how == AIC_SELLER_FIELDS_DAYS;
	case WORST_FIRST:
		*ret_place = x;
		return how == AIC_SELLER_FIELDS_RATING && x > 0;
	default:
		return false;
	}
}

/*
 * Adds an item to the sums. The value is the item's place: items with smaller
 * values come first. For stock, the days until it runs out determine the place
 * rather than the pieces.
 */
static double
add_item(struct sums *s, struct json_object *item, enum order order)
{
	struct json_object_iterator it, end;
	double place = HUGE_NUMBER, here, x;
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
		int word =
		    aic_seller_fields_find(json_object_iter_peek_name(&it));

		if (word == aic_seller_fields_find("stocks") &&
		    read_sizes(v, &x))
			word = stock;
		else if (!(adds_up(word) ||
			     how_of(word) == AIC_SELLER_FIELDS_RATING ||
			     how_of(word) == AIC_SELLER_FIELDS_DAYS) ||
		    !read_number(v, &x))
			continue;
		if (how_of(word) != AIC_SELLER_FIELDS_DAYS)
			add_number(s, order, word, x);
		if (!place_of(order, word, x, &here) || days ||
		    (placed && how_of(word) != AIC_SELLER_FIELDS_DAYS))
			continue;
		place = here;
		placed = true;
		days = how_of(word) == AIC_SELLER_FIELDS_DAYS;
	}
	return place;
}

struct first {
	struct json_object *item[ITEMS_MAX];
	double place[ITEMS_MAX];
	int n;
};

static void
keep_first(struct first *f, struct json_object *item, double place)
{
	int i;

	if (f->n == ITEMS_MAX && place >= f->place[f->n - 1])
		return;
	if (f->n < ITEMS_MAX)
		f->n++;
	for (i = f->n - 1; i > 0 && f->place[i - 1] > place; i--) {
		f->item[i] = f->item[i - 1];
		f->place[i] = f->place[i - 1];
	}
	f->item[i] = item;
	f->place[i] = place;
}

static void
begin_sum(struct writer *w, bool all, int *n)
{
	aic_buf_puts(w->b, (*n)++ ? ", " : all ? " итого " : " итого по ним ");
}

/* all: the list is complete, not one page of several. */
static void
put_sums(struct writer *w, const struct sums *s, bool all)
{
	double x;
	int i, n = 0;

	for (i = 1; i < AIC_SELLER_FIELDS_MAX; i++) {
		x = s->sum[i];
		if (s->n[i] == 0 || !isfinite(x) || fabs(x) >= HUGE_NUMBER ||
		    !is_shown(w, i, x))
			continue;
		begin_sum(w, all, &n);
		if (how_of(i) == AIC_SELLER_FIELDS_RATING) {
			aic_buf_puts(w->b, "средняя оценка ");
			x /= (double)s->n[i];
		} else {
			aic_buf_printf(w->b, "%s ",
			    aic_seller_fields_get(i)->label);
		}
		put_grouped(w, x, is_money(i));
		aic_buf_puts(w->b, aic_seller_fields_get(i)->unit);
	}
	if (s->none_left) {
		begin_sum(w, all, &n);
		aic_buf_printf(w->b, "нет в наличии: %zu", s->none_left);
	}
	if (s->bad) {
		begin_sum(w, all, &n);
		aic_buf_printf(w->b, "с оценкой %d и ниже: %zu", BAD_RATING,
		    s->bad);
	}
	if (s->no_revenue) {
		begin_sum(w, all, &n);
		aic_buf_printf(w->b, "отменено и возвращено: %zu",
		    s->no_revenue);
	}
}

static void
put_indent(struct writer *w, int depth)
{
	while (depth-- > 0)
		aic_buf_puts(w->b, "  ");
}

/* Writes the number of items, their sums, and the first items. */
static void
put_items(struct writer *w, struct json_object *list, enum order order,
    int depth)
{
	size_t n = json_object_array_length(list), mark, i;
	struct first first = { .n = 0 };
	struct sums sums = { .bad = 0 };
	struct json_object *item;
	double place;
	size_t pages = w->pages;
	int k, outer = w->outer;

	w->in_list = true;
	w->outer = 0;
	w->pages = 0;
	for (i = 0; i < n; i++) {
		item = json_object_array_get_idx(list, i);
		place = add_item(&sums, item, order);
		keep_first(&first, item,
		    order == NEWEST_FIRST ? -(double)i : place);
	}
	aic_buf_printf(w->b, " (%zu", n);
	if (pages > n) {
		aic_buf_puts(w->b, " из ");
		put_grouped(w, (double)pages, false);
	}
	aic_buf_puts(w->b, "):");
	if (n > 1)
		put_sums(w, &sums, pages <= n);
	aic_buf_putc(w->b, '\n');
	for (k = 0; k < first.n && !is_full(w); k++) {
		mark = w->b->len;
		put_indent(w, depth);
		aic_buf_printf(w->b, "%d) ", k + 1);
		if (json_object_is_type(first.item[k], json_type_object) &&
		    put_fields(w, first.item[k], 1))
			aic_buf_putc(w->b, '\n');
		else
			cut_to(w->b, mark);
	}
	w->in_list = false;
	w->outer = outer;
	w->pages = pages;
}

/* --- objects, one line for each member --------------------------------- */

static bool
has_objects(struct json_object *list)
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
		    (json_object_is_type(v, json_type_array) && has_objects(v)))
			return true;
	}
	return false;
}

/*
 * The number of items on all pages, if the lists of an object are one page; 0:
 * unknown.
 */
static size_t
read_pages(struct json_object *obj)
{
	struct json_object *pagination, *total;
	int64_t n;

	if (!json_object_object_get_ex(obj, "pagination", &pagination) ||
	    !json_object_is_type(pagination, json_type_object) ||
	    !json_object_object_get_ex(pagination, "total", &total) ||
	    !json_object_is_type(total, json_type_int))
		return 0;
	n = json_object_get_int64(total);
	return n > 0 && (double)n < HUGE_NUMBER ? (size_t)n : 0;
}

static bool put_lines(struct writer *w, struct json_object *obj, int depth);

static bool
put_line(struct writer *w, const char *name, struct json_object *v, int depth)
{
	int word = word_of(w, name), outer = w->outer;
	size_t begin = w->b->len;
	bool list = json_object_is_type(v, json_type_array) && has_objects(v);
	bool deep = json_object_is_type(v, json_type_object) && is_deep(v) &&
	    depth < DEPTH_MAX;
	bool ok;

	put_indent(w, depth - 1);
	aic_buf_puts(w->b, "- ");
	if (list || deep) {
		ok = put_label(w, word, name);
		if (ok && list) {
			put_items(w, v,
			    word == aic_seller_fields_find("time_series")
				? NEWEST_FIRST
				: w->order,
			    depth);
		} else if (ok) {
			aic_buf_puts(w->b, ":\n");
			w->outer = word;
			ok = put_lines(w, v, depth + 1);
			w->outer = outer;
		}
	} else {
		ok = put_field(w, name, v, ": ", depth);
		aic_buf_putc(w->b, '\n');
	}
	if (!ok)
		cut_to(w->b, begin);
	return ok;
}

/* As in put_fields(), members that the table of fields has come first. */
static bool
put_lines(struct writer *w, struct json_object *obj, int depth)
{
	struct json_object_iterator it, end = json_object_iter_end(obj);
	bool parts = has_parts(obj);
	size_t pages = w->pages;
	int shown = 0, known;

	w->pages = read_pages(obj);
	for (known = 1; known >= 0; known--)
		for (it = json_object_iter_begin(obj);
		     !json_object_iter_equal(&it, &end) && shown < LINES_MAX &&
		     !is_full(w);
		     json_object_iter_next(&it)) {
			const char *name = json_object_iter_peek_name(&it);
			int word = word_of(w, name);

			if ((word != 0) == known && !is_hidden(word, parts))
				shown += put_line(w, name,
				    json_object_iter_peek_value(&it), depth);
		}
	w->pages = pages;
	return shown > 0;
}

/* --- a document ---------------------------------------------------------- */

static const struct part {
	const char *label;
	enum order order; /* the order of its lists */
} parts[] = {
	[AIC_SELLER_SHOP] = { "Магазин", AS_THEY_ARE },
	[AIC_SELLER_ORDERS] = { "Заказы", MOST_FIRST },
	[AIC_SELLER_SALES] = { "Продажи", MOST_FIRST },
	[AIC_SELLER_STOCKS] = { "Остатки", LEAST_LEFT_FIRST },
	[AIC_SELLER_REVIEWS] = { "Отзывы", WORST_FIRST },
};
#define PARTS AIC_SELLER__MAX
_Static_assert(sizeof(parts) / sizeof(parts[0]) == PARTS,
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
 * Writes the part's label unless it is written, and sets the order of its
 * lists.
 */
static void
begin_part(struct writer *w, enum aic_seller_part part)
{
	if (w->b->len == 0)
		aic_buf_printf(w->b, "%s:\n", parts[part].label);
	w->order = parts[part].order;
}

static void
put_whole(struct writer *w, enum aic_seller_part part, const char *name,
    struct json_object *v)
{
	size_t begin = w->b->len;
	bool ok = false;

	if (json_object_is_type(v, json_type_array) && has_objects(v) &&
	    begin == 0) {
		w->order = parts[part].order;
		aic_buf_puts(w->b, parts[part].label);
		put_items(w, v, w->order, 1);
		return;
	}
	begin_part(w, part);
	if (json_object_is_type(v, json_type_object) && !is_failed(v)) {
		ok = put_lines(w, v, 1);
	} else if (json_object_is_type(v, json_type_array) && begin == 0) {
		/* Out of memory, the label can be missing. */
		if (w->b->failed)
			return;
		w->b->data[w->b->len - 1] = ' ';
		ok = put_elements(w, 0, v);
		aic_buf_putc(w->b, '\n');
	} else if (json_object_is_type(v, json_type_array)) {
		ok = put_line(w, name, v, 1);
	}
	if (!ok)
		cut_to(w->b, begin);
}

static void
put_member(struct writer *w, enum aic_seller_part part, const char *name,
    struct json_object *v)
{
	size_t begin = w->b->len;

	if (is_hidden(aic_seller_fields_find(name), false))
		return;
	begin_part(w, part);
	if (!put_line(w, name, v, 1))
		cut_to(w->b, begin);
}

/*
 * `statistics' and `summary' are figures of the list beside them, so
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
 * The period of a document's totals, or NULL. Totals without their period,
 * beside those of another document, would be meaningless.
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
put_document(struct writer w[PARTS], struct json_object *obj, int depth)
{
	struct json_object_iterator it, end = json_object_iter_end(obj);
	struct json_object *period = find_period(obj);
	enum aic_seller_part part;
	const struct place *place;
	int lists;

	if (depth > DEPTH_MAX || is_failed(obj))
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
			w[part].pages = read_pages(obj);
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
	struct aic_buf part[PARTS];
	struct writer w[PARTS];
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
	for (i = 0; i < PARTS; i++) {
		/*
		 * Two fields, a label and the sums of a list can exceed the
		 * limit.
		 */
		aic_buf_init(&part[i], 4 * chars_max + 8 * FIELD_BYTES);
		w[i] = (struct writer){ .b = &part[i], .stop = 4 * chars_max };
	}
	put_document(w, doc, 0);
	for (i = 0; i < PARTS; i++) {
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

	for (i = 0; i < PARTS; i++) {
		free(seller->part[i]);
		seller->part[i] = NULL;
	}
}

/* --- documents together -------------------------------------------------- */

/*
 * The number of bytes in the first chars_max characters; whole lines, if at
 * least one line fits.
 */
static size_t
fit_bytes(const struct aic_buf *b, size_t chars_max)
{
	size_t at = 0, line = 0, chars;

	for (chars = 0; at < b->len && chars < chars_max; chars++) {
		at += aic_utf8_next(b->data + at, b->len - at, NULL);
		if (b->data[at - 1] == '\n')
			line = at;
	}
	return at == b->len ? at : line > 0 ? line : at;
}

/* Short parts are kept whole; the other parts share the rest equally. */
static void
share_bytes(const struct aic_buf *part, size_t chars_max, size_t *ret_bytes)
{
	size_t chars[PARTS], left = chars_max;
	bool done[PARTS] = { false };
	int i, k, least;

	for (i = 0; i < PARTS; i++)
		chars[i] = aic_utf8_count(part[i].data, part[i].len);
	for (k = PARTS; k > 0; k--) {
		least = -1;
		for (i = 0; i < PARTS; i++)
			if (!done[i] && (least < 0 || chars[i] < chars[least]))
				least = i;
		done[least] = true;
		ret_bytes[least] = fit_bytes(&part[least], left / (size_t)k);
		left -= aic_utf8_count(part[least].data, ret_bytes[least]);
	}
}

/* The end of a line and of the indented lines below it. */
static const char *
block_end(const char *at)
{
	const char *end;

	do {
		end = strchr(at, '\n');
		at = end ? end + 1 : at + strlen(at);
	} while (*at == ' ');
	return at;
}

/*
 * True if the text has these lines already. The same words within a list are
 * indented, so they are other lines.
 */
static bool
has_block(const struct aic_buf *in, const char *block, size_t n)
{
	const char *at, *end;

	/* An empty buffer has no memory. */
	if (in->len == 0)
		return false;
	at = in->data;
	end = at + in->len;
	while (at && at < end) {
		if ((size_t)(end - at) >= n && memcmp(at, block, n) == 0)
			return true;
		at = memchr(at, '\n', (size_t)(end - at));
		at += at != NULL;
	}
	return false;
}

/*
 * Appends the lines of a part, except those that the text has already: two
 * documents often contain the same figure.
 */
static void
add_part(struct aic_buf *to, const char *text)
{
	const char *end;

	if (to->len > 0 && *text != '-') {
		end = strchr(text, '\n');
		/* A label with nothing after it. */
		if (end && end > text && end[-1] == ':' &&
		    !memchr(text, '(', (size_t)(end - text)))
			text = end + 1;
	}
	for (; *text; text = end) {
		end = block_end(text);
		if (!has_block(to, text, (size_t)(end - text)))
			aic_buf_put(to, text, (size_t)(end - text));
	}
}

enum aic_code
aic_seller_join(const struct aic_seller *all, int n, size_t chars_max,
    char **ret_text)
{
	struct aic_buf part[PARTS], text;
	size_t bytes[PARTS];
	enum aic_code rc = AIC_OK;
	int i, k;

	*ret_text = NULL;
	aic_buf_init(&text, 4 * chars_max);
	for (i = 0; i < PARTS; i++) {
		aic_buf_init(&part[i],
		    (size_t)n * (4 * chars_max + 8 * FIELD_BYTES));
		for (k = 0; k < n; k++)
			if (all[k].part[i])
				add_part(&part[i], all[k].part[i]);
		text.failed = text.failed || part[i].failed;
	}
	if (!text.failed) {
		share_bytes(part, chars_max, bytes);
		for (i = 0; i < PARTS; i++)
			aic_buf_put(&text, part[i].data, bytes[i]);
	}
	while (text.len > 0 && text.data[text.len - 1] == '\n')
		cut_to(&text, text.len - 1);
	if (!text.failed && text.len > 0)
		*ret_text = aic_buf_take(&text, NULL);
	if (text.failed)
		rc = AIC_ENOMEM;
	for (i = 0; i < PARTS; i++)
		aic_buf_done(&part[i]);
	aic_buf_done(&text);
	return rc;
}

enum aic_code
aic_seller_summary(const char *text, size_t len, size_t chars_max,
    char **ret_text)
{
	struct aic_seller seller;
	enum aic_code rc;

	rc = aic_seller_read(text, len, chars_max, &seller);
	if (rc)
		return rc;
	rc = aic_seller_join(&seller, 1, chars_max, ret_text);
	aic_seller_done(&seller);
	return rc;
}

/* --- copies -------------------------------------------------------------- */

void
aic_seller_pack(const struct aic_seller *seller, struct aic_buf *to)
{
	int i;

	for (i = 0; i < PARTS; i++) {
		if (seller->part[i])
			aic_buf_puts(to, seller->part[i]);
		aic_buf_putc(to, '\0');
	}
}

bool
aic_seller_unpack(struct aic_seller *ret_seller, const char **at,
    const char *end)
{
	const char *nul;
	int i;

	*ret_seller = (struct aic_seller){ .part = { NULL } };
	for (i = 0; i < PARTS; i++) {
		nul = memchr(*at, '\0', (size_t)(end - *at));
		if (!nul)
			break;
		if (nul > *at)
			ret_seller->part[i] = strdup(*at);
		if (nul > *at && !ret_seller->part[i])
			break;
		*at = nul + 1;
	}
	if (i == PARTS)
		return true;
	aic_seller_done(ret_seller);
	return false;
}
