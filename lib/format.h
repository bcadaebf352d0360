/* format -- the formats of an answer. */
#ifndef AIC_FORMAT_H
#define AIC_FORMAT_H

enum aic_format {
	AIC_FORMAT_PLAIN, /* as the model wrote it */
	AIC_FORMAT_HTML, /* for parse_mode=HTML */
	AIC_FORMAT_RICH, /* for the html of a rich message */
	AIC_FORMAT__MAX
};

/* Their names in requests and settings; NULL at the end. */
extern const char *const aic_format_names[AIC_FORMAT__MAX + 1];

#endif
