#include "config.h"

#include "seller.h"

#include <json-c/json.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "json.h"
#include "utf8.h"
#include "words.h"

/* What is shown of a thing; more than a model can make use of. */
#define LINES_MAX 40 /* of an object */
#define FIELDS_MAX 10 /* of an item, in one line */
#define ITEMS_MAX 5 /* of a list */
#define DEPTH_MAX 3
#define NAME_MAX_CHARS 40
#define TEXT_MAX_CHARS 80
#define LONG_MAX_CHARS 200 /* of a review */

/* A field at its longest, all of it in four bytes a character. */
#define FIELD_BYTES (4 * (NAME_MAX_CHARS + LONG_MAX_CHARS) + 256)

/* No shop sells so much; it is a mistake, and beyond what a double counts exactly. */
#define HUGE_NUMBER 1e15

/* A review with so many stars or fewer is a bad one. */
#define BAD_RATING 3

/* A text that grows by whole lines, up to a length. */
struct writer {
	struct aic_buf *b;
	size_t stop; /* bytes; what is longer will be cut anyway */
};

static bool
is_full(const struct writer *w)
{
	return w->b->failed || w->b->len >= w->stop;
}

/* Back to a length that it had. */
static void
cut_to(struct aic_buf *b, size_t len)
{
	b->len = len;
	if (b->data)
		b->data[len] = '\0';
}

static enum aic_words_how
how_of(int word)
{
	return aic_words_get(word)->how;
}

/* --- texts of strangers ------------------------------------------------ */

