/* actor: what the parts (parts.c, server.c) have of it. */
#ifndef SOAK_ACTOR_H
#define SOAK_ACTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

/* The page of a job: native 64-bit numbers. */
struct state {
  uint64_t reserved; /* the two locks */
  uint64_t starts;
  uint64_t run;   /* the `starts` of which `lines` speaks */
  uint64_t lines; /* that it had written completely */
};

extern struct state *state; /* NULL without a slot */

void rest(int milliseconds);
int64_t nanoseconds(void);
int between(int low, int high);
/* All of it, or until nobody can take it. */
void put(int fd, const char *data, size_t size);
/* From now on SIGTERM is told by is_told(), and interrupts what waits. */
void hear_term(void);
bool is_told(void);
/* This child stays in the job's group. */
void be_member(void);

/* Plays a part, by its name; the exit code. */
int play(const char *part, char **arguments);
int serve(int port);

#endif
