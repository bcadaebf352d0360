#include "config.h"

#include "lib/hex.h"

int
aic_hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int
aic_hex_byte(const char *p)
{
	int high = aic_hex_digit(p[0]);
	int low = high < 0 ? -1 : aic_hex_digit(p[1]);

	return low < 0 ? -1 : 16 * high + low;
}

void
aic_hex_put(char *to, const void *bytes, size_t n)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *p = bytes;

	for (; n > 0; n--, p++) {
		*to++ = digits[*p >> 4];
		*to++ = digits[*p & 0xf];
	}
	*to = '\0';
}
