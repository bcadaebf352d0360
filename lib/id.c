#include "config.h"

#include "id.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

enum aic_code
aic_id_new(char id[AIC_ID_SIZE], struct aic_err *err)
{
	static const char hex[] = "0123456789abcdef";
	unsigned char b[16];
	char *p = id;
	int i;

	/* Up to 256 bytes come whole or not at all. */
	if (getrandom(b, sizeof(b), 0) != (ssize_t)sizeof(b))
		return aic_fail(err, AIC_EBUG, "could not get random bytes: %s",
		    strerror(errno));
	b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
	b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
	for (i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		*p++ = hex[b[i] >> 4];
		*p++ = hex[b[i] & 15];
	}
	*p = '\0';
	return AIC_OK;
}

double
aic_random(void)
{
	uint32_t x = 0;

	if (getrandom(&x, sizeof(x), 0) != (ssize_t)sizeof(x))
		return 0.5;
	return x / 4294967296.0;
}
