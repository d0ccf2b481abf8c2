"""Command lines of ssh and scp, checked with the real client, and the reading of its messages."""

from __future__ import annotations

import dataclasses
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execo import ssh_utils
from execo.ssh_utils import (
    checked_address,
    connection_failure,
    get_rewritten_host_address,
    get_scp_command,
    get_ssh_command,
    get_ssh_scp_auth_options,
    get_taktuk_connector_command,
    scp_local_path,
    scp_location,
)

OPTIONS = (
    "-o", "BatchMode=yes", "-o", "PasswordAuthentication=no", "-o", "StrictHostKeyChecking=no",
    "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=20",
)  # fmt: skip


def test_commands_without_new_parameters_are_those_of_the_contract() -> None:
    assert get_ssh_command() == ("ssh", "-tt", *OPTIONS)
    assert get_scp_command() == ("scp", *OPTIONS, "-rp")
    assert get_taktuk_connector_command() == ("ssh", *OPTIONS)
    assert get_ssh_command("u", "k", 22)[-6:] == ("-o", "User=u", "-i", "k", "-o", "Port=22")
    params = {"scp": "S", "scp_options": ("-q",), "user": "no", "keyfile": "kk", "port": 9}
    assert get_scp_command(user="u", connection_params=params) == ("S", "-q", "-o", "User=u", "-i", "kk", "-o", "Port=9")
    assert get_ssh_scp_auth_options() == ()
    assert get_ssh_scp_auth_options(port=5) == ("-o", "Port=5")
    assert get_ssh_scp_auth_options(keyfile=Path("/k y")) == ("-i", "/k y")  # type: ignore[arg-type]  # any path serves


def test_address_is_rewritten_by_the_function_of_the_parameters() -> None:
    assert get_rewritten_host_address("h", None) == "h"
    assert get_rewritten_host_address("h", {"host_rewrite_func": lambda address: address + "!"}) == "h!"


def as_ssh_reads(params: dict[str, Any], *options: str) -> dict[str, str]:
    """What the real client makes of the options."""
    command = [*get_ssh_command(connection_params=params), *options]
    printed = subprocess.run([*command, "-F", "none", "-G", "h"], capture_output=True, text=True, timeout=20, check=True)
    return dict(line.partition(" ")[::2] for line in printed.stdout.splitlines())


@pytest.mark.parametrize(
    "params, strict, files, timeout",
    [
        ({}, "false", "/dev/null", "20"),
        ({"host_keys": "ignore"}, "false", "/dev/null", "20"),
        ({"host_keys": "ignore", "known_hosts": "/not/used"}, "false", "/dev/null", "20"),
        ({"host_keys": "accept-new", "known_hosts": "/a b/c#d"}, "accept-new", "/a b/c#d", "20"),
        ({"host_keys": "strict", "known_hosts": Path("/a'b")}, "true", "/a'b", "20"),
        ({"host_keys": "strict", "known_hosts": "/é"}, "true", "/é", "20"),
        ({"connect_timeout": "0:00:01.2"}, "false", "/dev/null", "2"),
        ({"connect_timeout": 0.01}, "false", "/dev/null", "1"),
        ({"connect_timeout": 0}, "false", "/dev/null", "1"),
        ({"connect_timeout": 3}, "false", "/dev/null", "3"),
    ],
)
def test_new_parameters_win_over_the_options(params: dict[str, Any], strict: str, files: str, timeout: str) -> None:
    read = as_ssh_reads(params)
    assert (read["stricthostkeychecking"], read["userknownhostsfile"], read["connecttimeout"]) == (strict, files, timeout)


def test_strict_uses_the_users_own_file_unless_one_is_given() -> None:
    assert as_ssh_reads({"host_keys": "strict"})["userknownhostsfile"].endswith("/.ssh/known_hosts")


