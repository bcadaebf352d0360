/*
 * ai-chat-floor -- runs only the statements of a chat, to measure what
 * PostgreSQL and our client of it allow without FastCGI, JSON or a model.
 *
 * It uses the modules of the service itself, so it measures the same
 * statements.
 */
#include "config.h"

#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/conf.h"
#include "lib/context.h"
#include "lib/db.h"
#include "lib/id.h"
#include "lib/limit.h"
#include "lib/save.h"

/* More threads than any benchmark machine can use. */
#define THREADS_MAX 1024

/* For one thread; two minutes at a rate that no thread reaches. */
#define SAMPLES_MAX 1000000

#define LIMIT 1000000 /* no chat is refused */

struct job {
	pthread_t id;
	int number;
	int64_t n;
	int64_t failed;
	float *reserve_ms, *save_ms;
};

static struct {
	int threads, seconds, pool;
	int64_t users, rate;
	struct aic_db *db;
	int64_t start_us;
} g = { .threads = 32, .seconds = 8, .pool = 8, .users = 100000 };

static const char usage[] =
    "usage: ai-chat-floor [--threads N] [--seconds N] [--pool N] [--users N]\n"
    "                     [--rate N]\n"
    "\n"
    "Runs the statements of chats of random users on DATABASE_URL, as fast as it\n"
    "goes or, with --rate, so many a second, and prints as one line of key=value:\n"
    "chats a second, and the milliseconds of reserving (with context) and saving.\n";

static enum aic_code
chat(struct job *job, int64_t due_us, char *response)
{
	struct aic_err err = AIC_ERR_INIT;
	struct aic_context_terms terms = { .exchanges = 5 };
	struct aic_limit_reserve hold;
	struct aic_db_call calls[2];
	struct aic_save s;
	char id[AIC_ID_SIZE], reservation[AIC_RESERVATION_SIZE];
	int64_t user = 1 + (int64_t)(aic_random() * (double)g.users);
	int64_t at, used;
	enum aic_code rc;

	rc = aic_id_new(id, &err);
	if (rc)
		return rc;
	hold = (struct aic_limit_reserve){ .telegram_id = user,
		.chat_id = id,
		.zone = "UTC",
		.lapse_ms = 60000,
		.limit = LIMIT };
	aic_limit_reserve_bind(&calls[0], &hold);
	aic_context_bind(&calls[1], user, &terms);
	rc = aic_db_run(g.db, calls, 2, aic_clock_us() + 3 * AIC_S, &err);
	if (rc)
		return rc;
	at = aic_clock_us();
	job->reserve_ms[job->n] = (float)(at - due_us) / 1000;
	rc = aic_limit_reserve_read(&calls[0], reservation) ? AIC_OK
							    : AIC_ELIMIT;
	aic_db_call_done(&calls[0]);
	aic_db_call_done(&calls[1]);
	if (rc)
		return rc;
	s = (struct aic_save){ .telegram_id = user,
		.reservation = reservation,
		.message = "Как увеличить продажи карточки товара?",
		.response = response,
		.tokens = 200,
		.limit = LIMIT };
	aic_save_bind(&calls[0], &s);
	rc = aic_db_run(g.db, calls, 1, at + 3 * AIC_S, &err);
	if (rc)
		return rc;
	job->save_ms[job->n] = (float)(aic_clock_us() - at) / 1000;
	rc = aic_save_read(&calls[0], &used) ? AIC_OK : AIC_EBUG;
	aic_db_call_done(&calls[0]);
	return rc;
}

static void *
run(void *arg)
{
	struct job *job = arg;
	int64_t end = g.start_us + g.seconds * AIC_S, due;
	char response[601];
	int64_t i;

	memset(response, 'x', sizeof(response) - 1);
	response[sizeof(response) - 1] = '\0';
	for (i = 0; job->n < SAMPLES_MAX; i++) {
		due = aic_clock_us();
		if (g.rate > 0) {
			due = g.start_us +
			    (i * g.threads + job->number) * AIC_S / g.rate;
			aic_clock_sleep(due);
		}
		if (due >= end)
			break;
		if (chat(job, due, response))
			job->failed++;
		else
			job->n++;
	}
	return NULL;
}

