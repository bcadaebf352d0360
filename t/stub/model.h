/*
 * model -- what the files of the stub model share.
 *
 *	model.c		the options of the program
 *	model_loop.c	connections and events: when to read, answer and close
 *	model_request.c	reading a request
 *	model_steer.c	marks, and the plan of an answer that they make
 *	model_answer.c	writing the bytes of an answer
 *	model_count.c	what GET /count, /times and /last report
 *	model_text.c	bytes that grow, and small readers
 *
 * The program has one thread. Out of memory, it answers worse and goes on.
 */
#ifndef AIC_STUB_MODEL_H
#define AIC_STUB_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct sockaddr_in;

/* OpenAI accepts less than this, so a worker that sends more has a fault. */
#define HEAD_MAX (64 * 1024)
/* Fifty exchanges of the longest texts, all in \u escapes, still fit. */
#define BODY_MAX (4 * 1024 * 1024)
/* Far over the worker's own cap, and still no danger to a small machine. */
#define SIZE_MAX_BYTES (64 * 1024 * 1024)
/* Longer than any deadline that a test could wait for. */
#define DELAY_MAX_MS (3600 * 1000)

/* --- bytes that grow ------------------------------------------------- */

struct text {
	char *p;
	size_t len, cap;
	bool failed; /* out of memory; nothing was added */
};

bool text_grow(struct text *t, size_t more);

/* Empties the text. A text that has grown large gives its memory back. */
void text_reset(struct text *t);

/* Inline, because every answer consists of many short pieces. */
static inline void
put(struct text *t, const char *s, size_t n)
{
	if (t->cap - t->len < n && !text_grow(t, n))
		return;
	memcpy(t->p + t->len, s, n);
	t->len += n;
}

/* Inline, so that the length of a literal is a constant. */
static inline void
putz(struct text *t, const char *s)
{
	put(t, s, strlen(s));
}

void put_fill(struct text *t, char c, size_t n);
void put_u(struct text *t, uint64_t v);
void put_hex(struct text *t, uint64_t v);

/* A JSON string. Bytes from 0x80 on stay as they are, also bad UTF-8. */
void put_json(struct text *t, const char *s, size_t n);

/* Writes null for NULL and for "null". */
void put_json_or_null(struct text *t, const char *s);

/* --- small readers --------------------------------------------------- */

/* Reads a number that consists of digits alone, from min to max. */
bool
read_number(const char *s, size_t n, int64_t min, int64_t max, int64_t *ret);

/*
 * Decodes %XX. NULL: malformed, or a NUL byte, or out of memory. Gives; free().
 */
char *decode_percent(const char *s, size_t n);

bool is_blank(char c);

/* Compares bytes of a request with a word, whatever the case. */
bool is_word(const char *s, size_t n, const char *word);

/* --- a request ------------------------------------------------------- */

/* The pointers point into the buffer that the request was read from. */
struct request {
	const char *method, *path, *query, *head, *body;
	size_t method_len, path_len, query_len, head_len;
	int64_t body_len;
	bool bearer, close, expect, chunked;
	bool has_length; /* a Content-Length was read */
};

/*
 * Reads the head: n bytes, up to and with the empty line. False: it is none.
 * The caller sets r->body when it has all of it.
 */
bool request_read(struct request *r, const char *p, size_t n);

bool request_is(const struct request *r, const char *method, const char *path);

/*
 * The model's name in a body, as it stands in the JSON. It lives until
 * request_done(). Where it cannot be kept, the name of a usual model.
 */
const char *request_model(const char *body, size_t n);

void request_done(void);

/* --- marks and plans ------------------------------------------------- */

enum body {
	BODY_JSON,
	BODY_BROKEN,
	BODY_CUT,
	BODY_HTML,
	BODY_EMPTY,
	BODY_WRONG,
	BODY_NOCHOICES,
	BODY_ERROR,
	BODY_NULL,
	BODY_BLANK,
	BODY_REFUSAL,
	BODY_FILTER,
	BODY_LENGTH,
	BODY_LENGTH_EMPTY,
	BODY_TOOLS,
	BODY_NOUSAGE,
	BODY_BADUTF8,
	BODY_SURROGATE,
	BODY_NUL,
	BODY_HUGE,
	BODY_TEXT,
	BODY__MAX
};

