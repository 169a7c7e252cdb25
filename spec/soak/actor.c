/* actor STATES SLOT NAME PART [ARGS...]: every program that a soak (tools/soak) has its pilot run.
 *
 * STATES is a file of pages, one for each job. The leader of a job holds a lock on a byte of its page, whoever else
 * of its group lives one on the next byte: who finds either taken has met a second process of the job, and says so
 * in the file "faults" beside STATES. The page counts starts, and the lines that were written before death.
 *
 * Three parts are no job's: `loopback` (brings that interface up), `control FILE` (measures how late a timer of 10 ms is
 * in a process that does nothing else), and `tied COMMAND...` (which dies with its parent). Children that are to be left
 * behind end by themselves. */
#include "actor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#define PAGE 4096
#define SHORT_OF 98 /* exit code: no descriptor left to begin with */
#define CAUGHT 99   /* exit code: there are two of us */

struct state *state;
static const char *states, *name;
static int slot, file = -1;
static volatile sig_atomic_t told;

/* --- small things ------------------------------------------------------------------------ */

void rest(int milliseconds) {
  const struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
  (void)nanosleep(&time, NULL);
}

int64_t nanoseconds(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int between(int low, int high) {
  return low + (int)(random() % (high - low + 1));
}

void put(int fd, const char *data, size_t size) {
  while (size > 0) {
    ssize_t written = write(fd, data, size);
    if (written < 0 && errno != EINTR) return;
    if (written > 0) {
      data += written;
      size -= (size_t)written;
    }
  }
}

static void accuse(const char *format, ...) {
  char path[PATH_MAX], line[512];
  va_list arguments;
  va_start(arguments, format);
  int size = vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  (void)snprintf(path, sizeof path, "%.*s/faults", (int)(strrchr(states, '/') - states), states);
  int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  if (fd >= 0 && size > 0) put(fd, line, (size_t)size);
  if (fd >= 0) close(fd);
}

static void on_term(int number) {
  (void)number;
  told = 1;
}

bool is_told(void) {
  return told != 0;
}

void hear_term(void) {
  const struct sigaction action = {.sa_handler = on_term}; /* interrupts what waits */
  (void)sigaction(SIGTERM, &action, NULL);
}

/* --- one process of a job ---------------------------------------------------------------- */

static struct flock byte(short type, int which) {
  return (struct flock){
      .l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)slot * PAGE + which, .l_len = 1};
}

/* The lock belongs to this process alone: it is gone when the process is, and no child has it. */
static bool lock(short type, int which) {
  struct flock wanted = byte(type, which);
  return fcntl(file, F_SETLK, &wanted) == 0;
}

static int holder(int which) {
  struct flock found = byte(F_WRLCK, which);
  return fcntl(file, F_GETLK, &found) == 0 && found.l_type != F_UNLCK ? (int)found.l_pid : 0;
}

static void be_leader(void) {
  file = open(states, O_RDWR | O_CLOEXEC);
  void *pages =
      file < 0 ? MAP_FAILED
               : mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, (off_t)slot * PAGE);
  if (pages == MAP_FAILED) exit(SHORT_OF);
  state = pages;
  if (!lock(F_WRLCK, 0)) {
    accuse("job %s: %d starts while its leader %d lives\n", name, (int)getpid(), holder(0));
    exit(CAUGHT);
  }
  if (!lock(F_WRLCK, 1)) {
    accuse("job %s: %d starts while %d of its group lives\n", name, (int)getpid(), holder(1));
    exit(CAUGHT);
  }
  (void)lock(F_UNLCK, 1);
  state->starts++;
}

void be_member(void) {
  (void)lock(F_RDLCK, 1);
}

/* --- the two that are no job's ----------------------------------------------------------- */

static int bring_up_loopback(void) {
  struct ifreq request = {.ifr_name = "lo"};
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &request) != 0) return 1;
  request.ifr_flags |= IFF_UP;
  return ioctl(fd, SIOCSIFFLAGS, &request) != 0;
}

#define TICK 10000000LL
#define BUCKETS 400

/* As pilot/lag.lua has it: bucket i ends at 1.04^i microseconds. */
static int bucket_of(double microseconds) {
  double end = 1;
  int i = 0;
  while (end < microseconds && i < BUCKETS - 1) {
    end *= 1.04;
    i++;
  }
  return i;
}

static void publish(const char *path, const uint64_t *buckets) {
  char beside[PATH_MAX];
  (void)snprintf(beside, sizeof beside, "%s.new", path);
  FILE *out = fopen(beside, "we");
  if (out == NULL) return;
  for (int i = 0; i < BUCKETS; i++)
    if (buckets[i]) (void)fprintf(out, "%d %llu\n", i, (unsigned long long)buckets[i]);
  if (fclose(out) == 0) (void)rename(beside, path);
}

/* Each moment that was due counts, those that a late wake-up has passed over, too. */
static _Noreturn void control(const char *path) {
  static uint64_t buckets[BUCKETS];
  int64_t due = nanoseconds() + TICK, told_at = 0;
  for (;;) {
    const struct timespec then = {due / 1000000000, due % 1000000000};
    (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &then, NULL);
    int64_t now = nanoseconds();
    for (; due <= now; due += TICK) buckets[bucket_of((double)(now - due) / 1000)]++;
    if (now < told_at + 1000000000) continue;
    publish(path, buckets);
    told_at = now;
  }
}

/* What our parent has open is none of the command's business. */
static int tie(char **command) {
  (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  (void)close_range(3, ~0U, 0);
  (void)execvp(command[0], command);
  return 127;
}

/* --- the beginning ----------------------------------------------------------------------- */

int main(int argc, char **argv) {
  if (argc == 2 && strcmp(argv[1], "loopback") == 0) return bring_up_loopback();
  if (argc == 3 && strcmp(argv[1], "control") == 0) control(argv[2]);
  if (argc > 2 && strcmp(argv[1], "tied") == 0) return tie(argv + 2);
  if (argc < 5) return 2;
  states = argv[1];
  slot = atoi(argv[2]);
  name = argv[3];
  struct timespec now;
  (void)clock_gettime(CLOCK_REALTIME, &now);
  srandom((unsigned)(now.tv_nsec ^ getpid()));
  if (slot > 0) be_leader(); /* slot 0: a check, or what pilot.exec runs */
  return play(argv[4], argv + 5);
}
