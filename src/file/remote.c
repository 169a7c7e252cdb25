#include "file/remote.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST_SIZE 16384
#define MOST_LINKS 40 /* as many as the kernel follows */

static struct {
  int fd;       /* /proc/self/mountinfo; meaningful when `open` */
  bool open;    /* it is, or cannot be */
  char *points; /* owned: where remote file systems begin, each with its NUL; an empty one ends */
} mounts;

/* --- the table of mounts ----------------------------------------------------------------- */

static int compare(const void *key, const void *element) {
  return strcmp(key, *(const char *const *)element);
}

static bool is_remote_type(const char *type) {
  static const char *const types[] = {
      "9p",    "afs",     "autofs", "beegfs",    "ceph",     "cifs",   "coda",
      "fuse",  "fuseblk", "gfs2",   "glusterfs", "gpfs",     "lustre", "ncp",
      "ncpfs", "nfs",     "nfs4",   "ocfs2",     "orangefs", "prl_fs", "pvfs2",
      "smb3",  "smbfs",   "vboxsf", "virtiofs",  "vmhgfs",
  }; /* sorted */
  return strncmp(type, "fuse.", 5) == 0 ||
         bsearch(type, types, sizeof types / sizeof *types, sizeof *types, compare) != NULL;
}

/* What stands below these is the kernel's, or stands in for it: no program lives there. */
static bool is_of_no_concern(const char *point) {
  return strcmp(point, "/") == 0 || strncmp(point, "/proc/", 6) == 0 ||
         strncmp(point, "/sys/", 5) == 0;
}

/* "\040" is a space there. In place. */
static void unescape(char *text) {
  char *to = text;
  for (; *text; text++)
    if (text[0] == '\\' && isdigit((unsigned char)text[1])) {
      *to++ = (char)strtol((char[]){text[1], text[2], text[3], '\0'}, NULL, 8);
      text += 3;
    } else {
      *to++ = *text;
    }
  *to = '\0';
}

/* "36 35 98:0 /root /point options … - type source options" → its point, or NULL if it is not remote. */
static char *remote_point(char *line) {
  char *rest = line, *point = NULL, *type = strstr(line, " - ");
  if (type == NULL) return NULL;
  for (int field = 0; field < 5; field++) point = strsep(&rest, " ");
  type += 3;
  type[strcspn(type, " ")] = '\0';
  if (point == NULL || rest == NULL || !is_remote_type(type)) return NULL;
  unescape(point);
  return is_of_no_concern(point) ? NULL : point;
}

/* The whole file as text, or NULL. */
static char *read_table(void) {
  size_t size = FIRST_SIZE, length = 0;
  char *text = NULL;
  for (;;) {
    char *more = realloc(text, size);
    if (more == NULL) break;
    text = more;
    ssize_t got = pread(mounts.fd, text + length, size - length - 1, (off_t)length);
    if (got < 0) break;
    length += (size_t)got;
    text[length] = '\0';
    if (got == 0) return text;
    if (size - length < 2) size *= 2;
  }
  free(text);
  return NULL;
}

/* The points are shorter than the lines that they came from, so they find room in front of them. */
static void find_points(void) {
  free(mounts.points);
  mounts.points = read_table();
  if (mounts.points == NULL) return;
  char *to = mounts.points, *rest = mounts.points;
  for (char *line; (line = strsep(&rest, "\n"));) {
    const char *point = remote_point(line);
    if (point == NULL) continue;
    size_t size = strlen(point) + 1;
    memmove(to, point, size);
    to += size;
  }
  *to = '\0';
}

/* The kernel marks the descriptor when the table has changed since it was last asked. */
static bool is_up_to_date(void) {
  struct pollfd changed = {.fd = mounts.fd, .events = POLLPRI};
  return mounts.open && mounts.points && poll(&changed, 1, 0) == 0;
}

bool remote_is_there(void) {
  if (!mounts.open) mounts.fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
  if (!is_up_to_date()) find_points();
  mounts.open = mounts.fd >= 0;
  return mounts.points == NULL || mounts.points[0] != '\0';
}

