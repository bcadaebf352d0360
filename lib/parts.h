/*
 * parts -- an answer that is too long for one message of Telegram, in pieces.
 *
 * Threads: a struct aic_parts belongs to one thread.
 */
#ifndef AIC_PARTS_H
#define AIC_PARTS_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/buf.h"
#include "lib/format.h"
#include "lib/telegram.h"

/* Of a message: UTF-16 units as shown, once tags and entities are parsed. */
#define AIC_PARTS_UNITS 4096
#define AIC_PARTS_RICH_UNITS 32768

/* Of a message's source, tags and all, in bytes: what the Bot API reads of it. */
#define AIC_PARTS_BYTES 32768
#define AIC_PARTS_RICH_BYTES (4 * AIC_PARTS_RICH_UNITS)

/* Formatted pieces of a message; Telegram drops what is beyond them. */
#define AIC_PARTS_ENTITIES 100

/* Bytes of all targets of links; Telegram refuses some 9,500 characters. */
#define AIC_PARTS_TARGETS 9000

/* Of a rich message: paragraphs, headings, items, rows. */
#define AIC_PARTS_RICH_BLOCKS 500

/* Each unit that is left to the bot may become &quot; in the source. */
#define AIC_PARTS_UNIT_BYTES 6

/* More than an answer has tags within each other. */
#define AIC_PARTS_DEPTH 16

/* The longest note that aic_parts_first() appends. */
#define AIC_PARTS_NOTE_UNITS 512

/* What Telegram counts of a message. */
struct aic_parts_amount {
	size_t units, bytes, entities, targets, blocks;
};

struct aic_parts {
	const char *at, *end; /* what is left */
	enum aic_format format;
	struct aic_parts_amount max;
	struct {
		const char *s; /* in the text: <a href="..."> */
		size_t len;
	} open[AIC_PARTS_DEPTH];
	int n_open;
};

/*
 * aic_parts_begin -- text, of which there is len, is kept until the last part.
 *
 * format    how it was made: AIC_FORMAT_HTML by aic_telegram_html(), AIC_FORMAT_RICH by
 *           aic_telegram_rich()
 * reserve   0..2048, units to leave free in each part
 */
void aic_parts_begin(struct aic_parts *p, const char *text, size_t len,
    enum aic_format format, int reserve);

/* aic_parts_fit -- all that is left fits into one message as it is. */
bool aic_parts_fit(const struct aic_parts *p);

/*
 * aic_parts_next -- the next part into a buffer, whose content is replaced.
 *
 * It is cut at the end of a paragraph, else of a line, of a sentence, of a word, else
 * between two characters, at the last such place that leaves no part under a quarter
 * of its size. White space at a cut is lost, and nothing else. What is open there is
 * closed, and opened again in the next part. No part is empty for Telegram, and each
 * keeps to all of the limits above. A rich message is cut between its blocks first,
 * then between items or rows; an item that is cut shows its number again.
 *
 * Errors:   false when there is no other part, or no memory: to->failed
 */
bool aic_parts_next(struct aic_parts *p, struct aic_buf *to) AIC_MUST_CHECK;

/*
 * aic_parts_first -- an answer as one message, for a caller who does not know parts:
 * all of it where it fits, else its first part, a blank line and a note.
 *
 * note      plain text without markup, of at most AIC_PARTS_NOTE_UNITS
 * to        its content is replaced
 *
 * Errors:   false when nothing is seen in the text, or no memory: to->failed
 */
bool aic_parts_first(const char *text, size_t len, enum aic_format format,
    int reserve, const char *note, struct aic_buf *to) AIC_MUST_CHECK;

#endif
