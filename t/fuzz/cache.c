/*
 * The reply of an untrusted server to an MGET of three keys. In some seeds the
 * value of the second key has a valid seal. Input that begins with "redis://"
 * or "unix://", which no reply does, is read as a REDIS_URL instead.
 */
#include "config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "lib/redis.h"
#include "lib/digest.h"

#define ITEMS 3
#define BYTES_MAX (64 * 1024)

static const char *const keys[ITEMS] = { "aic:1:a:1", "aic:1:b:1",
	"aic:1:c:1" };

struct seen {
	struct aic_seal *seal;
	int items, errors;
	bool believed;
};

static void
on_reply(void *arg, const struct aic_redis_reply *r)
{
	struct seen *s = arg;
	char sum = 0;
	size_t i;

	assert(r->command == 0);
	assert(r->item >= -1 && r->item < ITEMS);
	for (i = 0; i < r->len; i++)
		sum = (char)(sum ^ r->data[i]);
	assert(sum == sum);
	if (r->item < 0) {
		assert(r->type == AIC_REDIS_ERROR && s->items == 0);
		s->errors++;
		return;
	}
	/* In order, each item once. */
	assert(r->item == s->items);
	s->items++;
	if (r->type == AIC_REDIS_STRING &&
	    aic_seal_check(s->seal, keys[r->item], 0, r->data, r->len)) {
		assert(r->len >= AIC_SEAL_SIZE);
		/* Nobody can guess a seal, so this one is from a seed. */
		assert(r->item == 1);
		s->believed = true;
	}
}

static bool
is_url(const char *data, size_t len)
{
	return (len > 8 && memcmp(data, "redis://", 8) == 0) ||
	    (len > 7 && memcmp(data, "unix://", 7) == 0);
}

static bool
read_url(const char *data, size_t len)
{
	struct aic_err err = AIC_ERR_INIT;
	struct aic_redis_url w;
	char *url = strndup(data, len);
	bool taken;

	assert(url);
	taken = aic_redis_url_parse(&w, url, &err) == AIC_OK;
	free(url);
	if (!taken) {
		assert(err.code == AIC_ECONF && fuzz_is_line(err.detail));
		return false;
	}
	assert(!w.path != !w.host);
	assert(!w.path || (*w.path == '/' && strlen(w.path) < 108));
	assert(!w.host || (*w.host && w.port > 0 && w.port < 65536));
	assert(w.db >= 0 && w.db < 10000);
	assert(!w.password || *w.password);
	assert(!w.user || (*w.user && w.password));
	aic_redis_url_done(&w);
	return true;
}

/* True: the reply contained a value with a valid seal. */
bool
fuzz_one(const char *data, size_t len)
{
	struct seen s = { .seal = aic_seal_new("fuzz") };
	struct aic_redis_ask ask = { .replies = 1,
		.items = ITEMS,
		.bytes_max = BYTES_MAX,
		.on_reply = on_reply,
		.arg = &s };
	enum aic_redis_end end;

	if (is_url(data, len)) {
		aic_seal_free(s.seal);
		return read_url(data, len);
	}
	assert(s.seal);
	end = aic_redis_read(&ask, data, len);
	if (end == AIC_REDIS_ANSWERED)
		assert(s.items == ITEMS || s.errors == 1);
	if (len == 0 || len > BYTES_MAX)
		assert(end != AIC_REDIS_ANSWERED);
	aic_seal_free(s.seal);
	return end == AIC_REDIS_ANSWERED && s.believed;
}
