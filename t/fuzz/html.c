#include "config.h"

#include "html.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "message.h"
#include "lib/utf8.h"

bool
html_take(struct html_cursor *c, const char *what)
{
	size_t n = strlen(what);

	if ((size_t)(c->end - c->at) < n || memcmp(c->at, what, n) != 0)
		return false;
	c->at += n;
	return true;
}

size_t
html_take_name(struct html_cursor *c, const char **ret_name)
{
	*ret_name = c->at;
	while (c->at < c->end && isalnum((unsigned char)*c->at))
		c->at++;
	return (size_t)(c->at - *ret_name);
}

/* One of the four entities; 0: none of them. */
static char
take_entity(struct html_cursor *c)
{
	return html_take(c, "&lt;")  ? '<'
	    : html_take(c, "&gt;")   ? '>'
	    : html_take(c, "&amp;")  ? '&'
	    : html_take(c, "&quot;") ? '"'
				     : '\0';
}

const char *
html_take_character(struct html_cursor *c, bool html,
    struct html_character *ret_character)
{
	struct html_character *r = ret_character;

	if (html && *c->at == '>')
		return "a bare >";
	if (html && *c->at == '&') {
		r->bytes[0] = take_entity(c);
		r->n = 1;
		r->cp = (unsigned char)r->bytes[0];
		return r->cp ? NULL : "a bare &";
	}
	r->n = aic_utf8_next(c->at, (size_t)(c->end - c->at), &r->cp);
	if (r->n == 0 || r->cp == 0)
		return "not UTF-8";
	memcpy(r->bytes, c->at, r->n);
	c->at += r->n;
	return NULL;
}

const char *
html_take_target(struct html_cursor *c, const char *const schemes[],
    struct html_target *ret_target)
{
	const char *from;

	if (!html_take(c, " href=\""))
		return "an a without href";
	from = c->at;
	while (*schemes && strncasecmp(from, *schemes, strlen(*schemes)) != 0)
		schemes++;
	if (!*schemes)
		return "a link that leads elsewhere";
	while (c->at < c->end && *c->at != '"') {
		if ((unsigned char)*c->at <= ' ' || strchr("<>", *c->at))
			return "an odd character in a link";
		if (*c->at == '&' ? !take_entity(c) : !c->at++)
			return "a bare & in a link";
	}
	ret_target->s = from;
	ret_target->len = (size_t)(c->at - from);
	return html_take(c, "\"") ? NULL : "a link without an end";
}

void
html_tell_target(const struct html_target *target, const char *shown,
    size_t shown_len, struct aic_buf *told)
{
	struct html_cursor c = { target->s, target->s + target->len };
	struct aic_buf plain;

	aic_buf_init(&plain, target->len);
	while (c.at < c.end)
		aic_buf_putc(&plain, *c.at == '&' ? take_entity(&c) : *c.at++);
	if (!message_says(shown, shown_len, &plain)) {
		aic_buf_putc(told, '\n');
		aic_buf_put(told, plain.data, plain.len);
		aic_buf_putc(told, '\n');
	}
	aic_buf_done(&plain);
}

const char *
html_take_language(struct html_cursor *c)
{
	const char *from = c->at;

	while (c->at<c->end && * c->at> ' ' && !strchr("\"<>&", *c->at))
		c->at++;
	return c->at > from && html_take(c, "\"") ? NULL : "an odd language";
}
