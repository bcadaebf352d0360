#include "config.h"

#include "lib/http_handle.h"

static void
lock_share(CURL *easy, curl_lock_data data, curl_lock_access access, void *arg)
{
	struct aic_http *h = arg;

	(void)easy, (void)access;
	pthread_mutex_lock(&h->share_locks[data]);
}

static void
unlock_share(CURL *easy, curl_lock_data data, void *arg)
{
	struct aic_http *h = arg;

	(void)easy;
	pthread_mutex_unlock(&h->share_locks[data]);
}

bool
aic_http_handle_init(struct aic_http *h)
{
	int i;

	for (i = 0; i < CURL_LOCK_DATA_LAST; i++)
		pthread_mutex_init(&h->share_locks[i], NULL);
	h->share = curl_share_init();
	return h->share &&
	    curl_share_setopt(h->share, CURLSHOPT_LOCKFUNC, lock_share) ==
	    CURLSHE_OK &&
	    curl_share_setopt(h->share, CURLSHOPT_UNLOCKFUNC, unlock_share) ==
	    CURLSHE_OK &&
	    curl_share_setopt(h->share, CURLSHOPT_USERDATA, h) == CURLSHE_OK &&
	    /* A new connection resumes the TLS session of an earlier one. */
	    curl_share_setopt(h->share, CURLSHOPT_SHARE,
		CURL_LOCK_DATA_SSL_SESSION) == CURLSHE_OK;
}

void
aic_http_handle_done(struct aic_http *h)
{
	int i;

	while (h->n_handles > 0)
		curl_easy_cleanup(h->handles[--h->n_handles]);
	curl_share_cleanup(h->share);
	for (i = 0; i < CURL_LOCK_DATA_LAST; i++)
		pthread_mutex_destroy(&h->share_locks[i]);
}

CURL *
aic_http_handle_take(struct aic_http *h)
{
	CURL *easy = NULL;

	pthread_mutex_lock(&h->lock);
	if (h->n_handles > 0)
		easy = h->handles[--h->n_handles];
	pthread_mutex_unlock(&h->lock);
	return easy ? easy : aic_http_transfer_handle(h->share);
}

void
aic_http_handle_give(struct aic_http *h, CURL *easy)
{
	/* These options point into a call that will be freed. */
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, NULL);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, NULL);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDS, NULL);
	pthread_mutex_lock(&h->lock);
	if (h->n_handles < AIC_HTTP_HANDLES_KEPT) {
		h->handles[h->n_handles++] = easy;
		easy = NULL;
	}
	pthread_mutex_unlock(&h->lock);
	if (easy)
		curl_easy_cleanup(easy);
}
