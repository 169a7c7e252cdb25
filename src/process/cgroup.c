#include "process/cgroup.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "file/place.h"

#define PERIOD 100000    /* microseconds: the kernel's default for cpu quotas */
#define LEAST_QUOTA 1000 /* the kernel refuses less */
#define NAME_LENGTH 100
#define DEPTH 16 /* how far below its own group we look for what a job made itself */

struct controller {
  const char *name;
  const char *v2_file, *v1_file;
};

static const struct controller memory = {"memory", "memory.max", "memory.limit_in_bytes"};
static const struct controller cpu = {"cpu", "cpu.max", "cpu.cfs_quota_us"};
static const struct controller pids = {"pids", "pids.max", "pids.max"};

/* --- telling why ------------------------------------------------------------------------- */

static const char *advice(int code) {
  switch (code) {
  case EROFS:
    return " (control groups are mounted read-only here, as in most containers: limit the "
           "container "
           "instead, or give it a writable control group of its own)";
  case EACCES:
  case EPERM:
    return " (run the pilot as root, or delegate the control group to its user; systemd: "
           "Delegate=yes)";
  case EBUSY:
    return " (processes that are not this pilot's live in the same control group: give the pilot "
           "one of its own)";
  default: return "";
  }
}

static int refused(struct failure *failure, const char *what, const char *path, int code) {
  char text[TEXT_SIZE];
  return fail(failure, "cgroup", code, "cannot %s \"%s\": %s%s", what, path, error_text(code, text),
              advice(code));
}

static int no_memory(struct failure *failure) {
  return fail(failure, "cgroup", ENOMEM, "cannot make a control group: out of memory");
}

/* What goes away by itself is told as what it is, never as "there is none". */
static bool is_shortage(int code) {
  return code == EMFILE || code == ENFILE || code == ENOMEM;
}

/* --- small files ------------------------------------------------------------------------- */

/* A group's directory, walked to as any path is (file/place.h), and in no other file system: what its files
 * mean is the kernel's word only there. Returns a descriptor (O_PATH), or -1 with errno. */
