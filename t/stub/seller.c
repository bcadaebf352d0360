/*
 * ai-chat-seller -- a stub of the seller-data API, for tests and for trying
 * out.
 *
 * It answers GET /api/v1/bot/user-context/ID. The header X-API-SECRET-KEY must
 * have the key that SERVER_API_KEY has in the environment of this program. The
 * figures depend on ID alone: those of 1 are always the same 128 orders for
 * 1,234,567 roubles.
 *
 * Control, without a key:
 *	POST /set?id=ID[&status=N][&delay_ms=N][&how=hang|drop]
 *			how to answer ID from now on, 0 for all: with this
 *			status, after this delay, never (hang), or by closing
 *			the connection (drop). A body is the body of the answer.
 *			Without any of these: the figures.
 *	GET /seen	{"requests":n,"refused":n,
 *			"last":{"uri":..,"headers":{}}}
 *	GET /seen?id=ID	{"requests":n}
 *	POST /reset	deletes all settings and counts
 *
 * A request is counted when it has arrived, whatever becomes of it.
 */

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <sys/queue.h>

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>

#include <json-c/json.h>

#include "port.h"

#define PATH "/api/v1/bot/user-context/"

/* More sellers than any test has; beyond these, all share one. */
#define SELLERS_MAX 4096

enum how { ANSWER, HANG, DROP };

struct seller {
	int64_t id; /* 0: all that have none of their own */
	int requests;
	int status;
	int delay_ms;
	enum how how;
	char *body; /* NULL: figures */
	size_t body_len;
};

/* An answer that is delayed. */
struct later {
	struct evhttp_request *req;
	struct event *timer;
	int64_t id;
};

static struct {
	struct event_base *base;
	const char *key;
	struct seller sellers[SELLERS_MAX];
	int n_sellers;
	int requests, refused;
	struct json_object *last;
} g;

static void
die(const char *what)
{
	fprintf(stderr, "ai-chat-seller: %s\n", what);
	exit(1);
}

/* The seller of an id. Unless it is to be made, it may be that of id 0. */
static struct seller *
find_seller(int64_t id, bool make)
{
	struct seller *s;
	int i;

	for (i = 0; i < g.n_sellers; i++)
		if (g.sellers[i].id == id)
			return &g.sellers[i];
	if (!make || g.n_sellers == SELLERS_MAX)
		return &g.sellers[0];
	s = &g.sellers[g.n_sellers++];
	*s = (struct seller){ .id = id, .status = 200 };
	return s;
}

static void
set_body(struct seller *s, const void *body, size_t len)
{
	free(s->body);
	s->body = NULL;
	s->body_len = len;
	if (len == 0)
		return;
	s->body = malloc(len);
	if (!s->body)
		die("out of memory");
	memcpy(s->body, body, len);
}

/* --- figures --------------------------------------------------------- */

static void
put_figures(struct evbuffer *b, int64_t id)
{
	uint64_t n = (uint64_t)id;
	unsigned orders = (unsigned)(100 + n * 28 % 900);
	unsigned long revenue = (unsigned long)(1000000 + n * 234567 % 9000000);

	evbuffer_add_printf(b,
	    "{\"orders\":{\"period\":\"последние 30 дней\",\"count\":%u,"
	    "\"amount\":%lu,\"average_check\":%.2f,\"growth_percent\":12.5},"
	    "\"sales\":{\"today\":{\"count\":%u,\"amount\":%u},"
	    "\"7_days\":{\"count\":%u,\"amount\":%u},"
	    "\"top_products\":[{\"nm_id\":%u,\"name\":\"Платье летнее\","
	    "\"sales_count\":%u,\"sales_amount\":%u,\"rating\":4.8},"
	    "{\"nm_id\":%u,\"name\":\"Юбка джинсовая\",\"sales_count\":%u,"
	    "\"sales_amount\":%u,\"rating\":4.5}]},",
	    orders, revenue, (double)revenue / orders, orders / 30,
	    orders / 30 * 2500, orders / 4, orders / 4 * 2500,
	    (unsigned)(10000000 + n % 1000), orders / 5, orders / 5 * 2400,
	    (unsigned)(20000000 + n % 1000), orders / 8, orders / 8 * 1900);
	evbuffer_add_printf(b,
	    "\"stocks\":{\"total_quantity\":%u,\"critical_products\":["
	    "{\"nm_id\":%u,\"name\":\"Юбка джинсовая\",\"quantity\":3,"
	    "\"days_left\":2}],\"summary\":{\"critical_count\":1,"
	    "\"zero_count\":%u}},"
	    "\"reviews\":{\"average_rating\":4.7,\"total_reviews\":%u,"
	    "\"unanswered\":2,\"negative_reviews\":[{\"rating\":2,"
	    "\"text\":\"Маломерит, и нитки торчат\"}]}}",
	    orders * 10, (unsigned)(20000000 + n % 1000), (unsigned)(n % 7),
	    orders * 2);
}

