#include "config.h"

#include "lib/markdown_spans.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/entity.h"
#include "lib/markdown_scan.h"
#include "lib/utf8.h"

/* The longest run of backticks that encloses code; longer ones are text. */
#define BACKTICKS_MAX 16

/*
 * The most bytes of a decoded target or title, which is at most three times as
 * long as its source.
 */
#define SCRATCH_MAX ((size_t)16 * 1024 * 1024)

/* The deepest nesting: a link, and an image in it. */
#define LINKS_MAX 2

/* The end of a stack of brackets or delimiters. */
#define NONE ((size_t)-1)

enum token_type { TEXT, CHARACTER, BREAK, CODE, RUN, BRACKET, OPEN, CLOSE };

struct aic_markdown_token {
	enum token_type type;
	size_t at, len; /* in the text; OPEN: its target */
	union {
		uint32_t cp; /* CHARACTER */
		struct {
			/* the delimiter before it that can be an opener */
			size_t below;
			struct aic_markdown_run can;
			/* characters that are not matched */
			unsigned char left;
			unsigned char n_opens, n_closes;
			/* the lengths of the matched spans, 1 or 2 */
			unsigned char opens[3], closes[3];
		} run;
		struct {
			size_t below; /* the bracket before it */
			bool image;
			bool has_link, has_image; /* inside the bracket */
		} bracket;
		struct {
			size_t at, len;
		} title; /* CLOSE */
	};
};

enum formula { ROUND, SQUARE, DOLLARS, FORMULA__MAX };

/* The state of the first pass, which splits the text into tokens. */
struct scan {
	struct aic_markdown_spans *sp;
	const char *s;
	size_t n, at;
	size_t text; /* the beginning of the text that is not a token yet */
	size_t bracket; /* the innermost open bracket */
	size_t url; /* the end of a bare URL */
	size_t name; /* the end of a name that was scanned */
	bool no_backticks[BACKTICKS_MAX + 1]; /* no such run follows */
	bool no_formula[FORMULA__MAX];
	size_t plain[FORMULA__MAX]; /* no formula begins before this place */
};

/* --- tokens ------------------------------------------------------------ */

static void
add_token(struct aic_markdown_spans *sp, struct aic_markdown_token token)
{
	struct aic_markdown_token *more;
	size_t cap = sp->tokens_cap ? 2 * sp->tokens_cap : 64;

	if (sp->n_tokens == sp->tokens_cap) {
		more = realloc(sp->tokens, cap * sizeof(*more));
		if (!more) {
			sp->failed = true;
			return;
		}
		sp->tokens = more;
		sp->tokens_cap = cap;
	}
	sp->tokens[sp->n_tokens++] = token;
}

/*
 * Makes text tokens, and breaks between them, of everything since the last
 * token.
 */
static void
end_text(struct scan *c)
{
	size_t from, i;

	for (from = c->text; from < c->at; from = i) {
		for (i = from; i < c->at && c->s[i] != '\n';)
			i++;
		if (i > from)
			add_token(c->sp,
			    (struct aic_markdown_token){
				TEXT, from, i - from, { 0 } });
		if (i < c->at) {
			add_token(c->sp,
			    (struct aic_markdown_token){ BREAK, i, 1, { 0 } });
			i++;
		}
	}
	c->text = c->at;
}

/* Adds a token from c->at to end. */
static void
add_token_until(struct scan *c, enum token_type type, size_t end)
{
	end_text(c);
	add_token(c->sp,
	    (struct aic_markdown_token){ type, c->at, end - c->at, { 0 } });
	c->at = c->text = end;
}

static struct aic_markdown_token *
last_token(struct scan *c)
{
	return &c->sp->tokens[c->sp->n_tokens - 1];
}

static size_t
run_at(const struct scan *c, size_t at)
{
	size_t i = at;

	while (i < c->n && c->s[i] == c->s[at])
		i++;
	return i - at;
}

static bool
digit_at(const struct scan *c, size_t at)
{
	return at < c->n && isdigit((unsigned char)c->s[at]);
}

/* --- code, formulas, names --------------------------------------------- */

