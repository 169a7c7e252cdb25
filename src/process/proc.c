#include "process/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process/errand.h"
#include "process/feed.h"
#include "process/notify.h"

#define FIRST_QUESTION (NANOSECONDS / 1000)
#define LAST_QUESTION NANOSECONDS
#define REGENCY (2 * NANOSECONDS) /* so long an heir, or its status, is waited for */
#define SETTLING (20 * FIRST_QUESTION)
#define FAR_AWAY (INT64_MAX - 1)
#define LOOK_AFTER_START NANOSECONDS /* at one that is under way */
#define FIRST_WARNING (10 * NANOSECONDS)
#define NEXT_WARNING (60 * NANOSECONDS)

#define PROC_OF(member, pointer) ((struct proc *)((char *)(pointer)-offsetof(struct proc, member)))

enum state {
  STARTING,
  RUNNING,
  HEARING,  /* its main process has ended; what it had to say is on its way to Lua */
  FOLLOWED, /* that is heard; somebody may follow */
  LEARNING, /* an heir has ended; the guardian knows how */
  ENDING,
  GONE,
};

/* One of its two streams, for the callback to know which. */
struct outlet {
  struct proc *proc;
  struct stream *stream; /* NULL = none, or ended, or given up */
};

struct procs {
  struct loop *loop;
  struct handle_table *handles;
  struct output *output;
  struct guardian_page *page; /* NULL = no guardian */
  struct errands *errands;    /* owned */
  struct spawn_base base;     /* owned */
  struct orphanage orphanage;
  int oom_file; /* the count of our own control group; -1 = none */
  bool oom_sought;
  struct proc *first; /* all that are not freed, cancelled ones too */
};

struct proc {
  struct handle handle; /* .id is 0 once it has left the table; `id` stays */
  uint64_t id;
  struct procs *procs;
  struct proc *next, *previous;

  pid_t pid; /* the leader's, and the number of the group and the session */
  enum state state;
  bool reaped;    /* the leader; until then its number cannot be anybody else's */
  bool settled;   /* the strays of a program in the background have had their moment */
  bool cancelled; /* nobody listens any more */
  bool told;      /* group_gone was taken */

  struct watcher exited; /* the pidfd; closed when the leader is reaped */
  struct timer
      question;  /* is anybody left? In the heap all the time, so that setting it cannot fail */
  int64_t pause; /* until the next question */
  struct proc_exit exit;
  struct proc_main main;
  struct proc_gone gone;

  struct succession succession;
  pid_t heir;                 /* has followed the leader; 0 = nobody has */
  int leader;                 /* then: the leader's pidfd, by which it will be reaped */
  struct guardian_ward *ward; /* then: by whom its status comes; NULL = it is a child of ours */
  uid_t uid;

  struct session session;
  char *mark;    /* owned; NULL = none */
  uint64_t sent; /* signals that the whole group was sent, as bits */
  int end_signal;
  int stop_signal, grace; /* for the guardian, as is: */
  bool leader_alone;
  bool lines; /* its streams go to a sink */
  bool capture;

  struct errand *errand;  /* of STARTING; NULL = none, or it is done */
  struct proc_news *news; /* owned: of a start that was under way, until that is told */

  struct outlet outlets[2];
  struct feed *feed;     /* owned; NULL: nothing is written into its standard input */
  struct notify *notify; /* NULL = not asked for, or over */
  struct cgroup cgroup;  /* .count 0 = none */
  int64_t oom_kills;     /* in our own control group, when it was started */
};

/* --- signals ----------------------------------------------------------------------------- */

static bool was_sent(const struct proc *proc, int number) {
  return proc->sent & (UINT64_C(1) << (number - 1));
}

/* While the leader is not reaped, its number cannot be anybody else's. Afterwards it is the group's
 * as long as somebody is in the group, and then no process can have it: one that does is a
 * stranger, who got the number because our group is gone. */
static bool group_lives(const struct proc *proc) {
  if (proc->state == STARTING || proc->state == GONE) return false;
  if (!proc->reaped) return true;
  if (kill(-proc->pid, 0) != 0 && errno == ESRCH) return false;
  return kill(proc->pid, 0) != 0 && errno == ESRCH;
}

/* Tells the rest of the session, while the dead leader is not reaped: the end signal, each once, and
 * SIGKILL when that was the group's turn. A control group reaches them by its own list. Returns how many
 * live. */
static unsigned end_session(struct proc *proc) {
  int number = proc->cancelled || was_sent(proc, SIGKILL) ? SIGKILL : proc->end_signal;
  if (proc->cgroup.count > 0) number = 0;
  unsigned living = session_look(&proc->session, &proc->procs->orphanage, number);
  return number == 0 ? 0 : living;
}

/* Returns 0 or an errno. */
static int signal_group(struct proc *proc, int number) {
  int code = ESRCH;
  if (group_lives(proc)) code = kill(-proc->pid, number) == 0 ? 0 : errno;
  if (cgroup_signal(&proc->cgroup, number, proc->pid)) code = 0;
  if (code == 0) proc->sent |= UINT64_C(1) << (number - 1);
  if (number == SIGKILL && proc->state == ENDING && !proc->reaped) (void)end_session(proc);
  return code;
}

