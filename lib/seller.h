/*
 * seller -- turn the seller-data API's documents about a seller into a short
 * text for the model.
 *
 * The API answers {"sales", "stocks", "orders", "reviews"}, where each member
 * is an object, a list or absent. Some servers, for example wb_assist, have
 * several documents with parts of these, under other names and in envelopes.
 * The content of the parts is not specified. A table of names (seller_fields.h)
 * therefore has the Russian labels of the usual fields. Lists are counted and
 * added up, and their first items are shown. A field that the table does not
 * have is shown under its own name. Several documents become one text.
 *
 * seller.c reads a document, seller_lines.c writes its objects and lists,
 * seller_sums.c adds up lists, seller_text.c writes single values, and
 * seller_join.c makes one text of several documents.
 *
 * All data are untrusted: buyers write reviews, and competitors name products.
 * So every text, and every name that the table does not have, is shortened and
 * quoted «so» in one line, without guillemets and invisible characters inside.
 * Everything outside of guillemets is text of this program or a number.
 */
#ifndef AIC_SELLER_H
#define AIC_SELLER_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/buf.h"
#include "lib/err.h"

/*
 * A hundred items of each kind, with all fields that the Wildberries API has,
 * take half of this. A larger answer is no summary.
 */
#define AIC_SELLER_ANSWER_MAX (256 * 1024)

/* The parts of a text, in their order. */
enum aic_seller_part {
	AIC_SELLER_SHOP,
	AIC_SELLER_ORDERS,
	AIC_SELLER_SALES,
	AIC_SELLER_STOCKS,
	AIC_SELLER_REVIEWS,
	AIC_SELLER__MAX
};

/* The text of one document; NULL: the document has nothing for this part. */
struct aic_seller {
	char *part[AIC_SELLER__MAX];
};

/*
 * aic_seller_read -- read one document.
 *
 * text        the body of the seller-data API's answer, any bytes
 * chars_max   the length of the final text, in code points; it bounds the
 *             length of each part
 * ret_seller  set on AIC_OK
 *
 * Errors:   AIC_EINPUT  not a JSON object; AIC_ENOMEM
 * Memory:   gives; aic_seller_done()
 */
enum aic_code aic_seller_read(const char *text, size_t len, size_t chars_max,
    struct aic_seller *ret_seller) AIC_MUST_CHECK;

/*
 * aic_seller_done -- free; accepts a zeroed struct, and leaves a zeroed struct.
 */
void aic_seller_done(struct aic_seller *seller);

/*
 * aic_seller_join -- join n documents into one text; lines that two of the
 * documents share appear once.
 *
 * chars_max  the length of the text, in code points; if there is more, each
 *            part loses its last lines
 * ret_text   valid UTF-8 without NUL; NULL: the documents have no data
 *
 * Errors:   AIC_ENOMEM
 * Memory:   gives *ret_text; free()
 */
enum aic_code aic_seller_join(const struct aic_seller *all, int n,
    size_t chars_max, char **ret_text) AIC_MUST_CHECK;

/* aic_seller_summary -- the text of one document: read and join. */
enum aic_code aic_seller_summary(const char *text, size_t len, size_t chars_max,
    char **ret_text) AIC_MUST_CHECK;

/*
 * aic_seller_pack -- serialise, to cache the text elsewhere. Errors:
 * to->failed.
 */
void aic_seller_pack(const struct aic_seller *seller, struct aic_buf *to);

/*
 * aic_seller_unpack -- read what aic_seller_pack() wrote.
 *
 * at        moved to the first byte after it
 *
 * False: the bytes are not valid, or out of memory. Memory: gives;
 * aic_seller_done().
 */
bool aic_seller_unpack(struct aic_seller *ret_seller, const char **at,
    const char *end) AIC_MUST_CHECK;

#endif
