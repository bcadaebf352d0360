/*
 * log -- one line an event, key=value, on standard error.
 *
 * A line is built on the caller's stack and leaves in one write(2), so lines of
 * several threads never mix. Values are quoted when they need it; control characters,
 * what separates lines, turns the direction of writing or is invisible, and bytes that
 * are not UTF-8, are escaped byte by byte: journalctl hides a line that has control
 * bytes, and the others could show a reader a line that nobody wrote.
 * Never log a message, an answer, a prompt or a key.
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

/* A line longer than this is cut; PIPE_BUF keeps it whole in a pipe. */
#define AIC_LOG_LINE 2048

struct aic_log {
	size_t len;
	char line[AIC_LOG_LINE];
};

/* aic_log_level -- lines below it are not written. Set before threads start. */
void aic_log_level(enum aic_level level);

/* aic_log_level_name -- "error", "warn", "info", "debug"; static. */
const char *aic_log_level_name(enum aic_level level);

/* aic_log_begin -- start a line: level=... event=... */
void aic_log_begin(struct aic_log *l, enum aic_level level, const char *event);

/* aic_log_str, aic_log_num -- add a pair. A NULL or empty text adds none. */
void aic_log_str(struct aic_log *l, const char *key, const char *value);
void aic_log_num(struct aic_log *l, const char *key, int64_t value);

/* aic_log_cut -- add no more than so many bytes of a text that a caller made up: what
 * comes behind it in the line is worth more. */
void
aic_log_cut(struct aic_log *l, const char *key, const char *value, size_t most);

/* aic_log_ms -- add a duration of the given microseconds, as ms with one
 * decimal. */
void aic_log_ms(struct aic_log *l, const char *key, int64_t us);

/* aic_log_end -- write the line. */
void aic_log_end(struct aic_log *l);

/* aic_log_event -- a whole line: an event and one sentence about it. */
void aic_log_event(enum aic_level level, const char *event, const char *fmt,
    ...) AIC_PRINTF(3, 4);

#endif
