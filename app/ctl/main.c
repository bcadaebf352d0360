#include "config.h"

#include "app/ctl/ctl.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "lib/cache_keys.h"
#include "lib/clock.h"
#include "lib/conf_hints.h"
#include "lib/json.h"
#include "lib/retain.h"

/* The maximum size of a document. 100 exchanges of 1 MiB are more than any
 * person can read. */
#define DOC_MAX (256 * 1024 * 1024)

/* The maximum timeout of a statement; ctl_db() sets the actual one. */
#define STATEMENT_MS 60000

/* A connection over a slow network with TLS takes a second. */
#define CONNECT_US (3 * AIC_S)

/* A Redis that works responds in milliseconds. */
#define CACHE_US (500 * AIC_MS)

static const char usage[] =
    "usage: ai-chatctl COMMAND [ARGUMENT] [--json]\n"
    "\n"
    "  status                print the state of each worker\n"
    "  scale N               change the number of workers to N\n"
    "  restart [N]           restart the workers, one after another, or one\n"
    "                        of them\n"
    "  reload                test Nginx's configuration and reload Nginx\n"
    "  nginx [--print | --no-reload] [--force]\n"
    "                        write Nginx's site from the settings, and reload\n"
    "  migrate               bring the database up to date\n"
    "  check [--model]       check settings, database, Nginx, models and\n"
    "                        workers; with --model ask each model a\n"
    "                        question, which costs money\n"
    "  limits ID             print the daily limit of a user and its use\n"
    "  reset-limit ID        reset the daily limit of a user\n"
    "  history ID [--limit N] [--offset N]\n"
    "                        print the last exchanges of a user\n"
    "  stats [ID] [--days N] print statistics of a user, or of all users\n"
    "  clear ID              begin a new conversation of a user\n"
    "  forget ID [--yes]     delete everything stored about a user\n"
    "  prune --older-than DAYS\n"
    "                        delete exchanges older than DAYS days\n"
    "\n"
    "  --json     print one JSON document\n"
    "  --help     print this help, and exit\n"
    "  --version  print the version, and exit\n"
    "\n"
    "ID is a telegram_id. The settings of the workers are read from\n"
    "/etc/ai-chat/ai-chat.env; ai-chatctl(8) describes each command.\n"
    "\n"
    "Exit status: 0 success, and no problem found; 1 a failure, or a problem\n"
    "found; 2 invalid usage or settings.\n";

enum argument { NONE, NUMBER, MAYBE_NUMBER, USER, MAYBE_USER };

enum {
	/* Options of single commands. */
	LIMIT = 1,
	DAYS = 2,
	OLDER = 4,
	YES = 8,
	OFFSET = 16,
	MODEL = 32,
	PRINT = 64,
	FORCE = 128,
	NO_RELOAD = 256,
	/* The command needs the parsed settings of the workers, not only their
	 * environment. */
	CONF = 1024,
};

static const struct command {
	const char *name;
	enum argument argument;
	int flags;
	ctl_command *run;
} commands[] = {
	{ "status", NONE, 0, ctl_status },
	{ "scale", NUMBER, CONF, ctl_scale },
	{ "restart", MAYBE_NUMBER, CONF, ctl_restart },
	{ "reload", NONE, 0, ctl_reload },
	{ "nginx", NONE, PRINT | FORCE | NO_RELOAD, ctl_site },
	{ "migrate", NONE, 0, ctl_migrate },
	{ "check", NONE, MODEL, ctl_check },
	{ "limits", USER, CONF, ctl_limits },
	{ "reset-limit", USER, CONF, ctl_reset },
	{ "history", USER, CONF | LIMIT | OFFSET, ctl_history },
	{ "stats", MAYBE_USER, CONF | DAYS, ctl_stats },
	{ "clear", USER, CONF, ctl_clear },
	{ "forget", USER, CONF | YES, ctl_forget },
	{ "prune", NONE, CONF | OLDER, ctl_prune },
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static volatile sig_atomic_t interrupted;

/* Why a line could not be written; later calls change errno. */
static int output_errno;

static void
on_signal(int sig)
{
	(void)sig;
	interrupted = 1;
}

void
ctl_catch_signals(void)
{
	struct sigaction act = { .sa_handler = on_signal };

	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGHUP, &act, NULL);
}

bool
ctl_interrupted(void)
{
	return interrupted;
}

void
ctl_say(const struct ctl *c, const char *fmt, ...)
{
	va_list ap;

	if (c->json)
		return;
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	if (fflush(stdout) != 0)
		output_errno = errno;
}

