/* place: where a path leads, and how a file there is opened.
 *
 * Root runs this beside users who own some of the directories that it reads and writes. Whoever may write
 * into a directory can put a link, another directory, another file in the place of what stood there, at
 * any moment, as often as he likes. So a path is walked once, one name at a time, and what was reached is
 * held open: what is done then is done to the directory and the file that were looked at.
 *
 *   Links are followed where they cannot lead a privileged pilot astray: those of root, those of our own
 *   user, and those of the user who owns what they lead to, unless that is one of the kernel's own file
 *   systems: /proc shows files as his that mean more when root writes them. Any other is refused. A link
 *   that leads to nothing is refused, too: nothing is made through it.
 *   A file with several names (hard links), in a directory that others may write into, must belong to the
 *   directory's owner: else a name for somebody else's file may have been smuggled in. That is refused,
 *   and so is a link with several names there.
 *   A new file in a stranger's directory is shared with nobody: what his default ACL and his setgid bit say
 *   is taken back.
 *   What is no regular file (a directory, a device, a FIFO, a socket) is neither read nor replaced. A log
 *   is written to a FIFO or a character device as well: /dev/stdout is meant so.
 *
 * What cannot be helped: who owns a directory may rename what root has put into it.
 *
 * A place owns its descriptors. Nothing here waits for a FIFO's other end or a terminal. */
#ifndef LUAPILOT_FILE_PLACE_H
#define LUAPILOT_FILE_PLACE_H

#include <limits.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/names.h"

struct place {
  int directory;           /* where the path's last name stands (O_PATH); -1: none */
  int object;              /* what a link of /proc leads to, which has no name (O_PATH); -1: none */
  char name[NAME_MAX + 1]; /* "": the path means the directory itself, or the object */
  char real[PATH_MAX];     /* the directory's path, without links */
  bool secluded; /* nobody but root and our user can give what was walked another meaning */
};

/* Walks to where `path` leads; its last name need not exist. With `follow` a link of that name is
 * followed, too. Returns 0, or -1 with `failure`. */
int place_open(struct place *place, const char *path, bool follow, struct failure *failure);
void place_close(struct place *place);
/* The same of the whole path, the way to our own directory included where it is relative. */
bool place_is_secluded(const struct place *place, const char *path);

enum place_use {
  PLACE_READ,   /* a regular file */
  PLACE_WRITE,  /* a regular file that is there, in place; not truncated */
  PLACE_APPEND, /* a regular file that is there */
  PLACE_CREATE, /* a new file, 0600: EEXIST if there is anything of that name, be it a link */
  /* A regular file that nobody makes just now, to read: left by a maker who was killed. EAGAIN. */
  PLACE_LEFT,
  /* A regular file, made with 0640 where there is none (0600 in a stranger's directory); or a FIFO, a
   * character device. */
  PLACE_LOG,
};

/* What is there; a link is not followed. Returns 0, or -1 with errno. */
int place_look(const struct place *place, struct stat *status);
/* Opens a file there, and tells in `status` what it is. `path` is for messages. Returns a descriptor, or
 * -1 with `failure`. */
int place_file(const struct place *place, enum place_use use, const char *path, struct stat *status,
               struct failure *failure);
/* Both in one. */
int place_open_file(const char *path, enum place_use use, struct stat *status,
                    struct failure *failure);

/* The unix socket at `path`, to connect to: an O_PATH descriptor, or -1 with `failure`. */
int place_socket(const char *path, struct failure *failure);
/* Its address, by way of /proc, while the descriptor is open: the very socket that was found, however long its
 * path. Returns the address's size. */
socklen_t place_address(int found, struct sockaddr_un *address);

/* Makes a directory there, with this mode whatever the umask. Returns 0, or -1 with errno. */
int place_mkdir(const struct place *place, mode_t mode);

/* "a FIFO", "a directory": what a message calls it. */
const char *place_kind(mode_t mode);

#endif
