"""Environments and ordered faults of the box, and both sides of its commands, without a box."""

from __future__ import annotations

import fcntl
import os
import random
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from requirements import require

from execo_g5k._gridbox.command_socket import frame
from execo_g5k._gridbox.kadeploy import client, console
from execo_g5k._gridbox.kadeploy.call import Call, Gone
from execo_g5k._gridbox.kadeploy.environments import OWNER, BadEnvironment, Environments, described, parse_yaml
from execo_g5k._gridbox.kadeploy.faults import Behaviour
from execo_g5k._gridbox.kadeploy.options import Failure, kadeploy_parser, kapower_parser
from execo_g5k._gridbox.kadeploy.yaml import dump

NODE = "saone-1.lyon.grid5000.fr"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("name: a\nversion: 3 # the third\n", {"name": "a", "version": 3}),
        ("---\na:\n  b: 'x: y'\n  c: true\nd: ~\n", {"a": {"b": "x: y", "c": True}, "d": None}),
        ("a:\n- x: 1\n  y: 2\n- z\nb: 2\n", {"a": [{"x": 1, "y": 2}, "z"], "b": 2}),
        ("a:\n  - 1\n  - 2\n", {"a": [1, 2]}),
        ("file: server:///a/b.tgz\n", {"file": "server:///a/b.tgz"}),
    ],
)
def test_descriptions_are_read(text: str, value: Any) -> None:
    assert parse_yaml(text) == value


@pytest.mark.parametrize("text", ["a", "a: 1\n  b: 2\n", "\ta: 1", "a: [1, 2]", "a: 'x"])
def test_what_is_not_understood_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"line|not understood|quoted"):
        parse_yaml(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("version: 1\nimage:\n  file: x\n", "'name'"),
        ("name: a\nversion: x\nimage:\n  file: x\n", "'version': expected a number, found 'x'"),
        ("name: a\n", "the field 'image' has no 'file'"),
        ("name: a\nvisibility: all\nimage:\n  file: x\n", "found 'all'"),
        ("a: [", "not understood"),
    ],
)
def test_bad_descriptions_are_refused(text: str, words: str) -> None:
    with pytest.raises(BadEnvironment, match=words):
        described(text, "me")


def test_who_finds_which_environment() -> None:
    known = Environments()
    for version, visibility in ((1, "private"), (2, "private"), (1, "shared")):
        name = "mine" if visibility == "private" else "ours"
        known.add(described(f"name: {name}\nversion: {version}\nvisibility: {visibility}\nimage:\n  file: x\n", "me"))
    mine = known.find("mine", "me")
    assert mine is not None
    assert (mine.version, known.find("mine", "you", "me"), known.find("ours", "you")) == (2, None, None)
    assert known.find("mine", "me", version="1") is not None
    assert known.find("ours", "you", "me") is not None
    assert [one.version for one in known.all("me", last=True) if one.name == "mine"] == [2]
    public = known.find("debian12-min", "you")
    assert public is not None
    assert public.user == OWNER
    with pytest.raises(BadEnvironment, match="already"):
        known.add(described("name: mine\nversion: 2\nimage:\n  file: x\n", "me"))


def test_faults_are_used_up() -> None:
    behaviour = Behaviour([NODE])
    behaviour.fail(NODE, "BootNewEnvClassical-wait_reboot", times=1, message="lost")
    assert behaviour.next_failure(NODE, "SetDeploymentEnvUntrusted", "wait_reboot") is None
    assert [behaviour.next_failure(NODE, "BootNewEnvClassical", "wait_reboot") for _ in range(2)] == ["lost", None]
    behaviour.failure_rate, behaviour.random = 0.5, random.Random(1)
    first = behaviour.draw([NODE] * 20)
    behaviour.random = random.Random(1)
    assert behaviour.draw([NODE] * 20) == first
    for node, step, words in (("x", "sync", "no node 'x'"), (NODE, "boot", "no step 'boot'"), (NODE, "No-sync", "no step")):
        with pytest.raises(ValueError, match=words):
            behaviour.fail(node, step)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([], "--- []\n"), ({}, "--- {}\n"), (None, "--- null\n"),
        ({"a": 1, "b": {"c": None, "d": []}}, "---\na: 1\nb:\n  c: null\n  d: []\n"),
        ([{"a": "x y", "b": ["c", "1:2"]}, "d"], '---\n- a: x y\n  b:\n    - c\n    - "1:2"\n- d\n'),
    ],
)
def test_yaml_that_is_printed_is_read_again(value: Any, text: str) -> None:
    assert dump(value) == text
    if value and "[]" not in text:
        assert parse_yaml(text) == value


def test_options_are_taken_as_by_ruby() -> None:
    given = kadeploy_parser().parse_args(["-ma-[1-2].b", "--env-n", "x", "-k", "--no-wait", "-V4"])
    found = (given.machine, given.env_name, given.key, given.wait, given.verbose_level)
    assert found == (["a-[1-2].b"], "x", "~/.ssh/authorized_keys", False, 4)
    assert kapower_parser().parse_args(["--status"]).operation == "status"
    for words in (["--bogus"], ["-V", "6"], ["--env", "x"], ["-V"]):
        with pytest.raises(Failure, match="Option parsing error: "):
            kadeploy_parser().parse_args(words)


@pytest.fixture(params=["python", "perl"])
def program(request: pytest.FixtureRequest) -> list[str]:
    """The commands of the frontend, in both languages."""
    if request.param == "perl":
        require("perl")
        return ["perl", str(Path(client.__file__).with_suffix(".pl"))]
    return [sys.executable, "-I", "-S", client.__file__]


@pytest.mark.parametrize("gone", ["reader", "server"])
def test_a_command_ends_when_nobody_is_there(program: list[str], gone: str, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "ka"))
        listener.listen()
        listener.settimeout(30)
        words = [*program, str(tmp_path / "ka"), "kadeploy3", *(["-"] if gone == "server" else [])]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as command:
            assert command.stdin is not None
            assert command.stdout is not None
            if gone == "reader":
                command.stdout.close()
            else:
                command.stdin.write(b"x" * (1 << 22))       # more than what a socket holds, so it waits until we have gone
            command.stdin.close()
            server = listener.accept()[0]
            try:
                if gone == "reader":
                    server.sendall(frame("o", "a line\n"))
                else:
                    server.close()
                assert command.wait(30) == 1
            finally:
                server.close()
                command.kill()


@pytest.fixture
def late_call() -> Iterator[tuple[Call, socket.socket]]:
    """A command whose connection has a number that `select` does not take, and its other end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1200:
        pytest.skip(f"no more than {hard} descriptors (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    ours, theirs = socket.socketpair()
    try:
        with ours, theirs, socket.socket(fileno=fcntl.fcntl(ours, fcntl.F_DUPFD_CLOEXEC, 1100)) as late:
            ours.close()
            yield Call(late, ["1", "kaconsole3", "/", "", "tty", ""], os.getpid()), theirs
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_command_is_heard_in_a_program_with_a_thousand_descriptors(late_call: tuple[Call, socket.socket]) -> None:
    call, other = late_call
    assert not call.is_interrupted(0.01)
    other.sendall(b"\x03")
    assert call.is_interrupted(30)
    other.sendall(console.QUIT)
    console.relay(call, [], NODE, "linux")
    other.close()
    with pytest.raises(Gone):
        call.is_interrupted(30)
