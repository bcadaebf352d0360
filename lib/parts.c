#include "config.h"

#include "lib/parts.h"

#include <stdint.h>
#include <string.h>

#include "lib/format.h"
#include "lib/telegram_text.h"
#include "lib/utf8.h"

/* The longest entity that aic_telegram_html() writes is &amp;. */
#define ENTITY_MAX 6

/* A task's check box is shown as this character. */
#define CHECK_BOX 0x2610

/* Places for a cut, from the worst to the best. */
enum place { ANYWHERE, CHARACTER, WORD, SENTENCE, LINE, PARAGRAPH, PLACE__MAX };

/* A tag, or something visible: one code point or a check box. */
struct token {
	const char *next;
	bool tag;
	enum aic_telegram_kind kind;
	uint32_t cp; /* '&' for every entity */
	size_t units;
};

static const struct aic_parts_amount most[AIC_FORMAT__MAX] = {
	[AIC_FORMAT_PLAIN] = { AIC_PARTS_UNITS, AIC_PARTS_BYTES, SIZE_MAX,
	    SIZE_MAX, SIZE_MAX },
	[AIC_FORMAT_HTML] = { AIC_PARTS_UNITS, AIC_PARTS_BYTES,
	    AIC_PARTS_ENTITIES, AIC_PARTS_TARGETS, SIZE_MAX },
	[AIC_FORMAT_RICH] = { AIC_PARTS_RICH_UNITS, AIC_PARTS_RICH_BYTES,
	    SIZE_MAX, SIZE_MAX, AIC_PARTS_RICH_BLOCKS },
};

void
aic_parts_begin(struct aic_parts *p, const char *text, size_t len,
    enum aic_format format, int reserve)
{
	*p = (struct aic_parts){
		.at = text,
		.end = text + len,
		.format = format,
		.max = most[format],
	};
	p->max.units -= (size_t)reserve;
	p->max.bytes -= (size_t)reserve * AIC_PARTS_UNIT_BYTES;
}

/* The name of an opening or closing tag. */
static const char *
name_of(const char *tag)
{
	return tag + 1 + (tag[1] == '/');
}

static size_t
name_len(const char *tag)
{
	return strcspn(name_of(tag), " >");
}

static bool
is_tag(const char *tag, const char *name)
{
	size_t n = strlen(name);

	return strncmp(name_of(tag), name, n) == 0 && name_len(tag) == n;
}

static struct token
read_token(const struct aic_parts *p, const char *at)
{
	bool html = p->format != AIC_FORMAT_PLAIN;
	size_t left = (size_t)(p->end - at), len;
	struct token t = { .units = 1 };
	const char *end = NULL;

	if (html && *at == '<')
		end = memchr(at, '>', left);
	if (end) {
		t.tag = !is_tag(at, "input");
		t.next = end + 1;
		t.cp = CHECK_BOX;
		t.kind = AIC_TELEGRAM_SEEN;
		return t;
	}
	len = aic_utf8_next(at, left, &t.cp);
	if (len == 0) /* impossible, but must not cause an endless loop */
		len = 1;
	if (html && *at == '&')
		end = memchr(at, ';', left < ENTITY_MAX ? left : ENTITY_MAX);
	t.next = end ? end + 1 : at + len;
	t.kind = aic_telegram_kind(t.cp);
	t.units = t.cp > 0xffff ? 2 : 1;
	return t;
}

/* --- tags -------------------------------------------------------------- */

static void
track_tag(struct aic_parts *p, const char *s, const char *next)
{
	if (s[1] == '/') {
		if (p->n_open > 0)
			p->n_open--;
	} else if (next[-2] != '/' && !is_tag(s, "br") &&
	    p->n_open < AIC_PARTS_DEPTH) {
		p->open[p->n_open].s = s;
		p->open[p->n_open++].len = (size_t)(next - s);
	}
}

/*
 * The number of blocks of a rich message that a tag begins. The content of an
 * item or of a quotation counts as one block even without a tag.
 */
static size_t
blocks_of(const char *tag)
{
	static const char *const one[] = { "p", "h1", "h2", "h3", "h4", "h5",
		"h6", "pre", "hr/", "ul", "ol", "table", "tr" };
	size_t i;

	if (is_tag(tag, "li") || is_tag(tag, "blockquote"))
		return 2;
	for (i = 0; i < sizeof(one) / sizeof(one[0]); i++)
		if (is_tag(tag, one[i]))
			return 1;
	return 0;
}

/*
 * The number of splittable tags among the first n open tags. Telegram ends such
 * an entity where another one begins, and begins it again after the other one.
 */
static size_t
count_splittable(const struct aic_parts *p, int n)
{
	size_t count = 0;

	while (n-- > 0)
		count += is_tag(p->open[n].s, "b") ||
		    is_tag(p->open[n].s, "i") || is_tag(p->open[n].s, "s");
	return count;
}

/*
 * Adds what a tag inside the first n open tags contributes to a message. The
 * bytes of its closing tag count, so that a message can always be closed.
 */
