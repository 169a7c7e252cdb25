/* random: chance, from the kernel each time: nothing to seed, nothing to guess, nothing that a fork
 * would repeat. */
#ifndef LUAPILOT_BASE_RANDOM_H
#define LUAPILOT_BASE_RANDOM_H

#include <stdint.h>
#include <sys/random.h>

/* In [0, 1). */
static inline double random_share(void) {
  uint64_t bits;
  while (getrandom(&bits, sizeof bits, 0) != (ssize_t)sizeof bits) continue;
  return (double)(bits >> 11) * 0x1p-53;
}

#endif
