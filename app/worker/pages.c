#include "config.h"

#include "app/worker/pages.h"

#include <string.h>

#define HTML "text/html; charset=utf-8"
#define CSS "text/css; charset=utf-8"
#define JAVASCRIPT "text/javascript; charset=utf-8"

/* The files are below nginx/pages/. swagger-ui and uplot are from npm. */
static const struct page {
	const char *path;
	const char *file;
	const char *type;
} pages[] = {
	{ "/docs", "/.pages/docs/index.html", HTML },
	{ "/docs/docs.css", "/.pages/docs/docs.css", CSS },
	{ "/docs/docs.js", "/.pages/docs/docs.js", JAVASCRIPT },
	{ "/docs/icon.svg", "/.pages/docs/icon.svg", "image/svg+xml" },
	{ "/docs/swagger-ui.css", "/.pages/docs/swagger-ui/swagger-ui.css",
	    CSS },
	{ "/docs/swagger-ui-bundle.js",
	    "/.pages/docs/swagger-ui/swagger-ui-bundle.js", JAVASCRIPT },
	/* The links of the page are relative to /admin/. */
	{ "/admin", "/.pages/admin/slash.html", HTML },
	{ "/admin/", "/.pages/admin/index.html", HTML },
	{ "/admin/admin.css", "/.pages/admin/admin.css", CSS },
	{ "/admin/admin.js", "/.pages/admin/admin.js", JAVASCRIPT },
	{ "/admin/icon.svg", "/.pages/docs/icon.svg", "image/svg+xml" },
	{ "/admin/uplot.css", "/.pages/admin/uplot/dist/uPlot.min.css", CSS },
	{ "/admin/uplot.js", "/.pages/admin/uplot/dist/uPlot.iife.min.js",
	    JAVASCRIPT },
};

#define N_PAGES (sizeof(pages) / sizeof(pages[0]))

enum aic_code
pages_get(struct request *rq, struct aic_err *err)
{
	size_t i;

	for (i = 0; i < N_PAGES; i++) {
		if (strcmp(pages[i].path, rq->in.path) != 0)
			continue;
		rq->file = pages[i].file;
		rq->type = pages[i].type;
		return AIC_OK;
	}
	return aic_fail(err, AIC_ENOROUTE, "no page has this path");
}
