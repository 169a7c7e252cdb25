/* go PROGRAM ARGUMENT...: writes the moment of the exec into STAMP, then is PROGRAM. If whoever measures
 * dies, PROGRAM gets the signal number GO_SIGNAL (15 unless set). */
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>

#include "stamp.h"

int main(int argc, char **argv) {
  const char *number = getenv("GO_SIGNAL");
  if (argc < 2) return 2;
  (void)prctl(PR_SET_PDEATHSIG, number ? atoi(number) : SIGTERM);
  if (getenv("STAMP") == NULL || stamp_write() == 0) (void)execvp(argv[1], argv + 1);
  perror(argv[1]);
  return 127;
}
