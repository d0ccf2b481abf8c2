"""Bytes in and out of real pipes, without blocking."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

import pytest

from execo._conductor.streams import CHUNK, StdinWriter, read_chunk


@pytest.fixture
def pipe() -> Iterator[list[int]]:
    ends = list(os.pipe())
    for end in ends:
        os.set_blocking(end, False)
    yield ends
    for end in ends:
        if end >= 0:
            os.close(end)


def close(pipe: list[int], end: int) -> None:
    os.close(pipe[end])
    pipe[end] = -1


def test_read_chunk_tells_nothing_yet_from_end_of_file(pipe):
    assert read_chunk(pipe[0]) is None
    os.write(pipe[1], b"abc")
    assert read_chunk(pipe[0]) == b"abc"
    assert read_chunk(pipe[0]) is None
    close(pipe, 1)
    assert read_chunk(pipe[0]) == b""


def test_read_chunk_is_bounded(pipe):
    import fcntl

    fcntl.fcntl(pipe[1], 1031, 1 << 20)             # F_SETPIPE_SZ: a pipe that holds more
    os.write(pipe[1], b"x" * (CHUNK + 1))
    assert len(read_chunk(pipe[0]) or b"") == CHUNK


def test_read_chunk_sees_the_end_of_a_terminal():
    master, slave = os.openpty()
    os.close(slave)
    assert read_chunk(master) == b""
    os.close(master)


def test_writes_keep_their_order_through_a_full_pipe_and_are_told_once(pipe):
    writer = StdinWriter(pipe[1], is_pty=False)
    told: list[tuple[int, OSError | None]] = []
    data = [bytes([number]) * 30_000 for number in range(10)]
    for number, piece in enumerate(data):
        writer.add(piece, lambda error, number=number: told.append((number, error)))
    assert writer.flush(), "a pipe does not hold 300 kB"
    assert 0 < len(told) < 10
    while writer.flush():
        read_chunk(pipe[0])
    assert told == [(number, None) for number in range(10)]


def test_all_bytes_arrive(pipe):
    writer = StdinWriter(pipe[1], is_pty=False)
    data = os.urandom(200_000)
    writer.add(data[:70_000])
    writer.add(data[70_000:])
    writer.add(None)
    received = b""
    while len(received) < len(data):
        writer.flush()
        received += read_chunk(pipe[0]) or b""
    assert received == data
    writer.flush()
    assert writer.closed


def test_a_reader_that_left_is_an_error_for_this_and_all_that_wait(pipe):
    writer = StdinWriter(pipe[1], is_pty=False)
    close(pipe, 0)
    told: list[OSError | None] = []
    writer.add(b"a", told.append)
    writer.add(b"b", told.append)
    assert not writer.flush()
    assert writer.closed
    writer.fail(BrokenPipeError(errno.EPIPE, "closed"))
    assert [error and error.errno for error in told] == [errno.EPIPE, errno.EPIPE]


def test_the_end_of_input_waits_for_what_was_written_before(pipe):
    writer = StdinWriter(pipe[1], is_pty=False)
    writer.add(b"x" * 100_000)
    writer.add(None)
    assert writer.flush()
    assert not writer.closed
    while not writer.closed:
        read_chunk(pipe[0])
        writer.flush()


def test_the_end_of_input_of_a_terminal_is_a_character():
    master, slave = os.openpty()
    writer = StdinWriter(master, is_pty=True)
    writer.add(None)
    assert not writer.flush()
    assert not writer.closed
    assert os.read(slave, 10) == b""
    os.close(master)
    os.close(slave)
