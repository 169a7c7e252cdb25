#include "guardian/ending.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/children.h"
#include "guardian/lastwords.h"

#define MILLISECOND 1000000LL
#define AT_LEAST (500 * MILLISECOND) /* between the signal and SIGKILL, whatever the deadline */
#define LOOK_OFTEN (20 * MILLISECOND)
#define LOOK_SELDOM (100 * MILLISECOND)
#define HASTE NANOSECONDS /* so long it looks often: most jobs end at once */

/* Who was signalled: a group's id, or (negative) that of a process in a group we must spare. The
 * pages of the table come into being only when they are used. */
#define TARGETS 32768
static struct target {
  pid_t id;    /* 0 = free */
  pid_t alone; /* who hears the signal for all of them; 0 = everybody */
  int held;    /* its pidfd, where it is not the leader; -1: it was gone by then */
  int64_t kill_at;
} targets[TARGETS];

static struct target *find_target(pid_t id) {
  unsigned place = (unsigned)id;
  for (unsigned i = 0; i < TARGETS; i++) {
    struct target *target = &targets[(place + i) % TARGETS];
    if (target->id == id || target->id == 0) return target;
  }
  return NULL;
}

/* --- whom -------------------------------------------------------------------------------- */

/* A child alone when its group is ours, or lies outside this namespace (0). */
static pid_t target_of(pid_t pid) {
  pid_t group = getpgid(pid);
  return group <= 0 || group == getpgrp() ? -pid : group;
}

static void signal_target(pid_t id, int number) {
  (void)kill(-id, number); /* kill() has it the other way round: a group is negative */
}

/* Whoever is left of a group holds the number of its leader. That of an heir may be a stranger's by now: he is
 * held first, and then must be of the session, which nobody enters from outside. Returns a pidfd, or -1. */
static int hold(pid_t heir, pid_t session) {
  int pidfd = (int)syscall(SYS_pidfd_open, heir, 0);
  if (pidfd < 0 || getsid(heir) == session) return pidfd;
  close(pidfd);
  return -1;
}

static bool is_led(const struct target *target) {
  return target->alone == target->id;
}

static void tell(const struct target *target, int number) {
  if (target->alone == 0)
    signal_target(target->id, number);
  else if (is_led(target))
    signal_target(-target->alone, number);
  else if (target->held >= 0)
    (void)syscall(SYS_pidfd_send_signal, target->held, number, NULL, 0);
}

/* Who heard for all has ended. */
static bool is_orphaned(const struct target *target) {
  if (target->alone == 0) return false;
  if (is_led(target)) return kill(target->alone, 0) != 0;
  struct pollfd ended = {.fd = target->held, .events = POLLIN};
  return target->held < 0 || poll(&ended, 1, 0) == 1;
}

static void append_name(struct ending *ending, pid_t pid) {
  struct child child = {.name = "?"};
  if (ending->proc) (void)children_look(pid, &child);
  size_t used = strlen(ending->names);
  if (used + sizeof child.name + 20 > sizeof ending->names) return;
  (void)snprintf(ending->names + used, sizeof ending->names - used, "%s%s (%d)", used ? ", " : "",
                 child.name, (int)pid);
}

/* --- how --------------------------------------------------------------------------------- */

/* When a target that is signalled now must be killed. */
static int64_t time_of_death(const struct ending *ending, const struct guardian_note *note,
                             int64_t now) {
  int64_t grace = note ? note->grace : GUARDIAN_GRACE;
  int64_t when = now + grace * MILLISECOND, deadline = ending->deadline;
  if (deadline < now + AT_LEAST) deadline = now + AT_LEAST;
  return deadline < when ? deadline : when;
}

static void greet(struct ending *ending, struct target *target, pid_t pid, int64_t now) {
  const struct guardian_note *note = guardian_find(ending->page, target->id);
  if (note == NULL || !note->killed) append_name(ending, pid);
  if (ending->proc) lastwords_hear(pid);
  target->kill_at = time_of_death(ending, note, now);
  if (target->kill_at > ending->last_call) target->kill_at = ending->last_call;
  target->alone = note && note->leader_alone ? note->main : 0;
  target->held = target->alone && !is_led(target) ? hold(target->alone, target->id) : -1;
  tell(target, note ? note->signal : SIGTERM);
  tell(target, SIGCONT); /* a stopped one hears nothing else */
}

