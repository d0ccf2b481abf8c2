"""Consoles of nodes, by a stand-in for kaconsole3 on a frontend that is reached by real ssh."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from requirements import require

from execo.localcluster import LocalCluster
from execo_g5k import config
from execo_g5k.kadeploy import KaconsoleProcess, KaconsoleProcessLifecycleHandler

NODE = "saone-1.lyon.grid5000.fr"
# A console: raw, as the real one has it, so that ^D comes as it was written.
CONSOLE = """\
stty -echo -icanon -icrnl -isig min 1
echo "{opened}"
read x; read x
{ask}
while true; do printf 'root@saone-1:~# '; read line || exit; case "$line" in "&.") echo left; exit;; esac; eval "$line"; done
"""
ASK = """printf '\\nDebian GNU/Linux 12 saone-1 ttyS0\\n\\nsaone-1 login: '; read user; printf 'Password: '; read word
test "$user $word" = "{}" || { echo 'Login incorrect'; exec sleep 60; }; echo 'Linux saone-1'"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("frontend")


@pytest.fixture(scope="module")
def cluster(folder: Path) -> Iterator[LocalCluster]:
    """One frontend, whose commands are in the folder."""
    require("ssh", "sshd")
    with LocalCluster(1, server="sshd", sshd_options={"SetEnv": f"PATH={folder}:/usr/bin:/bin"}) as running:
        yield running


@pytest.fixture
def console(cluster: LocalCluster, folder: Path) -> Callable[..., None]:
    """`console(text)`: what kaconsole3 does."""
    address = cluster.hosts[0].address
    config.default_frontend_connection_params.update(cluster.connection_params, pty=True, host_rewrite_func=lambda _: address)

    def install(text: str) -> None:
        (folder / "kaconsole3").write_text(f"#!/bin/bash\n[ $# = 1 ] || exit 9\n{text}")
        (folder / "kaconsole3").chmod(0o755)

    return install


def text(opened: str = "Connection to console saone-1 opened", ask: str = ASK.replace("{}", "root grid5000")) -> str:
    return CONSOLE.replace("{opened}", opened).replace("{ask}", ask)


@pytest.mark.parametrize("opened", ["Connection to console saone-1 opened", "[Kaconsole] kill sequence: ^[^[^[^["])
@pytest.mark.parametrize("ask", [ASK.replace("{}", "root grid5000"), ""], ids=["login", "logged in"])
def test_a_shell_of_root_is_there(console: Callable[..., None], opened: str, ask: str) -> None:
    console(text(opened, ask))
    with KaconsoleProcess(NODE, connection_timeout=20) as process:
        assert not process.console_connected.is_set()
        process.start()
        assert process.wait_connected(timeout=30)
        assert process.expect_prompt(timeout=30)[0] == 0
        process.write("echo $((40 + 2))\n")
        index, match = process.expect(r"\b42\s", timeout=30)
        assert (index, match is not None) == (0, True)
    process.wait(timeout=30)
    assert not process.wait_connected(timeout=0)


def test_another_user_and_password(console: Callable[..., None]) -> None:
    console(text(ask=ASK.replace("{}", "admin secret")))
    with KaconsoleProcess(NODE, connection_params={"user": "admin", "password": "secret"}) as process:
        assert process.start().wait_connected(timeout=30)


def test_a_wrong_password_is_not_connected(console: Callable[..., None]) -> None:
    console(text())
    with KaconsoleProcess(NODE, connection_timeout=1, connection_params={"password": "x"}) as process:
        process.start()
        assert process.wait_connected(timeout=30) is False
        assert "Login incorrect" in process.stdout


def test_a_console_that_never_opens_keeps_nobody_waiting(console: Callable[..., None]) -> None:
    console("exec sleep 60")
    with KaconsoleProcess(NODE, connection_timeout=0.5) as process:
        begin = time.monotonic()
        assert process.start().wait_connected() is False
        assert time.monotonic() - begin < 30


def test_a_console_that_ends_at_once_keeps_nobody_waiting(console: Callable[..., None]) -> None:
    console("echo 'Kaconsole output must be a TTY.'; exit 1")
    process = KaconsoleProcess(NODE, connection_timeout=60, nolog_exit_code=True)
    assert process.start().wait_connected() is False
    process.wait(timeout=30)
    assert process.exit_code == 1
    assert not process.expect_fail


def test_it_is_left_by_the_sequence_that_it_knows(console: Callable[..., None]) -> None:
    console(text())
    process = KaconsoleProcess(NODE).start()
    assert process.wait_connected(timeout=30)
    process.close()
    process.write("\n")
    assert process.wait(timeout=30).ended
    assert "left" in process.stdout
    console("stty -echo -icanon; echo '[Kaconsole] kill sequence: ^[^[^[^['; printf 'root@x:~# '; head -c 4 >/dev/null; head -c 4 | od -c")
    process = KaconsoleProcess(NODE).start()
    assert process.wait_connected(timeout=30)
    process.close()
    assert process.wait(timeout=30).ended
    assert "033 033 033 033" in process.stdout


def test_what_it_shows_and_refuses() -> None:
    process = KaconsoleProcess(NODE)
    assert repr(process).startswith(f"KaconsoleProcess(Host('{NODE}'), ")
    assert (process.remote_cmd, process.host.address, process.pty) == (f"kaconsole3 {NODE}", "lyon", True)
    assert (process.console_connection_params["user"], process.console_connection_params["password"]) == ("root", "grid5000")
    assert any(isinstance(handler, KaconsoleProcessLifecycleHandler) for handler in process.lifecycle_handlers)
    for bad in ("-x.lyon", "a;b.lyon.grid5000.fr", ""):
        with pytest.raises(ValueError, match="console"):
            KaconsoleProcess(bad)
    with pytest.raises(ValueError, match="its site is not known"):
        KaconsoleProcess("node.example.org")
    with pytest.raises(ValueError, match="soon"):
        KaconsoleProcess(NODE, connection_timeout="soon")