static bool
is_blank(uint32_t cp)
{
	return cp <= 0x20 || (cp >= 0x7f && cp <= 0xa0) || cp == 0x1680 ||
	    (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 ||
	    cp == 0x202f || cp == 0x205f || cp == 0x3000;
}

/* What a person who looks at the text does not see, and a model reads: joiners,
 * directions, tags, variation selectors, private use. */
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

/* Those that quote, and those that look as if they did. */
static bool
is_guillemet(uint32_t cp)
{
	return cp == 0xab || cp == 0xbb || cp == 0x2039 || cp == 0x203a ||
	    (cp >= 0x201c && cp <= 0x201f) || (cp >= 0x2768 && cp <= 0x276f) ||
	    (cp >= 0x27e8 && cp <= 0x27eb) || (cp >= 0x3008 && cp <= 0x300f);
}

/* False, and nothing written: there is nothing to be seen in it. */
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
		if (n == 0) { /* no UTF-8: as good as nothing */
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

/* Decimals of Python's are texts. */
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

/* Of a field that should be one; false: it is none that makes sense. */
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
	return how_of(word) == AIC_WORDS_MONEY ||
	    how_of(word) == AIC_WORDS_MONEY_SUM;
}

static bool
adds_up(int word)
{
	enum aic_words_how how = how_of(word);

	return how == AIC_WORDS_SUM || how == AIC_WORDS_STOCK ||
	    how == AIC_WORDS_MONEY_SUM;
}

/* --- fields ------------------------------------------------------------ */

static bool
put_scalar(struct writer *w, int word, struct json_object *v)
{
	enum aic_words_how how = how_of(word);
	double x;

	if (json_object_is_type(v, json_type_boolean)) {
		aic_buf_puts(w->b, json_object_get_boolean(v) ? "да" : "нет");
		return true;
	}
	if (how == AIC_WORDS_ID && json_object_is_type(v, json_type_int)) {
		aic_buf_printf(w->b, "%lld",
		    (long long)json_object_get_int64(v));
		return true;
	}
	/* A text is taken for a number only where one is expected. */
	if ((is_number(v) || is_money(word) || adds_up(word) ||
		how == AIC_WORDS_RATING) &&
	    read_number(v, &x)) {
		put_grouped(w, x, is_money(word));
		aic_buf_puts(w->b, aic_words_get(word)->unit);
		return true;
	}
	if (!json_object_is_type(v, json_type_string))
		return false;
	return put_quoted(w, json_object_get_string(v),
	    (size_t)json_object_get_string_len(v),
	    how == AIC_WORDS_LONG ? LONG_MAX_CHARS : TEXT_MAX_CHARS);
}

static bool
put_label(struct writer *w, int word, const char *name)
{
	if (word == 0)
		return put_quoted(w, name, strlen(name), NAME_MAX_CHARS);
	aic_buf_puts(w->b, aic_words_get(word)->label);
	return true;
}

static bool
is_scalar(struct json_object *v)
{
	return v && !json_object_is_type(v, json_type_object) &&
	    !json_object_is_type(v, json_type_array);
}

static bool put_fields(struct writer *w, struct json_object *obj, int depth);

/* A few of a list, in one line. */
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

/* "label value"; false, and nothing written: there is nothing to show. */
static bool
put_field(struct writer *w, const char *name, struct json_object *v,
    const char *between, int depth)
{
	int word = aic_words_find(name);
	size_t begin = w->b->len;
	bool ok = v && how_of(word) != AIC_WORDS_SKIP &&
	    put_label(w, word, name);

	if (ok && json_object_is_type(v, json_type_object)) {
		aic_buf_puts(w->b, " (");
		ok = depth < DEPTH_MAX && put_fields(w, v, depth + 1);
		aic_buf_putc(w->b, ')');
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

/* An object in one line; what has a name of ours goes first. */
static bool
put_fields(struct writer *w, struct json_object *obj, int depth)
{
	struct json_object_iterator it, end = json_object_iter_end(obj);
	size_t mark;
	int shown = 0, known;

	for (known = 1; known >= 0; known--)
		for (it = json_object_iter_begin(obj);
		     !json_object_iter_equal(&it, &end) && shown < FIELDS_MAX &&
		     !is_full(w);
		     json_object_iter_next(&it)) {
			const char *name = json_object_iter_peek_name(&it);

			if ((aic_words_find(name) != 0) != known)
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

/* Which items of a list come first. */
enum order { AS_THEY_ARE, MOST_FIRST, LEAST_LEFT_FIRST, WORST_FIRST };

struct sums {
	double sum[AIC_WORDS_MAX];
	size_t n[AIC_WORDS_MAX];
	size_t none_left, bad;
};

static void
add_field(struct sums *s, int word, struct json_object *v)
{
	double x;

	if (json_object_is_type(v, json_type_boolean) && adds_up(word))
		x = json_object_get_boolean(v);
	else if (!(adds_up(word) || how_of(word) == AIC_WORDS_RATING) ||
	    !read_number(v, &x))
		return;
	s->sum[word] += x;
	s->n[word]++;
	if (how_of(word) == AIC_WORDS_STOCK && x <= 0)
		s->none_left++;
	if (how_of(word) == AIC_WORDS_RATING && x <= BAD_RATING)
		s->bad++;
}

static bool
comes_first(enum order order, int word)
{
	switch (order) {
	case MOST_FIRST:
		return how_of(word) == AIC_WORDS_MONEY_SUM;
	case LEAST_LEFT_FIRST:
		return how_of(word) == AIC_WORDS_STOCK;
	case WORST_FIRST:
		return how_of(word) == AIC_WORDS_RATING;
	case AS_THEY_ARE:
		break;
	}
	return false;
}

/* Adds up an item; the value says where it goes: the smaller, the earlier. */
static double
add_item(struct sums *s, struct json_object *item, enum order order)
{
	struct json_object_iterator it, end;
	double place = HUGE_NUMBER, x;
	int word;

	if (!json_object_is_type(item, json_type_object))
		return place;
	end = json_object_iter_end(item);
	for (it = json_object_iter_begin(item);
	     !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
		struct json_object *v = json_object_iter_peek_value(&it);

		word = aic_words_find(json_object_iter_peek_name(&it));
		add_field(s, word, v);
		if (place == HUGE_NUMBER && comes_first(order, word) &&
		    read_number(v, &x))
			place = order == MOST_FIRST ? -x : x;
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
put_sums(struct writer *w, const struct sums *s)
{
	double x;
	int i;

	for (i = 1; i < AIC_WORDS_MAX; i++) {
		x = s->sum[i];
		if (s->n[i] == 0 || !isfinite(x) || fabs(x) >= HUGE_NUMBER)
			continue;
		aic_buf_puts(w->b, "; ");
		if (how_of(i) == AIC_WORDS_RATING) {
			aic_buf_puts(w->b, "средняя оценка ");
			x /= (double)s->n[i];
		} else {
			aic_buf_printf(w->b, "%s всего ",
			    aic_words_get(i)->label);
		}
		put_grouped(w, x, is_money(i));
		aic_buf_puts(w->b, aic_words_get(i)->unit);
	}
	if (s->none_left)
		aic_buf_printf(w->b, "; нет в наличии %zu", s->none_left);
	if (s->bad)
		aic_buf_printf(w->b, "; с оценкой %d и ниже %zu", BAD_RATING,
		    s->bad);
}

static void
indent(struct writer *w, int depth)
{
	while (depth-- > 0)
		aic_buf_puts(w->b, "  ");
}

/* How many there are, what they come to, and the first of them. */
static void
put_items(struct writer *w, struct json_object *list, enum order order,
    int depth)
{
	size_t n = json_object_array_length(list), mark, i;
	struct first first = { .n = 0 };
	struct sums sums = { .bad = 0 };
	struct json_object *item;
	int k;

	for (i = 0; i < n; i++) {
		item = json_object_array_get_idx(list, i);
		keep_first(&first, item, add_item(&sums, item, order));
	}
	aic_buf_printf(w->b, "%zu", n);
	if (n > 1)
		put_sums(w, &sums);
	aic_buf_putc(w->b, '\n');
	for (k = 0; k < first.n && !is_full(w); k++) {
		mark = w->b->len;
		indent(w, depth);
		aic_buf_printf(w->b, "%d) ", k + 1);
		if (json_object_is_type(first.item[k], json_type_object) &&
		    put_fields(w, first.item[k], 1))
			aic_buf_putc(w->b, '\n');
		else
			cut_to(w->b, mark);
	}
}

/* --- objects, a line a member ------------------------------------------ */

static bool
has_objects(struct json_object *list)
{
	return json_object_array_length(list) > 0 &&
	    json_object_is_type(json_object_array_get_idx(list, 0),
		json_type_object);
}

/* Would it be too much for one line? */
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

static bool put_lines(struct writer *w, struct json_object *obj, int depth);

static bool
put_line(struct writer *w, const char *name, struct json_object *v, int depth)
{
	int word = aic_words_find(name);
	size_t begin = w->b->len;
	bool list = json_object_is_type(v, json_type_array) && has_objects(v);
	bool deep = json_object_is_type(v, json_type_object) && is_deep(v) &&
	    depth < DEPTH_MAX;
	bool ok;

	indent(w, depth - 1);
	aic_buf_puts(w->b, "- ");
	if (list || deep) {
		ok = how_of(word) != AIC_WORDS_SKIP && put_label(w, word, name);
		aic_buf_puts(w->b, list ? ": " : ":\n");
		if (ok && list)
			put_items(w, v, AS_THEY_ARE, depth);
		else if (ok)
			ok = put_lines(w, v, depth + 1);
	} else {
		ok = put_field(w, name, v, ": ", depth);
		aic_buf_putc(w->b, '\n');
	}
	if (!ok)
		cut_to(w->b, begin);
	return ok;
}

/* What has a name of ours goes first here, too. */
static bool
put_lines(struct writer *w, struct json_object *obj, int depth)
{
	struct json_object_iterator it, end = json_object_iter_end(obj);
	int shown = 0, known;

	for (known = 1; known >= 0; known--)
		for (it = json_object_iter_begin(obj);
		     !json_object_iter_equal(&it, &end) && shown < LINES_MAX &&
		     !is_full(w);
		     json_object_iter_next(&it)) {
			const char *name = json_object_iter_peek_name(&it);

			if ((aic_words_find(name) != 0) == known)
				shown += put_line(w, name,
				    json_object_iter_peek_value(&it), depth);
		}
	return shown > 0;
}

/* --- all of it --------------------------------------------------------- */

static const struct part {
	const char *name, *label;
	enum order order; /* of a list */
} parts[] = {
	{ "orders", "Заказы:", MOST_FIRST },
	{ "sales", "Продажи:", MOST_FIRST },
	{ "stocks", "Остатки:", LEAST_LEFT_FIRST },
	{ "reviews", "Отзывы:", WORST_FIRST },
};
#define PARTS ((int)(sizeof(parts) / sizeof(parts[0])))

static void
put_part(struct writer *w, const struct part *part, struct json_object *doc)
{
	struct json_object *v;
	bool ok = true;

	if (!json_object_object_get_ex(doc, part->name, &v))
		return;
	aic_buf_puts(w->b, part->label);
	if (json_object_is_type(v, json_type_array) && has_objects(v)) {
		aic_buf_putc(w->b, ' ');
		put_items(w, v, part->order, 1);
	} else if (json_object_is_type(v, json_type_object)) {
		aic_buf_putc(w->b, '\n');
		ok = put_lines(w, v, 1);
	} else {
		aic_buf_putc(w->b, ' ');
		ok = json_object_is_type(v, json_type_array) &&
		    put_elements(w, 0, v);
		aic_buf_putc(w->b, '\n');
	}
	if (!ok)
		cut_to(w->b, 0);
}

/* The bytes of the first so many characters; whole lines, if there is one. */
static size_t
fit(const struct aic_buf *b, size_t chars_max)
{
	size_t at = 0, line = 0, chars;

	for (chars = 0; at < b->len && chars < chars_max; chars++) {
		at += aic_utf8_next(b->data + at, b->len - at, NULL);
		if (b->data[at - 1] == '\n')
			line = at;
	}
	return at == b->len ? at : line > 0 ? line : at;
}

/* Short parts are whole, and the others share what these leave. */
static void
share(const struct aic_buf *part, size_t chars_max, size_t *ret_bytes)
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
		ret_bytes[least] = fit(&part[least], left / (size_t)k);
		left -= aic_utf8_count(part[least].data, ret_bytes[least]);
	}
}

static enum aic_code
write_all(struct json_object *doc, size_t chars_max, char **ret_text)
{
	struct aic_buf part[PARTS], all;
	size_t bytes[PARTS];
	enum aic_code rc = AIC_OK;
	struct writer w = { .stop = 4 * chars_max };
	int i;

	aic_buf_init(&all, 4 * chars_max);
	for (i = 0; i < PARTS; i++) {
		/* Two fields, a label and a list's sums may come on top. */
		aic_buf_init(&part[i], w.stop + 8 * FIELD_BYTES);
		w.b = &part[i];
		put_part(&w, &parts[i], doc);
		all.failed = all.failed || part[i].failed;
	}
	if (!all.failed) {
		share(part, chars_max, bytes);
		for (i = 0; i < PARTS; i++)
			aic_buf_put(&all, part[i].data, bytes[i]);
	}
	if (all.failed)
		rc = AIC_ENOMEM;
	while (all.len > 0 && all.data[all.len - 1] == '\n')
		cut_to(&all, all.len - 1);
	if (!rc && all.len > 0) {
		*ret_text = aic_buf_take(&all, NULL);
		rc = *ret_text ? AIC_OK : AIC_ENOMEM;
	} else if (!rc) {
		*ret_text = NULL;
	}
	for (i = 0; i < PARTS; i++)
		aic_buf_done(&part[i]);
	aic_buf_done(&all);
	return rc;
}

enum aic_code
aic_seller_summary(const char *text, size_t len, size_t chars_max,
    char **ret_text)
{
	struct json_object *doc = NULL;
	enum aic_code rc;

	rc = aic_json_parse(text, len, &doc);
	if (!rc && !json_object_is_type(doc, json_type_object))
		rc = AIC_EINPUT;
	if (!rc)
		rc = write_all(doc, chars_max, ret_text);
	json_object_put(doc);
	return rc;
}
