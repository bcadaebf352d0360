/*
 * think -- the hidden reasoning that some models write before their answer.
 *
 * DeepSeek, Qwen and others reason in <think>...</think>. Most servers move that text
 * to a field of its own, and some leave it at the start of the answer:
 *
 *	<think>...</think>answer       one block or several, also <thinking>
 *	...</think>answer              the opening tag was part of the prompt
 *	<think>...                     the answer ended before the reasoning did
 *
 * Reasoning is never shown, stored or sent back to a model. A tag inside an answer is
 * text like any other: only what comes before the answer is reasoning.
 *
 * Threads: any.
 */
#ifndef AIC_THINK_H
#define AIC_THINK_H

#include <stddef.h>

/*
 * aic_think_skip -- where the answer begins, in bytes: 0 when there is no reasoning,
 * n when there is nothing else.
 *
 * White space and invisible characters between reasoning and answer are skipped, too.
 * A second call, on the rest, skips nothing. Takes time proportional to n.
 */
size_t aic_think_skip(const char *s, size_t n);

#endif
