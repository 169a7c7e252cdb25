#include "guardian/guardian.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/descriptors.h"
#include "base/reclaim.h"
#include "guardian/ending.h"
#include "guardian/lastwords.h"
#include "guardian/manager.h"
#include "guardian/page.h"

#define MILLISECOND 1000000LL /* in nanoseconds */
#define LOOK 5000             /* milliseconds */
#define PATIENCE 6            /* looks */
#define BATCH 256             /* children that are reaped at a time */
#define GIVE_UP 5000          /* milliseconds from the last SIGKILL until we leave without them */
#define SLACK 250 /* milliseconds after its deadline in which the pilot may still end by itself */
#define SLICE NANOSECONDS /* the deadline's time is counted in slices: so long, or … */
#define PARTS 32          /* … such a part of all */
#define LATE 750          /* milliseconds: later than this, a slice is counted again … */
#define AGAIN 3           /* … so often in a row */
#define SAME NANOSECONDS  /* so long after the first, a request is the same … */
#define SAME_INTERRUPT (NANOSECONDS / 10) /* … one by SIGINT */
#define CODE_USAGE 64
#define CODE_SOFTWARE 70
#define CODE_MACHINE 71
#define CODE_LATE 124

/* What is left of the shutdown's time. */
struct countdown {
  int64_t budget; /* what the pilot has said; 0 = nothing yet */
  int64_t slice,
      due;      /* of the slice that is being counted: nanoseconds; loop_now() time of its end */
  int64_t left; /* nanoseconds after that */
  int again;    /* how often this slice was late */
};

struct guardian {
  struct guardian_page *page;
  pid_t pilot;
  bool ended;   /* the pilot is reaped */
  int status;   /* as waitpid() gave it, once it has ended */
  bool stopped; /* it has been sent SIGSTOP */

  int64_t look;      /* nanoseconds between two looks; 0 = never */
  int64_t next_look; /* of CLOCK_MONOTONIC */
  uint64_t turns;    /* at the latest look */
  int idle_looks;
  int last_words; /* what it was sent to make it die: SIGABRT, SIGKILL; 0 = nothing */

  struct countdown countdown;
  bool late; /* that is over, and the pilot had not ended */

  struct manager manager;
  uint64_t turns_told; /* at the latest WATCHDOG=1 */

  int64_t asked;   /* when the first request to end came, of CLOCK_MONOTONIC; 0 = none came */
  bool hurry;      /* a second one came */
  bool more;       /* children may be left to reap */
  unsigned reaped; /* since the end began; the pilot does not count */
};

/* --- small things ------------------------------------------------------------------------ */

/* A stderr that nobody reads must not stop the guardian. */
__attribute__((format(printf, 1, 2))) static void say(const char *format, ...) {
  char line[512] = "luapilot: ";
  const size_t prefix = sizeof "luapilot: " - 1;
  va_list arguments;
  va_start(arguments, format);
  int size = vsnprintf(line + prefix, sizeof line - prefix - 1, format, arguments);
  va_end(arguments);
  if (size < 0) return;
  size_t length = strlen(line);
  line[length++] = '\n';
  struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
  if (poll(&ready, 1, 0) != 1 || !(ready.revents & POLLOUT)) return;
  ssize_t ignored = write(STDERR_FILENO, line, length);
  (void)ignored;
}

static int64_t monotonic(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * NANOSECONDS + now.tv_nsec;
}

static int64_t least(int64_t a, int64_t b) {
  return a < b ? a : b;
}

static const char *signal_name(int number, char text[16]) {
  const char *abbreviation = sigabbrev_np(number);
  if (abbreviation) {
    (void)snprintf(text, 16, "SIG%s", abbreviation);
  } else {
    (void)snprintf(text, 16, "signal %d", number); /* a real-time one */
  }
  return text;
}

/* --- children ---------------------------------------------------------------------------- */

