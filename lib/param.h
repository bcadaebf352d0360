/*
 * param -- does an error say that the model refuses a parameter?
 *
 * Newer models refuse max_tokens or temperature, older servers refuse
 * max_completion_tokens, and each provider says so with another code, or with none.
 * What they have in common is that the error names the parameter. So a refusal is known
 * by the name, beside a word that refuses:
 *
 *	Unsupported parameter: 'max_tokens' is not supported with this model.
 *	`temperature` is deprecated for this model
 *	Unsupported value: 'temperature' does not support 0.7 with this model.
 *	Extra inputs are not permitted, field: 'max_completion_tokens'
 *
 * An error about the size of a value names the parameter, too, and no other form of
 * the request would help. It is not taken for a refusal:
 *
 *	max_tokens is too large: 100000. This model supports at most 16384
 *	temperature must be between 0 and 1
 *
 * Threads: any.
 */
#ifndef AIC_PARAM_H
#define AIC_PARAM_H

/* Parameters that there is another form of a request for; bits of a set. */
enum aic_param {
	AIC_PARAM_MAX_TOKENS = 1,
	AIC_PARAM_MAX_COMPLETION_TOKENS = 2,
	AIC_PARAM_TEMPERATURE = 4,
};

/*
 * aic_param_refused -- the parameters that an error refuses, a set of enum aic_param.
 *
 * code, param, message   of the error; "" where it has none
 *
 * A message may name a parameter as the one to use instead ("Use
 * 'max_completion_tokens' instead"), which is in the set then, too. So of the set only
 * those count that were sent.
 */
unsigned
aic_param_refused(const char *code, const char *param, const char *message);

#endif
