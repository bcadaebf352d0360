#include "config.h"

#include "app/ctl/site.h"

#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/digest.h"

/* The time that Nginx waits for a worker beyond the deadline of a request, so
 * that the worker can still send its own response. */
#define READ_SPARE_S 10

/* The first line of a site, and the digest of all lines after it. */
#define FIRST "# Written by ai-chatctl nginx, sha256 "
#define FIRST_SIZE (sizeof(FIRST) - 1 + 2 * AIC_DIGEST_BYTES + 1)

static const char about[] =
    "#\n"
    "# AI Chat: the site between the callers and the workers. Do not edit\n"
    "# this file. Its addresses, ports, TLS and timeouts come from the\n"
    "# settings in /etc/ai-chat/ai-chat.env: change them there, and run\n"
    "# ai-chatctl nginx. Put other directives of the server block into files\n"
    "# of /etc/ai-chat/nginx/, and run ai-chatctl reload.\n"
    "#\n"
    "# Nginx reads this file only after it was enabled:\n"
    "#\n"
    "#\tln -s ../sites-available/ai-chat /etc/nginx/sites-enabled/\n"
    "#\tai-chatctl nginx\n"
    "\n";

/* --- filling in the template ---------------------------------------------- */

struct fill {
	struct aic_buf *to;
	const struct ctl_conf *own;
	const struct aic_conf *conf;
};

static void
put_metrics(const struct fill *f)
{
	aic_buf_printf(f->to, "127.0.0.1:%lld",
	    (long long)f->conf->metrics_port);
}

static void
put_shared(const struct fill *f)
{
	aic_buf_puts(f->to, f->own->nginx_dir);
}

static void
put_upstream(const struct fill *f)
{
	aic_buf_puts(f->to, f->own->upstream);
}

static void
put_extras(const struct fill *f)
{
	aic_buf_puts(f->to, f->own->extras);
}

/* In the directory "metrics" beside the other additions. */
static void
put_metrics_extras(const struct fill *f)
{
	const char *extras = f->own->extras, *slash = strrchr(extras, '/');

	aic_buf_printf(f->to, "%.*s/metrics%s", (int)(slash - extras), extras,
	    slash);
}

static void
put_read_timeout(const struct fill *f)
{
	aic_buf_printf(f->to, "%llds",
	    (long long)(f->conf->deadline_ms + 999) / 1000 + READ_SPARE_S);
}

static const struct {
	const char *name;
	void (*put)(const struct fill *f);
} names[] = {
	{ "METRICS", put_metrics },
	{ "SHARED", put_shared },
	{ "UPSTREAM", put_upstream },
	{ "EXTRAS", put_extras },
	{ "METRICS_EXTRAS", put_metrics_extras },
	{ "READ_TIMEOUT", put_read_timeout },
};

#define N_NAMES (sizeof(names) / sizeof(names[0]))

/* The length of the name between at signs at p, which is an at sign; 0: the at
 * sign begins no name. */