@pytest.mark.parametrize(
    "params, told",
    [
        ({"host_keys": "no"}, "'ignore', 'accept-new' or 'strict', found 'no'"),
        ({"host_keys": True}, "found True"),
        ({"known_hosts": "/k"}, "without host_keys"),
        ({"host_keys": "strict", "known_hosts": '/a"b'}, "quote"),
        ({"host_keys": "strict", "known_hosts": "/a\nb"}, "control"),
        ({"connect_timeout": -1}, "connect_timeout.*-1"),
        ({"connect_timeout": float("inf")}, "connect_timeout"),
        ({"connect_timeout": "soon"}, "soon"),
        ({"user": "-oProxyCommand=x"}, "user"),
        ({"user": "a b"}, "'a b'"),
        ({"user": "a\nb"}, "user"),
        ({"user": "#a"}, "user"),
        ({"keyfile": "a\0b"}, "keyfile"),
        ({"port": 70000}, "70000"),
        ({"port": -1}, "-1"),
    ],
)
def test_bad_parameters_are_refused_and_named(params: dict[str, Any], told: str) -> None:
    for command in (get_ssh_command, get_scp_command, get_taktuk_connector_command):
        with pytest.raises(ValueError, match=told):
            command(connection_params=params)


@pytest.mark.parametrize("values", [(None, None, "22"), (None, None, True), (3, None, None), (None, 3, None)])
def test_values_of_another_type_are_refused(values: tuple[Any, Any, Any]) -> None:
    with pytest.raises(TypeError):
        get_ssh_command(*values)


@given(st.text(min_size=1, max_size=8))
def test_a_user_name_is_refused_or_read_as_it_is(name: str) -> None:
    try:
        words = get_ssh_scp_auth_options(user=name)
    except ValueError:
        return
    assert words == ("-o", "User=" + name)
    assert not name.startswith("-")
    assert len(name.split()) == 1


@pytest.mark.parametrize("name", ["root", "a.b-c_d", "DOMAIN\\user", "a#b", "user@realm", "x$"])
def test_real_ssh_reads_a_user_name_as_it_is(name: str) -> None:
    assert as_ssh_reads({}, *get_ssh_scp_auth_options(user=name))["user"] == name


@pytest.mark.parametrize(
    "address, checked",
    [("h", "h"), ("root@h-1.site", "root@h-1.site"), ("[::1]", "::1"), ("::1", "::1"), ("fe80::1%eth0", "fe80::1%eth0"),
     ("u@[::1]", "u@::1"), ("hôte", "hôte")],
)  # fmt: skip
def test_addresses_for_ssh(address: str, checked: str) -> None:
    assert checked_address(address) == checked


@pytest.mark.parametrize(
    "address", ["", "[]", "u@", "-oProxyCommand=x", "u@-h", "[-h]", "a b", "a\tb", "a\0b", "a\nb", "h;ls", "$(ls)", "\x85"]
)
def test_addresses_that_are_no_host_are_refused(address: str) -> None:
    for check in (checked_address, lambda one: scp_location(one, "x")):
        with pytest.raises(ValueError, match="host address"):
            check(address)


def test_scp_locations() -> None:
    assert scp_location("h", "/a b") == "h:/a b"
    assert scp_location("::1", "x") == "[::1]:x"
    assert scp_location("u@[fe80::1%eth0]", "-x") == "u@[fe80::1%eth0]:-x"
    with pytest.raises(ValueError, match="NUL"):
        scp_location("h", "a\0b")


@pytest.mark.parametrize(
    "path, spelled",
    [("a", "a"), ("/a:b", "/a:b"), ("-r", "./-r"), ("a:b", "./a:b"), ("d/a:b", "d/a:b"), (":x", "./:x"), ("~/x", "~/x"),
     ("scp://h/x", "./scp://h/x")],
)  # fmt: skip
def test_local_paths_for_scp(path: str, spelled: str) -> None:
    assert scp_local_path(path) == spelled


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_local_paths_that_cannot_be_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="file name"):
        scp_local_path(path)