static void
scan_code(struct scan *c)
{
	size_t len = run_at(c, c->at), from = c->at + len, i, run;

	if (len > BACKTICKS_MAX || c->no_backticks[len]) {
		c->at = from;
		return;
	}
	for (i = from; i < c->n; i += run) {
		run = 1;
		if (c->s[i] != '`')
			continue;
		run = run_at(c, i);
		if (run == len)
			break;
	}
	c->no_backticks[len] = i == c->n;
	if (i == c->n ||
	    (c->at > 0 && digit_at(c, c->at - 1) && digit_at(c, from)) ||
	    (digit_at(c, i - 1) && digit_at(c, i + len))) {
		c->at = from;
		return;
	}
	add_token_until(c, CODE, i + len);
	if (i - from > 2 && c->s[from] == ' ' && c->s[i - 1] == ' ') {
		from++;
		i--;
	}
	if (!c->sp->failed) {
		last_token(c)->at = from;
		last_token(c)->len = i - from;
	}
}

static bool
is_formula(const char *s, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (s[i] == '=' || s[i] == '^' ||
		    (s[i] == '\\' && i + 1 < n &&
			isalpha((unsigned char)s[i + 1])))
			return true;
	return false;
}

/*
 * A formula is \(x\), \[x\] or $$x$$, and stays unchanged. Two rules keep the
 * time linear. If no closing mark follows, the search for it is not repeated.
 * If the text up to the closing mark has no sign of a formula, no formula
 * begins inside it: a formula that began there would end at the same mark. So
 * that text is not searched again.
 */
static bool
scan_formula(struct scan *c, enum formula kind)
{
	static const char closes[FORMULA__MAX][3] = { "\\)", "\\]", "$$" };
	size_t from = c->at + 2, len;
	const char *end;

	if (c->no_formula[kind] || from > c->n || from <= c->plain[kind])
		return false;
	end = memmem(c->s + from, c->n - from, closes[kind], 2);
	if (!end) {
		c->no_formula[kind] = true;
		return false;
	}
	len = (size_t)(end - (c->s + from));
	if (!is_formula(c->s + from, len)) {
		c->plain[kind] = from + len;
		return false;
	}
	c->at = from + len + 2;
	return true;
}

/* Names such as __init__ and _id_1_ are text, not emphasis. */
static bool
scan_name(struct scan *c)
{
	size_t i = c->at, lines = 0;

	if (c->at < c->name)
		return false;
	for (; i < c->n && (isalnum((unsigned char)c->s[i]) || c->s[i] == '_');
	     i++)
		lines += c->s[i] == '_';
	c->name = i;
	if (lines < 3 || lines == i - c->at || c->s[i - 1] != '_')
		return false;
	c->at = i;
	return true;
}

/* --- links ------------------------------------------------------------- */

static void
open_bracket(struct scan *c, bool image)
{
	add_token_until(c, BRACKET, c->at + 1 + image);
	if (c->sp->failed)
		return;
	last_token(c)->bracket.below = c->bracket;
	last_token(c)->bracket.image = image;
	c->bracket = c->sp->n_tokens - 1;
}

/*
 * A link contains no link, and neither does an image. An image contains no
 * image. So the nesting is at most two deep.
 */
static void
close_bracket(struct scan *c)
{
	struct aic_markdown_token *open, *below;
	struct aic_markdown_target target;
	bool image, has_link, has_image;
	size_t end;

	if (c->bracket == NONE) {
		c->at++;
		return;
	}
	end = aic_markdown_scan_target(c->s, c->at + 1, c->n, &target);
	open = &c->sp->tokens[c->bracket];
	image = open->bracket.image;
	has_link = open->bracket.has_link;
	has_image = open->bracket.has_image;
	c->bracket = open->bracket.below;
	if (has_link || (image && has_image))
		end = 0;
	if (end > 0) {
		open->type = OPEN;
		open->at = (size_t)(target.s - c->s);
		open->len = target.len;
		add_token_until(c, CLOSE, end);
		if (!c->sp->failed && target.title) {
			last_token(c)->title.at = (size_t)(target.title - c->s);
			last_token(c)->title.len = target.title_len;
		}
		has_link = has_link || !image;
		has_image = has_image || image;
	} else {
		c->at++;
	}
	if (c->bracket != NONE) {
		below = &c->sp->tokens[c->bracket];
		below->bracket.has_link = below->bracket.has_link || has_link;
		below->bracket.has_image = below->bracket.has_image ||
		    has_image;
	}
}

