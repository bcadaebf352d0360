/*
 * ai-chat-model -- a stand-in for the model, for trying out and for tests.
 *
 * Speaks the part of OpenAI's wire that the worker uses: POST to any path
 * that ends in /chat/completions, with a bearer key of any value.  It answers
 * every question with the same advice, unless the request says otherwise.
 *
 * Steering.  A mark, [[key=value key=value ...]], in the last element of
 * "messages" (when its role is "user"), or in the name of the model, says how
 * to answer.  Values hold no blanks; %XX stands for a byte.  Where a text has
 * several marks its last one counts.  When message and model name both have
 * one, both hold, and the message's keys win.  Neither earlier messages nor the
 * seller's data steer, so an exchange that comes back as context does no harm.  Any [[word=...]]
 * is a mark; a key or value that is not known is answered with a 400 whose
 * code is "bad_mark", so that a slip in a test shows.
 *
 * The keys are in the table below, and --help prints them.  They combine:
 * status=502 body=html retry_after=3 delay=100 is one answer.  With a status
 * of 400 or more the body is OpenAI's error object unless body= is given.
 * With times=N id=NAME the first N requests of that name misbehave; later
 * ones get a normal answer, for which only text=, repeat=, echo= and tokens=
 * hold.
 *
 * Control, without a key:
 *	GET /health		200 {"status":"ok"}
 *	GET /count		requests, answered, connections, open,
 *				closed_early, pending, peak, by_id
 *	GET /count?id=NAME	{"id":NAME,"requests":n}
 *	GET /times?id=NAME	arrivals, in ms of a monotonic clock
 *	GET /last[?id=NAME]	the last request: {"headers":{},"body":{}}
 *	POST /reset		forgets all of the above
 *
 * A request is counted when all of it has arrived, whatever becomes of it.
 * "answered" are answers sent in full, of any status; "closed_early" are
 * clients that left before that; "pending" are requests not settled yet and
 * "peak" the most there have been at once.  "connections" and "open" count
 * the connections that brought a completion, so not those of /count itself.
 *
 * Plain requests, those without "[[" in the body, take a short way: their
 * JSON is not parsed and nothing of them is kept (--record keeps it).
 *
 * Not evhttp, because broken answers must be possible; and not bufferevent,
 * because a bufferevent arms and disarms its write event for every answer,
 * which is two system calls more than the answer needs.
 */

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/listener.h>

#include <json-c/json.h>
#include <json-c/linkhash.h>

/* OpenAI asks for less than this, so a worker that sends more has a fault. */
#define HEAD_MAX (64 * 1024)
/* Fifty exchanges of the longest texts, all in \u escapes, still fit. */
#define BODY_MAX (4 * 1024 * 1024)
/* Takes a usual request in one read; one for all, since there is one loop. */
#define READ_BYTES (256 * 1024)
/* More names than any test uses; bounds what a runaway test can hold. */
#define IDS_MAX 10000
#define ID_MAX 64
/* A test of back-off looks at a handful, one of a crowd at hundreds. */
#define TIMES_MAX 1000
/* The longest request of default settings; a longer one is not kept... */
#define KEEP_MAX (256 * 1024)
/* ...nor any more of them than this in all. */
#define KEEP_TOTAL (64 * 1024 * 1024)
/* Far over the worker's own cap, and still no danger to a small machine. */
#define SIZE_MAX_BYTES (64 * 1024 * 1024)
#define SIZE_DEFAULT (2 * 1024 * 1024)
/* Longer than any deadline a test could wait for. */
#define DELAY_MAX_MS (3600 * 1000)
/* Names of models to give back; past these the answer names the default. */
#define MODELS_MAX 64
#define MODEL_MAX 256
/* As long a queue as Linux allows by default: a benchmark connects at once. */
#define BACKLOG 4096
/* Lets a client read why it was refused before its connection goes. */
#define LINGER_MS 1000
/* How long to wait for descriptors to be freed when there are none. */
#define ACCEPT_PAUSE_MS 50
/* A scratch buffer that grew over this is given back after the answer. */
#define SCRATCH_MAX (1024 * 1024)

#define MODEL_DEFAULT "gpt-4o-mini"

/* As it stands in the JSON, so that the short way need not escape it. */
static const char advice[] =
    "📊 Коротко о ваших продажах на Wildberries\\n\\n"
    "1️⃣ Где теряются заказы\\n"
    "• Откройте воронку за 7 и 30 дней: показы → переходы → корзина → "
    "заказы.\\n"
    "• Мало переходов — пробуйте другое главное фото и цену; мало корзин — "
    "дополните описание, характеристики и отзывы.\\n\\n"
    "2️⃣ Остатки 📦\\n"
    "• Оборачиваемость = остаток / средние заказы в день. Меньше 14 дней — "
    "планируйте поставку уже сейчас.\\n"
    "• Держите товар на 3–4 складах: срок доставки влияет на место в "
    "выдаче.\\n\\n"
    "3️⃣ Цена 💰\\n"
    "• Сравните её с пятью ближайшими конкурентами и проверьте маржу с "
    "учётом комиссии, логистики и хранения.\\n\\n"
    "4️⃣ Реклама 🚀\\n"
    "• Оставьте запросы, которые окупаются, остальные отключите на неделю и "
    "сравните.\\n\\n"
    "✅ Первый шаг: выпишите 5 артикулов с наибольшей выручкой и проверьте "
    "по ним остатки. Пришлите цифры — разберём подробнее.";

/*
 * Bytes that grow; two of them hold the head and the body of the answer
 * that is being made.
 */
struct text {
	char *p;
	size_t len, cap;
	bool failed; /* out of memory; nothing was added */
};

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

static const char *const body_words[] = { "json", "broken", "cut", "html",
	"empty", "wrong", "nochoices", "error", "null", "blank", "refusal",
	"filter", "length", "length_empty", "tools", "nousage", "badutf8",
	"surrogate", "nul", "huge", "text", NULL };
_Static_assert(sizeof(body_words) / sizeof(body_words[0]) == BODY__MAX + 1,
    "a word for each body");

enum closing { CLOSE_BEFORE, CLOSE_HEADERS, CLOSE_MIDDLE, CLOSE_RESET };
static const char *const close_words[] = { "before", "headers", "middle",
	"reset", NULL };

enum unsupported { NOT_MAX_TOKENS, NOT_TEMPERATURE, NOT_BOTH };
static const char *const unsupported_words[] = { "max_tokens", "temperature",
	"both", NULL };

/* The message of the only choice, and why it ended, for an odd body. */
static const struct shape {
	const char *message, *finish;
} shapes[BODY__MAX] = {
	[BODY_NULL] = { "\"content\":null,\"refusal\":null", "stop" },
	[BODY_BLANK] = { "\"content\":\" \\n\\t\\u00a0 \",\"refusal\":null",
	    "stop" },
	[BODY_REFUSAL] = { "\"content\":null,"
			   "\"refusal\":\"I cannot help with that.\"",
	    "stop" },
	[BODY_FILTER] = { "\"content\":\"Начало ответа, котор\","
			  "\"refusal\":null",
	    "content_filter" },
	[BODY_LENGTH] = { "\"content\":\"Ответ, который оборвался на\","
			  "\"refusal\":null",
	    "length" },
	[BODY_LENGTH_EMPTY] = { "\"content\":\"\",\"refusal\":null", "length" },
	[BODY_TOOLS] = { "\"content\":null,\"refusal\":null,\"tool_calls\":"
			 "[{\"id\":\"call_1\",\"type\":\"function\","
			 "\"function\":"
			 "{\"name\":\"stocks\",\"arguments\":\"{}\"}}]",
	    "tool_calls" },
	[BODY_BADUTF8] = { "\"content\":\"Привет \xff\xfe \xc3\x28 \xd0\","
			   "\"refusal\":null",
	    "stop" },
	[BODY_SURROGATE] = { "\"content\":\"Привет \\ud800 мир\","
			     "\"refusal\":null",
	    "stop" },
	[BODY_NUL] = { "\"content\":\"Привет\\u0000мир\",\"refusal\":null",
	    "stop" },
};

/* What a mark asked for; numbers are -1 and strings NULL when it did not. */
struct plan {
	int64_t delay, status, times, body, size, closing, chunked, drip;
	int64_t unsupported, hang, headerflood, echo, keepclose, repeat;
	char *id, *code, *type, *param, *errmsg, *text, *tokens, *redirect,
	    *raw;
	char *retry_after, *retry_after_ms, *should_retry;
	char *said; /* the message without its mark, for echo= */
};

enum kind { NUMBER, WORD, STRING, NAME };

#define AT(field) offsetof(struct plan, field)

