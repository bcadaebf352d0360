/*
 * The file with headers of an operator. The first byte says whether the worker
 * sets the header api-key itself, as with OPENAI_AUTH=api-key: y, or anything
 * else for no.
 */
#include "config.h"

#include "lib/headers.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "fuzz.h"

static bool
begins(const char *line, const char *name)
{
	return strncasecmp(line, name, strlen(name)) == 0;
}

/*
 * A line that libcurl sends as one header, and that replaces none of the
 * worker's.
 */
static void
check_line(const char *line, const char *value, bool api_key)
{
	size_t n = strcspn(line, ":"), i;

	assert(n > 0 && line[n] == ':');
	for (i = 0; i < n; i++)
		assert(line[i] > ' ' && line[i] < 0x7f &&
		    !strchr("\"(),/;<=>?@[\\]{}", line[i]));
	for (; line[i]; i++)
		assert((line[i] >= ' ' && line[i] < 0x7f) || line[i] == '\t');
	assert(value > line + n && *value && *value != ' ' && *value != '\t');
	assert(line[i - 1] != ' ' && line[i - 1] != '\t');
	assert(!begins(line, "authorization:") && !begins(line, "host:"));
	assert(!begins(line, "content-") && !begins(line, "connection:"));
	assert(!begins(line, "transfer-encoding:") && !begins(line, "te:"));
	assert(!begins(line, "proxy-") && !begins(line, "expect:"));
	assert(!api_key || !begins(line, "api-key:"));
}

bool
fuzz_one(const char *data, size_t len)
{
	struct aic_headers h = { .n = -1 };
	struct aic_err err = AIC_ERR_INIT;
	bool api_key = len > 0 && data[0] == 'y';
	char *text;
	int i;

	if (len == 0 || len - 1 > AIC_HEADERS_FILE_MAX)
		return false;
	text = malloc(len);
	assert(text);
	memcpy(text, data + 1, len - 1);
	text[len - 1] = '\0';
	if (aic_headers_read(&h, text, len - 1, "NAME", "/path", api_key,
		&err) != AIC_OK) {
		assert(h.n == -1 && err.code == AIC_ECONF);
		assert(begins(err.detail, "NAME \"/path\""));
		assert(!strpbrk(err.detail, "\r\n"));
		return false;
	}
	assert(h.n >= 0 && h.n <= AIC_HEADERS_MAX);
	for (i = 0; i < h.n; i++)
		check_line(h.line[i], h.value[i], api_key);
	aic_headers_done(&h);
	return true;
}
