/*
 * gigachat -- the access token of GigaChat's API. It is requested with the key
 * and is valid for half an hour.
 *
 * All threads of a worker share one token. The first thread that needs it after
 * four fifths of its life renews it; the other threads use the old token
 * meanwhile. If there is no valid token, one thread sends a request and the
 * others wait for the result, each until its own deadline. A failure is
 * returned to all of them, and no further request is sent during a short pause.
 *
 * The caller passes a function that sends a request, so that this module does
 * not depend on connections, proxies and certificates.
 *
 * Threads: any.
 */
#ifndef AIC_GIGACHAT_H
#define AIC_GIGACHAT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/http.h"

/* The defaults. */
#define AIC_GIGACHAT_URL "https://ngw.devices.sberbank.ru:9443/api/v2/oauth"
#define AIC_GIGACHAT_SCOPE "GIGACHAT_API_PERS"

/*
 * The documentation states that a token is valid for half an hour. A longer
 * life means that our clock is wrong, and is reduced to this.
 */
#define AIC_GIGACHAT_LIFE_US (1800 * AIC_S)

/*
 * The life of a token without a usable expires_at, which is absent, or in the
 * past because our clock is wrong. If the token expires sooner, the API refuses
 * it, and it is renewed then.
 */
#define AIC_GIGACHAT_LIFE_UNKNOWN_US (600 * AIC_S)

/*
 * No request is sent for this long after a failure, and after the key was
 * refused, which only an operator can correct.
 */
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
	/*
	 * Sends a request whose url, headers, body and times are set, and sets
	 * the answer, which has been initialised.
	 */
	void (*send)(void *arg, const struct aic_http_request *req,
	    struct aic_http_answer *answer);
	void *send_arg;
	int64_t deadline_us;
	/* whether the caller has left; NULL: not called */
	bool (*gone)(void *arg);
	void *gone_arg;
};

struct aic_gigachat_token {
	char *header; /* "Authorization: Bearer TOKEN" */
	const char *text; /* TOKEN, a part of header */
	uint64_t serial;
};

/*
 * aic_gigachat_open -- start without a token.
 *
 * Errors:   AIC_ENOMEM
 * Memory:   gives; aic_gigachat_close()
 */
enum aic_code aic_gigachat_open(struct aic_gigachat **ret_gigachat,
    const struct aic_gigachat_conf *conf, struct aic_err *err) AIC_MUST_CHECK;

/* aic_gigachat_close -- wipe key and token, and free. NULL is allowed. */
void aic_gigachat_close(struct aic_gigachat *gigachat);

/*
 * aic_gigachat_get -- get the token, and renew it if necessary.
 *
 * ret_token  set when the value is AIC_HTTP_ANSWERED
 * ret_why   otherwise the reason, for the log; never the key or a token
 *
 * The value is AIC_HTTP_ANSWERED, or
 *   AIC_HTTP_CONNECT    no token was received; another attempt may succeed
 *   AIC_HTTP_FAILED     the key was refused, or the settings cannot work
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
 * aic_gigachat_refused -- report that the API refused a token. The value says
 * whether a retry with another token is useful.
 *
 * True: the next aic_gigachat_get() returns another token. False: a token was
 * renewed for this reason a moment ago, so its age is not the reason.
 */
bool aic_gigachat_refused(struct aic_gigachat *gigachat, uint64_t serial);

/* aic_gigachat_token_done -- wipe and free. A zeroed struct is allowed. */
void aic_gigachat_token_done(struct aic_gigachat_token *token);

#endif
