#include "config.h"

#include "app/worker/accept_gate.h"

#include <pthread.h>
#include <stdbool.h>

/* While any thread is idle, between one and four threads are in accept(). A
 * thread that ends its request while there are fewer than four goes to accept()
 * directly, so at a steady load no thread need be woken. */
#define ACCEPTING_MIN 1
#define ACCEPTING_MAX 4

struct waiter {
	struct waiter *next;
	bool woken;
	pthread_cond_t changed;
};

static struct {
	pthread_mutex_t lock;
	struct waiter *top;
	int accepting;
	bool open;
} gate = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* The lock is held. */
static void
wake_top(void)
{
	struct waiter *w = gate.top;

	gate.top = w->next;
	gate.accepting++;
	w->woken = true;
	pthread_cond_signal(&w->changed);
}

void
accept_gate_pass(void)
{
	struct waiter self = { .changed = PTHREAD_COND_INITIALIZER };

	pthread_mutex_lock(&gate.lock);
	if (gate.open || gate.accepting < ACCEPTING_MAX) {
		gate.accepting++;
	} else {
		self.next = gate.top;
		gate.top = &self;
		while (!self.woken)
			pthread_cond_wait(&self.changed, &gate.lock);
	}
	pthread_mutex_unlock(&gate.lock);
	pthread_cond_destroy(&self.changed);
}

void
accept_gate_done(void)
{
	pthread_mutex_lock(&gate.lock);
	gate.accepting--;
	if (gate.accepting < ACCEPTING_MIN && gate.top)
		wake_top();
	pthread_mutex_unlock(&gate.lock);
}

void
accept_gate_open(void)
{
	pthread_mutex_lock(&gate.lock);
	gate.open = true;
	while (gate.top)
		wake_top();
	pthread_mutex_unlock(&gate.lock);
}
