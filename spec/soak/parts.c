/* parts: what programs do to who supervises them. Each part is a name in the table at the end. */
#include "actor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#define LONGEST_CHILD 3000 /* milliseconds that a child lives which nobody ends */

static int number(char **arguments, int which, int fallback) {
  for (int i = 0; i < which; i++)
    if (arguments[i] == NULL) return fallback;
  return arguments[which] ? atoi(arguments[which]) : fallback;
}

static void say(const char *text) {
  put(STDOUT_FILENO, text, strlen(text));
}

/* --- those that run ---------------------------------------------------------------------- */

static int steady(char **arguments) {
  say("steady: here I am\n");
  int pause = number(arguments, 0, 1000);
  while (!is_told()) {
    rest(pause);
    say("steady: still here\n");
  }
  return 0;
}

/* Says a last line while it ends. */
static int slow_to_stop(char **arguments) {
  hear_term();
  say("slow: here I am\n");
  while (!is_told()) rest(1000);
  rest(number(arguments, 0, 200));
  say("slow: the last line");
  return 0;
}

static int deaf(char **arguments) {
  (void)arguments;
  (void)signal(SIGTERM, SIG_IGN);
  (void)signal(SIGINT, SIG_IGN);
  (void)signal(SIGHUP, SIG_IGN);
  say("deaf: here I am\n");
  while (!is_told()) rest(1000);
  return 0;
}

static int hang(char **arguments) {
  (void)arguments;
  while (!is_told()) (void)pause();
  return 0;
}

static int reads_stdin(char **arguments) {
  char data[4096];
  size_t total = 0;
  for (ssize_t size; (size = read(STDIN_FILENO, data, sizeof data)) > 0;) {
    total += (size_t)size;
    put(STDOUT_FILENO, data, (size_t)size);
  }
  if (arguments[0]) return 0; /* as a filter */
  (void)printf("stdin: %zu bytes, then the end\n", total);
  (void)fflush(stdout);
  return hang(arguments);
}

static int silent(char **arguments) {
  (void)close(STDIN_FILENO);
  (void)close(STDOUT_FILENO);
  (void)close(STDERR_FILENO);
  return hang(arguments);
}

static int spin(char **arguments) {
  (void)arguments;
  for (volatile unsigned n = 0; !is_told(); n++) continue;
  return 0;
}

/* --- those that end ---------------------------------------------------------------------- */

/* crash LOW HIGH HOW: after so many milliseconds; HOW is an exit code, or minus a signal; none: any. */
static int crash(char **arguments) {
  static const int ways[] = {0, 1, 2, 77, 255, -SIGKILL, -SIGSEGV, -SIGABRT, -SIGTERM, -SIGHUP};
  int how = number(arguments, 2, ways[between(0, sizeof ways / sizeof *ways - 1)]);
  say("crash: here I am\n");
  rest(between(number(arguments, 0, 50), number(arguments, 1, 800)));
  if (how >= 0) return how;
  (void)signal(-how, SIG_DFL);
  (void)raise(-how);
  return 0;
}

static int uses_up_descriptors(char **arguments) {
  (void)arguments;
  int opened = 0;
  while (opened < 4096 && open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0) opened++;
  (void)printf("descriptors: %d, then %s\n", opened, strerror(errno));
  (void)fflush(stdout);
  rest(500);
  return 1;
}

/* memory MEGABYTES: touches them one by one. */
static int uses_up_memory(char **arguments) {
  int megabytes = number(arguments, 0, 64);
  for (int i = 0; i < megabytes; i++) {
    char *part = malloc(1 << 20);
    if (part == NULL) return 3;
    memset(part, i, 1 << 20);
    rest(20);
  }
  rest(300);
  return 4;
}

static int uses_up_processes(char **arguments) {
  (void)arguments;
  for (int i = 0; i < 64; i++) {
    pid_t pid = fork();
    if (pid < 0) break;
    if (pid == 0) {
      be_member();
      rest(LONGEST_CHILD);
      _exit(0);
    }
  }
  rest(500);
  return 5;
}

/* check PERCENT: fails so often; now and then it hangs instead, or says more than anybody reads. */
static int check(char **arguments) {
  if (between(1, 100) > number(arguments, 0, 10)) return 0;
  if (between(1, 4) == 1) return hang(arguments);
  for (int i = 0; i < between(0, 2000); i++)
    say("check: not well, and this is why: it is a soak\n");
  return 1;
}

