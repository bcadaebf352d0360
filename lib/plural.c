#include "config.h"

#include "lib/plural.h"

const char *
aic_plural(const struct aic_plural *forms, int64_t n)
{
	int tens = (int)(n % 100), ones;

	if (tens < 0)
		tens = -tens;
	ones = tens % 10;
	if (tens / 10 == 1 || ones == 0 || ones >= 5)
		return forms->many;
	return ones == 1 ? forms->one : forms->few;
}

const char *
aic_plural_of(const struct aic_plural *forms, double x)
{
	int64_t hundredths = (int64_t)((x < 0 ? -x : x) * 100 + 0.5);

	if (hundredths % 100 != 0)
		return forms->few;
	return aic_plural(forms, hundredths / 100);
}
