"""The engine: options, directories, order of methods, files of output.  What concerns a whole program runs in one."""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import simplejson
from interpreter import environment

import execo
from execo_engine import Engine, Results, logger
from execo_engine.engine import run_meth_on_engine_ancestors

SCRIPT = """
import os, sys
from execo_engine import Engine, logger
class Base(Engine):
    def init(self):
        print("base init")
    def run(self):
        print("base run")
        print("base error", file=sys.stderr)
        os.system("echo child")
"""


def run(folder: Path, script: str, *arguments: str, name: str = "script.py") -> subprocess.CompletedProcess[str]:
    (folder / name).write_text(SCRIPT + script)
    return subprocess.run([sys.executable, name, *arguments], cwd=folder, env={**environment(), "COLUMNS": "200"},
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


def said(text: str) -> list[str]:
    """Without what is logged."""
    return [line for line in text.splitlines() if not re.match(r"\d{4}-\d\d-\d\d ", line)]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def _level_is_restored():
    level = logger.level
    yield
    logger.setLevel(level)


class Recorder(Engine):
    def __init__(self):
        super().__init__()
        self.calls = []

    def init(self):
        self.calls.append("recorder init")

    def run(self):
        self.calls.append("recorder run")


class Middle(Recorder):
    def run(self):
        self.calls.append("middle run")


class Mixin:
    def init(self):
        raise AssertionError("not an engine")


class Leaf(Middle, Mixin):
    def init(self):
        self.calls.append("leaf init")


def test_each_class_of_the_engine_has_its_init_and_run_called_the_most_derived_first(here):
    engine = Leaf()
    engine.start([])
    assert engine.calls == ["leaf init", "recorder init", "middle run", "recorder run"]


def test_two_bases_are_called_in_the_order_of_the_classes(here):
    class Other(Recorder):
        def run(self):
            self.calls.append("other run")

    class Both(Middle, Other):
        pass

    engine = Both()
    engine.start([])
    assert engine.calls == ["recorder init", "middle run", "other run", "recorder run"]


def test_methods_of_other_names_can_be_called_alike_also_static_ones():
    calls = []

    class First(Engine):
        @staticmethod
        def report():
            calls.append("first")

    class Second(First):
        def report(self):
            calls.append("second")

    run_meth_on_engine_ancestors(Second(), "report")
    assert calls == ["second", "first"]


def test_before_the_start_nothing_is_known_and_nothing_is_made(here):
    engine = Recorder()
    assert (engine.args, engine.run_name, engine.result_dir, engine.notebook) == (None, None, None, None)
    assert engine.engine_dir == os.path.dirname(os.path.abspath(__file__))
    with pytest.raises(RuntimeError, match="before it is started"):
        engine.results  # noqa: B018
    assert os.listdir(here) == []


def test_the_directory_of_results_is_named_by_class_date_and_zone(here):
    engine = Recorder()
    engine.start([])
    assert re.fullmatch(r"Recorder_\d{8}_\d{6}_[+-]\d{4}(_2)?", engine.run_name)
    assert engine.result_dir == str(here / engine.run_name)
    assert os.listdir(engine.result_dir) == []


def test_runs_that_begin_in_the_same_second_have_directories_of_their_own(here):
    engines = [Recorder() for _ in range(4)]
    for engine in engines:
        engine.start([])
    assert len({engine.result_dir for engine in engines}) == 4
    assert {engine.run_name for engine in engines} == set(os.listdir(here))


def test_a_name_and_a_directory_can_be_chosen(here):
    class Named(Recorder):
        def setup_run_name(self):
            self.run_name = "mine"

    class Placed(Named):
        def setup_result_dir(self):
            self.result_dir = os.path.abspath(f"results/{self.run_name}")

    for _ in range(2):                      # a name of one's own is not changed, and an existing directory is fine
        engine = Named()
        engine.start([])
        assert (engine.run_name, engine.result_dir) == ("mine", str(here / "mine"))
    engine = Placed()
    engine.start([])
    assert os.path.isdir("results/mine")


def test_option_c_uses_a_directory_as_it_is_given(here):
    (here / "old").mkdir()
    (here / "old" / "kept").touch()
    engine = Recorder()
    engine.start(["-c", "old"])
    assert engine.result_dir == "old"
    assert os.listdir("old") == ["kept"]
    engine.start(["-c", "new/below"])
    assert os.path.isdir("new/below")


def test_results_stay_in_their_directory_when_the_program_changes_its_own(here):
    class Wanderer(Engine):
        def run(self):
            os.chdir("/")
            self.results.append({"n": 1}, {})

    Wanderer().start(["-c", "old"])
    assert len(Results(here / "old").read()) == 1


def test_results_of_a_second_start_go_to_the_second_directory(here):
    class Counter(Engine):
        def run(self):
            self.results.append({"n": 1}, {})

    engine = Counter()
    engine.start(["-c", "one"])
    engine.start(["-c", "two"])
    assert [len(Results(name).read()) for name in ("one", "two")] == [1, 1]


def test_a_class_may_have_results_of_its_own(here):
    class Old(Engine):
        def __init__(self):
            super().__init__()
            self.results = []

        def run(self):
            self.results.append(1)

    engine = Old()
    engine.start([])
    assert engine.results == [1]


@pytest.mark.parametrize(("arguments", "level"), [
    (["-l", "10"], 10), (["-l", "DEBUG"], 10), (["-l", "debug"], 10), (["-l", "DETAIL"], execo.log.DETAIL), (["-l", "TRACE"], 12),
])
def test_option_l_sets_the_level_of_the_engine_only(arguments, level, here):
    before = execo.logger.level
    engine = Recorder()
    engine.start(arguments)
    assert (logger.level, execo.logger.level, engine.args.log_level) == (level, before, arguments[1])


@pytest.mark.parametrize("arguments", [["-l", "LOUD"], ["-l", "-3"], ["--nope"], ["surplus"]])
def test_a_wrong_option_is_an_exit_with_2_and_makes_no_directory(arguments, here, capsys):
    with pytest.raises(SystemExit) as ended:
        Recorder().start(arguments)
    assert ended.value.code == 2
    assert "usage: <program> [options] <arguments>" in capsys.readouterr().err
    assert os.listdir(here) == []


def test_an_unknown_level_is_told_with_those_that_there_are(here, capsys):
    with pytest.raises(SystemExit):
        Recorder().start(["-l", "LOUD"])
    message = capsys.readouterr().err
    assert "'LOUD'" in message
    assert "DETAIL" in message


def test_the_help_names_the_engine_its_options_and_those_that_were_added(here, capsys):
    engine = Recorder()
    engine.args_parser.add_argument("--extra", default="this")
    with pytest.raises(SystemExit) as ended:
        engine.start(["-h"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "engine: Recorder" in text
    assert [option for option in ("-l LOG_LEVEL", "-L", "-R", "-M", "-c DIR", "--extra EXTRA") if option not in text] == []


def test_the_directory_must_be_set(here):
    class Forgetful(Recorder):
        def setup_result_dir(self):
            pass

    with pytest.raises(ValueError, match=r"Forgetful\.setup_result_dir has set no result_dir"):
        Forgetful().start([])


def test_an_exception_of_run_propagates(here):
    class Failing(Recorder):
        def run(self):
            raise ValueError("the reason")

    with pytest.raises(ValueError, match="the reason"):
        Failing().start([])


# names of early versions

def test_options_parser_and_options_still_serve_and_say_that_they_are_old(here):
    engine = Recorder()
    with pytest.warns(DeprecationWarning, match="use args_parser") as said:
        parser = engine.options_parser
    assert said[0].filename == __file__
    parser.add_option("-n", "--number", dest="number", type="int", default=3, help="how many of 100%, %default if not given", metavar="N")
    parser.add_option("-k", dest="keep", action="store_true", default=False, help="keep it")
    parser.add_option("--kind", type="choice", choices=["a", "b"], default="a")
    parser.add_argument("cluster", "the cluster to use")
    parser.set_usage("usage: %prog <cluster>")
    parser.set_description("an old engine")
    parser.set_defaults(more=1)
    engine.start(["-n", "5", "-k", "--kind", "b", "paradent"])
    with pytest.warns(DeprecationWarning, match="use args"):
        options = engine.options
    assert options is engine.args
    assert isinstance(options, argparse.Namespace)
    assert (options.number, options.keep, options.kind, options.cluster, options.more) == (5, True, "b", "paradent", 1)
    text = engine.args_parser.format_help()
    assert "how many of 100%, 3 if not given" in text
    assert "the cluster to use" in text
    assert "an old engine" in text


def test_an_unknown_type_of_an_old_option_is_told():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parser = Recorder().options_parser
    with pytest.raises(ValueError, match="found 'number'"):
        parser.add_option("-n", type="number")


# a whole program

def test_the_command_line_is_that_of_the_program(tmp_path):
    done = run(tmp_path, """
class Sub(Base):
    def __init__(self):
        super().__init__()
        self.args_parser.add_argument("--opt", default="dflt")
        self.args_parser.add_argument("pos", nargs="?")
    def init(self):
        print("sub init", self.args.opt, self.args.pos)
sys.argv = ["other"]
sys.stdout.reconfigure(line_buffering=True)
Sub().start()
""", "--opt", "x y", "p")
    assert done.returncode == 0
    assert said(done.stdout) == ["sub init x y p", "base init", "base run", "child"]


def test_what_runs_is_logged_first(tmp_path):
    done = run(tmp_path, "Base().start(['-c', 'd'])", "a b", "c")
    logged = [re.sub(r"^\S+ \S+ ", "", line) for line in done.stdout.splitlines() if line not in said(done.stdout)]
    assert logged == ["INFO: command line arguments: ['script.py', 'a b', 'c']", "INFO: command line: script.py 'a b' c",
                      "INFO: run in directory d"]


def test_option_R_sends_all_output_to_files(tmp_path):
    done = run(tmp_path, "Base().start(['-R', '-c', 'd'])\nprint('after')\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(os.listdir(tmp_path / "d")) == ["stderr", "stdout"]
    out = (tmp_path / "d" / "stdout").read_text()
    assert "INFO: run in directory d" in out
    assert said(out) == ["base init", "base run", "child", "after"]
    assert (tmp_path / "d" / "stderr").read_text() == "base error\n"


def test_option_L_copies_all_output_to_files(tmp_path):
    done = run(tmp_path, "Base().start(['-L', '-c', 'd'])\nprint('after')\n")
    assert done.returncode == 0
    assert said(done.stdout) == ["base init", "base run", "child", "after"]
    assert done.stderr == "base error\n"
    assert sorted(os.listdir(tmp_path / "d")) == ["stderr", "stdout"]
    assert (tmp_path / "d" / "stdout").read_text() == done.stdout
    assert (tmp_path / "d" / "stderr").read_text() == done.stderr


@pytest.mark.parametrize("option", ["-L", "-R"])
def test_option_M_makes_one_file_of_both(option, tmp_path):
    run(tmp_path, f"Base().start([{option!r}, '-M', '-c', 'd'])\n")
    assert os.listdir(tmp_path / "d") == ["stdout+stderr"]
    assert sorted(said((tmp_path / "d" / "stdout+stderr").read_text())) == ["base error", "base init", "base run", "child"]


def test_option_M_alone_does_nothing(tmp_path):
    done = run(tmp_path, "Base().start(['-M', '-c', 'd'])\n")
    assert os.listdir(tmp_path / "d") == []
    assert sorted(said(done.stdout)) == ["base init", "base run", "child"]      # Python's own output may come last


def test_each_of_two_engines_has_its_own_output(tmp_path):
    run(tmp_path, "Base().start(['-L', '-c', 'one'])\nprint('between')\nBase().start(['-R', '-c', 'two'])\n")
    assert said((tmp_path / "one" / "stdout").read_text()) == ["base init", "base run", "child", "between"]
    assert said((tmp_path / "two" / "stdout").read_text()) == ["base init", "base run", "child"]


def test_output_of_processes_of_execo_is_not_mixed_in_and_nothing_outlives_a_run_that_is_interrupted(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT + """
from execo import Process
class Long(Engine):
    keep_notebook = True
    def run(self):
        print(Process("echo captured").run().stdout.strip())
        long = Process("sleep 1000").start()
        long.started_event.wait()
        print(long.pid, flush=True)
        long.wait()
Long().start(['-L', '-c', 'd'])
""")
    with subprocess.Popen([sys.executable, "script.py"], cwd=tmp_path, env=environment(), stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as program:
        while not (line := program.stdout.readline()).strip().isdigit():
            assert line, program.stderr.read()
        os.killpg(program.pid, signal.SIGINT)
        _, err = program.communicate(timeout=60)
    assert program.returncode == -signal.SIGINT
    assert err.endswith("KeyboardInterrupt\n")
    assert (tmp_path / "d" / "stderr").read_text() == err
    assert said((tmp_path / "d" / "stdout").read_text()) == ["captured", line.strip()]
    with pytest.raises(ProcessLookupError):
        os.killpg(program.pid, 0)           # nobody is left in its group
    notebook = simplejson.loads((tmp_path / "d" / "notebook.json").read_text())
    assert notebook["outcome"] == {"kind": "interrupted", "exception": "KeyboardInterrupt: "}
    assert notebook["end_date"] >= notebook["start_date"]
