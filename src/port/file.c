/* The port: files. How a path is followed, and what is opened, is file/place.h's.
 *
 * A file is named by a path, or by a bare name in a place that stays open: port.place. An open file is a
 * handle, so that what is done to it is done to the file that was looked at. Nothing here waits for a FIFO
 * or a terminal; a slow disk does hold the pilot up, so who has much to read or write asks for it in
 * slices. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file/place.h"
#include "port/shared.h"
#include "port/themes.h"

#define FIRST_READ 4096 /* /proc says 0 and has more */
#define KEEP_SCRATCH (256 * 1024)
#define MOST_BYTES 9007199254740992.0

/* --- a path, or a name in a place -------------------------------------------------------- */

struct held_place {
  struct handle handle;
  struct place place;
};

static void cancel_place(struct handle *handle) {
  struct held_place *held = (struct held_place *)handle;
  handle_remove(&port.handles, handle);
  place_close(&held->place);
  free(held);
}

/* Where a function acts. `place.directory` is the handle's unless it is `owned`. */
struct target {
  const char *path; /* for messages */
  struct place place;
  bool owned;
};

static bool is_bare(const char *name) {
  return name[0] != '\0' && strcmp(name, "..") != 0 && strchr(name, '/') == NULL;
}

/* The name at `index` in the place at `at`. Returns 0, or what has been pushed. */
static int reach_in(lua_State *L, int index, int at, const char *where, struct target *target) {
  struct handle *handle = port_handle(L, at, "place", HANDLE_PLACE);
  if (handle == NULL) return 3;
  if (!is_bare(target->path))
    return luaL_error(L, "%s: expected a bare name, got \"%s\"", where, lua_tostring(L, index));
  if (strlen(target->path) > NAME_MAX)
    return port_failure(L, ENAMETOOLONG, "cannot open \"%s\"", target->path);
  target->place.directory = ((struct held_place *)handle)->place.directory;
  memcpy(target->place.name, target->path, strlen(target->path) + 1);
  return 0;
}

/* Returns 0, or what has been pushed: a failure. Its place is let go by leave(). */
static int reach(lua_State *L, int index, int at, const char *where, bool follow,
                 struct target *target) {
  struct failure failure;
  target->path = port_word(L, index, where);
  target->place.directory = target->place.object = -1;
  target->place.name[0] = '\0';
  target->owned = lua_isnoneornil(L, at);
  if (!target->owned) return reach_in(L, index, at, where, target);
  return place_open(&target->place, target->path, follow, &failure) == 0 ? 0
                                                                         : port_failed(L, &failure);
}

static void leave(struct target *target) {
  if (target->owned) place_close(&target->place);
}

/* After it, the place is not needed any more. */
static int done(lua_State *L, struct target *target, int code, const char *what) {
  leave(target);
  if (code != 0) return port_failure(L, code, "cannot %s \"%s\"", what, target->path);
  return port_done(L);
}

/* What has no name cannot be replaced. */
static int no_name(lua_State *L, const char *path, mode_t mode) {
  lua_pushnil(L);
  lua_pushfstring(L, "\"%s\" is %s, not a file", path, place_kind(mode));
  lua_pushstring(L, S_ISDIR(mode) ? "EISDIR" : "EINVAL");
  return 3;
}

static mode_t mode_of(const struct place *place) {
  struct stat status = {.st_mode = S_IFDIR};
  if (place->object >= 0) (void)fstat(place->object, &status);
  return status.st_mode;
}

