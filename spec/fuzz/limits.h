/* limits: the bounds of the output as numbers that an input chooses, so that a few bytes reach what
 * would take megabytes. Included before everything else when src/ is built for fuzzing. */
#ifndef LUAPILOT_FUZZ_LIMITS_H
#define LUAPILOT_FUZZ_LIMITS_H

#include <stddef.h>

struct fuzz_limits {
  size_t line, own, high, low;
};

extern struct fuzz_limits fuzz_limits;

#define OUTPUT_LINE (fuzz_limits.line)
#define OUTPUT_OWN (fuzz_limits.own)
#define SINK_HIGH (fuzz_limits.high)
#define SINK_LOW (fuzz_limits.low)

#endif