/* Scans a text in angle brackets. */
static void
scan_pointed(struct scan *c)
{
	size_t end = aic_markdown_scan_br(c->s, c->at, c->n), from = c->at + 1;

	if (end > 0) {
		add_token_until(c, BREAK, end);
		return;
	}
	end = aic_markdown_scan_address(c->s, c->at, c->n);
	if (end > 0) {
		add_token_until(c, TEXT, end);
		if (!c->sp->failed) {
			last_token(c)->at = from;
			last_token(c)->len = end - 1 - from;
		}
		return;
	}
	end = aic_markdown_scan_autolink(c->s, c->at, c->n);
	if (end == 0) {
		c->at++;
		return;
	}
	end_text(c);
	c->at = end;
	add_token(c->sp,
	    (struct aic_markdown_token){ OPEN, from, end - 1 - from, { 0 } });
	add_token(c->sp,
	    (struct aic_markdown_token){ TEXT, from, end - 1 - from, { 0 } });
	add_token(c->sp, (struct aic_markdown_token){ CLOSE, end, 0, { 0 } });
	c->text = end;
	if (c->bracket != NONE && !c->sp->failed)
		c->sp->tokens[c->bracket].bracket.has_link = true;
}

/* --- the first pass ---------------------------------------------------- */

static void
scan_backslash(struct scan *c)
{
	char next = c->at + 1 < c->n ? c->s[c->at + 1] : '\0';

	if (next == '\n') {
		add_token_until(c, BREAK, c->at + 2);
	} else if ((next == '(' && scan_formula(c, ROUND)) ||
	    (next == '[' && scan_formula(c, SQUARE))) {
		return;
	} else if (next == '\\') {
		c->at += 2;
	} else if (aic_markdown_escapable(next) &&
	    !(c->at > 0 && c->s[c->at - 1] == ':')) {
		end_text(c);
		c->text = c->at + 1; /* the text without the backslash */
		c->at += 2;
	} else {
		c->at++;
	}
}

static void
scan_run(struct scan *c)
{
	size_t len = run_at(c, c->at);
	struct aic_markdown_run can;

	if (c->s[c->at] == '_' && len <= 2 && scan_name(c))
		return;
	can = aic_markdown_scan_run(c->s, c->at, len, c->n);
	if (!can.opens && !can.closes) {
		c->at += len;
		return;
	}
	add_token_until(c, RUN, c->at + len);
	if (c->sp->failed)
		return;
	last_token(c)->run.can = can;
	last_token(c)->run.left = (unsigned char)len;
}

static void
scan_entity(struct scan *c)
{
	uint32_t cp = 0;
	size_t len = aic_entity_next(c->s + c->at, c->n - c->at, &cp);

	if (len == 0) {
		c->at++;
		return;
	}
	add_token_until(c, cp == '\n' ? BREAK : CHARACTER, c->at + len);
	if (!c->sp->failed)
		last_token(c)->cp = cp;
}

static void
scan_one(struct scan *c)
{
	size_t end;

	switch (c->s[c->at]) {
	case '\\':
		scan_backslash(c);
		break;
	case '`':
		scan_code(c);
		break;
	case '$':
		if (c->at + 1 == c->n || c->s[c->at + 1] != '$' ||
		    !scan_formula(c, DOLLARS))
			c->at++;
		break;
	case '&':
		scan_entity(c);
		break;
	case '<':
		scan_pointed(c);
		break;
	case '!':
		if (c->at + 1 < c->n && c->s[c->at + 1] == '[')
			open_bracket(c, true);
		else
			c->at++;
		break;
	case '[':
		open_bracket(c, false);
		break;
	case ']':
		close_bracket(c);
		break;
	case '*':
	case '_':
	case '~':
		if (c->at < c->url)
			c->at++;
		else
			scan_run(c);
		break;
	case 'h':
	case 'H':
		/*
		 * The inside of a URL is not scanned again: "http://http://"
		 * would take quadratic time.
		 */
		if (c->at >= c->url) {
			end = aic_markdown_scan_url(c->s, c->at, c->n);
			if (end > 0)
				c->url = end;
		}
		c->at++;
		break;
	default:
		c->at++;
	}
}

/* --- the second pass: matching delimiters ------------------------------- */

enum mark { STAR, LINE, TILDE, MARK__MAX };

struct scope {
	size_t opener; /* the innermost delimiter that can be closed */
	/* the number of openers, by kind and by length */
	size_t n[MARK__MAX][4];
};

static enum mark
mark_of(char c)
{
	return c == '*' ? STAR : c == '_' ? LINE : TILDE;
}

/*
 * The number of characters of an opener that a closer can match; 0: none. The
 * arguments are the unmatched lengths of both.
 */
