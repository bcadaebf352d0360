#include "config.h"

#include "app/ctl/service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/ctl/run.h"

#define UNIT "ai-chat-worker@"
#define WORKER (UNIT CTL_NUMBER)
#define WORKERS (UNIT "*.service")

enum verb { START, STOP, LIST, TEST, RELOAD, KEEP, DROP, SHOW, VERBS };

#define WORDS 6

/* For messages. The number of the worker follows where the text ends in a
 * blank. */
static const char *const doing[VERBS] = {
	[START] = "start worker ",
	[STOP] = "stop worker ",
	[LIST] = "list the workers",
	[TEST] = "test Nginx's configuration",
	[RELOAD] = "reload Nginx",
	[KEEP] = "enable worker ",
	[DROP] = "disable worker ",
	[SHOW] = "query worker ",
};

/* The command to run. CTL_NUMBER stands for the number of the worker. */
static const char *const systemd[VERBS][WORDS] = {
	[START] = { "systemctl", "--no-ask-password", "start", WORKER },
	[STOP] = { "systemctl", "--no-ask-password", "stop", WORKER },
	[LIST] = { "systemctl", "show",
	    "--property=Id,MainPID,LoadState,ActiveState,NRestarts", WORKERS,
	    "nginx.service" },
	[TEST] = { "nginx", "-T" },
	[RELOAD] = { "systemctl", "--no-ask-password", "reload", "nginx" },
	[KEEP] = { "systemctl", "--no-ask-password", "--quiet", "enable",
	    WORKER },
	[DROP] = { "systemctl", "--no-ask-password", "--quiet", "disable",
	    WORKER },
	[SHOW] = { "systemctl", "show", "--property=TimeoutStopUSec", WORKER },
};

/* The arguments of the hook program. */
static const char *const hook[VERBS][WORDS] = {
	[START] = { "start", CTL_NUMBER },
	[STOP] = { "stop", CTL_NUMBER },
	[LIST] = { "list" },
	[TEST] = { "test-nginx" },
	[RELOAD] = { "reload-nginx" },
};

static enum aic_code
run_verb(struct ctl *c, enum verb verb, int number, struct ctl_run *r,
    struct aic_err *err)
{
	const char *const *words = c->own.hook ? hook[verb] : systemd[verb];
	const char *argv[WORDS + 2], *mark;
	char filled[WORDS][64], why[300];
	enum aic_code rc;
	int i, n = 0;

	if (c->own.hook)
		argv[n++] = c->own.hook;
	for (i = 0; i < WORDS && words[i]; i++) {
		mark = strstr(words[i], CTL_NUMBER);
		snprintf(filled[i], sizeof(filled[i]), "%.*s%.0d%s",
		    mark ? (int)(mark - words[i]) : (int)strlen(words[i]),
		    words[i], mark ? number : 0,
		    mark ? mark + strlen(CTL_NUMBER) : "");
		argv[n++] = filled[i];
	}
	argv[n] = NULL;
	rc = ctl_run(r, argv, NULL, err);
	if (rc || r->status == 0)
		return rc;
	ctl_run_why(r, verb == TEST ? "[emerg]" : NULL, why, sizeof(why));
	return aic_fail(err, AIC_EBUSY, "could not %s%.0d: %s", doing[verb],
	    number, why);
}

/* Run a verb that prints nothing on success. */
static enum aic_code
run_quiet_verb(struct ctl *c, enum verb verb, int number, struct aic_err *err)
{
	enum aic_code rc;
	struct ctl_run r;

	rc = run_verb(c, verb, number, &r, err);
	ctl_run_done(&r);
	return rc;
}

enum aic_code
ctl_service_start(struct ctl *c, int number, struct aic_err *err)
{
	return run_quiet_verb(c, START, number, err);
}

enum aic_code
ctl_service_stop(struct ctl *c, int number, struct aic_err *err)
{
	return run_quiet_verb(c, STOP, number, err);
}

enum aic_code
ctl_service_reload(struct ctl *c, struct aic_err *err)
{
	return run_quiet_verb(c, RELOAD, 0, err);
}

enum aic_code
ctl_service_keep(struct ctl *c, int number, bool keep, struct aic_err *err)
{
	if (c->own.hook)
		return AIC_OK;
	return run_quiet_verb(c, keep ? KEEP : DROP, number, err);
}

enum aic_code
ctl_service_test(struct ctl *c, struct aic_buf *to, struct aic_err *err)
{
	enum aic_code rc;
	struct ctl_run r;

	rc = run_verb(c, TEST, 0, &r, err);
	if (!rc && to && r.out.len > 0)
		aic_buf_put(to, r.out.data, r.out.len);
	ctl_run_done(&r);
	return rc;
}

/* --- the list of workers -------------------------------------------------- */

static void
add_worker(struct ctl_workers *all, int64_t number, pid_t pid, int restarts)
{
	if (number < 1 || number > 9999 || all->n == AIC_METRICS_WORKERS)
		return;
	all->w[all->n].number = (int)number;
	all->w[all->n].pid = pid;
	all->w[all->n].restarts = restarts;
	all->n++;
}

