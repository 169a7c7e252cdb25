/* account: whom a process shall run as: a user, a group, and the user's other groups.
 *
 * Everything is looked up before the child exists, because a lookup may read files, load modules and
 * allocate. A user of the same ids as ours needs no change, and so no privilege.
 *
 * A lookup may wait for a directory service without end, and several threads may look at the same
 * time (process/errand.h): nothing here is shared between calls.
 *
 * It owns the list of groups and the user's entry. */
#ifndef LUAPILOT_PROCESS_ACCOUNT_H
#define LUAPILOT_PROCESS_ACCOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/names.h"

/* What was asked for: a name, a number, or (name NULL, number -1) nothing. */
struct identity {
  const char *name;
  int64_t number;
};

struct account {
  bool become; /* false: stay who we are; the ids say who that is */
  uid_t uid;
  gid_t gid;
  gid_t *groups; /* owned */
  size_t group_count;
  /* Of the user that was asked for, if it has an entry; else NULL. */
  const char *name, *home, *shell;
  char *entry; /* owned: where they stand */
};

/* A user without an entry needs a group beside it. Names may be digits, as in "1000". Returns 0, or
 * -1 with `failure` (stage "user" or "group") and nothing to free. */
int account_find(struct account *account, struct identity user, struct identity group,
                 struct failure *failure);
void account_free(struct account *account);
/* The number alone, for the owner of a file. -1: there is no such user or group, see `failure`. */
int64_t account_user(struct identity user, struct failure *failure);
int64_t account_group(struct identity group, struct failure *failure);
/* `"app" (uid 1000)`, for messages. */
const char *account_name(const struct account *account, struct identity user, char *text,
                         size_t size);

#endif
