/*
 * markdown_scan -- scan single elements of Markdown and their surroundings. A
 * part of markdown.h, which has the rules.
 *
 * Each function looks at s[at]; s has n bytes. It returns the place after the
 * element that it found, or 0 if there is none.
 *
 * Threads: any.
 */
#ifndef AIC_MARKDOWN_SCAN_H
#define AIC_MARKDOWN_SCAN_H

#include <stdbool.h>
#include <stddef.h>

/* "(target "title")" after the text of a link. */
struct aic_markdown_target {
	const char *s, *title; /* undecoded; title: NULL for none */
	size_t len, title_len;
};

size_t aic_markdown_scan_target(const char *s, size_t at, size_t n,
    struct aic_markdown_target *ret);

/* <https://x>, without a blank in it. */
size_t aic_markdown_scan_autolink(const char *s, size_t at, size_t n);

/* <a@b.ru> */
size_t aic_markdown_scan_address(const char *s, size_t at, size_t n);

/* <br>, <br/>, <br /> */
size_t aic_markdown_scan_br(const char *s, size_t at, size_t n);

/* A bare https://x; markup at its end is not a part of it. */
size_t aic_markdown_scan_url(const char *s, size_t at, size_t n);

/* Whether the delimiters of a run can open or close a span. */
struct aic_markdown_run {
	bool opens, closes;
};

/*
 * aic_markdown_scan_run -- a run of len equal characters, * _ or ~, at s[at].
 */
struct aic_markdown_run
aic_markdown_scan_run(const char *s, size_t at, size_t len, size_t n);

/*
 * aic_markdown_escapable -- true if a backslash before the character is markup.
 */
bool aic_markdown_escapable(char c);

#endif
