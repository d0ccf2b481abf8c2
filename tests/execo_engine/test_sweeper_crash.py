"""A crash at any moment: after each write of a scenario, in the middle of each write, and with each byte of a record damaged."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from execo_engine._sweep import files
from execo_engine.sweep import ParamSweeper, SweepDirectory

PLAN = list("abcdef")


class Recorder:
    """Copies of a directory after each write, and in the middle of each, with what had been acknowledged by then."""

    def __init__(self, directory: Path, copies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._directory, self._copies = directory, copies
        self.done: list[str] = []
        self.crashes: list[tuple[Path, list[str]]] = []
        pwrite, rename, unlink, opener, sync = os.pwrite, os.rename, os.unlink, os.open, os.fsync

        def torn_pwrite(fd: int, data: Any, offset: int) -> int:
            # The middle, and all but the last byte: a newline that is missing.
            for part in {len(data) // 2, len(data) - 1} - {0}:
                pwrite(fd, data[:part], offset)
                self.copy()
            written = pwrite(fd, data, offset)
            self.copy()
            return written

        def then_copy(call: Callable[..., Any]) -> Callable[..., Any]:
            def wrapped(*arguments: Any, **options: Any) -> Any:
                result = call(*arguments, **options)
                self.copy()
                return result
            return wrapped

        def open_and_copy(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
            fd = opener(path, flags, *arguments, **options)
            if flags & os.O_CREAT:
                self.copy()
            return fd

        for module_name, call in (("pwrite", torn_pwrite), ("rename", then_copy(rename)), ("unlink", then_copy(unlink)),
                                  ("open", open_and_copy), ("fsync", then_copy(sync))):
            monkeypatch.setattr(files.os, module_name, call)

    def copy(self) -> None:
        if not self._directory.exists():
            return
        target = self._copies / str(len(self.crashes))
        shutil.copytree(self._directory, target, copy_function=_plain_copy)
        self.crashes.append((target, list(self.done)))


# Not with the functions that are watched.
def _plain_copy(source: str, target: str) -> None:
    Path(target).write_bytes(Path(source).read_bytes())


def scenario(directory: Path, recorder: Recorder | None) -> None:
    """A bit of everything that writes."""
    acknowledged = recorder.done if recorder else []

    def done(sweeper: ParamSweeper, combination: str) -> None:
        sweeper.done(combination)
        acknowledged.append(combination)

    sweeper = ParamSweeper(directory, PLAN[:4])
    done(sweeper, sweeper.get_next())
    sweeper.fail(sweeper.get_next(), "why")
    other = ParamSweeper(directory, PLAN, persistent_skip=True)
    other.skip(other.get_next())
    sweeper.checkpoint("d", {"step": 1})
    sweeper.retry_failed()
    with open(directory / "journal", "ab") as file:
        file.write(b"rubbish")
    done(sweeper, sweeper.get_next())
    sweeper.directory.compact()
    done(other, other.get_next())
    other.cancel(other.get_next())
    sweeper.close()
    other.close()


def test_after_a_crash_at_any_write_nothing_is_lost_and_the_work_can_end(quick_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as context:
        recorder = Recorder(quick_path / "s", quick_path / "copies", context)
        (quick_path / "copies").mkdir()
        scenario(quick_path / "s", recorder)
    assert len(recorder.crashes) > 60
    for directory, acknowledged in recorder.crashes:
        survivor = ParamSweeper(directory, PLAN)
        lost = set(acknowledged) - survivor.get_done()
        assert not lost, (directory, lost)
        assert survivor.get_checkpoint("d") in (None, {"step": 1})
        survivor.reset(reset_inprogress=True)
        survivor.retry_failed()
        handed_out = list(iter(survivor.get_next, None))
        survivor.done_batch(handed_out)
        assert survivor.get_done() == set(PLAN)
        assert set(handed_out).isdisjoint(acknowledged)
        with SweepDirectory(directory) as checked:
            assert checked.verify()[:1] == (True,), (directory, checked.verify())
            # What the crash cut off is in the quarantine, and said once.
            told = [note for note in checked.history() if note["kind"].endswith("quarantined")]
            kept = (directory / "quarantine").read_text().splitlines() if told else []
            assert len(kept) >= len(told)
        survivor.close()


def test_a_record_damaged_at_any_byte_is_set_aside_and_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sweeper = ParamSweeper(tmp_path / "s", PLAN)
    for _ in range(3):
        sweeper.done(sweeper.get_next())
    sweeper.close()
    journal = (tmp_path / "s" / "journal").read_bytes()
    lines = journal.splitlines(keepends=True)
    [number] = [number for number, line in enumerate(lines) if line[13:17] == b"done" and line.endswith(b'"b"]\n')]
    begin = len(b"".join(lines[:number]))
    for place in range(len(lines[number])):
        directory = tmp_path / f"d{place}"
        directory.mkdir()
        damaged = bytearray(journal)
        damaged[begin + place] ^= 0x55
        (directory / "journal").write_bytes(damaged)
        again = ParamSweeper(directory, PLAN)
        assert again.get_done() in ({"a", "c"}, {"a", "b", "c"})        # the newline after it is no part of the record
        assert again.get_done() == {"a", "c"} or place == len(lines[number]) - 1
        assert "were set aside; all other records are kept" in caplog.text
        caplog.clear()
        assert ParamSweeper(directory, PLAN).get_done() == again.get_done()
        again.update()
        assert caplog.text == ""                                        # said once
        [kept] = [json.loads(line) for line in (directory / "quarantine").read_text().splitlines()]
        assert kept["offset"] + kept["length"] >= begin + place
        assert again.directory.verify()[3] == 1


def test_the_journal_may_end_with_zeros_after_a_failure_of_power(tmp_path: Path) -> None:
    sweeper = ParamSweeper(tmp_path / "s", PLAN)
    sweeper.done(sweeper.get_next())
    sweeper.close()
    with open(tmp_path / "s" / "journal", "ab") as file:
        file.write(bytes(10_000))
    again = ParamSweeper(tmp_path / "s", PLAN)
    assert again.get_done() == {"a"}
    again.done("b")
    assert ParamSweeper(tmp_path / "s", PLAN).get_done() == {"a", "b"}
    assert again.directory.compact()[1] < 5000
    assert again.get_done() == {"a", "b"}


def test_a_reader_without_lock_does_not_judge_a_line_that_is_being_written(tmp_path: Path) -> None:
    sweeper = ParamSweeper(tmp_path / "s", PLAN)
    size = (tmp_path / "s" / "journal").stat().st_size
    sweeper.done("a")
    sweeper.done("b")
    journal = (tmp_path / "s" / "journal").read_bytes()
    sweeper.close()
    for end in range(size, len(journal)):
        (tmp_path / f"r{end}").mkdir()
        path = tmp_path / f"r{end}" / "journal"
        path.write_bytes(journal[:end])
        with SweepDirectory(path.parent) as directory:
            directory.counts()
            path.write_bytes(journal)
            assert directory.counts()["done"] == 2
        assert not (path.parent / "quarantine").exists()


def test_compaction_on_the_side_is_noticed_by_all(tmp_path: Path) -> None:
    first, second = ParamSweeper(tmp_path / "s", PLAN), ParamSweeper(tmp_path / "s", PLAN)
    mine = first.get_next()
    # As another process does it: another journal is in place.
    journal = tmp_path / "s" / "journal"
    (tmp_path / "s" / "new").write_bytes(journal.read_bytes())
    os.rename(tmp_path / "s" / "new", journal)
    first.done(mine)
    assert second.get_done() == {"a"}
    assert b'"done"' in journal.read_bytes()
    assert ParamSweeper(tmp_path / "s", PLAN).get_done() == {"a"}


def test_a_directory_that_is_removed_is_a_clear_error(tmp_path: Path) -> None:
    sweeper = ParamSweeper(tmp_path / "s", PLAN)
    sweeper.get_next()
    shutil.rmtree(tmp_path / "s")
    with pytest.raises(FileNotFoundError, match="no sweep here, or it was removed"):
        sweeper.done("a")
    again = ParamSweeper(tmp_path / "s", PLAN)
    assert again.get_next() == "a"


def test_a_failed_write_changes_nothing_and_may_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweeper = ParamSweeper(tmp_path / "s", PLAN)
    combination = sweeper.get_next()
    pwrite = os.pwrite
    for part in (0, 10, 10_000):
        def fails(fd: int, data: Any, offset: int, part: int = part) -> int:
            pwrite(fd, data[:part], offset)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        with monkeypatch.context() as context:
            context.setattr(files.os, "pwrite", fails)
            with pytest.raises(OSError, match=r"not recorded.*journal"):
                sweeper.done(combination)
            with pytest.raises(OSError, match="not recorded"):
                sweeper.get_next()
    assert sweeper.get_next() is not None
    sweeper.done(combination)
    assert sweeper.get_done() >= {combination}
    assert sweeper.directory.verify().duplicates_done == 0