static unsigned char
count_matched(unsigned char closer, unsigned char opener)
{
	if (closer == 3 && opener == 3)
		return 1; /* the other two match next */
	if (closer == 3)
		return opener;
	return opener == 3 || opener == closer ? closer : 0;
}

static bool
has_opener(const size_t n[4], unsigned char closer)
{
	unsigned char i;

	for (i = 1; i <= 3; i++)
		if (n[i] > 0 && count_matched(closer, i) > 0)
			return true;
	return false;
}

/*
 * Matches a closing delimiter with open ones. Other open delimiters between the
 * two become text.
 */
static void
match_delimiters(struct aic_markdown_token *tokens, const char *s,
    struct scope *scope, struct aic_markdown_token *closer)
{
	enum mark mark = mark_of(s[closer->at]), other;
	struct aic_markdown_token *opener;
	unsigned char len;

	while (closer->run.left > 0 &&
	    has_opener(scope->n[mark], closer->run.left)) {
		opener = &tokens[scope->opener];
		other = mark_of(s[opener->at]);
		len = other == mark
		    ? count_matched(closer->run.left, opener->run.left)
		    : 0;
		scope->n[other][opener->run.left]--;
		if (len == 0) {
			scope->opener = opener->run.below;
			continue;
		}
		opener->run.opens[opener->run.n_opens++] = len;
		closer->run.closes[closer->run.n_closes++] = len;
		closer->run.left -= len;
		opener->run.left -= len;
		if (opener->run.left > 0)
			scope->n[other][opener->run.left]++;
		else
			scope->opener = opener->run.below;
	}
}

static void
match_all(struct aic_markdown_spans *sp, const char *s)
{
	struct scope scopes[LINKS_MAX + 1] = { { .opener = NONE } };
	struct scope *scope = scopes;
	struct aic_markdown_token *t;
	size_t i;

	for (i = 0; i < sp->n_tokens; i++) {
		t = &sp->tokens[i];
		if (t->type == OPEN)
			*++scope = (struct scope){ .opener = NONE };
		if (t->type == CLOSE)
			scope--;
		if (t->type != RUN)
			continue;
		if (t->run.can.closes)
			match_delimiters(sp->tokens, s, scope, t);
		if (t->run.left > 0 && t->run.can.opens) {
			t->run.below = scope->opener;
			scope->opener = i;
			scope->n[mark_of(s[t->at])][t->run.left]++;
		}
	}
}

/* --- the third pass: calling the writer --------------------------------- */

struct output {
	struct aic_markdown_spans *sp;
	const char *s;
	const char *end; /* of the last text */
	bool digit; /* the last text ends in a digit */
	size_t links[LINKS_MAX]; /* indices of tokens */
	bool seen[LINKS_MAX]; /* the link has visible text */
	int n_links;
};

/* Writes a blank between two digits that were not adjacent in the source. */
static void
put_text(struct output *p, const char *s, size_t n)
{
	struct aic_markdown_spans *sp = p->sp;
	int i;

	if (n == 0)
		return;
	if (p->digit && s != p->end && isdigit((unsigned char)*s))
		sp->writer->text(sp->arg, " ", 1);
	sp->writer->text(sp->arg, s, n);
	p->end = s + n;
	p->digit = isdigit((unsigned char)s[n - 1]);
	for (i = 0; i < p->n_links; i++)
		p->seen[i] = p->seen[i] || !aic_utf8_invisible(s, n);
}

static void
put_code(struct output *p, const struct aic_markdown_token *t)
{
	static const struct aic_markdown_detail none;
	const struct aic_markdown_writer *w = p->sp->writer;
	size_t from, i;

	w->enter(p->sp->arg, AIC_MARKDOWN_CODE, &none);
	for (from = t->at; from < t->at + t->len; from = i + 1) {
		for (i = from; i < t->at + t->len && p->s[i] != '\n';)
			i++;
		put_text(p, p->s + from, i - from);
		if (i < t->at + t->len)
			put_text(p, " ", 1);
	}
	w->leave(p->sp->arg, AIC_MARKDOWN_CODE);
}

static void
decode_target(struct output *p, size_t at, size_t len)
{
	struct aic_buf *to = &p->sp->scratch;
	const char *s = p->s + at, *end = s + len;
	uint32_t cp;
	size_t n;

	aic_buf_clear(to);
	for (; s < end; s += n) {
		n = aic_entity_next(s, (size_t)(end - s), &cp);
		if (n > 0) {
			aic_utf8_put(to, cp);
			continue;
		}
		n = 1;
		if (*s == '\\' && s + 1 < end && ispunct((unsigned char)s[1]))
			s++;
		aic_buf_putc(to, *s);
	}
	if (to->failed)
		p->sp->failed = true;
}