static size_t
scan_name(const char *p)
{
	size_t n = strspn(p + 1, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_");

	return p[n + 1] == '@' ? n : 0;
}

static enum aic_code
put_line(const struct fill *f, const char *p, size_t len, struct aic_err *err)
{
	const char *end = p + len;
	size_t n, i;

	while (p < end) {
		n = *p == '@' ? scan_name(p) : 0;
		if (n == 0) {
			aic_buf_putc(f->to, *p++);
			continue;
		}
		for (i = 0; i < N_NAMES; i++)
			if (strlen(names[i].name) == n &&
			    memcmp(names[i].name, p + 1, n) == 0)
				break;
		if (i == N_NAMES)
			return aic_fail(err, AIC_ECONF,
			    "the template of the site has an unknown name, "
			    "%.*s: the template is of another version than "
			    "ai-chatctl",
			    (int)n + 2, p);
		names[i].put(f);
		p += n + 2;
	}
	return AIC_OK;
}

/* Repeat the line of `len' bytes for each address, which replaces the mark in
 * it, and add the lines about TLS. */
static void
put_listen(const struct fill *f, const char *line, const char *mark, size_t len)
{
	const struct aic_conf *conf = f->conf;
	const char *rest = mark + strlen("@LISTEN@"), *from = conf->address;
	bool is_v6;
	int n;

	for (;; from += n + 1) {
		n = (int)strcspn(from, ",");
		is_v6 = memchr(from, ':', (size_t)n) != NULL;
		aic_buf_put(f->to, line, (size_t)(mark - line));
		aic_buf_printf(f->to, "%s%.*s%s:%lld%s", is_v6 ? "[" : "", n,
		    from, is_v6 ? "]" : "", (long long)conf->port,
		    conf->tls_certificate ? " ssl" : "");
		aic_buf_put(f->to, rest, (size_t)(line + len - rest));
		if (from[n] == '\0')
			break;
	}
	if (conf->tls_certificate)
		aic_buf_printf(f->to,
		    "\tssl_certificate %s;\n\tssl_certificate_key %s;\n"
		    "\tinclude %s/ai-chat-tls.conf;\n",
		    conf->tls_certificate, conf->tls_key, f->own->nginx_dir);
}

static enum aic_code
put_lines(const struct fill *f, const char *text, struct aic_err *err)
{
	enum aic_code rc = AIC_OK;
	const char *p, *mark;
	size_t len;

	for (p = text; !rc && *p; p += len) {
		len = strcspn(p, "\n");
		len += p[len] == '\n';
		mark = memmem(p, len, "@LISTEN@", strlen("@LISTEN@"));
		if (mark)
			put_listen(f, p, mark, len);
		else
			rc = put_line(f, p, len, err);
	}
	return rc;
}

/* The paths come from the environment, and stand in the site without quotes. */
static enum aic_code
check_paths(const struct ctl_conf *own, struct aic_err *err)
{
	const char *const paths[] = { own->nginx_dir, own->upstream,
		own->extras };
	size_t i;

	for (i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		if (paths[i][0] != '/' ||
		    strpbrk(paths[i], " \t\r\n;{}'\"\\$#"))
			return aic_fail(err, AIC_ECONF,
			    "\"%s\" is not an absolute path that Nginx can "
			    "read without quotes",
			    paths[i]);
	return AIC_OK;
}

static bool
put_digest(const char *text, size_t len, char hex[AIC_DIGEST_HEX_SIZE])
{
	unsigned char digest[AIC_DIGEST_BYTES];

	if (!aic_digest_bytes(text, len, digest))
		return false;
	aic_digest_hex(digest, hex);
	return true;
}

enum aic_code
ctl_site_fill(struct aic_buf *to, const struct ctl_conf *own,
    const struct aic_conf *conf, const char *text, struct aic_err *err)
{
	const struct fill f = { to, own, conf };
	char hex[AIC_DIGEST_HEX_SIZE] = "";
	const char *body = strstr(text, "\n\n");
	enum aic_code rc;

	rc = check_paths(own, err);
	if (!rc && !body)
		rc = aic_fail(err, AIC_ECONF,
		    "the template of the site has no empty line after its "
		    "comment");
	if (rc)
		return rc;
	/* The digest replaces zeros of the same length. */
	aic_buf_printf(to, FIRST "%064d\n%s", 0, about);
	rc = put_lines(&f, body + 2, err);
	if (rc)
		return rc;
	if (to->failed ||
	    !put_digest(to->data + FIRST_SIZE, to->len - FIRST_SIZE, hex))
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	memcpy(to->data + strlen(FIRST), hex, strlen(hex));
	return AIC_OK;
}

/* --- the state of a site -------------------------------------------------- */

bool
ctl_site_is_ours(const char *text, size_t len)
{
	char hex[AIC_DIGEST_HEX_SIZE];

	return len > FIRST_SIZE && memcmp(text, FIRST, strlen(FIRST)) == 0 &&
	    text[FIRST_SIZE - 1] == '\n' &&
	    put_digest(text + FIRST_SIZE, len - FIRST_SIZE, hex) &&
	    memcmp(text + strlen(FIRST), hex, strlen(hex)) == 0;
}

bool
ctl_site_is_read(const char *dump, const char *path)
{
	static const char mark[] = "# configuration file ";
	char want[PATH_MAX], name[PATH_MAX], found[PATH_MAX];
	const char *p, *end;

	if (!realpath(path, want))
		return false;
	for (p = dump; (p = strstr(p, mark)) != NULL; p = end) {
		end = p + strcspn(p, "\n");
		if ((p != dump && p[-1] != '\n') || end[-1] != ':')
			continue;
		snprintf(name, sizeof(name), "%.*s",
		    (int)(end - 1 - p - (int)strlen(mark)), p + strlen(mark));
		if (realpath(name, found) && strcmp(found, want) == 0)
			return true;
	}
	return false;
}

/* --- the addresses of a site ---------------------------------------------- */

/* The address of a directive such as "listen 127.0.0.1:9001 backlog=4096;". */
struct address {
	const char *host; /* "0.0.0.0", "[::1]"; empty or "*" is "0.0.0.0" */
	size_t len;
	int port;
};

/* Read the next directive listen at or after *text. */
static bool
next_address(const char **text, struct address *ret)
{
	static const char name[] = "\n\tlisten ";
	const char *p = strstr(*text, name), *colon = NULL, *end;

	if (!p)
		return false;
	ret->host = p + strlen(name);
	end = ret->host + strcspn(ret->host, " ;\n");
	for (p = ret->host; p < end; p++)
		if (*p == ':')
			colon = p;
	ret->len = colon ? (size_t)(colon - ret->host) : 0;
	ret->port = (int)strtol(colon ? colon + 1 : ret->host, NULL, 10);
	*text = end;
	return true;
}

static bool
is_host(const struct address *a, const char *host)
{
	return a->len == strlen(host) && memcmp(a->host, host, a->len) == 0;
}

static bool
is_v6(const struct address *a)
{
	return a->len > 0 && *a->host == '[';
}

static bool
is_any(const struct address *a)
{
	return a->len == 0 || is_host(a, "*") || is_host(a, "0.0.0.0") ||
	    is_host(a, "[::]");
}

bool
ctl_site_needs_restart(const char *old, const char *now, int *ret_port)
{
	struct address a, b;
	const char *p;

	while (next_address(&old, &a))
		for (p = now; next_address(&p, &b);)
			if (a.port == b.port && is_v6(&a) == is_v6(&b) &&
			    is_any(&a) != is_any(&b)) {
				*ret_port = a.port;
				return true;
			}
	return false;
}
