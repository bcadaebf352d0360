/*
 * conf -- the settings: one table, read from the environment only.
 *
 * systemd/ai-chat.env documents every name of the table; a test compares the
 * two. A secret may be given as NAME_FILE, the path of a file that contains the
 * value.
 *
 * Threads: read-only after aic_conf_load().
 */
#ifndef AIC_CONF_H
#define AIC_CONF_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/auth.h"
#include "lib/err.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/provider.h"
#include "lib/telegram.h"

struct aic_conf {
	/* Secrets. */
	char *api_keys; /* separated by commas */
	char *api_admin_key; /* NULL: reset-limit accepts api_keys */
	char *admin_key_names; /* NULL: one key, named "key 1" */
	struct aic_auth *auth; /* of these keys; NULL: aic_conf_load_url() */
	char *database_url;
	char *migrate_url; /* aic_conf_load_url() only; NULL: none */
	char *openai_api_key;
	char *fallback_api_key;
	char *openai_proxy; /* NULL: none */
	char *fallback_proxy; /* or AIC_PROVIDER_DIRECT */
	char *redis_url; /* NULL: none */
	char *server_api_key; /* not NULL if server_host is set */

	char *openai_base_url; /* without a final slash */
	char *openai_model;
	double openai_temperature;
	int64_t openai_keep_warm; /* 1: keep a connection to the model open */
	int64_t openai_max_tokens;
	enum aic_provider_auth openai_auth;
	char *openai_auth_url;
	char *openai_auth_scope;
	/* in addition to the roots of the system; NULL: none */
	char *openai_ca_file;
	char *openai_headers_file; /* NULL: none */
	char *openai_extra_body_file; /* NULL: none */
	/*
	 * The fallback model. aic_provider_inherit() defines what NULL means
	 * for these, for fallback_api_key and for fallback_proxy.
	 */
	char *fallback_base_url;
	char *fallback_model;
	enum aic_provider_auth fallback_auth;
	char *fallback_auth_url;
	char *fallback_auth_scope;
	char *fallback_ca_file;
	char *fallback_headers_file;
	char *fallback_extra_body_file;
	/* consecutive failed chats; 0: breaker disabled */
	int64_t breaker_failures;
	int64_t breaker_open_ms;
	int64_t retry_floor; /* retries in ten seconds */
	/* HTTP/2 connections to one server; 0: derived from `threads' */
	int64_t upstream_connections;

	char *server_host; /* without a final slash; NULL: no seller-data API */
	char *server_paths; /* a list, see paths.h */
	int64_t server_timeout_ms; /* longest wait of a chat for seller data */
	int64_t user_context_chars; /* limit for the seller data of a prompt */

	/* The site of Nginx. */
	char *address; /* IPv4 and IPv6 addresses, separated by commas */
	int64_t port;
	int64_t metrics_port;
	char *tls_certificate; /* path of a PEM file; NULL: no TLS */
	char *tls_key; /* path of a PEM file; set with tls_certificate */

	int64_t api_docs; /* 1: serve /openapi.json and /docs */
	char *metrics_dir; /* NULL: none */
	int64_t instance; /* number of the worker, unique on its host */
	int64_t daily_limit; /* chats */
	int64_t user_concurrency; /* chats of a user in flight; 0: no limit */
	char *timezone; /* IANA */
	int64_t context_messages; /* exchanges */
	int64_t context_chars; /* code points of the whole context */
	int64_t answer_cache_s; /* lifetime of cached answers; 0: no cache */
	int64_t context_ttl_s; /* maximum age of an exchange; 0: none */
	char *prompt_file;
	/* for requests that do not specify one */
	enum aic_format answer_format;
	int64_t answer_reserve; /* UTF-16 units left free in each part */
	int64_t deadline_ms;
	int64_t threads; /* maximum of chats in flight */
	int64_t db_pool; /* connections */
	int64_t db_timeout_ms;
	char *db_schema; /* schema of the tables */
	int64_t db_prepare; /* 1: use prepared statements */
	enum aic_level log_level;
};

/*
 * aic_conf_load -- read and check all settings.
 *
 * env       environ(7)
 * ret_conf  set on AIC_OK
 *
 * Errors:   AIC_ECONF  err->detail names the setting and the fault. It never
 *           contains the value of a secret.
 * Blocks:   on reading the files of NAME_FILE settings and credentials
 * Source:   systemd.exec(5), "CREDENTIALS_DIRECTORY". If a secret is not set,
 *           it is read from the file in this directory that has the name of
 *           the secret in lower case. The file of a HEADERS_FILE or
 *           EXTRA_BODY_FILE has that name without _file.
 * Memory:   gives; aic_conf_done()
 */
enum aic_code aic_conf_load(struct aic_conf *ret_conf, char *const *env,
    struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_conf_models -- the settings of the primary model and of the fallback
 * model.
 *
 * to        two elements; borrows from conf
 */
void aic_conf_models(const struct aic_conf *conf, struct aic_provider_conf *to);

/* aic_conf_done -- wipe the secrets and free. A zeroed struct is allowed. */
void aic_conf_done(struct aic_conf *conf);

/*
 * aic_conf_load_url -- read what ai-chat-migrate needs: DATABASE_URL,
 * AI_CHAT_MIGRATE_URL, which replaces it, and AI_CHAT_DB_SCHEMA.
 *
 * ret_conf  database_url can be NULL if migrate_url is not
 *
 * Memory:   gives; aic_conf_done()
 */
enum aic_code aic_conf_load_url(struct aic_conf *ret_conf, char *const *env,
    struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_conf_load_site -- read the settings of Nginx's site alone: addresses,
 * ports, TLS and the deadline. The other settings can be invalid, or not set.
 *
 * Errors:   AIC_ECONF  as aic_conf_load(); also an unknown AI_CHAT_* name
 * Memory:   gives; aic_conf_done()
 */
enum aic_code aic_conf_load_site(struct aic_conf *ret_conf, char *const *env,
    struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_conf_env -- read a variable that is no setting, such as those of a
 * service manager.
 *
 * NULL: not set.
 *
 * Memory:   borrows from env
 */
const char *aic_conf_env(char *const *env, const char *name);

/* aic_conf_is_name -- true if the n bytes are the name of a setting, or of the
 * file of a secret, NAME_FILE. */
bool aic_conf_is_name(const char *name, size_t n);

/* aic_conf_near -- the setting that was probably meant by a wrong name of n
 * bytes; NULL: none. */
const char *aic_conf_near(const char *name, size_t n);

/* aic_conf_name -- name n of the table; NULL past its end. */
const char *aic_conf_name(unsigned n);

/* How a file can have the value of a setting. */
enum aic_conf_file {
	AIC_CONF_FILE_NONE,
	AIC_CONF_FILE_SECRET, /* NAME_FILE, or the credential name */
	AIC_CONF_FILE_PATH, /* the value is a path, or the credential is read */
};

enum aic_conf_file aic_conf_file(unsigned n);

#endif
