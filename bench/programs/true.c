/* true: a check that passes, and costs no more than a process. */
#include "freestanding.h"

static int body(char **environment) {
  (void)environment;
  return 0;
}