static void pilot_changed(struct guardian *guardian, int status) {
  if (WIFSTOPPED(status) || WIFCONTINUED(status)) {
    guardian->stopped = WIFSTOPPED(status);
    guardian->idle_looks = 0;
    return;
  }
  guardian->ended = true;
  guardian->status = status;
  guardian->pilot = 0; /* the number may be any orphan's from now on */
}

/* One SIGCHLD stands for any number of them, and new ones may come as fast as these are reaped: after a batch it
 * is time for all else. False: there are no children. */
static bool reap(struct guardian *guardian) {
  guardian->more = false;
  for (int i = 0; i < BATCH; i++) {
    int status;
    pid_t pid = waitpid(-1, &status, WNOHANG | WUNTRACED | WCONTINUED);
    if (pid == 0) return true;
    if (pid < 0) return errno == EINTR;
    if (pid == guardian->pilot) {
      pilot_changed(guardian, status);
    } else if (!WIFSTOPPED(status) && !WIFCONTINUED(status)) {
      guardian->reaped++;
      guardian_ward_ended(guardian->page, pid, status);
    }
  }
  return guardian->more = true;
}

/* --- signals ----------------------------------------------------------------------------- */

static bool stays_here(int number) {
  static const int numbers[] = {SIGCHLD, SIGCONT, SIGTSTP, SIGTTIN, SIGTTOU, SIGSEGV,
                                SIGBUS,  SIGFPE,  SIGILL,  SIGTRAP, SIGSYS};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
    if (numbers[i] == number) return true;
  return false;
}

/* A hangup of the terminal means: nobody is there any more. The SIGHUP that somebody sends means:
 * read your configuration. */
static int meaning(const siginfo_t *info) {
  return info->si_signo == SIGHUP && info->si_code == SI_KERNEL ? SIGTERM : info->si_signo;
}

/* What comes soon after the first request is the same one: the rule of lua/luapilot/base/signals.lua. */
static void count(struct guardian *guardian, int number) {
  if (!(atomic_load(&guardian->page->requests) & GUARDIAN_SIGNAL(number))) return;
  int64_t now = monotonic();
  if (guardian->asked == 0) guardian->asked = now;
  if (now - guardian->asked >= (number == SIGINT ? SAME_INTERRUPT : SAME)) guardian->hurry = true;
}

static void pass_on(struct guardian *guardian, const siginfo_t *info) {
  int number = meaning(info);
  count(guardian, number);
  bool mine = info->si_code == SI_USER && info->si_pid == getpid(); /* SIGPIPE of say() */
  if (stays_here(number) || mine || guardian->ended) return;
  const union sigval sender = {.sival_int = info->si_code == SI_KERNEL ? 0 : info->si_pid};
  if (sigqueue(guardian->pilot, number, sender) != 0) (void)kill(guardian->pilot, number);
}

/* Waits for a signal, `nanoseconds` at most (INT64_MAX: for ever), and handles it. */
static void wait_signal(struct guardian *guardian, int64_t nanoseconds) {
  sigset_t all;
  siginfo_t info;
  struct timespec timeout = {0};
  if (nanoseconds > 0) {
    timeout.tv_sec = nanoseconds / NANOSECONDS;
    timeout.tv_nsec = nanoseconds % NANOSECONDS;
  }
  (void)sigfillset(&all);
  int number = sigtimedwait(&all, &info, nanoseconds == INT64_MAX ? NULL : &timeout);
  if (number > 0) pass_on(guardian, &info);
}

/* --- the heartbeat ----------------------------------------------------------------------- */

static void kill_pilot(struct guardian *guardian, int number) {
  guardian->idle_looks = 0;
  guardian->last_words = number;
  (void)kill(guardian->pilot, number);
}

static void lose_patience(struct guardian *guardian) {
  if (guardian->last_words == SIGKILL) { /* it waits for a dead disk */
    say("the pilot does not die, not even by SIGKILL");
    guardian->ended = true;
    guardian->status = SIGKILL;
  } else if (guardian->last_words == SIGABRT) { /* it has had the time to leave a core */
    kill_pilot(guardian, SIGKILL);
  } else if (guardian->stopped) {
    say("the pilot is stopped (SIGSTOP) and nobody continues it; killing it");
    kill_pilot(guardian, SIGKILL);
  } else {
    say("the pilot has not turned its loop for %lld ms: an endless loop, or a call that blocks; "
        "aborting it",
        (long long)(guardian->look / MILLISECOND * PATIENCE));
    kill_pilot(guardian, SIGABRT);
  }
}