static const struct key {
	const char *name;
	enum kind kind;
	size_t at;
	int64_t min, max;
	const char *const *words;
	const char *help;
} keys[] = {
	{ "delay", NUMBER, AT(delay), 0, DELAY_MAX_MS, NULL,
	    "MS before the answer" },
	{ "status", NUMBER, AT(status), 200, 599, NULL,
	    "N, with OpenAI's error object from 400 on" },
	{ "code", STRING, AT(code), 0, 0, NULL,
	    "error.code (\"null\" for null)" },
	{ "type", STRING, AT(type), 0, 0, NULL, "error.type" },
	{ "param", STRING, AT(param), 0, 0, NULL, "error.param" },
	{ "errmsg", STRING, AT(errmsg), 0, 0, NULL, "error.message" },
	{ "retry_after", STRING, AT(retry_after), 0, 0, NULL,
	    "Retry-After, verbatim" },
	{ "retry_after_ms", STRING, AT(retry_after_ms), 0, 0, NULL,
	    "retry-after-ms, verbatim" },
	{ "should_retry", STRING, AT(should_retry), 0, 0, NULL,
	    "x-should-retry, verbatim" },
	{ "id", NAME, AT(id), 0, 0, NULL,
	    "NAME to count by, 1-64 of A-Za-z0-9._-" },
	{ "times", NUMBER, AT(times), 0, 1000000, NULL,
	    "N, misbehave for the first N of this id only" },
	{ "body", WORD, AT(body), 0, 0, body_words, NULL },
	{ "raw", STRING, AT(raw), 0, 0, NULL,
	    "the body of the answer, whatever its status, byte for byte" },
	{ "size", NUMBER, AT(size), 0, SIZE_MAX_BYTES, NULL,
	    "BYTES of content for body=huge (default 2 MiB)" },
	{ "text", STRING, AT(text), 0, 0, NULL, "the content of the answer" },
	{ "repeat", NUMBER, AT(repeat), 1, SIZE_MAX_BYTES, NULL,
	    "N, times text= over, up to the most bytes of size=" },
	{ "echo", NUMBER, AT(echo), 0, 1, NULL,
	    "1: the content is the message without its mark" },
	{ "tokens", STRING, AT(tokens), 0, 0, NULL,
	    "usage.total_tokens, put into the JSON as it is" },
	{ "close", WORD, AT(closing), 0, 0, close_words, NULL },
	{ "chunked", NUMBER, AT(chunked), 0, 1, NULL,
	    "1: in chunks, without Content-Length" },
	{ "drip", NUMBER, AT(drip), 0, DELAY_MAX_MS, NULL,
	    "MS between any two bytes, head included" },
	{ "unsupported", WORD, AT(unsupported), 0, 0, unsupported_words, NULL },
	{ "hang", NUMBER, AT(hang), 0, 1, NULL, "1: never answer" },
	{ "headerflood", NUMBER, AT(headerflood), 0, SIZE_MAX_BYTES, NULL,
	    "BYTES of more headers" },
	{ "redirect", STRING, AT(redirect), 0, 0, NULL,
	    "URL, 302 with Location" },
	{ "keepclose", NUMBER, AT(keepclose), 0, 1, NULL,
	    "1: answer, then close when the next request comes" },
};
#define NKEYS (sizeof(keys) / sizeof(keys[0]))

/* What the error object says when the mark gives the status alone. */
static const struct failure {
	int status;
	const char *reason, *type, *code, *message;
} failures[] = {
	{ 400, "Bad Request", "invalid_request_error", NULL,
	    "The request is not valid." },
	{ 401, "Unauthorized", "invalid_request_error", "invalid_api_key",
	    "Incorrect API key provided." },
	{ 403, "Forbidden", "invalid_request_error",
	    "unsupported_country_region_territory",
	    "This place is not served." },
	{ 404, "Not Found", "invalid_request_error", "model_not_found",
	    "The model does not exist." },
	{ 408, "Request Timeout", "timeout", NULL,
	    "The request took too long." },
	{ 409, "Conflict", "conflict", NULL, "Try again." },
	{ 411, "Length Required", "invalid_request_error", NULL,
	    "A Content-Length is needed." },
	{ 413, "Payload Too Large", "invalid_request_error", NULL,
	    "The body is too large." },
	{ 422, "Unprocessable Entity", "invalid_request_error", NULL,
	    "The request could not be processed." },
	{ 429, "Too Many Requests", "requests", "rate_limit_exceeded",
	    "Rate limit reached." },
	{ 431, "Request Header Fields Too Large", "invalid_request_error", NULL,
	    "The head is too large." },
	{ 500, "Internal Server Error", "server_error", NULL,
	    "The server had an error." },
	{ 502, "Bad Gateway", "server_error", NULL, "Bad gateway." },
	{ 503, "Service Unavailable", "service_unavailable_error",
	    "server_is_overloaded", "The server is overloaded." },
	{ 504, "Gateway Timeout", "server_error", NULL, "Gateway timeout." },
};

/* One request, head and body, shared by its id and by "the last of all". */
struct kept {
	unsigned refs;
	bool whole; /* not over the limits; else only the head */
	size_t head_len, body_len;
	char bytes[];
};

struct tally {
	uint64_t requests;
	int64_t *times_us;
	size_t ntimes, cap;
	struct kept *last;
};

enum state {
	READING, /* for a request, or idle */
	WAITING, /* for the answer's time */
	HANGING, /* for the client to give up */
	WRITING, /* for the socket to take the rest */
	DRIPPING,
	DRAINING /* refused; lets the client finish */
};

struct conn {
	LIST_ENTRY(conn) entry;
	int fd;
	enum state state;
	struct event rd, wr, timer;
	struct evbuffer *in, *out; /* made when first needed */
	struct plan *plan; /* of the request at hand, or NULL */
	const char *model; /* as JSON, lives for ever */
	size_t need; /* bytes of a request half read */
	uint64_t prompt_tokens;
	unsigned gen; /* of the counts it belongs to */
	unsigned seen_gen; /* in which it was last counted */
	bool carried; /* it brought a completion, ever */
	bool busy; /* a completion is not settled yet */
	bool cut; /* the answer is cut short on purpose */
	bool close_after;
	bool drain; /* refuse, then wait for the client's end */
	bool doomed; /* keepclose: close at the next request */
	bool continued; /* 100 Continue was sent */
	bool dead; /* to be freed on the way out */
	bool ours; /* it is us who closes */
};

struct request {
	const char *method, *path, *query, *head, *body;
	size_t method_len, path_len, query_len, head_len;
	int64_t body_len;
	bool bearer, close, expect, chunked, twice;
};

static struct {
	struct event_base *base;
	struct evconnlistener *listener;
	struct event *relisten;
	LIST_HEAD(conn_list, conn) conns;
	struct text head, body, enc; /* of the answer being made */
	const struct timeval *delay_tv; /* common timeout of --delay */
	int64_t delay_ms;
	bool record;

	uint64_t serial;
	uint64_t requests, answered, connections, closed_early;
	uint64_t open, pending, peak;
	unsigned gen;
	struct lh_table *tallies;
	struct kept *last;
	size_t kept_bytes;

	char *models[MODELS_MAX];
	size_t model_len[MODELS_MAX], nmodels;

	char rbuf[READ_BYTES];
} g = { .gen = 1 };

static void conn_free(struct conn *c);
static void drive(struct conn *c);

/*
 * Text.
 */

static bool
text_grow(struct text *t, size_t more)
{
	size_t cap;
	char *p;

	cap = t->cap > 0 ? t->cap : 4096;
	while (cap - t->len < more)
		cap *= 2;
	p = realloc(t->p, cap);
	if (p == NULL) {
		t->failed = true;
		return false;
	}
	t->p = p;
	t->cap = cap;
	return true;
}

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

static void
put_fill(struct text *t, char c, size_t n)
{
	if (t->cap - t->len < n && !text_grow(t, n))
		return;
	memset(t->p + t->len, c, n);
	t->len += n;
}

static void
put_u(struct text *t, uint64_t v)
{
	char buf[20], *p = buf + sizeof(buf);

	do {
		*--p = (char)('0' + v % 10);
		v /= 10;
	} while (v > 0);
	put(t, p, (size_t)(buf + sizeof(buf) - p));
}

static void
put_hex(struct text *t, uint64_t v)
{
	char buf[16];
	int i;

	for (i = 15; i >= 0; i--, v >>= 4)
		buf[i] = "0123456789abcdef"[v & 15];
	put(t, buf, sizeof(buf));
}