/* Who has followed just now is not meant by somebody who does not know him yet. */
static int signal_leader(const struct proc *proc, int number) {
  if (proc->state != RUNNING || proc->main.event.next != NULL) return ESRCH;
  if (syscall(SYS_pidfd_send_signal, proc->exited.fd, number, NULL, 0) == 0) return 0;
  if (errno != ENOSYS) return errno;
  if (proc->heir != 0) return ENOSYS;
  return kill(proc->pid, number) == 0 ? 0 : errno; /* not reaped, so still its number (valgrind) */
}

/* Asks soon whether the group is gone; there is a reason to think so. */
static void ask_soon(struct proc *proc) {
  if (proc->state == STARTING || proc->state == RUNNING || proc->state == GONE) return;
  proc->pause = FIRST_QUESTION;
  (void)loop_timer(proc->procs->loop, &proc->question, loop_now() + proc->pause);
}

int proc_kill(struct proc *proc, int number, enum proc_target target) {
  if (proc->told) return EBADF;
  if (target == PROC_LEADER) return signal_leader(proc, number);
  int code = signal_group(proc, number);
  if (code == 0) ask_soon(proc);
  return code;
}

/* --- the end ----------------------------------------------------------------------------- */

static void unlink_proc(struct proc *proc) {
  if (proc->next) proc->next->previous = proc->previous;
  if (proc->previous)
    proc->previous->next = proc->next;
  else
    proc->procs->first = proc->next;
}

static void forget_news(struct proc *proc) {
  if (proc->news) loop_unpublish(proc->procs->loop, &proc->news->event);
  free(proc->news);
  proc->news = NULL;
}

static void stop_feed(struct proc *proc) {
  if (proc->feed) feed_stop(proc->feed);
}

static void destroy(struct proc *proc) {
  forget_news(proc);
  handle_remove(proc->procs->handles, &proc->handle);
  loop_untimer(proc->procs->loop, &proc->question);
  stop_feed(proc);
  notify_free(proc->notify);
  session_free(&proc->session);
  guardian_dismiss(proc->procs->page, proc->ward);
  unlink_proc(proc);
  free(proc->feed);
  free(proc->gone.left);
  free(proc->succession.file);
  free(proc->mark);
  free(proc);
}

static void give_up_streams(struct proc *proc) {
  for (int i = 0; i < 2; i++) {
    struct stream *stream = proc->outlets[i].stream;
    proc->outlets[i].stream = NULL;
    if (stream) stream_abandon(stream);
  }
}

/* The handle stays for what the captured streams still hold. */
static void finish(struct proc *proc) {
  if (proc->told && !proc->outlets[0].stream && !proc->outlets[1].stream) destroy(proc);
}

static void stream_ended(void *context) {
  struct outlet *outlet = context;
  outlet->stream = NULL;
  ask_soon(outlet->proc); /* who closes the pipes has often just died */
  finish(outlet->proc);
}

static void group_gone_taken(struct event *event) {
  struct proc *proc = PROC_OF(gone, event);
  proc->told = true;
  if (!proc->capture) give_up_streams(proc); /* they live on by themselves */
  finish(proc);
}

static void end_streams(struct proc *proc) {
  for (int i = 0; i < 2; i++)
    if (proc->outlets[i].stream) stream_group_gone(proc->outlets[i].stream);
}

static void announce(void *context) {
  struct proc *proc = context;
  notify_free(proc->notify);
  proc->notify = NULL;
  loop_publish(proc->procs->loop, &proc->gone.event);
  end_streams(proc);
}

/* Where it is written down who is left; NULL without memory: then it is not told. */
static struct proc_left *left_of(struct proc *proc) {
  if (proc->gone.left == NULL) proc->gone.left = calloc(1, sizeof *proc->gone.left);
  return proc->gone.left;
}

/* Only where a look has found orphans at all. False: not everybody who was there could be told yet. */
static bool count_strays(struct proc *proc) {
  struct stray strays[PROC_STRAYS];
  bool unread;
  if (proc->mark == NULL || proc->cancelled) return true;
  unsigned count = session_strays(&proc->session, &proc->procs->orphanage, proc->mark, strays,
                                  PROC_STRAYS, &unread);
  struct proc_left *left = count > 0 ? left_of(proc) : proc->gone.left;
  if (left)
    memcpy(left->strays, strays, (count < PROC_STRAYS ? count : PROC_STRAYS) * sizeof *strays);
  proc->gone.count = left ? count : 0;
  return !unread;
}

static void group_has_gone(struct proc *proc) {
  proc->state = GONE;
  guardian_note(proc->procs->page, proc->pid, 0, 0, false);
  loop_untimer(proc->procs->loop, &proc->question);
  stop_feed(proc);
  if (proc->cancelled)
    destroy(proc);
  else if (proc->notify)
    notify_finish(proc->notify, announce, proc);
  else
    announce(proc);
}

