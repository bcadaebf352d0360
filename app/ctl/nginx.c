#include "config.h"

#include "app/ctl/nginx.h"

#include <ctype.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"

/* The name of the upstream in nginx/ai-chat.conf.in. */
#define UPSTREAM "ai_chat"

/* The pause between two polls of Nginx's processes. */
#define PAUSE_US (20 * AIC_MS)

/* A host with a larger configuration is not supported. */
#define FILES_MAX 512
#define BLOCKS_MAX 16384
#define DEPTH_MAX 16
#define LISTENS_MAX 512

/* The words of a directive that are read; further words are ignored. */
#define WORDS_MAX 8

/* --- the processes of Nginx ----------------------------------------------- */

void
ctl_nginx_note(struct ctl_nginx *old, pid_t master)
{
	char path[64], text[CTL_NGINX_PROCESSES * 11 + 1], *p = text, *end;
	FILE *fp;
	long pid;

	memset(old, 0, sizeof(*old));
	old->master = master;
	if (master <= 0)
		return;
	snprintf(path, sizeof(path), "/proc/%ld/task/%ld/children",
	    (long)master, (long)master);
	fp = fopen(path, "re");
	if (!fp)
		return;
	text[fread(text, 1, sizeof(text) - 1, fp)] = '\0';
	fclose(fp);
	while (old->n < CTL_NGINX_PROCESSES) {
		pid = strtol(p, &end, 10);
		if (end == p)
			break;
		old->pid[old->n++] = (pid_t)pid;
		p = end;
	}
}

/* A process of Nginx sets its title to "is shutting down", and closes its
 * listening sockets right after that. */
static bool
is_shutting_down(pid_t pid)
{
	char path[64], title[256];
	size_t n;
	FILE *fp;

	snprintf(path, sizeof(path), "/proc/%ld/cmdline", (long)pid);
	fp = fopen(path, "re");
	if (!fp)
		return true;
	n = fread(title, 1, sizeof(title) - 1, fp);
	fclose(fp);
	title[n] = '\0';
	return n == 0 || strstr(title, "is shutting down");
}

/* A process that is no longer a child of the master has ended, even if another
 * process has its number. */
static bool
is_child(const struct ctl_nginx *now, pid_t pid)
{
	int i;

	for (i = 0; i < now->n; i++)
		if (now->pid[i] == pid)
			return true;
	return false;
}

bool
ctl_nginx_wait(const struct ctl_nginx *old, bool ended, int64_t deadline_us)
{
	struct ctl_nginx now;
	int i, left;

	for (;;) {
		ctl_nginx_note(&now, old->master);
		for (i = 0, left = 0; i < old->n; i++)
			left += is_child(&now, old->pid[i]) &&
			    (ended || !is_shutting_down(old->pid[i]));
		if (left == 0)
			return true;
		if (aic_clock_us() >= deadline_us)
			return false;
		aic_clock_sleep(aic_clock_us() + PAUSE_US);
	}
}

/* --- the configuration of Nginx ------------------------------------------- */

/* The directives to read. */
enum value { READ, SEND, BODY, VALUES };

static const struct {
	const char *name;
	int64_t preset; /* Nginx's default */
	bool size; /* a size in bytes; otherwise a time in ms */
} values[VALUES] = {
	[READ] = { "fastcgi_read_timeout", 60000, false },
	[SEND] = { "fastcgi_send_timeout", 60000, false },
	[BODY] = { "client_max_body_size", 1048576, true },
};

/* A block of the configuration, or the whole file. A directive applies to the
 * inner blocks as well, wherever in the block the directive stands. So the
 * whole configuration is read before a value is looked up. */
struct block {
	int up; /* the enclosing block; -1: none */
	bool passes; /* to the workers */
	bool is_server;
	bool is_metrics; /* the location of /metrics alone */
	int64_t value[VALUES]; /* -1: not set in this block */
};

