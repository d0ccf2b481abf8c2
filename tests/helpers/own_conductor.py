"""An I/O thread for one test: for tests that break it, and to live as on a kernel without pidfds."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from execo._conductor.loop import Loop
from execo.conductor import the_conductor


def end_loop(loop: Loop) -> None:
    """End it and take away all that it holds."""
    if not loop.over:
        loop.stop()
    loop.thread.join(20)
    assert not loop.thread.is_alive()
    watchdog = loop._watchdog.pid
    if watchdog:
        with contextlib.suppress(ChildProcessError):        # a crashed loop reaps it
            os.waitpid(watchdog, 0)
    loop.forget_after_fork()            # closes what still runs, and the mailbox


@contextlib.contextmanager
def own_conductor(use_pidfd: bool | None = None) -> Iterator[None]:
    """Processes that are started inside run on a new I/O thread, which ends with the block."""
    before, the_conductor._loop = the_conductor._loop, None
    the_conductor.use_pidfd = use_pidfd
    try:
        yield
    finally:
        del the_conductor.use_pidfd
        loop, the_conductor._loop = the_conductor._loop, before
        if loop is not None:
            end_loop(loop)