/* --- is anybody left? -------------------------------------------------------------------- */

/* By its descriptor, never by its number: should somebody else have reaped it, that may be the number
 * of a younger child of ours by now. Once. */
static void reap(struct proc *proc) {
  int leader = proc->heir ? proc->leader : proc->exited.fd;
  siginfo_t info; /* not used, but valgrind wants one */
  if (proc->exited.fd < 0) return;
  while (!proc->reaped && waitid(P_PIDFD, (id_t)leader, &info, WEXITED) < 0 && errno == EINTR)
    continue;
  if (proc->heir) close(proc->leader);
  proc->reaped = true;
  loop_unwatch(proc->procs->loop, &proc->exited);
  close(proc->exited.fd);
  proc->exited.fd = -1;
}

/* What calls setsid in a control group is not in the process group any more, but it still counts;
 * removing the control group is the same question. */
static bool anybody_left(struct proc *proc) {
  if (group_lives(proc)) return true;
  if (proc->cgroup.count == 0 || cgroup_remove(&proc->cgroup)) return false;
  if (proc->cancelled) (void)cgroup_signal(&proc->cgroup, SIGKILL, proc->pid);
  return true;
}

static void ask_again(struct proc *proc) {
  (void)loop_timer(proc->procs->loop, &proc->question, loop_now() + proc->pause);
  proc->pause = proc->pause * 2 < LAST_QUESTION ? proc->pause * 2 : LAST_QUESTION;
}

static bool has_succeeded(const struct proc *proc) {
  return proc->exit.signal == 0 && proc->exit.code == 0;
}

/* A program that succeeds and leaves somebody may have put itself into the background. Who has just left the
 * session may do so by a double fork: in a moment somebody else is there in his place. */
static bool must_settle(struct proc *proc) {
  if (!count_strays(proc)) return true;
  if (proc->gone.count == 0 || !has_succeeded(proc)) return false;
  struct proc_left *left = proc->gone.left;
  if (left->first.child.pid == 0) left->first = left->strays[0];
  if (proc->settled) return false;
  proc->settled = true;
  proc->pause = SETTLING;
  return true;
}

/* `living`: of the session, as far as is known. Nobody: the leader has been kept for nothing else. */
static void ask(struct proc *proc, unsigned living) {
  if (living > 0) {
    ask_again(proc);
    return;
  }
  reap(proc);
  if (anybody_left(proc) || must_settle(proc))
    ask_again(proc);
  else
    group_has_gone(proc);
}

/* --- the leader's exit ------------------------------------------------------------------- */

/* The zombie still holds the number of the group: now, not later, is the time for the end signal. */
static void end_group(struct proc *proc) {
  int number = proc->cancelled ? SIGKILL : proc->end_signal;
  if (!was_sent(proc, number)) (void)signal_group(proc, number);
}

/* Somebody who waits for any child in this process has taken the status, and the number may be a
 * stranger's already: from now on it is used with the care that ENDING takes. */
static bool lost_status(struct proc *proc) {
  output_say(proc->procs->output, LOG_LEVEL_ERROR, "exit_status_lost",
             "the exit status of process %d is lost: something else in this program waited for it",
             (int)proc->pid);
  proc->exit.code = 255;
  proc->reaped = true;
  return true;
}

static void keep_status(struct proc *proc, const siginfo_t *info) {
  if (info->si_code == CLD_EXITED)
    proc->exit.code = info->si_status;
  else
    proc->exit.signal = info->si_status;
}

/* False: it has not exited. */
static bool read_status(struct proc *proc) {
  siginfo_t info = {0};
  if (waitid(P_PIDFD, (id_t)proc->exited.fd, &info, WEXITED | WNOHANG | WNOWAIT) != 0)
    return errno == ECHILD && lost_status(proc);
  if (info.si_pid == 0) return false;
  keep_status(proc, &info);
  return true;
}

static void exit_taken(struct event *event) {
  (void)event; /* group_gone is still to come */
}

/* SIGKILL tells nobody who sent it. If it was us it was not for lack of memory. */
static void note_lack(struct proc *proc) {
  bool killed = proc->exit.signal == SIGKILL;
  if (was_sent(proc, SIGKILL) || !(killed || proc->exit.code != 0)) return;
  int64_t own = cgroup_oom_kills(&proc->cgroup);
  if (own > 0)
    proc->exit.lack = LACK_OWN;
  else if (own < 0 && killed && cgroup_read_count(proc->procs->oom_file) > proc->oom_kills)
    proc->exit.lack = LACK_AROUND;
}

/* Of its session; for those outside of it see must_settle(). */
static void note_left(struct proc *proc) {
  if (has_succeeded(proc) && proc->mark && proc->session.first != 0 && left_of(proc))
    (void)children_look(proc->session.first, &proc->gone.left->first.child);
}

