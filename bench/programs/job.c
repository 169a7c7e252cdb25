/* job: what is supervised. It writes its stamp and then rests; it costs its supervisor nothing more.
 *
 *   STAMP=FILE          where the stamp goes
 *   STAMP_CRASHES=N     exit with 1 instead of resting, until the file has N records
 *
 * Everything is in the environment because s6 and runit start a service without arguments. It ends by
 * itself after ten minutes, should whoever measures have died. */
#include "stamp.h"

int main(void) {
  int64_t begun = nanoseconds();
  int64_t count = stamp_write(begun);
  const char *crashes = getenv("STAMP_CRASHES");
  if (crashes && count >= 0 && count < atoll(crashes)) return 1;
  (void)alarm(600);
  for (;;) (void)pause();
}
