/*
 * conf_hints -- additions to messages about the settings: the file to change,
 * and the settings that have no effect.
 *
 * No text contains the value of a setting, except the path of a file.
 *
 * Threads: any.
 */
#ifndef AIC_CONF_HINTS_H
#define AIC_CONF_HINTS_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/conf.h"

/*
 * aic_conf_hints_place -- append to a message about a setting the file to
 * change: "...; correct it in /etc/ai-chat/ai-chat.env".
 *
 * The setting is the first one that the text names. Its file is NAME_FILE,
 * or, if the program was started by a unit of the package or by ai-chatctl on a
 * host of the package, a credential or the file of settings. A message without
 * a setting, or with its file, is not changed.
 *
 * text      what does not fit into `size' bytes is cut
 * env       environ(7), of the program that has read the settings
 * Source:   systemd.exec(5), "CREDENTIALS_DIRECTORY"
 */
void aic_conf_hints_place(char *text, size_t size, char *const *env);

/* aic_conf_hints_file -- the file of settings on a host of the package; NULL:
 * the program was started in another way. */
const char *aic_conf_hints_file(char *const *env);

/*
 * aic_conf_hints_unknown -- list the variables in the environment that look
 * like settings and are none: those of wb_assist's ai_chat, which this service
 * replaces, those that begin with OPENAI_, and those that differ by one
 * character from a setting: "DAILY_LIMIT (here AI_CHAT_DAILY_LIMIT),
 * OPENAI_MODLE (the nearest is OPENAI_MODEL), OPENAI_ORG".
 *
 * Names that stop the worker are not included.
 *
 * size      names that do not fit are omitted
 *
 * False: there are none, and nothing is written.
 */
bool aic_conf_hints_unknown(char *const *env, char *to, size_t size);

/*
 * aic_conf_hints_idle -- list the settings that are set and have no effect,
 * because of another setting: "AI_CHAT_ANSWER_CACHE_S (needs REDIS_URL)".
 *
 * They are no errors: an operator who switches a part off by its main setting
 * can leave the others.
 *
 * conf      the settings of aic_conf_load() in env
 *
 * False: there are none, and nothing is written.
 */
bool aic_conf_hints_idle(const struct aic_conf *conf, char *const *env,
    char *to, size_t size);

#endif