static int
by_value(const void *a, const void *b)
{
	const float *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void
print_times(const char *name, const struct job *jobs, size_t offset, int64_t n)
{
	float *all = malloc((size_t)(n + 1) * sizeof(*all));
	int64_t at = 0;
	int i;

	if (!all)
		return;
	for (i = 0; i < g.threads; i++) {
		memcpy(all + at,
		    *(float *const *)((const char *)&jobs[i] + offset),
		    (size_t)jobs[i].n * sizeof(*all));
		at += jobs[i].n;
	}
	qsort(all, (size_t)n, sizeof(*all), by_value);
	if (n > 0)
		printf(" %s_p50_ms=%.2f %s_p99_ms=%.2f", name,
		    (double)all[n / 2], name, (double)all[n * 99 / 100]);
	free(all);
}

static int
measure(void)
{
	struct job *jobs = calloc((size_t)g.threads, sizeof(*jobs));
	int64_t n = 0, failed = 0;
	double seconds;
	int i;

	if (!jobs)
		return 1;
	g.start_us = aic_clock_us();
	for (i = 0; i < g.threads; i++) {
		jobs[i].number = i;
		jobs[i].reserve_ms = calloc(SAMPLES_MAX, sizeof(float));
		jobs[i].save_ms = calloc(SAMPLES_MAX, sizeof(float));
		if (!jobs[i].reserve_ms || !jobs[i].save_ms ||
		    pthread_create(&jobs[i].id, NULL, run, &jobs[i]) != 0)
			return 1;
	}
	for (i = 0; i < g.threads; i++) {
		pthread_join(jobs[i].id, NULL);
		n += jobs[i].n;
		failed += jobs[i].failed;
	}
	seconds = (double)(aic_clock_us() - g.start_us) / 1e6;
	printf("chats=%lld failed=%lld per_s=%.0f", (long long)n,
	    (long long)failed, (double)n / seconds);
	print_times("reserve", jobs, offsetof(struct job, reserve_ms), n);
	print_times("save", jobs, offsetof(struct job, save_ms), n);
	putchar('\n');
	for (i = 0; i < g.threads; i++) {
		free(jobs[i].reserve_ms);
		free(jobs[i].save_ms);
	}
	free(jobs);
	return 0;
}

static int
number(const char *text, int64_t max, int64_t *ret)
{
	char *end;
	long long n = strtoll(text, &end, 10);

	if (*text == '\0' || *end || n < 1 || n > max) {
		fprintf(stderr,
		    "ai-chat-floor: not a number from 1 to %lld: %s\n",
		    (long long)max, text);
		return 2;
	}
	*ret = n;
	return 0;
}

static int
parse_flags(int argc, char **argv)
{
	static const struct option options[] = {
		{ "threads", required_argument, NULL, 't' },
		{ "seconds", required_argument, NULL, 's' },
		{ "pool", required_argument, NULL, 'p' },
		{ "users", required_argument, NULL, 'u' },
		{ "rate", required_argument, NULL, 'r' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int64_t n = 0;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'h' || c == '?') {
			fputs(usage, c == 'h' ? stdout : stderr);
			exit(c == 'h' ? 0 : 2);
		}
		if (number(optarg, c == 't' ? THREADS_MAX : 1000000000, &n))
			return 2;
		if (c == 't')
			g.threads = (int)n;
		else if (c == 's')
			g.seconds = (int)n;
		else if (c == 'p')
			g.pool = (int)n;
		else if (c == 'u')
			g.users = n;
		else
			g.rate = n;
	}
	return 0;
}

int
main(int argc, char **argv)
{
	struct aic_err err = AIC_ERR_INIT;
	struct aic_conf conf;
	struct aic_db_conf db;
	int status;

	status = parse_flags(argc, argv);
	if (status)
		return status;
	if (aic_conf_load_url(&conf, environ, &err)) {
		fprintf(stderr, "ai-chat-floor: %s\n", err.detail);
		return 2;
	}
	db = (struct aic_db_conf){ .url = conf.database_url,
		.pool = g.pool,
		.timeout_ms = 3000,
		.prepare = true };
	if (aic_db_open(&g.db, &db, &err)) {
		fprintf(stderr, "ai-chat-floor: %s\n", err.detail);
		return 2;
	}
	status = measure();
	aic_db_close(g.db);
	aic_conf_done(&conf);
	return status;
}
