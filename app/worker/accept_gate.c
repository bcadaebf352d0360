#include "config.h"

#include "app/worker/accept_gate.h"

#include <pthread.h>
#include <stdbool.h>

/* In accept() there are one at least, while any thread is idle, and four at most. A
 * thread that ends its request between the two goes there by itself, so at a steady
 * load nobody has to be woken. */
#define ACCEPTING_MIN 1
#define ACCEPTING_MAX 4

struct waiter {
	struct waiter *next;
	bool called;
	pthread_cond_t changed;
};

static struct {
	pthread_mutex_t lock;
	struct waiter *top;
	int accepting;
	bool open;
} gate = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* With the lock held. */
static void
call_one(void)
{
	struct waiter *w = gate.top;

	gate.top = w->next;
	gate.accepting++;
	w->called = true;
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
		while (!self.called)
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
		call_one();
	pthread_mutex_unlock(&gate.lock);
}

void
accept_gate_open(void)
{
	pthread_mutex_lock(&gate.lock);
	gate.open = true;
	while (gate.top)
		call_one();
	pthread_mutex_unlock(&gate.lock);
}
