"""Work for the I/O thread, from any thread.

A deque and an eventfd: appending is atomic, so no lock is held while another thread could want it, and posting is safe in a
signal handler.  The eventfd is written only when the I/O thread has not yet been told, so a burst of posts costs one system call.
Guarantees: calls run once each, in the order of their posts; `take` is bounded by what was there when it was called.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    Post: TypeAlias = "tuple[Callable[..., None], tuple[Any, ...]]"



class Mailbox:
    """`post` from any thread; all the rest belongs to the I/O thread."""

    __slots__ = ("_posts", "_told", "fd")

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._posts: deque[Post] = deque()
        self._told = False

    def post(self, call: Callable[..., None], *args: Any) -> None:
        """Have `call(*args)` run in the I/O thread."""
        self._posts.append((call, args))
        if not self._told:
            self._told = True
            os.eventfd_write(self.fd, 1)

    def take(self) -> list[Post]:
        """All that has been posted.  To be called when `fd` is readable."""
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:         # woken for a reason that is gone
            pass
        # In this order: a post that comes after this line writes to the eventfd again, one that came before is in the deque.
        self._told = False
        posts = self._posts
        return [posts.popleft() for _ in range(len(posts))]

    def close(self) -> None:
        os.close(self.fd)