static void end(struct proc *proc) {
  proc->state = ENDING;
  unsigned living = proc->reaped ? 0 : end_session(proc);
  if (!was_sent(proc, SIGKILL)) proc->gone.ended = living;
  note_left(proc);
  note_lack(proc);
  end_group(proc);
  if (!proc->cancelled) loop_publish(proc->procs->loop, &proc->exit.event);
  proc->pause = FIRST_QUESTION;
  ask(proc, living);
}

/* --- somebody follows -------------------------------------------------------------------- */

/* From now on this is the main process. The leader's descriptor is what that will be reaped by. */
static bool enthrone(struct proc *proc, pid_t pid, int pidfd) {
  int former = proc->exited.fd;
  proc->exited.fd = pidfd;
  if (loop_watch(proc->procs->loop, &proc->exited, EPOLLIN) != 0) {
    proc->exited.fd = former;
    return false;
  }
  if (proc->heir)
    close(former);
  else
    proc->leader = former;
  proc->heir = proc->main.pid = pid;
  proc->exit = (struct proc_exit){.event = proc->exit.event};
  guardian_note_main(proc->procs->page, proc->pid, pid);
  return true;
}

/* The guardian is asked for its status first, then it must live. */
static bool find_heir(struct proc *proc, pid_t pid) {
  struct procs *procs = proc->procs;
  struct guardian_ward *ward = guardian_ward(procs->page, pid);
  proc->succession.fault = "unfollowed";
  if (procs->page && ward == NULL) return false;
  int pidfd =
      succession_hold(&proc->succession, proc->pid, proc->uid, orphanage_reaper(&procs->orphanage));
  if (pidfd >= 0 && enthrone(proc, pid, pidfd)) {
    guardian_dismiss(procs->page, proc->ward);
    proc->ward = ward;
    return true;
  }
  if (pidfd >= 0) close(pidfd);
  guardian_dismiss(procs->page, ward);
  return false;
}

/* While members of the session live, who may be what follows. What still names the dead one names no heir. */
static bool may_be_followed(struct proc *proc, pid_t dead, pid_t heir) {
  if (heir == dead || proc->reaped || proc->cancelled) return false;
  return session_look(&proc->session, &proc->procs->orphanage, 0) > 0;
}

/* The others of the session are ended now: the log is to say why. */
static void give_up_heir(struct proc *proc) {
  const struct succession *succession = &proc->succession;
  proc->exit.unfollowed = succession->fault ? succession->fault : "unfollowed";
  proc->exit.heir = succession->heir;
  proc->exit.by_notify = succession->heir != 0 && succession->heir == succession->named;
  end(proc);
}

static void seek_heir(struct proc *proc) {
  pid_t dead = proc->heir ? proc->heir : proc->pid;
  pid_t heir = succession_heir(&proc->succession, dead);
  if (!may_be_followed(proc, dead, heir)) {
    end(proc);
  } else if (heir != 0 && find_heir(proc, heir)) {
    proc->state = RUNNING;
    (void)loop_timer(proc->procs->loop, &proc->question, FAR_AWAY);
    loop_publish(proc->procs->loop, &proc->main.event);
  } else if (loop_now() < proc->succession.until) {
    ask_again(proc);
  } else {
    give_up_heir(proc);
  }
}

static void await_heir(struct proc *proc) {
  proc->state = FOLLOWED;
  proc->pause = FIRST_QUESTION;
  proc->succession.until = loop_now() + REGENCY;
}

/* Lua has taken the last message, and deals with it before the loop turns again. */
static void heard(void *context) {
  struct proc *proc = context;
  await_heir(proc);
  (void)loop_timer(proc->procs->loop, &proc->question, loop_now());
}

/* A message that was sent before the exit may say who follows. */
static void main_ended(struct proc *proc) {
  proc->state = HEARING;
  if (proc->notify && notify_hear(proc->notify, heard, proc)) return;
  await_heir(proc);
  seek_heir(proc);
}

/* Until heard() is called, unless it is cancelled: then nobody hears. */
static void keep_hearing(struct proc *proc) {
  if (proc->cancelled)
    end(proc);
  else
    (void)loop_timer(proc->procs->loop, &proc->question, FAR_AWAY);
}

/* An heir is the guardian's child, or ours where we adopt ourselves. False: it is not known yet. */
static bool learn_status(struct proc *proc) {
  siginfo_t info = {0};
  if (waitid(P_PIDFD, (id_t)proc->exited.fd, &info, WEXITED | WNOHANG) == 0 && info.si_pid != 0) {
    keep_status(proc, &info);
    return true;
  }
  int status;
  if (proc->ward == NULL || !guardian_has_ended(proc->ward, &status)) return false;
  if (WIFEXITED(status))
    proc->exit.code = WEXITSTATUS(status);
  else
    proc->exit.signal = WTERMSIG(status);
  return true;
}