static void
enter_link(struct output *p, const struct aic_markdown_token *t, size_t i)
{
	struct aic_markdown_detail d = { 0 };

	decode_target(p, t->at, t->len);
	d.s = p->sp->scratch.data;
	d.len = p->sp->scratch.len;
	p->links[p->n_links] = i;
	p->seen[p->n_links++] = false;
	p->sp->writer->enter(p->sp->arg, AIC_MARKDOWN_LINK, &d);
}

static void
leave_link(struct output *p, const struct aic_markdown_token *t)
{
	const struct aic_markdown_token *open =
	    &p->sp->tokens[p->links[p->n_links - 1]];
	struct aic_buf *scratch = &p->sp->scratch;

	if (!p->seen[p->n_links - 1]) {
		decode_target(p, open->at, open->len);
		put_text(p, scratch->data, scratch->len);
	}
	p->n_links--;
	p->sp->writer->leave(p->sp->arg, AIC_MARKDOWN_LINK);
	if (t->title.len == 0)
		return;
	decode_target(p, t->title.at, t->title.len);
	if (aic_utf8_invisible(scratch->data, scratch->len))
		return;
	put_text(p, " (", 2);
	put_text(p, scratch->data, scratch->len);
	put_text(p, ")", 1);
}

static enum aic_markdown
span_of(char c, unsigned char len)
{
	return c == '~' ? AIC_MARKDOWN_STRIKE
	    : len == 2	? AIC_MARKDOWN_BOLD
			: AIC_MARKDOWN_ITALIC;
}

/*
 * The span that was matched last is the outermost one, so `opens' is read from
 * its end.
 */
static void
put_run(struct output *p, const struct aic_markdown_token *t)
{
	static const struct aic_markdown_detail none;
	const struct aic_markdown_writer *w = p->sp->writer;
	char c = p->s[t->at];
	unsigned char i;

	for (i = 0; i < t->run.n_closes; i++)
		w->leave(p->sp->arg, span_of(c, t->run.closes[i]));
	put_text(p, p->s + t->at, t->run.left);
	for (i = t->run.n_opens; i-- > 0;)
		w->enter(p->sp->arg, span_of(c, t->run.opens[i]), &none);
}

static void
put_token(struct output *p, size_t i)
{
	const struct aic_markdown_token *t = &p->sp->tokens[i];
	struct aic_buf *scratch = &p->sp->scratch;

	switch (t->type) {
	case TEXT:
	case BRACKET:
		put_text(p, p->s + t->at, t->len);
		break;
	case CHARACTER:
		aic_buf_clear(scratch);
		aic_utf8_put(scratch, t->cp);
		p->sp->failed = p->sp->failed || scratch->failed;
		put_text(p, scratch->data, scratch->len);
		break;
	case BREAK:
		p->sp->writer->line_break(p->sp->arg);
		p->digit = false;
		break;
	case CODE:
		put_code(p, t);
		break;
	case RUN:
		put_run(p, t);
		break;
	case OPEN:
		enter_link(p, t, i);
		break;
	case CLOSE:
		leave_link(p, t);
		break;
	}
}

void
aic_markdown_spans_init(struct aic_markdown_spans *sp,
    const struct aic_markdown_writer *writer, void *arg)
{
	*sp = (struct aic_markdown_spans){ .writer = writer, .arg = arg };
	aic_buf_init(&sp->scratch, SCRATCH_MAX);
}

void
aic_markdown_spans_done(struct aic_markdown_spans *sp)
{
	free(sp->tokens);
	aic_buf_done(&sp->scratch);
}

void
aic_markdown_spans_read(struct aic_markdown_spans *sp, const char *s, size_t n)
{
	struct scan c = { .sp = sp, .s = s, .n = n, .bracket = NONE };
	struct output p = { .sp = sp, .s = s };
	size_t i;

	sp->n_tokens = 0;
	while (c.at < n && !sp->failed)
		scan_one(&c);
	end_text(&c);
	if (sp->failed)
		return;
	match_all(sp, s);
	for (i = 0; i < sp->n_tokens && !sp->failed; i++)
		put_token(&p, i);
}