/* Bytes from 0x80 on go out as they are, so a test can send bad UTF-8. */
static void
put_json(struct text *t, const char *s, size_t n)
{
	static const char hex[] = "0123456789abcdef";
	size_t i, from;
	char esc[6] = { '\\', 'u', '0', '0' };
	unsigned char c;

	putz(t, "\"");
	for (i = from = 0; i < n; i++) {
		c = (unsigned char)s[i];
		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		put(t, s + from, i - from);
		from = i + 1;
		if (c < 0x20) {
			esc[4] = hex[c >> 4];
			esc[5] = hex[c & 15];
			put(t, esc, 6);
		} else {
			put(t, "\\", 1);
			put(t, s + i, 1);
		}
	}
	put(t, s + from, n - from);
	putz(t, "\"");
}

static void
put_json_or_null(struct text *t, const char *s)
{
	if (s == NULL || strcmp(s, "null") == 0)
		putz(t, "null");
	else
		put_json(t, s, strlen(s));
}

static void
text_reset(struct text *t)
{
	if (t->cap > SCRATCH_MAX) {
		free(t->p);
		t->p = NULL;
		t->cap = 0;
	}
	t->len = 0;
	t->failed = false;
}

/*
 * Small tools.
 */

static int64_t
now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static struct timeval
ms_tv(int64_t ms)
{
	return (struct timeval){ .tv_sec = ms / 1000,
		.tv_usec = (ms % 1000) * 1000 };
}