/* --- answers --------------------------------------------------------- */

static void
send_reply(struct evhttp_request *req, int status, struct evbuffer *body)
{
	evhttp_add_header(evhttp_request_get_output_headers(req),
	    "Content-Type", "application/json");
	evhttp_send_reply(req, status, NULL, body);
}

static void
send_text(struct evhttp_request *req, int status, const char *text)
{
	struct evbuffer *b = evbuffer_new();

	evbuffer_add(b, text, strlen(text));
	send_reply(req, status, b);
	evbuffer_free(b);
}

static void
send_answer(struct evhttp_request *req, int64_t id)
{
	struct seller *s = find_seller(id, false);
	struct evbuffer *b = evbuffer_new();

	if (s->body)
		evbuffer_add(b, s->body, s->body_len);
	else if (s->status == 200)
		put_figures(b, id);
	else
		evbuffer_add_printf(b, "{\"detail\":\"%d\"}", s->status);
	send_reply(req, s->status, b);
	evbuffer_free(b);
}

static void
on_time(evutil_socket_t fd, short what, void *arg)
{
	struct later *l = arg;

	(void)fd, (void)what;
	send_answer(l->req, l->id);
	event_free(l->timer);
	free(l);
}

static void
delay_answer(struct evhttp_request *req, int64_t id, int ms)
{
	struct timeval tv = { ms / 1000, ms % 1000 * 1000 };
	struct later *l = calloc(1, sizeof(*l));

	if (!l)
		die("out of memory");
	l->req = req;
	l->id = id;
	l->timer = evtimer_new(g.base, on_time, l);
	evtimer_add(l->timer, &tv);
}

/* --- requests -------------------------------------------------------- */

static void
keep_request(struct evhttp_request *req)
{
	struct json_object *headers = json_object_new_object();
	struct evkeyval *h;

	for (h = evhttp_request_get_input_headers(req)->tqh_first; h;
	     h = h->next.tqe_next)
		json_object_object_add(headers, h->key,
		    json_object_new_string(h->value));
	json_object_put(g.last);
	g.last = json_object_new_object();
	json_object_object_add(g.last, "uri",
	    json_object_new_string(evhttp_request_get_uri(req)));
	json_object_object_add(g.last, "headers", headers);
}

static void
handle_context(struct evhttp_request *req, const char *tail)
{
	const char *key =
	    evhttp_find_header(evhttp_request_get_input_headers(req),
		"X-API-SECRET-KEY");
	int64_t id = strtoll(tail, NULL, 10);
	struct seller *own, *s;

	g.requests++;
	keep_request(req);
	s = find_seller(id, false);
	own = s->id == id ? s : find_seller(id, true);
	own->requests++;
	/* A new seller has the settings of id 0. */
	if (own != s && own != &g.sellers[0]) {
		own->status = s->status;
		own->delay_ms = s->delay_ms;
		own->how = s->how;
		set_body(own, s->body, s->body_len);
	}
	if (!key || strcmp(key, g.key) != 0) {
		g.refused++;
		send_text(req, 403, "{\"detail\":\"Invalid API key\"}");
		return;
	}
	if (own->how == DROP)
		evhttp_connection_free(evhttp_request_get_connection(req));
	else if (own->how == HANG)
		return;
	else if (own->delay_ms > 0)
		delay_answer(req, id, own->delay_ms);
	else
		send_answer(req, id);
}

static int
read_number(const struct evkeyvalq *query, const char *name, int preset)
{
	const char *v = evhttp_find_header(query, name);

	return v ? atoi(v) : preset;
}

static void
set_seller(struct seller *s, const struct evkeyvalq *query,
    struct evbuffer *body)
{
	const char *how = evhttp_find_header(query, "how");

	s->status = read_number(query, "status", 200);
	s->delay_ms = read_number(query, "delay_ms", 0);
	s->how = !how ? ANSWER : strcmp(how, "hang") == 0 ? HANG : DROP;
	set_body(s, evbuffer_pullup(body, -1), evbuffer_get_length(body));
}

