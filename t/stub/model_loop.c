#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "model.h"

#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/listener.h>

#include "port.h"

/* Takes a usual request in one read; one for all, since there is one loop. */
#define READ_BYTES (256 * 1024)
/* As long a queue as Linux allows by default: a benchmark connects at once. */
#define BACKLOG 4096
/* Lets a client read why it was refused before its connection is closed. */
#define LINGER_MS 1000
/* How long to wait for free descriptors when there are none. */
#define ACCEPT_PAUSE_MS 50

enum state {
	READING, /* a request, or idle */
	WAITING, /* until the answer is due */
	HANGING, /* until the client closes */
	WRITING, /* until the socket has taken the rest */
	DRIPPING,
	DRAINING /* after a refusal, until the client closes */
};

struct conn {
	LIST_ENTRY(conn) entry;
	int fd;
	enum state state;
	struct event rd, wr, timer;
	struct evbuffer *in, *out; /* made when first needed */
	struct question q; /* the completion in flight */
	struct counted counted;
	size_t need; /* bytes of a request that is read in part */
	bool cut; /* the answer is cut short on purpose */
	bool close_after;
	bool drain; /* refuse, then wait until the client closes */
	bool doomed; /* keepclose: close at the next request */
	bool continued; /* 100 Continue was sent */
	bool dead; /* to be freed when the event is handled */
	bool ours; /* this side closes, not the client */
};

static struct {
	struct event_base *base;
	struct evconnlistener *listener;
	struct event *relisten;
	LIST_HEAD(conn_list, conn) conns;
	struct text head, body, enc; /* of the answer that is being made */
	const struct timeval *delay_tv; /* common timeout of --delay */
	int64_t delay_ms;
	bool record;
	char rbuf[READ_BYTES];
} g;

static void free_conn(struct conn *c);
static void drive_conn(struct conn *c);

static struct timeval
ms_tv(int64_t ms)
{
	return (struct timeval){ .tv_sec = ms / 1000,
		.tv_usec = (ms % 1000) * 1000 };
}

/* Closes the connection once the event is handled. */
static void
close_conn(struct conn *c)
{
	c->dead = c->ours = true;
}

/* --- sending answers ------------------------------------------------- */

/* Ends the request in flight. */
static void
settle_request(struct conn *c)
{
	plan_free(c->q.plan);
	c->q.plan = NULL;
	count_settled(&c->counted);
}

/* Goes on after the kernel has taken all bytes of the answer. */
static void
finish_answer(struct conn *c)
{
	struct timeval tv;

	if (!c->cut)
		count_answered(&c->counted);
	if (c->q.plan != NULL && c->q.plan->keepclose > 0)
		c->doomed = true;
	settle_request(c);
	c->state = READING;
	if (c->drain) {
		shutdown(c->fd, SHUT_WR);
		c->state = DRAINING;
		tv = ms_tv(LINGER_MS);
		evtimer_add(&c->timer, &tv);
	} else if (c->close_after || c->cut)
		close_conn(c);
}

static bool
would_block(int e)
{
	return e == EAGAIN || e == EWOULDBLOCK || e == EINTR;
}

/* Sends g.head and b at once, or as the socket takes them, or in drips. */
static void
send_bytes(struct conn *c, const struct text *b)
{
	struct iovec iov[2];
	struct timeval tv;
	size_t sent, total;
	ssize_t n;

	total = g.head.len + b->len;
	sent = 0;
	if (c->q.plan == NULL || c->q.plan->drip <= 0) {
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
			finish_answer(c);
			return;
		}
	}

	if (c->out == NULL)
		c->out = evbuffer_new();
	if (c->out == NULL || evbuffer_add(c->out, g.head.p, g.head.len) != 0 ||
	    (b->len > 0 && evbuffer_add(c->out, b->p, b->len) != 0)) {
		close_conn(c);
		return;
	}
	evbuffer_drain(c->out, sent);
	if (c->q.plan != NULL && c->q.plan->drip > 0) {
		c->state = DRIPPING;
		tv = ms_tv(c->q.plan->drip);
		evtimer_add(&c->timer, &tv);
	} else {
		c->state = WRITING;
		event_add(&c->wr, NULL);
	}
}

