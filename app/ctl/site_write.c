#include "config.h"

#include "app/ctl/ctl.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/ctl/change.h"
#include "app/ctl/nginx.h"
#include "app/ctl/service.h"
#include "app/ctl/site.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/json.h"

/* Nginx reads its configuration in a second, and on a busy host in some
 * seconds. */
#define RELOAD_US (30 * AIC_S)

/* The remedy where a reload is not enough. */
#define RESTART "ai-chatctl nginx --no-reload && systemctl restart nginx"

struct site {
	struct ctl *c;
	const char *path;
	struct aic_buf text; /* the new site */
	char *old; /* the present one; NULL: there is none */
	size_t old_len;
	bool written;
	bool tested;
	bool enabled; /* Nginx reads the site */
	bool reloaded;
};

static enum aic_code
make_text(struct site *s, struct aic_err *err)
{
	char path[PATH_MAX], *template = NULL;
	size_t len = 0;
	enum aic_code rc;

	snprintf(path, sizeof(path), "%s/ai-chat.conf.in", s->c->own.nginx_dir);
	rc = aic_file_read("template of the site", path, CTL_SITE_MAX,
	    &template, &len, err);
	if (!rc)
		rc = ctl_site_fill(&s->text, &s->c->own, &s->c->conf, template,
		    err);
	free(template);
	return rc;
}

static enum aic_code
read_old(struct site *s, struct aic_err *err)
{
	if (access(s->path, F_OK) != 0 && errno == ENOENT)
		return AIC_OK;
	return aic_file_read("site", s->path, CTL_SITE_MAX, &s->old,
	    &s->old_len, err);
}

/* A site that was not written by this command, or was edited since, is kept
 * unless --force is given. */
static enum aic_code
keep_edited(struct site *s, struct aic_err *err)
{
	char copy[PATH_MAX];
	enum aic_code rc;

	if (!s->old || ctl_site_is_ours(s->old, s->old_len))
		return AIC_OK;
	if (!s->c->force)
		return aic_fail(err, AIC_EBUSY,
		    "\"%s\" was edited, so it is not changed: compare it with "
		    "ai-chatctl nginx --print, move your changes to the "
		    "settings or to files of /etc/ai-chat/nginx/, and run "
		    "ai-chatctl nginx --force, which keeps a copy",
		    s->path);
	snprintf(copy, sizeof(copy), "%s.edited", s->path);
	rc = ctl_change_file(copy, s->old, err);
	if (!rc)
		ctl_say(s->c, "kept the old site as %s", copy);
	return rc;
}

static enum aic_code
write_text(struct site *s, struct aic_err *err)
{
	enum aic_code rc;

	if (s->old && strcmp(s->old, s->text.data) == 0)
		return AIC_OK;
	rc = keep_edited(s, err);
	if (rc)
		return rc;
	rc = ctl_change_file(s->path, s->text.data, err);
	s->written = !rc;
	return rc;
}

static void
restore_old(struct site *s)
{
	struct aic_err err = AIC_ERR_INIT;
	enum aic_code rc;

	if (!s->written)
		return;
	rc = s->old ? ctl_change_file(s->path, s->old, &err)
		    : ctl_change_remove(s->path, &err);
	s->written = false;
	if (rc)
		ctl_warn("could not undo the change: %s", err.detail);
	else
		ctl_warn("the site was left as it was");
}

/* --- making Nginx use the site -------------------------------------------- */

static enum aic_code
test_site(struct site *s, struct aic_err *err)
{
	struct aic_buf dump;
	enum aic_code rc;

	aic_buf_init(&dump, 16 * 1024 * 1024);
	rc = ctl_service_test(s->c, &dump, err);
	s->tested = !rc;
	s->enabled = !rc && dump.len > 0 &&
	    ctl_site_is_read(dump.data, s->path);
	aic_buf_done(&dump);
	return rc;
}

/* Reload Nginx, and wait until its old processes accept no more requests. A
 * port that another program uses is found only here: nginx -t does not bind
 * to a port that is in use. */
