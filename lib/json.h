/*
 * json -- reading with json-c, writing by hand, and the strictness that json-c
 * lacks.
 *
 * json-c takes single quotes, NaN, raw control characters and U+0000, and turns
 * lone surrogates into U+FFFD; the contract refuses them. So a text from outside
 * is first checked against the grammar of RFC 8259 here, and then parsed there.
 */
#ifndef AIC_JSON_H
#define AIC_JSON_H

#include <json-c/json.h>
#include <stddef.h>

#include "buf.h"
#include "err.h"

/* Deeper than anything our schema has, and what json-c takes by default. */
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
 * aic_json_parse -- parse a text of which nothing is known.
 *
 * Errors:   NULL: not JSON, too deep, or no memory
 * Memory:   gives; json_object_put()
 */
struct json_object *aic_json_parse(const char *text, size_t len) AIC_MUST_CHECK;

/* aic_json_put_str -- write a text with its quotes; valid UTF-8 goes out as it is,
 * not as \u escapes. */
void aic_json_put_str(struct aic_buf *b, const char *s);

/* aic_json_put_part -- a piece of a string, without the quotes around it. */
void aic_json_put_part(struct aic_buf *b, const char *s, size_t n);

#endif
