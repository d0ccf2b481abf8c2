"""SshProcess and get_process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from connector import LOCAL, without_tty

from execo.config import default_connection_params
from execo.host import Host
from execo.localcluster import LocalCluster
from execo.process import Process, SshProcess, get_process


@pytest.mark.parametrize("command", ["echo a  b", ("echo", "a", "b"), ["echo", "a  b"]])
def test_commands_as_string_tuple_and_list(any_hosts: LocalCluster, command: Any) -> None:
    # ssh joins the words with blanks, the remote shell splits them again
    process = SshProcess(command, any_hosts.hosts[0], without_tty(any_hosts.connection_params)).run()
    assert (process.stdout, process.exit_code, process.ok) == ("a b\n", 0, True)


def test_attributes_and_text() -> None:
    host = Host("h", user="u", port=22)
    process = SshProcess(["echo", "x y"], host, {"ssh": "ssh", "ssh_options": ("-x",)}, timeout=3)
    assert process.cmd == ("ssh", "-x", "-o", "User=u", "-o", "Port=22", "h", "echo", "x y")
    assert process.remote_cmd == ["echo", "x y"]
    assert process.host == host
    assert process.host is not host
    assert process.name == "echo 'x y'"
    assert repr(process) == ("SshProcess(['echo', 'x y'], Host('h', user='u', port=22), timeout=3, "
                             "connection_params={'ssh': 'ssh', 'ssh_options': ('-x',)})")
    assert f"real cmd={process.cmd!r}" in str(process)


def test_the_connection_params_decide_on_the_pty() -> None:
    assert SshProcess("x", "h", {"pty": True}).pty
    assert not SshProcess("x", "h", pty=True).pty  # type: ignore[call-arg]    # the contract: overridden
    default_connection_params["pty"] = True
    assert SshProcess("x", "h").pty


def test_a_local_pty_echoes_and_ends_lines_with_cr_lf(ssh_hosts: LocalCluster) -> None:
    params = {**without_tty(ssh_hosts.connection_params), "pty": True}
    process = SshProcess("test -t 0 || echo no terminal there; echo err >&2", ssh_hosts.hosts[0], params).run()
    assert process.stdout == "no terminal there\r\n"
    assert process.stderr == "err\n"
    process = SshProcess("test -t 0 && echo terminal", ssh_hosts.hosts[0], {**params, "ssh_options": (*params["ssh_options"], "-t")}).run()
    assert process.stdout == "terminal\r\n"


def test_large_output_and_input_pass_unchanged(any_hosts: LocalCluster) -> None:
    data = bytes(range(256)) * 8192
    process = SshProcess("cat", any_hosts.hosts[0], without_tty(any_hosts.connection_params)).start()
    process.write(data)
    process.close_stdin()
    assert process.wait().ok
    assert process.stdout_bytes == data


def test_the_address_is_rewritten_and_the_host_kept() -> None:
    process = SshProcess("echo x", "h", {**LOCAL, "host_rewrite_func": lambda address: address + ".site"})
    assert process.cmd[-2:] == ("h.site", "echo x")
    assert process.host == Host("h")


def test_ipv6_and_user_in_the_address() -> None:
    assert SshProcess("x", "[::1]").cmd[-2:] == ("::1", "x")
    assert SshProcess("x", "u@h").cmd[-2:] == ("u@h", "x")


@pytest.mark.parametrize(("host", "params", "error"), [
    ("", None, ValueError), ("-h", None, ValueError), ("a b", None, ValueError), ("u@-h", None, ValueError), ("-u@h", None, ValueError),
    ("h;id", None, ValueError), (Host("h", port="22"), None, TypeError), (Host("h", port=70000), None, ValueError),
    (Host("h", user="-l"), None, ValueError), ("h", {"user": "a b"}, ValueError),
    ("h", {"host_rewrite_func": lambda address: None}, TypeError),
])
def test_what_ssh_would_misread_is_refused_at_once(host: Any, params: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        SshProcess("true", host, params)


def test_an_argument_that_is_no_text_fails_that_process_alone() -> None:
    process = SshProcess(["echo", 1], "h", LOCAL, nolog_error=True, nolog_exit_code=True).run(20)  # type: ignore[list-item]
    assert process.error
    assert isinstance(process.error_reason, TypeError)


def test_ssh_config_is_honoured(ssh_hosts: LocalCluster, tmp_path: Path) -> None:
    params = without_tty(ssh_hosts.connection_params)
    config = tmp_path / "config"
    config.write_text(f"Host mine\n  HostName {ssh_hosts.hosts[2].address}\n  Port {params['port']}\n  User {params['user']}\n"
                      f"  IdentityFile {params['keyfile']}\n")
    options = ("-F", str(config), *params["ssh_options"][2:])
    process = SshProcess("echo $SSH_CONNECTION", "mine", {"ssh_options": options}).run()
    assert process.stdout.split()[2] == ssh_hosts.hosts[2].address


def test_get_process_makes_what_the_host_says() -> None:
    assert type(get_process("true")) is Process
    local = get_process("echo x", host=None, connection_params=LOCAL, timeout=9)
    assert (type(local), local.timeout) == (Process, 9)
    remote = get_process("echo x", host="h", connection_params=LOCAL, timeout=9)
    assert isinstance(remote, SshProcess)
    assert (remote.timeout, remote.run().stdout) == (9, "x\n")


def test_reset_and_run_again(ssh_hosts: LocalCluster) -> None:
    process = SshProcess("echo x", ssh_hosts.hosts[0], without_tty(ssh_hosts.connection_params))
    for _ in range(2):
        assert process.run().stdout == "x\n"
        process.reset()
    assert (process.started, process.stdout) == (False, "")


def test_context_manager_and_lifecycle(ssh_hosts: LocalCluster) -> None:
    with SshProcess("sleep 60", ssh_hosts.hosts[0], ssh_hosts.connection_params).start() as process:
        assert process.running or not process.started
    assert process.wait(30).killed
