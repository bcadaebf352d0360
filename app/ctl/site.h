/*
 * ctl_site -- the text of Nginx's site, from its template and the settings.
 *
 * The first line of the text has a digest of the others, so that a site that an
 * operator has edited is recognised and not overwritten.
 */
#ifndef CTL_SITE_H
#define CTL_SITE_H

#include <stdbool.h>
#include <stddef.h>

#include "app/ctl/env.h"
#include "lib/buf.h"
#include "lib/conf.h"
#include "lib/err.h"

/* The largest template or site. The template has 5 KB. */
#define CTL_SITE_MAX (256 * 1024)

/*
 * ctl_site_fill -- write the text of the site.
 *
 * to        initialised by the caller
 * conf      the settings of aic_conf_load_site()
 * text      the template: a comment about the template itself, which ends at
 *           the first empty line and is left out, and the site with names
 *           between at signs. The line with @LISTEN@ is repeated for each
 *           address.
 *
 * Errors:   AIC_ECONF  a name in the template is unknown, or a path of Nginx
 *           cannot be written without quotes; AIC_ENOMEM
 */
enum aic_code ctl_site_fill(struct aic_buf *to, const struct ctl_conf *own,
    const struct aic_conf *conf, const char *text,
    struct aic_err *err) AIC_MUST_CHECK;

/* ctl_site_is_ours -- true if ctl_site_fill() has written the text, and nobody
 * has changed it since. */
bool ctl_site_is_ours(const char *text, size_t len);

/*
 * ctl_site_is_read -- true if Nginx reads the file, under this name or by a
 * symbolic link.
 *
 * dump      the output of nginx -T
 */
bool ctl_site_is_read(const char *dump, const char *path);

/*
 * ctl_site_needs_restart -- true if a reload cannot apply the new site.
 *
 * Linux refuses to bind a port of one address while a socket listens on the
 * port of all addresses, and the other way round. A reload of Nginx opens the
 * new sockets before it closes the old ones.
 *
 * ret_port  set on true: the port
 */
bool ctl_site_needs_restart(const char *old, const char *now, int *ret_port);

#endif
