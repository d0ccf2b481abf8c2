"""No result is lost, none comes twice, none is damaged: writers side by side, writers that die, disks that are full."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import textwrap
import threading
from pathlib import Path

import pytest
from interpreter import environment, run_script

from execo_engine import Results
from execo_engine._files import write_atomically
from execo_engine._results.lines import pack
from execo_engine.results import Result


def numbers(results: Results, run: str | None = None) -> list[int]:
    return [result.parameters["n"] for result in results.read() if run is None or result.run == run]


def check_texts(results: Results) -> None:
    for result in results.read():
        assert len(result.metrics["text"]) == result.parameters["n"] * 37 % 5000


FORK = """
    import os, signal, sys
    from execo_engine import Results

    def start(run, end):
        # a process of its own that says each number once it is recorded
        reader, writer = os.pipe()
        pid = os.fork()
        if pid:
            os.close(writer)
            return pid, os.fdopen(reader)
        try:
            results = Results(sys.argv[1], run=run)
            for n in range(end):
                results.append({"n": n}, {"text": "x" * (n * 37 % 5000)})
                os.write(writer, b"%d\\n" % n)
        finally:
            os._exit(0)
"""


def test_sixteen_processes_append_at_once(tmp_path):
    run_script(FORK + """
    writers = [start(str(number), 50) for number in range(16)]
    for pid, told in writers:
        assert told.read().split()[-1] == "49"
        os.waitpid(pid, 0)
    """, tmp_path)
    results = Results(tmp_path)
    for writer in range(16):
        assert numbers(results, str(writer)) == list(range(50))     # in the order in which each one wrote
    assert len(results.read()) == 800
    assert results.damaged == []
    assert not (tmp_path / "results.quarantine").exists()
    check_texts(results)


def test_threads_of_one_process_append_at_once_through_several_objects(tmp_path):
    def write(run: str) -> None:
        results = Results(tmp_path, run=run)
        for n in range(50):
            results.append({"n": n}, {"text": "x" * (n * 37 % 5000)})
            results.read()

    threads = [threading.Thread(target=write, args=(str(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    results = Results(tmp_path)
    assert [numbers(results, str(number)) for number in range(8)] == [list(range(50))] * 8
    assert results.damaged == []


def test_writers_that_are_killed_lose_nothing_that_append_returned_for(tmp_path):
    said = run_script(FORK + """
    for generation in range(5):
        writers = {f"{generation}-{number}": start(f"{generation}-{number}", 1_000_000) for number in range(6)}
        for number, (run, (pid, told)) in enumerate(writers.items()):
            first = [told.readline() for _ in range(5 + 3 * number)]
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            print(run, len(first) + len(told.readlines()))
    """, tmp_path)
    results = Results(tmp_path, run="last")
    results.append({"n": 0}, {"text": ""})
    confirmed = dict(words.split() for words in said.splitlines() if "WARNING" not in words)
    assert len(confirmed) == 30
    for run, number in confirmed.items():
        found = numbers(results, run)
        assert found == list(range(len(found)))
        assert len(found) - int(number) in (0, 1)       # the last one may have been recorded and not yet told
    assert results.damaged == []
    check_texts(results)


def line(n: int) -> bytes:
    return pack(Result({"n": n}, {"text": "ab"}, host="h"))


def test_a_line_that_is_torn_at_any_byte_is_set_aside_and_later_ones_are_kept(tmp_path, caplog):
    whole = line(2)
    file = tmp_path / "results.jsonl"
    for cut in range(len(whole) + 1):
        caplog.clear()
        file.write_bytes(line(1) + whole[:cut])
        (tmp_path / "results.quarantine").unlink(missing_ok=True)
        results = Results(tmp_path)
        intact = cut >= len(whole) - 1                  # at most the end of the line is missing
        assert numbers(results) == ([1, 2] if intact else [1])
        assert [damaged.text for damaged in results.damaged] == ([] if intact or cut == 0 else [whole[:cut]])
        assert ("1 of 2 lines are damaged" in caplog.text) is bool(results.damaged)
        results.append({"n": 3}, {"text": "x" * 111})
        assert numbers(results) == ([1, 2, 3] if intact else [1, 3])
        assert results.damaged == []
        if intact or cut == 0:
            assert not (tmp_path / "results.quarantine").exists()
        else:
            assert (tmp_path / "results.quarantine").read_bytes() == whole[:cut] + b"\n"
            assert f"its {cut} bytes are now in results.quarantine" in caplog.text


def test_a_long_torn_line_is_set_aside_as_a_whole(tmp_path):
    (tmp_path / "results.jsonl").write_bytes(line(1) + b"x" * 200_000)
    results = Results(tmp_path)
    results.append({"n": 2}, {"text": ""})
    assert numbers(results) == [1, 2]
    assert (tmp_path / "results.quarantine").read_bytes() == b"x" * 200_000 + b"\n"


def test_a_byte_that_changes_anywhere_damages_its_line_and_no_other(tmp_path, caplog):
    middle = line(2)
    for place in range(len(middle) - 1):
        changed = bytearray(middle)
        changed[place] ^= 0x01
        (tmp_path / "results.jsonl").write_bytes(line(1) + bytes(changed) + line(3))
        results = Results(tmp_path)
        assert [n for n in numbers(results) if n in (1, 3)] == [1, 3]
        assert len(results.damaged) >= 1
        assert len(results.read()) == 2


def test_all_sorts_of_rubbish_are_left_out(tmp_path):
    rubbish = [b"", b"\0" * 100, b"{}", b'{"crc32":"00000000","result":}', b"\xff\xfe", b'{"crc32":"00000000","result":{}}', b"null", b"  "]
    (tmp_path / "results.jsonl").write_bytes(b"\n".join([line(1)[:-1], *rubbish, line(2)]))
    results = Results(tmp_path)
    assert numbers(results) == [1, 2]
    assert [damaged.number for damaged in results.damaged] == [3, 4, 5, 6, 7, 8]


FULL = """
    import os, resource, sys
    from execo_engine import Results
    results = Results(sys.argv[1])
    written = 0
    try:
        while True:
            results.append({"n": written}, {"text": "x" * 3000})
            written += 1
    except OSError as error:
        print(written, error.errno)
    try:
        results.append({"n": -1}, {"text": "x" * 3000})
    except OSError as error:
        print("again", error.errno)
