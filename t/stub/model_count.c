#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "model.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <json-c/linkhash.h>
#include <stdlib.h>
#include <time.h>

/* More names than any test uses; it bounds what a runaway test can hold. */
#define IDS_MAX 10000
/* A test of backoff reads a handful of times, one of a crowd hundreds. */
#define TIMES_MAX 1000
/*
 * The longest request of default settings. A longer one is not kept, and no
 * requests beyond the total.
 */
#define KEEP_MAX (256 * 1024)
#define KEEP_TOTAL (64 * 1024 * 1024)

/* A request that is kept for its id, as the last of all, or as both. */
struct kept {
	unsigned refs;
	bool whole; /* with its body; false: it was too long */
	size_t head_len, body_len;
	char bytes[];
};

struct tally {
	uint64_t requests;
	int64_t *times_us;
	size_t ntimes, cap;
	struct kept *last;
};

static struct {
	uint64_t requests, answered, connections, closed_early;
	uint64_t open, pending, peak;
	unsigned gen; /* one more with each reset */
	struct lh_table *tallies; /* by id */
	struct kept *last;
	size_t kept_bytes;
} g = { .gen = 1 };

/* --- what is kept of requests ---------------------------------------- */

static int64_t
now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void
kept_unref(struct kept *k)
{
	if (k == NULL || --k->refs > 0)
		return;
	g.kept_bytes -= k->head_len + (k->whole ? k->body_len : 0);
	free(k);
}

static struct kept *
kept_new(const struct request *r)
{
	struct kept *k;
	size_t body_len = (size_t)r->body_len, n = r->head_len;
	bool whole;

	whole = n + body_len <= KEEP_MAX &&
	    g.kept_bytes + n + body_len <= KEEP_TOTAL;
	if (whole)
		n += body_len;
	k = malloc(sizeof(*k) + n);
	if (k == NULL)
		return NULL;
	k->refs = 1;
	k->whole = whole;
	k->head_len = r->head_len;
	k->body_len = body_len;
	memcpy(k->bytes, r->head, r->head_len);
	if (whole)
		memcpy(k->bytes + r->head_len, r->body, body_len);
	g.kept_bytes += n;
	return k;
}

static void
tally_free(struct lh_entry *e)
{
	struct tally *t = lh_entry_v(e);

	kept_unref(t->last);
	free(t->times_us);
	free(t);
	free(lh_entry_k(e));
}

static struct tally *
tally_find(const char *id)
{
	void *v;

	return lh_table_lookup_ex(g.tallies, id, &v) ? v : NULL;
}

static struct tally *
tally_make(const char *id)
{
	struct tally *t;
	char *name;

	t = tally_find(id);
	if (t != NULL || lh_table_length(g.tallies) >= IDS_MAX)
		return t;
	t = calloc(1, sizeof(*t));
	name = strdup(id);
	if (t == NULL || name == NULL ||
	    lh_table_insert(g.tallies, name, t) != 0) {
		free(name);
		free(t);
		return NULL;
	}
	return t;
}

static void
tally_add(struct tally *t, struct kept *k)
{
	int64_t *p;
	size_t cap;

	t->requests++;
	if (k != NULL) {
		k->refs++;
		kept_unref(t->last);
		t->last = k;
	}
	if (t->ntimes == t->cap && t->cap < TIMES_MAX) {
		cap = t->cap == 0 ? 8 : t->cap * 2;
		p = realloc(t->times_us, cap * sizeof(*p));
		if (p == NULL)
			return;
		t->times_us = p;
		t->cap = cap;
	}
	if (t->ntimes < t->cap && t->ntimes < TIMES_MAX)
		t->times_us[t->ntimes++] = now_us();
}

static struct lh_table *
tallies_new(void)
{
	return lh_kchar_table_new(64, tally_free);
}

bool
count_open(void)
{
	g.tallies = tallies_new();
	return g.tallies != NULL;
}

void
count_close(void)
{
	lh_table_free(g.tallies);
	kept_unref(g.last);
}

void
count_reset(void)
{
	struct lh_table *fresh;

	fresh = tallies_new();
	if (fresh == NULL)
		return;
	lh_table_free(g.tallies);
	g.tallies = fresh;
	kept_unref(g.last);
	g.last = NULL;
	g.requests = g.answered = g.connections = g.closed_early = 0;
	g.peak = g.pending;
	g.gen++;
}

void
count_last(const struct request *r, bool keep)
{
	kept_unref(g.last);
	g.last = keep ? kept_new(r) : NULL;
}

uint64_t
count_id(const char *id)
{
	struct tally *t = tally_make(id);

	if (t == NULL)
		return 0;
	tally_add(t, g.last);
	return t->requests;
}

/* --- counting -------------------------------------------------------- */

