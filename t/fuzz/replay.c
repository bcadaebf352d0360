/*
 * Runs the seeds of one target, AIC_TARGET, as one test each; gcc can build it.
 * When an assertion fails, the program prints the path of the seed and ends
 * with abort(), so its TAP is incomplete.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"

#define CORPUS AIC_SRCDIR "/t/fuzz/corpus/" AIC_TARGET

/* Every corpus has more seeds; fewer mean that the directory was not found. */
#define SEEDS_LEAST 24

/* The largest seed has a user_context one byte over its limit. */
#define SEED_MAX (128 * 1024)

static char path[4096]; /* of the current seed */

static void
on_abort(int sig)
{
	(void)sig;
	if (write(STDERR_FILENO, path, strlen(path)) > 0)
		(void)!write(STDERR_FILENO, "\n", 1);
}

static void
die(const char *what)
{
	printf("Bail out! %s: %s\n", what, strerror(errno));
	exit(1);
}

/* In a block of its exact size, so that a sanitizer detects overreads. */
static char *
read_seed(size_t *ret_len)
{
	FILE *f = fopen(path, "rbe");
	char *all = malloc(SEED_MAX), *data;
	size_t n;

	if (!f || !all)
		die(path);
	n = fread(all, 1, SEED_MAX, f);
	if (ferror(f) || n == SEED_MAX)
		die(path);
	fclose(f);
	data = malloc(n);
	if (n > 0 && !data)
		die(path);
	if (n > 0)
		memcpy(data, all, n);
	free(all);
	*ret_len = n;
	return data;
}

static bool
begins(const char *name, const char *prefix)
{
	return strncmp(name, prefix, strlen(prefix)) == 0;
}

static bool
run_seed(const char *name)
{
	size_t len = 0;
	char *data;
	bool taken;

	snprintf(path, sizeof(path), "%s/%s", CORPUS, name);
	data = read_seed(&len);
	taken = fuzz_one(data, len);
	free(data);
	return !begins(name, taken ? "refused-" : "taken-");
}

static int
is_seed(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

int
main(void)
{
	struct dirent **seeds;
	bool ok, all = true;
	int n, i;

	signal(SIGABRT, on_abort);
	n = scandir(CORPUS, &seeds, is_seed, alphasort);
	if (n < 0)
		die(CORPUS);
	printf("1..%d\n", n + 1);
	for (i = 0; i < n; i++) {
		ok = run_seed(seeds[i]->d_name);
		printf("%sok %d - %s\n", ok ? "" : "not ", i + 1,
		    seeds[i]->d_name);
		fflush(stdout);
		all = all && ok;
		free(seeds[i]);
	}
	free(seeds);
	ok = n >= SEEDS_LEAST;
	printf("%sok %d - %d seeds were found\n", ok ? "" : "not ", n + 1, n);
	return all && ok ? 0 : 1;
}
