/*
 * log -- one line for each event, key=value, on standard error.
 *
 * A line is built on the caller's stack and written by one write(2), so lines
 * of several threads never mix. Values are quoted if they need it. Control
 * characters, line separators, characters that change the writing direction,
 * invisible characters, and bytes that are not UTF-8 are escaped byte by byte.
 * The reason: journalctl hides a line that has control bytes, and the other
 * characters could forge a line. Never log a message, an answer, a prompt or a
 * key.
 *
 * Threads: any.
 */
#ifndef AIC_LOG_H
#define AIC_LOG_H

#include <stdint.h>

#include "lib/err.h"

enum aic_level {
	AIC_LOG_ERROR,
	AIC_LOG_WARN,
	AIC_LOG_INFO,
	AIC_LOG_DEBUG,
	AIC_LOG__MAX
};

/*
 * A longer line is cut; a line of at most PIPE_BUF bytes is written to a pipe
 * as a whole.
 */
#define AIC_LOG_LINE 2048

struct aic_log {
	size_t len;
	char line[AIC_LOG_LINE];
};

/*
 * aic_log_level -- set the level; less important lines are not written. Call it
 * before threads start.
 */
void aic_log_level(enum aic_level level);

/* aic_log_level_name -- "error", "warn", "info", "debug"; static. */
const char *aic_log_level_name(enum aic_level level);

/* aic_log_begin -- start a line: level=... event=... */
void aic_log_begin(struct aic_log *l, enum aic_level level, const char *event);

/* aic_log_str, aic_log_num -- add a pair. A NULL or empty text adds none. */
void aic_log_str(struct aic_log *l, const char *key, const char *value);
void aic_log_num(struct aic_log *l, const char *key, int64_t value);

/*
 * aic_log_cut -- add at most `most' bytes of a text that a caller controls,
 * because the pairs after it in the line are more important.
 */
void
aic_log_cut(struct aic_log *l, const char *key, const char *value, size_t most);

/*
 * aic_log_ms -- add a duration, given in microseconds, as ms with one decimal.
 */
void aic_log_ms(struct aic_log *l, const char *key, int64_t us);

/* aic_log_end -- write the line. */
void aic_log_end(struct aic_log *l);

/* aic_log_event -- write a whole line: an event and one sentence about it. */
void aic_log_event(enum aic_level level, const char *event, const char *fmt,
    ...) AIC_PRINTF(3, 4);

#endif
