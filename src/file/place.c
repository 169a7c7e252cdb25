#include "file/place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#define LINKS 40 /* the kernel's own bound */
#define TRIES 10

/* A walk: the place that was reached, and what is left of the path. */
struct walk {
  struct place *place;
  struct failure *failure;
  const char *path; /* as it was given */
  bool follow;
  bool arrived;
  unsigned links;
  bool last_was_link; /* what the path ends with now comes from a link */

  /* A stranger's link that was followed: what it leads to must be his. */
  bool owed;
  uid_t stranger;
  size_t left; /* it has led there when so much of the path is left */

  /* Not cleared at the beginning: what is left of the path, and the link that is owed. */
  char rest[2 * PATH_MAX];
  char link[2 * PATH_MAX];
};

static int refuse(struct walk *walk, int code) {
  char text[TEXT_SIZE];
  if (code == ENOENT && walk->last_was_link)
    return fail(walk->failure, "open", code, "\"%s\" is a symbolic link that leads nowhere",
                walk->path);
  return fail(walk->failure, "open", code, "cannot open \"%s\": %s", walk->path,
              error_text(code, text));
}

static bool is_trusted(uid_t user) {
  return user == 0 || user == geteuid();
}

/* --- the path in words ------------------------------------------------------------------- */

static const char *real_prefix(const struct walk *walk) {
  return strcmp(walk->place->real, "/") == 0 ? "" : walk->place->real;
}

static int add_name(struct walk *walk, const char *name) {
  char *real = walk->place->real;
  size_t used = strlen(real_prefix(walk)), size = strlen(name);
  if (used + size + 2 > PATH_MAX) return refuse(walk, ENAMETOOLONG);
  real[used] = '/';
  memcpy(real + used + 1, name, size + 1);
  return 0;
}

static void drop_name(struct walk *walk) {
  char *last = strrchr(walk->place->real, '/');
  if (last) last[last == walk->place->real] = '\0';
}

/* What is left of the path from now on: `text`, then what was left before. */
static int put_before(struct walk *walk, const char *text) {
  size_t size = strlen(text), used = strlen(walk->rest);
  if (size + used + 1 > sizeof walk->rest) return refuse(walk, ENAMETOOLONG);
  memmove(walk->rest + size, walk->rest, used + 1);
  memcpy(walk->rest, text, size);
  return 0;
}

/* Takes the first name off what is left. False: there is none. */
static bool take_name(struct walk *walk, char name[NAME_MAX + 2]) {
  const char *from = walk->rest + strspn(walk->rest, "/");
  size_t size = strcspn(from, "/"), kept = size;
  if (kept > NAME_MAX + 1) kept = NAME_MAX + 1; /* the kernel finds it too long */
  memcpy(name, from, kept);
  name[kept] = '\0';
  memmove(walk->rest, from + size, strlen(from + size) + 1);
  return size > 0;
}

static bool is_last(const struct walk *walk) {
  return walk->rest[strspn(walk->rest, "/")] == '\0';
}

/* --- strangers' links -------------------------------------------------------------------- */

static int astray(struct walk *walk, const char *name) {
  bool here = name[0] == '\0';
  return fail(
      walk->failure, "open", ELOOP,
      "\"%s\" is a symbolic link of user %u, who does not own what it leads to (\"%s%s%s\"): "
      "it is not followed",
      walk->link, (unsigned)walk->stranger, here ? walk->place->real : real_prefix(walk),
      here ? "" : "/", name);
}

/* Has a stranger's link led where it leads, and is that his? `name`: what was reached, "" the directory. */
static int settle(struct walk *walk, const struct stat *there, const char *name) {
  if (!walk->owed || strlen(walk->rest) > walk->left) return 0;
  walk->owed = false;
  return there->st_uid == walk->stranger ? 0 : astray(walk, name);
}

static int settle_directory(struct walk *walk) {
  struct stat there;
  if (!walk->owed) return 0;
  if (fstat(walk->place->directory, &there) != 0) return refuse(walk, errno);
  return settle(walk, &there, "");
}

