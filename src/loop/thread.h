/* thread: what may hang is done in one, since the loop may not wait for it.
 *
 * It is detached and blocks every signal: those are for the main thread. Nobody ever waits for one; when the pilot
 * ends, its threads end with it. */
#ifndef LUAPILOT_LOOP_THREAD_H
#define LUAPILOT_LOOP_THREAD_H

/* Returns 0 or an errno. */
int thread_start(void *(*body)(void *argument), void *argument);

#endif
