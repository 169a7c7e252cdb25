/* descriptors: how many of them we may have. Machines start programs with a soft limit of 1024, for the sake of
 * select(2), and a hard one far above it: a pilot with a few hundred jobs needs more than the former, and nobody
 * should have to know that. Jobs get back what we were started with.
 *
 * Not more than DESCRIPTORS_WANTED: somewhere a library goes through all numbers up to the limit, and some machines have a
 * thousand million. */
#ifndef LUAPILOT_BASE_DESCRIPTORS_H
#define LUAPILOT_BASE_DESCRIPTORS_H

#include <stdbool.h>
#include <sys/resource.h>

#define DESCRIPTORS_WANTED 65536

/* Raises our soft limit towards the hard one. Returns whether it did; `before` is what it was. */
bool descriptors_raise(struct rlimit *before);

#endif