static int l_place(lua_State *L) {
  const char *path = port_word(L, 1, "place: path");
  struct failure failure;
  struct held_place *held = calloc(1, sizeof *held);
  if (held) held->handle = (struct handle){.kind = HANDLE_PLACE, .cancel = cancel_place};
  if (held) held->place.directory = held->place.object = -1;
  if (held == NULL || handle_add(&port.handles, &held->handle) != 0) {
    free(held);
    return luaL_error(L, "place: out of memory");
  }
  if (place_open(&held->place, path, true, &failure) != 0) {
    cancel_place(&held->handle);
    return port_failed(L, &failure);
  }
  if (held->place.name[0] == '\0') {
    mode_t mode = mode_of(&held->place);
    cancel_place(&held->handle);
    return no_name(L, path, mode);
  }
  lua_pushnumber(L, (double)held->handle.id);
  lua_pushstring(L, held->place.name);
  lua_pushstring(L, held->place.real);
  lua_pushboolean(L, place_is_secluded(&held->place, path));
  return 4;
}

/* --- what is there ----------------------------------------------------------------------- */

static const char *type_of(mode_t mode) {
  if (S_ISREG(mode)) return "file";
  if (S_ISDIR(mode)) return "directory";
  if (S_ISLNK(mode)) return "link";
  if (S_ISFIFO(mode)) return "fifo";
  return S_ISSOCK(mode) ? "socket" : "device";
}

static void push_status(lua_State *L, const struct stat *status) {
  char identity[64];
  (void)snprintf(identity, sizeof identity, "%llx:%llx", (unsigned long long)status->st_dev,
                 (unsigned long long)status->st_ino);
  lua_createtable(L, 0, 8);
  port_set_string(L, "type", type_of(status->st_mode));
  port_set_string(L, "identity", identity);
  port_set_number(L, "mode", status->st_mode & 07777);
  port_set_number(L, "uid", status->st_uid);
  port_set_number(L, "gid", status->st_gid);
  port_set_number(L, "size", (double)status->st_size);
  port_set_number(L, "mtime",
                  (double)status->st_mtim.tv_sec + (double)status->st_mtim.tv_nsec / 1e9);
}

/* Of the link itself, not of where it leads. */
static int l_stat(lua_State *L) {
  struct target target;
  struct stat status;
  char text[PATH_MAX];
  int failed = reach(L, 1, 2, "stat: path", false, &target);
  if (failed) return failed;
  int code = place_look(&target.place, &status) == 0 ? 0 : errno;
  ssize_t size = code == 0 && S_ISLNK(status.st_mode) && target.place.name[0] != '\0'
                     ? readlinkat(target.place.directory, target.place.name, text, sizeof text)
                     : -1;
  leave(&target);
  if (code != 0) return port_failure(L, code, "cannot stat \"%s\"", target.path);
  push_status(L, &status);
  if (size >= 0) {
    lua_pushlstring(L, text, (size_t)size);
    lua_setfield(L, -2, "target");
  }
  return 1;
}

/* Names, each with its NUL, into the scratch. Returns how many, or -1 with errno. */
static int64_t collect_names(DIR *entries, int64_t limit) {
  int64_t count = 0;
  const struct dirent *entry;
  buffer_cut(&port.scratch, 0);
  while ((errno = 0, entry = readdir(entries))) {
    const char *name = entry->d_name;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
    if (++count > limit) errno = EFBIG;
    if (errno == 0 && !buffer_append(&port.scratch, name, strlen(name) + 1)) errno = ENOMEM;
    if (errno != 0) return -1;
  }
  return errno == 0 ? count : -1;
}