/* A number of digits alone, from min to max. */
static bool
read_number(const char *s, size_t n, int64_t min, int64_t max, int64_t *ret)
{
	int64_t v = 0;
	size_t i;

	if (n == 0 || n > 18)
		return false;
	for (i = 0; i < n; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		v = v * 10 + (s[i] - '0');
	}
	if (v < min || v > max)
		return false;
	*ret = v;
	return true;
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/*
 * Undoes %XX.  NULL where that is malformed or gives a NUL, which no string
 * of ours could hold, and when out of memory.
 */
static char *
decode(const char *s, size_t n)
{
	char *out;
	size_t i, len = 0;
	int hi, lo;

	out = malloc(n + 1);
	if (out == NULL)
		return NULL;
	for (i = 0; i < n; i++) {
		if (s[i] != '%') {
			out[len++] = s[i];
			continue;
		}
		hi = i + 2 < n ? hex_digit(s[i + 1]) : -1;
		lo = i + 2 < n ? hex_digit(s[i + 2]) : -1;
		if (hi < 0 || lo < 0 || hi + lo == 0) {
			free(out);
			return NULL;
		}
		out[len++] = (char)(hi * 16 + lo);
		i += 2;
	}
	out[len] = '\0';
	return out;
}

static bool
is_name(const char *s)
{
	size_t n = strlen(s);

	return n >= 1 && n <= ID_MAX &&
	    strspn(s,
		"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
		"abcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

static bool
has_control(const char *s)
{
	for (; *s != '\0'; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return true;
	return false;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* A word of ours against bytes of the wire, whatever its case. */
static bool
is_word(const char *s, size_t n, const char *word)
{
	return n == strlen(word) && strncasecmp(s, word, n) == 0;
}

/*
 * Marks and plans.
 */

static void
plan_free(struct plan *pl)
{
	size_t i;

	if (pl == NULL)
		return;
	for (i = 0; i < NKEYS; i++)
		if (keys[i].kind == STRING || keys[i].kind == NAME)
			free(*(char **)(void *)((char *)pl + keys[i].at));
	free(pl->said);
	free(pl);
}

static struct plan *
plan_new(void)
{
	struct plan *pl;
	size_t i;

	pl = calloc(1, sizeof(*pl));
	if (pl == NULL)
		return NULL;
	for (i = 0; i < NKEYS; i++)
		if (keys[i].kind == NUMBER || keys[i].kind == WORD)
			*(int64_t *)(void *)((char *)pl + keys[i].at) = -1;
	return pl;
}

/* Its id has misbehaved often enough: all but the content is forgotten. */
static void
plan_calm(struct plan *pl)
{
	pl->delay = pl->status = pl->body = pl->closing = pl->chunked = -1;
	pl->drip = pl->unsupported = pl->hang = pl->headerflood = -1;
	pl->keepclose = -1;
	free(pl->raw);
	free(pl->redirect);
	free(pl->retry_after);
	free(pl->retry_after_ms);
	free(pl->should_retry);
	pl->raw = pl->redirect = pl->retry_after = NULL;
	pl->retry_after_ms = pl->should_retry = NULL;
}

/* Is there anything that could be a mark?  Fast, for the plain case. */
static bool
may_be_marked(const char *p, size_t n)
{
	const char *end = p + n;

	for (;;) {
		p = memchr(p, '[', (size_t)(end - p));
		if (p == NULL || ++p == end)
			return false;
		if (*p == '[')
			return true;
	}
}

/* The last mark of a text: its inside, NULL when there is none. */
static const char *
find_mark(const char *s, size_t n, size_t *ret_len)
{
	const char *in, *end, *p;
	size_t i;

	for (i = n; i-- > 0;) {
		if (n - i < 4 || s[i] != '[' || s[i + 1] != '[')
			continue;
		in = s + i + 2;
		for (p = in;
		     p < s + n && ((*p >= 'a' && *p <= 'z') || *p == '_'); p++)
			;
		if (p == in || p == s + n || *p != '=')
			continue;
		end = memmem(p, (size_t)(s + n - p), "]]", 2);
		if (end == NULL)
			continue;
		*ret_len = (size_t)(end - in);
		return in;
	}
	return NULL;
}

/* One key=value.  What is wrong with it, or NULL. */
static const char *
plan_set(struct plan *pl, const char *s, size_t n)
{
	const struct key *k;
	const char *eq;
	char *value, **str;
	int64_t *num;
	size_t i, w;

	eq = memchr(s, '=', n);
	if (eq == NULL)
		return "a key without a value";
	for (i = 0, k = NULL; i < NKEYS; i++)
		if (strlen(keys[i].name) == (size_t)(eq - s) &&
		    memcmp(keys[i].name, s, (size_t)(eq - s)) == 0)
			k = &keys[i];
	if (k == NULL)
		return "an unknown key";
	value = decode(eq + 1, (size_t)(s + n - eq - 1));
	if (value == NULL)
		return "a malformed %XX";

	if (k->kind == STRING || k->kind == NAME) {
		/* Of all strings only content and body may hold a line break. */
		if ((k->kind == NAME && !is_name(value)) ||
		    (k->at != AT(text) && k->at != AT(raw) &&
			has_control(value))) {
			free(value);
			return "a bad name or a control character";
		}
		str = (char **)(void *)((char *)pl + k->at);
		free(*str);
		*str = value;
		return NULL;
	}
	num = (int64_t *)(void *)((char *)pl + k->at);
	if (k->kind == WORD) {
		for (w = 0; k->words[w] != NULL; w++)
			if (strcmp(k->words[w], value) == 0)
				break;
		if (k->words[w] != NULL) {
			*num = (int64_t)w;
			free(value);
			return NULL;
		}
	} else if (read_number(value, strlen(value), k->min, k->max, num)) {
		free(value);
		return NULL;
	}
	free(value);
	return "an unknown word or a number out of range";
}

/* The inside of a mark.  What is wrong with it, or NULL. */
static const char *
plan_read(struct plan *pl, const char *s, size_t n)
{
	const char *why, *end = s + n, *p;

	for (;;) {
		while (s < end && is_blank(*s))
			s++;
		if (s == end)
			return NULL;
		for (p = s; p < end && !is_blank(*p); p++)
			;
		why = plan_set(pl, s, (size_t)(p - s));
		if (why != NULL)
			return why;
		s = p;
	}
}

/* A text without its mark and without blanks at its ends. */
static char *
without_mark(const char *s, size_t n, const char *in, size_t in_len)
{
	char *out;
	size_t before, after, from = 0;

	out = malloc(n + 1);
	if (out == NULL)
		return NULL;
	before = in == NULL ? n : (size_t)(in - 2 - s);
	after = in == NULL ? 0 : n - before - in_len - 4;
	memcpy(out, s, before);
	if (after > 0)
		memcpy(out + before, s + n - after, after);
	n = before + after;
	while (n > 0 && is_blank(out[n - 1]))
		n--;
	while (from < n && is_blank(out[from]))
		from++;
	memmove(out, out + from, n - from);
	out[n - from] = '\0';
	return out;
}

/* Refuses a parameter as newer models do, when the request carries it. */
static bool
plan_refuse(struct plan *pl, struct json_object *root)
{
	struct json_object *v;
	const char *param, *code;
	char *msg;
	bool tokens, temperature;

	tokens = pl->unsupported != NOT_TEMPERATURE &&
	    json_object_object_get_ex(root, "max_tokens", NULL);
	temperature = pl->unsupported != NOT_MAX_TOKENS &&
	    json_object_object_get_ex(root, "temperature", &v) &&
	    json_object_get_double(v) != 1.0;
	if (tokens) {
		param = "max_tokens";
		code = "unsupported_parameter";
		if (asprintf(&msg,
			"Unsupported parameter: 'max_tokens' is "
			"not supported with this model. Use "
			"'max_completion_tokens' instead.") < 0)
			return false;
	} else if (temperature) {
		param = "temperature";
		code = "unsupported_value";
		if (asprintf(&msg,
			"Unsupported value: 'temperature' does "
			"not support %s with this model. Only the default (1) "
			"value is supported.",
			json_object_to_json_string(v)) < 0)
			return false;
	} else
		return true;

	free(pl->param);
	free(pl->code);
	free(pl->errmsg);
	pl->param = strdup(param);
	pl->code = strdup(code);
	pl->errmsg = msg;
	pl->status = 400;
	pl->body = -1;
	return pl->param != NULL && pl->code != NULL;
}

/* The question in the last message, which comes behind the seller's data. */
static const char *
question_of(const char *s, size_t *n)
{
	static const char tag[] = "\n</seller-data-00000000>\n\n";
	const char *end = memmem(s, *n, tag,
	    sizeof(tag) - sizeof("00000000>\n\n"));
	size_t skip;

	if (end == NULL)
		return s;
	skip = (size_t)(end - s) + sizeof(tag) - 1;
	if (skip > *n)
		return s;
	*n -= skip;
	return s + skip;
}

/*
 * What is remembered of requests.
 */

static void
kept_unref(struct kept *k)
{
	if (k == NULL || --k->refs > 0)
		return;
	g.kept_bytes -= k->head_len + (k->whole ? k->body_len : 0);
	free(k);
}

static struct kept *
kept_new(const struct request *r)
{
	struct kept *k;
	size_t body_len = (size_t)r->body_len, n = r->head_len;
	bool whole;

	whole = n + body_len <= KEEP_MAX &&
	    g.kept_bytes + n + body_len <= KEEP_TOTAL;
	if (whole)
		n += body_len;
	k = malloc(sizeof(*k) + n);
	if (k == NULL)
		return NULL;
	k->refs = 1;
	k->whole = whole;
	k->head_len = r->head_len;
	k->body_len = body_len;
	memcpy(k->bytes, r->head, r->head_len);
	if (whole)
		memcpy(k->bytes + r->head_len, r->body, body_len);
	g.kept_bytes += n;
	return k;
}

static void
tally_free(struct lh_entry *e)
{
	struct tally *t = lh_entry_v(e);

	kept_unref(t->last);
	free(t->times_us);
	free(t);
	free(lh_entry_k(e));
}

static struct tally *
tally_find(const char *id)
{
	void *v;

	return lh_table_lookup_ex(g.tallies, id, &v) ? v : NULL;
}

static struct tally *
tally_make(const char *id)
{
	struct tally *t;
	char *name;

	t = tally_find(id);
	if (t != NULL || lh_table_length(g.tallies) >= IDS_MAX)
		return t;
	t = calloc(1, sizeof(*t));
	name = strdup(id);
	if (t == NULL || name == NULL ||
	    lh_table_insert(g.tallies, name, t) != 0) {
		free(name);
		free(t);
		return NULL;
	}
	return t;
}

static void
tally_add(struct tally *t, struct kept *k)
{
	int64_t *p;
	size_t cap;

	t->requests++;
	if (k != NULL) {
		k->refs++;
		kept_unref(t->last);
		t->last = k;
	}
	if (t->ntimes == t->cap && t->cap < TIMES_MAX) {
		cap = t->cap == 0 ? 8 : t->cap * 2;
		p = realloc(t->times_us, cap * sizeof(*p));
		if (p == NULL)
			return;
		t->times_us = p;
		t->cap = cap;
	}
	if (t->ntimes < t->cap && t->ntimes < TIMES_MAX)
		t->times_us[t->ntimes++] = now_us();
}

static struct lh_table *
tallies_new(void)
{
	return lh_kchar_table_new(64, tally_free);
}

/*
 * Making answers.
 */

static const struct failure *
failure_of(int status)
{
	size_t i, last = sizeof(failures) / sizeof(failures[0]) - 1;

	for (i = 0; i < last; i++)
		if (failures[i].status == status)
			break;
	return failures[i].status == status ? &failures[i] : NULL;
}

static const char *
reason_of(int status)
{
	const struct failure *f = failure_of(status);

	if (f != NULL)
		return f->reason;
	if (status == 200)
		return "OK";
	return status == 302 ? "Found" : "Other";
}

static void
error_body(struct text *t, int status, const struct plan *pl,
    const char *message, const char *code)
{
	const struct failure *f;
	const char *type, *param = NULL;

	f = failure_of(status);
	if (f == NULL)
		f = failure_of(status < 500 ? 400 : 500);
	type = f->type;
	if (message == NULL) {
		message = f->message;
		code = f->code;
	}
	if (pl != NULL) {
		code = pl->code != NULL ? pl->code : code;
		type = pl->type != NULL ? pl->type : type;
		message = pl->errmsg != NULL ? pl->errmsg : message;
		param = pl->param;
	}
	putz(t, "{\"error\":{\"message\":");
	put_json_or_null(t, message);
	putz(t, ",\"type\":");
	put_json_or_null(t, type);
	putz(t, ",\"param\":");
	put_json_or_null(t, param);
	putz(t, ",\"code\":");
	put_json_or_null(t, code);
	putz(t, "}}");
}

/* About what a tokenizer makes of Russian in UTF-8, and of JSON round it. */
static uint64_t
tokens_of(size_t bytes)
{
	return bytes / 4 + 1;
}

static void
put_repeated(struct text *t, const char *s, int64_t times)
{
	size_t start = t->len, n;

	put_json(t, s, strlen(s));
	if (t->failed || t->len == start + 2)
		return;
	/* What is between the quotes, again. */
	n = --t->len - ++start;
	for (; times > 1 && t->len - start + n <= SIZE_MAX_BYTES; times--) {
		if (t->cap - t->len < n && !text_grow(t, n))
			return;
		put(t, t->p + start, n);
	}
	putz(t, "\"");
}

static void
put_content(struct text *t, enum body body, const struct plan *pl)
{
	putz(t, "\"content\":");
	if (body == BODY_HUGE) {
		putz(t, "\"");
		put_fill(t, 'x',
		    (size_t)(pl->size < 0 ? SIZE_DEFAULT : pl->size));
		putz(t, "\"");
	} else if (body == BODY_TEXT)
		put_repeated(t, pl->text == NULL ? "" : pl->text, pl->repeat);
	else if (pl != NULL && pl->echo > 0 && pl->said != NULL)
		put_json(t, pl->said, strlen(pl->said));
	else {
		putz(t, "\"");
		put(t, advice, sizeof(advice) - 1);
		putz(t, "\"");
	}
	putz(t, ",\"refusal\":null");
}

/* A completion, of whatever shape. */
static void
completion_body(struct text *t, const struct conn *c, enum body body)
{
	const struct shape *shape = &shapes[body];
	const struct plan *pl = c->plan;
	uint64_t tokens;
	size_t from;

	putz(t, "{\"id\":\"chatcmpl-");
	put_hex(t, g.serial);
	putz(t, "\",\"object\":\"chat.completion\",\"created\":");
	put_u(t, (uint64_t)time(NULL));
	putz(t, ",\"model\":\"");
	putz(t, c->model);
	putz(t, "\",\"choices\":[");
	from = t->len;
	if (body != BODY_NOCHOICES) {
		putz(t, "{\"index\":0,\"message\":{\"role\":\"assistant\",");
		if (shape->message != NULL)
			putz(t, shape->message);
		else
			put_content(t, body, pl);
		putz(t, "},\"logprobs\":null,\"finish_reason\":\"");
		putz(t, shape->finish != NULL ? shape->finish : "stop");
		putz(t, "\"}");
	}
	tokens = tokens_of(t->len - from);
	putz(t, "]");
	if (body != BODY_NOUSAGE) {
		putz(t, ",\"usage\":{\"prompt_tokens\":");
		put_u(t, c->prompt_tokens);
		putz(t, ",\"completion_tokens\":");
		put_u(t, tokens);
		putz(t, ",\"total_tokens\":");
		if (pl != NULL && pl->tokens != NULL)
			putz(t, pl->tokens);
		else
			put_u(t, c->prompt_tokens + tokens);
		putz(t, "}");
	}
	putz(t, ",\"system_fingerprint\":null}");
}

/* Fills g.body.  Returns the content type. */
static const char *
planned_body(const struct conn *c, int status)
{
	struct text *t = &g.body;
	const struct plan *pl = c->plan;
	enum body body;

	if (pl->raw != NULL) {
		putz(t, pl->raw);
		return "application/json";
	}
	if (pl->body >= 0)
		body = (enum body)pl->body;
	else if (status >= 400)
		body = BODY_ERROR;
	else if (status >= 300 || status == 204)
		body = BODY_EMPTY;
	else
		body = pl->text != NULL ? BODY_TEXT : BODY_JSON;

	switch (body) {
	case BODY_BROKEN:
		putz(t, "{\"id\":\"chatcmpl-1\",\"choices\":[{\"index\":0,,]}");
		break;
	case BODY_CUT:
		completion_body(t, c, BODY_JSON);
		t->len /= 2;
		break;
	case BODY_HTML:
		putz(t, "<html>\r\n<head><title>");
		put_u(t, (uint64_t)status);
		putz(t,
		    "</title></head>\r\n<body><h1>A proxy speaks</h1>"
		    "</body>\r\n</html>\r\n");
		return "text/html";
	case BODY_EMPTY:
		break;
	case BODY_WRONG:
		putz(t, "[\"a\",\"list\"]");
		break;
	case BODY_ERROR:
		error_body(t, status < 400 ? 500 : status, pl, NULL, NULL);
		break;
	default:
		completion_body(t, c, body);
		break;
	}
	return "application/json";
}

static void
put_header(struct text *t, const char *name, const char *value)
{
	if (value == NULL)
		return;
	putz(t, name);
	putz(t, ": ");
	putz(t, value);
	putz(t, "\r\n");
}

static void
planned_headers(struct text *t, const struct plan *pl)
{
	size_t end;
	uint64_t i;

	put_header(t, "Retry-After", pl->retry_after);
	put_header(t, "retry-after-ms", pl->retry_after_ms);
	put_header(t, "x-should-retry", pl->should_retry);
	put_header(t, "Location", pl->redirect);
	if (pl->headerflood <= 0)
		return;
	end = t->len + (size_t)pl->headerflood;
	for (i = 0; t->len < end && !t->failed; i++) {
		putz(t, "X-Flood-");
		put_u(t, i);
		putz(t, ": ");
		put_fill(t, 'x', 80);
		putz(t, "\r\n");
	}
}

/* In pieces that fit no buffer evenly, the first of one byte. */
static void
chunk_body(struct text *t, const struct text *body)
{
	char size[24];
	size_t at, n;

	text_reset(t);
	for (at = 0, n = 1; at < body->len; at += n, n = 509) {
		if (n > body->len - at)
			n = body->len - at;
		snprintf(size, sizeof(size), "%zx\r\n", n);
		putz(t, size);
		put(t, body->p + at, n);
		putz(t, "\r\n");
	}
	putz(t, "0\r\n\r\n");
}

/*
 * Sending them.
 */

/* The request at hand is settled, one way or the other. */
static void
settle(struct conn *c)
{
	plan_free(c->plan);
	c->plan = NULL;
	if (c->busy) {
		c->busy = false;
		g.pending--;
	}
}

/* All bytes of the answer are with the kernel. */
static void
finish(struct conn *c)
{
	struct timeval tv;

	if (c->busy && !c->cut && c->gen == g.gen)
		g.answered++;
	if (c->plan != NULL && c->plan->keepclose > 0)
		c->doomed = true;
	settle(c);
	c->state = READING;
	if (c->drain) {
		shutdown(c->fd, SHUT_WR);
		c->state = DRAINING;
		tv = ms_tv(LINGER_MS);
		evtimer_add(&c->timer, &tv);
	} else if (c->close_after || c->cut)
		c->dead = c->ours = true;
}

static bool
would_block(int e)
{
	return e == EAGAIN || e == EWOULDBLOCK || e == EINTR;
}

/* Sends g.head and b, now, later or in drips. */
static void
transmit(struct conn *c, const struct text *b)
{
	struct iovec iov[2];
	struct timeval tv;
	size_t sent, total;
	ssize_t n;

	total = g.head.len + b->len;
	sent = 0;
	if (c->plan == NULL || c->plan->drip <= 0) {
		iov[0].iov_base = g.head.p;
		iov[0].iov_len = g.head.len;
		iov[1].iov_base = b->p;
		iov[1].iov_len = b->len;
		n = writev(c->fd, iov, b->len > 0 ? 2 : 1);
		if (n < 0 && !would_block(errno)) {
			c->dead = true;
			return;
		}
		sent = n < 0 ? 0 : (size_t)n;
		if (sent == total) {
			finish(c);
			return;
		}
	}

	if (c->out == NULL)
		c->out = evbuffer_new();
	if (c->out == NULL || evbuffer_add(c->out, g.head.p, g.head.len) != 0 ||
	    (b->len > 0 && evbuffer_add(c->out, b->p, b->len) != 0)) {
		c->dead = c->ours = true;
		return;
	}
	evbuffer_drain(c->out, sent);
	if (c->plan != NULL && c->plan->drip > 0) {
		c->state = DRIPPING;
		tv = ms_tv(c->plan->drip);
		evtimer_add(&c->timer, &tv);
	} else {
		c->state = WRITING;
		event_add(&c->wr, NULL);
	}
}

/* Puts a head before g.body and sends both. */
static void
answer(struct conn *c, int status, const char *content_type)
{
	struct text *h = &g.head, *b = &g.body;
	const struct plan *pl = c->plan;

	text_reset(h);
	if (status == 200)
		putz(h, "HTTP/1.1 200 OK\r\n");
	else {
		putz(h, "HTTP/1.1 ");
		put_u(h, (uint64_t)status);
		putz(h, " ");
		putz(h, reason_of(status));
		putz(h, "\r\n");
	}
	putz(h, "Content-Type: ");
	putz(h, content_type);
	putz(h, "\r\nx-request-id: req_");
	put_hex(h, g.serial);
	putz(h, "\r\n");
	if (pl != NULL)
		planned_headers(h, pl);
	if (c->close_after || c->drain)
		putz(h, "Connection: close\r\n");
	if (pl != NULL && pl->chunked > 0) {
		chunk_body(&g.enc, &g.body);
		b = &g.enc;
		putz(h, "Transfer-Encoding: chunked\r\n\r\n");
	} else {
		putz(h, "Content-Length: ");
		put_u(h, b->len);
		putz(h, "\r\n\r\n");
	}
	if (h->failed || b->failed || g.body.failed) {
		fprintf(stderr, "could not make an answer: out of memory\n");
		c->dead = c->ours = true;
		return;
	}
	if (pl != NULL && pl->closing == CLOSE_HEADERS)
		b->len = 0;
	else if (pl != NULL && pl->closing == CLOSE_MIDDLE)
		b->len /= 2;
	c->cut = pl != NULL && pl->closing >= 0;
	transmit(c, b);
}

static void
answer_error(struct conn *c, int status, const char *message, const char *code)
{
	text_reset(&g.body);
	error_body(&g.body, status, NULL, message, code);
	answer(c, status, "application/json");
}

/* What came is no request that could be followed by another. */
static void
refuse(struct conn *c, int status)
{
	c->drain = true;
	c->need = 0;
	answer_error(c, status, NULL, NULL);
}

/* The time of an answer has come. */
static void
respond(struct conn *c)
{
	const struct plan *pl = c->plan;
	const struct linger hard = { .l_onoff = 1, .l_linger = 0 };
	int status;

	g.serial++;
	text_reset(&g.body);
	if (pl == NULL) {
		completion_body(&g.body, c, BODY_JSON);
		answer(c, 200, "application/json");
		return;
	}
	if (pl->closing == CLOSE_BEFORE || pl->closing == CLOSE_RESET) {
		if (pl->closing == CLOSE_RESET)
			setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard,
			    sizeof(hard));
		c->dead = c->ours = true;
		return;
	}
	status = pl->redirect != NULL ? 302 : 200;
	if (pl->status > 0)
		status = (int)pl->status;
	answer(c, status, planned_body(c, status));
}

/*
 * Reading requests.
 */

/* The head, which ends in an empty line.  False: it is none. */
static bool
read_head(struct request *r, const char *p, size_t n)
{
	const char *end = p + n, *eol, *sp, *colon, *v, *ve;
	bool minor0;
	size_t len;

	memset(r, 0, sizeof(*r));
	r->head = p;
	r->head_len = n;
	eol = memchr(p, '\r', n);
	sp = memchr(p, ' ', (size_t)(eol - p));
	if (sp == NULL)
		return false;
	r->method = p;
	r->method_len = (size_t)(sp - p);
	r->path = sp + 1;
	sp = memchr(r->path, ' ', (size_t)(eol - r->path));
	if (sp == NULL || r->path == sp || eol - sp != 9 ||
	    memcmp(sp + 1, "HTTP/1.", 7) != 0)
		return false;
	minor0 = sp[8] == '0';
	r->path_len = (size_t)(sp - r->path);
	v = memchr(r->path, '?', r->path_len);
	if (v != NULL) {
		r->query = v + 1;
		r->query_len = (size_t)(sp - v - 1);
		r->path_len = (size_t)(v - r->path);
	}
	r->close = minor0;

	for (p = eol + 2; p < end - 2; p = eol + 2) {
		eol = memmem(p, (size_t)(end - p), "\r\n", 2);
		colon = memchr(p, ':', (size_t)(eol - p));
		if (colon == NULL || colon == p)
			return false;
		len = (size_t)(colon - p);
		for (v = colon + 1; v < eol && is_blank(*v); v++)
			;
		for (ve = eol; ve > v && is_blank(ve[-1]); ve--)
			;
		if (is_word(p, len, "content-length")) {
			if (r->twice ||
			    !read_number(v, (size_t)(ve - v), 0, INT64_MAX,
				&r->body_len))
				return false;
			r->twice = true;
		} else if (is_word(p, len, "authorization"))
			r->bearer = ve - v > 7 &&
			    strncasecmp(v, "Bearer ", 7) == 0;
		else if (is_word(p, len, "transfer-encoding"))
			r->chunked = true;
		else if (is_word(p, len, "expect"))
			r->expect = is_word(v, (size_t)(ve - v),
			    "100-continue");
		else if (is_word(p, len, "connection"))
			r->close = r->close ||
			    is_word(v, (size_t)(ve - v), "close");
	}
	return true;
}

/*
 * The model's name as it stands in the JSON, without parsing all of that: a
 * key is the only place where a quote, the word, a quote and a colon can
 * follow each other.
 */
static const char *
model_of(const char *p, size_t n)
{
	const char *end = p + n, *s, *q;
	size_t len, i;

	do {
		s = memmem(p, (size_t)(end - p), "\"model\"", 7);
		if (s == NULL)
			return MODEL_DEFAULT;
		for (s += 7; s < end && is_blank(*s); s++)
			;
		/* A value, such as a message of this one word. */
		p = s;
	} while (s < end && *s != ':');
	for (; s < end && (is_blank(*s) || *s == ':'); s++)
		;
	if (s == end || *s++ != '"')
		return MODEL_DEFAULT;
	for (q = s; q < end && *q != '"' && q - s <= MODEL_MAX; q++)
		if (*q == '\\')
			q++;
	if (q >= end || *q != '"')
		return MODEL_DEFAULT;
	len = (size_t)(q - s);
	for (i = 0; i < g.nmodels; i++)
		if (g.model_len[i] == len && memcmp(g.models[i], s, len) == 0)
			return g.models[i];
	/* A NUL would end the name early, and others cannot stand here. */
	if (g.nmodels == MODELS_MAX || memchr(s, '\0', len) != NULL)
		return MODEL_DEFAULT;
	g.models[i] = strndup(s, len);
	if (g.models[i] == NULL)
		return MODEL_DEFAULT;
	g.model_len[i] = len;
	g.nmodels++;
	return g.models[i];
}

/* The text of the last message, when it is the user's. */
static struct json_object *
last_message(struct json_object *root)
{
	struct json_object *list, *msg, *role, *content;
	size_t n;

	if (!json_object_object_get_ex(root, "messages", &list) ||
	    !json_object_is_type(list, json_type_array))
		return NULL;
	n = json_object_array_length(list);
	msg = n > 0 ? json_object_array_get_idx(list, n - 1) : NULL;
	if (!json_object_is_type(msg, json_type_object) ||
	    !json_object_object_get_ex(msg, "role", &role) ||
	    !json_object_is_type(role, json_type_string) ||
	    strcmp(json_object_get_string(role), "user") != 0 ||
	    !json_object_object_get_ex(msg, "content", &content) ||
	    !json_object_is_type(content, json_type_string))
		return NULL;
	return content;
}

static const char *
read_marks(struct plan *pl, struct json_object *root)
{
	struct json_object *content, *model;
	const char *s, *in, *why;
	size_t n, len = 0;

	if (json_object_object_get_ex(root, "model", &model) &&
	    json_object_is_type(model, json_type_string)) {
		s = json_object_get_string(model);
		n = (size_t)json_object_get_string_len(model);
		in = find_mark(s, n, &len);
		why = in != NULL ? plan_read(pl, in, len) : NULL;
		if (why != NULL)
			return why;
	}
	content = last_message(root);
	if (content != NULL) {
		s = json_object_get_string(content);
		n = (size_t)json_object_get_string_len(content);
		s = question_of(s, &n);
		in = find_mark(s, n, &len);
		why = in != NULL ? plan_read(pl, in, len) : NULL;
		if (why != NULL)
			return why;
		if (pl->echo > 0) {
			pl->said = without_mark(s, n, in, len);
			if (pl->said == NULL)
				return "out of memory";
		}
	}
	return NULL;
}

/*
 * Makes the plan of a request that may hold a mark, and counts it by its
 * id.  What is wrong with the request, or NULL.
 */
static const char *
steer(struct conn *c, const struct request *r, struct kept *k)
{
	struct json_tokener *tok;
	struct json_object *root;
	struct tally *t = NULL;
	const char *why;

	c->plan = plan_new();
	tok = json_tokener_new();
	if (c->plan == NULL || tok == NULL) {
		json_tokener_free(tok);
		return "out of memory";
	}
	json_tokener_set_flags(tok,
	    JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	root = json_tokener_parse_ex(tok, r->body, (int)r->body_len);
	json_tokener_free(tok);
	if (!json_object_is_type(root, json_type_object)) {
		json_object_put(root);
		return "the body is not a JSON object";
	}

	why = read_marks(c->plan, root);
	if (c->plan->id != NULL) {
		t = tally_make(c->plan->id);
		if (t != NULL)
			tally_add(t, k);
		else if (why == NULL)
			why = "too many ids";
	}
	if (why == NULL && c->plan->times >= 0 && t == NULL)
		why = "times= without id=";
	if (why == NULL && c->plan->times >= 0 &&
	    t->requests > (uint64_t)c->plan->times)
		plan_calm(c->plan);
	if (why == NULL && c->plan->unsupported >= 0 &&
	    !plan_refuse(c->plan, root))
		why = "out of memory";
	json_object_put(root);
	return why;
}

static void
count_request(struct conn *c)
{
	g.requests++;
	g.pending++;
	if (g.pending > g.peak)
		g.peak = g.pending;
	c->busy = true;
	c->gen = g.gen;
	if (!c->carried) {
		c->carried = true;
		g.open++;
	}
	if (c->seen_gen != g.gen) {
		c->seen_gen = g.gen;
		g.connections++;
	}
}

static void
completion(struct conn *c, const struct request *r)
{
	const char *why = NULL;
	char message[128];
	struct kept *k = NULL;
	struct timeval tv;
	int64_t delay_ms;
	bool marked;

	count_request(c);
	marked = may_be_marked(r->body, (size_t)r->body_len);
	kept_unref(g.last);
	if (marked || g.record)
		k = kept_new(r);
	g.last = k;
	if (marked)
		why = steer(c, r, k);

	if (c->doomed) {
		c->dead = c->ours = true;
		return;
	}
	if (!r->bearer || why != NULL) {
		plan_free(c->plan);
		c->plan = NULL;
	}
	if (!r->bearer) {
		answer_error(c, 401, "You didn't provide an API key.", NULL);
		return;
	}
	if (why != NULL) {
		snprintf(message, sizeof(message), "bad mark: %s", why);
		answer_error(c, 400, message, "bad_mark");
		return;
	}

	c->prompt_tokens = tokens_of((size_t)r->body_len);
	c->model = model_of(r->body, (size_t)r->body_len);
	delay_ms = g.delay_ms;
	if (c->plan != NULL && c->plan->delay >= 0)
		delay_ms = c->plan->delay;
	if (c->plan != NULL && c->plan->hang > 0)
		c->state = HANGING;
	else if (delay_ms == 0)
		respond(c);
	else {
		tv = ms_tv(delay_ms);
		c->state = WAITING;
		evtimer_add(&c->timer,
		    delay_ms == g.delay_ms ? g.delay_tv : &tv);
	}
}

/*
 * Control.
 */

static void
count_body(struct text *t)
{
	const struct {
		const char *name;
		uint64_t n;
	} rows[] = {
		{ "{\"requests\":", g.requests },
		{ ",\"answered\":", g.answered },
		{ ",\"connections\":", g.connections },
		{ ",\"open\":", g.open },
		{ ",\"closed_early\":", g.closed_early },
		{ ",\"pending\":", g.pending },
		{ ",\"peak\":", g.peak },
	};
	struct lh_entry *e;
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		putz(t, rows[i].name);
		put_u(t, rows[i].n);
	}
	putz(t, ",\"by_id\":{");
	i = 0;
	lh_foreach(g.tallies, e)
	{
		if (i++ > 0)
			putz(t, ",");
		put_json(t, lh_entry_k(e), strlen(lh_entry_k(e)));
		putz(t, ":");
		put_u(t, ((struct tally *)lh_entry_v(e))->requests);
	}
	putz(t, "}}");
}

static void
times_body(struct text *t, const struct tally *y)
{
	char ms[32];
	size_t i;

	putz(t, "[");
	for (i = 0; y != NULL && i < y->ntimes; i++) {
		snprintf(ms, sizeof(ms), "%s%" PRId64 ".%03d", i > 0 ? "," : "",
		    y->times_us[i] / 1000, (int)(y->times_us[i] % 1000));
		putz(t, ms);
	}
	putz(t, "]");
}

static bool
is_json(const char *p, size_t n)
{
	struct json_tokener *tok;
	struct json_object *root;
	bool ok;

	tok = json_tokener_new();
	if (tok == NULL)
		return false;
	json_tokener_set_flags(tok,
	    JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	root = json_tokener_parse_ex(tok, p, (int)n);
	ok = json_object_is_type(root, json_type_object);
	json_object_put(root);
	json_tokener_free(tok);
	return ok;
}

static void
last_body(struct text *t, const struct kept *k)
{
	const char *p, *end, *eol, *colon;
	const char *body = k->bytes + k->head_len;
	size_t i, from;

	putz(t, "{\"headers\":{");
	end = k->bytes + k->head_len - 2;
	p = (const char *)memmem(k->bytes, k->head_len, "\r\n", 2) + 2;
	for (i = 0; p < end; p = eol + 2, i++) {
		eol = memmem(p, (size_t)(end + 2 - p), "\r\n", 2);
		colon = memchr(p, ':', (size_t)(eol - p));
		if (i > 0)
			putz(t, ",");
		from = t->len;
		put_json(t, p, (size_t)(colon - p));
		for (; from < t->len; from++)
			if (t->p[from] >= 'A' && t->p[from] <= 'Z')
				t->p[from] = (char)(t->p[from] + 32);
		putz(t, ":");
		for (colon++; colon < eol && is_blank(*colon); colon++)
			;
		put_json(t, colon, (size_t)(eol - colon));
	}
	putz(t, "},\"bytes\":");
	put_u(t, k->body_len);
	putz(t, ",\"body\":");
	if (k->whole && is_json(body, k->body_len))
		put(t, body, k->body_len);
	else
		putz(t, "null");
	putz(t, "}");
}

static void
reset_counts(void)
{
	struct lh_table *fresh;

	fresh = tallies_new();
	if (fresh == NULL)
		return;
	lh_table_free(g.tallies);
	g.tallies = fresh;
	kept_unref(g.last);
	g.last = NULL;
	g.requests = g.answered = g.connections = g.closed_early = 0;
	g.peak = g.pending;
	g.gen++;
}

static bool
is_path(const struct request *r, const char *method, const char *path)
{
	return is_word(r->method, r->method_len, method) &&
	    r->path_len == strlen(path) &&
	    memcmp(r->path, path, r->path_len) == 0;
}

static void
control(struct conn *c, const struct request *r)
{
	const struct tally *y = NULL;
	const struct kept *k;
	struct text *t = &g.body;
	char *id = NULL;

	text_reset(t);
	if (r->query_len > 3 && memcmp(r->query, "id=", 3) == 0)
		id = decode(r->query + 3, r->query_len - 3);
	if (id != NULL)
		y = tally_find(id);
	k = g.last;
	if (id != NULL)
		k = y != NULL ? y->last : NULL;

	if (is_path(r, "GET", "/health"))
		putz(t, "{\"status\":\"ok\"}");
	else if (is_path(r, "GET", "/count") && id != NULL) {
		putz(t, "{\"id\":");
		put_json(t, id, strlen(id));
		putz(t, ",\"requests\":");
		put_u(t, y != NULL ? y->requests : 0);
		putz(t, "}");
	} else if (is_path(r, "GET", "/count"))
		count_body(t);
	else if (is_path(r, "GET", "/times"))
		times_body(t, y);
	else if (is_path(r, "GET", "/last") && k != NULL)
		last_body(t, k);
	else if (is_path(r, "POST", "/reset")) {
		reset_counts();
		putz(t, "{\"status\":\"ok\"}");
	} else if (is_path(r, "GET", "/last"))
		error_body(t, 404, NULL, "No such request was kept.", NULL);
	else
		error_body(t, 404, NULL, "Unknown request URL.", "unknown_url");
	free(id);
	answer(c, strncmp(t->p, "{\"error\"", 8) == 0 ? 404 : 200,
	    "application/json");
}

/*
 * Takes one request off p, if it is all there.  Returns how many bytes that
 * were, 0 when more must come.
 */
static size_t
take(struct conn *c, const char *p, size_t n)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
	static const char tail[] = "/chat/completions";
	const size_t tail_len = sizeof(tail) - 1;
	const char *head_end;
	struct request r;
	size_t total;

	head_end = memmem(p, n > HEAD_MAX ? HEAD_MAX : n, "\r\n\r\n", 4);
	if (head_end == NULL) {
		if (n < HEAD_MAX)
			return 0;
		refuse(c, 431);
		return n;
	}
	if (!read_head(&r, p, (size_t)(head_end + 4 - p))) {
		refuse(c, 400);
		return n;
	}
	if (r.chunked || r.body_len > BODY_MAX) {
		refuse(c, r.chunked ? 411 : 413);
		return n;
	}
	total = r.head_len + (size_t)r.body_len;
	if (n < total) {
		c->need = total;
		/* Too short to be taken in part by an empty socket. */
		if (r.expect && !c->continued)
			c->continued = send(c->fd, go_on, sizeof(go_on) - 1,
					   MSG_NOSIGNAL) > 0;
		return 0;
	}
	r.body = p + r.head_len;
	c->need = 0;
	c->continued = false;
	c->close_after = r.close;
	c->cut = false;
	if (is_word(r.method, r.method_len, "POST") && r.path_len >= tail_len &&
	    memcmp(r.path + r.path_len - tail_len, tail, tail_len) == 0)
		completion(c, &r);
	else
		control(c, &r);
	return total;
}

/* Goes on with what had come before the last answer was out. */
static void
drive(struct conn *c)
{
	const char *p;
	size_t n;

	while (!c->dead && c->state == READING && c->in != NULL) {
		n = evbuffer_get_length(c->in);
		if (n == 0 || n < c->need)
			return;
		p = (const char *)evbuffer_pullup(c->in, -1);
		if (p == NULL) {
			c->dead = c->ours = true;
			return;
		}
		n = take(c, p, n);
		if (n == 0)
			return;
		evbuffer_drain(c->in, n);
	}
}

/* New bytes.  Most often they are one request, and are used in place. */
static void
feed(struct conn *c, const char *p, size_t n)
{
	size_t used = 0, k, held;

	held = c->in == NULL ? 0 : evbuffer_get_length(c->in);
	while (held == 0 && !c->dead && c->state == READING && used < n) {
		k = take(c, p + used, n - used);
		if (k == 0)
			break;
		used += k;
	}
	if (c->dead || used == n)
		return;
	/* A client that sends on without waiting is not one of ours. */
	if (held > HEAD_MAX + BODY_MAX) {
		c->dead = c->ours = true;
		return;
	}
	if (c->in == NULL)
		c->in = evbuffer_new();
	if (c->in == NULL || evbuffer_add(c->in, p + used, n - used) != 0) {
		c->dead = c->ours = true;
		return;
	}
	if (held > 0)
		drive(c);
}

/*
 * Events.
 */

static void
on_read(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;
	ssize_t n;

	(void)what;
	n = recv(fd, g.rbuf, sizeof(g.rbuf), 0);
	if (n < 0 && would_block(errno))
		return;
	if (n <= 0)
		c->dead = true;
	else if (c->state != DRAINING)
		feed(c, g.rbuf, (size_t)n);
	if (c->dead)
		conn_free(c);
}

static void
on_write(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)what;
	if (evbuffer_write(c->out, fd) < 0 && !would_block(errno))
		c->dead = true;
	else if (evbuffer_get_length(c->out) > 0)
		event_add(&c->wr, NULL);
	else {
		finish(c);
		drive(c);
	}
	if (c->dead)
		conn_free(c);
}

static void
drip(struct conn *c)
{
	struct timeval tv;

	if (evbuffer_write_atmost(c->out, c->fd, 1) < 0 && !would_block(errno))
		c->dead = true;
	else if (evbuffer_get_length(c->out) > 0) {
		tv = ms_tv(c->plan->drip);
		evtimer_add(&c->timer, &tv);
	} else
		finish(c);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd;
	(void)what;
	if (c->state == DRIPPING)
		drip(c);
	else if (c->state == DRAINING)
		c->dead = c->ours = true;
	else {
		c->state = READING;
		respond(c);
	}
	drive(c);
	if (c->dead)
		conn_free(c);
}

static void
conn_free(struct conn *c)
{
	if (c->busy && !c->ours && c->gen == g.gen)
		g.closed_early++;
	if (c->carried)
		g.open--;
	settle(c);
	event_del(&c->rd);
	event_del(&c->wr);
	event_del(&c->timer);
	if (c->in != NULL)
		evbuffer_free(c->in);
	if (c->out != NULL)
		evbuffer_free(c->out);
	close(c->fd);
	LIST_REMOVE(c, entry);
	free(c);
}

static void
on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa,
    int sa_len, void *arg)
{
	struct conn *c;
	int one = 1;

	(void)l;
	(void)sa;
	(void)sa_len;
	(void)arg;
	c = calloc(1, sizeof(*c));
	if (c == NULL) {
		close(fd);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	c->fd = fd;
	event_assign(&c->rd, g.base, fd, EV_READ | EV_PERSIST, on_read, c);
	event_assign(&c->wr, g.base, fd, EV_WRITE, on_write, c);
	evtimer_assign(&c->timer, g.base, on_timer, c);
	LIST_INSERT_HEAD(&g.conns, c, entry);
	if (event_add(&c->rd, NULL) != 0)
		conn_free(c);
}

/* Out of descriptors: an accept that is tried again at once only spins. */
static void
on_accept_error(struct evconnlistener *l, void *arg)
{
	struct timeval tv = ms_tv(ACCEPT_PAUSE_MS);

	(void)arg;
	fprintf(stderr, "could not accept: %s\n", strerror(errno));
	evconnlistener_disable(l);
	evtimer_add(g.relisten, &tv);
}

static void
on_relisten(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	evconnlistener_enable(g.listener);
}

static void
on_signal(evutil_socket_t sig, short what, void *arg)
{
	(void)sig;
	(void)what;
	(void)arg;
	event_base_loopbreak(g.base);
}

/*
 * The program.
 */

static void
usage(FILE *to)
{
	size_t i, w;

	fprintf(to,
	    "usage: ai-chat-model [--listen ADDRESS] [--port N] "
	    "[--delay MS] [--port-file FILE]\n"
	    "                     [--record] [--help]\n\n"
	    "Stands in for the model: POST .../chat/completions.\n\n"
	    "  --listen ADDRESS   an IPv4 address (default 127.0.0.1)\n"
	    "  --port N           0 takes any free one (default 0)\n"
	    "  --delay MS         before every answer (default 0)\n"
	    "  --port-file FILE   where to write the port once ready\n"
	    "  --record           keep plain requests for /last too\n\n"
	    "The last message, or the name of the model, may hold a mark, "
	    "[[key=value ...]]\nwith %%XX in the values:\n\n");
	for (i = 0; i < NKEYS; i++) {
		fprintf(to, "  %-15s ", keys[i].name);
		if (keys[i].help != NULL)
			fprintf(to, "%s", keys[i].help);
		for (w = 0; keys[i].words != NULL && keys[i].words[w] != NULL;
		     w++)
			fprintf(to, "%s%s%s", w > 0 ? "|" : "",
			    w > 0 && w % 7 == 0 ? "\n                  " : "",
			    keys[i].words[w]);
		fprintf(to, "\n");
	}
	fprintf(to,
	    "\nGET /health, /count[?id=NAME], /times?id=NAME, "
	    "/last[?id=NAME]; POST /reset\n");
}

/* By a name of its own first, so that a reader never sees half a number. */
static int
write_port(const char *file, unsigned port)
{
	char *tmp;
	FILE *f;
	int rc = -1;

	if (asprintf(&tmp, "%s.%ld", file, (long)getpid()) < 0)
		return -1;
	f = fopen(tmp, "w");
	if (f != NULL) {
		rc = fprintf(f, "%u\n", port) < 0 ? -1 : 0;
		if (fclose(f) != 0)
			rc = -1;
		if (rc == 0)
			rc = rename(tmp, file);
		if (rc != 0)
			unlink(tmp);
	}
	free(tmp);
	return rc;
}

static void
raise_descriptors(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) == 0) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_NOFILE, &rl);
	}
}