enum closing { CLOSE_BEFORE, CLOSE_HEADERS, CLOSE_MIDDLE, CLOSE_RESET };

/*
 * What the marks of a request ask for. A number or word that they do not have
 * is -1, a string NULL.
 */
struct plan {
	int64_t delay, status, times, body, size, closing, chunked, drip;
	int64_t unsupported, hang, headerflood, echo, keepclose, repeat;
	char *id, *code, *type, *param, *errmsg, *text, *tokens, *redirect,
	    *raw;
	char *retry_after, *retry_after_ms, *should_retry;
	char *said; /* the message without its mark, for echo= */
};

/* True if the body may have a mark. Fast, because most bodies have none. */
bool plan_is_needed(const char *body, size_t n);

/*
 * Makes the plan of a request, and counts the request under the id that a mark
 * gives it. NULL on success, else what is wrong with the request; *ret_plan is
 * then NULL. Gives *ret_plan; plan_free().
 */
const char *plan_make(const struct request *r, struct plan **ret_plan);

/* Accepts NULL. */
void plan_free(struct plan *pl);

/* The keys of a mark, one a line, for --help. */
void plan_print_keys(FILE *to);

/* --- answers --------------------------------------------------------- */

/* A completion that was asked for. */
struct question {
	struct plan *plan; /* NULL: a request without marks */
	const char *model;
	uint64_t prompt_tokens;
};

/* About the number of tokens of so many bytes of JSON with Russian in UTF-8. */
uint64_t answer_tokens(size_t bytes);

/* Writes a body. The value is its content type. */
const char *
answer_body(struct text *t, const struct question *q, int *ret_status);

/*
 * Writes OpenAI's error object. What pl has overrides message and code; where
 * neither has them, they are the usual ones of the status. pl and message may
 * be NULL.
 */
void answer_error_body(struct text *t, int status, const struct plan *pl,
    const char *message, const char *code);

/* Writes a body again, in chunks. */
void answer_chunks(struct text *t, const struct text *body);

/* chunked: the answer has Transfer-Encoding instead of a Content-Length. */
struct answer_head {
	int status;
	const char *content_type;
	const struct plan *plan; /* NULL: none */
	size_t length;
	bool close, chunked;
};

void answer_head(struct text *t, const struct answer_head *head);

/* --- counts ---------------------------------------------------------- */

/* What the counts hold of one connection. */
struct counted {
	bool carried; /* it brought a completion, ever */
	bool busy; /* a completion is not settled yet */
	unsigned gen; /* number of resets when that one was counted */
	unsigned seen_gen; /* the same of the connection; 0: not counted */
};

/* False: out of memory. */
bool count_open(void);
void count_close(void);
void count_reset(void);

void count_request(struct counted *c);

/* All bytes of the answer are with the kernel. */
void count_answered(const struct counted *c);

/* The request is no longer pending, whatever became of it. */
void count_settled(struct counted *c);

/* The connection ends. by_client: the client closed it. */
void count_closed(struct counted *c, bool by_client);

/* r is the last request; only if keep is true /last can show it. */
void count_last(const struct request *r, bool keep);

/*
 * Counts the last request under an id. The value is the number of requests of
 * this id; 0: there are too many ids.
 */
uint64_t count_id(const char *id);

/* Bodies of /count, /count?id=, /times?id= and /last; id may be NULL there. */
void put_counts(struct text *t);
void put_count_of(struct text *t, const char *id);
void put_times(struct text *t, const char *id);

/* False: no such request was kept, and nothing is written. */
bool put_last(struct text *t, const char *id);

/* --- the loop -------------------------------------------------------- */

struct loop_options {
	const char *port_file; /* NULL: none */
	int64_t delay_ms; /* before each answer */
	bool record; /* keep requests without marks for /last, too */
};

/*
 * Serves until SIGTERM or SIGINT. addr is where to listen, and receives the
 * port. The value is the exit status.
 */
int loop_run(struct sockaddr_in *addr, const struct loop_options *options);

#endif
