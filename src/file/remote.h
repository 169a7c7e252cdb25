/* remote: what may never answer, because it is in the hands of another machine or another program.
 *
 * A system call that waits for a file system on the network, in another program (FUSE) or one that is mounted
 * when it is touched (autofs) waits as long as that is silent. Who may not wait asks here first. The answer costs nothing of the kind: not even
 * statfs(2) is called for a path, since it would wait as well. The kernel's table of mounts says where such
 * file systems begin, and the path is walked by its names until it gets to one.
 *
 * While none is mounted, which is the rule in a container, nothing is walked. A root file system of that
 * kind does not count: if it is silent, so is everything. Where there is no /proc to tell, all may be
 * remote. What another user may lead astray between the look and the deed counts as remote, too.
 *
 * It owns a descriptor of the table and its copy of what was found there. One for the whole program. */
#ifndef LUAPILOT_FILE_REMOTE_H
#define LUAPILOT_FILE_REMOTE_H

#include <stdbool.h>

/* Is there anything remote among the mounts? Asks the kernel whether they have changed: one system call. */
bool remote_is_there(void);
/* May touching `path` wait for ever? It is relative to `directory`, or to our own (NULL). To be asked while
 * something is there. */
bool remote_path(const char *directory, const char *path);
/* Forgets everything; asked again, it looks again. */
void remote_close(void);

#endif
