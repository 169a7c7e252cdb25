/* guardian: the process that outlives the pilot. PID 1 in a container.
 *
 *   luapilot (guardian) ── luapilot (the pilot: loop, Lua) ── jobs
 *
 * It is forked from before anything else is initialised: no Lua, no curl, no threads, no malloc
 * after the start, a few hundred kB. It reaps every orphan (as PID 1, else as a subreaper), passes
 * signals on to the pilot, and looks at the pilot's heartbeat. When the pilot has ended, however it
 * ended, it ends whatever is left of the jobs and exits with the pilot's code, or with a failure
 * when the pilot crashed, was killed, or stopped turning its loop. No script, however bad, leaves
 * a container with zombies, leaked jobs, or an undead supervisor.
 *
 * It never decides anything about a job that lives under a living pilot. Whom such a job hands over to
 * (process/succession.h) is an orphan that only the guardian can wait for, so the pilot is told
 * its status, in the page that they share (guardian/page.h).
 *
 * Signals. All are passed on but those that cannot be caught, CHLD, CONT, TSTP, TTIN, TTOU and the
 * faults. The pilot is in a process group of its own, so that what is sent to a whole group (a Ctrl-C
 * by the terminal, a kill of the group) reaches it through the guardian only, and counts once. A
 * SIGHUP of the kernel (the terminal is gone) is passed on as SIGTERM.
 *
 * The heartbeat. Every LUAPILOT_HEARTBEAT milliseconds (default 5000; "off": never, for debuggers) it
 * looks whether the pilot's loop has turned, or sleeps. Six looks in a row without a turn, and
 * the pilot gets SIGABRT, which leaves a core where those are wanted; a pilot that is stopped
 * (SIGSTOP) for six looks gets SIGKILL. It counts looks, not seconds: in a container that was paused,
 * or all of whose processes were stopped, the guardian did not look either.
 *
 * The deadline. A pilot that shuts down says how long that may take. One that is there a moment later
 * does something that it cannot be got out of: it is killed, and so is everybody else, at once. The
 * guardian counts this time itself, by the rules of lua/luapilot/task/budget.lua: a pause of the
 * container is nobody's time, and a pilot that its scripts keep busy gets no more of it.
 *
 * The service manager outside hears from the guardian what the pilot does: see guardian/manager.h.
 *
 * The end. However the pilot ended, it has killed nobody on the way: an error of the core, no memory, a
 * crash and a kill all leave the jobs to the guardian. Each group among its children gets the signal and
 * the grace that the pilot noted down for it (or its leader does, alone), else SIGTERM and
 * GUARDIAN_GRACE, then SIGKILL; what is left of the shutdown's time, and a second request to end, shorten that. Requests
 * are SIGTERM, SIGINT and SIGQUIT, or what the pilot wrote down instead; one that comes within a second of
 * the first is the same (a SIGINT: within 100 ms). Those who lose their parents by this become its
 * children, so it looks again until there are none. Its own group is never signalled, it may be shared
 * with strangers. What they say meanwhile is heard, see guardian/lastwords.h. What even SIGKILL does not end (a
 * process that waits for a dead disk) is named and left behind.
 *
 * The exit code: the pilot's; 128 + n when signal n killed it; 70 when it ended with 0 in the middle of
 * its work; 124 when its shutdown took too long, unless the pilot was told another; 64 when
 * LUAPILOT_HEARTBEAT makes no sense, 71 when the machine refuses to fork. */
#ifndef LUAPILOT_GUARDIAN_GUARDIAN_H
#define LUAPILOT_GUARDIAN_GUARDIAN_H

struct guardian_page;

/* Forks. Returns in the pilot only (with its page, signals still blocked); the guardian stays inside
 * and calls _exit(). When the machine refuses, says so and exits. The caller has blocked all signals
 * and has a single thread. */
struct guardian_page *guardian_start(void);

#endif