/* Sends g.body after its head. */
static void
send_body(struct conn *c, int status, const char *content_type)
{
	const struct plan *pl = c->q.plan;
	const bool chunked = pl != NULL && pl->chunked > 0;
	struct text *b = &g.body;

	if (chunked) {
		answer_chunks(&g.enc, &g.body);
		b = &g.enc;
	}
	answer_head(&g.head,
	    &(struct answer_head){ .status = status,
		.content_type = content_type,
		.plan = pl,
		.length = b->len,
		.close = c->close_after || c->drain,
		.chunked = chunked });
	if (g.head.failed || b->failed || g.body.failed) {
		fprintf(stderr, "could not make an answer: out of memory\n");
		close_conn(c);
		return;
	}
	if (pl != NULL && pl->closing == CLOSE_HEADERS)
		b->len = 0;
	else if (pl != NULL && pl->closing == CLOSE_MIDDLE)
		b->len /= 2;
	c->cut = pl != NULL && pl->closing >= 0;
	send_bytes(c, b);
}

static void
send_error(struct conn *c, int status, const char *message, const char *code)
{
	text_reset(&g.body);
	answer_error_body(&g.body, status, NULL, message, code);
	send_body(c, status, "application/json");
}

/* Refuses bytes after which no other request can be read. */
static void
refuse_request(struct conn *c, int status)
{
	c->drain = true;
	c->need = 0;
	send_error(c, status, NULL, NULL);
}

/* Answers the completion in flight, which is due. */
static void
answer_question(struct conn *c)
{
	const struct plan *pl = c->q.plan;
	const struct linger hard = { .l_onoff = 1, .l_linger = 0 };
	const char *content_type;
	int status;

	if (pl != NULL &&
	    (pl->closing == CLOSE_BEFORE || pl->closing == CLOSE_RESET)) {
		if (pl->closing == CLOSE_RESET)
			setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard,
			    sizeof(hard));
		close_conn(c);
		return;
	}
	content_type = answer_body(&g.body, &c->q, &status);
	send_body(c, status, content_type);
}

/* --- handling requests ----------------------------------------------- */

/* Answers the completion in flight now, after its delay, or never. */
static void
schedule_answer(struct conn *c)
{
	const struct plan *pl = c->q.plan;
	int64_t delay_ms = g.delay_ms;
	struct timeval tv;

	if (pl != NULL && pl->delay >= 0)
		delay_ms = pl->delay;
	if (pl != NULL && pl->hang > 0)
		c->state = HANGING;
	else if (delay_ms == 0)
		answer_question(c);
	else {
		tv = ms_tv(delay_ms);
		c->state = WAITING;
		evtimer_add(&c->timer,
		    delay_ms == g.delay_ms ? g.delay_tv : &tv);
	}
}

static void
handle_completion(struct conn *c, const struct request *r)
{
	const size_t body_len = (size_t)r->body_len;
	const bool marked = plan_is_needed(r->body, body_len);
	const char *why = NULL;
	char message[128];

	count_request(&c->counted);
	count_last(r, marked || g.record);
	if (marked)
		why = plan_make(r, &c->q.plan);

	if (c->doomed) {
		close_conn(c);
		return;
	}
	if (!r->bearer) {
		plan_free(c->q.plan);
		c->q.plan = NULL;
		send_error(c, 401, "You didn't provide an API key.", NULL);
		return;
	}
	if (why != NULL) {
		snprintf(message, sizeof(message), "bad mark: %s", why);
		send_error(c, 400, message, "bad_mark");
		return;
	}
	c->q.prompt_tokens = answer_tokens(body_len);
	c->q.model = request_model(r->body, body_len);
	schedule_answer(c);
}

/* The body of a request to the stub itself. The value is the status. */
static int
put_control(struct text *t, const struct request *r, const char *id)
{
	if (request_is(r, "GET", "/health"))
		putz(t, "{\"status\":\"ok\"}");
	else if (request_is(r, "GET", "/count") && id != NULL)
		put_count_of(t, id);
	else if (request_is(r, "GET", "/count"))
		put_counts(t);
	else if (request_is(r, "GET", "/times"))
		put_times(t, id);
	else if (request_is(r, "POST", "/reset")) {
		count_reset();
		putz(t, "{\"status\":\"ok\"}");
	} else if (!request_is(r, "GET", "/last")) {
		answer_error_body(t, 404, NULL, "Unknown request URL.",
		    "unknown_url");
		return 404;
	} else if (!put_last(t, id)) {
		answer_error_body(t, 404, NULL, "No such request was kept.",
		    NULL);
		return 404;
	}
	return 200;
}

