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
 * may have grown since fstat().
 */
static enum aic_code
read_all(int fd, const char *name, const char *path, size_t max, char *text,
    size_t *ret_len, struct aic_err *err)
{
	struct stat st;
	size_t len = 0;
	ssize_t n;

	if (fstat(fd, &st) != 0)
		return fail_errno("read", name, path, err);
	if (!S_ISREG(st.st_mode))
		return aic_fail(err, AIC_ECONF,
		    "%s \"%s\" is not a regular file", name, path);
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

enum aic_code
aic_file_read(const char *name, const char *path, size_t max, char **ret_text,
    size_t *ret_len, struct aic_err *err)
{
	char *text = malloc(max + 1);
	enum aic_code rc;
	int fd;

	if (!text)
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	/*
	 * O_NONBLOCK: open a pipe without a writer at once, so that it can be
	 * refused.
	 */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		free(text);
		return fail_errno("open", name, path, err);
	}
	rc = read_all(fd, name, path, max, text, ret_len, err);
	close(fd);
	if (rc)
		aic_file_wipe(text, max + 1);
	else
		*ret_text = text;
	return rc;
}

void
aic_file_wipe(char *text, size_t len)
{
	if (text)
		explicit_bzero(text, len);
	free(text);
}
