#include "config.h"

#include "app/worker/unsaved.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"

/* The circuit breaker of saves limits how many chats are paid for in vain:
 * those in flight when the breaker opens, and a few trials. */
#define ANSWERS_MAX 128
#define BYTES_MAX (8 * 1024 * 1024)

struct answer {
	int64_t telegram_id;
	char digest[AIC_IDEMPOTENCY_DIGEST_SIZE];
	char *text; /* NULL: none */
	size_t len;
	int64_t tokens;
	int64_t until_us;
};

struct unsaved {
	pthread_mutex_t lock;
	struct answer answers[ANSWERS_MAX];
	size_t bytes; /* of all texts */
};

struct unsaved *
unsaved_open(void)
{
	struct unsaved *u = calloc(1, sizeof(*u));

	if (u)
		pthread_mutex_init(&u->lock, NULL);
	return u;
}

/* The lock is held here and in the functions below. */
static void
free_answer(struct unsaved *u, struct answer *a)
{
	free(a->text);
	a->text = NULL;
	u->bytes -= a->len;
	a->len = 0;
}

static void
free_expired(struct unsaved *u, int64_t now_us)
{
	int i;

	for (i = 0; i < ANSWERS_MAX; i++)
		if (u->answers[i].text && u->answers[i].until_us <= now_us)
			free_answer(u, &u->answers[i]);
}

/* A free entry. If there is none, the oldest entry is freed. */
static struct answer *
claim_entry(struct unsaved *u)
{
	struct answer *oldest = u->answers, *a;

	for (a = u->answers; a < u->answers + ANSWERS_MAX; a++) {
		if (!a->text)
			return a;
		if (a->until_us < oldest->until_us)
			oldest = a;
	}
	free_answer(u, oldest);
	return oldest;
}

static struct answer *
find_oldest(struct unsaved *u)
{
	struct answer *oldest = NULL, *a;

	for (a = u->answers; a < u->answers + ANSWERS_MAX; a++)
		if (a->text && (!oldest || a->until_us < oldest->until_us))
			oldest = a;
	return oldest;
}

void
unsaved_close(struct unsaved *u)
{
	if (!u)
		return;
	free_expired(u, INT64_MAX);
	pthread_mutex_destroy(&u->lock);
	free(u);
}

void
unsaved_keep(struct unsaved *u, int64_t telegram_id,
    const char digest[AIC_IDEMPOTENCY_DIGEST_SIZE], char *text, int64_t tokens,
    int64_t now_us)
{
	size_t len = strlen(text);
	struct answer *a;

	pthread_mutex_lock(&u->lock);
	free_expired(u, now_us);
	while (u->bytes > 0 && u->bytes + len > BYTES_MAX)
		free_answer(u, find_oldest(u));
	a = claim_entry(u);
	*a = (struct answer){ .telegram_id = telegram_id,
		.text = text,
		.len = len,
		.tokens = tokens,
		.until_us = now_us + UNSAVED_MS * AIC_MS };
	memcpy(a->digest, digest, AIC_IDEMPOTENCY_DIGEST_SIZE);
	u->bytes += len;
	pthread_mutex_unlock(&u->lock);
}

char *
unsaved_take(struct unsaved *u, int64_t telegram_id,
    const char digest[AIC_IDEMPOTENCY_DIGEST_SIZE], int64_t *ret_tokens,
    int64_t now_us)
{
	struct answer *a;
	char *text = NULL;

	pthread_mutex_lock(&u->lock);
	if (u->bytes > 0)
		free_expired(u, now_us);
	for (a = u->answers; u->bytes > 0 && a < u->answers + ANSWERS_MAX;
	     a++) {
		if (!a->text || a->telegram_id != telegram_id ||
		    strcmp(a->digest, digest) != 0)
			continue;
		text = a->text;
		*ret_tokens = a->tokens;
		a->text = NULL;
		free_answer(u, a);
		break;
	}
	pthread_mutex_unlock(&u->lock);
	return text;
}
