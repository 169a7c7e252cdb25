#include "process/session.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "loop/loop.h"

#define YOUNGEST 16 /* strangers whose environment is looked at */
#define LOOKS 3     /* more of them, while strangers die */

/* --- where orphans go -------------------------------------------------------------------- */

static bool adopts_itself(pid_t self) {
  int on = 0;
  return self == 1 || (prctl(PR_GET_CHILD_SUBREAPER, &on, 0, 0, 0) == 0 && on);
}

void orphanage_open(struct orphanage *orphanage, struct output *output, bool guarded) {
  *orphanage = (struct orphanage){.output = output, .self = getpid(), .list = -1};
  if (guarded) orphanage->reaper = getppid();
}

pid_t orphanage_reaper(const struct orphanage *orphanage) {
  if (orphanage->reaper == 0 && adopts_itself(orphanage->self)) return orphanage->self;
  return orphanage->reaper;
}

void orphanage_close(struct orphanage *orphanage) {
  if (orphanage->list >= 0) close(orphanage->list);
  orphanage->list = -1;
  marks_free(&orphanage->marks);
}

/* When the first job ends: a start has better things to do. */
static bool is_open(struct orphanage *orphanage) {
  if (orphanage->list >= 0) return true;
  if (orphanage->sought) return false;
  pid_t reaper = orphanage_reaper(orphanage);
  if (reaper == 0) return false; /* perhaps the next time, which holds of a shortage, too */
  orphanage->list = children_open(reaper);
  if (orphanage->list >= 0) return true;
  if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) return false;
  orphanage->sought = true;
  output_say(
      orphanage->output, LOG_LEVEL_DEBUG, "sessions_unseen",
      "what jobs leave in process groups of their own cannot be seen here (it takes a "
      "guardian, /proc of this PID namespace and CONFIG_PROC_CHILDREN): it ends with the pilot");
  return false;
}

static bool each_orphan(struct orphanage *orphanage, void (*met)(void *, pid_t), void *context) {
  if (!is_open(orphanage)) return false;
  if (children_each(orphanage->list, met, context)) return true;
  orphanage_close(orphanage); /* the guardian was killed */
  orphanage->sought = true;
  return false;
}

/* --- members ----------------------------------------------------------------------------- */

struct look {
  struct session *session;
  int number;
  unsigned members;
  pid_t self;
  pid_t *seen; /* members outside the group, as they come */
  size_t seen_count, seen_size;
};

static int by_number(const void *a, const void *b) {
  pid_t one = *(const pid_t *)a, other = *(const pid_t *)b;
  return (one > other) - (one < other);
}

static bool was_told(const struct session *session, pid_t pid) {
  return session->told_count > 0 &&
         bsearch(&pid, session->told, session->told_count, sizeof pid, by_number) != NULL;
}

/* Without memory for it he is told again the next time. */
static void remember(struct look *look, pid_t pid) {
  if (look->seen_count == look->seen_size) {
    size_t size = look->seen_size ? look->seen_size * 2 : 8;
    pid_t *seen = realloc(look->seen, size * sizeof *seen);
    if (seen == NULL) return;
    look->seen = seen;
    look->seen_size = size;
  }
  look->seen[look->seen_count++] = pid;
}

static bool has_ended(int pidfd) {
  struct pollfd ready = {.fd = pidfd, .events = POLLIN};
  return poll(&ready, 1, 0) == 1;
}

static void tell(int pidfd, int number) {
  (void)syscall(SYS_pidfd_send_signal, pidfd, number, NULL, 0);
  if (number != SIGKILL) (void)syscall(SYS_pidfd_send_signal, pidfd, SIGCONT, NULL, 0);
}

static void met_member(struct look *look, pid_t pid, int pidfd) {
  look->members++;
  if (look->session->first == 0) look->session->first = pid;
  if (look->number == 0 || getpgid(pid) == look->session->id) return;
  if (!was_told(look->session, pid)) tell(pidfd, look->number);
  remember(look, pid);
}

/* Without a descriptor to hold it by it counts, and is told the next time. */
static void met(void *context, pid_t pid) {
  struct look *look = context;
  if (pid == look->self) return;
  look->session->company = true;
  if (getsid(pid) != look->session->id) return;
  int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
  if (pidfd < 0) {
    if (errno != ESRCH && errno != ENOSYS) look->members++;
    return;
  }
  if (getsid(pid) == look->session->id && !has_ended(pidfd)) met_member(look, pid, pidfd);
  close(pidfd);
}

/* Before it is reaped, and only where it has company: else there is nobody to compare it with. */
static void look_at_leader(struct session *session) {
  if (session->company && session->leader.pid == 0)
    (void)children_look(session->id, &session->leader);
}

unsigned session_look(struct session *session, struct orphanage *orphanage, int number) {
  struct look look = {.session = session, .number = number, .self = orphanage->self};
  session->first = 0;
  if (number != session->number) session->told_count = 0;
  session->number = number;
  if (!each_orphan(orphanage, met, &look)) look.members = 0;
  if (look.seen_count > 1) qsort(look.seen, look.seen_count, sizeof *look.seen, by_number);
  free(session->told);
  session->told = look.seen;
  session->told_count = look.seen_count;
  look_at_leader(session);
  return look.members;
}

