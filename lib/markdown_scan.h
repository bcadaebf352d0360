/*
 * markdown_scan -- single pieces of Markdown and what is around them. A part of
 * markdown.h, which has the rules.
 *
 * Each function looks at s from at, of which there are n bytes in all, and gives the
 * place behind what it found, 0 when there is nothing of the kind.
 *
 * Threads: any.
 */
#ifndef AIC_MARKDOWN_SCAN_H
#define AIC_MARKDOWN_SCAN_H

#include <stdbool.h>
#include <stddef.h>

/* "(target "title")" behind a link's text. */
struct aic_markdown_target {
	const char *s, *title; /* as they are written; title: NULL for none */
	size_t len, title_len;
};

size_t aic_markdown_scan_target(const char *s, size_t at, size_t n,
    struct aic_markdown_target *ret);

/* <https://x>, with no blank in it. */
size_t aic_markdown_scan_autolink(const char *s, size_t at, size_t n);

/* <a@b.ru> */
size_t aic_markdown_scan_address(const char *s, size_t at, size_t n);

/* <br>, <br/>, <br /> */
size_t aic_markdown_scan_br(const char *s, size_t at, size_t n);

/* https://x without anything around it; markup that it ends in is not a part. */
size_t aic_markdown_scan_url(const char *s, size_t at, size_t n);

/* Which of a run's delimiters may be markup there. */
struct aic_markdown_run {
	bool opens, closes;
};

/* aic_markdown_scan_run -- a run of len times the same of * _ ~ at s[at]. */
struct aic_markdown_run
aic_markdown_scan_run(const char *s, size_t at, size_t len, size_t n);

/* aic_markdown_escapable -- a backslash before it is markup. */
bool aic_markdown_escapable(char c);

#endif
