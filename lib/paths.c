#include "config.h"

#include "lib/paths.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "lib/json.h"

/*
 * A missing endpoint is reported in a short JSON message; an error page of a
 * proxy is longer.
 */
#define MISSING_MAX 256

static enum aic_code
check_path(const char *path, struct aic_err *err)
{
	const char *p;

	if (*path != '/')
		return aic_fail(err, AIC_ECONF,
		    "\"%.80s\" does not begin with a slash", path);
	if (!strstr(path, AIC_PATHS_ID))
		return aic_fail(err, AIC_ECONF,
		    "\"%.80s\" has no " AIC_PATHS_ID, path);
	for (p = path; *p; p++)
		if (*p <= ' ' || *p > '~' || *p == '#')
			return aic_fail(err, AIC_ECONF,
			    "\"%.80s\" is not a path and a query", path);
	return AIC_OK;
}

enum aic_code
aic_paths_read(struct aic_paths *ret_paths, const char *list,
    struct aic_err *err)
{
	struct aic_paths paths = { .text = strdup(list) };
	enum aic_code rc = AIC_OK;
	char *p, *rest = paths.text;

	if (!paths.text)
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	while (!rc && rest) {
		p = strsep(&rest, ", \t");
		if (!*p)
			continue;
		if (paths.n == AIC_PATHS_MAX)
			rc = aic_fail(err, AIC_ECONF, "more than %d paths",
			    AIC_PATHS_MAX);
		else
			rc = check_path(p, err);
		if (!rc)
			paths.path[paths.n++] = p;
	}
	if (!rc && paths.n == 0)
		rc = aic_fail(err, AIC_ECONF, "no path");
	if (rc)
		aic_paths_done(&paths);
	else
		*ret_paths = paths;
	return rc;
}

void
aic_paths_done(struct aic_paths *paths)
{
	free(paths->text);
	*paths = (struct aic_paths){ .text = NULL };
}

void
aic_paths_url(struct aic_buf *to, const char *host, const char *path,
    const char *id)
{
	const char *place = strstr(path, AIC_PATHS_ID);

	aic_buf_puts(to, host);
	for (; place; place = strstr(path, AIC_PATHS_ID)) {
		aic_buf_put(to, path, (size_t)(place - path));
		aic_buf_puts(to, id);
		path = place + strlen(AIC_PATHS_ID);
	}
	aic_buf_puts(to, path);
}

bool
aic_paths_is_missing(const struct aic_http_answer *answer)
{
	struct json_object *doc = NULL, *detail;
	bool missing;

	if (answer->end != AIC_HTTP_ANSWERED || answer->status != 404 ||
	    answer->body.len > MISSING_MAX ||
	    aic_json_parse(answer->body.data, answer->body.len, &doc))
		return false;
	missing = json_object_is_type(doc, json_type_object) &&
	    json_object_object_get_ex(doc, "detail", &detail) &&
	    json_object_is_type(detail, json_type_string) &&
	    strcmp(json_object_get_string(detail), "Not Found") == 0;
	json_object_put(doc);
	return missing;
}
