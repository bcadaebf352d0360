#include "config.h"

#include "app/worker/show.h"

#include <string.h>

#include "lib/completion.h"
#include "lib/json.h"
#include "lib/parts.h"

/* The longest answer, of which each byte was mended to three, and five times that
 * where all of it is to be escaped. */
#define HTML_MAX ((size_t)15 * AIC_COMPLETION_MAX)

/* For a reader who knows nothing of the other parts. The model has the whole answer in
 * its context, and the rules say what "продолжи" means then. */
static const char note[] =
    "Ответ не поместился в одно сообщение. Напишите «продолжи», и я пришлю "
    "остальное.";

/* The largest part, and a note. */
#define PART_MAX (AIC_PARTS_RICH_BYTES + AIC_PARTS_UNITS)

static void
put_parts(struct aic_buf *to, struct aic_parts *p)
{
	struct aic_buf part;
	int n;

	aic_buf_init(&part, PART_MAX);
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

/* As much of the answer as one message takes, and the note. */
static void
put_first(struct aic_buf *to, const char *text, size_t len,
    const struct aic_render_form *form)
{
	struct aic_buf part;

	aic_buf_init(&part, PART_MAX);
	if (aic_parts_first(text, len, form->format, (int)form->reserve, note,
		&part))
		aic_json_put_str(to, part.data);
	else
		to->failed = true;
	aic_buf_done(&part);
}

static void
put_answer(struct aic_buf *to, const char *text, size_t len,
    const struct aic_render_form *form)
{
	struct aic_parts p;
	bool fits;

	aic_parts_begin(&p, text, len, form->format, (int)form->reserve);
	fits = aic_parts_fit(&p);
	aic_buf_puts(to, "\"response\":");
	if (fits || !form->one_message)
		aic_json_put_str(to, text);
	else
		put_first(to, text, len, form);
	if (!fits)
		put_parts(to, &p);
}

enum aic_code
aic_render_answer(struct aic_buf *to, const char *text,
    const struct aic_render_form *form, struct aic_err *err)
{
	enum aic_code rc = AIC_OK;
	struct aic_buf html;

	if (form->format == AIC_FORMAT_PLAIN) {
		put_answer(to, text, strlen(text), form);
	} else {
		aic_buf_init(&html, HTML_MAX);
		rc = form->format == AIC_FORMAT_RICH
		    ? aic_telegram_rich(text, strlen(text), &html)
		    : aic_telegram_html(text, strlen(text), &html);
		if (!rc)
			put_answer(to, html.data, html.len, form);
		aic_buf_done(&html);
	}
	if (rc || to->failed)
		return aic_fail(err, AIC_ENOMEM, "no memory for the answer");
	return AIC_OK;
}