/* verdict PERCENT: refuses so often. */
static int verdict(char **arguments) {
  rest(between(0, 20));
  return between(1, 100) <= number(arguments, 0, 10);
}

/* validate FILE: its last line is "end". */
static int validate(char **arguments) {
  char data[8192];
  int fd = arguments[0] ? open(arguments[0], O_RDONLY | O_CLOEXEC) : -1;
  ssize_t size = fd >= 0 ? read(fd, data, sizeof data) : -1;
  if (size < 4 || memcmp(data + size - 4, "end\n", 4) != 0) {
    say("validate: no end\n");
    return 1;
  }
  return 0;
}

/* --- those that write -------------------------------------------------------------------- */

#define LONGEST 1500

/* "seq RUN NUMBER LENGTH xxxx": each line is written in one piece, and then counted. The first line of a run tells what
 * the run before had counted. */
static int sequence(char **arguments) {
  static char line[LONGEST + 100];
  int pause = number(arguments, 0, 20), fd = number(arguments, 1, STDOUT_FILENO);
  unsigned long long run = state->starts, n = 0;
  int size = snprintf(line, sizeof line, "seq %llu begins after %llu %llu\n", run,
                      (unsigned long long)state->run, (unsigned long long)state->lines);
  state->lines = 0;
  state->run = run;
  put(fd, line, (size_t)size);
  while (!is_told()) {
    int burst = between(1, 10);
    for (int i = 0; i < burst; i++) {
      int length = between(0, between(0, LONGEST));
      n++;
      size = snprintf(line, sizeof line, "seq %llu %llu %d ", run, n, length);
      memset(line + size, 'a' + (int)(n % 26), (size_t)length);
      line[size + length] = '\n';
      put(fd, line, (size_t)(size + length + 1));
      state->lines = n;
    }
    rest(pause);
  }
  return 0;
}

static void burst_of(const char *kind) {
  static char data[200000];
  int size = between(1, kind[0] == 'l' ? (int)sizeof data : 20000);
  if (kind[0] == 'b') { /* binary */
    for (int i = 0; i < size; i++) data[i] = (char)random();
  } else if (kind[0] == 'l') { /* long */
    memset(data, 'L', (size_t)size);
    data[size - 1] = '\n';
  } else if (kind[0] == 'p') { /* parts of lines */
    memset(data, 'p', (size_t)size);
  } else {
    for (int i = 0; i < size; i++) data[i] = i % 60 == 59 ? '\n' : (char)('A' + i % 26);
  }
  put(between(0, 3) ? STDOUT_FILENO : STDERR_FILENO, data, (size_t)size);
}

/* burst KIND PAUSE: text, binary, long, parts. */
static int burst(char **arguments) {
  const char *kind = arguments[0] ? arguments[0] : "text";
  while (!is_told()) {
    burst_of(kind);
    rest(between(1, number(arguments, 1, 500)));
  }
  return 0;
}

/* --- those with children ----------------------------------------------------------------- */

enum where { IN_GROUP, OWN_SESSION };

/* A child that lives for a while and then ends, or says so at once. */
static void bear(enum where where, int life, bool deaf_one) {
  if (fork() != 0) return;
  if (where == OWN_SESSION) (void)setsid();
  if (where == IN_GROUP) be_member();
  if (deaf_one) (void)signal(SIGTERM, SIG_IGN);
  for (int64_t end = nanoseconds() + life * INT64_C(1000000); nanoseconds() < end;)
    rest(life < 50 ? life : 50);
  say("child: gone\n");
  _exit(0);
}

static int has_deaf_child(char **arguments) {
  (void)arguments;
  (void)signal(SIGCHLD, SIG_IGN);
  while (!is_told()) {
    bear(IN_GROUP, LONGEST_CHILD, true);
    rest(LONGEST_CHILD + 100);
  }
  return 0;
}

/* A daemon as in the old days: the leader is gone at once, the grandchild holds its pipes for a while. */
static int becomes_daemon(char **arguments) {
  if (fork() == 0) {
    (void)setsid();
    if (fork() == 0) {
      rest(number(arguments, 0, 1500));
      say("daemon: gone\n");
    }
    _exit(0);
  }
  rest(100);
  return 0;
}

