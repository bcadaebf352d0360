#include "config.h"

#include "lib/id.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "lib/hex.h"

/*
 * One getrandom() for 256 bytes costs as much as one for 16, and either returns
 * all bytes or fails. So each thread keeps a store of random bytes.
 */
static bool
random_bytes(unsigned char *to, size_t n)
{
	static _Thread_local unsigned char store[256];
	static _Thread_local size_t left;

	if (left < n) {
		if (getrandom(store, sizeof(store), 0) !=
		    (ssize_t)sizeof(store))
			return false;
		left = sizeof(store);
	}
	left -= n;
	memcpy(to, store + left, n);
	return true;
}

/* Sets version and variant in b, and writes the UUID. */
static void
write_uuid(char id[AIC_ID_SIZE], unsigned char b[16], unsigned version)
{
	char *p = id;
	int i;

	b[6] = (unsigned char)((b[6] & 0x0f) | version << 4);
	b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
	for (i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		aic_hex_put(p, &b[i], 1);
		p += 2;
	}
}

enum aic_code
aic_id_new(char id[AIC_ID_SIZE], struct aic_err *err)
{
	unsigned char b[16];

	if (!random_bytes(b, sizeof(b)))
		return aic_fail(err, AIC_EBUG, "could not get random bytes: %s",
		    strerror(errno));
	write_uuid(id, b, 4);
	return AIC_OK;
}

enum aic_code
aic_id_of_key(char id[AIC_ID_SIZE], const unsigned char key[AIC_ID_KEY_BYTES],
    const unsigned char body[AIC_ID_BODY_BYTES], struct aic_err *err)
{
	unsigned char b[16];

	memcpy(b, key, AIC_ID_KEY_BYTES);
	memcpy(b + sizeof(b) - AIC_ID_BODY_BYTES, body, AIC_ID_BODY_BYTES);
	if (!random_bytes(b + AIC_ID_KEY_BYTES,
		sizeof(b) - AIC_ID_KEY_BYTES - AIC_ID_BODY_BYTES))
		return aic_fail(err, AIC_EBUG, "could not get random bytes: %s",
		    strerror(errno));
	write_uuid(id, b, 8);
	return AIC_OK;
}

bool
aic_id_span(char id[AIC_ID_SPAN_SIZE])
{
	unsigned char b[8];

	if (!random_bytes(b, sizeof(b)))
		return false;
	b[sizeof(b) - 1] |= 1; /* an id of 0 is invalid */
	aic_hex_put(id, b, sizeof(b));
	return true;
}

double
aic_random(void)
{
	unsigned char b[4];

	if (!random_bytes(b, sizeof(b)))
		return 0.5;
	return (b[0] | b[1] << 8 | b[2] << 16 | (uint32_t)b[3] << 24) /
	    4294967296.0;
}