void
count_request(struct counted *c)
{
	g.requests++;
	g.pending++;
	if (g.pending > g.peak)
		g.peak = g.pending;
	c->busy = true;
	c->gen = g.gen;
	if (!c->carried) {
		c->carried = true;
		g.open++;
	}
	if (c->seen_gen != g.gen) {
		c->seen_gen = g.gen;
		g.connections++;
	}
}

void
count_answered(const struct counted *c)
{
	if (c->busy && c->gen == g.gen)
		g.answered++;
}

void
count_settled(struct counted *c)
{
	if (c->busy) {
		c->busy = false;
		g.pending--;
	}
}

void
count_closed(struct counted *c, bool by_client)
{
	if (c->busy && by_client && c->gen == g.gen)
		g.closed_early++;
	if (c->carried)
		g.open--;
	count_settled(c);
}

/* --- reports --------------------------------------------------------- */

void
put_counts(struct text *t)
{
	const struct {
		const char *name;
		uint64_t n;
	} rows[] = {
		{ "{\"requests\":", g.requests },
		{ ",\"answered\":", g.answered },
		{ ",\"connections\":", g.connections },
		{ ",\"open\":", g.open },
		{ ",\"closed_early\":", g.closed_early },
		{ ",\"pending\":", g.pending },
		{ ",\"peak\":", g.peak },
	};
	struct lh_entry *e;
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		putz(t, rows[i].name);
		put_u(t, rows[i].n);
	}
	putz(t, ",\"by_id\":{");
	i = 0;
	lh_foreach(g.tallies, e)
	{
		if (i++ > 0)
			putz(t, ",");
		put_json(t, lh_entry_k(e), strlen(lh_entry_k(e)));
		putz(t, ":");
		put_u(t, ((struct tally *)lh_entry_v(e))->requests);
	}
	putz(t, "}}");
}

void
put_count_of(struct text *t, const char *id)
{
	const struct tally *y = tally_find(id);

	putz(t, "{\"id\":");
	put_json(t, id, strlen(id));
	putz(t, ",\"requests\":");
	put_u(t, y != NULL ? y->requests : 0);
	putz(t, "}");
}

void
put_times(struct text *t, const char *id)
{
	const struct tally *y = id != NULL ? tally_find(id) : NULL;
	char ms[32];
	size_t i;

	putz(t, "[");
	for (i = 0; y != NULL && i < y->ntimes; i++) {
		snprintf(ms, sizeof(ms), "%s%" PRId64 ".%03d", i > 0 ? "," : "",
		    y->times_us[i] / 1000, (int)(y->times_us[i] % 1000));
		putz(t, ms);
	}
	putz(t, "]");
}

static bool
is_json(const char *p, size_t n)
{
	struct json_tokener *tok;
	struct json_object *root;
	bool ok;

	tok = json_tokener_new();
	if (tok == NULL)
		return false;
	json_tokener_set_flags(tok,
	    JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	root = json_tokener_parse_ex(tok, p, (int)n);
	ok = json_object_is_type(root, json_type_object);
	json_object_put(root);
	json_tokener_free(tok);
	return ok;
}

static void
put_kept(struct text *t, const struct kept *k)
{
	const char *p, *end, *eol, *colon;
	const char *body = k->bytes + k->head_len;
	size_t i, from;

	putz(t, "{\"headers\":{");
	end = k->bytes + k->head_len - 2;
	p = (const char *)memmem(k->bytes, k->head_len, "\r\n", 2) + 2;
	for (i = 0; p < end; p = eol + 2, i++) {
		eol = memmem(p, (size_t)(end + 2 - p), "\r\n", 2);
		colon = memchr(p, ':', (size_t)(eol - p));
		if (i > 0)
			putz(t, ",");
		from = t->len;
		put_json(t, p, (size_t)(colon - p));
		for (; from < t->len; from++)
			if (t->p[from] >= 'A' && t->p[from] <= 'Z')
				t->p[from] = (char)(t->p[from] + 32);
		putz(t, ":");
		for (colon++; colon < eol && is_blank(*colon); colon++)
			;
		put_json(t, colon, (size_t)(eol - colon));
	}
	putz(t, "},\"bytes\":");
	put_u(t, k->body_len);
	putz(t, ",\"body\":");
	if (k->whole && is_json(body, k->body_len))
		put(t, body, k->body_len);
	else
		putz(t, "null");
	putz(t, "}");
}

bool
put_last(struct text *t, const char *id)
{
	const struct tally *y = id != NULL ? tally_find(id) : NULL;
	const struct kept *k = g.last;

	if (id != NULL)
		k = y != NULL ? y->last : NULL;
	if (k != NULL)
		put_kept(t, k);
	return k != NULL;
}
