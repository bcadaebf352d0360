#include "config.h"

#include "lib/headers.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/file.h"

/* RFC 9110, 5.6.2. */
static const char token[] = "!#$%&'*+-.^_`|~0123456789"
			    "abcdefghijklmnopqrstuvwxyz"
			    "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

static const char ours[] = "the worker sets it";
static const char trace[] = "the worker passes on that of the caller";
static const char connection[] = "it controls the connection";

/* A name that ends in * is a prefix. */
static const struct row {
	const char *name;
	const char *why;
} refused[] = {
	{ "Authorization", ours },
	{ "Content-*", ours },
	{ "Host", ours },
	{ "Accept", ours },
	{ "Accept-Encoding", ours },
	{ "Expect", ours },
	/*
	 * The same key with every request would make each one a repeat of the
	 * first.
	 */
	{ "Idempotency-Key",
	    "the provider would treat each request as a repeat" },
	{ "traceparent", trace },
	{ "tracestate", trace },
	{ "Connection", connection },
	{ "Keep-Alive", connection },
	{ "Proxy-*", connection },
	{ "TE", connection },
	{ "Trailer", connection },
	{ "Transfer-Encoding", connection },
	{ "Upgrade", connection },
};

/* The position of a line, for its message. */
struct place {
	const char *name;
	const char *path;
	int line;
};

static bool
match_name(const char *pattern, const char *s, size_t n)
{
	size_t len = strlen(pattern);

	if (pattern[len - 1] == '*')
		return n >= len - 1 && strncasecmp(s, pattern, len - 1) == 0;
	return n == len && strncasecmp(s, pattern, n) == 0;
}

/*
 * The reason to refuse a header by its name, of n bytes. NULL: it may be sent.
 */
static const char *
find_refusal(const char *s, size_t n, bool api_key)
{
	size_t i;

	for (i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		if (match_name(refused[i].name, s, n))
			return refused[i].why;
	return api_key && match_name("api-key", s, n)
	    ? "OPENAI_AUTH=api-key sets it"
	    : NULL;
}

static enum aic_code
refuse_line(const struct place *p, const char *why, struct aic_err *err)
{
	return aic_fail(err, AIC_ECONF, "%s \"%.100s\", line %d: %s", p->name,
	    p->path, p->line, why);
}

static bool
is_visible(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || (unsigned char)*s >= 0x7f)
			return false;
	return true;
}

/*
 * Parse a line. It has no blanks at its end and is neither empty nor a comment.
 */
static enum aic_code
read_line(struct aic_headers *h, char *line, const struct place *p,
    bool api_key, struct aic_err *err)
{
	size_t n = strspn(line, token);
	const char *why, *value;

	if (n == 0 || line[n] != ':')
		return refuse_line(p, "it is not \"Name: value\"", err);
	value = line + n + 1;
	value += strspn(value, " \t");
	if (*value == '\0')
		return refuse_line(p, "the header has no value", err);
	if (!is_visible(value))
		return refuse_line(p,
		    "the value has a character that is not visible ASCII", err);
	why = find_refusal(line, n, api_key);
	if (why)
		return aic_fail(err, AIC_ECONF,
		    "%s \"%.100s\", line %d: the header %.*s cannot be set "
		    "here, because %s",
		    p->name, p->path, p->line, n > 40 ? 40 : (int)n, line, why);
	if (h->n == AIC_HEADERS_MAX)
		return refuse_line(p, "there are more than 64 headers", err);
	h->line[h->n] = line;
	h->value[h->n] = value;
	h->n++;
	return AIC_OK;
}

static enum aic_code
read_lines(struct aic_headers *h, struct place *p, bool api_key,
    struct aic_err *err)
{
	char *line, *end, *next;
	enum aic_code rc;

	for (line = h->text; *line; line = next) {
		p->line++;
		end = line + strcspn(line, "\n");
		next = *end ? end + 1 : end;
		while (end > line && strchr(" \t", end[-1]))
			end--;
		*end = '\0';
		if (*line == '\0' || *line == '#')
			continue;
		if (end[-1] == '\r')
			return refuse_line(p,
			    "it ends in a carriage return (a Windows line "
			    "ending)",
			    err);
		rc = read_line(h, line, p, api_key, err);
		if (rc)
			return rc;
	}
	return AIC_OK;
}

enum aic_code
aic_headers_read(struct aic_headers *ret_headers, char *text, size_t len,
    const char *name, const char *path, bool api_key, struct aic_err *err)
{
	struct aic_headers h = { .text = text, .len = len };
	struct place p = { .name = name, .path = path };
	enum aic_code rc;

	if (strlen(text) != len)
		rc = aic_fail(err, AIC_ECONF, "%s \"%.100s\" has a NUL byte",
		    name, path);
	else
		rc = read_lines(&h, &p, api_key, err);
	if (rc)
		aic_headers_done(&h);
	else
		*ret_headers = h;
	return rc;
}

void
aic_headers_done(struct aic_headers *h)
{
	aic_file_wipe(h->text, h->len);
	*h = (struct aic_headers){ .n = 0 };
}