/* Another stranger's link on the way of a stranger's is one too many. */
static int owe(struct walk *walk, const char *name, uid_t owner) {
  if (is_trusted(owner) || (walk->owed && walk->stranger == owner)) return 0;
  bool second = walk->owed;
  walk->owed = true;
  walk->stranger = owner;
  walk->left = strlen(walk->rest);
  (void)snprintf(walk->link, sizeof walk->link, "%s/%s", real_prefix(walk), name);
  return second ? astray(walk, name) : 0;
}

/* What the kernel shows as somebody's own (/proc/PID/uid_map, cgroup.procs) would be written with our
 * rights, and /proc/PID/root is a tree of his making: no stranger's link leads there. */
static bool is_kernels(int fd) {
  static const unsigned long kinds[] = {PROC_SUPER_MAGIC,    SYSFS_MAGIC,   CGROUP_SUPER_MAGIC,
                                        CGROUP2_SUPER_MAGIC, DEBUGFS_MAGIC, TRACEFS_MAGIC,
                                        SECURITYFS_MAGIC};
  struct statfs system;
  if (fstatfs(fd, &system) != 0) return true;
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if ((unsigned long)system.f_type == kinds[i]) return true;
  return false;
}

/* --- directories of others --------------------------------------------------------------- */

static bool is_shared(const struct stat *directory) {
  return !is_trusted(directory->st_uid) || (directory->st_mode & (S_IWGRP | S_IWOTH)) != 0;
}

/* Can somebody else give the name that is followed from here another meaning? In a sticky directory only
 * whoever owns what has the name. */
static void expose(struct walk *walk, const struct stat *there) {
  struct stat directory;
  bool known = fstat(walk->place->directory, &directory) == 0;
  bool sticky = known && is_trusted(directory.st_uid) && (directory.st_mode & S_ISVTX) != 0;
  if (known && !is_shared(&directory)) return;
  if (sticky && there && is_trusted(there->st_uid)) return;
  walk->place->secluded = false;
}

