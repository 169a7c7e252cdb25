/* succession: a program that hands over to another process of its own session.
 *
 * gunicorn and unicorn start a new master beside the old one, and then the old one exits, which is the leader
 * of the job. The job says who follows: in a file (pidfile), or by sd_notify (MAINPID=). That is
 * asked when the main process has ended, for some seconds at most while members of the session live: a new
 * master may write the file only when it notices that the old one is gone. What the dead one has sent by
 * sd_notify is heard before (notify_hear).
 *
 * What the job says is only a number. It is taken for a process that is of the job's session (process/session.h:
 * nobody enters one from outside), runs as the job's user, and is an orphan, so a child of the
 * guardian, who can hand its status on. It is held first (a pidfd), and looked at then. The dead leader is
 * not reaped before the job is over: it holds the number of the session and of the group.
 *
 * It owns what was said. The file is opened by the rules of file/place.h, and must hold a number and nothing
 * else. */
#ifndef LUAPILOT_PROCESS_SUCCESSION_H
#define LUAPILOT_PROCESS_SUCCESSION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct succession {
  char *file;    /* owned; NULL = none */
  pid_t named;   /* by the job; 0 = nobody */
  bool refused;  /* nobody is to follow: all of the job is being stopped */
  int64_t until; /* loop_now() time; so long an heir is waited for */
  /* Of the last question. */
  pid_t heir; /* whom the job named; 0 = nobody */
  const char
      *fault; /* why it cannot follow, as a word of the port; NULL = nothing is known against it */
};

/* Whom the job names when `dead` has ended; 0: nobody (yet); `dead` itself: nobody will follow. */
pid_t succession_heir(struct succession *succession, pid_t dead);

/* Holds the heir, if it may follow: see above. Returns its pidfd, which is the caller's, or -1 with `fault` set. */
int succession_hold(struct succession *succession, pid_t session, uid_t uid, pid_t guardian);

#endif
