"""Output of a program and its children, redirected and copied, in interpreters of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from interpreter import environment, popen, run_script

from execo_engine import copy_outputs, redirect_outputs
from execo_engine._outputs import end_copies


def run(script: str, folder: Path, **options) -> subprocess.CompletedProcess[str]:
    path = folder / "script.py"
    path.write_text("import os, sys\nfrom execo_engine import redirect_outputs, copy_outputs\n" + script)
    options = {"stdin": subprocess.DEVNULL, "capture_output": True, "timeout": 60, **options}
    return subprocess.run([sys.executable, str(path)], cwd=folder, env=environment(), text=True, **options)


def read(path: Path) -> str:
    return path.read_text()


def test_redirected_output_is_in_the_files_and_nowhere_else(tmp_path):
    (tmp_path / "out").write_text("before\n")
    done = run("redirect_outputs('out', 'err')\nprint('python')\nprint('wrong', file=sys.stderr)\nos.system('echo child; echo bad >&2')\n",
               tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (read(tmp_path / "out"), read(tmp_path / "err")) == ("before\npython\nchild\n", "wrong\nbad\n")


def test_what_was_printed_before_stays_where_it_was(tmp_path):
    done = run("print('early')\nredirect_outputs('out', 'err')\nprint('late')\n", tmp_path)
    assert (done.stdout, read(tmp_path / "out")) == ("early\n", "late\n")


@pytest.mark.parametrize("use_pty", [False, True])
def test_copied_output_is_in_the_files_and_in_its_place(use_pty, tmp_path):
    (tmp_path / "out").write_text("before\n")
    done = run(f"copy_outputs('out', 'err', use_pty={use_pty})\nprint('python')\nprint('wrong', file=sys.stderr)\n"
               "os.system('echo child; echo bad >&2')\n", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "python\nchild\n", "wrong\nbad\n")
    assert (read(tmp_path / "out"), read(tmp_path / "err")) == ("before\npython\nchild\n", "wrong\nbad\n")


@pytest.mark.parametrize("use_pty", [False, True])
def test_a_terminal_is_seen_only_if_asked_for(use_pty, tmp_path):
    done = run(f"copy_outputs('out', 'err', use_pty={use_pty})\nos.system('test -t 1 && echo terminal || echo none')\n", tmp_path)
    assert done.stdout == read(tmp_path / "out") == ("terminal\n" if use_pty else "none\n")


def test_all_is_copied_when_the_program_ends_however_much_it_is(tmp_path):
    done = run("copy_outputs('out', 'err')\nfor i in range(100000): print(i)\nos.system('seq 100000 200000')\n", tmp_path)
    expected = "".join(f"{i}\n" for i in [*range(100000), *range(100000, 200001)])
    assert done.stdout == expected
    assert read(tmp_path / "out") == expected


def test_one_file_for_both_keeps_whole_lines(tmp_path):
    run("copy_outputs('both', 'both')\nfor i in range(1000):\n    print('out', i)\n    print('err', i, file=sys.stderr)\n", tmp_path)
    lines = read(tmp_path / "both").splitlines()
    assert sorted(lines) == sorted(f"{stream} {i}" for stream in ("out", "err") for i in range(1000))


def test_a_second_copy_takes_the_place_of_the_first(tmp_path):
    done = run("copy_outputs('one', 'e1')\nprint(1)\ncopy_outputs('two', 'e2')\nprint(2)\n", tmp_path)
    assert (done.stdout, read(tmp_path / "one"), read(tmp_path / "two")) == ("1\n2\n", "1\n", "2\n")


def test_a_redirection_takes_the_place_of_a_copy(tmp_path):
    done = run("copy_outputs('one', 'e1')\nprint(1)\nos.system('echo c1')\nredirect_outputs('two', 'e2')\nprint(2)\nos.system('echo c2')\n",
               tmp_path)
    assert (done.stdout, read(tmp_path / "one"), read(tmp_path / "two")) == ("1\nc1\n", "1\nc1\n", "2\nc2\n")


def test_a_child_that_stays_does_not_hold_up_the_end(tmp_path):
    done = run("""
