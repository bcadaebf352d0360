#include "config.h"

#include "lib/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum aic_code
fail_errno(const char *verb, const char *name, const char *path,
    struct aic_err *err)
{
	return aic_fail(err, AIC_ECONF, "could not %s %s \"%s\": %s", verb,
	    name, path, strerror(errno));
}

/*
 * Read into text, which has room for one byte more than max, because the file
 * may grow meanwhile.
 */
static enum aic_code
read_all(int fd, const char *name, const char *path, size_t max, char *text,
    size_t *ret_len, struct aic_err *err)
{
	size_t len = 0;
	ssize_t n;

	do {
		n = read(fd, text + len, max + 1 - len);
		if (n > 0)
			len += (size_t)n;
	} while ((n > 0 && len <= max) || (n < 0 && errno == EINTR));
	if (n < 0)
		return fail_errno("read", name, path, err);
	if (len > max)
		return aic_fail(err, AIC_ECONF,
		    "%s \"%s\" is longer than %zu bytes", name, path, max);
	text[len] = '\0';
	*ret_len = len;
	return AIC_OK;
}

static enum aic_code
read_and_close(int fd, const char *name, const char *path, size_t max,
    char **ret_text, size_t *ret_len, struct aic_err *err)
{
	char *text = malloc(max + 1);
	enum aic_code rc;

	rc = text ? read_all(fd, name, path, max, text, ret_len, err)
		  : aic_fail(err, AIC_ENOMEM, "out of memory");
	close(fd);
	if (rc)
		aic_file_wipe(text, max + 1);
	else
		*ret_text = text;
	return rc;
}

enum aic_code
aic_file_read(const char *name, const char *path, size_t max, char **ret_text,
    size_t *ret_len, struct aic_err *err)
{
	struct stat st;
	enum aic_code rc;
	/*
	 * O_NONBLOCK: open a pipe without a writer at once, so that it can be
	 * refused.
	 */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return fail_errno("open", name, path, err);
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		return read_and_close(fd, name, path, max, ret_text, ret_len,
		    err);
	rc = aic_fail(err, AIC_ECONF, "%s \"%s\" is not a regular file", name,
	    path);
	close(fd);
	return rc;
}

enum aic_code
aic_file_read_any(const char *name, const char *path, size_t max,
    char **ret_text, size_t *ret_len, struct aic_err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return fail_errno("open", name, path, err);
	return read_and_close(fd, name, path, max, ret_text, ret_len, err);
}

void
aic_file_wipe(char *text, size_t len)
{
	if (text)
		explicit_bzero(text, len);
	free(text);
}
