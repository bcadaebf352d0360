#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "model.h"

#include <stdlib.h>
#include <strings.h>

/* Names of models to return; after these the answer has the default. */
#define MODELS_MAX 64
#define MODEL_MAX 256

#define MODEL_DEFAULT "gpt-4o-mini"

static struct {
	char *name[MODELS_MAX];
	size_t len[MODELS_MAX], n;
} models;

bool
request_read(struct request *r, const char *p, size_t n)
{
	const char *end = p + n, *eol, *sp, *colon, *v, *ve;
	bool minor0;
	size_t len;

	memset(r, 0, sizeof(*r));
	r->head = p;
	r->head_len = n;
	eol = memchr(p, '\r', n);
	sp = memchr(p, ' ', (size_t)(eol - p));
	if (sp == NULL)
		return false;
	r->method = p;
	r->method_len = (size_t)(sp - p);
	r->path = sp + 1;
	sp = memchr(r->path, ' ', (size_t)(eol - r->path));
	if (sp == NULL || r->path == sp || eol - sp != 9 ||
	    memcmp(sp + 1, "HTTP/1.", 7) != 0)
		return false;
	minor0 = sp[8] == '0';
	r->path_len = (size_t)(sp - r->path);
	v = memchr(r->path, '?', r->path_len);
	if (v != NULL) {
		r->query = v + 1;
		r->query_len = (size_t)(sp - v - 1);
		r->path_len = (size_t)(v - r->path);
	}
	r->close = minor0;

	for (p = eol + 2; p < end - 2; p = eol + 2) {
		eol = memmem(p, (size_t)(end - p), "\r\n", 2);
		colon = memchr(p, ':', (size_t)(eol - p));
		if (colon == NULL || colon == p)
			return false;
		len = (size_t)(colon - p);
		for (v = colon + 1; v < eol && is_blank(*v); v++)
			;
		for (ve = eol; ve > v && is_blank(ve[-1]); ve--)
			;
		if (is_word(p, len, "content-length")) {
			if (r->has_length ||
			    !read_number(v, (size_t)(ve - v), 0, INT64_MAX,
				&r->body_len))
				return false;
			r->has_length = true;
		} else if (is_word(p, len, "authorization"))
			r->bearer = ve - v > 7 &&
			    strncasecmp(v, "Bearer ", 7) == 0;
		else if (is_word(p, len, "transfer-encoding"))
			r->chunked = true;
		else if (is_word(p, len, "expect"))
			r->expect = is_word(v, (size_t)(ve - v),
			    "100-continue");
		else if (is_word(p, len, "connection"))
			r->close = r->close ||
			    is_word(v, (size_t)(ve - v), "close");
	}
	return true;
}

bool
request_is(const struct request *r, const char *method, const char *path)
{
	return is_word(r->method, r->method_len, method) &&
	    r->path_len == strlen(path) &&
	    memcmp(r->path, path, r->path_len) == 0;
}

/*
 * Finds the value without parsing all of the JSON. Only a key can be a quote,
 * the word, a quote and a colon.
 */
const char *
request_model(const char *p, size_t n)
{
	const char *end = p + n, *s, *q;
	size_t len, i;

	do {
		s = memmem(p, (size_t)(end - p), "\"model\"", 7);
		if (s == NULL)
			return MODEL_DEFAULT;
		for (s += 7; s < end && is_blank(*s); s++)
			;
		/* Without a colon it is a value, such as a message. */
		p = s;
	} while (s < end && *s != ':');
	for (; s < end && (is_blank(*s) || *s == ':'); s++)
		;
	if (s == end || *s++ != '"')
		return MODEL_DEFAULT;
	for (q = s; q < end && *q != '"' && q - s <= MODEL_MAX; q++)
		if (*q == '\\')
			q++;
	if (q >= end || *q != '"')
		return MODEL_DEFAULT;
	len = (size_t)(q - s);
	for (i = 0; i < models.n; i++)
		if (models.len[i] == len && memcmp(models.name[i], s, len) == 0)
			return models.name[i];
	/* Of all control characters only NUL needs care here. */
	if (models.n == MODELS_MAX || memchr(s, '\0', len) != NULL)
		return MODEL_DEFAULT;
	models.name[i] = strndup(s, len);
	if (models.name[i] == NULL)
		return MODEL_DEFAULT;
	models.len[i] = len;
	models.n++;
	return models.name[i];
}

void
request_done(void)
{
	while (models.n > 0)
		free(models.name[--models.n]);
}
