/*
 * A document of the seller-data API. The first byte sets the length of the
 * summary.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "lib/seller.h"
#include "lib/utf8.h"

/* Guillemets come in pairs that are not nested, and a line is not broken. */
static void
check_quotes(const char *s)
{
	bool open = false;

	for (; *s; s++) {
		assert((unsigned char)*s >= 0x20 || *s == '\n');
		if (strncmp(s, "«", 2) == 0) {
			assert(!open);
			open = true;
		} else if (strncmp(s, "»", 2) == 0) {
			assert(open);
			open = false;
		} else if (*s == '\n') {
			assert(!open);
		}
	}
}

bool
fuzz_one(const char *data, size_t len)
{
	enum aic_code rc;
	char *text = NULL;
	size_t max, n;

	if (len == 0)
		return false;
	max = 1 + (unsigned char)data[0] * (size_t)60;
	rc = aic_seller_summary(data + 1, len - 1, max, &text);
	assert(rc == AIC_OK || (rc == AIC_EINPUT && !text));
	if (rc)
		return false;
	if (text) {
		n = strlen(text);
		assert(fuzz_is_text(text, n));
		assert(!aic_utf8_blank(text, n));
		assert(aic_utf8_count(text, n) <= max);
		/* A summary shorter than one line may end inside quotes. */
		if (max > 4000)
			check_quotes(text);
	}
	free(text);
	return true;
}
