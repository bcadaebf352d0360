/*
 * gigachat -- the access token of GigaChat's API, which is asked for with the key
 * and is valid for half an hour.
 *
 * One token is shared by all threads of a worker. It is renewed after four fifths of
 * its life, by the one thread that comes first; the others go on with the old token
 * meanwhile. Where there is no valid token, one thread asks and the others wait for
 * it, each within its own deadline. A failure is shared the same way, and for a
 * moment the server is not asked again.
 *
 * How a request is sent is the caller's: a function. So this module knows nothing of
 * connections.
 *
 * Threads: any.
 */
#ifndef AIC_GIGACHAT_H
#define AIC_GIGACHAT_H

#include <stdbool.h>
#include <stdint.h>

#include "clock.h"
#include "err.h"
#include "http.h"

/* Where they are not set. */
#define AIC_GIGACHAT_URL "https://ngw.devices.sberbank.ru:9443/api/v2/oauth"
#define AIC_GIGACHAT_SCOPE "GIGACHAT_API_PERS"

/* A token is valid for half an hour, says the documentation. A longer life would
 * come of a clock that is wrong, and is not believed. */
#define AIC_GIGACHAT_LIFE_US (1800 * AIC_S)

/* The life of a token that has expired already, which a clock that is wrong makes of
 * it, or that does not say. When it ends sooner, the API refuses it. */
#define AIC_GIGACHAT_LIFE_UNKNOWN_US (600 * AIC_S)

/* How long a server that has failed is not asked again; one that refused the key,
 * which only an operator can change. */
#define AIC_GIGACHAT_PAUSE_US (250 * AIC_MS)
#define AIC_GIGACHAT_REFUSED_US (10 * AIC_S)

struct aic_gigachat;

struct aic_gigachat_conf {
	const char *url;
	const char *key;
	const char *scope;
	/* Clocks, for tests; NULL: the real ones. */
	int64_t (*now_us)(void); /* monotonic */
	int64_t (*wall_ms)(void); /* Unix time */
};

struct aic_gigachat_call {
	/* Sends a request whose url, headers, body and times are set, and reads the
	 * answer, which has been initialised. */
	void (*send)(void *arg, const struct aic_http_request *req,
	    struct aic_http_answer *answer);
	void *send_arg;
	int64_t deadline_us;
	bool (*gone)(void *arg); /* the caller has left; NULL: never asked */
	void *gone_arg;
};

struct aic_gigachat_token {
	char *header; /* "Authorization: Bearer TOKEN" */
	const char *text; /* TOKEN, within it */
	uint64_t serial;
};

/* aic_gigachat_open -- Errors: AIC_ENOMEM. Memory: gives; aic_gigachat_close(). */
enum aic_code aic_gigachat_open(struct aic_gigachat **ret_gigachat,
    const struct aic_gigachat_conf *conf, struct aic_err *err) AIC_MUST_CHECK;

/* aic_gigachat_close -- wipes key and token. NULL is fine. */
void aic_gigachat_close(struct aic_gigachat *gigachat);

/*
 * aic_gigachat_get -- the token, renewed if need be.
 *
 * ret_token  set when the value is AIC_HTTP_ANSWERED
 * ret_why    otherwise: what failed, for the log; never the key or a token
 *
 * The value is AIC_HTTP_ANSWERED, or
 *   AIC_HTTP_CONNECT    no token came, and the next attempt may have one
 *   AIC_HTTP_FAILED     the key was refused, or the server cannot be asked as it is
 *                       set up
 *   AIC_HTTP_TIMEOUT    the deadline passed
 *   AIC_HTTP_GONE, AIC_HTTP_NO_MEMORY
 *
 * Blocks:   until the deadline at most
 * Memory:   gives; aic_gigachat_token_done()
 * Source:   developers.sber.ru, GigaChat API, "POST /api/v2/oauth"
 */
enum aic_http_end aic_gigachat_get(struct aic_gigachat *gigachat,
    const struct aic_gigachat_call *call, struct aic_gigachat_token *ret_token,
    char ret_why[AIC_HTTP_WHY_SIZE]);

/*
 * aic_gigachat_refused -- the API refused a token: is it worth asking again with
 * another one?
 *
 * True: the next aic_gigachat_get() gives another one. False: a token was renewed
 * for this reason a moment ago, so the reason is not its age.
 */
bool aic_gigachat_refused(struct aic_gigachat *gigachat, uint64_t serial);

/* aic_gigachat_token_done -- wipes. Copes with a zeroed struct. */
void aic_gigachat_token_done(struct aic_gigachat_token *token);

#endif
