"""Posts to the I/O thread."""

from __future__ import annotations

import select
import threading
from collections.abc import Iterator

import pytest

from execo._conductor.mailbox import Mailbox


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    mailbox = Mailbox()
    yield mailbox
    mailbox.close()


def readable(mailbox: Mailbox) -> bool:
    return bool(select.select([mailbox.fd], [], [], 0)[0])


def test_it_wakes_its_reader_once_for_a_burst_of_posts(mailbox):
    assert not readable(mailbox)
    for number in range(1000):
        mailbox.post(print, number)
    assert readable(mailbox)
    assert [args for _, args in mailbox.take()] == [(number,) for number in range(1000)]
    assert not readable(mailbox)
    assert mailbox.take() == []


def test_a_post_that_comes_while_the_reader_works_wakes_it_again(mailbox):
    mailbox.post(print, 1)
    assert len(mailbox.take()) == 1
    mailbox.post(print, 2)
    assert readable(mailbox)
    assert len(mailbox.take()) == 1


def test_posts_of_many_threads_all_arrive_and_keep_the_order_of_each_thread(mailbox):
    threads, posts = 8, 2000
    taken = []

    def post(thread: int) -> None:
        for number in range(posts):
            mailbox.post(print, thread, number)

    workers = [threading.Thread(target=post, args=(thread,)) for thread in range(threads)]
    for worker in workers:
        worker.start()
    while len(taken) < threads * posts:
        assert select.select([mailbox.fd], [], [], 20)[0], "a post did not wake the reader"
        taken += [args for _, args in mailbox.take()]
    for worker in workers:
        worker.join()
    for thread in range(threads):
        assert [number for who, number in taken if who == thread] == list(range(posts))
