/*
 * When to try again. The input has the headers of a response, one on each line,
 *
 *	retry-after-ms: 700
 *	retry-after: Sun, 06 Nov 1994 08:49:38 GMT
 *
 * and the other values on which the wait depends, as "tried: 2" and "left-ms:
 * 9000".
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "lib/http.h"
#include "lib/retry.h"
#include "lib/http_transfer.h"

#define NOW 784111777 /* Sun, 06 Nov 1994 08:49:37 GMT */
#define DAY_US (86400 * AIC_S)

/* A header as libcurl returns it: without blanks around it or a NUL inside. */
static const char *
find_header(char *text, const char *name, char *to, size_t size)
{
	size_t n = strlen(name), len;
	char *line, *end;

	for (line = text; *line; line = *end ? end + 1 : end) {
		end = line + strcspn(line, "\n");
		if (strncmp(line, name, n) != 0)
			continue;
		line += n;
		line += strspn(line, " \t\r");
		for (len = 0; line + len < end && len + 1 < size; len++)
			to[len] = line[len];
		while (len > 0 && strchr(" \t\r", to[len - 1]))
			len--;
		to[len] = '\0';
		return to;
	}
	return NULL;
}

static int64_t
find_number(char *text, const char *name, int64_t most, int64_t preset)
{
	char buf[24];
	const char *value = find_header(text, name, buf, sizeof(buf));
	int64_t n = value ? strtoll(value, NULL, 10) : preset;

	return n < -most ? -most : n > most ? most : n;
}

static bool
is_short_number(const char *s)
{
	size_t n = strlen(s);

	return n > 0 && n < 9 && s[strspn(s, "0123456789")] == '\0';
}

static int64_t
at_most_a_day(int64_t us)
{
	return us < DAY_US ? us : DAY_US;
}

static int64_t
read_headers(const char *ms, const char *after)
{
	int64_t us = aic_http_retry_after(ms, after, NOW);

	assert(us >= -1 && us <= DAY_US);
	if (!ms && !after)
		assert(us == -1);
	/* An integer is taken as it is written. */
	if (ms && is_short_number(ms) && atol(ms) > 0)
		assert(us == at_most_a_day(atol(ms) * AIC_MS));
	if (!ms && after && is_short_number(after))
		assert(us ==
		    (atol(after) > 0 ? at_most_a_day(atol(after) * AIC_S)
				     : -1));
	/* An invalid header counts as absent. */
	if (ms && aic_http_retry_after(ms, NULL, NOW) < 0)
		assert(us == aic_http_retry_after(NULL, after, NOW));
	/* A negative number is not a time to wait. */
	if ((!ms || *ms == '-') && (!after || *after == '-'))
		assert(us == -1);
	return us;
}

static void
check_wait(int64_t wait, int64_t asked, int64_t left)
{
	assert(wait >= -1);
	if (wait < 0)
		return;
	assert(wait + AIC_RETRY_LEAST_US <= left);
	if (asked >= 0)
		assert(wait == asked);
	else
		assert(wait < AIC_RETRY_MOST_US);
}

bool
fuzz_one(const char *data, size_t len)
{
	static const double chances[] = { 0, 0.3, 0.999999 };
	char text[2048], ms[256], after[256];
	int64_t asked, left, wait = -1;
	size_t i;
	int tried;

	if (len >= sizeof(text))
		return false;
	memcpy(text, data, len);
	text[len] = '\0';
	left = find_number(text, "left-ms:", 600000, 50000) * AIC_MS;
	tried = (int)find_number(text, "tried:", 1000, 1);
	asked = read_headers(find_header(text, "retry-after-ms:", ms,
				 sizeof(ms)),
	    find_header(text, "retry-after:", after, sizeof(after)));
	for (i = 0; i < sizeof(chances) / sizeof(chances[0]); i++) {
		wait = aic_retry_wait(tried, asked, left, chances[i]);
		check_wait(wait, asked, left);
		if (tried >= AIC_RETRY_ATTEMPTS)
			assert(wait == -1);
	}
	return wait >= 0;
}