/* A word: a word, a string without its quotes, or one of ; { }. */
struct word {
	const char *p;
	size_t n;
	bool sign; /* one of ; { } */
};

/* The directives listen and server_name of the server blocks. */
struct listen {
	int block;
	struct word word[WORDS_MAX];
	int n;
};

/* A file of the dump. The dump prints each file once; an include directive is
 * replaced by the file while the including file is read. */
struct file {
	char *name;
	char *text;
};

struct reader {
	struct file files[FILES_MAX];
	int n_files;
	struct block *blocks;
	int n_blocks;
	struct listen listens[LISTENS_MAX];
	int n_listens;
	int depth;
};

static const char mark[] = "# configuration file ";

/* Split the dump at lines like "# configuration file /etc/nginx/nginx.conf:",
 * each of which precedes the text of a file. */
static bool
split_dump(struct reader *r, char *dump)
{
	char *p = strncmp(dump, mark, strlen(mark)) == 0 ? dump
							 : strstr(dump, mark);
	char *end;

	while (p && r->n_files < FILES_MAX) {
		if (p > dump)
			p[-1] = '\0';
		p += strlen(mark);
		end = strchr(p, '\n');
		if (!end || end == p || end[-1] != ':')
			return false;
		end[-1] = '\0';
		r->files[r->n_files].name = p;
		r->files[r->n_files].text = end + 1;
		r->n_files++;
		p = end;
		do {
			p = strstr(p + 1, mark);
		} while (p && p[-1] != '\n');
	}
	return r->n_files > 0;
}

/* Parse "256k" or "1m 30s". A number without a unit is in bytes, or in
 * seconds. */
static int64_t
read_value(bool size, const char *text)
{
	static const struct {
		const char *name;
		int64_t factor;
		bool size;
	} units[] = {
		{ "k", 1024, true },
		{ "K", 1024, true },
		{ "m", 1048576, true },
		{ "M", 1048576, true },
		{ "g", 1073741824, true },
		{ "G", 1073741824, true },
		{ "", 1, true },
		{ "ms", 1, false },
		{ "m", 60000, false },
		{ "h", 3600000, false },
		{ "d", 86400000, false },
		{ "s", 1000, false },
		{ "", 1000, false },
	};
	int64_t n, sum = 0;
	char *end;
	size_t i;

	while (isdigit((unsigned char)*text)) {
		n = strtoll(text, &end, 10);
		for (i = 0; units[i].size != size ||
		     strncmp(end, units[i].name, strlen(units[i].name)) != 0;
		     i++)
			;
		sum += n * units[i].factor;
		text = end + strlen(units[i].name);
		text += strspn(text, " ");
	}
	return sum;
}

/* Read the next word. At the end of the text the word is empty. */
static struct word
next_word(const char **text)
{
	const char *p = *text, *start;
	char quote;

	for (;;) {
		p += strspn(p, " \t\r\n");
		if (*p != '#')
			break;
		p += strcspn(p, "\n");
	}
	start = p;
	if (*p && strchr(";{}", *p)) {
		*text = p + 1;
		return (struct word){ start, 1, true };
	}
	if (*p == '"' || *p == '\'') {
		quote = *p++;
		for (start = p; *p && *p != quote; p++)
			p += *p == '\\' && p[1];
		*text = p + (*p != '\0');
		return (struct word){ start, (size_t)(p - start), false };
	}
	for (; *p && !strchr(" \t\r\n;{}", *p); p++) {
		if (*p == '$' && p[1] == '{')
			p += strcspn(p, "}");
		else if (*p == '\\' && p[1])
			p++;
		if (!*p)
			break;
	}
	*text = p;
	return (struct word){ start, (size_t)(p - start), false };
}

static bool
is_word(const struct word *w, const char *what)
{
	return !w->sign && w->n == strlen(what) &&
	    memcmp(w->p, what, w->n) == 0;
}

