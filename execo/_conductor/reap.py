"""The end of a child: its exit status, exactly once, also where pidfds are missing.

With a pidfd (Linux 5.3) the end is an event like any other.  Without one, the I/O thread asks for each live child at short
intervals that grow to a tenth of a second; that needs no thread, no signal, and also sees children that left the process group.
A status that somebody else took (SIGCHLD ignored, `os.wait()` in the program) is asked from the kernel through the pidfd
(Linux 6.15); where it cannot tell, the status is lost and said to be.
"""

from __future__ import annotations

import os
import struct

_PIDFD_GET_INFO = 0xC040FF0B        # _IOWR(0xFF, 11, 64 bytes of struct pidfd_info), include/uapi/linux/pidfd.h
_PIDFD_INFO_EXIT = 1 << 3
_EXIT_CODE_OFFSET = 60              # int32 exit_code, after mask, cgroupid and eleven 32-bit ids


def have_pidfd() -> bool:
    """Can this kernel and this Python open and signal pidfds?"""
    if not hasattr(os, "pidfd_open"):
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True


def exit_status(pid: int, pidfd: int | None) -> int | None:
    """Reap `pid`: its raw wait status, or None if it has not ended.

    :raises ChildProcessError: if it ended and somebody else has taken the status.
    """
    try:
        reaped, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        known = _status_from_pidfd(pidfd) if pidfd is not None else None
        if known is None:
            raise ChildProcessError(f"the exit status of process {pid} was taken by another part of the program "
                                    "(SIGCHLD ignored, or os.wait() called)") from None
        return known
    return status if reaped else None


def _status_from_pidfd(pidfd: int) -> int | None:
    import fcntl

    try:
        answer = fcntl.ioctl(pidfd, _PIDFD_GET_INFO, struct.pack("=Q", _PIDFD_INFO_EXIT).ljust(64, b"\0"))
    except OSError:
        return None
    if not struct.unpack_from("=Q", answer)[0] & _PIDFD_INFO_EXIT:
        return None
    return int(struct.unpack_from("=i", answer, _EXIT_CODE_OFFSET)[0])