/* Was the name by which it was opened taken away meanwhile? */
static bool has_lost_its_name(int fd) {
  static const char gone[] = " (deleted)";
  char path[32], text[PATH_MAX];
  (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  ssize_t size = readlink(path, text, sizeof text);
  if (size < 0) return errno != ENOENT; /* no /proc: the count of names must do */
  if (size < (ssize_t)sizeof gone) return false;
  return memcmp(text + size - (sizeof gone - 1), gone, sizeof gone - 1) == 0;
}

/* unlink(2) takes the count down a moment before it takes the name away, both under the directory's
 * lock: who has had that lock since then sees both. To read the directory takes it. */
static void let_unlink_end(int directory) {
  char entries[512];
  int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  (void)getdents64(fd, entries, sizeof entries);
  close(fd);
}

/* May what was opened there be somebody else's, under a name (a hard link) that was made for it here? A
 * single name may be the other one, when the one it was opened by is gone. */
static bool is_smuggled(int directory, int fd, const struct stat *status) {
  struct stat there;
  if (fstat(directory, &there) != 0) return true;
  if (!is_shared(&there)) return false;
  if (!is_trusted(there.st_uid) && status->st_uid == there.st_uid) return false;
  if (status->st_nlink != 1) return status->st_nlink > 1;
  let_unlink_end(directory);
  return has_lost_its_name(fd);
}

/* --- steps ------------------------------------------------------------------------------- */

static void enter(struct walk *walk, int directory) {
  if (walk->place->directory >= 0) close(walk->place->directory);
  walk->place->directory = directory;
}

static int start_at(struct walk *walk, const char *directory) {
  int fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return refuse(walk, errno);
  enter(walk, fd);
  (void)snprintf(walk->place->real, PATH_MAX, "/");
  bool here = strcmp(directory, ".") == 0;
  return here && getcwd(walk->place->real, PATH_MAX) == NULL ? refuse(walk, errno) : 0;
}

static int go_up(struct walk *walk) {
  int fd = openat(walk->place->directory, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return refuse(walk, errno);
  enter(walk, fd);
  drop_name(walk);
  return 0;
}

/* The kernel has taken it for a name, so it is not too long. */
static int arrive(struct walk *walk, const char *name) {
  memcpy(walk->place->name, name, strnlen(name, NAME_MAX) + 1);
  walk->place->name[NAME_MAX] = '\0';
  walk->arrived = true;
  return 0;
}

/* A directory is entered; the last name is where the path leads. Owns `fd` if it returns 0. */
static int go_on(struct walk *walk, const char *name, int fd, const struct stat *there) {
  bool directory = S_ISDIR(there->st_mode);
  if (!directory && walk->rest[0] != '\0') return refuse(walk, ENOTDIR);
  if (!is_last(walk)) {
    if (add_name(walk, name) != 0) return -1;
    enter(walk, fd);
    return 0;
  }
  if (settle(walk, there, name) != 0) return -1;
  close(fd);
  return arrive(walk, name);
}

/* What a link of /proc leads to is open somewhere, whatever its text says: only the kernel can follow
 * it. Owns `fd` if it returns 0. */
static int go_to_object(struct walk *walk, const char *name, int fd) {
  struct stat there;
  char text[PATH_MAX];
  if (fstat(fd, &there) != 0) return refuse(walk, errno);
  if (S_ISDIR(there.st_mode)) {
    ssize_t size = readlinkat(walk->place->directory, name, text, sizeof text - 1);
    bool absolute = size > 0 && text[0] == '/';
    if (!absolute && add_name(walk, name) != 0) return -1;
    if (absolute) (void)snprintf(walk->place->real, PATH_MAX, "%.*s", (int)size, text);
    enter(walk, fd);
    return 0;
  }
  if (walk->rest[0] != '\0') return refuse(walk, ENOTDIR);
  walk->place->object = fd;
  walk->arrived = true;
  return 0;
}

static int follow_proc(struct walk *walk, const char *name) {
  int fd = openat(walk->place->directory, name, O_PATH | O_CLOEXEC);
  if (fd < 0) return refuse(walk, errno);
  int result = go_to_object(walk, name, fd);
  if (result != 0) close(fd);
  return result;
}

/* Without the slashes at both ends: the place where the link has led is where its last name was taken. */
static int follow_text(struct walk *walk, int link) {
  char text[PATH_MAX];
  ssize_t size = readlinkat(link, "", text, sizeof text - 1);
  if (size <= 0) return refuse(walk, size < 0 ? errno : ENOENT);
  while (size > 0 && text[size - 1] == '/') size--;
  text[size] = '\0';
  if (size == 0 || text[0] == '/') {
    if (start_at(walk, "/") != 0) return -1;
  }
  return put_before(walk, text + strspn(text, "/"));
}

static int smuggled(struct walk *walk, const char *name) {
  return fail(
      walk->failure, "open", EMLINK,
      "\"%s/%s\" is a symbolic link with several names (hard links) in a directory that others "
      "may write into: it is not followed",
      real_prefix(walk), name);
}

static int follow_link(struct walk *walk, const char *name, int link, const struct stat *status) {
  struct statfs system;
  if (++walk->links > LINKS) return refuse(walk, ELOOP);
  if (is_smuggled(walk->place->directory, link, status)) return smuggled(walk, name);
  if (owe(walk, name, status->st_uid) != 0) return -1;
  walk->last_was_link = walk->last_was_link || is_last(walk);
  bool proc = fstatfs(link, &system) == 0 && system.f_type == PROC_SUPER_MAGIC;
  if (proc && walk->owed) return astray(walk, name);
  return proc ? follow_proc(walk, name) : follow_text(walk, link);
}

/* There is nothing of this name: well, if it is the last one. */
static int go_missing(struct walk *walk, const char *name, int code) {
  expose(walk, NULL);
  if (code != ENOENT || walk->rest[0] != '\0' || walk->last_was_link) return refuse(walk, code);
  return arrive(walk, name);
}

/* A directory on the way is opened as one: that mounts what is mounted on demand (autofs, NFS). */
static int hold(const struct walk *walk, const char *name) {
  int flags = O_PATH | O_NOFOLLOW | O_CLOEXEC, directory = walk->place->directory;
  int fd = is_last(walk) ? -1 : openat(directory, name, flags | O_DIRECTORY);
  if (fd >= 0 || (!is_last(walk) && errno != ENOTDIR)) return fd;
  return openat(directory, name, flags);
}

static int go_to(struct walk *walk, const char *name) {
  struct stat there;
  int fd = hold(walk, name);
  if (fd < 0) return go_missing(walk, name, errno);
  int result = fstat(fd, &there) == 0 ? 0 : refuse(walk, errno);
  if (result == 0 && walk->owed && is_kernels(fd)) result = astray(walk, name);
  if (result == 0) expose(walk, is_last(walk) ? NULL : &there);
  bool link = result == 0 && S_ISLNK(there.st_mode) && (walk->follow || walk->rest[0] != '\0');
  if (result == 0)
    result = link ? follow_link(walk, name, fd, &there) : go_on(walk, name, fd, &there);
  if (link || result != 0) close(fd);
  return result;
}

static int step(struct walk *walk, const char *name) {
  if (strcmp(name, ".") == 0) return 0;
  return strcmp(name, "..") == 0 ? go_up(walk) : go_to(walk, name);
}

static int walk_through(struct walk *walk) {
  char name[NAME_MAX + 2];
  int result = start_at(walk, walk->rest[0] == '/' ? "/" : ".");
  while (result == 0 && !walk->arrived && take_name(walk, name)) {
    result = step(walk, name);
    if (result == 0 && !walk->arrived) result = settle_directory(walk);
  }
  return result;
}

int place_open(struct place *place, const char *path, bool follow, struct failure *failure) {
  struct walk walk;
  memset(&walk, 0, offsetof(struct walk, rest));
  walk.place = place;
  walk.failure = failure;
  walk.path = path;
  walk.follow = follow;
  place->directory = place->object = -1;
  place->name[0] = '\0';
  place->secluded = true;
  size_t size = strlen(path);
  if (size == 0 || size >= PATH_MAX) return refuse(&walk, size == 0 ? ENOENT : ENAMETOOLONG);
  memcpy(walk.rest, path, size + 1);
  if (walk_through(&walk) == 0) return 0;
  place_close(place);
  return -1;
}

bool place_is_secluded(const struct place *place, const char *path) {
  char here[PATH_MAX], whole[PATH_MAX + 2];
  struct place own;
  struct failure failure;
  if (path[0] == '/' || !place->secluded) return place->secluded;
  if (getcwd(here, sizeof here) == NULL || here[0] != '/') return false;
  (void)snprintf(whole, sizeof whole, "%s/.", here);
  if (place_open(&own, whole, true, &failure) != 0) return false;
  place_close(&own);
  return own.secluded;
}

void place_close(struct place *place) {
  if (place->directory >= 0) close(place->directory);
  if (place->object >= 0) close(place->object);
  place->directory = place->object = -1;
}

/* --- files ------------------------------------------------------------------------------- */

struct use {
  int flags;
  mode_t mode;
  const char *verb;
};

static const struct use uses[] = {
    [PLACE_READ] = {O_RDONLY, 0, "read"},
    [PLACE_WRITE] = {O_WRONLY, 0, "write"},
    [PLACE_APPEND] = {O_WRONLY | O_APPEND, 0, "append to"},
    [PLACE_CREATE] = {O_WRONLY | O_CREAT | O_EXCL, 0600, "create"},
    [PLACE_LEFT] = {O_RDONLY, 0, "take over"},
    [PLACE_LOG] = {O_WRONLY | O_APPEND, 0640, "log to"},
};

const char *place_kind(mode_t mode) {
  if (S_ISREG(mode)) return "a file";
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISLNK(mode)) return "a symbolic link";
  if (S_ISFIFO(mode)) return "a FIFO";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

static int check_kind(enum place_use use, const char *path, mode_t mode, struct failure *failure) {
  bool log = use == PLACE_LOG && (S_ISFIFO(mode) || S_ISCHR(mode));
  if (S_ISREG(mode) || log) return 0;
  return fail(failure, "open", S_ISDIR(mode) ? EISDIR : EINVAL, "cannot %s \"%s\": it is %s%s",
              uses[use].verb, path, place_kind(mode), S_ISDIR(mode) ? "" : ", not a file");
}

/* Is it such a name, of what was opened in the place? Then `why` says so, up to "may be somebody else's". */
static bool is_smuggled_here(const struct place *place, int fd, const struct stat *status,
                             char *why, size_t size) {
  if (place->object >= 0 || !is_smuggled(place->directory, fd, status)) return false;
  char names[64] = "its name was taken away meanwhile";
  if (status->st_nlink > 1)
    (void)snprintf(names, sizeof names, "it has %lu names (hard links)",
                   (unsigned long)status->st_nlink);
  (void)snprintf(why, size,
                 "%s in a directory that others may write into, and may be somebody else's", names);
  return true;
}

static int check_names(const struct place *place, enum place_use use, const char *path, int fd,
                       const struct stat *status, struct failure *failure) {
  char why[192];
  if (!S_ISREG(status->st_mode) || !is_smuggled_here(place, fd, status, why, sizeof why)) return 0;
  return fail(failure, "open", EMLINK, "cannot %s \"%s\": %s file", uses[use].verb, path, why);
}

int place_look(const struct place *place, struct stat *status) {
  if (place->object >= 0) return fstat(place->object, status);
  if (place->name[0] == '\0') return fstat(place->directory, status);
  return fstatat(place->directory, place->name, status, AT_SYMLINK_NOFOLLOW);
}

static int open_there(const struct place *place, int flags, mode_t mode) {
  flags |= O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  if (place->object < 0) return openat(place->directory, place->name, flags | O_NOFOLLOW, mode);
  char path[32];
  (void)snprintf(path, sizeof path, "/proc/self/fd/%d", place->object);
  return open(path, flags & ~(O_CREAT | O_EXCL));
}

/* Until it is unshared, what a stranger's directory hands on (a default ACL, a group) counts for the
 * group's bits: there are none, then. */
static mode_t mode_of_new(const struct place *place, enum place_use use) {
  struct stat there;
  bool ours = fstat(place->directory, &there) == 0 && is_trusted(there.st_uid);
  return ours ? uses[use].mode : uses[use].mode & S_IRWXU;
}

/* `made`: it is new. Made and opened are two steps, so that this is known. */
static int open_or_make(const struct place *place, enum place_use use, bool *made) {
  int fd = -1;
  errno = ENOENT;
  for (int i = 0; i < TRIES && fd < 0 && errno == ENOENT; i++) {
    *made = use == PLACE_CREATE;
    fd = open_there(place, uses[use].flags, uses[use].mode);
    if (fd >= 0 || errno != ENOENT || use != PLACE_LOG) return fd;
    *made = true;
    fd = open_there(place, uses[use].flags | O_CREAT | O_EXCL, mode_of_new(place, use));
    if (fd < 0 && errno == EEXIST) errno = ENOENT; /* somebody was faster */
  }
  return fd;
}

static int cannot(enum place_use use, const char *path, int code, struct failure *failure) {
  char text[TEXT_SIZE];
  if (code == ELOOP)
    return fail(failure, "open", code, "cannot %s \"%s\": a symbolic link took its place meanwhile",
                uses[use].verb, path);
  return fail(failure, "open", code, "cannot open \"%s\": %s", path, error_text(code, text));
}

static int cannot_open(const struct place *place, enum place_use use, const char *path, int code,
                       struct failure *failure) {
  struct stat status;
  if (code != ENXIO || place_look(place, &status) != 0 || !S_ISFIFO(status.st_mode))
    return cannot(use, path, code, failure);
  return fail(failure, "open", code, "cannot %s \"%s\": it is a FIFO that nobody reads",
              uses[use].verb, path);
}

/* What is no file is not even opened: that alone can do something to a device. */
static int check_before(const struct place *place, enum place_use use, const char *path,
                        struct failure *failure) {
  struct stat status;
  if (place_look(place, &status) != 0)
    return errno == ENOENT ? 0 : cannot(use, path, errno, failure);
  if (use == PLACE_CREATE) return cannot(use, path, EEXIST, failure);
  if (S_ISLNK(status.st_mode)) return cannot(use, path, ELOOP, failure);
  return check_kind(use, path, status.st_mode, failure);
}

/* By a default ACL and the setgid bit the owner of a directory says who shares what is made there. That
 * is for root to say, and for our own user. */
static int unshare_new(int directory, int fd, struct stat *status) {
  struct stat there;
  if (fstat(directory, &there) == 0 && is_trusted(there.st_uid)) return 0;
  (void)fremovexattr(fd, "system.posix_acl_access");
  (void)fremovexattr(fd, "system.posix_acl_default");
  if (status->st_gid != getegid() && fchown(fd, (uid_t)-1, getegid()) != 0) return -1;
  status->st_gid = getegid();
  return 0;
}

/* Who makes a file holds its lock while it is open, however he ends: so others know what he has left. */
static int lock(enum place_use use, const char *path, int fd, struct failure *failure) {
  bool free = (use != PLACE_CREATE && use != PLACE_LEFT) || flock(fd, LOCK_EX | LOCK_NB) == 0;
  if (free || use == PLACE_CREATE) return 0;
  return fail(failure, "open", EAGAIN, "cannot %s \"%s\": whoever makes it is at work",
              uses[use].verb, path);
}

int place_file(const struct place *place, enum place_use use, const char *path, struct stat *status,
               struct failure *failure) {
  bool made;
  if (check_before(place, use, path, failure) != 0) return -1;
  int fd = open_or_make(place, use, &made);
  if (fd < 0) return cannot_open(place, use, path, errno, failure);
  int result = fstat(fd, status) == 0 ? 0 : cannot(use, path, errno, failure);
  if (result == 0) result = check_kind(use, path, status->st_mode, failure);
  if (result == 0) result = check_names(place, use, path, fd, status, failure);
  if (result == 0 && made && unshare_new(place->directory, fd, status) != 0)
    result = cannot(use, path, errno, failure);
  if (result == 0) result = lock(use, path, fd, failure);
  if (result == 0) return fd;
  close(fd);
  return -1;
}

/* With the mode as given: a chmod afterwards could hit what somebody else has put there meanwhile. What is
 * taken from it harms nobody, should that be so. */
int place_mkdir(const struct place *place, mode_t mode) {
  struct stat status;
  mode_t before = umask(0);
  int result = mkdirat(place->directory, place->name, mode), code = errno;
  (void)umask(before);
  errno = code;
  if (result != 0) return -1;
  int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  int fd = openat(place->directory, place->name, flags);
  bool ours = fd >= 0 && fstat(fd, &status) == 0 && status.st_uid == geteuid();
  if (ours) result = unshare_new(place->directory, fd, &status);
  code = errno;
  if (fd >= 0) close(fd);
  errno = code;
  return result;
}

int place_open_file(const char *path, enum place_use use, struct stat *status,
                    struct failure *failure) {
  struct place place;
  if (place_open(&place, path, true, failure) != 0) return -1;
  int fd = place_file(&place, use, path, status, failure);
  place_close(&place);
  return fd;
}

/* --- unix sockets ------------------------------------------------------------------------ */

static int no_socket(int fd, const char *path, int code, const char *why, struct failure *failure) {
  if (fd >= 0) close(fd);
  return fail(failure, "open", code, "cannot connect to unix:%s: %s", path, why);
}

/* An O_PATH descriptor of what stands there, if that is a socket. Returns it, or -1 with `failure`. */
static int open_socket(const struct place *place, const char *path, struct failure *failure) {
  struct stat status;
  char why[256];
  if (place->name[0] == '\0')
    return no_socket(-1, path, ENOTSOCK, "it is a directory, and no socket", failure);
  int fd = openat(place->directory, place->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &status) != 0) {
    int code = errno;
    return no_socket(fd, path, code, error_text(code, why), failure);
  }
  (void)snprintf(why, sizeof why, "it is %s, and no socket", place_kind(status.st_mode));
  if (!S_ISSOCK(status.st_mode)) return no_socket(fd, path, ENOTSOCK, why, failure);
  if (is_smuggled_here(place, fd, &status, why, sizeof why))
    return no_socket(fd, path, EMLINK, why, failure);
  return fd;
}

int place_socket(const char *path, struct failure *failure) {
  struct place place;
  if (place_open(&place, path, true, failure) != 0) return -1;
  int fd = open_socket(&place, path, failure);
  place_close(&place);
  return fd;
}

socklen_t place_address(int found, struct sockaddr_un *address) {
  *address = (struct sockaddr_un){.sun_family = AF_UNIX};
  int length = snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d", found);
  return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)length + 1);
}
