#include "config.h"

#include "app/ctl/run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

/* The maximum size of the output: nginx -T prints the whole configuration. */
#define OUT_MAX (16 * 1024 * 1024)

struct pipes {
	int out[2], err[2];
};

static bool
open_pipes(struct pipes *p)
{
	if (pipe2(p->out, O_CLOEXEC) != 0)
		return false;
	if (pipe2(p->err, O_CLOEXEC) != 0) {
		close(p->out[0]);
		close(p->out[1]);
		return false;
	}
	/* Only the ends of this process are non-blocking. The program expects
	 * blocking ones. */
	fcntl(p->out[0], F_SETFL, O_NONBLOCK);
	fcntl(p->err[0], F_SETFL, O_NONBLOCK);
	return true;
}

/* Returns 0 or an errno. */
static int
spawn_program(pid_t *ret_pid, const struct pipes *p, const char *const *argv,
    char *const *env)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int rc;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null",
	    O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&files, p->out[1], STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&files, p->err[1], STDERR_FILENO);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr,
	    POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
		POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	/* posix_spawnp() does not change argv, although its type is not
	 * const. */
	rc = posix_spawnp(ret_pid, argv[0], &files, &attr,
	    (char *const *)(const void *)argv, env ? env : environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
	return rc;
}

/* Read what is available; false: end of file. */
static bool
read_available(int fd, struct aic_buf *to)
{
	char chunk[16384];
	ssize_t n;

	for (;;) {
		n = read(fd, chunk, sizeof(chunk));
		if (n <= 0)
			return n < 0 && (errno == EAGAIN || errno == EINTR);
		/* Data beyond the maximum are read and discarded. */
		aic_buf_put(to, chunk, (size_t)n);
	}
}

/* Read until the program ends, not until the pipes are closed: a hook can start
 * a worker that inherits the pipes. */
static void
read_until_exit(struct ctl_run *r, const struct pipes *p, pid_t pid)
{
	struct pollfd fds[3] = { { .fd = pidfd_open(pid, 0), .events = POLLIN },
		{ .fd = p->out[0], .events = POLLIN },
		{ .fd = p->err[0], .events = POLLIN } };

	while (fds[0].fd >= 0 && !(fds[0].revents & POLLIN)) {
		if (poll(fds, 3, -1) < 0)
			continue;
		if (fds[1].revents && !read_available(p->out[0], &r->out))
			fds[1].fd = -1;
		if (fds[2].revents && !read_available(p->err[0], &r->err))
			fds[2].fd = -1;
	}
	if (fds[0].fd >= 0)
		close(fds[0].fd);
}

static int
wait_for_exit(pid_t pid)
{
	pid_t got;
	int status = 0;

	do {
		got = waitpid(pid, &status, 0);
	} while (got < 0 && errno == EINTR);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status)
				   : WEXITSTATUS(status);
}

enum aic_code
ctl_run(struct ctl_run *r, const char *const *argv, char *const *env,
    struct aic_err *err)
{
	struct pipes p;
	pid_t pid;
	int rc;

	aic_buf_init(&r->out, OUT_MAX);
	aic_buf_init(&r->err, OUT_MAX);
	r->status = -1;
	if (!open_pipes(&p))
		return aic_fail(err, AIC_ENOMEM, "could not make a pipe: %s",
		    strerror(errno));
	rc = spawn_program(&pid, &p, argv, env);
	close(p.out[1]);
	close(p.err[1]);
	if (rc == 0) {
		read_until_exit(r, &p, pid);
		r->status = wait_for_exit(pid);
		read_available(p.out[0], &r->out);
		read_available(p.err[0], &r->err);
	}
	close(p.out[0]);
	close(p.err[0]);
	return rc == 0 ? AIC_OK
		       : aic_fail(err, AIC_ECONF, "could not run %s: %s",
			     argv[0], strerror(rc));
}

void
ctl_run_done(struct ctl_run *r)
{
	aic_buf_done(&r->out);
	aic_buf_done(&r->err);
}

static bool
has_mark(const char *line, size_t n, const char *mark)
{
	return !mark || memmem(line, n, mark, strlen(mark));
}

/* Find the last line that is not empty, or the first line with the mark. */
static bool
find_line(const struct aic_buf *b, const char *mark, char *to, size_t size)
{
	const char *p = b->data, *end, *line = NULL;
	size_t n, len = 0;

	if (b->len == 0)
		return false;
	for (; *p; p = *end ? end + 1 : end) {
		end = p + strcspn(p, "\n");
		n = (size_t)(end - p);
		if (n > 0 && has_mark(p, n, mark)) {
			line = p;
			len = n;
			if (mark)
				break;
		}
	}
	if (line)
		snprintf(to, size, "%.*s", (int)len, line);
	return line != NULL;
}

void
ctl_run_why(const struct ctl_run *r, const char *mark, char *to, size_t size)
{
	if (mark && find_line(&r->err, mark, to, size))
		return;
	if (!find_line(&r->err, NULL, to, size) &&
	    !find_line(&r->out, NULL, to, size))
		snprintf(to, size, "exit status %d", r->status);
}