import subprocess
copy_outputs('out', 'err')
stay = subprocess.Popen(['sleep', '1000'])
print(stay.pid)
""", tmp_path)
    os.kill(int(done.stdout), signal.SIGKILL)       # it was there, and the program had ended
    assert read(tmp_path / "out") == done.stdout


def test_the_reader_of_the_copy_may_go_away(tmp_path):
    script = "copy_outputs('out', 'err')\nfor i in range(20000): print(i)\n"
    (tmp_path / "script.py").write_text("from execo_engine import copy_outputs\n" + script)
    with subprocess.Popen([sys.executable, "script.py"], cwd=tmp_path, env=environment(), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        program.stdout.read(1)
        program.stdout.close()
        said = program.stderr.read().decode()
    assert program.returncode == 0
    assert [line for line in read(tmp_path / "out").splitlines() if line.isdigit()] == [str(i) for i in range(20000)]
    assert said == ""
    assert "not copied any more" in read(tmp_path / "out")


def test_a_full_disk_stops_the_copy_and_not_the_program(tmp_path):
    done = run("copy_outputs('/dev/full', '/dev/full')\nprint('first')\nprint('second')\nsys.exit(3)\n", tmp_path)
    assert done.returncode == 3
    lines = done.stdout.splitlines()
    assert 0 <= done.stdout.find("first") < done.stdout.find("second")      # the warning may come between a line and its end
    assert len([line for line in lines if "not copied any more" in line and "No space left" in line]) == 1


def test_ctrl_c_ends_the_program_and_not_the_copy(tmp_path):
    script = """
        import sys, time
        from execo_engine import copy_outputs
        copy_outputs("out", "err")
        try:
            print("ready")
            time.sleep(60)
        except KeyboardInterrupt:
            print("interrupted")
            sys.stderr.write("why\\n")
    """
    with popen(script, cwd=tmp_path, stderr=subprocess.PIPE, start_new_session=True) as program:
        assert program.stdout.readline() == "ready\n"
        os.killpg(program.pid, signal.SIGINT)           # as a terminal does: to the whole group
        out, err = program.communicate(timeout=30)
    assert program.returncode == 0
    assert (out, err) == ("interrupted\n", "why\n")
    assert (read(tmp_path / "out"), read(tmp_path / "err")) == ("ready\ninterrupted\n", "why\n")


def test_the_traceback_of_the_end_is_copied_too(tmp_path):
    done = run("copy_outputs('out', 'err')\nraise ValueError('the reason')\n", tmp_path)
    assert done.returncode == 1
    assert "ValueError: the reason" in done.stderr
    assert read(tmp_path / "err") == done.stderr


def test_a_forked_child_prints_into_the_copy_and_does_not_end_it(tmp_path):
    done = run("""
copy_outputs('out', 'err')
print('parent', flush=True)
pid = os.fork()
if pid == 0:
    print('child')
    sys.exit(0)
os.waitpid(pid, 0)
print('parent again')
""", tmp_path)
    assert done.stdout == read(tmp_path / "out") == "parent\nchild\nparent again\n"


def test_a_program_without_standard_output_can_copy(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import os\nos.close(1); os.close(2)\nfrom execo_engine import copy_outputs\ncopy_outputs('out', 'err')\n"
                      "os.write(1, b'there\\n')\nos.system('echo child; echo bad >&2')\n")
    subprocess.run([sys.executable, "script.py"], cwd=tmp_path, env=environment(), stdin=subprocess.DEVNULL, timeout=60, check=True)
    assert (read(tmp_path / "out"), read(tmp_path / "err")) == ("there\nchild\n", "bad\n")


@pytest.mark.parametrize("function", [copy_outputs, redirect_outputs])
def test_a_file_that_cannot_be_opened_changes_nothing(function, tmp_path):
    before = [os.fstat(fd).st_ino for fd in (1, 2)]
    with pytest.raises(FileNotFoundError):
        function(tmp_path / "out", tmp_path / "missing" / "err")
    assert [os.fstat(fd).st_ino for fd in (1, 2)] == before


def test_output_that_python_does_not_write_to_the_descriptor_is_taken_along(tmp_path):
    # A notebook replaces sys.stdout.
    assert run_script(f"""
        import io, sys
        from execo_engine import redirect_outputs
        sys.stdout = io.StringIO()
        redirect_outputs({str(tmp_path / "out")!r}, {str(tmp_path / "err")!r})
        print("here")
    """) == ""
    assert read(tmp_path / "out") == "here\n"


def test_the_descriptors_and_the_thread_are_given_back(tmp_path, capfd):
    """What is left behind is judged by the fixture of all tests."""
    before = sys.stdout, sys.stderr
    try:
        copy_outputs(tmp_path / "out", tmp_path / "err")
        os.write(1, b"one\n")
        end_copies()
        os.write(1, b"two\n")
    finally:
        end_copies()
        sys.stdout, sys.stderr = before
    assert read(tmp_path / "out") == "one\n"
    assert capfd.readouterr().out == "one\ntwo\n"