/* strays PAUSE: children in sessions of their own; nobody waits for them here. */
static int leaves_strays(char **arguments) {
  (void)signal(SIGCHLD, SIG_IGN);
  while (!is_told()) {
    bear(OWN_SESSION, between(10, LONGEST_CHILD), between(0, 1));
    rest(between(1, number(arguments, 0, 1000)));
  }
  return 0;
}

/* litter COUNT: so many lose their parent at once, and end at about the same time. */
static int litter(char **arguments) {
  for (int i = number(arguments, 0, 50); i > 0; i--)
    bear(i % 2 ? IN_GROUP : OWN_SESSION, 50, false);
  return 0;
}

static void wake_up(int number_of_signal) {
  (void)number_of_signal;
}

/* orphans COUNT PAUSE: the same again and again, sooner when SIGUSR1 comes. */
static int makes_orphans(char **arguments) {
  int status;
  (void)signal(SIGUSR1, wake_up);
  while (!is_told()) {
    pid_t parent = fork();
    if (parent == 0) _exit(litter(arguments));
    while (parent > 0 && waitpid(parent, &status, 0) < 0 && errno == EINTR) continue;
    rest(number(arguments, 1, 1500));
  }
  return 0;
}

static int forks_and_reaps(char **arguments) {
  while (!is_told()) {
    bear(IN_GROUP, between(1, 100), false);
    rest(between(1, number(arguments, 0, 100)));
    while (waitpid(-1, NULL, WNOHANG) > 0) continue;
  }
  return 0;
}

/* Zombies that it never waits for: whoever inherits them must. */
static int keeps_zombies(char **arguments) {
  (void)signal(SIGCHLD, SIG_DFL);
  for (int i = 0; i < 30; i++) {
    bear(i % 2 ? IN_GROUP : OWN_SESSION, 1, false);
    rest(20);
  }
  rest(number(arguments, 0, 500));
  return 6;
}

static int stops_itself(char **arguments) {
  say("stopper: here I am\n");
  rest(between(50, number(arguments, 0, 500)));
  (void)kill(0, SIGSTOP);
  rest(200);
  return 7;
}

/* --- sd_notify --------------------------------------------------------------------------- */

static void notify(int fd, const char *text) {
  (void)send(fd, text, strlen(text), MSG_NOSIGNAL);
}

static int open_notify(void) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  const char *path = getenv("NOTIFY_SOCKET");
  size_t size = path ? strlen(path) : 0;
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || size == 0 || size >= sizeof address.sun_path) return -1;
  memcpy(address.sun_path, path, size);
  if (path[0] == '@') address.sun_path[0] = '\0';
  socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
  return connect(fd, (struct sockaddr *)&address, length) == 0 ? fd : -1;
}

static int notifies(char **arguments) {
  int fd = open_notify();
  if (fd < 0) return 8;
  rest(number(arguments, 0, 100));
  notify(fd, "READY=1\nSTATUS=well");
  while (!is_told()) {
    rest(between(50, 200));
    notify(fd, "WATCHDOG=1");
    if (between(0, 9) == 0) notify(fd, "no=\nsense\n\n=\nSTATUS=");
    for (int i = between(0, 40) ? 0 : 500; i > 0; i--) notify(fd, "STATUS=a flood");
  }
  return 0;
}

static int serves(char **arguments) {
  rest(number(arguments, 1, 0));
  return serve(number(arguments, 0, 0));
}

/* --- the table --------------------------------------------------------------------------- */

static const struct {
  const char *name;
  int (*play)(char **arguments);
} parts[] = {
    {"steady", steady},
    {"slow", slow_to_stop},
    {"deaf", deaf},
    {"hang", hang},
    {"stdin", reads_stdin},
    {"silent", silent},
    {"spin", spin},
    {"crash", crash},
    {"descriptors", uses_up_descriptors},
    {"memory", uses_up_memory},
    {"processes", uses_up_processes},
    {"check", check},
    {"verdict", verdict},
    {"validate", validate},
    {"seq", sequence},
    {"burst", burst},
    {"deaf-child", has_deaf_child},
    {"daemon", becomes_daemon},
    {"strays", leaves_strays},
    {"litter", litter},
    {"orphans", makes_orphans},
    {"forker", forks_and_reaps},
    {"zombies", keeps_zombies},
    {"stopper", stops_itself},
    {"notify", notifies},
    {"serve", serves},
};

int play(const char *part, char **arguments) {
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
    if (strcmp(parts[i].name, part) == 0) return parts[i].play(arguments);
  return 2;
}
