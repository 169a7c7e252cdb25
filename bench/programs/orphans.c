/* orphans N FILE: makes N processes that lose their parent and end at the same moment, and writes into FILE
 * how many nanoseconds it took until the last of them was reaped. To be run below PID 1 of a namespace. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "stamp.h"

/* The parent of the orphans. They hold on to its pipe, which ends with it. */
static void breed(int count, volatile pid_t *pids, int go) {
  int ends[2];
  char byte;
  if (pipe(ends) != 0) _exit(1);
  for (int i = 0; i < count; i++) {
    pid_t pid = fork(); /* not straight into pids[i]: the child shares it */
    if (pid < 0) _exit(1);
    if (pid > 0) {
      pids[i] = pid;
      continue;
    }
    (void)close(ends[1]);
    (void)read(ends[0], &byte, 1);
    _exit(0);
  }
  (void)kill(getpid(), SIGSTOP); /* says that all are there */
  (void)read(go, &byte, 1);
  _exit(0);
}

int main(int argc, char **argv) {
  int count = argc == 3 ? atoi(argv[1]) : 0, go[2], status;
  if (count < 1 || pipe(go) != 0) return 2;
  pid_t *pids = mmap(NULL, (size_t)count * sizeof *pids, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (pids == MAP_FAILED) return 1;
  pid_t parent = fork();
  if (parent == 0) {
    (void)close(go[1]);
    breed(count, pids, go[0]);
  }
  if (waitpid(parent, &status, WUNTRACED) != parent || !WIFSTOPPED(status)) return 1;
  (void)kill(parent, SIGCONT);
  int64_t begun = nanoseconds();
  if (write(go[1], "", 1) != 1) return 1;
  (void)waitpid(parent, NULL, 0);
  const struct timespec pause = {.tv_nsec = 200000};
  for (int i = 0; i < count; i++)
    while (kill(pids[i], 0) == 0) (void)nanosleep(&pause, NULL);
  int64_t took = nanoseconds() - begun;
  FILE *file = fopen(argv[2], "w");
  if (file == NULL) return 1;
  (void)fprintf(file, "%lld\n", (long long)took);
  return fclose(file) != 0;
}
