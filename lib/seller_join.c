/*
 * seller_join -- the part of seller.h that handles documents which were read
 * already: it joins them into one text, and packs and unpacks copies.
 */
#include "config.h"

#include "lib/seller.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/seller_lines.h"
#include "lib/seller_text.h"
#include "lib/utf8.h"

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
	size_t chars[AIC_SELLER__MAX], left = chars_max;
	bool done[AIC_SELLER__MAX] = { false };
	int i, k, least;

	for (i = 0; i < AIC_SELLER__MAX; i++)
		chars[i] = aic_utf8_count(part[i].data, part[i].len);
	for (k = AIC_SELLER__MAX; k > 0; k--) {
		least = -1;
		for (i = 0; i < AIC_SELLER__MAX; i++)
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
	struct aic_buf part[AIC_SELLER__MAX], text;
	size_t bytes[AIC_SELLER__MAX];
	enum aic_code rc = AIC_OK;
	int i, k;

	*ret_text = NULL;
	aic_buf_init(&text, 4 * chars_max);
	for (i = 0; i < AIC_SELLER__MAX; i++) {
		aic_buf_init(&part[i],
		    (size_t)n *
			(4 * chars_max + 8 * AIC_SELLER_LINES_FIELD_BYTES));
		for (k = 0; k < n; k++)
			if (all[k].part[i])
				add_part(&part[i], all[k].part[i]);
		text.failed = text.failed || part[i].failed;
	}
	if (!text.failed) {
		share_bytes(part, chars_max, bytes);
		for (i = 0; i < AIC_SELLER__MAX; i++)
			aic_buf_put(&text, part[i].data, bytes[i]);
	}
	while (text.len > 0 && text.data[text.len - 1] == '\n')
		aic_seller_text_cut(&text, text.len - 1);
	if (!text.failed && text.len > 0)
		*ret_text = aic_buf_take(&text, NULL);
	if (text.failed)
		rc = AIC_ENOMEM;
	for (i = 0; i < AIC_SELLER__MAX; i++)
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

void
aic_seller_pack(const struct aic_seller *seller, struct aic_buf *to)
{
	int i;

	for (i = 0; i < AIC_SELLER__MAX; i++) {
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
	for (i = 0; i < AIC_SELLER__MAX; i++) {
		nul = memchr(*at, '\0', (size_t)(end - *at));
		if (!nul)
			break;
		if (nul > *at)
			ret_seller->part[i] = strdup(*at);
		if (nul > *at && !ret_seller->part[i])
			break;
		*at = nul + 1;
	}
	if (i == AIC_SELLER__MAX)
		return true;
	aic_seller_done(ret_seller);
	return false;
}
