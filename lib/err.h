/*
 * err -- what can go wrong, for programs (a code) and for people (a text).
 *
 * A function that can fail returns an enum aic_code and fills the struct
 * aic_err that it is given as its last parameter. Text for the caller and text
 * for the log are kept apart: `detail' may name hosts, files and statements and
 * never leaves the machine; `says' is what an answer may quote.
 *
 * Threads: a struct aic_err belongs to one thread at a time.
 */
#ifndef AIC_ERR_H
#define AIC_ERR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#define AIC_MUST_CHECK __attribute__((warn_unused_result))
#define AIC_PRINTF(f, a) __attribute__((format(printf, f, a)))

enum aic_code {
	AIC_OK,
	AIC_EAUTH, /* no key, or not the right one */
	AIC_ENOROUTE, /* no such path */
	AIC_EMETHOD, /* the path exists, the method does not */
	AIC_EINPUT, /* does not fit the schema; see faults */
	AIC_EPARAM, /* fits the schema, but not the rules; see says */
	AIC_EBIG, /* body over the limit */
	AIC_ELIMIT, /* the day is used up */
	AIC_ECROWD, /* as many chats of the user as may be are under way */
	AIC_EUPSTREAM, /* the model gave nothing usable; see says */
	AIC_EOPEN, /* the model keeps failing and is not asked for a while */
	AIC_EDB, /* the database did not do what was asked */
	AIC_EBUSY, /* no room for one more */
	AIC_EGONE, /* the caller has left */
	AIC_ENOMEM, /* out of memory */
	AIC_ECONF, /* a setting, or a file it names */
	AIC_EBUG, /* cannot happen */
	AIC__MAX
};

/* A send has a header and three fields; a body that is wrong as a whole has one
 * fault. */
#define AIC_FAULTS_MAX 4

/* One fault of the input, as FastAPI reports it. */
struct aic_fault {
	const char *type; /* "missing", "string_type", ... static */
	const char *where; /* "header", "body", "path" or "query"; static */
	const char *field; /* static; NULL: the whole of `where' */
	long offset; /* where the JSON breaks, in code points; -1: none */
	char msg[128];
};

struct aic_err {
	enum aic_code code;
	bool declined; /* with AIC_EUPSTREAM: the model will not answer this */
	/* With AIC_EDB: why the database refused; "": it did not answer. */
	char sqlstate[6];
	int retry_after_s; /* > 0: when it makes sense to come again */
	unsigned n_faults;
	struct aic_fault faults[AIC_FAULTS_MAX];
	char says[160]; /* for the caller; one line */
	char detail[400]; /* for the log; one line */
};

#define AIC_ERR_INIT                                                           \
	{                                                                      \
		.code = AIC_OK                                                 \
	}

/*
 * aic_fail -- note a failure; the value is the code, so that a failure is one
 * statement: rc = aic_fail(err, AIC_EDB, "could not ...: %s", why).
 *
 * fmt       the detail, for the log: lower case, no full stop
 *
 * Memory:   cuts at sizeof(err->detail)
 */
enum aic_code aic_fail(struct aic_err *err, enum aic_code code, const char *fmt,
    ...) AIC_PRINTF(3, 4);

/* aic_says -- set what the caller may be told, of a failure that is no refusal. Cuts,
 * never inside UTF-8. */
void aic_says(struct aic_err *err, const char *fmt, ...) AIC_PRINTF(2, 3);

/*
 * aic_fault -- add one fault of the input; the code becomes AIC_EINPUT.
 *
 * type, where, field  static strings, kept
 * field     NULL means the whole of `where'
 *
 * Over AIC_FAULTS_MAX a fault is dropped: the first ones are enough to act on.
 */
enum aic_code
aic_fault(struct aic_err *err, const char *type, const char *where,
    const char *field, const char *fmt, ...) AIC_PRINTF(5, 6);

/* aic_code_name -- "EDB" and the like, for log lines; static. */
const char *aic_code_name(enum aic_code code);

#endif