"""


def test_a_file_that_may_not_grow_keeps_what_it_had(tmp_path):
    said = run_script(FULL, tmp_path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))).split()
    results = Results(tmp_path)
    assert said[2:] == ["again", said[1]]
    assert int(said[0]) > 5
    assert numbers(results) == list(range(int(said[0])))
    assert results.damaged == []
    results.append({"n": 99}, {"text": "there is room again"})
    assert numbers(results)[-1] == 99


@pytest.mark.requires("namespaces")
def test_a_full_disk_keeps_what_it_had(tmp_path):
    """In a mount namespace of its own, which takes the small disk with it."""
    script = tmp_path / "script.py"
    script.write_text("import sys\nsys.argv[1:] = ['disk']\n" + textwrap.dedent(FULL) + """
assert Results('disk').read()[-1].parameters == {"n": written - 1}
assert Results('disk').damaged == []
assert open('disk/results.jsonl', 'rb').read().endswith(b'\\n')
""")
    (tmp_path / "disk").mkdir()
    command = 'mount -t tmpfs -o size=64k none disk && exec "$@"'
    done = subprocess.run(["unshare", "--mount", "sh", "-c", command, "sh", sys.executable, str(script)], cwd=tmp_path, env=environment(),
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    said = done.stdout.split()
    assert int(said[0]) > 5
    assert said[1:] == ["28", "again", "28"]        # ENOSPC
    assert os.listdir(tmp_path / "disk") == []


def test_a_reader_without_the_right_to_write_sees_the_whole_lines():
    read = """
        import os, sys
        from execo_engine import Results
        if os.geteuid() == 0:
            os.setuid(65534)
        results = Results(sys.argv[1])
        print([result.parameters["n"] for result in results.read()], len(results.damaged))
        try:
            results.append({"n": 3}, {})
        except PermissionError:
            print("refused")
    """
    with tempfile.TemporaryDirectory(prefix="execo-results-") as folder:        # the tests' own is closed to others
        file = Path(folder, "results.jsonl")
        file.write_bytes(line(1) + line(2)[:30])
        file.chmod(0o444)
        Path(folder).chmod(0o755)
        assert run_script(read, folder).splitlines()[-2:] == ["[1] 1", "refused"]
        assert file.read_bytes() == line(1) + line(2)[:30]


def test_a_child_that_is_forked_while_a_thread_appends_can_append(tmp_path):
    assert run_script("""
        import os, sys, threading
        from execo_engine import Results
        results = Results(sys.argv[1])
        over = threading.Event()
        def write():
            n = 0
            while not over.is_set():
                results.append({"n": n}, {"text": ""}); n += 1
        thread = threading.Thread(target=write)
        thread.start()
        for _ in range(20):
            pid = os.fork()
            if pid == 0:
                Results(sys.argv[1], run="child").append({"n": 0}, {"text": ""})
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
        over.set()
        thread.join()
        print(sum(result.run == "child" for result in results.read()), len(results.damaged))
    """, tmp_path, timeout=60).splitlines()[-1] == "20 0"


def test_writing_a_file_anew_leaves_the_old_one_or_the_new_one(tmp_path):
    target = tmp_path / "file"
    write_atomically(target, "old")
    with pytest.raises(TypeError):
        write_atomically(target, 3)
    assert target.read_text() == "old"
    write_atomically(target, "new é")
    assert target.read_bytes() == "new é".encode()
    assert os.listdir(tmp_path) == ["file"]
    assert not Path(target).stat().st_mode & 0o111
