/*
 * seller_text -- the texts and numbers of a seller's figures, as they are
 * written for the model. A part of seller.h.
 *
 * Other people write the texts: a buyer writes a review, a competitor names a
 * product. So a text is always quoted in one line and shortened. What these
 * functions write outside of guillemets is digits, signs and punctuation.
 *
 * Threads: any. Errors: b->failed, in all functions that write.
 */
#ifndef AIC_SELLER_TEXT_H
#define AIC_SELLER_TEXT_H

#include <stdbool.h>
#include <stddef.h>

struct aic_buf;
struct json_object;

/*
 * No shop sells so much. A larger number is a mistake, and a double could not
 * count it exactly.
 */
#define AIC_SELLER_TEXT_HUGE 1e15

/* aic_seller_text_cut -- shorten the buffer to a length that it had before. */
void aic_seller_text_cut(struct aic_buf *b, size_t len);

/*
 * aic_seller_text_quote -- write an untrusted text in guillemets, «so», with
 * one blank for any white space, " for guillemets, and without invisible
 * characters.
 *
 * s, len     any bytes; those that are not UTF-8 are left out
 * chars_max  code points; an ellipsis shows that a text was longer
 *
 * False: the text has no visible character, and nothing is written.
 */
bool aic_seller_text_quote(struct aic_buf *b, const char *s, size_t len,
    int chars_max);

/*
 * aic_seller_text_moment -- write an ISO 8601 date or time as 28.11.2025 14:30,
 * without the time of day if that is midnight.
 *
 * The text is not quoted, because digits and punctuation are all that is
 * written. False: the text is no such time, and nothing is written.
 */
bool aic_seller_text_moment(struct aic_buf *b, const char *s, size_t len);

/*
 * aic_seller_text_group -- write 1234567.5 as "1 234 567,50" (money) or
 * "1 234 567,5". x is finite and smaller than AIC_SELLER_TEXT_HUGE.
 */
void aic_seller_text_group(struct aic_buf *b, double x, bool money);

/* aic_seller_text_is_number -- true for a JSON number. */
bool aic_seller_text_is_number(struct json_object *v);

/*
 * aic_seller_text_number -- read a field whose values are numbers: a JSON
 * number, or a text such as "12.50", which is how Python sends its decimals.
 *
 * False: not a number, or not smaller than AIC_SELLER_TEXT_HUGE.
 */
bool aic_seller_text_number(struct json_object *v, double *ret);

#endif
