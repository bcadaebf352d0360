#include "config.h"

#include "fuzz.h"

#include <string.h>

#include "lib/utf8.h"

bool
fuzz_is_text(const char *s, size_t len)
{
	size_t n;

	for (; len > 0; s += n, len -= n) {
		n = *s ? aic_utf8_next(s, len, NULL) : 0;
		if (n == 0)
			return false;
	}
	return true;
}

bool
fuzz_is_line(const char *s)
{
	return *s && !strpbrk(s, "\r\n") && fuzz_is_text(s, strlen(s));
}