/* Has its loop turned since `turns` were counted, or does it sleep? Counts anew. */
static bool is_alive(const struct guardian *guardian, uint64_t *turns) {
  struct heartbeat *heartbeat = &guardian->page->heartbeat;
  uint64_t before = *turns;
  *turns = atomic_load(&heartbeat->turns);
  bool moves = *turns != before || atomic_load(&heartbeat->waiting) != 0;
  return moves && !guardian->stopped && guardian->last_words == 0;
}

static void look(struct guardian *guardian) {
  if (is_alive(guardian, &guardian->turns)) {
    guardian->idle_looks = 0;
  } else if (++guardian->idle_looks >= PATIENCE) {
    lose_patience(guardian);
  }
}

/* --- the service manager ----------------------------------------------------------------- */

static const char *stop_status(const struct guardian *guardian) {
  if (atomic_load(&guardian->page->budget) != 0) return "shutting down";
  return atomic_load(&guardian->page->stage) == GUARDIAN_LOADING
             ? "the pilot could not start"
             : "the pilot has failed, its jobs are stopped";
}

static void tell_manager(struct guardian *guardian) {
  struct manager *manager = &guardian->manager;
  struct guardian_page *page = guardian->page;
  int64_t now = monotonic();
  if (manager->name == NULL) return;
  bool stopping = guardian->ended || atomic_load(&page->budget) != 0;
  if (atomic_load(&page->stage) >= GUARDIAN_STARTED) manager_ready(manager, page->status, now);
  if (stopping) manager_stopping(manager, stop_status(guardian), now);
  if (manager_is_due(manager, now) &&
      (guardian->ended || is_alive(guardian, &guardian->turns_told)))
    manager_pulse(manager);
  if (manager->wrong && !manager->is_wrong_said)
    say("the service manager cannot be told how we are (NOTIFY_SOCKET is '%s'): %s", manager->name,
        manager->wrong);
  manager->is_wrong_said = manager->wrong != NULL;
}

/* When it is due, from now on; nanoseconds. */
static int64_t until_manager(const struct guardian *guardian) {
  int64_t next = guardian->manager.name ? manager_next(&guardian->manager) : INT64_MAX;
  return next == INT64_MAX ? INT64_MAX : next - monotonic();
}

/* --- the deadline ------------------------------------------------------------------------ */

/* The last one is SLACK: of our time, also when a pause that was too short to be one ate the one before. */
static void next_slice(struct countdown *countdown, int64_t most) {
  int64_t orderly = countdown->left - SLACK * MILLISECOND;
  countdown->slice = orderly > 0 ? least(orderly, most) : countdown->left;
  countdown->left -= countdown->slice;
  countdown->due = loop_now() + countdown->slice;
  countdown->again = 0;
}

/* One that ends too late is counted again, but not for ever: then it is no pause, everything is late here.
 * The pilot counts the same slices, and takes fewer for late: it is the first to act. */
static bool is_late(struct countdown *countdown) {
  if (loop_now() - countdown->due <= LATE * MILLISECOND || countdown->again == AGAIN) return false;
  countdown->again++;
  countdown->due = loop_now() + countdown->slice;
  return true;
}

/* True: the time of the shutdown is used up, and the moment that the pilot has then to end by itself. */
static bool is_used_up(struct guardian *guardian) {
  struct countdown *countdown = &guardian->countdown;
  int64_t budget = atomic_load(&guardian->page->budget);
  if (budget != countdown->budget) {
    *countdown = (struct countdown){.budget = budget, .left = budget + SLACK * MILLISECOND};
    next_slice(countdown, SLICE);
  }
  if (budget == 0 || loop_now() < countdown->due || is_late(countdown)) return false;
  if (countdown->left == 0) return true;
  next_slice(countdown, budget / PARTS > SLICE ? budget / PARTS : SLICE);
  return false;
}

