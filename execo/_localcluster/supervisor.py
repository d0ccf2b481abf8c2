"""Runs the server of a `LocalCluster` and leaves nothing of it behind.

``python -I -S supervisor.py DIRECTORY SERVER [ARGUMENT...]`` imports nothing of execo, so that it starts in a few
milliseconds whatever the owner has loaded.  It is two processes, each a child subreaper (Linux `prctl`): whatever the
server and its sessions start, also with `nohup`, `setsid` or a double fork, stays their descendant.

Standard input is the life line: a pipe of which the owner holds the other end, so the end of the owner, however it
came, is an end of file here.  Each process holds such a line to the next one: owner, outer watcher, inner watcher,
server.  When its line ends, or when the process that it watches ends, a watcher ends the next one, kills every
descendant until none is left, removes DIRECTORY and exits.  With two of them, SIGKILL of one still leaves the other
to do so.  Signals to their group are ignored: they lead a session of their own.

Standard output goes to the server alone, which writes one line of JSON when it is ready.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time

PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>
POLITE = 10.0
"""Seconds that the watched process gets to end by itself after its life line has ended."""


def parse_ppid(stat: bytes) -> int:
    """Parent in the text of a `/proc/PID/stat` (the command name in it may hold anything)."""
    return int(stat[stat.rindex(b")") + 2 :].split(None, 2)[1])


def children(pid: int) -> list[int]:
    """Pids of the children of a process.

    Asking the kernel costs as much as there are children; looking at all processes of a busy machine, which is what
    remains where it cannot be asked, may take longer than a short process lives.
    """
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as names:
                found += map(int, names.read().split())
    except ProcessLookupError:
        pass
    except FileNotFoundError:  # it has ended; or the kernel lacks CONFIG_PROC_CHILDREN
        if not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
            return scan_children(pid)
    return found


def scan_children(pid: int) -> list[int]:
    """As `children`, from the stat file of each process."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as stat:
                if parse_ppid(stat.read()) == pid:
                    found.append(int(name))
        except (OSError, ValueError):  # it ended between the listing and the reading
            continue
    return found


def reap() -> set[int]:
    """Pids of the children that have ended, without waiting."""
    reaped: set[int] = set()
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return reaped
        if pid == 0:
            return reaped
        reaped.add(pid)


def has_children() -> bool:
    """A subreaper without children has no descendants either."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def kill_descendants() -> None:
    """Kill until nothing is left below this process, but what belongs to others.

    Each is stopped before its children are listed, and all before any is killed: a process that sees its child die, or
    that forks all the time, would otherwise start the next one while we look.
    """
    pause = 0.001
    reap()
    while has_children():
        stopped: list[int] = []
        todo = [os.getpid()]
        while todo:
            for child in children(todo.pop()):
                send(child, signal.SIGSTOP)
                stopped.append(child)
                todo.append(child)
        killed = [send(pid, signal.SIGKILL) for pid in stopped]
        if stopped and not any(killed):
            return
        time.sleep(pause)  # the kernel needs a moment to end them, or long if they are in an uninterruptible call
        pause = min(pause * 1.5, 0.1)
        reap()


def send(pid: int, sig: signal.Signals) -> bool:
    """False if we may not signal this process (it runs as another user, by sudo)."""
    try:
        os.kill(pid, sig)
    except ProcessLookupError:
        pass
    except PermissionError:
        return False
    return True


def watch(child: int, child_line: int, directory: str) -> None:
    """Wait for the end of our life line or of `child`, then clear up and exit."""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_read, False)
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    poll = select.poll()
    poll.register(0, select.POLLIN)
    poll.register(wake_read, select.POLLIN)
    alive = child not in reap()  # it may have ended before the wake-up was in place
    while alive:
        ready = {fd for fd, _ in poll.poll()}
        if wake_read in ready:
            os.read(wake_read, 4096)
            alive = child not in reap()
        if 0 in ready and not os.read(0, 4096):
            break
    os.close(child_line)
    deadline = time.monotonic() + POLITE
    poll.unregister(0)
    while alive and (remaining := deadline - time.monotonic()) > 0:
        if poll.poll(remaining * 1000):
            os.read(wake_read, 4096)
            alive = child not in reap()
    kill_descendants()
    _remove(directory)
    os._exit(0)


def _remove(directory: str) -> None:
    from shutil import rmtree  # slow to import, and only needed now

    rmtree(directory, ignore_errors=True)


def main(directory: str, *server: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(sig, lambda *_: None)  # not SIG_IGN, which the server and its commands would inherit
    os.chdir("/")
    for _ in range(2):
        if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            sys.exit(f"prctl(PR_SET_CHILD_SUBREAPER): {os.strerror(ctypes.get_errno())}")
        read_end, write_end = os.pipe()
        child = os.fork()
        if child:
            os.close(read_end)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader sees end of file when the server closes it
            watch(child, write_end, directory)
        os.close(write_end)
        os.dup2(read_end, 0)
        os.close(read_end)
    os.execv(server[0], server)


if __name__ == "__main__":
    main(*sys.argv[1:])
