/*
 * ai-chat-null [THREADS] -- the floor under the benchmark.
 *
 * A FastCGI worker that does nothing: it reads the request, as every worker
 * must, and returns the same small response. So the benchmark measures what
 * Nginx and FastCGI cost by themselves. It listens on descriptor 0.
 */

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <sys/socket.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <fcgiapp.h>

#define THREADS_DEFAULT 8
#define THREADS_MAX 1024
/* A thread needs little more than the buffers of libfcgi, 8 KB each. */
#define STACK_BYTES (256 * 1024)

#define BODY                                                                   \
	"{\"response\":\"ok\",\"remaining_requests\":29,"                      \
	"\"tokens_used\":0}"

/* Set once, by main. */
static char answer[256];
static int answer_len;

static void *
work(void *arg)
{
	const struct timespec pause = { .tv_nsec = 10 * 1000 * 1000 };
	FCGX_Request r;
	char buf[8192];
	int rc;

	if (FCGX_InitRequest(&r, 0, 0) != 0)
		return arg;
	for (;;) {
		rc = FCGX_Accept_r(&r);
		/* The listener was shut down and its queue is empty. */
		if (rc == -EINVAL)
			return NULL;
		if (rc == -EMFILE || rc == -ENFILE || rc == -ENOMEM) {
			nanosleep(&pause, NULL);
			continue;
		}
		if (rc < 0) {
			fprintf(stderr, "could not accept: %d\n", rc);
			abort();
		}
		while (FCGX_GetStr(buf, sizeof(buf), r.in) == (int)sizeof(buf))
			;
		FCGX_PutStr(answer, answer_len, r.out);
		FCGX_Finish_r(&r);
	}
}

int
main(int argc, char **argv)
{
	static pthread_t threads[THREADS_MAX];
	pthread_attr_t attr;
	sigset_t set;
	char *end = NULL;
	long n, i;
	int sig;

	n = argc > 1 ? strtol(argv[1], &end, 10) : THREADS_DEFAULT;
	if (argc > 2 || (end != NULL && *end != '\0') || n < 1 ||
	    n > THREADS_MAX) {
		fprintf(stderr, "usage: ai-chat-null [THREADS]\n");
		return 2;
	}

	answer_len = snprintf(answer, sizeof(answer),
	    "Content-Type: application/json\r\n"
	    "Content-Length: %zu\r\n\r\n%s",
	    sizeof(BODY) - 1, BODY);

	/*
	 * Before libfcgi sets its handlers, because a write that a signal
	 * interrupts is lost.
	 */
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (FCGX_Init() != 0) {
		fprintf(stderr, "could not start libfcgi\n");
		return 1;
	}
	/*
	 * After FCGX_Init(), because libfcgi replaces an ignored SIGPIPE by its
	 * own handler.
	 */
	signal(SIGPIPE, SIG_IGN);

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	for (i = 0; i < n; i++) {
		if (pthread_create(&threads[i], &attr, work, NULL) != 0) {
			fprintf(stderr, "could not start thread %ld\n", i);
			return 1;
		}
	}
	sigdelset(&set, SIGHUP);
	sigdelset(&set, SIGUSR1);
	while (sigwait(&set, &sig) != 0)
		;
	shutdown(0, SHUT_RDWR);
	for (i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	pthread_attr_destroy(&attr);
	return 0;
}