static int
add_block(struct reader *r, int up)
{
	struct block *b = &r->blocks[r->n_blocks];

	if (r->n_blocks == BLOCKS_MAX)
		return -1;
	*b = (struct block){ .up = up, .value = { -1, -1, -1 } };
	return r->n_blocks++;
}

static void
name_block(struct block *b, const struct word *words, int n)
{
	b->is_server = n == 1 && is_word(&words[0], "server");
	b->is_metrics = n == 3 && is_word(&words[0], "location") &&
	    is_word(&words[1], "=") && is_word(&words[2], "/metrics");
}

static bool read_text(struct reader *r, const char *text, int block);

/* Read all files that an include directive names, in its place. */
static bool
read_include(struct reader *r, const struct word *w, int block)
{
	char pattern[PATH_MAX];
	const char *slash = strrchr(r->files[0].name, '/');
	int i, dir = slash ? (int)(slash - r->files[0].name) : 0;
	bool ok = true;

	if (*w->p == '/')
		snprintf(pattern, sizeof(pattern), "%.*s", (int)w->n, w->p);
	else
		snprintf(pattern, sizeof(pattern), "%.*s/%.*s", dir,
		    r->files[0].name, (int)w->n, w->p);
	r->depth++;
	for (i = 0; ok && i < r->n_files && r->depth < DEPTH_MAX; i++)
		if (fnmatch(pattern, r->files[i].name, FNM_PATHNAME) == 0)
			ok = read_text(r, r->files[i].text, block);
	r->depth--;
	return ok;
}

/* Evaluate a directive of n words. */
static bool
read_directive(struct reader *r, const struct word *words, int n, int block)
{
	static const struct word none = { "", 0, false };
	const struct word *name = words, *arg = n > 1 ? &words[1] : &none;
	struct listen *l;
	char text[64];
	int v;

	if (is_word(name, "include") && arg->n > 0)
		return read_include(r, arg, block);
	if ((is_word(name, "listen") || is_word(name, "server_name")) &&
	    arg->n > 0 && r->n_listens < LISTENS_MAX) {
		l = &r->listens[r->n_listens++];
		l->block = block;
		l->n = n;
		memcpy(l->word, words, (size_t)n * sizeof(*words));
	}
	if (is_word(name, "fastcgi_pass") && is_word(arg, UPSTREAM))
		r->blocks[block].passes = true;
	for (v = 0; v < VALUES; v++)
		if (is_word(name, values[v].name)) {
			snprintf(text, sizeof(text), "%.*s", (int)arg->n,
			    arg->p);
			r->blocks[block].value[v] = read_value(values[v].size,
			    text);
		}
	return true;
}

/* False: the braces do not match, or the text is incomplete. */
static bool
read_text(struct reader *r, const char *text, int block)
{
	struct word w, words[WORDS_MAX];
	int n = 0, top = block;
	bool ok = true;

	for (;;) {
		w = next_word(&text);
		if (!w.sign) {
			/* An empty string is an ordinary word. */
			if (w.n == 0 && *text == '\0')
				break;
			if (n < WORDS_MAX)
				words[n++] = w;
			continue;
		}
		if (*w.p == '}') {
			if (block == top)
				return false;
			block = r->blocks[block].up;
		} else if (*w.p == '{') {
			block = add_block(r, block);
			if (block >= 0)
				name_block(&r->blocks[block], words, n);
		} else if (n > 0) {
			ok = read_directive(r, words, n, block);
		}
		if (!ok || block < 0)
			return false;
		n = 0;
	}
	return block == top;
}

/* The effective value in a block: that of the block, or of the nearest
 * enclosing block that sets the value. */
static int64_t
find_value(const struct reader *r, int block, enum value v)
{
	for (; block >= 0; block = r->blocks[block].up)
		if (r->blocks[block].value[v] >= 0)
			return r->blocks[block].value[v];
	return values[v].preset;
}