static enum aic_code
reload_nginx(struct site *s, struct aic_err *err)
{
	struct ctl_workers now;
	struct ctl_nginx old;
	enum aic_code rc;
	int port;

	rc = ctl_service_list(s->c, &now, err);
	if (rc)
		return rc;
	if (now.nginx <= 0) {
		ctl_warn("Nginx is not running; start it, for example with "
			 "systemctl start nginx");
		return AIC_OK;
	}
	if (s->old && ctl_site_needs_restart(s->old, s->text.data, &port))
		return aic_fail(err, AIC_EBUSY,
		    "Nginx cannot change port %d between one address and all "
		    "addresses by a reload: run " RESTART
		    ", which can interrupt requests",
		    port);
	ctl_nginx_note(&old, now.nginx);
	rc = ctl_service_reload(s->c, err);
	if (!rc && !ctl_nginx_wait(&old, false, aic_clock_us() + RELOAD_US))
		rc = aic_fail(err, AIC_EBUSY,
		    "Nginx did not apply the new site; its error log has the "
		    "reason: a port that another program uses, or a port that "
		    "changes between one address and all addresses, for which "
		    "run " RESTART);
	s->reloaded = !rc;
	return rc;
}

static enum aic_code
apply_site(struct site *s, struct aic_err *err)
{
	enum aic_code rc = test_site(s, err);

	if (!rc && s->enabled)
		rc = reload_nginx(s, err);
	if (rc)
		restore_old(s);
	return rc;
}

/* --- the command ---------------------------------------------------------- */

static void
report_site(struct site *s)
{
	struct ctl *c = s->c;

	ctl_say(c, s->written ? "wrote %s" : "%s is up to date", s->path);
	if (s->reloaded)
		ctl_say(c, "Nginx uses it: port %lld of %s%s",
		    (long long)c->conf.port, c->conf.address,
		    c->conf.tls_certificate ? ", with TLS" : "");
	else if (s->tested && !s->enabled)
		ctl_say(c,
		    "Nginx does not read it yet; to enable it:\n"
		    "  ln -s %s /etc/nginx/sites-enabled/\n"
		    "  ai-chatctl nginx",
		    s->path);
	aic_buf_puts(&c->doc, "{\"site\":");
	aic_json_put_str(&c->doc, s->path);
	aic_buf_printf(&c->doc,
	    ",\"written\":%s,\"enabled\":%s,\"reloaded\":%s}",
	    s->written ? "true" : "false",
	    !s->tested	     ? "null"
		: s->enabled ? "true"
			     : "false",
	    s->reloaded ? "true" : "false");
}

static enum aic_code
change_site(struct site *s, struct aic_err *err)
{
	enum aic_code rc;
	int lock = -1;

	rc = ctl_change_lock(&s->c->own, &lock, err);
	if (rc)
		return rc;
	ctl_catch_signals();
	rc = read_old(s, err);
	if (!rc)
		rc = write_text(s, err);
	if (!rc && !s->c->no_reload)
		rc = apply_site(s, err);
	if (!rc)
		report_site(s);
	close(lock);
	return rc;
}

enum aic_code
ctl_site(struct ctl *c, struct aic_err *err)
{
	struct site s = { .c = c, .path = c->own.site };
	enum aic_code rc;

	rc = aic_conf_load_site(&c->conf, c->env.v, err);
	if (rc)
		return rc;
	aic_buf_init(&s.text, CTL_SITE_MAX);
	rc = make_text(&s, err);
	if (!rc && c->print) {
		if (!c->json)
			fputs(s.text.data, stdout);
		aic_buf_puts(&c->doc, "{\"text\":");
		aic_json_put_str(&c->doc, s.text.data);
		aic_buf_putc(&c->doc, '}');
	} else if (!rc) {
		rc = change_site(&s, err);
	}
	free(s.old);
	aic_buf_done(&s.text);
	return rc;
}
