/* The port: files. Nothing here waits: not for a writer of a FIFO, not for a terminal. A slow disk
 * does hold the pilot up; that is the guardian's business. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "port_lua.h"

#define FIRST_READ 4096 /* /proc says 0 and has more */
#define KEEP_SCRATCH (256 * 1024)

/* --- reading ----------------------------------------------------------------------------- */

static const char *kind_of(mode_t mode) {
  if (S_ISFIFO(mode)) return "a FIFO";
  if (S_ISSOCK(mode)) return "a socket";
  if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
  return "something else";
}

/* Reads all into the scratch. Returns 0 or an errno. */
static int read_all(int fd, size_t expected, size_t limit) {
  struct buffer *scratch = &port.scratch;
  buffer_cut(scratch, 0);
  for (;;) {
    /* One byte more than expected: the read that finds the end needs no room of its own. */
    size_t used = buffer_size(scratch);
    size_t want = used < expected ? expected - used + 1 : FIRST_READ;
    if (!buffer_reserve(scratch, want)) return ENOMEM;
    ssize_t size = read(fd, scratch->data + scratch->end, scratch->capacity - scratch->end);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return errno;
    if (size == 0) return 0;
    scratch->end += (size_t)size;
    if (buffer_size(scratch) > limit) return EFBIG;
  }
}

/* Returns 0, an errno, or -1 with *kind: it is no file. */
static int read_file(int fd, size_t limit, const char **kind) {
  struct stat info;
  if (fstat(fd, &info) != 0) return errno;
  if (S_ISDIR(info.st_mode)) return EISDIR;
  if (!S_ISREG(info.st_mode)) {
    *kind = kind_of(info.st_mode);
    return -1;
  }
  if ((uint64_t)info.st_size > limit) return EFBIG;
  return read_all(fd, (size_t)info.st_size, limit);
}

static int l_read(lua_State *L) {
  const char *path = port_word(L, 1, "read: path"), *kind = NULL;
  size_t limit = (size_t)-1 / 4;
  if (!lua_isnoneornil(L, 2))
    limit = (size_t)port_integer(L, 2, "read: limit", 0, 9007199254740992.0);
  if (port.scratch.capacity > KEEP_SCRATCH) buffer_free(&port.scratch);
  int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (fd < 0) return port_failure(L, errno, "cannot open \"%s\"", path);
  int code = read_file(fd, limit, &kind);
  close(fd);
  if (code > 0) return port_failure(L, code, "cannot read \"%s\"", path);
  if (code < 0) {
    lua_pushnil(L);
    lua_pushfstring(L, "cannot read \"%s\": it is %s, not a file", path, kind);
    lua_pushliteral(L, "EINVAL");
    return 3;
  }
  const char *data = buffer_size(&port.scratch) > 0 ? buffer_front(&port.scratch) : "";
  lua_pushlstring(L, data, buffer_size(&port.scratch));
  return 1;
}

/* --- writing ----------------------------------------------------------------------------- */

struct writing {
  int mode; /* -1 = 0666 and the umask */
  bool append, exclusive, sync;
};

static bool flag(lua_State *L, const char *name) {
  char path[PORT_PATH];
  if (!port_field(L, 3, "write", name, path)) return false;
  bool value = port_boolean(L, -1, path);
  lua_pop(L, 1);
  return value;
}

static struct writing check_writing(lua_State *L) {
  static const char *const names[] = {"mode", "append", "exclusive", "sync", NULL};
  struct writing how = {.mode = -1};
  char path[PORT_PATH];
  if (lua_isnoneornil(L, 3)) return how;
  port_options(L, 3, "write", names);
  if (port_field(L, 3, "write", "mode", path)) how.mode = (int)port_integer(L, -1, path, 0, 07777);
  how.append = flag(L, "append");
  how.exclusive = flag(L, "exclusive");
  how.sync = flag(L, "sync");
  return how;
}

static int write_all(int fd, const char *data, size_t size) {
  while (size > 0) {
    ssize_t written = write(fd, data, size);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    data += written;
    size -= (size_t)written;
  }
  return 0;
}

