"""What goes wrong around a sweep: a full disk, a read-only directory, clocks, hosts, a process that hangs, forks, other writers."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from execo_engine._sweep import lease, pulse
from execo_engine._sweep.lease import Owner, Watch, is_gone, this_process
from execo_engine.sweep import ClaimLost, ParamSweeper, SweepDirectory

ROOT = Path(__file__).resolve().parents[2]


def run(code: str, *arguments: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], env={**os.environ, "PYTHONPATH": path}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, **options)


# Disks

FILL = """
import sys
from execo_engine.sweep import ParamSweeper
sweeper = ParamSweeper(sys.argv[1], range(5000))
done = 0
try:
    while True:
        combination = sweeper.get_next()
        sweeper.done(combination)
        done = combination + 1
except OSError as error:
    print(error.strerror, error.filename.endswith("journal"))
print(done)
"""


def test_a_full_disk_is_an_error_that_loses_nothing(quick_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))

    full = run(FILL, quick_path / "s", preexec_fn=limit)
    message, number = full.stdout.splitlines()[-2:]
    assert message == "File too large: not recorded True", full.stdout
    sweeper = ParamSweeper(quick_path / "s", range(5000))
    assert len(sweeper.get_done()) == int(number) >= 100
    assert sweeper.get_next() is not None
    assert sweeper.directory.verify().duplicates_done == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(path)], stderr=subprocess.PIPE, text=True)
    if mounted.returncode:
        pytest.skip("a small disk needs the right to mount: run as root")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_disk_that_is_full_and_then_is_not(small_disk: Path) -> None:
    sweeper = ParamSweeper(small_disk / "s", range(50))
    mine = sweeper.get_next()
    ballast = small_disk / "ballast"
    with open(ballast, "wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(4096))
    with pytest.raises(OSError, match="No space left on device: not recorded"):
        for _ in range(100):            # the last page of the journal has room for some
            sweeper.done_batch(sweeper.get_next_batch(5))
    before = sweeper.get_done()
    with pytest.raises(OSError, match="not recorded"):
        sweeper.fail(mine, "x" * 5000)
    ballast.unlink()
    sweeper.done(mine)
    assert sweeper.get_done() == before | {mine}
    assert sweeper.get_next() is not None
    assert ParamSweeper(small_disk / "s", range(50)).get_done() == before | {mine}
    sweeper.close()


def test_a_file_system_that_becomes_read_only_is_an_error_and_can_still_be_looked_at(small_disk: Path) -> None:
    sweeper = ParamSweeper(small_disk / "s", range(5))
    mine = sweeper.get_next()
    sweeper.done(mine)
    sweeper.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(OSError, match="Read-only file system"):
        ParamSweeper(small_disk / "s", range(5))
    with SweepDirectory(small_disk / "s") as directory:
        assert directory.counts()["done"] == 1
        assert directory.verify().ok
    with pytest.raises(OSError, match="Read-only file system"):
        SweepDirectory(small_disk / "s", write=True)
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert ParamSweeper(small_disk / "s", range(5)).get_next() == 1


READ_ONLY = """
import getpass, os, pwd, sys
from execo_engine.sweep import ParamSweeper, SweepDirectory
os.setgid(65534); os.setuid(65534)
sweeper = ParamSweeper(sys.argv[1], range(5))
first = sweeper.get_next()
os.chmod(sys.argv[1], 0o555); os.chmod(sys.argv[1] + "/owners", 0o555)
sweeper.done(first)                     # the journal is open
print(sweeper.get_next(), len(sweeper.get_done()))
try:
    sweeper.directory.compact()
except PermissionError as error:
    print("no compaction")
print(len(sweeper.get_done()), sweeper.directory.verify().ok)
os.chmod(sys.argv[1] + "/journal", 0o444)
sweeper.close()
del sweeper
try:
    ParamSweeper(sys.argv[1], range(5))
except PermissionError as error:
    print("refused")
with SweepDirectory(sys.argv[1]) as directory:
    print(directory.counts()["done"])