void session_free(struct session *session) {
  free(session->told);
  session->told = NULL;
  session->told_count = 0;
}

/* --- strays ------------------------------------------------------------------------------ */

struct strangers {
  pid_t self, session;
  pid_t youngest[YOUNGEST]; /* a ring */
  unsigned count;
};

static void met_stranger(void *context, pid_t pid) {
  struct strangers *strangers = context;
  if (pid == strangers->self || getsid(pid) == strangers->session) return;
  strangers->youngest[strangers->count++ % YOUNGEST] = pid;
}

struct sieve {
  struct session *session;
  struct orphanage *orphanage;
  const char *mark;
  bool earlier; /* those of `uid` who were there before the leader, instead of his own */
  uid_t uid;
  bool partial; /* not everybody was looked at */
  bool again;   /* somebody has just died: whoever was his child is on the list by now */
  bool unread;  /* somebody's mark is */
};

/* Within a tick of the clock by their numbers. */
static bool is_older(const struct child *child, const struct child *leader) {
  return child->start < leader->start ||
         (child->start == leader->start && child->pid < leader->pid);
}

static bool exists(pid_t pid) {
  return kill(pid, 0) == 0 || errno == EPERM;
}

static bool is_stray(struct sieve *sieve, pid_t pid, struct stray *stray) {
  const struct child *leader = &sieve->session->leader;
  struct child *child = &stray->child;
  bool there = children_look(pid, child);
  if (!there && exists(pid)) sieve->partial = true; /* no descriptor is left */
  pid_t session = getsid(pid);                      /* a zombie has one, too */
  if (there && is_older(child, leader) != sieve->earlier) return false;
  if (there && sieve->earlier && !children_is_of(pid, sieve->uid)) return false;
  there = there && session >= 0;
  if (!there || child->ended) sieve->again = true;
  if (!there || child->ended) return false;
  enum mark found = mark_of(&sieve->orphanage->marks, child, sieve->mark, sieve->session->ended);
  bool may_be = found == MARK_UNREAD || found == MARK_OURS ||
                (found == MARK_NONE && strcmp(child->name, leader->name) == 0);
  if (!may_be || sieve->orphanage->is_known(sieve->orphanage->context, session)) return false;
  if (found == MARK_UNREAD) sieve->unread = true;
  stray->by_name = found == MARK_NONE;
  return found != MARK_UNREAD;
}

static unsigned look_for_strays(struct sieve *sieve, struct orphanage *orphanage,
                                struct stray *strays, unsigned most) {
  struct strangers strangers = {.self = orphanage->self, .session = sieve->session->id};
  unsigned found = 0;
  sieve->again = sieve->unread = false;
  sieve->partial = !each_orphan(orphanage, met_stranger, &strangers);
  if (sieve->partial) return 0;
  sieve->partial = strangers.count > YOUNGEST;
  unsigned from = sieve->partial ? strangers.count - YOUNGEST : 0;
  for (unsigned i = from; i < strangers.count; i++) {
    struct stray stray;
    if (!is_stray(sieve, strangers.youngest[i % YOUNGEST], &stray)) continue;
    if (found < most) strays[found] = stray;
    found++;
  }
  return found;
}

static unsigned sift(struct sieve *sieve, struct orphanage *orphanage, struct stray *strays,
                     unsigned most) {
  struct session *session = sieve->session;
  if (session->leader.pid == 0) (void)children_look(session->id, &session->leader);
  unsigned found = look_for_strays(sieve, orphanage, strays, most);
  for (int i = 0; i < LOOKS && sieve->again; i++)
    found = look_for_strays(sieve, orphanage, strays, most);
  return found;
}

unsigned session_strays(struct session *session, struct orphanage *orphanage, const char *mark,
                        struct stray *strays, unsigned most, bool *unread) {
  struct sieve sieve = {.session = session, .orphanage = orphanage, .mark = mark};
  *unread = false;
  if (session->leader.pid == 0 && !session->company) return 0;
  if (session->ended == 0) session->ended = loop_now();
  unsigned found = sift(&sieve, orphanage, strays, most);
  /* Not for ever: there may be new ones each time. */
  *unread = sieve.unread && loop_now() - session->ended < MARK_PATIENCE;
  return found;
}

int session_earlier_strays(struct session *session, struct orphanage *orphanage, const char *mark,
                           uid_t uid, struct stray *strays, unsigned most) {
  struct sieve sieve = {
      .session = session, .orphanage = orphanage, .mark = mark, .earlier = true, .uid = uid};
  unsigned found = sift(&sieve, orphanage, strays, most);
  bool known = session->leader.pid != 0 && !sieve.partial && !sieve.unread;
  return found > 0 || known ? (int)found : -1;
}
