"""From a command to a running child: pipes or a pty, `posix_spawn`, a pidfd.

`posix_spawn` runs no Python between fork and exec and shares the memory of the parent until the exec, so its cost depends neither
on the size of the parent nor on the number of descriptors and children that it holds.  All descriptors made here are
close-on-exec, as are all those that Python makes.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import time

# Python ignores these two, and an ignored signal stays ignored over an exec; a program that ignores SIGCHLD for itself
# would make its children blind to the end of theirs.
_RESET_SIGNALS = tuple(getattr(signal, name) for name in ("SIGPIPE", "SIGXFSZ", "SIGCHLD") if hasattr(signal, name))


class Spawned:
    """A child that was just started.  With a pty, `stdin` and `stdout` are one descriptor, its master."""

    __slots__ = ("date", "pid", "pidfd", "stderr", "stdin", "stdout")

    def __init__(self, pid: int, pidfd: int | None, stdin: int, stdout: int, stderr: int) -> None:
        self.date = time.time()
        self.pid = pid
        self.pidfd = pidfd
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr


class DescriptorLimit:
    """The soft limit of open files: ours is raised to the hard one when needed, children get the one that we found."""

    def __init__(self) -> None:
        self.original = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.raised = False
        self._set_bound(self.original[0])

    def _set_bound(self, soft: int) -> None:
        # The kernel gives the lowest free number, so a number near the limit says that nearly all are taken.
        self.bound = soft - min(64, soft // 8) if soft != resource.RLIM_INFINITY else 1 << 30

    def try_raise(self) -> bool:
        """Raise the soft limit to the hard one; False if it is there already."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft == hard:
            self._set_bound(soft)           # somebody else may have changed it
            return False
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):       # a hard limit above fs.nr_open cannot be reached
            return False
        self.raised = True
        self._set_bound(hard)
        return True

    def restore_in(self, pid: int) -> None:
        """Give a child the limits that we started with: programs that loop over all possible descriptors, or use select, need it."""
        try:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, self.original)
        except (OSError, ValueError):       # set-user-id child, or gone already
            pass


def _environment() -> dict[bytes, bytes]:
    # os.environ is encoded item by item each time that it is read as str, which would cost more than the system call;
    # `_data` is the mapping of bytes behind it since Python 3.2.
    data = getattr(os.environ, "_data", None)
    return data if isinstance(data, dict) else dict(os.environb)


def _above_standard(fd: int) -> int:
    """`fd`, or a copy of it above 2: in a program that closed its standard files a pipe may get their numbers."""
    if fd > 2:
        return fd
    import fcntl

    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(fd)


def _pipe(opened: list[int]) -> tuple[int, int]:
    ends = os.pipe()
    opened.extend(ends)
    if ends[0] < 3 or ends[1] < 3:
        del opened[-2:]
        ends = _above_standard(ends[0]), _above_standard(ends[1])
        opened.extend(ends)
    return ends


def spawn(argv: list[str] | tuple[str, ...], pty: bool, group: int, limit: DescriptorLimit | None, use_pidfd: bool = True) -> Spawned:
    """Start `argv` in process group `group`, if that leaves some descriptors below `limit`.

    :raises OSError: as `posix_spawnp` and `pipe` do; EMFILE also if it would take the last descriptors.
    :raises ValueError, TypeError: for an argument with a NUL byte or of another type.
    """
    opened: list[int] = []
    try:
        if pty:
            master, slave = os.openpty()
            opened += (master, slave)
            stdin, stdout = master, master
            child_in = child_out = slave
        else:
            child_in, stdin = _pipe(opened)
            stdout, child_out = _pipe(opened)
        stderr, child_err = _pipe(opened)
        if limit is not None and child_err >= limit.bound:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        os.set_blocking(stdout, False)
        os.set_blocking(stderr, False)
        pid = os.posix_spawnp(
            argv[0], argv, _environment(), setpgroup=group, setsigmask=(), setsigdef=_RESET_SIGNALS,
            file_actions=((os.POSIX_SPAWN_DUP2, child_in, 0), (os.POSIX_SPAWN_DUP2, child_out, 1),
                          (os.POSIX_SPAWN_DUP2, child_err, 2)))
    except BaseException:
        for fd in opened:
            os.close(fd)
        raise
    os.close(child_in)
    if child_out != child_in:
        os.close(child_out)
    os.close(child_err)
    pidfd = None
    if use_pidfd:
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:         # no descriptor left for it: the child is reaped as on a kernel without pidfds
            pass
    return Spawned(pid, pidfd, stdin, stdout, stderr)