"""


def test_a_directory_that_becomes_read_only_in_the_middle(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("becoming another user needs root")
    home = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else tmp_path
    directory = home / f"execo-sweep-{os.getpid()}"
    directory.mkdir()
    os.chown(directory, 65534, 65534)
    try:
        found = run(READ_ONLY, directory)
        assert found.stdout.splitlines() == ["1 1", "no compaction", "1 True", "refused", "1"], found.stdout
    finally:
        subprocess.run(["rm", "-r", str(directory)], check=True)


# Owners on other hosts, and clocks

def impersonate(monkeypatch: pytest.MonkeyPatch, owner: Owner) -> None:
    """This process is another one from now on."""
    monkeypatch.setattr(lease, "this_process", lambda: owner)


def stranger(**changes: Any) -> Owner:
    return this_process()._replace(**{"id": "0123456789ab", "host": "elsewhere", "boot": "another", **changes})


def test_two_workers_with_the_same_pid_on_different_hosts_are_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as context:
        impersonate(context, stranger())
        other = ParamSweeper(tmp_path / "s", range(3))
        assert other.get_next() == 0
        other._store.rest()
    sweeper = ParamSweeper(tmp_path / "s", range(3))
    assert [sweeper.get_next() for _ in range(3)] == [1, 2, None]
    assert {status.owner.host: status.alive for status in sweeper.directory.owners()} == {"elsewhere": None, this_process().host: True}
    assert this_process().pid == stranger().pid


def test_a_claim_from_another_host_is_a_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as context:
        impersonate(context, stranger())
        ParamSweeper(tmp_path / "s", range(1)).get_next()
    sweeper = ParamSweeper(tmp_path / "s", range(1), lease=100)
    now, date = [0.0], [1e9]
    sweeper._store.monotonic, sweeper._store.clock = lambda: now[0], lambda: date[0]
    counter = tmp_path / "s" / "owners" / "0123456789ab"
    for beat in range(5):
        counter.write_text(f"{beat}\n")
        now[0] += 90
        date[0] -= 1000                     # clocks that are set say nothing
        assert sweeper.get_next() is None
    now[0] += 99
    assert sweeper.get_next() is None
    now[0] += 2
    assert sweeper.get_next() == 0
    record = sweeper.record(0)
    assert record is not None
    assert record.serial == 2
    assert not counter.exists()


def test_an_owner_that_says_that_it_has_ended_is_believed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as context:
        impersonate(context, stranger())
        ParamSweeper(tmp_path / "s", range(1)).get_next()
    (tmp_path / "s" / "owners" / "0123456789ab").write_text("ended\n")
    assert ParamSweeper(tmp_path / "s", range(1)).get_next() == 0


def test_whoever_looks_judges_by_what_it_saw_itself() -> None:
    watch = Watch(10)
    assert [watch.observe("a", "1", now) for now in (0, 9, 10)] == [False, False, True]
    assert [watch.observe("a", "2", now) for now in (20, 29, 30)] == [False, False, True]
    assert watch.age("a", 31) == 11
    assert watch.age("b", 31) is None
    watch.forget("a")
    assert not watch.observe("a", "2", 100)


def test_a_process_of_this_machine_is_gone_if_its_pid_is_free_or_another_process_has_it() -> None:
    me = this_process()
    assert is_gone(me) is False
    assert is_gone(me._replace(ticks=me.ticks + 1)) is True
    assert is_gone(me._replace(host="elsewhere")) is None
    assert is_gone(me._replace(boot="before")) is None
    assert is_gone(me._replace(namespace="pid:[1]")) is None
    assert is_gone(me._replace(pid=1, ticks=0)) is False        # another user's, for most
    child = subprocess.Popen(["sleep", "60"])
    ticks = lease.start_ticks(Path(f"/proc/{child.pid}/stat").read_text())
    assert ticks is not None
    owner = me._replace(pid=child.pid, ticks=ticks[1])
    assert is_gone(owner) is False
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_gone(owner) is True                                           # a zombie
    child.wait()
    assert is_gone(owner) is True


STALLED = """
import sys
from execo_engine.sweep import ClaimLost, ParamSweeper
sweeper = ParamSweeper(sys.argv[1], range(1), lease=0.5)
combination = sweeper.get_next()
print("taken", flush=True)
sys.stdin.readline()
try:
    sweeper.checkpoint(combination, 1)
except ClaimLost as error:
    print("lost", error.combination, flush=True)
