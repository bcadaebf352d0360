/*
 * err -- errors, with a code for programs and texts for people.
 *
 * A function that can fail returns an enum aic_code and fills the struct
 * aic_err that is its last parameter. Text for the caller and text for the log
 * are separate: `detail' may contain hosts, files and statements and is only
 * logged; `says' may be quoted in a response.
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
	AIC_EAUTH, /* no key, or a wrong one */
	AIC_ENOROUTE, /* no such path */
	AIC_EMETHOD, /* the path exists, but not with this method */
	AIC_EINPUT, /* violates the schema; see faults */
	AIC_EPARAM, /* matches the schema but violates a rule; see says */
	AIC_EBIG, /* the body exceeds the limit */
	AIC_ELIMIT, /* the daily limit is reached */
	AIC_ECROWD, /* the user has the maximum of chats in flight */
	AIC_EUPSTREAM, /* the model gave no usable answer; see says */
	AIC_EOPEN, /* the circuit breaker of the model is open */
	AIC_EDB, /* the database failed or refused */
	AIC_EBUSY, /* no capacity for one more request */
	AIC_EGONE, /* the caller has disconnected */
	AIC_ENOMEM, /* out of memory */
	AIC_ECONF, /* a setting, or a file that it names */
	AIC_EBUG, /* a bug of the program */
	AIC__MAX
};

/* A send has a header and three fields. A malformed body has one fault. */
#define AIC_FAULTS_MAX 4

/* A fault of the input, in the form of FastAPI. */
struct aic_fault {
	const char *type; /* "missing", "string_type", ... static */
	const char *where; /* "header", "body", "path" or "query"; static */
	const char *field; /* static; NULL: `where' as a whole */
	long offset; /* position of a JSON error, in code points; -1: none */
	char msg[128];
};

struct aic_err {
	enum aic_code code;
	bool declined; /* with AIC_EUPSTREAM: the model declined to answer */
	/* With AIC_EDB: the SQLSTATE; "": the database did not respond. */
	char sqlstate[6];
	int retry_after_s; /* > 0: when a retry is useful */
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
 * aic_fail -- record a failure. The value is the code, so that a failure is one
 * statement: rc = aic_fail(err, AIC_EDB, "could not ...: %s", why).
 *
 * fmt       the detail, for the log: lower case, no full stop
 *
 * Memory:   cuts at sizeof(err->detail)
 */
enum aic_code aic_fail(struct aic_err *err, enum aic_code code, const char *fmt,
    ...) AIC_PRINTF(3, 4);

/*
 * aic_says -- set the text for the caller. It is cut to fit, never within a
 * UTF-8 sequence.
 */
void aic_says(struct aic_err *err, const char *fmt, ...) AIC_PRINTF(2, 3);

/*
 * aic_fault -- add a fault of the input. The code becomes AIC_EINPUT.
 *
 * type, where, field  static strings, kept
 * field     NULL: `where' as a whole
 *
 * A fault beyond AIC_FAULTS_MAX is dropped, because the first ones are enough
 * to act on.
 */
enum aic_code
aic_fault(struct aic_err *err, const char *type, const char *where,
    const char *field, const char *fmt, ...) AIC_PRINTF(5, 6);

/* aic_code_name -- "EDB" and similar, for log lines; static. */
const char *aic_code_name(enum aic_code code);

#endif