static void
add_tag(const struct aic_parts *p, int n, const char *s, size_t len,
    struct aic_parts_amount *to)
{
	if (s[1] == '/')
		return;
	to->bytes += len + name_len(s) + strlen("</>");
	if (n == 0 || !is_tag(p->open[n - 1].s, "pre"))
		to->entities += 1 + 2 * count_splittable(p, n);
	to->blocks += blocks_of(s);
	to->units += is_tag(s, "br");
	if (is_tag(s, "a"))
		to->targets += len - strlen("<a href=\"\">");
}

static struct aic_parts_amount
opening_amount(const struct aic_parts *p)
{
	struct aic_parts_amount a = { 0 };
	int i;

	for (i = 0; i < p->n_open; i++)
		add_tag(p, i, p->open[i].s, p->open[i].len, &a);
	return a;
}

/* True if an amount exceeds its limit divided by share; 4: a quarter of it. */
static bool
exceeds_limits(const struct aic_parts_amount *a,
    const struct aic_parts_amount *max, size_t share)
{
	return a->units > max->units / share || a->bytes > max->bytes / share ||
	    a->entities > max->entities / share ||
	    a->targets > max->targets / share ||
	    a->blocks > max->blocks / share;
}

bool
aic_parts_fit(const struct aic_parts *p)
{
	struct aic_parts tracked = *p;
	struct aic_parts_amount a = { 0 };
	struct token t;
	const char *at;

	if ((size_t)(p->end - p->at) <= p->max.units &&
	    p->format == AIC_FORMAT_PLAIN)
		return true;
	for (at = p->at; at < p->end; at = t.next) {
		t = read_token(p, at);
		if (t.tag) {
			add_tag(&tracked, tracked.n_open, at,
			    (size_t)(t.next - at), &a);
			track_tag(&tracked, at, t.next);
		} else {
			a.units += t.units;
			a.bytes += (size_t)(t.next - at);
		}
		if (exceeds_limits(&a, &p->max, 1))
			return false;
	}
	return true;
}

static bool
is_code(const struct aic_parts *p)
{
	int i;

	for (i = 0; i < p->n_open; i++)
		if (is_tag(p->open[i].s, "pre"))
			return true;
	return false;
}

static void
put_opening(const struct aic_parts *p, struct aic_buf *to)
{
	int i;

	for (i = 0; i < p->n_open; i++)
		aic_buf_put(to, p->open[i].s, p->open[i].len);
}

static void
put_closing(const struct aic_parts *p, struct aic_buf *to)
{
	int i;

	for (i = p->n_open; i-- > 0;) {
		aic_buf_puts(to, "</");
		aic_buf_put(to, p->open[i].s + 1, name_len(p->open[i].s));
		aic_buf_putc(to, '>');
	}
}

/* --- places ------------------------------------------------------------ */

/*
 * True for a code point that belongs to the character before it: accents,
 * keycaps, variation selectors, skin tones, the letters of flags.
 */
static bool
continues_character(uint32_t cp)
{
	return (cp >= 0x300 && cp <= 0x36f) || (cp >= 0x483 && cp <= 0x489) ||
	    (cp >= 0x591 && cp <= 0x5bd) || (cp >= 0x64b && cp <= 0x65f) ||
	    (cp >= 0x1ab0 && cp <= 0x1aff) || (cp >= 0x1dc0 && cp <= 0x1dff) ||
	    cp == 0x200d || (cp >= 0x20d0 && cp <= 0x20ff) ||
	    (cp >= 0xfe00 && cp <= 0xfe0f) || (cp >= 0xfe20 && cp <= 0xfe2f) ||
	    (cp >= 0x1f1e6 && cp <= 0x1f1ff) ||
	    (cp >= 0x1f3fb && cp <= 0x1f3ff) ||
	    (cp >= 0xe0020 && cp <= 0xe01ef);
}

static bool
ends_sentence(uint32_t cp)
{
	return cp == '.' || cp == '!' || cp == '?' || cp == ';' || cp == ':' ||
	    cp == 0x2026;
}

/* True for a no-break space, as in "120 000 ₽". */
static bool
keeps_together(uint32_t space)
{
	return space == 0xa0 || space == 0x2007 || space == 0x202f;
}

/* What lies between the last kept character and the next one. */
struct between {
	uint32_t last; /* the last kept character */
	bool blank;
	int newlines;
};

/*
 * Records a tag between the two characters. A block of a rich message counts as
 * a line, an outermost one as a paragraph.
 */
static void
pass_tag(const struct aic_parts *tracked, const char *tag, bool outermost,
    struct between *b)
{
	if (tracked->format != AIC_FORMAT_RICH)
		return;
	if (is_tag(tag, "td") || is_tag(tag, "th"))
		b->blank = true;
	else if (is_tag(tag, "br"))
		b->newlines++;
	else if (blocks_of(tag) > 0)
		b->newlines += outermost ? 2 : 1;
}

static enum place
place_of(const struct between *b, uint32_t next, bool code)
{
	if (b->newlines > 1 && !code)
		return PARAGRAPH;
	if (b->newlines > 0)
		return LINE;
	if (b->blank)
		return ends_sentence(b->last) && !code ? SENTENCE : WORD;
	return continues_character(next) || b->last == 0x200d ? ANYWHERE
							      : CHARACTER;
}