/* The list of models, which needs a key and is no question. */
static void
handle_models(struct conn *c, const struct request *r)
{
	if (!r->bearer) {
		send_error(c, 401, "You didn't provide an API key.", NULL);
		return;
	}
	text_reset(&g.body);
	putz(&g.body,
	    "{\"object\":\"list\",\"data\":[{\"id\":\"gpt-4o-mini\","
	    "\"object\":\"model\",\"created\":0,\"owned_by\":\"stub\"}]}");
	send_body(c, 200, "application/json");
}

static void
handle_control(struct conn *c, const struct request *r)
{
	char *id = NULL;
	int status;

	text_reset(&g.body);
	if (r->query_len > 3 && memcmp(r->query, "id=", 3) == 0)
		id = decode_percent(r->query + 3, r->query_len - 3);
	status = put_control(&g.body, r, id);
	free(id);
	send_body(c, status, "application/json");
}

static bool
path_ends_with(const struct request *r, const char *tail)
{
	const size_t n = strlen(tail);

	return r->path_len >= n &&
	    memcmp(r->path + r->path_len - n, tail, n) == 0;
}

/*
 * Handles the request at p. The value is the number of its bytes; 0: it is not
 * complete yet.
 */
static size_t
take_request(struct conn *c, const char *p, size_t n)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
	const char *head_end;
	struct request r;
	size_t total;

	head_end = memmem(p, n > HEAD_MAX ? HEAD_MAX : n, "\r\n\r\n", 4);
	if (head_end == NULL) {
		if (n < HEAD_MAX)
			return 0;
		refuse_request(c, 431);
		return n;
	}
	if (!request_read(&r, p, (size_t)(head_end + 4 - p))) {
		refuse_request(c, 400);
		return n;
	}
	if (r.chunked || r.body_len > BODY_MAX) {
		refuse_request(c, r.chunked ? 411 : 413);
		return n;
	}
	total = r.head_len + (size_t)r.body_len;
	if (n < total) {
		c->need = total;
		/* An empty socket takes so few bytes as a whole. */
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
	if (is_word(r.method, r.method_len, "POST") &&
	    path_ends_with(&r, "/chat/completions"))
		handle_completion(c, &r);
	else if (is_word(r.method, r.method_len, "GET") &&
	    path_ends_with(&r, "/models"))
		handle_models(c, &r);
	else
		handle_control(c, &r);
	return total;
}

/* Handles requests that arrived before the last answer was sent. */
static void
drive_conn(struct conn *c)
{
	const char *p;
	size_t n;

	while (!c->dead && c->state == READING && c->in != NULL) {
		n = evbuffer_get_length(c->in);
		if (n == 0 || n < c->need)
			return;
		p = (const char *)evbuffer_pullup(c->in, -1);
		if (p == NULL) {
			close_conn(c);
			return;
		}
		n = take_request(c, p, n);
		if (n == 0)
			return;
		evbuffer_drain(c->in, n);
	}
}

/* Handles new bytes. Most often they are one request, which stays in place. */
static void
feed_conn(struct conn *c, const char *p, size_t n)
{
	size_t used = 0, k, held;

	held = c->in == NULL ? 0 : evbuffer_get_length(c->in);
	while (held == 0 && !c->dead && c->state == READING && used < n) {
		k = take_request(c, p + used, n - used);
		if (k == 0)
			break;
		used += k;
	}
	if (c->dead || used == n)
		return;
	/* No client of a test sends so much without waiting. */
	if (held > HEAD_MAX + BODY_MAX) {
		close_conn(c);
		return;
	}
	if (c->in == NULL)
		c->in = evbuffer_new();
	if (c->in == NULL || evbuffer_add(c->in, p + used, n - used) != 0) {
		close_conn(c);
		return;
	}
	if (held > 0)
		drive_conn(c);
}

/* --- events ---------------------------------------------------------- */

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
		feed_conn(c, g.rbuf, (size_t)n);
	if (c->dead)
		free_conn(c);
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
		finish_answer(c);
		drive_conn(c);
	}
	if (c->dead)
		free_conn(c);
}

