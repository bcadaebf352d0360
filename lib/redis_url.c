#include "config.h"

#include "lib/redis_url.h"

#include <curl/curl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "lib/hex.h"

#define PORT 6379

/*
 * Redis has 16 databases by default; a larger number than this is a typing
 * error.
 */
#define DB_MAX 9999

/* The longest name of the DNS has 253 bytes; a port follows. */
#define ADDRESS_MAX 261

#define BAD(...) aic_fail(err, AIC_ECONF, "REDIS_URL " __VA_ARGS__)

/* Copies a text and decodes its %XX. */
static enum aic_code
decode_percent(char **ret, const char *p, size_t len, struct aic_err *err)
{
	/* NUL-terminated even if the decoding fails */
	char *to = strndup(p, len);
	size_t i, n = 0;
	int c;

	if (!to)
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	*ret = to;
	for (i = 0; i < len; i++) {
		if (p[i] != '%') {
			to[n++] = p[i];
			continue;
		}
		c = len - i < 3 ? -1 : aic_hex_byte(p + i + 1);
		if (c < 0)
			return BAD("has a %% that no two hexadecimal digits "
				   "follow");
		if (c == 0)
			return BAD("has a NUL in it, %%00");
		to[n++] = (char)c;
		i += 2;
	}
	to[n] = '\0';
	return AIC_OK;
}

static enum aic_code
set_db(struct aic_redis_url *url, const char *p, struct aic_err *err)
{
	size_t digits = strspn(p, "0123456789");

	url->db = (int)strtol(p, NULL, 10);
	if (digits == 0 || digits > 5 || p[digits] || url->db > DB_MAX)
		return BAD("names no database: a number up to %d", DB_MAX);
	return AIC_OK;
}

/* Reads [user]:password if the text begins with it, and moves *p past the @. */
static enum aic_code
set_login(struct aic_redis_url *url, const char **p, struct aic_err *err)
{
	size_t len = strcspn(*p, "/?#");
	const char *at = memchr(*p, '@', len), *colon;
	enum aic_code rc = AIC_OK;

	if (!at)
		return AIC_OK;
	if (memchr(at + 1, '@', len - (size_t)(at + 1 - *p)))
		return BAD("has two @; one in a password is written %%40");
	colon = memchr(*p, ':', (size_t)(at - *p));
	if (!colon || colon + 1 == at)
		return BAD("has no password before its @");
	if (colon > *p)
		rc = decode_percent(&url->user, *p, (size_t)(colon - *p), err);
	if (!rc)
		rc = decode_percent(&url->password, colon + 1,
		    (size_t)(at - colon - 1), err);
	*p = at + 1;
	return rc;
}

/* Splits host and port, with libcurl. ret_port: NULL if there is none. */
static CURLUcode
split_address(const char *address, size_t len, char **ret_host, char **ret_port)
{
	char text[sizeof("redis://") + ADDRESS_MAX];
	CURLU *u = curl_url();
	CURLUcode rc = CURLUE_OUT_OF_MEMORY;

	snprintf(text, sizeof(text), "redis://%.*s", (int)len, address);
	if (u)
		rc = curl_url_set(u, CURLUPART_URL, text,
		    CURLU_NON_SUPPORT_SCHEME);
	if (!rc)
		rc = curl_url_get(u, CURLUPART_PORT, ret_port, 0);
	if (!rc || rc == CURLUE_NO_PORT)
		rc = curl_url_get(u, CURLUPART_HOST, ret_host, 0);
	curl_url_cleanup(u);
	return rc;
}

static enum aic_code
set_address(struct aic_redis_url *url, const char *p, size_t len,
    struct aic_err *err)
{
	char *host = NULL, *port = NULL;
	CURLUcode bad = CURLUE_BAD_HOSTNAME;
	size_t bracket;

	/* libcurl would decode the %XX of a host. */
	if (len > 0 && len <= ADDRESS_MAX && !memchr(p, '%', len))
		bad = split_address(p, len, &host, &port);
	if (host) {
		bracket = *host == '[';
		url->host = strndup(host + bracket, strlen(host) - 2 * bracket);
	}
	url->port = port ? (int)strtol(port, NULL, 10) : PORT;
	curl_free(host);
	curl_free(port);
	/* libcurl accepts the port 0, and a colon without a port. */
	if (bad == CURLUE_BAD_PORT_NUMBER ||
	    (!bad && (url->port == 0 || p[len - 1] == ':')))
		return BAD("names no port from 1 to 65535");
	if (bad == CURLUE_OUT_OF_MEMORY || (!bad && !url->host))
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	return bad ? BAD("names no host") : AIC_OK;
}

/* Reads host[:port][/db]. */
static enum aic_code
set_host(struct aic_redis_url *url, const char *p, struct aic_err *err)
{
	size_t len = strcspn(p, "/?#");
	enum aic_code rc = set_address(url, p, len, err);

	p += len;
	if (rc || *p == '\0' || strcmp(p, "/") == 0)
		return rc;
	if (*p != '/')
		return BAD("has more than host, port and database");
	return set_db(url, p + 1, err);
}

/* Reads /path[?db=N]. */
static enum aic_code
set_path(struct aic_redis_url *url, const char *p, struct aic_err *err)
{
	size_t len = strcspn(p, "?#");
	enum aic_code rc;

	if (*p != '/' || len < 2)
		return BAD("names no unix socket: its path begins with /");
	rc = decode_percent(&url->path, p, len, err);
	if (rc || !url->path) /* the second condition is for clang-tidy */
		return rc;
	if (strlen(url->path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return BAD("has a path that is too long for a unix socket");
	p += len;
	if (*p == '\0')
		return AIC_OK;
	if (strncmp(p, "?db=", 4) != 0)
		return BAD("has more than a path and ?db=");
	return set_db(url, p + 4, err);
}

enum aic_code
aic_redis_url_parse(struct aic_redis_url *ret_url, const char *text,
    struct aic_err *err)
{
	struct aic_redis_url url = { .path = NULL };
	enum aic_code rc;
	bool local = strncmp(text, "unix://", 7) == 0;
	const char *p = text + (local ? 7 : 8);

	if (strncmp(text, "rediss://", 9) == 0)
		return BAD("asks for TLS, rediss://, which is not built in");
	if (!local && strncmp(text, "redis://", 8) != 0)
		return BAD("must start with redis:// or unix://");
	/* libcurl does not wipe its memory, so it does not get the password. */
	rc = set_login(&url, &p, err);
	if (!rc)
		rc = local ? set_path(&url, p, err) : set_host(&url, p, err);
	if (rc) {
		aic_redis_url_done(&url);
		return rc;
	}
	*ret_url = url;
	return AIC_OK;
}

void
aic_redis_url_done(struct aic_redis_url *url)
{
	if (url->password)
		explicit_bzero(url->password, strlen(url->password));
	free(url->password);
	free(url->user);
	free(url->host);
	free(url->path);
	memset(url, 0, sizeof(*url));
}