static int64_t
min_of(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static void
add_site_place(struct ctl_nginx_site *site, const struct reader *r, int block)
{
	int64_t read = find_value(r, block, READ);
	int64_t send = find_value(r, block, SEND);
	int64_t body = find_value(r, block, BODY);
	bool first = site->places++ == 0;

	site->read_ms = first ? read : min_of(site->read_ms, read);
	site->send_ms = first ? send : min_of(site->send_ms, send);
	site->body_min = first ? body : min_of(site->body_min, body);
	site->body_max = first ? body : -min_of(-site->body_max, -body);
}

/* --- where callers reach the workers -------------------------------------- */

static int
find_server(const struct reader *r, int block)
{
	while (block >= 0 && !r->blocks[block].is_server)
		block = r->blocks[block].up;
	return block;
}

static bool
has_word(const struct listen *l, const char *what)
{
	int i;

	for (i = 2; i < l->n; i++)
		if (is_word(&l->word[i], what))
			return true;
	return false;
}

static void
add_listen(struct ctl_nginx_site *site, const struct listen *l)
{
	struct ctl_nginx_listen *to = &site->listen[site->n_listens];
	int i;

	if (site->n_listens == CTL_NGINX_LISTENS || has_word(l, "udp") ||
	    has_word(l, "quic"))
		return;
	snprintf(to->address, sizeof(to->address), "%.*s", (int)l->word[1].n,
	    l->word[1].p);
	to->tls = has_word(l, "ssl");
	to->proxied = has_word(l, "proxy_protocol");
	for (i = 0; i < site->n_listens; i++)
		if (strcmp(site->listen[i].address, to->address) == 0)
			return;
	site->n_listens++;
}

/* The name is sent as the host of a request, so that Nginx selects this server
 * among several on the same address. A pattern cannot be sent. */
static void
set_name(struct ctl_nginx_site *site, const struct listen *l)
{
	const struct word *w;
	int i;

	for (i = 1; i < l->n && !site->name[0]; i++) {
		w = &l->word[i];
		if (w->n > 0 && w->n < sizeof(site->name) &&
		    !memchr(w->p, '*', w->n) && !strchr("~_.", *w->p))
			snprintf(site->name, sizeof(site->name), "%.*s",
			    (int)w->n, w->p);
	}
}

/* Collect the addresses of the servers that pass more than /metrics. */
static void
add_listens(struct ctl_nginx_site *site, const struct reader *r)
{
	static const struct listen preset = {
		.word = { [1] = { "*:80", 4, false } }, .n = 2
	};
	int i, j, server, last = -1, n;

	for (i = 0; i < r->n_blocks; i++) {
		server = find_server(r, i);
		if (!r->blocks[i].passes || r->blocks[i].is_metrics ||
		    server < 0 || server == last)
			continue;
		last = server;
		for (j = n = 0; j < r->n_listens; j++) {
			if (r->listens[j].block != server)
				continue;
			if (is_word(&r->listens[j].word[0], "listen") && ++n)
				add_listen(site, &r->listens[j]);
			else
				set_name(site, &r->listens[j]);
		}
		if (n == 0)
			add_listen(site, &preset);
	}
}

enum aic_code
ctl_nginx_read(struct ctl_nginx_site *ret, char *dump, const char *list,
    struct aic_err *err)
{
	struct reader r = { .n_files = 0 };
	bool ok;
	int i;

	memset(ret, 0, sizeof(*ret));
	r.blocks = calloc(BLOCKS_MAX, sizeof(*r.blocks));
	if (!r.blocks)
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	ok = split_dump(&r, dump) &&
	    read_text(&r, r.files[0].text, add_block(&r, -1));
	for (i = 0; i < r.n_blocks; i++)
		if (r.blocks[i].passes)
			add_site_place(ret, &r, i);
	add_listens(ret, &r);
	for (i = 0; i < r.n_files; i++)
		if (strcmp(r.files[i].name, list) == 0)
			ret->listed = true;
	free(r.blocks);
	return ok
	    ? AIC_OK
	    : aic_fail(err, AIC_ECONF, "could not read Nginx's configuration");
}
