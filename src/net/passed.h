/* passed: descriptors that others pass along with their bytes (SCM_RIGHTS), and that nobody here wants.
 *
 * Whoever lets the last reference to a file go waits for what the file does then: a TCP socket with SO_LINGER for as long as
 * its owner has chosen, a file of another machine for an answer. So no stranger's descriptor is ever let go by the
 * loop's thread: not by close(), nor by a recvmsg() that has no room for it, nor by closing a socket in whose queue
 * it lies. A kernel from Linux 6.16 on lets nobody pass any to a socket that refuses them. Elsewhere, and where they
 * must be taken, whether one comes along is seen by a look that takes nothing (MSG_PEEK without room for it: the queue
 * keeps its reference), and a thread takes it and lets it go.
 *
 * At most PASSED_THREADS such threads; what is beyond waits for one of them. It owns what waits. */
#ifndef LUAPILOT_NET_PASSED_H
#define LUAPILOT_NET_PASSED_H

#include <stdbool.h>

#define PASSED_THREADS 32

/* Nobody can pass anything to this unix socket, which nobody can reach yet. False: the kernel cannot refuse it. */
bool passed_refuse(int fd);

/* A thread takes the first datagram of a socket, and writes to the eventfd `done`. The caller keeps both descriptors.
 * Returns 0 or an errno. */
int passed_take(int fd, int done);

/* What waits because no thread could be started has another try: to be called now and then while it does. */
void passed_advance(void);

/* Closes a unix socket, in whose queue anything may be. */
void passed_close(int fd);

#endif
