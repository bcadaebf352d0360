/*
 * param -- detect whether an error refuses a parameter.
 *
 * Newer models refuse max_tokens or temperature, older servers refuse
 * max_completion_tokens. Each provider reports this with another code, or with
 * none. All of them name the parameter in the error. So a refusal is detected
 * by the name of the parameter and a refusing phrase in the same sentence:
 *
 *	Unsupported parameter: 'max_tokens' is not supported with this model.
 *	`temperature` is deprecated for this model
 *	Unsupported value: 'temperature' does not support 0.7 with this model.
 *	Extra inputs are not permitted, field: 'max_completion_tokens'
 *
 * An error about the size of a value also names the parameter, but no other
 * form of the request would help. It is not a refusal:
 *
 *	max_tokens is too large: 100000. This model supports at most 16384
 *	temperature must be between 0 and 1
 *
 * Threads: any.
 */
#ifndef AIC_PARAM_H
#define AIC_PARAM_H

/* Parameters for which a request has another form; bits of a set. */
enum aic_param {
	AIC_PARAM_MAX_TOKENS = 1,
	AIC_PARAM_MAX_COMPLETION_TOKENS = 2,
	AIC_PARAM_TEMPERATURE = 4,
};

/*
 * aic_param_refused -- the parameters that an error refuses, a set of enum
 * aic_param.
 *
 * code, param, message   of the error; "": none
 *
 * The set can include a parameter that the message recommends ("Use
 * 'max_completion_tokens' instead"). So the caller has to ignore parameters
 * that it did not send.
 */
unsigned
aic_param_refused(const char *code, const char *param, const char *message);

#endif
