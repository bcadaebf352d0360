#include "config.h"

#include "app/ctl/listener.h"

#include <errno.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "lib/clock.h"

/* A worker responds to /health at once. */
#define PATIENCE_S 3

/* --- the address ---------------------------------------------------------- */

/* The part of a TCP address before its port; the port that Nginx assumes. */
struct place {
	char host[128];
	char port[8];
};

static void
split_address(const char *address, struct place *to)
{
	const char *colon = strrchr(address, ':');
	const char *bracket = strchr(address, ']');
	size_t n;

	snprintf(to->port, sizeof(to->port), "80");
	if (bracket && colon < bracket)
		colon = NULL;
	n = colon ? (size_t)(colon - address) : strlen(address);
	if (!colon && strspn(address, "0123456789") == n) {
		/* The port alone. */
		snprintf(to->port, sizeof(to->port), "%.7s", address);
		n = 0;
	} else if (colon) {
		snprintf(to->port, sizeof(to->port), "%.7s", colon + 1);
	}
	if (n >= 2 && *address == '[') {
		address++;
		n -= 2;
	}
	snprintf(to->host, sizeof(to->host), "%.*s", (int)n, address);
	/* An address of all interfaces is reached by the loopback. */
	if (n == 0 || strcmp(to->host, "*") == 0 ||
	    strcmp(to->host, "0.0.0.0") == 0)
		snprintf(to->host, sizeof(to->host), "127.0.0.1");
	else if (strcmp(to->host, "::") == 0)
		snprintf(to->host, sizeof(to->host), "::1");
}

int
ctl_listener_port(const char *address)
{
	struct place place;

	if (strncmp(address, "unix:", 5) == 0)
		return 0;
	split_address(address, &place);
	return (int)strtol(place.port, NULL, 10);
}

/* Connect with a timeout for each step. -1: see errno. */
static int
connect_to(const struct sockaddr *to, socklen_t len)
{
	const struct timeval patience = { .tv_sec = PATIENCE_S };
	int fd, saved;

	fd = socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(fd, to, len) == 0)
		return fd;
	/* A connect(2) that times out fails with EINPROGRESS. */
	saved = errno == EINPROGRESS ? ETIMEDOUT : errno;
	close(fd);
	errno = saved;
	return -1;
}

static int
open_unix(const char *path)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof(to.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(to.sun_path, path, strlen(path) + 1);
	return connect_to((const struct sockaddr *)(const void *)&to,
	    sizeof(to));
}

static int
open_address(const char *address, struct ctl_listener_answer *ret)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	struct addrinfo *found;
	struct place place;
	int fd, rc;

	if (strncmp(address, "unix:", 5) == 0) {
		fd = open_unix(address + 5);
	} else {
		split_address(address, &place);
		rc = getaddrinfo(place.host, place.port, &hints, &found);
		if (rc) {
			snprintf(ret->why, sizeof(ret->why), "%s",
			    gai_strerror(rc));
			return -1;
		}
		fd = connect_to(found->ai_addr, found->ai_addrlen);
		freeaddrinfo(found);
	}
	if (fd < 0)
		snprintf(ret->why, sizeof(ret->why), "%s", strerror(errno));
	return fd;
}

/* --- the connection ------------------------------------------------------- */

/* A connection, with or without TLS. */
struct line {
	int fd;
	SSL *tls; /* NULL: none */
};

static int64_t
unix_time(const ASN1_TIME *t)
{
	struct tm tm = { 0 };

	return ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

static void
read_certificate(const SSL *tls, struct ctl_listener_answer *ret)
{
	X509 *cert = SSL_get1_peer_certificate(tls);

	if (!cert)
		return;
	ret->cert_begins_s = unix_time(X509_get0_notBefore(cert));
	ret->cert_ends_s = unix_time(X509_get0_notAfter(cert));
	X509_free(cert);
}

/* False: there is no TLS; ret->why is set. */
static bool
start_tls(struct line *line, const char *name, struct ctl_listener_answer *ret)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	const char *reason;
	bool ok;

	line->tls = ctx ? SSL_new(ctx) : NULL;
	SSL_CTX_free(ctx); /* line->tls has a reference */
	ERR_clear_error();
	ok = line->tls && SSL_set_fd(line->tls, line->fd) == 1 &&
	    SSL_set_tlsext_host_name(line->tls, name) == 1 &&
	    SSL_connect(line->tls) == 1;
	if (ok) {
		read_certificate(line->tls, ret);
		return true;
	}
	reason = ERR_reason_error_string(ERR_peek_error());
	snprintf(ret->why, sizeof(ret->why), "TLS handshake: %s",
	    reason ? reason : "no response");
	ERR_clear_error();
	return false;
}

static ssize_t
read_line(struct line *line, char *to, size_t n)
{
	return line->tls ? SSL_read(line->tls, to, (int)n)
			 : recv(line->fd, to, n, 0);
}

static bool
write_line(struct line *line, const char *text)
{
	size_t n = strlen(text);

	return line->tls ? SSL_write(line->tls, text, (int)n) == (int)n
			 : send(line->fd, text, n, MSG_NOSIGNAL) == (ssize_t)n;
}

static void
exchange(struct line *line, const char *name, struct ctl_listener_answer *ret)
{
	int64_t until = aic_clock_us() + PATIENCE_S * AIC_S;
	char text[4096];
	size_t len = 0;
	ssize_t n = 1;

	snprintf(text, sizeof(text),
	    "GET /health HTTP/1.1\r\nHost: %s\r\nUser-Agent: ai-chatctl\r\n"
	    "Connection: close\r\n\r\n",
	    name);
	if (!write_line(line, text))
		n = -1;
	while (n > 0 && len + 1 < sizeof(text) && aic_clock_us() < until) {
		n = read_line(line, text + len, sizeof(text) - 1 - len);
		if (n > 0)
			len += (size_t)n;
	}
	text[len] = '\0';
	if (strncmp(text, "HTTP/1.", 7) == 0 && len > 12)
		ret->status = (int)strtol(text + 9, NULL, 10);
	ret->ours = strstr(text, "\"service\":\"ai_chat\"");
	if (!ret->status)
		snprintf(ret->why, sizeof(ret->why), "%s",
		    len ? "the response is not HTTP" : "no response");
}

void
ctl_listener_ask(const struct ctl_nginx_listen *listen, const char *name,
    struct ctl_listener_answer *ret)
{
	struct line line = { .tls = NULL };

	memset(ret, 0, sizeof(*ret));
	if (!*name)
		name = "localhost";
	line.fd = open_address(listen->address, ret);
	if (line.fd < 0)
		return;
	if (listen->proxied)
		(void)send(line.fd, "PROXY UNKNOWN\r\n", 15, MSG_NOSIGNAL);
	if (!listen->tls || start_tls(&line, name, ret))
		exchange(&line, name, ret);
	SSL_free(line.tls);
	close(line.fd);
}