static void learn(struct proc *proc) {
  bool known = proc->cancelled || learn_status(proc);
  if (!known && loop_now() < proc->succession.until) {
    ask_again(proc);
    return;
  }
  if (!known) {
    output_say(proc->procs->output, LOG_LEVEL_ERROR, "exit_status_lost",
               "the exit status of process %d is lost: the guardian does not tell it",
               (int)proc->heir);
    proc->exit.code = 255;
  }
  main_ended(proc);
}

static void heir_exited(struct proc *proc) {
  guardian_note_main(proc->procs->page, proc->pid,
                     proc->pid); /* that number is not ours any more */
  proc->state = LEARNING;
  proc->pause = FIRST_QUESTION;
  proc->succession.until = loop_now() + REGENCY;
  learn(proc);
}

static void leader_exited(struct watcher *watcher, uint32_t events) {
  (void)events;
  struct proc *proc = PROC_OF(exited, watcher);
  if (proc->heir == 0 && !read_status(proc)) return;
  loop_unwatch(proc->procs->loop, watcher); /* it would stay readable for ever */
  if (proc->heir == 0)
    main_ended(proc);
  else
    heir_exited(proc);
}

void proc_successor(struct proc *proc, pid_t pid) {
  proc->succession.named = pid;
  if (pid == 0) proc->succession.refused = true;
  ask_soon(proc);
}

static void tell_what_hangs(struct proc *proc, struct proc_news *news) {
  news->event.type = EVENT_SPAWNING;
  news->failure.stage =
      errand_tell(proc->errand, news->failure.message, sizeof news->failure.message);
  news->due = loop_now() + NEXT_WARNING;
  loop_publish(proc->procs->loop, &news->event);
}

/* It still starts. Without news it is cancelled, and has come so far that it will be heard of. */
static void look_after_start(struct proc *proc) {
  if (proc->news) errand_continue(proc->errand);
  if (proc->news && loop_now() >= proc->news->due) tell_what_hangs(proc, proc->news);
  (void)loop_timer(proc->procs->loop, &proc->question, loop_now() + LOOK_AFTER_START);
}

static void question_is_due(struct timer *timer) {
  struct proc *proc = PROC_OF(question, timer);
  switch (proc->state) {
  case STARTING: look_after_start(proc); break;
  case HEARING: keep_hearing(proc); break;
  case FOLLOWED: seek_heir(proc); break;
  case LEARNING: learn(proc); break;
  case ENDING: ask(proc, proc->reaped ? 0 : end_session(proc)); break;
  case RUNNING: /* never: it is FAR_AWAY */
  case GONE: (void)loop_timer(proc->procs->loop, timer, FAR_AWAY); break;
  }
}

/* --- cancelling -------------------------------------------------------------------------- */

static void cancel(struct handle *handle) {
  struct proc *proc = PROC_OF(handle, handle);
  proc->cancelled = true;
  loop_unpublish(proc->procs->loop, &proc->exit.event);
  loop_unpublish(proc->procs->loop, &proc->main.event);
  loop_unpublish(proc->procs->loop, &proc->gone.event);
  handle_remove(proc->procs->handles, handle);
  give_up_streams(proc);
  notify_free(proc->notify);
  proc->notify = NULL;
  stop_feed(proc);
  forget_news(proc);
  bool begun = proc->state != STARTING || (proc->errand && !errand_abandon(proc->errand));
  if (proc->state == GONE || !begun) {
    destroy(proc);
    return;
  }
  (void)signal_group(proc, SIGKILL);
  guardian_note_killed(proc->procs->page, proc->pid);
  ask_soon(proc);
}

struct proc *proc_of(struct handle *handle) {
  return PROC_OF(handle, handle);
}

/* Returns whether it is so: without memory nothing is heard. */
static bool capture_streams(struct proc *proc, bool on) {
  for (int i = 0; i < 2; i++)
    if (proc->outlets[i].stream && stream_capture(proc->outlets[i].stream, on) != 0) return false;
  return true;
}

int proc_capture(struct proc *proc, bool on) {
  if (!proc->lines) return EINVAL;
  if (!capture_streams(proc, on)) {
    (void)capture_streams(proc, false);
    return ENOMEM;
  }
  proc->capture = on;
  if (on && proc->state == GONE) end_streams(proc);
  if (!on && proc->told) give_up_streams(proc);
  finish(proc);
  return 0;
}

int proc_strays(struct proc *proc, struct stray strays[PROC_STRAYS]) {
  if (proc->mark == NULL) return 0;
  return session_earlier_strays(&proc->session, &proc->procs->orphanage, proc->mark, proc->uid,
                                strays, PROC_STRAYS);
}

int proc_hold(struct proc *proc, bool on) {
  if (!proc->capture) return EINVAL;
  for (int i = 0; i < 2; i++)
    if (proc->outlets[i].stream) stream_hold(proc->outlets[i].stream, on);
  return 0;
}

/* --- the beginning ----------------------------------------------------------------------- */

