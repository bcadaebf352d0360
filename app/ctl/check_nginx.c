#include "config.h"

#include "app/ctl/check.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "app/ctl/listener.h"
#include "app/ctl/nginx.h"
#include "lib/bounds.h"

/*
 * A certificate is reported before it expires: this long before, or a tenth of
 * its life if that is less. By then every usual program for renewals should
 * have renewed it.
 */
#define RENEW_S (7 * INT64_C(86400))
#define RENEW_SHARE 10

static void
check_site(struct check *k, const struct ctl_nginx_site *site)
{
	long long deadline = k->c->conf.deadline_ms;
	bool ok;

	if (site->places == 0) {
		check_report(k, "site", false,
		    "no location of Nginx passes requests to \"ai_chat\": the "
		    "site is not installed or not enabled: run ai-chatctl "
		    "nginx");
		return;
	}
	check_report(k, "site", site->listed, "Nginx %s %s",
	    site->listed ? "reads the list of workers,"
			 : "does not read the list of workers,",
	    k->c->own.upstream);
	ok = deadline < site->read_ms && deadline < site->send_ms;
	check_report(k, "timeouts", ok,
	    "AI_CHAT_DEADLINE_MS (%lld) is %s fastcgi_read_timeout (%lld ms) "
	    "and fastcgi_send_timeout (%lld ms)%s",
	    deadline, ok ? "less than" : "not less than both",
	    (long long)site->read_ms, (long long)site->send_ms,
	    ok ? "" : ": run ai-chatctl nginx");
	ok = site->body_min == AIC_BOUNDS_BODY &&
	    site->body_max == AIC_BOUNDS_BODY;
	check_report(k, "body", ok,
	    "client_max_body_size is %lld, the limit of a worker is %d bytes",
	    (long long)(site->body_min != AIC_BOUNDS_BODY ? site->body_min
							  : site->body_max),
	    AIC_BOUNDS_BODY);
}

static void
check_port(struct check *k, const struct ctl_nginx_site *site)
{
	int port = (int)k->c->conf.port, i, n = 0;
	char list[200];
	size_t len = 0;

	for (i = 0; i < site->n_listens && len < sizeof(list); i++) {
		if (ctl_listener_port(site->listen[i].address) == 0)
			continue;
		if (ctl_listener_port(site->listen[i].address) == port)
			break;
		len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s",
		    n++ > 0 ? ", " : "", site->listen[i].address);
	}
	if (i < site->n_listens)
		check_report(k, "port", true,
		    "Nginx listens on AI_CHAT_PORT (%d)", port);
	else if (n > 0)
		check_report(k, "port", false,
		    "AI_CHAT_PORT is %d, but Nginx listens on %s: run "
		    "ai-chatctl nginx",
		    port, list);
}

static void
check_certificate(struct check *k, const char *address,
    const struct ctl_listener_answer *a)
{
	int64_t now = (int64_t)time(NULL), spare;
	time_t at = (time_t)a->cert_ends_s;
	char date[32] = "";
	struct tm tm;

	if (gmtime_r(&at, &tm))
		strftime(date, sizeof(date), "%Y-%m-%d %H:%M UTC", &tm);
	spare = (a->cert_ends_s - a->cert_begins_s) / RENEW_SHARE;
	if (spare > RENEW_S)
		spare = RENEW_S;
	if (a->cert_begins_s > now)
		check_report(k, "certificate", false,
		    "the certificate of Nginx on %s is not valid yet: check "
		    "the clock",
		    address);
	else if (a->cert_ends_s <= now)
		check_report(k, "certificate", false,
		    "the certificate of Nginx on %s expired on %s: renew it "
		    "and reload Nginx",
		    address, date);
	else
		check_report(k, "certificate", a->cert_ends_s - now > spare,
		    "the certificate of Nginx on %s expires on %s%s", address,
		    date,
		    a->cert_ends_s - now > spare
			? ""
			: ": renew it and reload Nginx");
}

/* The site can refuse a request from this host, or redirect it. */
static bool
is_refusal(int status)
{
	return (status >= 300 && status < 400) || status == 401 ||
	    status == 403 || status == 429;
}

static void
check_listener(struct check *k, const struct ctl_nginx_site *site, int i)
{
	const char *address = site->listen[i].address;
	struct ctl_listener_answer a;

	ctl_listener_ask(&site->listen[i], site->name, &a);
	if (a.status == 200 && a.ours)
		check_report(k, "listener", true,
		    "Nginx on %s passes requests to the workers", address);
	else if (is_refusal(a.status))
		check_report(k, "listener", true,
		    "Nginx on %s responds: HTTP %d to GET /health", address,
		    a.status);
	else if (a.status == 0)
		check_report(k, "listener", false,
		    "Nginx does not respond on %s: %s: restart Nginx", address,
		    a.why);
	else if (a.status == 502 || a.status == 503 || a.status == 504)
		check_report(k, "listener", false,
		    "Nginx on %s reaches no worker: HTTP %d", address,
		    a.status);
	else
		check_report(k, "listener", false,
		    "another program or site responds on %s: HTTP %d to "
		    "GET /health",
		    address, a.status);
	if (a.cert_ends_s)
		check_certificate(k, address, &a);
}

void
check_nginx(struct check *k, bool without_conf)
{
	struct aic_err err = AIC_ERR_INIT;
	struct ctl_nginx_site site;
	struct aic_buf dump;
	enum aic_code rc;
	int i;

	/* A TLS connection that the peer closes raises the signal. */
	signal(SIGPIPE, SIG_IGN);
	aic_buf_init(&dump, 16 * 1024 * 1024);
	rc = ctl_service_test(k->c, &dump, &err);
	if (rc)
		check_report(k, "nginx", false, "%s", err.detail);
	else
		check_report(k, "nginx", !k->state->nginx_stopped,
		    "the configuration is valid%s",
		    k->state->nginx_stopped ? ", but Nginx is not running: "
					      "start Nginx"
					    : "");
	if (!rc && dump.len > 0) {
		rc = ctl_nginx_read(&site, dump.data, k->c->own.upstream, &err);
		if (rc) {
			check_report(k, "site", false, "%s", err.detail);
		} else if (!without_conf) {
			check_site(k, &site);
			check_port(k, &site);
		}
		if (rc || k->state->nginx_stopped || k->state->nginx_elsewhere)
			site.n_listens = 0;
		for (i = 0; i < site.n_listens; i++)
			check_listener(k, &site, i);
	}
	aic_buf_done(&dump);
}
