#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "port.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

bool
port_write(const char *file, unsigned port)
{
	char *tmp;
	FILE *f;
	bool ok = false;

	if (asprintf(&tmp, "%s.%ld", file, (long)getpid()) < 0)
		return false;
	f = fopen(tmp, "w");
	if (f != NULL) {
		ok = fprintf(f, "%u\n", port) > 0;
		ok = fclose(f) == 0 && ok;
		ok = ok && rename(tmp, file) == 0;
		if (!ok)
			unlink(tmp);
	}
	free(tmp);
	return ok;
}
