#include "config.h"

#include "app/ctl/change.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum aic_code
ctl_change_lock(const struct ctl_conf *conf, int *ret_fd, struct aic_err *err)
{
	int fd = open(conf->lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
	    0600);
	enum aic_code rc;

	if (fd < 0)
		return aic_fail(err, AIC_ECONF, "could not open \"%s\": %s",
		    conf->lock, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
		*ret_fd = fd;
		return AIC_OK;
	}
	rc = errno == EWOULDBLOCK
	    ? aic_fail(err, AIC_EBUSY,
		  "another ai-chatctl is running; try again after it has "
		  "exited")
	    : aic_fail(err, AIC_ECONF, "could not lock \"%s\": %s", conf->lock,
		  strerror(errno));
	close(fd);
	return rc;
}

static bool
write_all(int fd, const char *text, size_t n)
{
	ssize_t done;

	while (n > 0) {
		done = write(fd, text, n);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return false;
		text += done;
		n -= (size_t)done;
	}
	return true;
}

/* Flush the directory, so that the new name of the file survives a crash. */
static void
sync_directory(const char *path)
{
	char copy[PATH_MAX];
	int fd;

	snprintf(copy, sizeof(copy), "%s", path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return;
	fsync(fd);
	close(fd);
}

enum aic_code
ctl_change_file(const char *name, const char *text, struct aic_err *err)
{
	char path[PATH_MAX], new[PATH_MAX + 8];
	struct stat st = { .st_mode = 0644 };
	bool ok;
	int fd;

	/* If the name is a symbolic link, replace the file that the link points
	 * to. */
	if (!realpath(name, path))
		snprintf(path, sizeof(path), "%s", name);
	(void)stat(path, &st);
	snprintf(new, sizeof(new), "%s.new", path);
	unlink(new); /* of a process that was killed */
	fd = open(new, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return aic_fail(err, AIC_ECONF, "could not write \"%s\": %s",
		    new, strerror(errno));
	ok = write_all(fd, text, strlen(text)) &&
	    fchmod(fd, st.st_mode & 0777) == 0 && fsync(fd) == 0;
	ok = close(fd) == 0 && ok && rename(new, path) == 0;
	if (!ok) {
		aic_fail(err, AIC_ECONF, "could not write \"%s\": %s", path,
		    strerror(errno));
		unlink(new);
		return AIC_ECONF;
	}
	sync_directory(path);
	return AIC_OK;
}

enum aic_code
ctl_change_remove(const char *name, struct aic_err *err)
{
	if (unlink(name) == 0 || errno == ENOENT)
		return AIC_OK;
	return aic_fail(err, AIC_ECONF, "could not remove \"%s\": %s", name,
	    strerror(errno));
}