static struct event_base *
base_new(void)
{
	struct event_config *cfg;
	struct event_base *base;

	cfg = event_config_new();
	if (cfg == NULL)
		return NULL;
	event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK);
	/* Delays are measured by tests, so to the millisecond is too rough. */
	event_config_set_flag(cfg, EVENT_BASE_FLAG_PRECISE_TIMER);
	base = event_base_new_with_config(cfg);
	event_config_free(cfg);
	return base;
}

static int
serve(struct sockaddr_in *addr, const char *port_file)
{
	struct event *term, *intr;
	struct timeval tv = ms_tv(g.delay_ms);
	socklen_t len = sizeof(*addr);
	char name[INET_ADDRSTRLEN];
	unsigned port;

	g.base = base_new();
	g.tallies = tallies_new();
	if (g.base == NULL || g.tallies == NULL) {
		fprintf(stderr, "could not start: out of memory\n");
		return 1;
	}
	/* Thousands of equal delays are a queue then, and not a heap. */
	g.delay_tv = event_base_init_common_timeout(g.base, &tv);
	g.relisten = evtimer_new(g.base, on_relisten, NULL);
	term = evsignal_new(g.base, SIGTERM, on_signal, NULL);
	intr = evsignal_new(g.base, SIGINT, on_signal, NULL);
	g.listener = evconnlistener_new_bind(g.base, on_accept, NULL,
	    LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE,
	    BACKLOG, (struct sockaddr *)(void *)addr, sizeof(*addr));
	if (g.listener == NULL) {
		fprintf(stderr, "could not listen on port %u: %s\n",
		    ntohs(addr->sin_port), strerror(errno));
		return 1;
	}
	if (g.delay_tv == NULL || g.relisten == NULL || term == NULL ||
	    intr == NULL || evsignal_add(term, NULL) != 0 ||
	    evsignal_add(intr, NULL) != 0 ||
	    getsockname(evconnlistener_get_fd(g.listener),
		(struct sockaddr *)(void *)addr, &len) != 0) {
		fprintf(stderr, "could not start\n");
		return 1;
	}
	evconnlistener_set_error_cb(g.listener, on_accept_error);
	port = ntohs(addr->sin_port);
	if (port_file != NULL && write_port(port_file, port) != 0) {
		fprintf(stderr, "could not write \"%s\": %s\n", port_file,
		    strerror(errno));
		return 1;
	}
	printf("listening on %s:%u\n",
	    inet_ntop(AF_INET, &addr->sin_addr, name, sizeof(name)), port);
	fflush(stdout);

	event_base_dispatch(g.base);

	while (!LIST_EMPTY(&g.conns))
		conn_free(LIST_FIRST(&g.conns));
	evconnlistener_free(g.listener);
	event_free(g.relisten);
	event_free(term);
	event_free(intr);
	event_base_free(g.base);
	lh_table_free(g.tallies);
	kept_unref(g.last);
	while (g.nmodels > 0)
		free(g.models[--g.nmodels]);
	free(g.head.p);
	free(g.body.p);
	free(g.enc.p);
	return 0;
}