@pytest.mark.parametrize("name", ["-r", "-oProxyCommand=false", "a:b", "with space"])
def test_real_scp_copies_odd_local_names(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("content")
    (tmp_path / "to").mkdir()
    command = ["scp", scp_local_path(name), scp_local_path("to")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "to" / name).read_text() == "content"


@contextmanager
def listener(on_connection: Callable[[socket.socket], object] | None) -> Iterator[int]:
    """A port of the loopback; None: the connection is made, and nobody ever answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        served: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    served.append(server.accept()[0])
                except OSError:
                    return
                if on_connection is not None:
                    on_connection(served[-1])

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in served:
                connection.close()


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def end_after_banner(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-test\r\n")
    connection.recv(1)
    connection.shutdown(socket.SHUT_WR)


def speak_something_else(connection: socket.socket) -> None:
    try:
        connection.sendall(b"hello\r\n" * 2000)
    except OSError:  # the client has heard enough
        pass


def say(command: tuple[str, ...], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command, "-F", "none", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize("pty", [True, False])
@pytest.mark.parametrize(
    "on_connection, timed_out, retryable",
    [
        (lambda connection: connection.shutdown(socket.SHUT_RDWR), False, True),
        (reset, False, True),
        (end_after_banner, False, True),
        (None, True, True),
        (speak_something_else, False, False),
    ],
)
def test_real_ssh_that_finds_no_server(
    on_connection: Callable[[socket.socket], object] | None, timed_out: bool, retryable: bool, pty: bool
) -> None:
    params: dict[str, Any] = {"connect_timeout": 1}
    if not pty:
        params["ssh_options"] = OPTIONS
    with listener(on_connection) as port:
        done = say(get_ssh_command(port=port, connection_params=params), "127.0.0.1", "true")
    found = connection_failure(done.returncode, done.stdout == "", done.stderr, "127.0.0.1", pty)
    if not pty and "UNKNOWN" in done.stderr:  # reset so early that ssh could not ask who the peer was
        assert found is None
        return
    assert found is not None, done
    assert (found.timed_out, found.retryable) == (timed_out, retryable), done
    assert found.message in done.stderr


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_real_ssh_refused() -> None:
    port = unused_port()
    done = say(get_ssh_command(port=port), "127.0.0.1", "true")
    found = connection_failure(done.returncode, True, done.stderr, "127.0.0.1", False)
    assert found is not None
    assert found.message == f"ssh: connect to host 127.0.0.1 port {port}: Connection refused"
    assert (found.timed_out, found.retryable) == (False, True)


def test_real_ssh_of_a_name_that_does_not_exist() -> None:
    done = say(get_ssh_command(connection_params={"connect_timeout": 5}), "no-such-host.invalid", "true")
    found = connection_failure(done.returncode, True, done.stderr, "no-such-host.invalid", False)
    assert found is not None
    # Without any name server the resolver says that it may be temporary.
    assert found.retryable == ("Temporary failure" in done.stderr)


def test_real_ssh_through_a_jump_host_that_is_down() -> None:
    port = unused_port()
    done = say(get_ssh_command(), "-J", f"127.0.0.1:{port}", "127.0.0.2", "true")
    found = connection_failure(done.returncode, True, done.stderr, "127.0.0.2", True)
    assert found is not None
    assert found.retryable
    # The very same text may come from an ssh that the remote command runs.
    assert connection_failure(done.returncode, True, done.stderr, "127.0.0.2", False) is None


@pytest.mark.parametrize("old_protocol", [True, False])
def test_real_scp_that_finds_no_server(old_protocol: bool, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with listener(lambda connection: connection.shutdown(socket.SHUT_RDWR)) as port:
        command = get_scp_command(port=port)
        done = say(command, *["-O"][: int(old_protocol)], str(tmp_path / "f"), "127.0.0.1:f")
    found = connection_failure(done.returncode, True, done.stderr, "127.0.0.1", True)
    assert found is not None, done
    assert found.retryable


def test_real_scp_of_a_missing_file_is_no_failure_to_connect(tmp_path: Path) -> None:
    done = say(get_scp_command(), str(tmp_path / "absent"), str(tmp_path / "copy"))
    assert done.returncode != 0
    assert connection_failure(done.returncode, True, done.stderr, "h", True) is None


CHANGED_KEY = """\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!
Someone could be eavesdropping on you right now (man-in-the-middle attack)!
It is also possible that a host key has just been changed.
The fingerprint for the ED25519 key sent by the remote host is
SHA256:xGbMQxHOBXnxDZlk2b6N2q8Gxp1A0cH2lLkDUhHRHrI.
Please contact your system administrator.
Add correct host key in /tmp/a b/known_hosts to get rid of this message.
Offending ED25519 key in /tmp/a b/known_hosts:1
  remove with:
  ssh-keygen -f "/tmp/a b/known_hosts" -R "[127.0.0.1]:2222"
Host key for [127.0.0.1]:2222 has changed and you have requested strict checking.
Host key verification failed.
"""


CLOSED = "Connection closed by UNKNOWN port 65535\n"  # the other end was a ProxyCommand or a jump host
DENIED = "root@h: Permission denied (publickey,password).\r\n"
NO_KEY = "No ED25519 host key is known for h and you have requested strict checking.\n"
TOO_MANY = "Received disconnect from h port 22:2: Too many authentication failures\nDisconnected from h port 22\n"
WEAK_KEX = """\
** WARNING: connection is not using a post-quantum key exchange algorithm.
** This session may be vulnerable to "store now, decrypt later" attacks.
** The server may need to be upgraded. See https://openssh.com/pq.html
"""
REFUSED_FOR_GOOD = "channel 0: open failed: administratively prohibited: open failed\nstdio forwarding failed\n"
NO_ROUTE = "channel 0: open failed: connect failed: No route to host\nstdio forwarding failed\n"
NETCAT = "(UNKNOWN) [127.0.0.1] 1 (tcpmux) : Connection refused\n"
EXCHANGE = "kex_exchange_identification: Connection closed by remote host\n"
BOOTING = '"System is booting up. Unprivileged users are not permitted to log in yet. See pam_nologin(8)."\n'


@pytest.mark.parametrize(
    "stderr, timed_out, retryable",
    [
        ("ssh: connect to host h port 22: Connection timed out\n", True, True),
        ("ssh: connect to host h port 22: No route to host\n", False, True),
        ("ssh: connect to host h port 22: Network is unreachable\n", False, True),
        ("ssh: connect to host h port 22: Connection refused\r\n", False, True),
        ("ssh: connect to host h port 22: Permission denied\n", False, False),
        ("ssh: Could not resolve hostname h: Name or service not known\n", False, False),
        ("ssh: Could not resolve hostname h: Temporary failure in name resolution\r\n", False, True),
        ("ssh: Could not resolve hostname h: nodename nor servname provided, or not known\n", False, False),
        ("kex_exchange_identification: read: Connection reset by peer\nConnection reset by h port 22\n", False, True),
        ("ssh_exchange_identification: Connection closed by remote host\n", False, True),
        ("ssh_exchange_identification: read: Connection reset by peer\r\n\r\n", False, True),
        ("Connection timed out during banner exchange\nConnection to h port 22 timed out\n", True, True),
        (CLOSED, False, True),
        (EXCHANGE + CLOSED, False, True),
        (NO_ROUTE + CLOSED, False, True),
        (REFUSED_FOR_GOOD + CLOSED, False, False),
        (NETCAT + EXCHANGE, False, True),
        (BOOTING + "Connection closed by h port 22\n", False, True),
        (CHANGED_KEY, False, False),
        (CHANGED_KEY.replace("\n", "\r\n"), False, False),
        (NO_KEY + "Host key verification failed.\n", False, False),
        ("Warning: Permanently added 'h' (ED25519) to the list of known hosts.\r\n" + DENIED, False, False),
        (WEAK_KEX + DENIED, False, False),
        ("Permission denied (publickey).\n", False, False),
        ("j@jump: Permission denied (publickey).\n" + CLOSED, False, False),
        ("Unable to negotiate with h port 22: no matching host key type found. Their offer: ssh-rsa\n", False, False),
        (TOO_MANY, False, False),
    ],
)
def test_recorded_failures_to_connect(stderr: str, timed_out: bool, retryable: bool) -> None:
    found = connection_failure(255, True, stderr, "h", True)
    assert found is not None
    assert (found.timed_out, found.retryable) == (timed_out, retryable)
    assert found.message in stderr
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.message = "other"  # type: ignore[misc]  # frozen


REFUSED = "ssh: connect to host h port 22: Connection refused\n"


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize(
    "exit_code, stdout_is_empty, stderr",
    [
        (255, True, ""),
        (255, True, "\r\n"),
        (255, False, REFUSED),
        (0, True, REFUSED),
        (1, True, REFUSED),
        (None, True, REFUSED),
        (-15, True, REFUSED),
        (255, True, "Connection to h closed.\n"),
        (255, True, "Connection to h closed by remote host.\n"),
        (255, True, "Timeout, server h not responding.\n"),
        (255, True, "client_loop: send disconnect: Broken pipe\n"),
        (255, True, "Warning: Permanently added 'h' (ED25519) to the list of known hosts.\n"),
        (255, True, "a line of the command\n" + REFUSED),
        (255, True, REFUSED + "Connection to h closed.\n"),
        (255, True, "my ssh: connect to host h port 22: Connection refused\n"),
        (1, True, "cp: cannot stat 'x'\n"),
        (1, True, "lost connection\n"),
    ],
)
def test_what_may_be_the_commands_own_failure_is_none_of_ssh(
    exit_code: int | None, stdout_is_empty: bool, stderr: str, local: bool
) -> None:
    assert connection_failure(exit_code, stdout_is_empty, stderr, "h", local) is None


@pytest.mark.parametrize(
    "stderr, address, ours",
    [
        (REFUSED, "h", True),
        (REFUSED, "root@H", True),
        ("ssh: connect to host ::1 port 22: Connection refused\n", "[::1]", True),
        ("root@h: Permission denied (publickey).\n", "h", True),
        ("kex_exchange_identification: Connection closed by remote host\nConnection closed by h port 22\n", "h", True),
        (REFUSED, "other", False),
        (REFUSED + "ssh: connect to host other port 22: Connection refused\n", "h", False),
        ("Host key verification failed.\n", "h", False),
        ("Permission denied (publickey).\n", "h", False),
        ("kex_exchange_identification: Connection closed by remote host\n", "h", False),
        ("Connection closed by UNKNOWN port 65535\n", "h", False),
    ],
)
def test_where_stderr_may_be_the_commands_only_messages_about_the_host_count(stderr: str, address: str, ours: bool) -> None:
    assert (connection_failure(255, True, stderr, address, False) is not None) is ours


def test_scp_of_a_remote_command_is_not_taken_for_ours() -> None:
    stderr = REFUSED + "lost connection\n"
    assert connection_failure(1, True, stderr, "h", False) is None
    assert connection_failure(1, True, stderr, "h", True) is not None


@given(st.text(), st.booleans(), st.sampled_from([0, 1, 255, None]))
def test_any_text_of_a_command_is_no_failure_to_connect(stderr: str, local: bool, exit_code: int | None) -> None:
    assert connection_failure(exit_code, True, stderr, "h", local) is None


def test_commands_leave_the_parameters_alone() -> None:
    params = {"ssh_options": ["-v"], "host_keys": "strict", "connect_timeout": 1}
    before = dict(params)
    command = ssh_utils.get_ssh_command(connection_params=params)
    assert params == before
    assert command[-1] == "-v"
    assert os.path.basename(command[0]) == "ssh"
