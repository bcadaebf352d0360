#include "config.h"

#include "show.h"

#include <string.h>

#include "completion.h"
#include "json.h"
#include "parts.h"

/* The longest answer, of which each byte was mended to three, and five times that
 * where all of it is to be escaped. */
#define HTML_MAX ((size_t)15 * AIC_COMPLETION_MAX)

static void
put_parts(struct aic_buf *to, struct aic_parts *p)
{
	struct aic_buf part;
	int n;

	aic_buf_init(&part, AIC_PARTS_BYTES);
	for (n = 0; aic_parts_next(p, &part); n++) {
		aic_buf_puts(to, n ? "," : ",\"parts\":[");
		aic_json_put_str(to, part.data);
	}
	if (n > 0)
		aic_buf_putc(to, ']');
	if (part.failed)
		to->failed = true;
	aic_buf_done(&part);
}

static void
put_answer(struct aic_buf *to, const char *text, size_t len,
    enum aic_format format, int64_t reserve)
{
	struct aic_parts p;

	aic_buf_puts(to, "\"response\":");
	aic_json_put_str(to, text);
	aic_parts_begin(&p, text, len, format, (int)reserve);
	if (!aic_parts_fit(&p))
		put_parts(to, &p);
}

enum aic_code
show_answer(struct aic_buf *to, const char *text, enum aic_format format,
    int64_t reserve, struct aic_err *err)
{
	enum aic_code rc = AIC_OK;
	struct aic_buf html;

	if (format == AIC_FORMAT_PLAIN) {
		put_answer(to, text, strlen(text), format, reserve);
	} else {
		aic_buf_init(&html, HTML_MAX);
		rc = aic_telegram_html(text, strlen(text), &html);
		if (!rc)
			put_answer(to, html.data, html.len, format, reserve);
		aic_buf_done(&html);
	}
	if (rc || to->failed)
		return aic_fail(err, AIC_ENOMEM, "no memory for the answer");
	return AIC_OK;
}
