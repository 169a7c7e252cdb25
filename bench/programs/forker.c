/* forker RATE PROGRAM ARGUMENT...: starts PROGRAM with fork and exec RATE times a second and waits for each,
 * until SIGTERM: what checks by a program cost at least. The vfork limit is `bare`. */
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
  if (argc < 3 || atoi(argv[1]) < 1) return 2;
  struct timespec due;
  (void)clock_gettime(CLOCK_MONOTONIC, &due);
  (void)alarm(600);
  for (;;) {
    due.tv_nsec += 1000000000L / atoi(argv[1]);
    if (due.tv_nsec >= 1000000000L) due.tv_sec++, due.tv_nsec -= 1000000000L;
    pid_t pid = fork();
    if (pid == 0) {
      (void)execv(argv[2], argv + 2);
      _exit(127);
    }
    (void)waitpid(pid, NULL, 0);
    (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
  }
}
