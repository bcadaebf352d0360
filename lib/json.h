/*
 * json -- from text to json-c's objects, and from our own to text.
 *
 * Not through json-c's parser: it takes single quotes, NaN, raw control characters
 * and U+0000, which the contract refuses, and where memory runs out it loses
 * members, cuts strings, or ends the process.
 */
#ifndef AIC_JSON_H
#define AIC_JSON_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

#include "lib/buf.h"
#include "lib/err.h"

/* Deeper than anything our schema has, and shallow enough to recurse. */
#define AIC_JSON_DEPTH 32

/*
 * aic_json_check -- is this text one JSON document, and nothing else?
 *
 * Refuses malformed UTF-8, U+0000 in any form, lone surrogates, control
 * characters in strings, nesting over AIC_JSON_DEPTH, anything after the document.
 *
 * ret_offset  set when the value is not NULL: where it breaks, in bytes
 *
 * Errors:   NULL when all is well, else what is wrong, in words; static
 * Memory:   allocates nothing
 * Source:   RFC 8259
 */
const char *aic_json_check(const char *text, size_t len, size_t *ret_offset);

/*
 * aic_json_parse -- parse a text of which nothing is known, and be lenient about
 * what is in its strings: U+0000, control characters and malformed UTF-8 are kept,
 * a lone surrogate becomes U+FFFD. All else is as aic_json_check() has it; what
 * that one takes, this one does.
 *
 * ret_obj   set on AIC_OK; of the document `null' it is NULL
 *
 * Errors:   AIC_EINPUT  not JSON; AIC_ENOMEM
 * Memory:   gives; json_object_put()
 */
enum aic_code aic_json_parse(const char *text, size_t len,
    struct json_object **ret_obj) AIC_MUST_CHECK;

/* aic_json_is_cut -- is this the beginning of a document, whose rest is missing? An
 * empty text is. As lenient as aic_json_parse(). Memory: allocates nothing. */
bool aic_json_is_cut(const char *text, size_t len);

/* aic_json_put_str -- write a text with its quotes; valid UTF-8 goes out as it is,
 * not as \u escapes. */
void aic_json_put_str(struct aic_buf *b, const char *s);

/* aic_json_put_part -- a piece of a string, without the quotes around it. */
void aic_json_put_part(struct aic_buf *b, const char *s, size_t n);

#endif