/* Parse a line "3 4711 0". */
static void
read_hook_line(struct ctl_workers *all, const char *line)
{
	char *end;
	long number, pid;

	if (strncmp(line, "nginx ", 6) == 0) {
		all->nginx = (pid_t)strtol(line + 6, NULL, 10);
		return;
	}
	number = strtol(line, &end, 10);
	if (end == line)
		return;
	pid = strtol(end, &end, 10);
	add_worker(all, number, (pid_t)pid, (int)strtol(end, NULL, 10));
}

/* The properties of one unit, in the order of their lines. */
struct unit {
	char id[128];
	pid_t pid;
	int restarts;
	bool idle; /* stopped on purpose */
	bool loaded; /* the unit exists */
};

static void
end_unit(struct ctl_workers *all, struct unit *u)
{
	if (strncmp(u->id, UNIT, strlen(UNIT)) == 0 && !u->idle)
		add_worker(all, strtol(u->id + strlen(UNIT), NULL, 10), u->pid,
		    u->restarts);
	/* If the unit does not exist, Nginx can run in some other way. */
	else if (strcmp(u->id, "nginx.service") == 0 && u->loaded)
		all->nginx = u->pid;
	memset(u, 0, sizeof(*u));
}

/* Parse a line "MainPID=4711". Empty lines separate the units. */
static void
read_systemd_line(struct ctl_workers *all, struct unit *u, const char *line)
{
	if (*line == '\0')
		end_unit(all, u);
	else if (strncmp(line, "Id=", 3) == 0)
		snprintf(u->id, sizeof(u->id), "%s", line + 3);
	else if (strncmp(line, "MainPID=", 8) == 0)
		u->pid = (pid_t)strtol(line + 8, NULL, 10);
	else if (strncmp(line, "NRestarts=", 10) == 0)
		u->restarts = (int)strtol(line + 10, NULL, 10);
	else if (strncmp(line, "LoadState=", 10) == 0)
		u->loaded = strcmp(line + 10, "loaded") == 0;
	else if (strncmp(line, "ActiveState=", 12) == 0)
		u->idle = strcmp(line + 12, "inactive") == 0;
}

/* A process that has ended has no command line, even before its parent has
 * collected its status. */
static bool
is_alive(pid_t pid)
{
	char path[64];
	FILE *fp;
	int first;

	snprintf(path, sizeof(path), "/proc/%ld/cmdline", (long)pid);
	fp = fopen(path, "re");
	if (!fp)
		return false;
	first = getc(fp);
	fclose(fp);
	return first != EOF;
}

static int
by_number(const void *a, const void *b)
{
	/* The number is the first member of both structs. */
	return *(const int *)a - *(const int *)b;
}

enum aic_code
ctl_service_list(struct ctl *c, struct ctl_workers *ret, struct aic_err *err)
{
	struct unit u = { .pid = 0 };
	struct ctl_run r;
	enum aic_code rc;
	char *p, *end;

	memset(ret, 0, sizeof(*ret));
	ret->nginx = -1;
	rc = run_verb(c, LIST, 0, &r, err);
	for (p = rc || r.out.len == 0 ? NULL : r.out.data; p && *p; p = end) {
		end = p + strcspn(p, "\n");
		if (*end)
			*end++ = '\0';
		if (c->own.hook)
			read_hook_line(ret, p);
		else
			read_systemd_line(ret, &u, p);
	}
	end_unit(ret, &u);
	ctl_run_done(&r);
	/* A hook can print the number of a process that was killed. */
	if (ret->nginx > 0 && !is_alive(ret->nginx))
		ret->nginx = 0;
	qsort(ret->w, (size_t)ret->n, sizeof(ret->w[0]), by_number);
	return rc;
}

int
ctl_service_find(const struct ctl_workers *all, int number)
{
	int i;

	for (i = 0; i < all->n; i++)
		if (all->w[i].number == number)
			return i;
	return -1;
}

/* --- the timeout of a stop ------------------------------------------------ */

/* Parse "1min 10s", as systemctl prints a time span. */
static int64_t
parse_span(const char *p)
{
	static const struct {
		const char *name;
		int64_t ms;
	} units[] = { { "ms", 1 }, { "min", 60000 }, { "s", 1000 },
		{ "h", 3600000 }, { "d", 86400000 } };
	int64_t sum = 0;
	char *end;
	size_t i;
	double x;

	for (; *p && *p != '\n'; p = end + strcspn(end, " \n")) {
		x = strtod(p, &end);
		if (end == p)
			return -1; /* infinity */
		for (i = 0; i < sizeof(units) / sizeof(units[0]); i++)
			if (strncmp(end, units[i].name,
				strlen(units[i].name)) == 0)
				break;
		if (i < sizeof(units) / sizeof(units[0]))
			sum += (int64_t)(x * (double)units[i].ms);
	}
	return sum;
}

enum aic_code
ctl_service_stop_ms(struct ctl *c, int number, int64_t *ret_ms,
    struct aic_err *err)
{
	static const char name[] = "TimeoutStopUSec=";
	enum aic_code rc;
	struct ctl_run r;

	*ret_ms = -1;
	if (c->own.hook)
		return AIC_OK;
	rc = run_verb(c, SHOW, number, &r, err);
	if (!rc && r.out.len > 0 &&
	    strncmp(r.out.data, name, strlen(name)) == 0)
		*ret_ms = parse_span(r.out.data + strlen(name));
	ctl_run_done(&r);
	return rc;
}
