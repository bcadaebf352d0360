/*
 * accept_gate -- selects which of the idle threads accepts the next request:
 * the thread that worked last.
 *
 * If all idle threads waited in accept(2), they would take turns. With hundreds
 * of threads, each request would then get a thread whose stack, heap and
 * connection are no longer in the processor's caches. So only a few threads are
 * in accept() at a time, and the other threads wait here in a stack. Measured
 * with 256 threads and 32 callers, a chat costs a third less.
 *
 * Threads: any.
 */
#ifndef ACCEPT_GATE_H
#define ACCEPT_GATE_H

/* accept_gate_pass -- wait until this thread may accept a request. Blocks. */
void accept_gate_pass(void);

/* accept_gate_done -- report that accept() has returned, with a request or
 * without. If no other thread is in accept(), the thread that has waited least
 * is woken. */
void accept_gate_done(void);

/* accept_gate_open -- let all threads pass from now on, to stop the service. */
void accept_gate_open(void);

#endif