static struct proc *new_proc(struct procs *procs, const struct proc_options *options) {
  struct proc *proc = calloc(1, sizeof *proc);
  if (proc == NULL) return NULL;
  proc->mark = options->mark ? strdup(options->mark) : NULL;
  proc->succession.file = options->pidfile ? strdup(options->pidfile) : NULL;
  proc->handle = (struct handle){.kind = HANDLE_PROC, .cancel = cancel};
  proc->procs = procs;
  proc->end_signal = options->end_signal;
  proc->stop_signal = options->stop_signal;
  proc->grace = options->grace;
  proc->leader_alone = options->leader_alone;
  proc->lines = options->output && !options->output->raw;
  proc->capture = options->capture;
  proc->exited = (struct watcher){.fd = -1, .ready = leader_exited};
  proc->question.fire = question_is_due;
  if ((options->mark && !proc->mark) || (options->pidfile && !proc->succession.file) ||
      handle_add(procs->handles, &proc->handle) != 0) {
    free(proc->succession.file);
    free(proc->mark);
    free(proc);
    return NULL;
  }
  proc->id = proc->handle.id;
  proc->exit.event = (struct event){.type = EVENT_EXIT, .id = proc->id, .taken = exit_taken};
  proc->main.event = (struct event){.type = EVENT_MAIN, .id = proc->id, .taken = exit_taken};
  proc->gone.leader = &proc->session.leader;
  proc->gone.event =
      (struct event){.type = EVENT_GROUP_GONE, .id = proc->id, .taken = group_gone_taken};
  proc->next = procs->first;
  if (proc->next) proc->next->previous = proc;
  procs->first = proc;
  return proc;
}

static int failed(struct failure *failure, const char *stage, const char *what, int code) {
  char text[TEXT_SIZE];
  return fail(failure, stage, code, "%s: %s", what, error_text(code, text));
}

/* Where lines go: NULL with `failure`. Files are counted: released by open_streams(). */
static struct sink *find_sink(struct procs *procs, const struct proc_output *output,
                              struct failure *failure) {
  if (output->file == NULL) return output_main(procs->output);
  struct failure why;
  struct sink *sink = output_file(procs->output, output->file, &why);
  if (sink == NULL) (void)fail(failure, "output", why.code, "log file: %s", why.message);
  return sink;
}

static int choose_input(struct procs *procs, enum proc_input input) {
  if (input == PROC_INHERIT) return STDIN_FILENO;
  return input == PROC_NULL ? procs->base.null : SPAWN_PIPE;
}

static void choose_descriptors(struct procs *procs, const struct proc_options *options,
                               struct sink *sink, int chosen[3]) {
  bool raw = sink && options->output->raw;
  bool pipes = !raw && (options->output || options->capture);
  chosen[0] = choose_input(procs, options->input);
  for (int i = 1; i < 3; i++) {
    chosen[i] = pipes ? SPAWN_PIPE : procs->base.null;
    if (raw) chosen[i] = output_descriptor(sink, i == 1 ? "stdout" : "stderr");
  }
  if (pipes && options->output && options->output->merge) chosen[2] = SPAWN_MERGED;
}

/* The streams take over our ends of the pipes, on failure too. */
static int open_streams(struct proc *proc, const struct proc_options *options, struct sink *sink,
                        struct spawn *spawn, struct failure *failure) {
  static const char *const names[2] = {"stdout", "stderr"};
  const struct output_style *style = sink ? &options->output->style : NULL;
  for (int i = 0; i < 2; i++) {
    int fd = spawn->ours[i + 1];
    if (fd < 0) continue;
    struct outlet *outlet = &proc->outlets[i];
    spawn->ours[i + 1] = -1;
    outlet->proc = proc;
    outlet->stream =
        stream_new(proc->procs->output, fd, names[i], sink, style, proc->id, stream_ended, outlet);
    if (outlet->stream == NULL) return failed(failure, "output", "cannot read its output", errno);
    if (sink && options->capture && stream_capture(outlet->stream, true) != 0)
      return failed(failure, "output", "cannot read its output", errno);
  }
  return 0;
}

static int open_notify(struct proc *proc, char variable[NOTIFY_NAME], struct failure *failure) {
  proc->notify = notify_new(proc->procs->loop, proc->procs->output, proc->id, variable);
  if (proc->notify) return 0;
  return failed(failure, "notify", "cannot open a notify socket", errno);
}

/* From here on it runs. What can still fail is being told of its exit (no memory); then it must not
 * run. */
static int follow(struct proc *proc, const struct spawn *spawn, struct failure *failure) {
  struct loop *loop = proc->procs->loop;
  if (loop_watch(loop, &proc->exited, EPOLLIN) == 0 &&
      (!proc->notify || notify_start(proc->notify, proc->pid, spawn->account.uid) == 0))
    return 0;
  int code = errno;
  loop_unwatch(loop, &proc->exited);
  close(proc->exited.fd);
  (void)kill(-proc->pid, SIGKILL);
  while (waitpid(proc->pid, NULL, 0) < 0 && errno == EINTR) continue;
  return failed(failure, "fork", "cannot follow a new process", code);
}