static int open_group(const char *directory) {
  struct place place;
  struct failure why;
  struct statfs system;
  if (place_open(&place, directory, false, &why) != 0) {
    errno = why.code;
    return -1;
  }
  const char *name = place.name[0] ? place.name : ".";
  int fd = openat(place.directory, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  int code = errno;
  place_close(&place);
  if (fd >= 0 && fstatfs(fd, &system) == 0 &&
      (system.f_type == CGROUP_SUPER_MAGIC || system.f_type == CGROUP2_SUPER_MAGIC))
    return fd;
  if (fd >= 0) close(fd);
  errno = fd >= 0 ? ENOTSUP : code;
  return -1;
}

static int open_in(const char *directory, const char *file, int flags) {
  int group = open_group(directory);
  if (group < 0) return -1;
  int fd = openat(group, file, flags | O_NOFOLLOW | O_CLOEXEC);
  int code = errno;
  close(group);
  errno = code;
  return fd;
}

static int make_in(const char *directory, const char *name) {
  int group = open_group(directory);
  if (group < 0) return -1;
  int result = mkdirat(group, name, 0755), code = errno;
  close(group);
  errno = code;
  return result;
}

static int write_text(const char *directory, const char *file, const char *text,
                      struct failure *failure) {
  char path[4096];
  (void)snprintf(path, sizeof path, "%s/%s", directory, file);
  int fd = open_in(directory, file, O_WRONLY);
  if (fd < 0) return refused(failure, "open", path, errno);
  ssize_t size = (ssize_t)strlen(text);
  int code = write(fd, text, (size_t)size) == size ? 0 : errno;
  close(fd);
  if (code == 0) return 0;
  char what[128];
  (void)snprintf(what, sizeof what, "write \"%s\" to", text);
  return refused(failure, what, path, code);
}

/* Is `word` one of the words of `text`, parted by any of `separators`? */
static bool has_word(const char *text, const char *word, const char *separators) {
  size_t length = strlen(word);
  for (const char *at = text; *at != '\0';) {
    size_t size = strcspn(at, separators);
    if (size == length && memcmp(at, word, length) == 0) return true;
    at += size;
    at += strspn(at, separators);
  }
  return false;
}

/* 1, 0, or -1 with errno: it cannot be read. */
static int file_has_word(const char *directory, const char *file, const char *word) {
  char text[1024];
  int fd = open_in(directory, file, O_RDONLY);
  if (fd < 0) return -1;
  ssize_t size = read(fd, text, sizeof text - 1);
  close(fd);
  text[size > 0 ? size : 0] = '\0';
  return has_word(text, word, " \n");
}

/* --- where we are ------------------------------------------------------------------------ */

/* Our own path inside the hierarchy of `controller` (NULL: the unified one), from lines like
 * "4:memory:/a/b" and "0::/a/b". Owned by the caller; NULL with errno, ENOENT: there is none. */
static char *own_path(const char *controller) {
  FILE *file = fopen("/proc/self/cgroup", "re");
  if (file == NULL) return NULL;
  char *line = NULL, *found = NULL;
  size_t size = 0;
  int code = ENOENT;
  while (found == NULL && code == ENOENT && getline(&line, &size, file) > 0) {
    char *list = strchr(line, ':');
    char *path = list ? strchr(list + 1, ':') : NULL;
    if (path == NULL) continue;
    *path++ = '\0';
    path[strcspn(path, "\n")] = '\0';
    if (!(controller ? has_word(list + 1, controller, ",") : list[1] == '\0')) continue;
    found = strdup(path);
    if (found == NULL) code = ENOMEM;
  }
  free(line);
  (void)fclose(file);
  errno = code;
  return found;
}

/* Splits "36 31 0:32 /root /mount/point rw - cgroup cgroup rw,memory" in place. */
static bool is_mount(char *line, const char *controller, char **root, char **point) {
  char *options = strstr(line, " - ");
  if (options == NULL) return false;
  *options = '\0';
  char *type = strtok_r(options + 3, " \n", &options);
  char *source = strtok_r(NULL, " \n", &options);
  char *super = source ? strtok_r(NULL, " \n", &options) : NULL;
  if (super == NULL) return false;
  if (strcmp(type, controller ? "cgroup" : "cgroup2") != 0) return false;
  if (controller && !has_word(super, controller, ",")) return false;
  char *rest = NULL, *field = strtok_r(line, " ", &rest);
  for (int i = 0; i < 3 && field; i++) field = strtok_r(NULL, " ", &rest);
  *root = field;
  *point = field ? strtok_r(NULL, " ", &rest) : NULL;
  return *point != NULL;
}

/* The directory of `path`, seen through a mount that shows the hierarchy from `root` on. */
static char *seen_at(const char *root, const char *point, const char *path) {
  size_t skip = strcmp(root, "/") == 0 ? 0 : strlen(root);
  if (strncmp(path, root, skip) != 0 || strncmp(path, "/..", 3) == 0) return NULL;
  path += skip;
  if (strcmp(path, "/") == 0) path = "";
  char *directory;
  return asprintf(&directory, "%s%s", point, path) < 0 ? NULL : directory;
}

/* Have we moved into the leaf already? Then the group around it is the one that counts. */
static void leave_leaf(char *directory) {
  char leaf[64];
  (void)snprintf(leaf, sizeof leaf, "/luapilot-%d", (int)getpid());
  size_t size = strlen(directory), length = strlen(leaf);
  if (size > length && strcmp(directory + size - length, leaf) == 0)
    directory[size - length] = '\0';
}

static char *find_mount(FILE *mounts, const char *controller, const char *path) {
  char *line = NULL, *found = NULL;
  size_t size = 0;
  while (found == NULL && getline(&line, &size, mounts) > 0) {
    char *root, *point;
    if (is_mount(line, controller, &root, &point)) found = seen_at(root, point, path);
  }
  free(line);
  return found;
}

/* The directory of the group we are in. Owned by the caller; NULL with errno, ENOENT: there is none
 * to be seen. */
static char *own_directory(const char *controller) {
  char *path = own_path(controller);
  if (path == NULL) return NULL;
  FILE *mounts = fopen("/proc/self/mountinfo", "re");
  int code = mounts ? ENOENT : errno;
  char *found = mounts ? find_mount(mounts, controller, path) : NULL;
  if (mounts) (void)fclose(mounts);
  free(path);
  if (found) leave_leaf(found);
  errno = code;
  return found;
}

/* --- making room in v2 ------------------------------------------------------------------- */

static pid_t parent_of(pid_t pid) {
  char path[64], text[512];
  (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t size = read(fd, text, sizeof text - 1);
  close(fd);
  text[size > 0 ? size : 0] = '\0';
  const char *end = strrchr(text, ')'); /* a name may contain anything, parentheses too */
  return end && strlen(end) > 4 ? (pid_t)strtol(end + 4, NULL, 10) : 0;
}

/* The pilot, its guardian (the parent that shares its program), or a descendant of either. */
static bool is_ours(pid_t pid) {
  char mine[4096], other[4096], path[64];
  pid_t guardian = getppid();
  (void)snprintf(path, sizeof path, "/proc/%d/exe", (int)guardian);
  ssize_t a = readlink("/proc/self/exe", mine, sizeof mine);
  ssize_t b = readlink(path, other, sizeof other);
  bool guarded = a > 0 && a == b && memcmp(mine, other, (size_t)a) == 0;
  for (; pid > 0; pid = parent_of(pid))
    if (pid == getpid() || (guarded && pid == guardian)) return true;
  return false;
}

static FILE *open_members(const char *directory) {
  int fd = open_in(directory, "cgroup.procs", O_RDONLY);
  FILE *members = fd >= 0 ? fdopen(fd, "r") : NULL;
  if (members == NULL && fd >= 0) close(fd);
  return members;
}

/* 0, EBUSY: some are not, or why that cannot be told. */
static int all_ours(const char *directory) {
  FILE *members = open_members(directory);
  if (members == NULL) return errno;
  bool ours = true;
  int pid, code = 0;
  while (ours && fscanf(members, "%d", &pid) == 1) {
    errno = 0;
    ours = is_ours(pid);
    if (!ours) code = is_shortage(errno) ? errno : EBUSY;
  }
  (void)fclose(members);
  return code;
}

/* A process that is gone by now is no failure. */
static int move_all(const char *from, const char *to, struct failure *failure) {
  FILE *members = open_members(from);
  if (members == NULL) return refused(failure, "read the members of", from, errno);
  int pid, result = 0;
  while (result == 0 && fscanf(members, "%d", &pid) == 1) {
    char text[32];
    (void)snprintf(text, sizeof text, "%d", pid);
    result = write_text(to, "cgroup.procs", text, failure);
    if (result != 0 && failure->code == ESRCH) result = 0;
  }
  (void)fclose(members);
  return result;
}

static int move_to_leaf(const char *base, struct failure *failure) {
  int code = all_ours(base);
  if (code != 0) return refused(failure, "pass controllers on from", base, code);
  char name[64], leaf[4096];
  (void)snprintf(name, sizeof name, "luapilot-%d", (int)getpid());
  (void)snprintf(leaf, sizeof leaf, "%s/%s", base, name);
  if (make_in(base, name) != 0 && errno != EEXIST) return refused(failure, "create", leaf, errno);
  return move_all(base, leaf, failure);
}

/* Makes `controller` available in the groups below `base`. */
static int pass_on(const char *base, const char *controller, struct failure *failure) {
  if (file_has_word(base, "cgroup.subtree_control", controller) == 1) return 0;
  char text[64];
  (void)snprintf(text, sizeof text, "+%s", controller);
  if (write_text(base, "cgroup.subtree_control", text, failure) == 0) return 0;
  if (failure->code != EBUSY) return -1;
  if (move_to_leaf(base, failure) != 0) return -1;
  return write_text(base, "cgroup.subtree_control", text, failure);
}

/* --- making a group ---------------------------------------------------------------------- */

static void safe_name(const char *name, char safe[NAME_LENGTH + 1]) {
  size_t i = 0;
  for (; i < NAME_LENGTH && name[i] != '\0'; i++)
    safe[i] = (char)(isalnum((unsigned char)name[i]) || strchr("-_", name[i]) ? name[i] : '_');
  safe[i] = '\0';
}

/* Another process of the same job may still be on its way out, hence the numbers. What an earlier
 * pilot of our pid left behind empty is taken over. */
static char *make_directory(const char *base, const char *name, struct failure *failure) {
  char safe[NAME_LENGTH + 1], *path = NULL;
  size_t below = strlen(base) + 1;
  safe_name(name, safe);
  for (int number = 1; number < 10000; number++) {
    char suffix[16] = "";
    if (number > 1) (void)snprintf(suffix, sizeof suffix, "-%d", number);
    if (asprintf(&path, "%s/luapilot-%d-%s%s", base, (int)getpid(), safe, suffix) < 0) {
      no_memory(failure);
      return NULL;
    }
    if (make_in(base, path + below) == 0) return path;
    if (errno == EEXIST && rmdir(path) == 0 && make_in(base, path + below) == 0) return path;
    if (errno != EEXIST && errno != EBUSY) break;
    free(path);
    path = NULL;
  }
  if (path) refused(failure, "create", path, errno);
  free(path);
  return NULL;
}

/* The group's directory in the hierarchy of `base`: the one made before, or a new one. */
static const char *place_below(struct cgroup *cgroup, const char *base, const char *name,
                               struct failure *failure) {
  size_t length = strlen(base);
  for (size_t i = 0; i < cgroup->count; i++)
    if (strncmp(cgroup->places[i], base, length) == 0 &&
        strrchr(cgroup->places[i], '/') == cgroup->places[i] + length)
      return cgroup->places[i];
  char *place = make_directory(base, name, failure);
  if (place) cgroup->places[cgroup->count++] = place;
  return place;
}

/* The group below which `controller` can be set, and whether it is a v2 one. Owned by the caller; NULL with errno. */
static char *find_base(const char *controller, bool *unified) {
  char *base = own_directory(NULL);
  int offered = base ? file_has_word(base, "cgroup.controllers", controller) : -1, code = errno;
  *unified = offered == 1;
  if (*unified) return base;
  free(base);
  errno = code;
  return offered < 0 && is_shortage(code) ? NULL : own_directory(controller);
}

/* The place where `controller` can be set, and whether it is a v2 one. */
static const char *place_for(struct cgroup *cgroup, const char *controller, const char *name,
                             bool *unified, struct failure *failure) {
  const char *place = NULL;
  char *base = find_base(controller, unified);
  if (base == NULL && is_shortage(errno))
    refused(failure, "look for our control group in", "/proc/self", errno);
  else if (base == NULL)
    fail(failure, "cgroup", ENOTSUP,
         "there is no %s controller here, neither in a unified control group hierarchy nor in one "
         "of its own: mount one, or leave the limit out",
         controller);
  else if (!*unified || pass_on(base, controller, failure) == 0)
    place = place_below(cgroup, base, name, failure);
  free(base);
  return place;
}

static int set_memory(struct cgroup *cgroup, const struct cgroup_options *options,
                      struct failure *failure) {
  bool unified;
  char text[32];
  if (options->memory_max == 0) return 0;
  const char *place = place_for(cgroup, memory.name, options->name, &unified, failure);
  if (place == NULL) return -1;
  (void)snprintf(text, sizeof text, "%lld", (long long)options->memory_max);
  return write_text(place, unified ? memory.v2_file : memory.v1_file, text, failure);
}

static int set_cpu(struct cgroup *cgroup, const struct cgroup_options *options,
                   struct failure *failure) {
  bool unified;
  char text[64];
  if (options->cpu_max == 0) return 0;
  const char *place = place_for(cgroup, cpu.name, options->name, &unified, failure);
  if (place == NULL) return -1;
  long quota = (long)(options->cpu_max * PERIOD);
  if (quota < LEAST_QUOTA) quota = LEAST_QUOTA;
  (void)snprintf(text, sizeof text, unified ? "%ld %d" : "%ld", quota, PERIOD);
  return write_text(place, unified ? cpu.v2_file : cpu.v1_file, text, failure);
}

static int set_pids(struct cgroup *cgroup, const struct cgroup_options *options,
                    struct failure *failure) {
  bool unified;
  char text[32];
  if (options->pids_max == 0) return 0;
  const char *place = place_for(cgroup, pids.name, options->name, &unified, failure);
  if (place == NULL) return -1;
  (void)snprintf(text, sizeof text, "%lld", (long long)options->pids_max);
  return write_text(place, unified ? pids.v2_file : pids.v1_file, text, failure);
}

/* Without any limit the group still holds what calls setsid; any hierarchy does for that. */
static int set_nothing(struct cgroup *cgroup, const struct cgroup_options *options,
                       struct failure *failure) {
  if (cgroup->count > 0) return 0;
  bool unified;
  char *base = own_directory(NULL);
  const char *place = base ? place_below(cgroup, base, options->name, failure)
                           : place_for(cgroup, pids.name, options->name, &unified, failure);
  free(base);
  return place ? 0 : -1;
}

int cgroup_make(struct cgroup *cgroup, const struct cgroup_options *options,
                struct failure *failure) {
  *cgroup = (struct cgroup){0};
  if (set_memory(cgroup, options, failure) == 0 && set_cpu(cgroup, options, failure) == 0 &&
      set_pids(cgroup, options, failure) == 0 && set_nothing(cgroup, options, failure) == 0)
    return 0;
  if (!cgroup_remove(cgroup)) cgroup_forget(cgroup);
  return -1;
}

/* Whoever the group around ours was delegated to can put one of his own in our group's place. */
static int open_own(const char *directory) {
  struct stat status;
  int fd = open_in(directory, "cgroup.procs", O_WRONLY);
  if (fd < 0 || (fstat(fd, &status) == 0 && status.st_uid == geteuid())) return fd;
  close(fd);
  errno = EPERM;
  return -1;
}

int cgroup_open(const struct cgroup *cgroup, int *files, struct failure *failure) {
  for (size_t i = 0; i < cgroup->count; i++) {
    files[i] = open_own(cgroup->places[i]);
    if (files[i] >= 0) continue;
    int code = errno;
    const char *place = cgroup->places[i];
    while (i > 0) close(files[--i]);
    return refused(failure, "enter the group", place, code);
  }
  return 0;
}

/* --- lack of memory ---------------------------------------------------------------------- */

/* Of v2, which counts what lies below, too; of v1. */
static int open_count(const char *directory) {
  int fd = open_in(directory, "memory.events", O_RDONLY);
  return fd >= 0 ? fd : open_in(directory, "memory.oom_control", O_RDONLY);
}

/* A line of its own: "oom_kill 3"; there are also "oom_kill_disable 0" and "oom_group_kill 0". */
int64_t cgroup_read_count(int file) {
  static const char name[] = "\noom_kill ";
  char text[1024] = "\n";
  ssize_t size = pread(file, text + 1, sizeof text - 2, 0);
  if (size <= 0) return -1;
  text[size + 1] = '\0';
  const char *line = strstr(text, name);
  return line ? strtoll(line + sizeof name - 1, NULL, 10) : -1;
}

int64_t cgroup_oom_kills(const struct cgroup *cgroup) {
  int64_t count = -1;
  for (size_t i = 0; i < cgroup->count && count < 0; i++) {
    int file = open_count(cgroup->places[i]);
    if (file < 0) continue;
    count = cgroup_read_count(file);
    close(file);
  }
  return count;
}

int cgroup_open_own_count(void) {
  int file = -1;
  char *unified = own_directory(NULL);
  if (unified) file = open_count(unified);
  free(unified);
  char *memory_alone = file < 0 ? own_directory(memory.name) : NULL;
  if (memory_alone) file = open_count(memory_alone);
  free(memory_alone);
  return file;
}

/* --- members and the end ----------------------------------------------------------------- */

struct errand {
  void (*at)(const char *directory, struct errand *errand);
  int number; /* the signal to send */
  pid_t except;
  bool reached; /* somebody got it */
  bool busy;    /* a directory could not be removed because somebody lives in it */
};

/* Runs an errand in a directory and all below it, the deepest first. */
static void visit(const char *directory, int depth, struct errand *errand) {
  DIR *entries = depth < DEPTH ? opendir(directory) : NULL;
  const struct dirent *entry;
  while (entries && (entry = readdir(entries))) {
    char path[4096];
    if (entry->d_type != DT_DIR || entry->d_name[0] == '.') continue;
    int size = snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
    if (size < (int)sizeof path) visit(path, depth + 1, errand);
  }
  if (entries) closedir(entries);
  errand->at(directory, errand);
}

static void signal_members(const char *directory, struct errand *errand) {
  FILE *members = open_members(directory);
  int pid;
  while (members && fscanf(members, "%d", &pid) == 1)
    if (pid > 1 && getpgid(pid) != errand->except && kill(pid, errand->number) == 0)
      errand->reached = true;
  if (members) (void)fclose(members);
}

bool cgroup_signal(const struct cgroup *cgroup, int number, pid_t except) {
  struct errand errand = {.at = signal_members, .number = number, .except = except};
  if (cgroup->count > 0) visit(cgroup->places[0], 0, &errand); /* the members are the same in all */
  return errand.reached;
}

static void remove_directory(const char *directory, struct errand *errand) {
  if (rmdir(directory) != 0 && errno == EBUSY) errand->busy = true;
}

bool cgroup_remove(struct cgroup *cgroup) {
  struct errand errand = {.at = remove_directory};
  while (cgroup->count > 0 && !errand.busy) {
    char *place = cgroup->places[cgroup->count - 1];
    visit(place, 0, &errand);
    if (errand.busy) break;
    free(place);
    cgroup->count--;
  }
  return cgroup->count == 0;
}

void cgroup_forget(struct cgroup *cgroup) {
  while (cgroup->count > 0) free(cgroup->places[--cgroup->count]);
}
