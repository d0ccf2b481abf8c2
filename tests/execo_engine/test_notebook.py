"""The laboratory notebook: what a run was made of, what it ran, and how it ended."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import simplejson
from interpreter import popen, run_script

from execo import Process, SshProcess
from execo.localcluster import LocalCluster
from execo_engine import Engine, Notebook
from execo_engine._notebook.commands import ask
from execo_engine._notebook.environment import KEPT, kept_variables, packages
from execo_engine._notebook.git import git_facts
from execo_engine._notebook.hardware import local_hardware, parse_hardware
from execo_engine.notebook import read_notebook, read_notebooks


def processes(notebook: Notebook) -> list[dict]:
    return [simplejson.loads(line) for line in notebook.processes_path.read_text().splitlines()]


class Measuring(Engine):
    keep_notebook = True

    def __init__(self):
        super().__init__()
        self.args_parser.add_argument("--seed", type=int)
        self.args_parser.add_argument("--factor", type=float, default=1.5)
        self.at_begin = {}

    def run(self):
        self.at_begin = read_notebook(self.result_dir)
        Process("echo é; echo oops >&2; exit 3", shell=True, nolog_exit_code=True, name="one").run()
        self.notebook.note(plan={"size": 24})
        self.results.append({"n": 1}, {"time": 1})


@pytest.fixture
def ran(tmp_path):
    engine = Measuring()
    engine.start(["-c", str(tmp_path / "campaign"), "--seed", "42"])
    return engine


def test_a_run_leaves_a_notebook_of_what_it_was_made_of(ran):
    notebook = read_notebook(ran.result_dir)
    assert notebook["run_id"].startswith(f"{ran.run_name}-")
    assert notebook["engine"] == "Measuring"
    assert notebook["command_line"] == sys.argv
    assert notebook["arguments"] == ["-c", ran.result_dir, "--seed", "42"]
    assert notebook["options"]["factor"] == 1.5
    assert notebook["seed"] == 42
    assert notebook["script"] == os.path.abspath(__file__)
    assert notebook["result_dir"] == ran.result_dir
    assert notebook["python"]["version"] == ".".join(map(str, sys.version_info[:3]))
    assert notebook["packages"]["simplejson"] == simplejson.__version__
    assert notebook["environment"]["PATH"] == os.environ["PATH"]
    assert notebook["host"]["name"] == os.uname().nodename
    assert notebook["host"]["cpus"] >= 1
    assert notebook["host"]["memory"] > 1 << 20
    assert notebook["pid"] == os.getpid()
    assert notebook["plan"] == {"size": 24}
    assert notebook["outcome"] == {"kind": "ok", "exception": None}
    assert notebook["start_date"] <= notebook["end_date"]
    assert notebook["processes"] == {"number": 1, "failed": 1}


def test_it_is_there_from_the_begin_on(ran):
    assert ran.at_begin["outcome"]["kind"] == "running"
    assert ran.at_begin["end_date"] is None
    assert ran.at_begin["run_id"] == ran.notebook.run_id


def test_each_process_is_noted(ran):
    noted, = processes(ran.notebook)
    assert noted["start_date"] <= noted["end_date"]
    del noted["start_date"], noted["end_date"]
    assert noted == {"command": "echo é; echo oops >&2; exit 3", "name": "one", "kind": "Process", "host": None,
                     "exit_code": 3, "ok": False, "error": None, "timeouted": False, "killed": False, "stdout_bytes": 3, "stderr_bytes": 5}


def test_results_carry_the_identity_of_the_run(ran):
    assert ran.results.read()[0].run == ran.notebook.run_id


@pytest.mark.parametrize(("exception", "kind"), [
    (ValueError("the reason"), "error"), (KeyboardInterrupt(), "interrupted"), (SystemExit(2), "exit"),
])
def test_the_end_says_how_it_came(exception, kind, tmp_path):
    class Ending(Engine):
        keep_notebook = True

        def run(self):
            raise exception

    with pytest.raises(type(exception)):
        Ending().start(["-c", str(tmp_path)])
    outcome = read_notebook(tmp_path)["outcome"]
    assert outcome["kind"] == kind
    assert outcome["exception"] == f"{type(exception).__name__}: {exception}"


def test_an_engine_keeps_no_notebook_unless_it_is_asked_to(tmp_path):
    Engine().start(["-c", str(tmp_path)])
    assert os.listdir(tmp_path) == []


def test_a_campaign_that_is_continued_keeps_the_notebooks_of_all_its_runs(tmp_path):
    for seed in range(3):
        Measuring().start(["-c", str(tmp_path), "--seed", str(seed)])
    assert [notebook["seed"] for notebook in read_notebooks(tmp_path)] == [0, 1, 2]
    assert read_notebook(tmp_path)["seed"] == 2
    assert read_notebook(tmp_path / "notebook.json")["seed"] == 0
    assert read_notebook(tmp_path / "notebook-2.json")["path"] == str(tmp_path / "notebook-2.json")
    assert sorted(path.name for path in tmp_path.glob("processes*")) == ["processes-2.jsonl", "processes-3.jsonl", "processes.jsonl"]
    assert len({notebook["run_id"] for notebook in read_notebooks(tmp_path)}) == 3


def test_runs_of_one_directory_at_once_have_notebooks_of_their_own(tmp_path):
    run_script("""
        import os, sys
        from execo_engine import Notebook
        for number in range(6):
            if not os.fork():
                Notebook.begin(sys.argv[1], "run", seed=str(number)).end()
                os._exit(0)
        for _ in range(6):
            assert os.wait()[1] == 0
    """, tmp_path)
    assert sorted(notebook["seed"] for notebook in read_notebooks(tmp_path)) == [str(number) for number in range(6)]


def test_a_run_that_is_killed_leaves_what_it_had_written(tmp_path):
    with popen("""
        import sys, os
        from execo import Process
        from execo.process import flush_process_observers
        from execo_engine import Notebook
        notebook = Notebook.begin(sys.argv[1], "run")
        Process("true").run()
        flush_process_observers()
        print("ready", flush=True)
        sys.stdin.read()
    """, tmp_path, stdin=subprocess.PIPE) as program:
        assert program.stdout.readline() == "ready\n"
        program.kill()
    notebook = read_notebook(tmp_path)
    assert (notebook["outcome"]["kind"], notebook["end_date"]) == ("running", None)
    assert len((tmp_path / "processes.jsonl").read_text().splitlines()) == 1


def test_a_notebook_that_is_empty_for_its_run_died_at_once_is_left_out(tmp_path):
    (tmp_path / "notebook.json").touch()
    Notebook.begin(tmp_path, "run", seed=5).end()
    assert [notebook["seed"] for notebook in read_notebooks(tmp_path)] == [5]


@pytest.mark.parametrize("text", ["{", "[]", "{}", "3"])
def test_what_is_no_notebook_is_told(text, tmp_path):
    with pytest.raises(FileNotFoundError, match="keep_notebook"):
        read_notebook(tmp_path)
    file = tmp_path / "notebook.json"
    file.write_text(text)
    with pytest.raises(ValueError, match="is not a notebook"):
        read_notebook(file)


def test_processes_of_other_times_are_not_noted(tmp_path):
    Process("echo before").run()
    notebook = Notebook.begin(tmp_path, "run")
    threads = [threading.Thread(target=lambda: Process("echo within").run()) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    notebook.end()
    Process("echo after").run()
    assert [noted["command"] for noted in processes(notebook)] == ["echo within"] * 20


def test_a_process_that_cannot_start_is_noted_with_its_reason(tmp_path):
    notebook = Notebook.begin(tmp_path, "run")
    Process("/nonexistent/program", nolog_error=True, nolog_exit_code=True).run()
    notebook.end()
    noted, = processes(notebook)
    assert (noted["exit_code"], noted["ok"]) == (None, False)
    assert "No such file" in noted["error"]


def test_a_fork_writes_nothing_in_the_notebook_of_its_parent(tmp_path):
    assert run_script("""
        import os, sys
        from execo import Process
        from execo.process import flush_process_observers
        from execo_engine import Notebook
        notebook = Notebook.begin(sys.argv[1], "run")
        Process("echo parent").run()
        pid = os.fork()
        if pid == 0:
            Process("echo child").run()
            flush_process_observers()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        notebook.end()
        print(open(notebook.processes_path).read().count("echo child"))
    """, tmp_path) == "0"


def test_several_threads_may_note(tmp_path):
    notebook = Notebook.begin(tmp_path, "run")
    threads = [threading.Thread(target=lambda name=f"fact{number}": [notebook.note(**{name: step}) for step in range(20)])
               for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    notebook.end()
    read = read_notebook(tmp_path)
    assert [read[f"fact{number}"] for number in range(8)] == [19] * 8


def test_a_fact_without_a_form_in_json_is_refused_and_an_option_becomes_its_text(tmp_path):
    notebook = Notebook.begin(tmp_path, "run", options={"stream": sys.stdin, "n": 1})
    with pytest.raises(TypeError):
        notebook.note(thing=object())
    notebook.end()
    options = read_notebook(tmp_path)["options"]
    assert options["n"] == 1
    assert options["stream"] == repr(sys.stdin)


def test_a_directory_that_is_gone_at_the_end_does_not_hide_the_result(tmp_path, caplog):
    folder = tmp_path / "campaign"
    notebook = Notebook.begin(folder, "run")
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    notebook.end()
    assert "the notebook cannot be written" in caplog.text


@pytest.mark.requires("ssh")
def test_the_hardware_of_hosts_is_noted_and_those_that_do_not_answer(tmp_path):
    with LocalCluster(2) as cluster:
        notebook = Notebook.begin(tmp_path, "run")
        refused = {**cluster.connection_params, "port": 1}
        addresses = [host.address for host in cluster.hosts]
        notebook.describe_hosts(cluster.hosts, cluster.connection_params)
        notebook.describe_hosts([cluster.hosts[0]], cluster.connection_params)
        known = dict(notebook.facts["hosts"])
        notebook.describe_hosts([cluster.hosts[1]], refused)
        notebook.describe_hosts([])
        SshProcess("true", cluster.hosts[0], cluster.connection_params).run()
        notebook.end()
    assert list(known) == addresses
    assert all(facts["cpus"] == local_hardware()["cpus"] for facts in known.values())
    hosts = read_notebook(tmp_path)["hosts"]
    assert hosts[addresses[0]] == known[addresses[0]]
    assert "error" in hosts[addresses[1]]
    assert processes(notebook)[-1]["host"] == addresses[0]
    assert processes(notebook)[-1]["kind"] == "SshProcess"


# parts

def test_hardware_is_parsed_from_what_a_machine_says():
    text = ("name=graphene-1\nsystem=Linux 6.1.0 x86_64\ncpus=64\ncpu=AMD EPYC 7742\nmemory=263815148 kB\nproduct=Dell Inc. PowerEdge \n"
            "distribution=\n")
    assert parse_hardware(text) == {"name": "graphene-1", "system": "Linux 6.1.0 x86_64", "cpus": 64, "cpu": "AMD EPYC 7742",
                                    "memory": 263815148 * 1024, "product": "Dell Inc. PowerEdge", "distribution": None}
    assert set(parse_hardware("").values()) == {None}
    assert parse_hardware("cpus=many\nmemory=lots\n")["memory"] is None


def test_only_chosen_variables_are_kept():
    secrets = ["AWS_SECRET_ACCESS_KEY", "MY_PASSWORD", "GITHUB_TOKEN", "http_proxy", "OAR_JOB_KEY", "SSH_AUTH_SOCK"]
    assert kept_variables(dict.fromkeys([*KEPT, *secrets], "x")) == dict.fromkeys(sorted(KEPT), "x")
    assert not [name for name in KEPT if any(word in name for word in ("SECRET", "TOKEN", "PASS", "PROXY", "AUTH", "KEY"))]


def test_packages_are_those_that_python_finds():
    found = packages()
    assert found["pytest"] == pytest.__version__
    assert list(found) == sorted(found, key=str.lower)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_command_that_does_not_end_or_says_too_much_is_cut():
    begin = time.monotonic()
    assert ask(["sleep", "1000"], deadline=begin + 0.2).cut
    much = ask(["yes"], limit=1000)
    assert (len(much.text), much.cut, much.ok) == (1000, True, False)
    orphan = ask(["sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!; wait"], deadline=time.monotonic() + 1)
    assert orphan.cut
    deadline = time.monotonic() + 10
    while is_alive(int(orphan.text)):           # what the command started ends with it
        assert time.monotonic() < deadline
    assert ask(["sh", "-c", "echo said; exec >&-; sleep 1000"], deadline=time.monotonic() + 0.2).cut
    # a grandchild holds the pipe of errors
    held = ask(["sh", "-c", "sleep 2 >/dev/null & echo said"], deadline=time.monotonic() + 20)
    assert (held.text, held.ok) == ("said\n", True)
    assert time.monotonic() - begin < 2 + 20
    assert not ask(["/nonexistent/program"]).ok


# git

def git(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    done = subprocess.run(["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e@example.org", *arguments],
                          env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path, require):
    require("git")
    folder = tmp_path / "repo"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "script.py").write_text("one\n")
    (folder / "sub").mkdir()
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def test_commit_and_difference_of_the_repository_are_found(repository):
    facts = git_facts(str(repository))
    assert facts == {"repository": str(repository), "commit": git(repository, "rev-parse", "HEAD"), "branch": "main", "diff": "",
                     "diff_truncated": False, "untracked": [], "dirty": False}
    (repository / "script.py").write_text("two\n")
    (repository / "sub" / "né w").write_text("new\n")
    (repository / "staged").write_text("staged\n")
    git(repository, "add", "staged")
    facts = git_facts(str(repository / "sub"))
    assert "-one\n+two\n" in facts["diff"]
    assert "+staged\n" in facts["diff"]
    assert facts["untracked"] == ["sub/né w"]
    assert facts["dirty"] is True


def test_the_difference_restores_the_code_that_ran(repository, tmp_path):
    (repository / "script.py").write_text("two\n")
    (repository / "binary").write_bytes(bytes(range(256)))
    git(repository, "add", "binary")
    facts = git_facts(str(repository))
    again = tmp_path / "again"
    git(tmp_path, "clone", "-q", str(repository), str(again))
    (tmp_path / "patch").write_text(facts["diff"])
    git(again, "checkout", "-q", facts["commit"])
    git(again, "apply", str(tmp_path / "patch"))
    assert (again / "script.py").read_text() == "two\n"
    assert (again / "binary").read_bytes() == bytes(range(256))


def test_a_difference_that_is_too_long_is_cut(repository):
    (repository / "script.py").write_text("x" * 100_000)
    facts = git_facts(str(repository), diff_limit=1000)
    assert (len(facts["diff"]), facts["diff_truncated"], facts["dirty"]) == (1000, True, True)


def test_a_repository_without_commit_has_facts(tmp_path, require):
    require("git")
    git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "staged").write_text("staged\n")
    git(tmp_path, "add", "staged")
    facts = git_facts(str(tmp_path))
    assert (facts["commit"], facts["branch"], facts["dirty"]) == (None, "main", True)
    assert "+staged" in facts["diff"]


def test_no_program_of_the_configuration_is_run(repository, tmp_path):
    (tmp_path / "evil").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (tmp_path / "evil").chmod(0o755)
    for key in ("diff.external", "core.fsmonitor", "core.pager", "diff.x.textconv", "diff.x.command"):
        git(repository, "config", key, str(tmp_path / "evil"))
    (repository / ".git" / "info" / "attributes").write_text("* diff=x\n")
    (repository / "script.py").write_text("two\n")
    facts = git_facts(str(repository))
    assert "+two" in facts["diff"]
    assert not (tmp_path / "ran").exists()


def test_variables_of_git_do_not_lead_to_another_repository(repository, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert git_facts(str(repository))["branch"] == "main"


def test_without_a_repository_or_without_git_there_are_no_facts(tmp_path, repository, monkeypatch):
    outside = tmp_path / "outside"
    outside.mkdir()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert git_facts(str(outside)) is None
    monkeypatch.setenv("PATH", str(outside))
    assert git_facts(str(repository)) is None