/* --- parts ------------------------------------------------------------- */

/*
 * Finds the beginning of the next part. It is the first visible character.
 * Inside code it is the beginning of that character's line, unless the line is
 * mostly blank. Inside a table it is the beginning of the row, so that empty
 * cells before the character stay. The open tags at this place are in p->open.
 * NULL: nothing is left.
 */
static const char *
skip_blank(struct aic_parts *p)
{
	const char *at, *line = NULL, *row = NULL;
	struct token t;
	int n_row = 0;

	for (at = p->at; at < p->end; at = t.next) {
		t = read_token(p, at);
		if (t.tag && is_tag(at, "tr")) {
			row = at[1] == '/' ? NULL : at;
			n_row = p->n_open;
		}
		if (t.tag)
			track_tag(p, at, t.next);
		else if (t.kind == AIC_TELEGRAM_SEEN && row) {
			p->n_open = n_row;
			return row;
		} else if (t.kind == AIC_TELEGRAM_SEEN)
			return line && (size_t)(at - line) < p->max.units / 2
			    ? line
			    : at;
		if (t.tag || t.cp == '\n')
			line = is_code(p) ? t.next : NULL;
	}
	p->at = p->end;
	return NULL;
}

/* The end of the part that begins at start. */
static const char *
find_cut(const struct aic_parts *p, const char *start)
{
	struct aic_parts_amount a = opening_amount(p), kept = a;
	const char *best[PLACE__MAX] = { NULL };
	const char *at, *end = start; /* after the last kept character */
	struct between b = { 0 };
	struct token t = { .next = start };
	struct aic_parts tracked = *p;
	bool outermost;
	enum place i;

	for (at = start; at < p->end; at = t.next) {
		t = read_token(p, at);
		if (t.tag) {
			add_tag(&tracked, tracked.n_open, at,
			    (size_t)(t.next - at), &a);
			outermost = tracked.n_open == 0;
			track_tag(&tracked, at, t.next);
			pass_tag(&tracked, at, outermost || tracked.n_open == 0,
			    &b);
			continue;
		}
		a.units += t.units;
		a.bytes += (size_t)(t.next - at);
		if (t.kind == AIC_TELEGRAM_SPACE) {
			b.blank = b.blank || !keeps_together(t.cp);
			b.newlines += t.cp == '\n';
			continue;
		}
		if (exceeds_limits(&kept, &p->max, 4))
			best[place_of(&b, t.cp, is_code(&tracked))] = end;
		if (exceeds_limits(&a, &p->max, 1))
			break;
		end = t.next;
		kept = a;
		b = (struct between){ .last = t.cp };
	}
	if (at >= p->end)
		return end;
	for (i = PLACE__MAX; i-- > 0;)
		if (best[i])
			return best[i];
	return end > start ? end : t.next;
}

bool
aic_parts_next(struct aic_parts *p, struct aic_buf *to)
{
	const char *start, *cut, *s, *next;
	struct token t;

	aic_buf_clear(to);
	start = skip_blank(p);
	if (!start)
		return false;
	cut = find_cut(p, start);
	put_opening(p, to);
	aic_buf_put(to, start, (size_t)(cut - start));
	for (s = start; p->format != AIC_FORMAT_PLAIN && s < cut; s = next) {
		s = memchr(s, '<', (size_t)(cut - s));
		if (!s)
			break;
		t = read_token(p, s);
		next = t.next;
		if (t.tag)
			track_tag(p, s, next);
	}
	put_closing(p, to);
	p->at = cut;
	return !to->failed;
}

static size_t
units_of(const char *s)
{
	size_t units = 0, left = strlen(s), n;
	uint32_t cp;

	for (; left > 0; s += n, left -= n) {
		n = aic_utf8_next(s, left, &cp);
		units += n == 4 ? 2 : 1;
		n += n == 0;
	}
	return units;
}

static void
put_note(struct aic_buf *to, const char *note, enum aic_format format)
{
	aic_buf_puts(to, format == AIC_FORMAT_RICH ? "<p>" : "\n\n");
	if (format == AIC_FORMAT_PLAIN)
		aic_buf_puts(to, note);
	else
		aic_telegram_escape(to, note, strlen(note), false);
	if (format == AIC_FORMAT_RICH)
		aic_buf_puts(to, "</p>");
}

bool
aic_parts_first(const char *text, size_t len, enum aic_format format,
    int reserve, const char *note, struct aic_buf *to)
{
	size_t room = units_of(note) + strlen("\n\n");
	struct aic_parts p;

	aic_parts_begin(&p, text, len, format, reserve);
	if (aic_parts_fit(&p)) {
		aic_buf_clear(to);
		aic_buf_put(to, text, len);
		return !to->failed;
	}
	p.max.units -= room;
	p.max.bytes -= room * AIC_PARTS_UNIT_BYTES + strlen("<p></p>");
	p.max.blocks--;
	if (!aic_parts_next(&p, to))
		return false;
	put_note(to, note, format);
	return !to->failed;
}
