#include "account.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static bool given(struct identity identity) {
  return identity.name != NULL || identity.number >= 0;
}

/* "1000" is a number, unless somebody is really called that. */
static int64_t digits(const char *name) {
  char *end;
  errno = 0;
  long long number = strtoll(name, &end, 10);
  bool plain = name[0] >= '0' && name[0] <= '9' && *end == '\0' && errno == 0;
  return plain && number < UINT32_MAX ? number : -1;
}

/* The lookups say "not there" with any of these. */
static bool is_missing(int code) {
  return code == 0 || code == ENOENT || code == ESRCH || code == EBADF || code == EPERM;
}

static int not_found(struct failure *failure, const char *what, struct identity identity,
                     int code) {
  char text[TEXT_SIZE];
  if (!is_missing(code))
    return fail(failure, what, code, "cannot look up %s \"%s\": %s", what, identity.name,
                error_text(code, text));
  return fail(failure, what, ENOENT, "%s \"%s\" does not exist", what, identity.name);
}

/* NULL with *number set: no entry, but a number. NULL with -1: neither, `failure` is filled in. */
static const struct passwd *find_user(struct identity user, int64_t *number,
                                      struct failure *failure) {
  *number = user.name ? digits(user.name) : user.number;
  errno = 0;
  const struct passwd *entry = user.name ? getpwnam(user.name) : getpwuid((uid_t)user.number);
  if (entry == NULL && user.name && *number >= 0) entry = getpwuid((uid_t)*number);
  if (entry)
    *number = entry->pw_uid;
  else if (*number < 0)
    not_found(failure, "user", user, errno);
  return entry;
}

int64_t account_user(struct identity user, struct failure *failure) {
  int64_t number;
  (void)find_user(user, &number, failure);
  return number;
}

int64_t account_group(struct identity group, struct failure *failure) {
  int64_t number = group.name ? digits(group.name) : group.number;
  errno = 0;
  const struct group *entry = group.name ? getgrnam(group.name) : NULL;
  if (entry) number = entry->gr_gid;
  if (number < 0) not_found(failure, "group", group, errno);
  return number;
}

static int find_group(struct account *account, struct identity group, struct failure *failure) {
  int64_t number = account_group(group, failure);
  if (number < 0) return -1;
  account->gid = (gid_t)number;
  return 0;
}

static int list_groups(struct account *account, const char *name, struct failure *failure) {
  int count = 16;
  for (;;) {
    gid_t *groups = realloc(account->groups, (size_t)count * sizeof *groups);
    if (groups == NULL) break;
    account->groups = groups;
    groups[0] = account->gid;
    int had = count;
    account->group_count = 1;
    if (name == NULL) return 0; /* no entry: only the group that was given */
    if (getgrouplist(name, account->gid, groups, &count) >= 0) {
      account->group_count = (size_t)count;
      return 0;
    }
    if (count <= had) count = had * 2; /* not every libc says how many there are */
  }
  account_free(account);
  return fail(failure, "group", ENOMEM, "cannot list the groups of \"%s\": out of memory", name);
}

/* Where they cannot open their files, the lookups of a number say that it has no entry, and that of a
 * user's groups leaves groups out: that must not look like an answer. */
static int can_look_up(struct failure *failure) {
  char text[TEXT_SIZE];
  int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), code = errno;
  if (fd >= 0) close(fd);
  if (fd >= 0 || (code != EMFILE && code != ENFILE)) return 0;
  return fail(failure, "user", code, "cannot look up users and groups: %s", error_text(code, text));
}

int account_find(struct account *account, struct identity user, struct identity group,
                 struct failure *failure) {
  *account = (struct account){.uid = geteuid(), .gid = getegid()};
  if (!given(user) && !given(group)) return 0;
  if (can_look_up(failure) != 0) return -1;
  const struct passwd *entry = NULL;
  if (given(user)) {
    int64_t number;
    entry = find_user(user, &number, failure);
    if (number < 0) return -1;
    account->uid = (uid_t)number;
    if (entry) account->gid = entry->pw_gid;
    if (entry == NULL && !given(group))
      return fail(failure, "user", ENOENT,
                  "user %lld has no entry in /etc/passwd that would tell its group: give one",
                  (long long)number);
  }
  if (given(group) && find_group(account, group, failure) != 0) return -1;
  account->become = geteuid() == 0 || account->uid != geteuid() || account->gid != getegid();
  return list_groups(account, entry ? entry->pw_name : NULL, failure);
}

void account_free(struct account *account) {
  free(account->groups);
  account->groups = NULL;
  account->group_count = 0;
}

const char *account_name(const struct account *account, struct identity user, char *text,
                         size_t size) {
  if (user.name)
    (void)snprintf(text, size, "\"%s\" (uid %u)", user.name, (unsigned)account->uid);
  else
    (void)snprintf(text, size, "%u", (unsigned)account->uid);
  return text;
}
