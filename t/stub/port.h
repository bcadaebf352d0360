/*
 * port -- the file from which a test reads the port of a stub.
 */
#ifndef AIC_STUB_PORT_H
#define AIC_STUB_PORT_H

#include <stdbool.h>

/*
 * Writes the port and a newline. The file appears complete, because it is
 * written under another name first. False: errno has the reason.
 */
bool port_write(const char *file, unsigned port);

#endif