"""


def test_a_process_that_stalls_longer_than_its_lease_loses_its_claim_and_learns_it(tmp_path: Path) -> None:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    worker = subprocess.Popen([sys.executable, "-c", STALLED, str(tmp_path / "s")], env={**os.environ, "PYTHONPATH": path}, text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "taken\n"
    sweeper = ParamSweeper(tmp_path / "s", range(1), lease=0.5)
    deadline = time.monotonic() + 1.2
    while time.monotonic() < deadline:      # it lives, and says so
        assert sweeper.get_next() is None
        time.sleep(0.05)
    worker.send_signal(signal.SIGSTOP)
    deadline = time.monotonic() + 20
    while (mine := sweeper.get_next()) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert mine == 0
    worker.send_signal(signal.SIGCONT)
    out, _ = worker.communicate("\n", timeout=30)
    assert out == "lost 0\n"
    sweeper.done(0)


def test_a_sign_of_life_that_cannot_be_given_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
                                                          ) -> None:
    sweeper = ParamSweeper(tmp_path / "s", range(2), lease=0.2)
    failed = threading.Event()
    calls = []

    def fails(self: Any, text: str) -> None:
        calls.append(text)
        if len(calls) > 4:
            failed.set()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pulse.Pulse, "_write_beat", fails)
    sweeper.get_next()
    assert failed.wait(10)
    assert caplog.text.count("cannot give a sign of life") == 2         # at the claim, and in the pulse
    sweeper.done(0)


# Forks

def test_a_forked_child_goes_on_with_the_sweeper_and_the_claims_stay_its_parents(tmp_path: Path) -> None:
    sweeper = ParamSweeper(tmp_path / "s", range(4))
    mine = sweeper.get_next()
    pid = os.fork()
    if pid == 0:
        try:
            theirs = sweeper.get_next()
            sweeper.done(mine)              # of the parent's claim: the very same object took it
            os._exit(0 if theirs == 1 else 2)
        except BaseException:
            os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert sweeper.get_done() == {0}
    sweeper.done(mine)
    assert [sweeper.get_next() for _ in range(4)] == [2, 3, 1, None]        # 1 came back: the child is gone


def test_a_fork_in_the_middle_of_a_step_of_another_thread(tmp_path: Path) -> None:
    sweeper = ParamSweeper(tmp_path / "s", range(2000))
    over = threading.Event()

    def work() -> None:
        while not over.is_set() and (combination := sweeper.get_next()) is not None:
            sweeper.done(combination)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(20):
            pid = os.fork()
            if pid == 0:
                try:
                    combination = sweeper.get_next()
                    if combination is not None:
                        sweeper.done(combination)
                    os._exit(0)
                except BaseException:
                    os._exit(3)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        over.set()
        thread.join()
    assert sweeper.directory.verify()[:1] == (True,)
    assert sweeper.counts()["inprogress"] == 0


def _square(directory: str) -> int:
    sweeper = ParamSweeper(directory, range(40))
    number = 0
    while (combination := sweeper.get_next()) is not None:
        sweeper.done(combination)
        number += 1
    return number


@pytest.mark.leaks("multiprocessing keeps its resource tracker")
def test_workers_of_multiprocessing_share_a_sweep(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(3) as pool:
        assert sum(pool.map(_square, [str(tmp_path / "s")] * 3)) == 40


def test_a_sweeper_that_is_pickled_to_a_worker_is_another_one_on_the_same_directory(tmp_path: Path) -> None:
    sweeper = ParamSweeper(tmp_path / "s", range(3), name="given", max_attempts=2)
    assert sweeper.get_next() == 0
    other = pickle.loads(pickle.dumps(sweeper))
    assert str(other) == str(sweeper) == "given <3 total, 0 done, 0 skipped, 1 in progress, 2 remaining>"
    assert other.get_next() == 1
    assert [other.fail(1), other.get_next(), other.get_next(), other.fail(1)] == ["todo", 2, 1, "failed"]


def test_an_interrupt_while_it_waits_for_the_lock_of_another_process(tmp_path: Path) -> None:
    from execo_engine._sweep import files

    sweeper = ParamSweeper(tmp_path / "s", range(3))
    holder = os.open(tmp_path / "s" / "journal", os.O_RDWR)
    files.lock(holder)
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.2, signal.pthread_kill, [main, signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        sweeper.get_next()
    timer.join()
    files.unlock(holder)
    os.close(holder)
    assert [sweeper.get_next() for _ in range(4)] == [0, 1, 2, None]


def test_a_copy_of_the_directory_by_another_thread_does_not_open_the_lock(tmp_path: Path) -> None:
    # With POSIX locks, closing any descriptor of the file gives the lock away.
    from execo_engine._sweep import files

    ParamSweeper(tmp_path / "s", range(3))
    journal = tmp_path / "s" / "journal"
    holder = os.open(journal, os.O_RDWR)
    files.lock(holder)
    journal.read_bytes()
    code = "import fcntl, os, sys; fd = os.open(sys.argv[1], os.O_RDWR); fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)"
    assert "BlockingIOError" in run(code, journal).stdout
    files.unlock(holder)
    assert run(code, journal).stdout == ""
    os.close(holder)


def test_a_claim_that_was_cancelled_by_hand_and_taken_is_lost(tmp_path: Path) -> None:
    sweeper, other = ParamSweeper(tmp_path / "s", range(1)), ParamSweeper(tmp_path / "s", range(1))
    sweeper.get_next()
    with SweepDirectory(tmp_path / "s", write=True) as directory:
        assert directory.cancel(directory.records("inprogress")) == 1
    assert other.get_next() == 0
    with pytest.raises(ClaimLost):
        sweeper.done(0)
