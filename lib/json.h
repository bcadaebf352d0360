/*
 * json -- parse text into json-c's objects, and write strings as JSON.
 *
 * The module does not use json-c's parser, because that parser accepts single
 * quotes, NaN, raw control characters and U+0000, which the contract refuses.
 * When memory is exhausted, json-c's parser also loses members, truncates
 * strings, or ends the process.
 */
#ifndef AIC_JSON_H
#define AIC_JSON_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

#include "lib/buf.h"
#include "lib/err.h"

/* Deeper than any schema of this service, and shallow enough for recursion. */
#define AIC_JSON_DEPTH 32

/* What is wrong with a text, and at which byte from 0. */
struct aic_json_fault {
	const char *wrong; /* static */
	size_t offset;
};

/*
 * aic_json_parse_strict -- parse a text that is exactly one JSON document.
 *
 * Refuses malformed UTF-8, U+0000 in any form, lone surrogates, control
 * characters in strings, nesting deeper than AIC_JSON_DEPTH, and anything after
 * the document.
 *
 * ret_obj    set on AIC_OK; NULL for the document `null'
 * ret_fault  set on an error
 *
 * Errors:   AIC_EINPUT, AIC_ENOMEM
 * Memory:   gives; json_object_put()
 * Source:   RFC 8259
 */
enum aic_code aic_json_parse_strict(const char *text, size_t len,
    struct json_object **ret_obj,
    struct aic_json_fault *ret_fault) AIC_MUST_CHECK;

/*
 * aic_json_parse -- parse an untrusted text, with lenient rules for strings:
 * U+0000, control characters and malformed UTF-8 are kept, and a lone surrogate
 * becomes U+FFFD. All other rules are those of aic_json_parse_strict(); every
 * text that it accepts is accepted here, with the same result.
 *
 * ret_obj   set on AIC_OK; NULL for the document `null'
 *
 * Errors:   AIC_EINPUT  not JSON; AIC_ENOMEM
 * Memory:   gives; json_object_put()
 */
enum aic_code aic_json_parse(const char *text, size_t len,
    struct json_object **ret_obj) AIC_MUST_CHECK;

/*
 * aic_json_is_cut -- true if the text is the beginning of a document whose rest
 * is missing. An empty text is such a beginning. The rules are those of
 * aic_json_parse(). Memory: allocates nothing.
 */
bool aic_json_is_cut(const char *text, size_t len);

/*
 * aic_json_put_str -- write a text with its quotes; valid UTF-8 is written
 * unchanged, not as \u escapes.
 */
void aic_json_put_str(struct aic_buf *b, const char *s);

/* aic_json_put_part -- write a part of a string, without the quotes. */
void aic_json_put_part(struct aic_buf *b, const char *s, size_t n);

#endif
