#include "config.h"

#include "lib/near.h"

static size_t
min_of(size_t a, size_t b)
{
	return a < b ? a : b;
}

size_t
aic_near_steps(const char *a, size_t n, const char *b, size_t m)
{
	/* Row i has the steps from the first i characters of a; only the
	 * present row and the two before it are kept. */
	size_t row[3][AIC_NEAR_MAX + 1];
	size_t *now = row[0], *last = row[1], *before = row[2], *spare;
	size_t i, j;

	if (n > AIC_NEAR_MAX || m > AIC_NEAR_MAX)
		return AIC_NEAR_MAX;
	for (j = 0; j <= m; j++)
		before[j] = last[j] = j;
	for (i = 1; i <= n; i++) {
		now[0] = i;
		for (j = 1; j <= m; j++) {
			now[j] = min_of(last[j - 1] + (a[i - 1] != b[j - 1]),
			    min_of(last[j], now[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] &&
			    a[i - 2] == b[j - 1])
				now[j] = min_of(now[j], before[j - 2] + 1);
		}
		spare = before;
		before = last;
		last = now;
		now = spare;
	}
	return last[m];
}
