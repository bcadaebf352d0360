/*
 * ai-chat-model -- a stub of a model, for tests and for trying out.
 *
 * It has the part of OpenAI's API that the worker uses: POST to any path that
 * ends in /chat/completions, with any bearer key. The answer to every question
 * is the same advice, unless the request asks for another.
 *
 * Steering. A mark, [[key=value key=value ...]], says how to answer. It is in
 * the last element of "messages", if the role of that is "user", or in the name
 * of the model. Values have no blanks; %XX stands for a byte. If a text has
 * several marks, the last one counts. If the message and the name of the model
 * have one each, both count, and the keys of the message override the others.
 * Earlier messages and the seller's data steer nothing, so an exchange that
 * comes back as context does no harm. Any [[word=...]] is a mark. The answer to
 * an unknown key or value is a 400 with the code "bad_mark", so that a mistake
 * in a test shows.
 *
 * The keys are in the table of model_steer.c, and --help prints them. They
 * combine: status=502 body=html retry_after=3 delay=100 is one answer. With a
 * status of 400 or more the body is OpenAI's error object, unless body= is
 * given. With times=N id=NAME only the first N requests of that name get what
 * the mark asks for. Later ones get a normal answer, for which only text=,
 * repeat=, echo= and tokens= count.
 *
 * Control, without a key:
 *	GET /health		200 {"status":"ok"}
 *	GET /count		requests, answered, connections, open,
 *				closed_early, pending, peak, by_id
 *	GET /count?id=NAME	{"id":NAME,"requests":n}
 *	GET /times?id=NAME	arrivals, in ms of a monotonic clock
 *	GET /last[?id=NAME]	the last request: {"headers":{},"body":{}}
 *	POST /reset		sets all of these to their beginning
 *
 * A request is counted when all of it has arrived, whatever becomes of it.
 * "answered" are the answers that were sent in full, of any status.
 * "closed_early" are clients that closed before that. "pending" are requests
 * that are neither answered nor given up, and "peak" is the most that there
 * were at once. "connections" and "open" count connections with at least one
 * completion, so not those of /count itself.
 *
 * A request without "[[" in its body takes a shorter way: its JSON is not
 * parsed, and it is not kept for /last, except with --record.
 *
 * The program does not use evhttp, because broken answers must be possible, and
 * no bufferevent, because that arms and disarms its write event for every
 * answer, which takes two more system calls than the answer needs.
 */

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "model.h"

#include <sys/resource.h>

#include <arpa/inet.h>
#include <getopt.h>
#include <netinet/in.h>
#include <signal.h>

static void
print_usage(FILE *to)
{
	fprintf(to,
	    "usage: ai-chat-model [--listen ADDRESS] [--port N] "
	    "[--delay MS] [--port-file FILE]\n"
	    "                     [--record] [--help]\n\n"
	    "A stub of a model: POST .../chat/completions.\n\n"
	    "  --listen ADDRESS   an IPv4 address (default 127.0.0.1)\n"
	    "  --port N           0: any free one (default 0)\n"
	    "  --delay MS         before every answer (default 0)\n"
	    "  --port-file FILE   where to write the port once ready\n"
	    "  --record           keep requests without marks for /last too\n\n"
	    "The last message, or the name of the model, may have a mark, "
	    "[[key=value ...]],\nwith %%XX in the values:\n\n");
	plan_print_keys(to);
	fprintf(to,
	    "\nGET /health, /count[?id=NAME], /times?id=NAME, "
	    "/last[?id=NAME]; POST /reset\n");
}

static void
raise_descriptors(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) == 0) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_NOFILE, &rl);
	}
}

/* What the command line asks for. */
struct arguments {
	struct sockaddr_in addr;
	struct loop_options loop;
};

/* Sets one option. False: the value is not valid. */
static bool
set_option(struct arguments *args, int option, const char *value)
{
	int64_t port;

	switch (option) {
	case 'l':
		return inet_pton(AF_INET, value, &args->addr.sin_addr) == 1;
	case 'p':
		if (!read_number(value, strlen(value), 0, 65535, &port))
			return false;
		args->addr.sin_port = htons((uint16_t)port);
		return true;
	case 'd':
		return read_number(value, strlen(value), 0, DELAY_MAX_MS,
		    &args->loop.delay_ms);
	case 'f':
		args->loop.port_file = value;
		return true;
	default:
		args->loop.record = true;
		return true;
	}
}

int
main(int argc, char **argv)
{
	static const struct option options[] = { { "listen", required_argument,
						     NULL, 'l' },
		{ "port", required_argument, NULL, 'p' },
		{ "delay", required_argument, NULL, 'd' },
		{ "port-file", required_argument, NULL, 'f' },
		{ "record", no_argument, NULL, 'r' },
		{ "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 } };
	struct arguments args = {
		.addr = { .sin_family = AF_INET,
		    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) }
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (opt == 'h' || opt == '?') {
			print_usage(opt == 'h' ? stdout : stderr);
			return opt == 'h' ? 0 : 2;
		}
		if (!set_option(&args, opt, optarg)) {
			fprintf(stderr, "not a valid value: \"%s\"\n", optarg);
			return 2;
		}
	}
	if (optind != argc) {
		print_usage(stderr);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	raise_descriptors();
	return loop_run(&args.addr, &args.loop);
}
