#include "config.h"

#include "lib/retry.h"

#include <string.h>
#include <strings.h>

/* Of the retry budget. */
#define SLOTS (AIC_RETRY_WINDOW_S + 1)
#define CALLS_EACH 10 /* calls per retry */

/* A condition of a row, in addition to end, status and code. */
enum flag {
	ANY,
	BROKEN, /* from here on: the member of the case with this name */
	REFUSED,
	OTHER_MODEL,
};

/*
 * A row matches the statuses from..to of responses whose error has the code
 * (NULL: any) and whose message contains the words (NULL: any).
 */
struct row {
	enum aic_http_end end;
	int from, to;
	const char *code; /* a prefix if it ends in '*' */
	const char *words;
	enum flag flag;
	enum aic_retry_advice advice;
	enum aic_retry_why why;
};

#define NEVER AIC_RETRY_NEVER, AIC_RETRY_BY_STATUS
#define OTHER AIC_RETRY_OTHER, AIC_RETRY_BY_STATUS
#define AGAIN AIC_RETRY_AGAIN, AIC_RETRY_BY_STATUS
#define RESHAPE AIC_RETRY_RESHAPE, AIC_RETRY_BY_STATUS
#define NO_MONEY AIC_RETRY_OTHER, AIC_RETRY_NO_MONEY
#define LIMIT_AGAIN AIC_RETRY_AGAIN, AIC_RETRY_LIMITED
#define LIMIT_OTHER AIC_RETRY_OTHER, AIC_RETRY_LIMITED
#define BROKEN_AGAIN AIC_RETRY_AGAIN, AIC_RETRY_BROKEN

#define HTTP AIC_HTTP_ANSWERED

/* clang-format off */
/* The first row that matches decides. */
static const struct row table[] = {
	/*
	 * The account has no money. Another call of this model would fail, too;
	 * another model may use another account.
	 */
	{ HTTP, 402, 402, NULL, NULL, ANY, NO_MONEY },
	{ HTTP, 0, 999, "insufficient_quota", NULL, ANY, NO_MONEY },
	{ HTTP, 0, 999, "insufficient_user_quota", NULL, ANY, NO_MONEY },
	{ HTTP, 0, 999, "insufficient_balance", NULL, ANY, NO_MONEY },
	{ HTTP, 0, 999, "exceeded_current_quota_error", NULL, ANY, NO_MONEY },
	{ HTTP, 0, 999, "credit_balance_exhausted", NULL, ANY, NO_MONEY },
	{ HTTP, 0, 999, "billing_*", NULL, ANY, NO_MONEY },
	{ HTTP, 0, 999, "Arrearage", NULL, ANY, NO_MONEY },
	{ HTTP, 0, 999, NULL, "insufficient balance", ANY, NO_MONEY },
	{ HTTP, 0, 999, NULL, "credit balance is too low", ANY, NO_MONEY },

	/* The provider does not serve the country of this server. */
	{ HTTP, 0, 999, "unsupported_country_region_territory", NULL, ANY,
	    OTHER },
	{ HTTP, 400, 403, NULL, "country, region, or territory not supported",
	    ANY, OTHER },
	{ HTTP, 400, 403, NULL, "user location is not supported", ANY, OTHER },

	/*
	 * Groq answers so when a single request exceeds the limit of a minute.
	 * The request does not become smaller during a wait, so another model
	 * is better than the same one.
	 */
	{ HTTP, 413, 413, "rate_limit_exceeded", NULL, OTHER_MODEL,
	    LIMIT_OTHER },
	{ HTTP, 413, 413, "rate_limit_exceeded", NULL, ANY, LIMIT_AGAIN },

	{ HTTP, 400, 400, NULL, NULL, REFUSED, RESHAPE },
	{ HTTP, 422, 422, NULL, NULL, REFUSED, RESHAPE },

	{ HTTP, 408, 408, NULL, NULL, ANY, AGAIN },
	{ HTTP, 409, 409, NULL, NULL, ANY, AGAIN },
	{ HTTP, 429, 429, NULL, NULL, ANY, LIMIT_AGAIN },
	{ HTTP, 500, 599, NULL, NULL, ANY, BROKEN_AGAIN },

	/* An error inside a 200 that does not contain a status. */
	{ HTTP, 200, 200, "rate_limit*", NULL, ANY, LIMIT_AGAIN },
	{ HTTP, 200, 200, "too_many_requests*", NULL, ANY, LIMIT_AGAIN },
	{ HTTP, 200, 200, "slow_down", NULL, ANY, LIMIT_AGAIN },
	{ HTTP, 200, 200, "resource_exhausted", NULL, ANY, LIMIT_AGAIN },
	{ HTTP, 200, 200, "server_*", NULL, ANY, BROKEN_AGAIN },
	{ HTTP, 200, 200, "internal*", NULL, ANY, BROKEN_AGAIN },
	{ HTTP, 200, 200, "overloaded*", NULL, ANY, BROKEN_AGAIN },
	{ HTTP, 200, 200, "service_unavailable*", NULL, ANY, BROKEN_AGAIN },
	{ HTTP, 200, 200, "unavailable", NULL, ANY, BROKEN_AGAIN },
	{ HTTP, 200, 200, "timeout*", NULL, ANY, BROKEN_AGAIN },

	/* An incomplete answer, or none. */
	{ HTTP, 200, 200, NULL, NULL, BROKEN, AGAIN },

	/*
	 * An unusable 200, 400, 401, 403, 404: a repeat would get the same
	 * response, or the operator has to correct the key or the model.
	 */
	{ HTTP, 0, 999, NULL, NULL, ANY, NEVER },

	{ AIC_HTTP_CONNECT, 0, 999, NULL, NULL, ANY, AGAIN },
	/*
	 * A proxy intercepts the connection, or the provider's own root
	 * certificate is not installed: neither changes within seconds.
	 */
	{ AIC_HTTP_UNTRUSTED, 0, 999, NULL, NULL, ANY, OTHER },
	{ AIC_HTTP_BROKEN, 0, 999, NULL, NULL, ANY, AGAIN },
	{ AIC_HTTP_TIMEOUT, 0, 999, NULL, NULL, ANY, AGAIN },
	{ AIC_HTTP_TOO_BIG, 0, 999, NULL, NULL, ANY, NEVER },
	{ AIC_HTTP_GONE, 0, 999, NULL, NULL, ANY, NEVER },
	{ AIC_HTTP_FAILED, 0, 999, NULL, NULL, ANY, NEVER },
	{ AIC_HTTP_NO_MEMORY, 0, 999, NULL, NULL, ANY, NEVER },
};
/* clang-format on */

