/*
 * conf -- the settings: one table, read from the environment and nothing else.
 *
 * Every name of the table is documented in systemd/ai-chat.env; a test keeps the
 * two alike. Secrets may come as NAME_FILE, a file that holds the value.
 *
 * Threads: read-only after aic_conf_load().
 */
#ifndef AIC_CONF_H
#define AIC_CONF_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/provider.h"
#include "lib/telegram.h"

struct aic_conf {
	/* secrets */
	char *api_keys; /* separated by commas */
	char *api_admin_key; /* NULL: reset-limit takes the callers' keys */
	char *database_url;
	char *openai_api_key;
	char *fallback_api_key;
	char *openai_proxy; /* NULL: none */
	char *fallback_proxy; /* or AIC_PROVIDER_DIRECT */
	char *redis_url; /* NULL: none */
	char *server_api_key; /* not NULL where there is a server_host */

	char *openai_base_url; /* no slash at the end */
	char *openai_model;
	double openai_temperature;
	int64_t openai_keep_warm; /* 1: a connection to it is kept open */
	int64_t openai_max_tokens;
	enum aic_provider_auth openai_auth;
	char *openai_auth_url;
	char *openai_auth_scope;
	char *openai_ca_file; /* added to the system's roots; NULL: none */
	char *openai_headers_file; /* NULL: none */
	char *openai_extra_body_file; /* NULL: none */
	/* The second model; for what a NULL means, and those of fallback_api_key
	 * and fallback_proxy, see aic_provider_inherit(). */
	char *fallback_base_url;
	char *fallback_model;
	enum aic_provider_auth fallback_auth;
	char *fallback_auth_url;
	char *fallback_auth_scope;
	char *fallback_ca_file;
	char *fallback_headers_file;
	char *fallback_extra_body_file;
	int64_t breaker_failures; /* chats in a row; 0: none are too many */
	int64_t breaker_open_ms;
	int64_t retry_floor; /* retries in ten seconds */
	int64_t upstream_connections; /* HTTP/2, to one server; 0: by threads */

	char *server_host; /* no slash at the end; NULL: there is no Server */
	char *server_paths; /* a list, see paths.h */
	int64_t server_timeout_ms; /* that a question waits for it */
	int64_t user_context_chars; /* of what it tells of a seller */

	int64_t port;
	char *metrics_dir; /* NULL: none */
	int64_t instance; /* the worker's number, its own on this machine */
	int64_t daily_limit; /* chats */
	int64_t user_concurrency; /* chats of a user in flight; 0: no cap */
	char *timezone; /* IANA */
	int64_t context_messages; /* exchanges */
	int64_t context_chars; /* code points, of all of them */
	int64_t answer_cache_s; /* common questions; 0: never */
	int64_t context_ttl_s; /* 0: they do not grow old */
	char *prompt_file;
	enum aic_format answer_format; /* where a request names none */
	int64_t answer_reserve; /* UTF-16 units left free in each part */
	int64_t deadline_ms;
	int64_t threads; /* chats in flight */
	int64_t db_pool; /* connections */
	int64_t db_timeout_ms;
	char *db_schema; /* with the tables */
	int64_t db_prepare; /* 1: prepared statements */
	enum aic_level log_level;
};

/*
 * aic_conf_load -- read and check all settings.
 *
 * env       environ(7)
 * ret_conf  set on AIC_OK; aic_conf_done() it
 *
 * Errors:   AIC_ECONF  err->detail names the setting and what is wrong with it,
 *                      never its value when it is a secret
 * Blocks:   on reading the files of NAME_FILE settings and credentials
 * Source:   systemd.exec(5), "CREDENTIALS_DIRECTORY": a secret that is not set is
 *           looked for there, under its name in lower case; so is the file of a
 *           HEADERS_FILE or EXTRA_BODY_FILE, under its name without _FILE
 * Memory:   gives
 */
enum aic_code aic_conf_load(struct aic_conf *ret_conf, char *const *env,
    struct aic_err *err) AIC_MUST_CHECK;

/* aic_conf_done -- wipe secrets and free. Copes with a zeroed struct. */
void aic_conf_done(struct aic_conf *conf);

/*
 * aic_conf_load_url -- DATABASE_URL alone, for programs that need nothing else.
 *
 * Memory:   gives; aic_conf_done()
 */
enum aic_code aic_conf_load_url(struct aic_conf *ret_conf, char *const *env,
    struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_conf_env -- a variable that is no setting: what a service manager says.
 *
 * NULL where it is not there. Memory: borrows from env.
 */
const char *aic_conf_env(char *const *env, const char *name);

/*
 * aic_conf_foreign -- names in the environment that are settings of wb_assist's ai_chat,
 * which this service takes the place of, and not of ours: "DAILY_LIMIT (here
 * AI_CHAT_DAILY_LIMIT), OPENAI_TIMEOUT". They have no effect, and whoever moves over should
 * see that. Names that stop the worker are not among them.
 *
 * size      what does not fit is left out
 *
 * False: there are none, and nothing is written.
 */
bool aic_conf_foreign(char *const *env, char *to, size_t size);

/* aic_conf_name -- the n-th name of the table, or NULL past its end. */
const char *aic_conf_name(unsigned n);

#endif
