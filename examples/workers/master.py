# Two workers that have something to do all the time. SIGTERM to the master: each finishes its piece, then it ends.

import os
import signal
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


def main():
    pids = []
    for number in range(1, WORKERS + 1):
        pid = os.fork()
        if pid == 0:
            work(number)
            os._exit(0)
        pids.append(pid)
    signal.sigwait([signal.SIGTERM])
    say("master: no new work")
    for pid in pids:
        os.kill(pid, signal.SIGUSR1)
    for pid in pids:
        _, status = os.waitpid(pid, 0)
        if status != 0:
            say("master: a worker was cut off")
    say("master: all have finished")


signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])
main()