/* Compares without case, because Google's codes are upper case. */
static bool
matches_code(const char *pattern, const char *code)
{
	size_t n = strlen(pattern);

	if (n > 0 && pattern[n - 1] == '*')
		return strncasecmp(pattern, code, n - 1) == 0;
	return strcasecmp(pattern, code) == 0;
}

static bool
contains_words(const char *message, const char *words)
{
	size_t n = strlen(words);

	for (; message && *message; message++)
		if (strncasecmp(message, words, n) == 0)
			return true;
	return false;
}

static bool
has_flag(const struct aic_retry_case *c, enum flag flag)
{
	switch (flag) {
	case BROKEN:
		return c->broken;
	case REFUSED:
		return c->refused;
	case OTHER_MODEL:
		return c->other;
	default:
		return true;
	}
}

static bool
row_fits(const struct row *r, const struct aic_retry_case *c)
{
	if (r->end != c->end || c->status < r->from || c->status > r->to)
		return false;
	/* Some providers send in `type' the name that others send in `code'. */
	if (r->code && !matches_code(r->code, c->code) &&
	    !matches_code(r->code, c->type))
		return false;
	if (r->words && !contains_words(c->message, r->words))
		return false;
	return has_flag(c, r->flag);
}

enum aic_retry_advice
aic_retry_advise(const struct aic_retry_case *c, enum aic_retry_why *ret_why)
{
	const size_t n = sizeof(table) / sizeof(table[0]);
	size_t i;

	for (i = 0; i < n && !row_fits(&table[i], c); i++)
		;
	if (ret_why)
		*ret_why = i < n ? table[i].why : AIC_RETRY_BY_STATUS;
	return i < n ? table[i].advice : AIC_RETRY_NEVER;
}

bool
aic_retry_same_model(const struct aic_retry_case *c)
{
	return aic_retry_advise(c, NULL) == AIC_RETRY_AGAIN;
}

bool
aic_retry_other_model(const struct aic_retry_case *c)
{
	enum aic_retry_advice advice = aic_retry_advise(c, NULL);

	return advice == AIC_RETRY_AGAIN || advice == AIC_RETRY_OTHER;
}

int64_t
aic_retry_wait(int tried, int64_t retry_after_us, int64_t left_us,
    double chance)
{
	int64_t most = AIC_RETRY_FIRST_US, wait;
	int i;

	if (tried >= AIC_RETRY_ATTEMPTS)
		return -1;
	for (i = 1; i < tried && most < AIC_RETRY_MOST_US; i++)
		most *= 2;
	if (most > AIC_RETRY_MOST_US)
		most = AIC_RETRY_MOST_US;
	wait = retry_after_us >= 0 ? retry_after_us : (int64_t)(most * chance);
	return left_us - wait >= AIC_RETRY_LEAST_US ? wait : -1;
}

/* --- the retry budget --------------------------------------------------- */

void
aic_retry_budget_init(struct aic_retry_budget *b, int64_t floor)
{
	*b = (struct aic_retry_budget){ .floor = floor };
	pthread_mutex_init(&b->lock, NULL);
}

void
aic_retry_budget_done(struct aic_retry_budget *b)
{
	pthread_mutex_destroy(&b->lock);
}

/*
 * The counts of this second, cleared if they are of an earlier one. The lock is
 * held.
 */
static struct aic_retry_second *
get_slot(struct aic_retry_budget *b, int64_t second)
{
	struct aic_retry_second *s = &b->seconds[second % SLOTS];

	if (s->second != second)
		*s = (struct aic_retry_second){ .second = second };
	return s;
}

void
aic_retry_budget_call(struct aic_retry_budget *b, int64_t now_us)
{
	pthread_mutex_lock(&b->lock);
	get_slot(b, now_us / AIC_S)->calls++;
	pthread_mutex_unlock(&b->lock);
}

/* The lock is held. */
static bool
allow_retry(const struct aic_retry_budget *b, int64_t second)
{
	int64_t calls = 0, retries = 0;
	int i;

	for (i = 0; i < SLOTS; i++) {
		if (second - b->seconds[i].second > AIC_RETRY_WINDOW_S)
			continue;
		calls += b->seconds[i].calls;
		retries += b->seconds[i].retries;
	}
	return retries < b->floor || (retries + 1) * CALLS_EACH < calls;
}

bool
aic_retry_budget_take(struct aic_retry_budget *b, int64_t now_us)
{
	int64_t second = now_us / AIC_S;
	bool yes;

	pthread_mutex_lock(&b->lock);
	yes = allow_retry(b, second);
	if (yes)
		get_slot(b, second)->retries++;
	pthread_mutex_unlock(&b->lock);
	return yes;
}
