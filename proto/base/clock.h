/* clock.h - the time: monotonic for every wait, wall only for what people and other machines read. */
#ifndef PROTO_BASE_CLOCK_H
#define PROTO_BASE_CLOCK_H

#include <stdint.h>

uint64_t clock_mono_ms(void);
uint64_t clock_mono_us(void);
uint64_t clock_unix_ms(void);

#endif