void
ctl_warn(const char *fmt, ...)
{
	va_list ap;

	fputs("ai-chatctl: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

enum aic_code
ctl_number(const char *what, const char *text, int64_t min, int64_t max,
    int64_t *ret, struct aic_err *err)
{
	char *end;
	long long n;

	errno = 0;
	n = strtoll(text, &end, 10);
	if (!isdigit((unsigned char)*text) || *end || errno || n < min ||
	    n > max)
		return aic_fail(err, AIC_EPARAM,
		    "%s must be an integer from %lld to %lld, not \"%.40s\"",
		    what, (long long)min, (long long)max, text);
	*ret = n;
	return AIC_OK;
}

/* A pool repeats its attempts to connect until the deadline of a statement,
 * which can be minutes. An operator needs the reason at once. */
enum aic_code
ctl_open_db(struct ctl *c, struct aic_err *err)
{
	const struct aic_db_conf conf = { .url = c->conf.database_url,
		.schema = c->conf.db_schema,
		.pool = 1,
		.timeout_ms = STATEMENT_MS,
		.prepare = c->conf.db_prepare };
	enum aic_code rc;

	if (c->db)
		return AIC_OK;
	rc = aic_db_open(&c->db, &conf, err);
	if (!rc)
		rc = aic_db_ping(c->db, aic_clock_us() + CONNECT_US, err);
	if (rc) {
		aic_db_close(c->db);
		c->db = NULL;
	}
	return rc;
}

void
ctl_update_cache(struct ctl *c, bool (*update)(struct aic_cache *, int64_t),
    const char *otherwise)
{
	const struct aic_cache_conf conf = { .url = c->conf.redis_url,
		.secret = c->conf.api_keys,
		.scoped = true };
	struct aic_err err = AIC_ERR_INIT;
	struct aic_cache *cache;

	if (aic_cache_open(&cache, &conf, &err)) {
		ctl_warn("could not update Redis (%s): %s", err.detail,
		    otherwise);
		return;
	}
	if (!cache)
		return;
	aic_cache_first(cache, aic_clock_us() + CACHE_US);
	aic_cache_keys_set_scope(cache, c->db, aic_clock_us() + CACHE_US, &err);
	if (!update(cache, c->id))
		ctl_warn("could not update Redis: %s", otherwise);
	aic_cache_close(cache);
}

enum aic_code
ctl_db(struct ctl *c, struct aic_db_call *calls, int n, int seconds,
    struct aic_err *err)
{
	enum aic_code rc = ctl_open_db(c, err);

	if (!rc)
		rc = aic_db_run(c->db, calls, n,
		    aic_clock_us() + seconds * AIC_S, err);
	return rc;
}

/* --- the command line ----------------------------------------------------- */

static const struct option options[] = {
	{ "limit", required_argument, NULL, LIMIT },
	{ "offset", required_argument, NULL, OFFSET },
	{ "days", required_argument, NULL, DAYS },
	{ "older-than", required_argument, NULL, OLDER },
	{ "yes", no_argument, NULL, YES },
	{ "model", no_argument, NULL, MODEL },
	{ "print", no_argument, NULL, PRINT },
	{ "force", no_argument, NULL, FORCE },
	{ "no-reload", no_argument, NULL, NO_RELOAD },
	{ "json", no_argument, NULL, 'j' },
	{ "version", no_argument, NULL, 'V' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

/* Returns the exit status, or -1 to continue. *ret_given is set to the options
 * that were given, as bits LIMIT to NO_RELOAD. */
static int
parse_options(struct ctl *c, int argc, char **argv, int *ret_given,
    struct aic_err *err)
{
	enum aic_code rc = AIC_OK;
	int o;

	while (!rc && (o = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (o) {
		case LIMIT:
			rc = ctl_number("--limit", optarg, 1, 100, &c->limit,
			    err);
			break;
		case OFFSET:
			rc = ctl_number("--offset", optarg, 0, INT64_MAX,
			    &c->offset, err);
			break;
		case DAYS:
			rc = ctl_number("--days", optarg, 1, 365, &c->days,
			    err);
			break;
		case OLDER:
			rc = ctl_number("--older-than", optarg,
			    AIC_RETAIN_DAYS_MIN, AIC_RETAIN_DAYS_MAX,
			    &c->older_than, err);
			break;
		case YES:
			c->yes = true;
			break;
		case MODEL:
			c->model = true;
			break;
		case PRINT:
			c->print = true;
			break;
		case FORCE:
			c->force = true;
			break;
		case NO_RELOAD:
			c->no_reload = true;
			break;
		case 'j':
			c->json = true;
			continue;
		case 'V':
			puts("ai-chatctl " PACKAGE_VERSION);
			return 0;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			return 2;
		}
		*ret_given |= o;
	}
	if (!rc)
		return -1;
	ctl_warn("%s", err->detail);
	return 2;
}

static const struct command *
find_command(const char *name, struct aic_err *err)
{
	size_t i;

	for (i = 0; name && i < N_COMMANDS; i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	aic_fail(err, AIC_EPARAM,
	    name ? "unknown command \"%.40s\"; see --help"
		 : "no command given; see --help",
	    name);
	return NULL;
}

static enum aic_code
check_usage(struct ctl *c, const struct command *cmd, int given, int n_args,
    struct aic_err *err)
{
	const struct option *o;
	int extra = given & ~cmd->flags;

	/* The letters of --json, --version and --help are no single bits. */
	for (o = options; o->name; o++)
		if ((o->val & (o->val - 1)) == 0 && extra & o->val)
			return aic_fail(err, AIC_EPARAM,
			    "%s does not take --%s", cmd->name, o->name);
	if (n_args > (cmd->argument == NONE ? 0 : 1))
		return aic_fail(err, AIC_EPARAM, "too many arguments for %s",
		    cmd->name);
	if (n_args == 0 && (cmd->argument == USER || cmd->argument == NUMBER))
		return aic_fail(err, AIC_EPARAM, "%s needs %s", cmd->name,
		    cmd->argument == USER ? "the telegram_id of a user"
					  : "a number");
	if (c->arg && (cmd->argument == USER || cmd->argument == MAYBE_USER))
		return ctl_number("a telegram_id", c->arg, 1, INT64_MAX, &c->id,
		    err);
	return AIC_OK;
}

/* --- running a command ---------------------------------------------------- */

static enum aic_code
run_command(struct ctl *c, const struct command *cmd, struct aic_err *err)
{
	enum aic_code rc;

	rc = ctl_conf_load(&c->own, err);
	if (!rc)
		rc = ctl_env_load(&c->env, &c->own, err);
	/* The command check reports it in its own form. */
	if (!rc && *c->env.ignored && cmd->run != ctl_check)
		ctl_warn("%s", c->env.ignored);
	if (!rc && cmd->flags & CONF)
		rc = aic_conf_load(&c->conf, c->env.v, err);
	if (!rc)
		rc = cmd->run(c, err);
	if (rc && c->env.v)
		aic_conf_hints_place(err->detail, sizeof(err->detail),
		    c->env.v);
	return rc;
}

static void
print_doc(struct ctl *c, enum aic_code rc, const struct aic_err *err)
{
	if (rc) {
		aic_buf_clear(&c->doc);
		aic_buf_puts(&c->doc, "{\"error\":");
		aic_json_put_str(&c->doc, err->detail);
		aic_buf_putc(&c->doc, '}');
	}
	if (c->doc.failed)
		ctl_warn("out of memory");
	else
		puts(c->doc.data);
}

static int
map_exit_status(const struct ctl *c, enum aic_code rc)
{
	if (rc == AIC_EPARAM || rc == AIC_ECONF)
		return 2;
	/* The write to a pipe or a disk can fail as late as here. A reader that
	 * closes the pipe, such as head(1), has read all that it needs. */
	if (fflush(stdout) != 0)
		output_errno = errno;
	if (output_errno && output_errno != EPIPE)
		ctl_warn("could not write the output: %s",
		    strerror(output_errno));
	return rc || c->bad || output_errno || ferror(stdout) ? 1 : 0;
}

int
main(int argc, char **argv)
{
	struct aic_err err = AIC_ERR_INIT;
	struct ctl c = { .id = 0 };
	const struct command *cmd;
	enum aic_code rc = AIC_OK;
	int status, given = 0;

#ifndef __SANITIZE_ADDRESS__ /* LeakSanitizer uses ptrace(2) */
	/* This process holds secrets: disable core dumps, and ptrace(2) by
	 * other processes. */
	prctl(PR_SET_DUMPABLE, 0);
#endif
	/* A closed output is reported by the exit status. */
	signal(SIGPIPE, SIG_IGN);
	status = parse_options(&c, argc, argv, &given, &err);
	if (status >= 0)
		return fflush(stdout) == 0 ? status : 1;
	aic_buf_init(&c.doc, DOC_MAX);
	c.arg = optind + 1 < argc ? argv[optind + 1] : NULL;
	cmd = find_command(optind < argc ? argv[optind] : NULL, &err);
	rc = cmd ? check_usage(&c, cmd, given, argc - optind - 1, &err)
		 : AIC_EPARAM;
	if (!rc)
		rc = run_command(&c, cmd, &err);
	if (rc && !c.warned)
		ctl_warn("%s", err.detail);
	if (c.json)
		print_doc(&c, rc, &err);
	status = map_exit_status(&c, rc);
	aic_db_close(c.db);
	aic_conf_done(&c.conf);
	ctl_env_done(&c.env);
	aic_buf_done(&c.doc);
	return status;
}
