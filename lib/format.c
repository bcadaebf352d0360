#include "config.h"

#include "lib/format.h"

#include <stddef.h>

const char *const aic_format_names[AIC_FORMAT__MAX + 1] = {
	[AIC_FORMAT_PLAIN] = "plain",
	[AIC_FORMAT_HTML] = "telegram-html",
	[AIC_FORMAT_RICH] = "telegram-rich",
};
