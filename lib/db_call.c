#include "config.h"

#include "lib/db_call.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Retry-After of a database error: soon, but not at once. */
#define RETRY_AFTER_S 2

void
aic_db_call(struct aic_db_call *call, const struct aic_db_stmt *stmt)
{
	call->stmt = stmt;
	call->n = 0;
	call->res = NULL;
}

void
aic_db_text(struct aic_db_call *call, const char *value)
{
	call->param[call->n++] = value;
}

void
aic_db_int(struct aic_db_call *call, int64_t value)
{
	snprintf(call->num[call->n], sizeof(call->num[0]), "%" PRId64, value);
	call->param[call->n] = call->num[call->n];
	call->n++;
}

void
aic_db_call_done(struct aic_db_call *call)
{
	PQclear(call->res);
	call->res = NULL;
}

const char *
aic_db_get(const struct aic_db_call *call, int row, int col)
{
	return PQgetvalue(call->res, row, col);
}

int64_t
aic_db_get_int(const struct aic_db_call *call, int row, int col)
{
	return strtoll(PQgetvalue(call->res, row, col), NULL, 10);
}

/*
 * These concern every user: a missing right or table, a read-only transaction,
 * a lack of resources, an error of the disk or of the server itself, and a
 * sequence without further numbers (2200H). These do not: data that violates a
 * type or a constraint, a deadlock, a timeout, and an exception that a trigger
 * raises.
 */
bool
aic_db_concerns_all(const char *sqlstate)
{
	static const char *const classes[] = { "0A", "25", "28", "3D", "3F",
		"42", "53", "58", "F0", "XX" };
	size_t i;

	for (i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
		if (strncmp(sqlstate, classes[i], 2) == 0)
			return true;
	return strcmp(sqlstate, "2200H") == 0;
}

enum aic_code
aic_db_fail(struct aic_err *err, const char *doing, const char *sqlstate,
    const char *message)
{
	char text[256];
	size_t i;

	snprintf(text, sizeof(text), "%s", message ? message : "");
	for (i = 0; text[i]; i++)
		if (text[i] == '\n')
			text[i] = text[i + 1] ? ' ' : '\0';
	err->retry_after_s = RETRY_AFTER_S;
	snprintf(err->sqlstate, sizeof(err->sqlstate), "%s",
	    sqlstate ? sqlstate : "");
	return aic_fail(err, AIC_EDB, "could not %s: %s%s%s", doing,
	    sqlstate ? sqlstate : "", sqlstate ? " " : "", text);
}

void
aic_db_hide(char *text)
{
	char *to = text;
	bool quoted = false;

	if (strncmp(text, "connection to server", 20) == 0 ||
	    (strncmp(text, "could not translate host", 24) == 0 &&
		!strchr(text, '@')))
		return;
	for (; *text; text++) {
		if (*text == '"')
			quoted = !quoted;
		else if (quoted && to[-1] != '"')
			continue;
		*to++ = quoted && *text != '"' ? '*' : *text;
	}
	*to = '\0';
}
