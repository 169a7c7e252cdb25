#include "process/account.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BUFFER_SIZE 1024 /* of an entry, at first */
#define MOST_SIZE (1024 * 1024)

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

/* --- lookups ----------------------------------------------------------------------------- */

/* Several threads may look somebody up at the same time, so never the C library's own buffers. Grows
 * `*buffer`, which is the caller's; false: it cannot, or need not any more. */
static bool grow(char **buffer, size_t *size, int *code) {
  if (*size > 0 && *code != ERANGE) return false;
  size_t wanted = *size > 0 ? *size * 2 : BUFFER_SIZE;
  char *more = wanted > MOST_SIZE ? NULL : realloc(*buffer, wanted);
  if (more == NULL) {
    *code = ENOMEM;
    return false;
  }
  *buffer = more;
  *size = wanted;
  return true;
}

static bool ask_user(const char *name, int64_t number, struct passwd *entry, char **buffer,
                     int *code) {
  struct passwd *found = NULL;
  size_t size = 0;
  while (grow(buffer, &size, code))
    *code = name ? getpwnam_r(name, entry, *buffer, size, &found)
                 : getpwuid_r((uid_t)number, entry, *buffer, size, &found);
  return found != NULL;
}

static bool ask_group(const char *name, gid_t *gid, int *code) {
  struct group entry, *found = NULL;
  char *buffer = NULL;
  size_t size = 0;
  while (grow(&buffer, &size, code)) *code = getgrnam_r(name, &entry, buffer, size, &found);
  if (found) *gid = entry.gr_gid;
  free(buffer);
  return found != NULL;
}

/* Has the user an entry? Without one *number is what was given, or -1 with `failure`. What `entry` points
 * to is in `*buffer`, which is the caller's in any case. */
static bool find_user(struct identity user, int64_t *number, struct passwd *entry, char **buffer,
                      struct failure *failure) {
  int code = 0;
  *number = user.name ? digits(user.name) : user.number;
  bool found = ask_user(user.name, *number, entry, buffer, &code);
  if (!found && user.name && *number >= 0) found = ask_user(NULL, *number, entry, buffer, &code);
  if (found)
    *number = entry->pw_uid;
  else if (*number < 0)
    not_found(failure, "user", user, code);
  return found;
}

int64_t account_user(struct identity user, struct failure *failure) {
  int64_t number;
  struct passwd entry;
  char *buffer = NULL;
  (void)find_user(user, &number, &entry, &buffer, failure);
  free(buffer);
  return number;
}

int64_t account_group(struct identity group, struct failure *failure) {
  int64_t number = group.name ? digits(group.name) : group.number;
  gid_t gid;
  int code = 0;
  if (group.name && ask_group(group.name, &gid, &code)) number = gid;
  if (number < 0) not_found(failure, "group", group, code);
  return number;
}

/* --- an account -------------------------------------------------------------------------- */

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
  (void)fail(failure, "group", ENOMEM, "cannot list the groups of \"%s\": out of memory", name);
  account_free(account);
  return -1;
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

/* Its number, its own group, and what it is told of itself. */
static int take_user(struct account *account, struct identity user, struct identity group,
                     struct failure *failure) {
  int64_t number;
  struct passwd entry;
  bool found = find_user(user, &number, &entry, &account->entry, failure);
  if (number < 0) return -1;
  account->uid = (uid_t)number;
  if (found) {
    account->gid = entry.pw_gid;
    account->name = entry.pw_name;
    account->home = entry.pw_dir;
    account->shell = entry.pw_shell;
  } else if (!given(group)) {
    return fail(failure, "user", ENOENT,
                "user %lld has no entry in /etc/passwd that would tell its group: give one",
                (long long)number);
  }
  return 0;
}

int account_find(struct account *account, struct identity user, struct identity group,
                 struct failure *failure) {
  *account = (struct account){.uid = geteuid(), .gid = getegid()};
  if (!given(user) && !given(group)) return 0;
  if (can_look_up(failure) != 0) return -1;
  if ((given(user) && take_user(account, user, group, failure) != 0) ||
      (given(group) && find_group(account, group, failure) != 0)) {
    account_free(account);
    return -1;
  }
  account->become = geteuid() == 0 || account->uid != geteuid() || account->gid != getegid();
  return list_groups(account, account->name, failure);
}

void account_free(struct account *account) {
  free(account->groups);
  free(account->entry);
  *account = (struct account){.uid = account->uid, .gid = account->gid};
}

const char *account_name(const struct account *account, struct identity user, char *text,
                         size_t size) {
  if (user.name)
    (void)snprintf(text, size, "\"%s\" (uid %u)", user.name, (unsigned)account->uid);
  else
    (void)snprintf(text, size, "%u", (unsigned)account->uid);
  return text;
}
