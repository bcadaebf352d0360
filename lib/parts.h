/*
 * parts -- split an answer that is too long for one Telegram message.
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

/*
 * The limit of a message's text in UTF-16 units, counted after Telegram has
 * parsed tags and entities.
 */
#define AIC_PARTS_UNITS 4096
#define AIC_PARTS_RICH_UNITS 32768

/*
 * The limit of a message's source in bytes, including tags: the most that the
 * Bot API reads.
 */
#define AIC_PARTS_BYTES 32768
#define AIC_PARTS_RICH_BYTES (4 * AIC_PARTS_RICH_UNITS)

/* The limit of formatted entities in a message; Telegram drops the surplus. */
#define AIC_PARTS_ENTITIES 100

/*
 * The limit of the bytes of all link targets; Telegram refuses about 9,500
 * characters.
 */
#define AIC_PARTS_TARGETS 9000

/* The limit of blocks in a rich message: paragraphs, headings, items, rows. */
#define AIC_PARTS_RICH_BLOCKS 500

/*
 * The most bytes of a unit that is reserved for the bot: &quot; in the source.
 */
#define AIC_PARTS_UNIT_BYTES 6

/* The tags of an answer are never nested more deeply. */
#define AIC_PARTS_DEPTH 16

/* The longest note that aic_parts_first() appends. */
#define AIC_PARTS_NOTE_UNITS 512

/* The amounts that Telegram limits in a message. */
struct aic_parts_amount {
	size_t units, bytes, entities, targets, blocks;
};

struct aic_parts {
	const char *at, *end; /* the rest of the text */
	enum aic_format format;
	struct aic_parts_amount max;
	struct {
		const char *s; /* in the text: <a href="..."> */
		size_t len;
	} open[AIC_PARTS_DEPTH];
	int n_open;
};

/*
 * aic_parts_begin -- begin to split a text of len bytes; keeps it until the
 * last part.
 *
 * format    the function that made it: AIC_FORMAT_HTML by aic_telegram_html(),
 *           AIC_FORMAT_RICH by aic_telegram_rich()
 * reserve   0..2048, units to leave free in each part
 */
void aic_parts_begin(struct aic_parts *p, const char *text, size_t len,
    enum aic_format format, int reserve);

/*
 * aic_parts_fit -- true if the rest of the text fits into one message
 * unchanged.
 */
bool aic_parts_fit(const struct aic_parts *p);

/*
 * aic_parts_next -- write the next part into a buffer; replaces its content.
 *
 * The cut is at the end of a paragraph; else at the end of a line, a sentence
 * or a word; else between two characters. It is the last such place that leaves
 * a part of at least a quarter of the maximum. Only white space at a cut is
 * lost. Tags that are open at a cut are closed, and opened again in the next
 * part. No part is empty for Telegram, and each part obeys all of the limits
 * above. A rich message is cut between its blocks if possible, else between
 * items or rows; an item that is cut repeats its number.
 *
 * Errors:   false if there is no other part, or out of memory: to->failed
 */
bool aic_parts_next(struct aic_parts *p, struct aic_buf *to) AIC_MUST_CHECK;

/*
 * aic_parts_first -- write an answer as one message, for a caller without
 * support for parts: the whole answer if it fits, else its first part, a blank
 * line and a note.
 *
 * note      plain text without markup, of at most AIC_PARTS_NOTE_UNITS
 * to        its content is replaced
 *
 * Errors:   false if the text has no visible character, or out of memory:
 *           to->failed
 */
bool aic_parts_first(const char *text, size_t len, enum aic_format format,
    int reserve, const char *note, struct aic_buf *to) AIC_MUST_CHECK;

#endif