int
main(int argc, char **argv)
{
	static const struct option options[] = { { "listen", required_argument,
						     NULL, 'l' },
		{ "port", required_argument, NULL, 'p' },
		{ "delay", required_argument, NULL, 'd' },
		{ "port-file", required_argument, NULL, 'f' },
		{ "record", no_argument, NULL, 'r' },
		{ "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 } };
	struct sockaddr_in addr = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	const char *port_file = NULL;
	int64_t port = 0;
	bool ok = true;
	int opt;

	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (opt) {
		case 'l':
			ok = inet_pton(AF_INET, optarg, &addr.sin_addr) == 1;
			break;
		case 'p':
			ok = read_number(optarg, strlen(optarg), 0, 65535,
			    &port);
			break;
		case 'd':
			ok = read_number(optarg, strlen(optarg), 0,
			    DELAY_MAX_MS, &g.delay_ms);
			break;
		case 'f':
			port_file = optarg;
			break;
		case 'r':
			g.record = true;
			break;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
		if (!ok) {
			fprintf(stderr, "not a value to use: \"%s\"\n", optarg);
			return 2;
		}
	}
	if (optind != argc) {
		usage(stderr);
		return 2;
	}
	addr.sin_port = htons((uint16_t)port);
	signal(SIGPIPE, SIG_IGN);
	raise_descriptors();
	return serve(&addr, port_file);
}