static int open_directory(const struct place *place) {
  const char *name = place->name[0] ? place->name : ".";
  if (place->object < 0)
    return openat(place->directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  errno = ENOTDIR;
  return -1;
}

static int64_t list_names(const struct place *place, int64_t limit) {
  int fd = open_directory(place);
  DIR *entries = fd >= 0 ? fdopendir(fd) : NULL;
  int64_t count = entries ? collect_names(entries, limit) : -1;
  int code = errno;
  if (entries)
    (void)closedir(entries);
  else if (fd >= 0)
    close(fd);
  errno = code;
  return count;
}

static int l_list(lua_State *L) {
  struct target target;
  int64_t limit = port_integer(L, 2, "list: limit", 0, INT_MAX);
  int failed = reach(L, 1, 3, "list: path", true, &target);
  if (failed) return failed;
  int64_t count = list_names(&target.place, limit);
  int code = errno;
  leave(&target);
  if (count < 0) return port_failure(L, code, "cannot list \"%s\"", target.path);
  lua_createtable(L, (int)count, 0);
  const char *name = count > 0 ? buffer_front(&port.scratch) : "";
  for (int i = 1; i <= count; i++, name += strlen(name) + 1) {
    lua_pushstring(L, name);
    lua_rawseti(L, -2, i);
  }
  return 1;
}

/* --- names ------------------------------------------------------------------------------- */

static int rename_it(const struct place *from, const struct place *to) {
  return renameat(from->directory, from->name, to->directory, to->name) == 0 ? 0 : errno;
}

static int l_rename(lua_State *L) {
  struct target from, to;
  (void)port_word(L, 2, "rename: to");
  int failed = reach(L, 1, 3, "rename: from", false, &from);
  if (failed) return failed;
  failed = reach(L, 2, 3, "rename: to", false, &to);
  if (failed == 0 && (from.place.name[0] == '\0' || to.place.name[0] == '\0')) failed = -1;
  int code = failed ? EBUSY : rename_it(&from.place, &to.place);
  leave(&from);
  if (failed > 0) return failed;
  leave(&to);
  if (code == 0) return port_done(L);
  return port_failure(L, code, "cannot rename \"%s\" to \"%s\"", from.path, to.path);
}

/* Whether it is a directory is asked first: unlink(2) on one is another error on other file systems. */
static int remove_it(const struct place *place) {
  struct stat status;
  if (place->name[0] == '\0') return EBUSY;
  if (place_look(place, &status) != 0) return errno;
  int flags = S_ISDIR(status.st_mode) ? AT_REMOVEDIR : 0;
  return unlinkat(place->directory, place->name, flags) == 0 ? 0 : errno;
}

static int l_remove(lua_State *L) {
  struct target target;
  int failed = reach(L, 1, 2, "remove: path", false, &target);
  return failed ? failed : done(L, &target, remove_it(&target.place), "remove");
}

static int make_directory(const struct place *place, mode_t mode) {
  if (place->name[0] == '\0') return EEXIST;
  return place_mkdir(place, mode) == 0 ? 0 : errno;
}

static int l_mkdir(lua_State *L) {
  struct target target;
  mode_t mode = (mode_t)port_integer(L, 2, "mkdir: mode", 0, 01777);
  int failed = reach(L, 1, 3, "mkdir: path", true, &target);
  return failed ? failed : done(L, &target, make_directory(&target.place, mode), "make directory");
}

/* --- open files -------------------------------------------------------------------------- */

struct held_file {
  struct handle handle;
  int fd;
};

static void cancel_file(struct handle *handle) {
  struct held_file *file = (struct held_file *)handle;
  handle_remove(&port.handles, handle);
  if (file->fd >= 0) close(file->fd);
  free(file);
}

static struct held_file *file_of(lua_State *L, int index, const char *where) {
  return (struct held_file *)port_handle(L, index, where, HANDLE_FILE);
}

static enum place_use check_use(lua_State *L, int index) {
  const char *mode = port_word(L, index, "open: mode");
  if (strcmp(mode, "read") == 0) return PLACE_READ;
  if (strcmp(mode, "write") == 0) return PLACE_WRITE;
  if (strcmp(mode, "append") == 0) return PLACE_APPEND;
  if (strcmp(mode, "create") == 0) return PLACE_CREATE;
  if (strcmp(mode, "left") == 0) return PLACE_LEFT;
  return (enum place_use)luaL_error(L,
                                    "open: mode: expected \"read\", \"write\", \"append\", "
                                    "\"create\" or \"left\", got \"%s\"",
                                    mode);
}

/* The handle comes first, so that no descriptor is ever without one. */
static int l_open(lua_State *L) {
  struct target target;
  struct stat status;
  struct failure failure;
  enum place_use use = check_use(L, 2);
  int failed = reach(L, 1, 3, "open: path", use != PLACE_CREATE, &target);
  if (failed) return failed;
  struct held_file *file = calloc(1, sizeof *file);
  if (file) *file = (struct held_file){{.kind = HANDLE_FILE, .cancel = cancel_file}, .fd = -1};
  bool added = file && handle_add(&port.handles, &file->handle) == 0;
  if (added) file->fd = place_file(&target.place, use, target.path, &status, &failure);
  leave(&target);
  if (!added) {
    free(file);
    return luaL_error(L, "open: out of memory");
  }
  if (file->fd < 0) {
    cancel_file(&file->handle);
    return port_failed(L, &failure);
  }
  lua_pushnumber(L, (double)file->handle.id);
  push_status(L, &status);
  return 2;
}

/* Reads into the scratch until it holds `limit` bytes or the file ends. Returns 0 or an errno. */
static int fill_scratch(int fd, size_t expected, size_t limit) {
  struct buffer *scratch = &port.scratch;
  for (;;) {
    /* One byte more than expected: the read that finds the end needs no room of its own. */
    size_t used = buffer_size(scratch);
    size_t want = used < expected ? expected - used + 1 : FIRST_READ;
    if (want > limit - used) want = limit - used;
    if (want == 0) return 0;
    if (!buffer_reserve(scratch, want)) return ENOMEM;
    ssize_t size = read(fd, scratch->data + scratch->end, want);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return errno;
    if (size == 0) return 0;
    scratch->end += (size_t)size;
  }
}

static void empty_scratch(void) {
  if (port.scratch.capacity > KEEP_SCRATCH) buffer_free(&port.scratch);
  buffer_cut(&port.scratch, 0);
}

static int push_scratch(lua_State *L) {
  size_t size = buffer_size(&port.scratch);
  lua_pushlstring(L, size > 0 ? buffer_front(&port.scratch) : "", size);
  return 1;
}

static int l_get(lua_State *L) {
  struct held_file *file = file_of(L, 1, "get: id");
  if (file == NULL) return 3;
  size_t bytes = (size_t)port_integer(L, 2, "get: bytes", 1, INT_MAX);
  empty_scratch();
  int code = fill_scratch(file->fd, bytes, bytes);
  if (code != 0) return port_failure(L, code, "cannot read");
  return push_scratch(L);
}

static int write_all(int fd, const char *data, size_t size) {
  while (size > 0) {
    ssize_t written = write(fd, data, size);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    if (written == 0) return EIO; /* it takes nothing, and does not say why */
    data += written;
    size -= (size_t)written;
  }
  return 0;
}

static int l_put(lua_State *L) {
  size_t size;
  struct held_file *file = file_of(L, 1, "put: id");
  if (file == NULL) return 3;
  const char *data = port_bytes(L, 2, "put: data", &size);
  int code = write_all(file->fd, data, size);
  if (code != 0) return port_failure(L, code, "cannot write");
  return port_done(L);
}

static int l_truncate(lua_State *L) {
  struct held_file *file = file_of(L, 1, "truncate: id");
  if (file == NULL) return 3;
  if (ftruncate(file->fd, 0) != 0) return port_failure(L, errno, "cannot truncate");
  return port_done(L);
}

/* A directory that is held is not open for that. */
static int sync_directory(const struct place *place) {
  int fd = openat(place->directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return -1;
  int result = fsync(fd), code = errno;
  close(fd);
  errno = code;
  return result;
}

/* A file system that cannot do it for directories says EINVAL: it needs none. */
static int l_sync(lua_State *L) {
  struct handle *handle = port_handle(L, 1, "sync: id", ANY_HANDLE);
  if (handle == NULL) return 3;
  int result = 0;
  if (handle->kind == HANDLE_FILE) result = fsync(((struct held_file *)handle)->fd);
  if (handle->kind == HANDLE_PLACE) result = sync_directory(&((struct held_place *)handle)->place);
  if (result != 0 && !(errno == EINVAL && handle->kind == HANDLE_PLACE))
    return port_failure(L, errno, "cannot sync");
  return port_done(L);
}

/* By this path another process of our user opens the very file, whatever stands at its name. /proc may be
 * that of another PID namespace, where we have another number. */
static int l_held(lua_State *L) {
  char self[32];
  struct held_file *file = file_of(L, 1, "held: id");
  if (file == NULL) return 3;
  ssize_t size = readlink("/proc/self", self, sizeof self - 1);
  if (size < 0) return port_failure(L, errno, "cannot read /proc/self");
  self[size] = '\0';
  lua_pushfstring(L, "/proc/%s/fd/%d", self, file->fd);
  return 1;
}

/* An id that is not given stays: chown(2) takes -1 for that. */
static int64_t optional_id(lua_State *L, const char *name) {
  char path[PORT_PATH];
  if (!port_field(L, 2, "chmod", name, path)) return -1;
  return port_integer(L, -1, path, 0, UINT32_MAX - 1.0);
}

static int l_chmod(lua_State *L) {
  static const char *const names[] = {"mode", "uid", "gid", NULL};
  char field[PORT_PATH];
  struct held_file *file = file_of(L, 1, "chmod: id");
  if (file == NULL) return 3;
  port_options(L, 2, "chmod", names);
  int64_t uid = optional_id(L, "uid"), gid = optional_id(L, "gid");
  bool change = port_field(L, 2, "chmod", "mode", field);
  mode_t mode = change ? (mode_t)port_integer(L, -1, field, 0, 07777) : 0;
  /* The owner first: chown takes setuid bits away. */
  if ((uid >= 0 || gid >= 0) && fchown(file->fd, (uid_t)uid, (gid_t)gid) != 0)
    return port_failure(L, errno, "cannot change the owner");
  if (change && fchmod(file->fd, mode) != 0)
    return port_failure(L, errno, "cannot change the mode");
  return port_done(L);
}

/* Who we are where files are concerned. */
static int l_user(lua_State *L) {
  lua_pushnumber(L, geteuid());
  return 1;
}

/* --- small files, whole ------------------------------------------------------------------ */

/* One byte over the limit tells that there is more. */
static int read_whole(int fd, const struct stat *status, size_t limit) {
  if ((uint64_t)status->st_size > limit) return EFBIG;
  empty_scratch();
  int code = fill_scratch(fd, (size_t)status->st_size, limit + 1);
  return code == 0 && buffer_size(&port.scratch) > limit ? EFBIG : code;
}

static int l_read(lua_State *L) {
  const char *path = port_word(L, 1, "read: path");
  struct stat status;
  struct failure failure;
  size_t limit = (size_t)-1 / 4;
  if (!lua_isnoneornil(L, 2)) limit = (size_t)port_integer(L, 2, "read: limit", 0, MOST_BYTES);
  int fd = place_open_file(path, PLACE_READ, &status, &failure);
  if (fd < 0) return port_failed(L, &failure);
  int code = read_whole(fd, &status, limit);
  close(fd);
  if (code != 0) return port_failure(L, code, "cannot read \"%s\"", path);
  return push_scratch(L);
}

const luaL_Reg port_file_functions[] = {
    {"place", l_place},   {"stat", l_stat},         {"list", l_list}, {"rename", l_rename},
    {"remove", l_remove}, {"mkdir", l_mkdir},       {"open", l_open}, {"get", l_get},
    {"put", l_put},       {"truncate", l_truncate}, {"sync", l_sync}, {"held", l_held},
    {"chmod", l_chmod},   {"read", l_read},         {"user", l_user}, {NULL, NULL},
};