/* Where we are is found out once, when the first process runs: a start has better things to do. */
static int64_t count_oom_kills(struct procs *procs) {
  if (!procs->oom_sought) procs->oom_file = cgroup_open_own_count();
  procs->oom_sought = true;
  return procs->oom_file >= 0 ? cgroup_read_count(procs->oom_file) : -1;
}

/* Our end of its standard input. */
static int open_input(struct proc *proc, enum proc_input input, struct spawn *spawn,
                      struct failure *failure) {
  int fd = spawn->ours[0];
  spawn->ours[0] = -1;
  if (input == PROC_TEXT) feed_start(proc->feed, proc->procs->loop, fd);
  if (input != PROC_OPEN || feed_hold(proc->feed, proc->procs->loop, fd) == 0) return 0;
  return failed(failure, "fork", "cannot hold its standard input open", ENOMEM);
}

/* It is followed, and the guardian knows. */
static void has_started(struct proc *proc, struct spawn *spawn) {
  proc->state = RUNNING;
  proc->cgroup = spawn->cgroup;
  spawn->cgroup = (struct cgroup){0};
  proc->session.id = proc->pid;
  proc->uid = spawn->account.uid;
  proc->oom_kills = count_oom_kills(proc->procs);
  guardian_note(proc->procs->page, proc->pid, proc->stop_signal, proc->grace, proc->leader_alone);
}

/* Everything between the options and a process that is followed. */
static int start(struct proc *proc, struct spawn *spawn, struct spawn_options *options,
                 const struct proc_options *wanted, struct sink *sink, struct failure *failure) {
  if (spawn_prepare(spawn, options, &proc->procs->base, failure) != 0) return -1;
  if (open_streams(proc, wanted, wanted->output ? sink : NULL, spawn, failure) != 0 ||
      open_input(proc, wanted->input, spawn, failure) != 0)
    return -1;
  if (loop_timer(proc->procs->loop, &proc->question, FAR_AWAY) != 0)
    return failed(failure, "fork", "cannot follow a new process", ENOMEM);
  proc->pid = spawn_run(spawn, options, &proc->exited.fd, failure);
  if (proc->pid < 0) return -1;
  if (follow(proc, spawn, failure) != 0) return -1;
  has_started(proc, spawn);
  return 0;
}

/* --- a start that may hang --------------------------------------------------------------- */

static void news_taken(struct event *event) {
  struct proc_news *news = (struct proc_news *)event;
  if (news->event.type == EVENT_SPAWN_FAILED)
    destroy(news->proc);
  else if (news->event.type == EVENT_SPAWNED)
    forget_news(news->proc);
}

static int take_over(struct proc *proc, struct errand_result *result) {
  if (result->pid < 0) return -1;
  proc->pid = result->pid;
  proc->exited.fd = result->pidfd;
  result->pidfd = -1;
  if (follow(proc, &result->spawn, &result->failure) != 0) return -1;
  (void)loop_timer(proc->procs->loop, &proc->question, FAR_AWAY); /* it has its place */
  return 0;
}

static void let_sleep(struct proc *proc, bool on) {
  for (int i = 0; i < 2; i++)
    if (proc->outlets[i].stream) stream_sleep(proc->outlets[i].stream, on);
}

/* Nobody wrote into its pipes, and nobody hears of their end. */
static void has_failed(struct proc *proc) {
  give_up_streams(proc);
  stop_feed(proc);
  loop_untimer(proc->procs->loop, &proc->question);
  if (proc->cancelled) destroy(proc);
}

static void errand_is_done(void *context, struct errand_result *result) {
  struct proc *proc = context;
  struct proc_news *news = proc->news;
  proc->errand = NULL;
  bool good = take_over(proc, result) == 0;
  if (good) has_started(proc, &result->spawn);
  if (news) {
    loop_unpublish(proc->procs->loop, &news->event); /* that it hangs */
    news->event.type = good ? EVENT_SPAWNED : EVENT_SPAWN_FAILED;
    news->pid = proc->pid;
    news->failure = result->failure;
    loop_publish(proc->procs->loop, &news->event);
  }
  if (good) let_sleep(proc, false);
  if (!good)
    has_failed(proc);
  else if (proc->cancelled)
    (void)signal_group(proc, SIGKILL);
}

static struct proc_news *new_news(struct proc *proc) {
  struct proc_news *news = calloc(1, sizeof *news);
  if (news == NULL) return NULL;
  news->event = (struct event){.type = EVENT_SPAWNING, .id = proc->id, .taken = news_taken};
  news->proc = proc;
  news->since = loop_now();
  news->due = news->since + FIRST_WARNING;
  return news;
}

