#include "config.h"

#include "retry.h"

#include <string.h>

enum advice {
	NEVER, /* the same would come, from anybody */
	OTHER, /* from this model */
	AGAIN,
};

/* Statuses from..to, of answers whose error has the code (NULL: any). */
struct row {
	enum aic_http_end end;
	int from, to;
	const char *code; /* a prefix when it ends in '*' */
	enum advice advice;
};

/* The first row that fits decides. */
static const struct row table[] = {
	/* No money is left there: asking again only adds to the trouble; another
	 * model has a purse of its own. */
	{ AIC_HTTP_ANSWERED, 0, 999, "insufficient_quota", OTHER },
	{ AIC_HTTP_ANSWERED, 0, 999, "credit_balance_exhausted", OTHER },
	{ AIC_HTTP_ANSWERED, 0, 999, "billing_*", OTHER },
	{ AIC_HTTP_ANSWERED, 408, 408, NULL, AGAIN },
	{ AIC_HTTP_ANSWERED, 409, 409, NULL, AGAIN },
	{ AIC_HTTP_ANSWERED, 429, 429, NULL, AGAIN },
	{ AIC_HTTP_ANSWERED, 500, 599, NULL, AGAIN },
	/* 200 that is of no use, 400, 401, 403, 404: the same would come, or
	 * somebody has a mistake to mend, which must not go unseen. */
	{ AIC_HTTP_ANSWERED, 0, 999, NULL, NEVER },
	{ AIC_HTTP_CONNECT, 0, 999, NULL, AGAIN },
	/* A certificate does not change within a minute; another model has
	 * another one. */
	{ AIC_HTTP_UNTRUSTED, 0, 999, NULL, OTHER },
	{ AIC_HTTP_BROKEN, 0, 999, NULL, AGAIN },
	{ AIC_HTTP_TIMEOUT, 0, 999, NULL, AGAIN },
	{ AIC_HTTP_TOO_BIG, 0, 999, NULL, NEVER },
	{ AIC_HTTP_GONE, 0, 999, NULL, NEVER },
	{ AIC_HTTP_FAILED, 0, 999, NULL, NEVER },
	{ AIC_HTTP_NO_MEMORY, 0, 999, NULL, NEVER },
};

static bool
fits(const char *pattern, const char *code)
{
	size_t n = strlen(pattern);

	if (n > 0 && pattern[n - 1] == '*')
		return strncmp(pattern, code, n - 1) == 0;
	return strcmp(pattern, code) == 0;
}

static enum advice
find(const struct aic_retry_case *c)
{
	const struct row *r;
	size_t i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		r = &table[i];
		if (r->end != c->end || c->status < r->from ||
		    c->status > r->to)
			continue;
		/* The quota's end is told by either field. */
		if (r->code && !fits(r->code, c->code) &&
		    !fits(r->code, c->type))
			continue;
		return r->advice;
	}
	return NEVER;
}

bool
aic_retry_worth(const struct aic_retry_case *c)
{
	return find(c) == AGAIN;
}

bool
aic_retry_other(const struct aic_retry_case *c)
{
	return find(c) != NEVER;
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