static bool is_over(const struct ending *ending, const struct target *target, int64_t now) {
  return ending->hurry || now >= target->kill_at || is_orphaned(target);
}

/* More targets than the table holds are told again at each look; no harm. */
static void meet(struct ending *ending, pid_t pid, int64_t now, int64_t *next) {
  struct target spare = {0};
  pid_t id = target_of(pid);
  struct target *target = find_target(id);
  if (target == NULL) target = &spare;
  if (target->id == 0) {
    target->id = id;
    greet(ending, target, pid, now);
    if (target == &spare) target->kill_at = ending->last_call;
  }
  ending->found++;
  if (is_over(ending, target, now)) signal_target(id, SIGKILL);
  if (target->kill_at > now && target->kill_at < *next) *next = target->kill_at;
  if (target == &spare && spare.held >= 0) close(spare.held);
}

/* --- where they are ---------------------------------------------------------------------- */

struct look {
  struct ending *ending;
  int64_t now, next;
};

static void met(void *context, pid_t pid) {
  struct look *look = context;
  meet(look->ending, pid, look->now, &look->next);
}

/* False: this kernel has no such list. */
static bool look_at_list(struct look *look) {
  int list = children_open(getpid());
  if (list < 0) return false;
  bool seen = children_each(list, met, look);
  close(list);
  return seen;
}

static void met_if_child(struct look *look, pid_t pid) {
  struct child child;
  if (children_look(pid, &child) && child.parent == getpid()) met(look, pid);
}

struct entry { /* of getdents64: readdir() would allocate */
  uint64_t inode;
  int64_t offset;
  unsigned short size;
  unsigned char type;
  char name[];
};

static bool look_at_everybody(struct look *look) {
  _Alignas(struct entry) char bytes[4096];
  int fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  bool any = false;
  if (fd < 0) return false;
  for (long size; (size = syscall(SYS_getdents64, fd, bytes, sizeof bytes)) > 0;)
    for (long i = 0; i < size;) {
      const struct entry *entry = (const struct entry *)(bytes + i);
      i += entry->size;
      if (!isdigit((unsigned char)entry->name[0])) continue;
      any = true;
      met_if_child(look, (pid_t)strtol(entry->name, NULL, 10));
    }
  close(fd);
  return any;
}

/* Without a /proc there is only what the pilot wrote down. */
static void look_at_notes(struct look *look) {
  for (size_t i = 0; i < GUARDIAN_NOTES; i++) {
    pid_t pid = atomic_load(&look->ending->page->notes[i].pid);
    siginfo_t info;
    if (pid > 0 && waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0)
      met(look, pid);
  }
}

/* --- the interface ----------------------------------------------------------------------- */

static int64_t longest_grace(struct guardian_page *page) {
  int64_t grace = GUARDIAN_GRACE;
  for (size_t i = 0; i < GUARDIAN_NOTES; i++)
    if (atomic_load(&page->notes[i].pid) > 0 && page->notes[i].grace > grace)
      grace = page->notes[i].grace;
  return grace * MILLISECOND;
}

void ending_begin(struct ending *ending, struct guardian_page *page, int64_t left) {
  *ending = (struct ending){
      .page = page, .awake.seen = loop_now(), .deadline = left, .last_call = longest_grace(page)};
  if (left > ending->last_call) return;
  ending->last_call = left > 0 && left < AT_LEAST ? AT_LEAST : left;
}

/* After a pause nobody has had the time that it took. */
int64_t ending_now(struct ending *ending) {
  return loop_awake(&ending->awake);
}

int64_t ending_look(struct ending *ending) {
  int64_t now = ending_now(ending);
  struct look look = {.ending = ending, .now = now, .next = INT64_MAX};
  ending->found = 0;
  ending->proc = children_proc_is_ours();
  if (!ending->proc || (!look_at_list(&look) && !look_at_everybody(&look))) look_at_notes(&look);
  lastwords_pass_on();
  /* As PID 1 everybody else is ours, also who came in from outside. */
  if (getpid() == 1 && now >= ending->last_call) (void)kill(-1, SIGKILL);
  int64_t soon = now + (now < HASTE ? LOOK_OFTEN : LOOK_SELDOM);
  return look.next < soon ? look.next : soon;
}
