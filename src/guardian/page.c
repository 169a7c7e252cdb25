#include "guardian/page.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define PROBES 64 /* how far a note may stand from where its pid says */

struct guardian_page *guardian_page_new(void) {
  struct guardian_page *page =
      mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return NULL;
  page->guardian = getpid();
  atomic_store(&page->code, GUARDIAN_NO_CODE);
  atomic_store(&page->requests,
               GUARDIAN_SIGNAL(SIGTERM) | GUARDIAN_SIGNAL(SIGINT) | GUARDIAN_SIGNAL(SIGQUIT));
  return page;
}

/* --- notes ------------------------------------------------------------------------------- */

/* A note stands at its pid's place or soon after it. Neighbouring pids have neighbouring places, so
 * there are few collisions, and the search has a bound. The first there that is of `whose`; 0: a free one. */
static struct guardian_note *seek_note(struct guardian_page *page, pid_t pid, pid_t whose) {
  for (unsigned i = 0; i < PROBES; i++) {
    struct guardian_note *note = &page->notes[((unsigned)pid + i) % GUARDIAN_NOTES];
    if (atomic_load(&note->pid) == whose) return note;
  }
  return NULL;
}

static struct guardian_note *find_note(struct guardian_page *page, pid_t pid) {
  return seek_note(page, pid, pid);
}

const struct guardian_note *guardian_find(struct guardian_page *page, pid_t pid) {
  return pid > 0 ? find_note(page, pid) : NULL;
}

void guardian_note(struct guardian_page *page, pid_t pid, int signal, int grace,
                   bool leader_alone) {
  if (page == NULL || pid <= 0) return;
  struct guardian_note *note = find_note(page, pid);
  if (signal == 0) {
    if (note) atomic_store(&note->pid, 0);
    return;
  }
  if (note == NULL) note = seek_note(page, pid, 0);
  if (note == NULL) return;
  note->signal = signal;
  note->grace = grace;
  note->leader_alone = leader_alone;
  note->killed = false;
  note->main = pid;
  atomic_store(&note->pid, pid);
}

void guardian_note_killed(struct guardian_page *page, pid_t pid) {
  struct guardian_note *note = page ? find_note(page, pid) : NULL;
  if (note) note->killed = true;
}

void guardian_note_main(struct guardian_page *page, pid_t pid, pid_t main) {
  struct guardian_note *note = page ? find_note(page, pid) : NULL;
  if (note) note->main = main;
}

/* --- wards ------------------------------------------------------------------------------- */

static uint64_t ward_of(pid_t pid) {
  return (uint64_t)(uint32_t)pid << 32;
}

struct guardian_ward *guardian_ward(struct guardian_page *page, pid_t pid) {
  for (unsigned i = 0; page && i < GUARDIAN_WARDS; i++) {
    struct guardian_ward *ward = &page->wards[i];
    if (atomic_load(&ward->word) != 0) continue;
    atomic_store(&ward->word, ward_of(pid));
    atomic_fetch_add(&page->ward_count, 1);
    return ward;
  }
  return NULL;
}

bool guardian_has_ended(const struct guardian_ward *ward, int *status) {
  uint64_t word = atomic_load(&ward->word);
  *status = (int)(word & (GUARDIAN_ENDED - 1));
  return word & GUARDIAN_ENDED;
}

void guardian_dismiss(struct guardian_page *page, struct guardian_ward *ward) {
  if (ward == NULL) return;
  atomic_store(&ward->word, 0);
  atomic_fetch_sub(&page->ward_count, 1);
}

/* Few have any. */
void guardian_ward_ended(struct guardian_page *page, pid_t pid, int status) {
  if (atomic_load(&page->ward_count) == 0) return;
  for (unsigned i = 0; i < GUARDIAN_WARDS; i++) {
    uint64_t alive = ward_of(pid), ended = alive | GUARDIAN_ENDED | (uint32_t)status;
    (void)atomic_compare_exchange_strong(&page->wards[i].word, &alive, ended);
  }
}

/* --- the pilot's word -------------------------------------------------------------------- */

/* Not when we were left by a guardian that was killed: whoever adopted us would be meant. */
static void wake(const struct guardian_page *page) {
  if (getppid() == page->guardian) (void)kill(page->guardian, SIGCHLD);
}

void guardian_deadline(struct guardian_page *page, int64_t budget, int code) {
  if (page == NULL || (budget == 0 && code == GUARDIAN_NO_CODE)) return;
  if (code != GUARDIAN_NO_CODE) atomic_store(&page->code, code);
  if (budget != 0) atomic_store(&page->budget, budget);
  wake(page);
}

void guardian_reached(struct guardian_page *page, enum guardian_stage stage, const char *status) {
  if (page == NULL || atomic_load(&page->stage) >= (int)stage) return;
  if (status) (void)snprintf(page->status, sizeof page->status, "%s", status);
  atomic_store(&page->stage, (int)stage);
  wake(page);
}
