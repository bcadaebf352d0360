/*
 * think -- the hidden reasoning that some models write before their answer.
 *
 * DeepSeek, Qwen and others write <think>...</think>. Most servers move this
 * text to a field of its own, and some leave it at the start of the answer:
 *
 *	<think>...</think>answer       one block or several, also <thinking>
 *	...</think>answer              the opening tag was part of the prompt
 *	<think>...                     the answer ended within the reasoning
 *
 * Reasoning is never shown, stored or sent back to a model. A tag inside an
 * answer is ordinary text: only text before the answer is reasoning.
 *
 * Threads: any.
 */
#ifndef AIC_THINK_H
#define AIC_THINK_H

#include <stddef.h>

/*
 * aic_think_skip -- the offset of the answer, in bytes; 0: no reasoning, n:
 * only reasoning.
 *
 * White space and invisible characters between the reasoning and the answer are
 * also skipped. A second call on the rest skips nothing. The time is
 * proportional to n.
 */
size_t aic_think_skip(const char *s, size_t n);

#endif