static int64_t until_slice(const struct guardian *guardian) {
  return guardian->countdown.budget ? guardian->countdown.due - loop_now() : INT64_MAX;
}

/* What those whom a dead pilot has left have of it; INT64_MAX: it was not shutting down. */
static int64_t time_left(const struct guardian *guardian) {
  const struct countdown *countdown = &guardian->countdown;
  int64_t budget = atomic_load(&guardian->page->budget);
  if (budget == 0) return INT64_MAX;
  if (budget != countdown->budget) return budget;
  int64_t slice = countdown->due - loop_now();
  int64_t left = countdown->left + (slice > 0 ? slice : 0) - SLACK * MILLISECOND;
  return left > 0 ? left : 0;
}

/* It is not waited for any more: what is left is killed in the same breath. */
static void lose_time(struct guardian *guardian) {
  say("the shutdown takes longer than shutdown_timeout allows, and the pilot has not ended it: "
      "killing it and what is left");
  (void)kill(guardian->pilot, SIGKILL);
  guardian->late = guardian->ended = true;
  guardian->status = SIGKILL;
}

/* --- the watch --------------------------------------------------------------------------- */

/* How long it may sleep: nanoseconds; INT64_MAX: for ever. */
static int64_t until_next(const struct guardian *guardian) {
  int64_t look = guardian->look > 0 ? guardian->next_look - monotonic() : INT64_MAX;
  int64_t next = least(look, least(until_manager(guardian), until_slice(guardian)));
  return next < 0 || guardian->more ? 0 : next;
}

/* Not woken at all between two looks, but by signals, and when somebody waits for an answer. After a
 * pause of the whole container one look is due, however long it was. */
static void watch(struct guardian *guardian) {
  guardian->next_look = monotonic() + guardian->look;
  while (!guardian->ended) {
    wait_signal(guardian, until_next(guardian));
    (void)reap(guardian);
    tell_manager(guardian);
    if (guardian->ended) return;
    if (is_used_up(guardian)) {
      lose_time(guardian);
    } else if (guardian->look > 0 && monotonic() >= guardian->next_look) {
      look(guardian);
      guardian->next_look = monotonic() + guardian->look;
    }
  }
}

/* --- the end ----------------------------------------------------------------------------- */

static const char *processes(unsigned count) {
  return count == 1 ? "process" : "processes";
}

static void end_the_rest(struct guardian *guardian, struct ending *ending) {
  const int64_t give_up = GIVE_UP * MILLISECOND;
  ending_begin(ending, guardian->page, time_left(guardian));
  for (int64_t next = 0; reap(guardian);) {
    int64_t now = ending_now(ending);
    ending->hurry = guardian->late || guardian->hurry;
    if (ending->hurry && ending->last_call > now) next = ending->last_call = now;
    if (now >= next) next = ending_look(ending);
    if (now > ending->last_call + give_up) {
      say("%u %s cannot be ended, not even by SIGKILL: left behind", ending->found,
          processes(ending->found));
      return;
    }
    int64_t soon = guardian->more || next < now ? 0 : next - now;
    wait_signal(guardian, least(soon, until_manager(guardian)));
    tell_manager(guardian);
  }
  lastwords_pass_on();
}

static int report_late(const struct guardian *guardian) {
  int code = atomic_load(&guardian->page->code);
  say("killed %u %s", guardian->reaped, processes(guardian->reaped));
  return code == GUARDIAN_NO_CODE ? CODE_LATE : code;
}

/* In the middle of its work: something in it called exit(), or the core has failed. */
static int report_unfinished(const struct guardian *guardian) {
  int code = WEXITSTATUS(guardian->status);
  say("the pilot ended with code %d, and without a shutdown; ended %u %s", code, guardian->reaped,
      processes(guardian->reaped));
  return code == 0 ? CODE_SOFTWARE : code;
}