static void
drip_answer(struct conn *c)
{
	struct timeval tv;

	if (evbuffer_write_atmost(c->out, c->fd, 1) < 0 && !would_block(errno))
		c->dead = true;
	else if (evbuffer_get_length(c->out) > 0) {
		tv = ms_tv(c->q.plan->drip);
		evtimer_add(&c->timer, &tv);
	} else
		finish_answer(c);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd;
	(void)what;
	if (c->state == DRIPPING)
		drip_answer(c);
	else if (c->state == DRAINING)
		close_conn(c);
	else {
		c->state = READING;
		answer_question(c);
	}
	drive_conn(c);
	if (c->dead)
		free_conn(c);
}

static void
free_conn(struct conn *c)
{
	count_closed(&c->counted, !c->ours);
	settle_request(c);
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
		free_conn(c);
}

/* Out of descriptors: another accept at once would only spin. */
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

static struct event_base *
base_new(void)
{
	struct event_config *cfg;
	struct event_base *base;

	cfg = event_config_new();
	if (cfg == NULL)
		return NULL;
	event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK);
	/* Tests measure delays, and milliseconds are too rough for that. */
	event_config_set_flag(cfg, EVENT_BASE_FLAG_PRECISE_TIMER);
	base = event_base_new_with_config(cfg);
	event_config_free(cfg);
	return base;
}

/* NULL: the reason is on stderr. */
static struct evconnlistener *
open_listener(struct sockaddr_in *addr)
{
	struct evconnlistener *l;
	socklen_t len = sizeof(*addr);

	l = evconnlistener_new_bind(g.base, on_accept, NULL,
	    LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE,
	    BACKLOG, (struct sockaddr *)(void *)addr, sizeof(*addr));
	if (l == NULL ||
	    getsockname(evconnlistener_get_fd(l),
		(struct sockaddr *)(void *)addr, &len) != 0) {
		fprintf(stderr, "could not listen on port %u: %s\n",
		    ntohs(addr->sin_port), strerror(errno));
		return NULL;
	}
	evconnlistener_set_error_cb(l, on_accept_error);
	return l;
}

static void
print_address(const struct sockaddr_in *addr)
{
	char name[INET_ADDRSTRLEN];

	printf("listening on %s:%u\n",
	    inet_ntop(AF_INET, &addr->sin_addr, name, sizeof(name)),
	    ntohs(addr->sin_port));
	fflush(stdout);
}

static void
close_loop(void)
{
	while (!LIST_EMPTY(&g.conns))
		free_conn(LIST_FIRST(&g.conns));
	evconnlistener_free(g.listener);
	event_free(g.relisten);
	event_base_free(g.base);
	count_close();
	request_done();
	free(g.head.p);
	free(g.body.p);
	free(g.enc.p);
}

int
loop_run(struct sockaddr_in *addr, const struct loop_options *options)
{
	struct timeval tv = ms_tv(options->delay_ms);
	struct event *term, *intr;

	g.delay_ms = options->delay_ms;
	g.record = options->record;
	g.base = base_new();
	if (g.base == NULL || !count_open()) {
		fprintf(stderr, "could not start: out of memory\n");
		return 1;
	}
	/* This makes thousands of equal delays a queue instead of a heap. */
	g.delay_tv = event_base_init_common_timeout(g.base, &tv);
	g.relisten = evtimer_new(g.base, on_relisten, NULL);
	term = evsignal_new(g.base, SIGTERM, on_signal, NULL);
	intr = evsignal_new(g.base, SIGINT, on_signal, NULL);
	g.listener = open_listener(addr);
	if (g.listener == NULL)
		return 1;
	if (g.delay_tv == NULL || g.relisten == NULL || term == NULL ||
	    intr == NULL || evsignal_add(term, NULL) != 0 ||
	    evsignal_add(intr, NULL) != 0) {
		fprintf(stderr, "could not start\n");
		return 1;
	}
	if (options->port_file != NULL &&
	    !port_write(options->port_file, ntohs(addr->sin_port))) {
		fprintf(stderr, "could not write \"%s\": %s\n",
		    options->port_file, strerror(errno));
		return 1;
	}
	print_address(addr);

	event_base_dispatch(g.base);

	event_free(term);
	event_free(intr);
	close_loop();
	return 0;
}