/* A file with a mode of its own is closed to others from the first byte on; then the mode is set as
 * given, whatever the umask. Returns 0 or an errno. */
static int fill(int fd, const char *data, size_t size, const struct writing *how) {
  if (how->mode >= 0 && fchmod(fd, (mode_t)how->mode) != 0) return errno;
  int code = write_all(fd, data, size);
  if (code == 0 && how->sync && fsync(fd) != 0) code = errno;
  return code;
}

static int l_write(lua_State *L) {
  size_t size;
  const char *path = port_word(L, 1, "write: path");
  const char *data = port_bytes(L, 2, "write: data", &size);
  struct writing how = check_writing(L);
  int flags = O_WRONLY | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  flags |= how.append ? O_APPEND : O_TRUNC;
  if (how.exclusive) flags |= O_EXCL;
  int fd = open(path, flags, how.mode >= 0 ? how.mode & 0600 : 0666);
  if (fd < 0) return port_failure(L, errno, "cannot open \"%s\"", path);
  int code = fill(fd, data, size, &how);
  if (close(fd) != 0 && code == 0 && errno != EINTR)
    code = errno; /* NFS tells of a full disk here */
  if (code != 0) return port_failure(L, code, "cannot write \"%s\"", path);
  return port_done(L);
}

/* --- names, modes, owners ---------------------------------------------------------------- */

static int l_rename(lua_State *L) {
  const char *from = port_word(L, 1, "rename: from"), *to = port_word(L, 2, "rename: to");
  if (rename(from, to) != 0)
    return port_failure(L, errno, "cannot rename \"%s\" to \"%s\"", from, to);
  return port_done(L);
}

static int l_remove(lua_State *L) {
  const char *path = port_word(L, 1, "remove: path");
  if (unlink(path) != 0) return port_failure(L, errno, "cannot remove \"%s\"", path);
  return port_done(L);
}

static const char *type_of(mode_t mode) {
  if (S_ISREG(mode)) return "file";
  if (S_ISDIR(mode)) return "directory";
  return S_ISLNK(mode) ? "link" : "other";
}

/* Of the link itself, not of where it leads. */
static int l_stat(lua_State *L) {
  const char *path = port_word(L, 1, "stat: path");
  struct stat info;
  if (lstat(path, &info) != 0) return port_failure(L, errno, "cannot stat \"%s\"", path);
  lua_createtable(L, 0, 6);
  port_set_string(L, "type", type_of(info.st_mode));
  port_set_number(L, "mode", info.st_mode & 07777);
  port_set_number(L, "uid", info.st_uid);
  port_set_number(L, "gid", info.st_gid);
  port_set_number(L, "size", (double)info.st_size);
  port_set_number(L, "mtime", (double)info.st_mtim.tv_sec + (double)info.st_mtim.tv_nsec / 1e9);
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
  const char *path = port_word(L, 1, "chmod: path");
  char field[PORT_PATH];
  port_options(L, 2, "chmod", names);
  int64_t uid = optional_id(L, "uid"), gid = optional_id(L, "gid");
  bool change = port_field(L, 2, "chmod", "mode", field);
  mode_t mode = change ? (mode_t)port_integer(L, -1, field, 0, 07777) : 0;
  /* The owner first: chown takes setuid bits away. */
  if ((uid >= 0 || gid >= 0) && chown(path, (uid_t)uid, (gid_t)gid) != 0)
    return port_failure(L, errno, "cannot change the owner of \"%s\"", path);
  if (change && chmod(path, mode) != 0)
    return port_failure(L, errno, "cannot change the mode of \"%s\"", path);
  return port_done(L);
}

static int l_realpath(lua_State *L) {
  const char *path = port_word(L, 1, "realpath: path");
  char resolved[PATH_MAX];
  if (realpath(path, resolved) == NULL)
    return port_failure(L, errno, "cannot resolve \"%s\"", path);
  lua_pushstring(L, resolved);
  return 1;
}

const luaL_Reg port_file_functions[] = {
    {"read", l_read}, {"write", l_write}, {"rename", l_rename},     {"remove", l_remove},
    {"stat", l_stat}, {"chmod", l_chmod}, {"realpath", l_realpath}, {NULL, NULL},
};
