/*
 * http_sock -- the sockets of the engine's connections: what epoll waits for,
 * and which idle connections are stale.
 *
 * A connection that no transfer uses stays registered with epoll, so that its
 * end is noticed before a call is begun on it.
 *
 * Threads: only the one that drives the engine.
 */
#ifndef AIC_HTTP_SOCK_H
#define AIC_HTTP_SOCK_H

#include "lib/http_state.h"

/*
 * aic_http_sock_init -- make h->epoll, which waits for h->wakeup.
 *
 * Errors:   false: no descriptor or no memory; aic_http_sock_done() has to be
 *           called anyway
 */
bool aic_http_sock_init(struct aic_http *h) AIC_MUST_CHECK;
void aic_http_sock_done(struct aic_http *h);

/*
 * aic_http_sock_open -- open a socket for a connection to an upstream.
 *
 * ret_no_socket  on failure: whether no descriptor or no memory was available.
 *           False: the host has no such address family.
 *
 * Errors:   -1
 */
int aic_http_sock_open(struct aic_http *h, struct aic_http_upstream *up,
    const struct curl_sockaddr *address, bool *ret_no_socket) AIC_MUST_CHECK;

/*
 * aic_http_sock_on_watch, aic_http_sock_on_close -- callbacks of libcurl
 * (CURLMOPT_SOCKETFUNCTION, CURLOPT_CLOSESOCKETFUNCTION); arg is the engine.
 */
int aic_http_sock_on_watch(CURL *easy, curl_socket_t fd, int what, void *arg,
    void *sock_arg);
int aic_http_sock_on_close(void *arg, curl_socket_t fd);

/*
 * aic_http_sock_note_idle -- handle events of epoll on an idle connection.
 *
 * The value is false if the connection is in use, and libcurl has to handle the
 * events.
 */
bool aic_http_sock_note_idle(struct aic_http *h, int fd, uint32_t events);

/*
 * aic_http_sock_age_idle -- mark idle connections as stale that libcurl no
 * longer uses because of their age. Calls that relied on them would all have to
 * wait for a new connection.
 */
void aic_http_sock_age_idle(struct aic_http *h, struct aic_http_upstream *up);

/* aic_http_sock_find -- the descriptor of an HTTP/2 connection; -1: none. */
int aic_http_sock_find(const struct aic_http *h, const void *connection);

#endif