static void
handle_set(struct evhttp_request *req, const struct evkeyvalq *query)
{
	const char *v = evhttp_find_header(query, "id");
	int64_t id = v ? strtoll(v, NULL, 10) : 0;
	struct evbuffer *body = evhttp_request_get_input_buffer(req);
	int i;

	for (i = 0; id == 0 && i < g.n_sellers; i++)
		set_seller(&g.sellers[i], query, body);
	if (id != 0)
		set_seller(find_seller(id, true), query, body);
	send_text(req, 200, "{}");
}

static void
handle_seen(struct evhttp_request *req, const struct evkeyvalq *query)
{
	const char *v = evhttp_find_header(query, "id");
	struct evbuffer *b = evbuffer_new();
	struct seller *s;

	if (v) {
		s = find_seller(strtoll(v, NULL, 10), true);
		evbuffer_add_printf(b, "{\"requests\":%d}", s->requests);
	} else {
		evbuffer_add_printf(b,
		    "{\"requests\":%d,\"refused\":%d,\"last\":%s}", g.requests,
		    g.refused,
		    g.last ? json_object_to_json_string(g.last) : "null");
	}
	send_reply(req, 200, b);
	evbuffer_free(b);
}

static void
reset_all(void)
{
	while (g.n_sellers > 0)
		free(g.sellers[--g.n_sellers].body);
	g.sellers[g.n_sellers++] = (struct seller){ .status = 200 };
	g.requests = g.refused = 0;
	json_object_put(g.last);
	g.last = NULL;
}

static void
on_request(struct evhttp_request *req, void *arg)
{
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(req);
	const char *path = evhttp_uri_get_path(uri);
	const char *query_text = evhttp_uri_get_query(uri);
	struct evkeyvalq query;

	(void)arg;
	evhttp_parse_query_str(query_text ? query_text : "", &query);
	if (strncmp(path, PATH, strlen(PATH)) == 0)
		handle_context(req, path + strlen(PATH));
	else if (strcmp(path, "/set") == 0)
		handle_set(req, &query);
	else if (strcmp(path, "/seen") == 0)
		handle_seen(req, &query);
	else if (strcmp(path, "/reset") == 0) {
		reset_all();
		send_text(req, 200, "{}");
	} else
		send_text(req, 404, "{\"detail\":\"Not Found\"}");
	evhttp_clear_headers(&query);
}

/* --- the program ----------------------------------------------------- */

static void
on_signal(evutil_socket_t sig, short what, void *arg)
{
	(void)sig, (void)what, (void)arg;
	event_base_loopbreak(g.base);
}

static void
run_loop(int port, const char *port_file)
{
	struct evhttp_bound_socket *bound;
	struct evhttp *http;
	struct event *term, *intr;
	struct sockaddr_in addr;
	socklen_t len = sizeof(addr);

	g.base = event_base_new();
	http = g.base ? evhttp_new(g.base) : NULL;
	if (!http)
		die("out of memory");
	evhttp_set_gencb(http, on_request, NULL);
	bound = evhttp_bind_socket_with_handle(http, "127.0.0.1",
	    (uint16_t)port);
	if (!bound)
		die("could not listen");
	term = evsignal_new(g.base, SIGTERM, on_signal, NULL);
	intr = evsignal_new(g.base, SIGINT, on_signal, NULL);
	evsignal_add(term, NULL);
	evsignal_add(intr, NULL);
	if (getsockname(evhttp_bound_socket_get_fd(bound),
		(struct sockaddr *)(void *)&addr, &len) != 0)
		die("could not read the port");
	if (port_file && !port_write(port_file, ntohs(addr.sin_port)))
		die("could not write the file with the port");
	printf("listening on 127.0.0.1:%u\n", ntohs(addr.sin_port));
	fflush(stdout);
	event_base_dispatch(g.base);
	/* Connections that hang are closed by the kernel. */
	fflush(stdout);
	_exit(0);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = { { "port", required_argument,
						     NULL, 'p' },
		{ "port-file", required_argument, NULL, 'f' },
		{ "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 } };
	const char *port_file = NULL;
	int port = 0, opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 'p':
			port = atoi(optarg);
			break;
		case 'f':
			port_file = optarg;
			break;
		default:
			fputs("usage: ai-chat-seller [--port N] "
			      "[--port-file FILE]\n\n"
			      "A stub of the seller-data API; its key is "
			      "SERVER_API_KEY in the environment.\n",
			    opt == 'h' ? stdout : stderr);
			return opt == 'h' ? 0 : 2;
		}
	}
	g.key = getenv("SERVER_API_KEY");
	if (!g.key)
		die("SERVER_API_KEY is not set");
	signal(SIGPIPE, SIG_IGN);
	reset_all();
	run_loop(port, port_file);
	return 0;
}
