# Two workers that have something to do all the time. SIGTERM to the master: each finishes its piece, then it ends.
# SIGUSR2: the same, and a new master has taken over before.

import os
import signal
import sys
import time

WORKERS = 2
PIECE = float(os.environ.get("PIECE", "2"))  # seconds


def say(text):
    os.write(1, (text + "\n").encode())  # whole lines: the workers share the pipe


def work(number):
    stopping = []
    signal.signal(signal.SIGUSR1, lambda *_: stopping.append(True))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM, signal.SIGUSR1])
    while not stopping:
        say("worker %d begins" % number)
        until = time.monotonic() + PIECE
        while time.monotonic() < until:
            time.sleep(0.01)
        say("worker %d has finished" % number)


def start_successor():
    os.remove(sys.argv[1])  # until the new one has written it nobody is named
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable] + sys.argv)


def main():
    with open(sys.argv[1], "w") as file:
        file.write("%d\n" % os.getpid())
    pids = []
    for number in range(1, WORKERS + 1):
        pid = os.fork()
        if pid == 0:
            work(number)
            os._exit(0)
        pids.append(pid)
    if signal.sigwait([signal.SIGTERM, signal.SIGUSR2]) == signal.SIGUSR2:
        start_successor()
    say("master: no new work")
    for pid in pids:
        os.kill(pid, signal.SIGUSR1)
    for pid in pids:
        _, status = os.waitpid(pid, 0)
        if status != 0:
            say("master: a worker was cut off")
    say("master: all have finished")


signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
main()
