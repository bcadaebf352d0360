#include "config.h"

#include "lib/extra.h"

#include <stdlib.h>
#include <string.h>

#include "lib/json.h"

static const struct {
	const char *name;
	const char *why;
} refused[] = {
	{ "messages", "the worker sets it" },
	{ "model", "the name of the model is a setting of its own" },
	{ "stream", "the worker sets it" },
	{ "stream_options", "the worker sets it" },
	/* The number of answers to choose from. */
	{ "n", "each answer is charged and only the first is used" },
};

static enum aic_code
check_member(struct aic_extra *e, const char *member, const char *name,
    const char *path, struct aic_err *err)
{
	size_t i;

	for (i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		if (strcmp(member, refused[i].name) == 0)
			return aic_fail(err, AIC_ECONF,
			    "%s \"%.100s\": the member \"%s\" cannot be set "
			    "here, because %s",
			    name, path, member, refused[i].why);
	if (strcmp(member, "temperature") == 0)
		e->temperature = true;
	if (strcmp(member, "max_tokens") == 0 ||
	    strcmp(member, "max_completion_tokens") == 0)
		e->max_tokens = true;
	return AIC_OK;
}

static enum aic_code
check_members(struct aic_extra *e, struct json_object *doc, const char *name,
    const char *path, struct aic_err *err)
{
	struct json_object_iterator it, end;
	enum aic_code rc = AIC_OK;

	if (!json_object_is_type(doc, json_type_object))
		return aic_fail(err, AIC_ECONF,
		    "%s \"%.100s\" is not a JSON object", name, path);
	it = json_object_iter_begin(doc);
	end = json_object_iter_end(doc);
	while (!rc && !json_object_iter_equal(&it, &end)) {
		rc = check_member(e, json_object_iter_peek_name(&it), name,
		    path, err);
		json_object_iter_next(&it);
	}
	return rc;
}

/*
 * The text between the braces of a JSON object. It is sent as written, so that
 * no number changes by a conversion to double.
 */
static char *
cut_members(const char *text, size_t len)
{
	static const char blanks[] = " \t\r\n";
	size_t from = 0;
	char *s;

	while (strchr(blanks, text[from]))
		from++;
	from++; /* the brace */
	while (strchr(blanks, text[from]))
		from++;
	while (strchr(blanks, text[len - 1]))
		len--;
	len--; /* the other brace */
	while (len > from && strchr(blanks, text[len - 1]))
		len--;
	s = malloc(len - from + 2);
	if (!s)
		return NULL;
	s[0] = '\0';
	if (len > from) {
		s[0] = ',';
		memcpy(s + 1, text + from, len - from);
		s[len - from + 1] = '\0';
	}
	return s;
}

enum aic_code
aic_extra_read(struct aic_extra *ret_extra, const char *text, size_t len,
    const char *name, const char *path, struct aic_err *err)
{
	struct aic_extra e = { .members = NULL };
	struct json_object *doc = NULL;
	struct aic_json_fault fault;
	enum aic_code rc;

	rc = aic_json_parse_strict(text, len, &doc, &fault);
	if (rc == AIC_ENOMEM)
		return aic_fail(err, rc, "out of memory");
	if (rc)
		return aic_fail(err, AIC_ECONF,
		    "%s \"%.100s\" is not JSON: %s, at byte %zu", name, path,
		    fault.wrong, fault.offset + 1);
	rc = check_members(&e, doc, name, path, err);
	json_object_put(doc);
	if (rc)
		return rc;
	e.members = cut_members(text, len);
	if (!e.members)
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	*ret_extra = e;
	return AIC_OK;
}

void
aic_extra_done(struct aic_extra *e)
{
	if (e->members)
		explicit_bzero(e->members, strlen(e->members));
	free(e->members);
	*e = (struct aic_extra){ .members = NULL };
}
