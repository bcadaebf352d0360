#include "config.h"

#include "lib/err.h"

#include <stdio.h>
#include <string.h>

static const char *const names[] = {
	[AIC_OK] = "OK",
	[AIC_EAUTH] = "EAUTH",
	[AIC_ENOROUTE] = "ENOROUTE",
	[AIC_EMETHOD] = "EMETHOD",
	[AIC_EINPUT] = "EINPUT",
	[AIC_EPARAM] = "EPARAM",
	[AIC_EBIG] = "EBIG",
	[AIC_ELIMIT] = "ELIMIT",
	[AIC_ECROWD] = "ECROWD",
	[AIC_EUPSTREAM] = "EUPSTREAM",
	[AIC_EOPEN] = "EOPEN",
	[AIC_EDB] = "EDB",
	[AIC_EBUSY] = "EBUSY",
	[AIC_EGONE] = "EGONE",
	[AIC_ENOMEM] = "ENOMEM",
	[AIC_ECONF] = "ECONF",
	[AIC_EBUG] = "EBUG",
};
_Static_assert(sizeof(names) / sizeof(names[0]) == AIC__MAX,
    "every code has a name");

/*
 * Replace the line breaks that an external value may contain: a text of an
 * error is one line.
 */
static void
join_lines(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < ' ' || *s == 0x7f)
			*s = ' ';
}

static void format_text(char *to, size_t size, const char *fmt, va_list ap)
    AIC_PRINTF(3, 0);

/*
 * vsnprintf() truncates at a byte. Remove an incomplete code point at the end.
 */
static void
format_text(char *to, size_t size, const char *fmt, va_list ap)
{
	int n = vsnprintf(to, size, fmt, ap);
	size_t end;

	if (n < 0) {
		to[0] = '\0';
		return;
	}
	join_lines(to);
	if ((size_t)n < size)
		return;
	end = size - 1;
	while (end > 0 && ((unsigned char)to[end - 1] & 0xc0) == 0x80)
		end--;
	if (end > 0 && ((unsigned char)to[end - 1] & 0xc0) == 0xc0)
		end--;
	to[end] = '\0';
}

enum aic_code
aic_fail(struct aic_err *err, enum aic_code code, const char *fmt, ...)
{
	va_list ap;

	err->code = code;
	va_start(ap, fmt);
	format_text(err->detail, sizeof(err->detail), fmt, ap);
	va_end(ap);
	return code;
}

void
aic_says(struct aic_err *err, const char *fmt, ...)
{
	va_list ap;

	err->declined = false;
	va_start(ap, fmt);
	format_text(err->says, sizeof(err->says), fmt, ap);
	va_end(ap);
}

enum aic_code
aic_fault(struct aic_err *err, const char *type, const char *where,
    const char *field, const char *fmt, ...)
{
	struct aic_fault *f;
	va_list ap;

	err->code = AIC_EINPUT;
	if (err->n_faults == AIC_FAULTS_MAX)
		return AIC_EINPUT;
	f = &err->faults[err->n_faults++];
	f->type = type;
	f->where = where;
	f->field = field;
	f->offset = -1;
	va_start(ap, fmt);
	format_text(f->msg, sizeof(f->msg), fmt, ap);
	va_end(ap);
	if (err->detail[0] == '\0')
		snprintf(err->detail, sizeof(err->detail), "%s %s: %s", where,
		    field ? field : "", type);
	return AIC_EINPUT;
}

const char *
aic_code_name(enum aic_code code)
{
	return (unsigned)code < AIC__MAX ? names[code] : "?";
}