static int report(const struct guardian *guardian, const struct ending *ending) {
  char name[16];
  if (guardian->late) return report_late(guardian);
  if (WIFSIGNALED(guardian->status)) {
    int number = WTERMSIG(guardian->status);
    say("the pilot was killed by %s; ended %u %s", signal_name(number, name), guardian->reaped,
        processes(guardian->reaped));
    return 128 + number;
  }
  if (atomic_load(&guardian->page->stage) == GUARDIAN_STARTED) return report_unfinished(guardian);
  if (guardian->reaped > 0 && ending->names[0] != '\0')
    say("ended %u %s that the pilot had left behind: %s", guardian->reaped,
        processes(guardian->reaped), ending->names);
  return WEXITSTATUS(guardian->status);
}

/* --- the start --------------------------------------------------------------------------- */

static _Noreturn void refuse(int code, const char *what) {
  say("%s: %s", what, strerror(errno));
  _exit(code);
}

/* Milliseconds of a look; 0 = off. */
static int64_t heartbeat_setting(void) {
  const char *text = getenv("LUAPILOT_HEARTBEAT");
  if (text == NULL || *text == '\0') return LOOK;
  if (strcmp(text, "off") == 0) return 0;
  char *end;
  errno = 0;
  long value = strtol(text, &end, 10);
  if (errno == 0 && *end == '\0' && value >= 10 && value <= INT_MAX) return value;
  say("LUAPILOT_HEARTBEAT is '%s'; it takes milliseconds (10 at least), or 'off'", text);
  _exit(CODE_USAGE);
}

/* It keeps stderr for what it has to say, and nothing that somebody may wait for the end of: not our
 * stdin or stdout, not a socket that was handed to us. */
static void let_go(void) {
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null >= 0) {
    (void)dup2(null, STDIN_FILENO);
    (void)dup2(null, STDOUT_FILENO);
  }
  if (syscall(SYS_close_range, 3U, ~0U, 0U) != 0)
    for (int fd = 3; fd < 1024; fd++) close(fd);
}

static _Noreturn void guard(struct guardian *guardian) {
  struct ending ending;
  struct rlimit before;
  if (getpid() != 1 && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0)
    say("cannot become a subreaper (%s): orphans go to init", strerror(errno));
  (void)prctl(PR_SET_NAME, "luapilot-guard", 0, 0, 0);
  let_go();
  (void)descriptors_raise(&before); /* for what many jobs say at the end */
  manager_open(&guardian->manager, monotonic());
  reclaim_linked();
  watch(guardian);
  guardian->reaped = 0;
  end_the_rest(guardian, &ending);
  _exit(report(guardian, &ending));
}

/* A group of its own: what is sent to our group (a Ctrl-C of the terminal, a kill of the whole group)
 * reaches the guardian alone, who passes it on; so it counts once, whoever sent it.
 * When only the guardian is killed, the pilot must still end its jobs in order: so TERM, which it
 * takes as an order to shut down, not KILL. */
static void become_pilot(pid_t guardian) {
  (void)setpgid(0, 0);
  if (prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0) != 0)
    refuse(CODE_MACHINE, "cannot watch the guardian");
  if (getppid() != guardian) _exit(CODE_MACHINE); /* it was killed before that line */
}

struct guardian_page *guardian_start(void) {
  static struct guardian guardian;
  guardian.look = heartbeat_setting() * MILLISECOND;
  manager_read(&guardian.manager);
  guardian.page = guardian_page_new();
  if (guardian.page == NULL) refuse(CODE_MACHINE, "cannot share memory with the pilot");
  (void)signal(SIGCHLD,
               SIG_DFL); /* where it is ignored (which is inherited) nobody can be reaped */
  pid_t self = guardian.page->guardian;
  guardian.pilot = fork();
  if (guardian.pilot < 0) refuse(CODE_MACHINE, "cannot fork the pilot");
  if (guardian.pilot > 0) {
    (void)setpgid(guardian.pilot, guardian.pilot);
    guard(&guardian);
  }
  become_pilot(self);
  return guardian.page;
}
