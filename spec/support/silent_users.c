/* A source of users for nsswitch.conf that never answers for a user that nobody has heard of, as one that asks a
 * dead server: libnss_silent.so.2. */
#include <grp.h>
#include <nss.h>
#include <pwd.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

enum nss_status _nss_silent_getpwnam_r(const char *name, struct passwd *entry, char *buffer,
                                       size_t size, int *code);

enum nss_status _nss_silent_getpwnam_r(const char *name, struct passwd *entry, char *buffer,
                                       size_t size, int *code) {
  (void)entry, (void)buffer, (void)size, (void)code;
  while (strcmp(name, "somebody-far-away") == 0) pause();
  return NSS_STATUS_NOTFOUND;
}