void remote_close(void) {
  if (mounts.open) close(mounts.fd);
  free(mounts.points);
  mounts.points = NULL;
  mounts.open = false;
}

/* --- where a path leads ------------------------------------------------------------------ */

static bool is_point(const char *path) {
  if (mounts.points == NULL) return true;
  for (const char *point = mounts.points; *point; point += strlen(point) + 1)
    if (strcmp(point, path) == 0) return true;
  return false;
}

struct walk {
  char done[PATH_MAX]; /* without links, and without a slash at its end */
  char rest[2 * PATH_MAX];
  int links;
  bool shared; /* anybody may make what is not there (/tmp), or that is not known */
};

/* Can somebody else than root and we put another thing in its place? */
static bool is_unsure(const struct stat *status) {
  if (status->st_uid != 0 && status->st_uid != geteuid()) return true;
  return S_ISDIR(status->st_mode) && (status->st_mode & 022) && !(status->st_mode & S_ISVTX);
}

/* What the link says stands in front of what is left. False: too much of it. */
static bool follow(struct walk *walk, size_t parent) {
  char target[PATH_MAX], rest[2 * PATH_MAX];
  ssize_t size = readlink(walk->done, target, sizeof target - 1);
  if (size <= 0 || ++walk->links > MOST_LINKS) return false;
  target[size] = '\0';
  int length = snprintf(rest, sizeof rest, "%s/%s", target, walk->rest);
  if (length < 0 || (size_t)length >= sizeof rest) return false;
  memcpy(walk->rest, rest, (size_t)length + 1);
  walk->done[target[0] == '/' ? 0 : parent] = '\0';
  if (target[0] == '/') walk->shared = false;
  return true;
}

/* The next name of what is left. False: there is none. */
static bool take_name(struct walk *walk, char name[NAME_MAX + 1]) {
  const char *at = walk->rest + strspn(walk->rest, "/");
  size_t size = strcspn(at, "/");
  if (size == 0 || size > NAME_MAX) return false;
  memcpy(name, at, size);
  name[size] = '\0';
  memmove(walk->rest, at + size, strlen(at + size) + 1);
  return true;
}

enum step { GOES_ON, ENDS_HERE, IS_REMOTE };

static enum step take_step(struct walk *walk) {
  char name[NAME_MAX + 1];
  struct stat status;
  size_t parent = strlen(walk->done);
  if (!take_name(walk, name)) return ENDS_HERE;
  if (strcmp(name, ".") == 0) return GOES_ON;
  if (strcmp(name, "..") == 0) {
    char *slash = strrchr(walk->done, '/');
    if (slash) *slash = '\0';
    walk->shared = true;
    return GOES_ON;
  }
  if (parent + strlen(name) + 2 > sizeof walk->done) return ENDS_HERE;
  walk->done[parent] = '/';
  strcpy(walk->done + parent + 1, name);
  if (is_point(walk->done)) return IS_REMOTE; /* not touched */
  if (lstat(walk->done, &status) != 0) return walk->shared ? IS_REMOTE : ENDS_HERE;
  if (is_unsure(&status)) return IS_REMOTE;
  if (S_ISLNK(status.st_mode)) return follow(walk, parent) ? GOES_ON : ENDS_HERE;
  walk->shared = status.st_mode & 022;
  return GOES_ON;
}

/* The path in full, to be walked. False: it cannot be told, or is too long. */
static bool begin(struct walk *walk, const char *directory, const char *path) {
  char own[PATH_MAX] = "";
  const char *from = path[0] == '/' || directory == NULL ? "" : directory;
  bool is_whole = path[0] == '/' || from[0] == '/';
  if (!is_whole && getcwd(own, sizeof own) == NULL) return false;
  walk->done[0] = '\0';
  walk->links = 0;
  walk->shared = false;
  int length = snprintf(walk->rest, sizeof walk->rest, "%s/%s/%s", own, from, path);
  return length > 0 && (size_t)length < sizeof walk->rest;
}

bool remote_path(const char *directory, const char *path) {
  struct walk walk;
  if (!begin(&walk, directory, path)) return true;
  enum step step;
  do step = take_step(&walk);
  while (step == GOES_ON);
  return step == IS_REMOTE;
}
