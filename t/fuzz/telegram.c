/* The answer of a model, formatted for Telegram. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/buf.h"
#include "fuzz.h"
#include "message.h"
#include "rich.h"
#include "lib/utf8.h"

bool
fuzz_one(const char *data, size_t len)
{
	const char *wrong = NULL;
	struct aic_buf text;
	char *at = NULL;
	bool taken;

	/* A text as the worker stores it; each invalid byte becomes three. */
	aic_buf_init(&text, 3 * len + 1);
	aic_utf8_mend(&text, data, len);
	taken = text.len > 0 && !message_is_empty(text.data, text.len);
	if (taken)
		wrong = message_check_answer(text.data, text.len, &at);
	if (taken && !wrong)
		wrong = rich_check_answer(text.data, text.len, &at);
	if (wrong)
		fprintf(stderr, "%s: %s\n", wrong, at);
	assert(!wrong);
	aic_buf_done(&text);
	return taken;
}