/* What belongs to the loop is made here; the rest is somebody else's errand. */
static int start_apart(struct proc *proc, struct spawn *spawn, struct spawn_options *options,
                       const struct proc_options *wanted, struct sink *sink,
                       struct failure *failure) {
  struct loop *loop = proc->procs->loop;
  proc->news = new_news(proc);
  if (proc->news == NULL || loop_timer(loop, &proc->question, loop_now() + LOOK_AFTER_START) != 0)
    return failed(failure, "fork", "cannot start a process", ENOMEM);
  if (spawn_pipes(spawn, options, failure) != 0 ||
      open_streams(proc, wanted, wanted->output ? sink : NULL, spawn, failure) != 0 ||
      open_input(proc, wanted->input, spawn, failure) != 0)
    return -1;
  for (int i = 0; i < 3; i++) {
    options->is_pipe[i] = spawn->child[i] >= 0;
    if (options->is_pipe[i]) options->stdio[i] = spawn->child[i];
  }
  let_sleep(proc, true);
  proc->errand = errand_begin(proc->procs->errands, options, errand_is_done, proc, failure);
  return proc->errand ? 0 : -1;
}

/* What its standard input needs. Returns 0, or -1 with ENOMEM. */
static int prepare_input(struct proc *proc, const struct proc_options *wanted) {
  if (wanted->input != PROC_TEXT && wanted->input != PROC_OPEN) return 0;
  proc->feed = calloc(1, sizeof *proc->feed);
  if (proc->feed == NULL) return -1;
  return wanted->text ? feed_keep(proc->feed, wanted->text, wanted->text_size) : 0;
}

uint64_t proc_spawn(struct procs *procs, const struct proc_options *wanted, pid_t *pid,
                    struct failure *failure) {
  struct spawn_options options = wanted->spawn;
  struct spawn spawn = {.child = {-1, -1, -1}, .ours = {-1, -1, -1}};
  char variable[NOTIFY_NAME];
  struct sink *sink = NULL;
  struct proc *proc = new_proc(procs, wanted);
  if (proc == NULL || prepare_input(proc, wanted) != 0) {
    fail(failure, "fork", ENOMEM, "cannot start a process: out of memory");
    goto fail;
  }
  if (wanted->output && (sink = find_sink(procs, wanted->output, failure)) == NULL) goto fail;
  if (wanted->notify && open_notify(proc, variable, failure) != 0) goto fail;
  options.notify_socket = wanted->notify ? variable : NULL;
  if (options.envp == NULL) options.envp = environ;
  spawn_inherit(&procs->base, &options);
  choose_descriptors(procs, wanted, sink, options.stdio);
  if ((errand_is_due(&options) ? start_apart : start)(proc, &spawn, &options, wanted, sink,
                                                      failure) != 0)
    goto fail;
  if (sink && wanted->output->file) output_release(sink); /* the streams count for themselves */
  spawn_clean(&spawn);
  *pid = proc->pid;
  return proc->id;
fail:
  if (sink && wanted->output->file) output_release(sink);
  spawn_clean(&spawn);
  if (proc) {
    give_up_streams(proc);
    destroy(proc);
  }
  return 0;
}

/* --- all of them ------------------------------------------------------------------------- */

/* Old kernels do not know this way to wait for a process: EINVAL. */
static bool can_follow(void) {
  siginfo_t info;
  return waitid(P_PIDFD, INT_MAX, &info, WEXITED | WNOHANG) == 0 || errno != EINVAL;
}

static bool is_known(const void *context, pid_t session) {
  const struct procs *procs = context;
  for (const struct proc *proc = procs->first; proc; proc = proc->next)
    if (proc->pid == session && proc->state != GONE) return true;
  return false;
}

struct procs *procs_new(struct loop *loop, struct handle_table *handles, struct output *output,
                        struct guardian_page *page) {
  if (!can_follow()) {
    errno = ENOSYS;
    return NULL;
  }
  struct procs *procs = calloc(1, sizeof *procs);
  if (procs == NULL) return NULL;
  *procs = (struct procs){
      .loop = loop, .handles = handles, .output = output, .page = page, .oom_file = -1};
  orphanage_open(&procs->orphanage, output, page != NULL);
  procs->orphanage.is_known = is_known;
  procs->orphanage.context = procs;
  procs->errands = errands_new(loop);
  if (procs->errands && spawn_open(&procs->base) == 0) return procs;
  errands_free(procs->errands);
  free(procs);
  return NULL;
}

void procs_free(struct procs *procs) {
  if (procs == NULL) return;
  errands_free(procs->errands);
  for (struct proc *proc = procs->first, *next; proc; proc = next) {
    next = proc->next;
    (void)signal_group(proc, SIGKILL);
    if (proc->state != STARTING) reap(proc);
    if (!cgroup_remove(&proc->cgroup)) cgroup_forget(&proc->cgroup);
    give_up_streams(proc);
    loop_unpublish(procs->loop, &proc->exit.event);
    loop_unpublish(procs->loop, &proc->main.event);
    loop_unpublish(procs->loop, &proc->gone.event);
    destroy(proc);
  }
  spawn_close(&procs->base);
  orphanage_close(&procs->orphanage);
  if (procs->oom_file >= 0) close(procs->oom_file);
  free(procs);
}
