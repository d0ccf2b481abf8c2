"""Remote with real ssh: substitution, hosts, connection parameters, standard input."""

from __future__ import annotations

import subprocess
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from connector import LOCAL, hosts, until, without_tty

from execo.action import Remote, RemoteSerial, get_remote
from execo.host import Host
from execo.localcluster import LocalCluster

LEVEL = ["module level"]
_made_at_module_level = Remote("echo {{LEVEL}}", "h", LOCAL)
_made_in_a_comprehension = [Remote("echo {{LEVEL}} {{[i]}}", "h", LOCAL) for i in range(2)]


def outputs(action: Any) -> list[str]:
    return [process.stdout.replace("\r\n", "\n") for process in action.processes]


# on real hosts

def test_all_hosts_answer(ssh_hosts: LocalCluster) -> None:
    action = Remote("echo $SSH_CONNECTION", ssh_hosts.hosts, ssh_hosts.connection_params).run()
    assert action.finished_ok
    assert [out.split()[2] for out in outputs(action)] == [host.address for host in ssh_hosts.hosts]
    assert [process.host for process in action.processes] == ssh_hosts.hosts


def test_command_is_substituted_per_host(any_hosts: LocalCluster) -> None:
    letters = ["a", "b"]                   # noqa: F841    # named in the command
    action = Remote("echo {{{host}}} {{letters}} {{[len(letters)]}}", any_hosts.hosts, any_hosts.connection_params).run()
    assert outputs(action) == [f"{host.address} {letter} 2\n" for host, letter in zip(any_hosts.hosts, "aba", strict=True)]


def test_exit_codes_and_standard_error_apart(any_hosts: LocalCluster) -> None:
    params = without_tty(any_hosts.connection_params)
    action = Remote("echo out; echo err >&2; exit {{[0, 3, 255]}}", any_hosts.hosts, params,
                    process_args={"nolog_exit_code": True}).run()
    assert [(process.stdout, process.stderr) for process in action.processes] == [("out\n", "err\n")] * 3
    assert [process.exit_code for process in action.processes] == [0, 3, 255]
    assert [process.ok for process in action.processes] == [True, False, False]
    assert action.unreachable_processes == []


def test_with_the_default_terminal_both_streams_come_on_standard_output(any_hosts: LocalCluster) -> None:
    action = Remote("tty; echo err >&2", any_hosts.hosts, any_hosts.connection_params).run()
    for process in action.processes:
        assert process.stdout.startswith("/dev/pts/")
        assert process.stdout.endswith("err\r\n")


def test_what_is_written_goes_to_all(any_hosts: LocalCluster) -> None:
    params = without_tty(any_hosts.connection_params)
    action = Remote("cat", any_hosts.hosts, params).start()
    action.write("naïve\n")
    action.write(b"\xff\n")
    assert action.close_stdin() is action
    action.wait()
    assert action.finished_ok
    assert [process.stdout_bytes for process in action.processes] == ["naïve\n".encode() + b"\xff\n"] * 3


def test_expect_and_answer_on_all(any_hosts: LocalCluster) -> None:
    action = Remote("printf 'name? '; read n; echo hello $n", any_hosts.hosts, any_hosts.connection_params).start()
    assert [index for _, index, _ in action.expect([r"nothing", r"name\? $"], timeout=60)] == [1, 1, 1]
    print("you", file=action)
    assert [index for _, index, _ in action.expect(r"^hello you\b", timeout=60)] == [0, 0, 0]
    assert action.wait().finished_ok


def test_kill_ends_the_remote_command(any_hosts: LocalCluster, tmp_path: Path) -> None:
    command = f"echo $$ > {tmp_path}/{{{{{{host}}}}}}; echo ready; exec sleep 300"
    action = Remote(command, any_hosts.hosts, any_hosts.connection_params).start()
    action.expect("ready", timeout=60)
    action.kill().wait(30)
    assert action.ended
    assert all(process.killed and process.ok for process in action.processes)
    pids = [(tmp_path / host.address).read_text().strip() for host in any_hosts.hosts]

    def running(pid: str) -> bool:
        try:
            return "sleep" in Path(f"/proc/{pid}/stat").read_text().split(" ")[1]
        except FileNotFoundError:
            return False

    assert until(lambda: not any(map(running, pids)))


def test_kill_right_after_the_start(any_hosts: LocalCluster) -> None:
    action = Remote("sleep 300", any_hosts.hosts, any_hosts.connection_params).start().kill().wait(30)
    assert action.ended
    assert action.unreachable_processes == []


def test_host_names_of_ssh_config_are_honoured(ssh_hosts: LocalCluster) -> None:
    action = Remote("echo $SSH_CONNECTION", ["node-3", "node-5"], ssh_hosts.connection_params).run()
    assert [out.split()[2] for out in outputs(action)] == [ssh_hosts.hosts[2].address, ssh_hosts.hosts[4].address]


def test_a_single_string_is_one_host(ssh_hosts: LocalCluster) -> None:
    action = Remote("echo ok", "node-1", ssh_hosts.connection_params).run()
    assert outputs(action) == ["ok\n"]
    assert action.hosts == [Host("node-1")]


def test_duplicates_are_kept(ssh_hosts: LocalCluster) -> None:
    host = ssh_hosts.hosts[0]
    action = Remote("echo {{[1, 2, 3]}}", [host, host, host.address], ssh_hosts.connection_params).run()
    assert outputs(action) == ["1\n", "2\n", "3\n"]


def test_user_port_and_keyfile_of_the_host_win(ssh_hosts: LocalCluster) -> None:
    params = ssh_hosts.connection_params
    bad = {**params, "user": "nobody-of-this-name", "port": 9, "keyfile": "/nonexistent"}
    host = Host(ssh_hosts.hosts[0].address, user=params["user"], port=params["port"], keyfile=params["keyfile"])
    action = Remote("true", [host], bad).run()
    assert action.finished_ok
    cmd = action.processes[0].cmd
    assert f"Port={params['port']}" in cmd
    assert "Port=9" not in cmd


def test_a_missing_remote_command_fails_with_127(ssh_hosts: LocalCluster) -> None:
    action = Remote("no-such-command-here", ssh_hosts.hosts[:1], ssh_hosts.connection_params,
                    process_args={"nolog_exit_code": True}).run()
    assert [process.exit_code for process in action.processes] == [127]


def test_quotes_blanks_and_dollars_reach_the_remote_shell_as_written(ssh_hosts: LocalCluster) -> None:
    action = Remote("""printf '%s|' "a  b" 'c$d' "it's" "*" \\; """, ssh_hosts.hosts[:1], ssh_hosts.connection_params).run()
    assert outputs(action) == ["a  b|c$d|it's|*|;|"]


@pytest.mark.parametrize("command", ["-oProxyCommand=touch {}", ("-oProxyCommand=touch {}", "x"), ["-oProxyCommand=touch {}"]])
def test_a_command_that_looks_like_an_option_is_not_one(ssh_hosts: LocalCluster, tmp_path: Path, command: Any) -> None:
    trap = tmp_path / "trap"
    command = command.format(trap) if isinstance(command, str) else type(command)(word.format(trap) for word in command)
    action = Remote(command, ssh_hosts.hosts[:1], ssh_hosts.connection_params, process_args={"nolog_exit_code": True}).run(60)
    assert not trap.exists()
    assert action.processes[0].exit_code not in (0, 255)


@pytest.mark.parametrize("where", ["address", "address of a host", "user", "user of a host", "rewritten"])
def test_an_option_in_place_of_a_name_is_refused_at_once(tmp_path: Path, where: str) -> None:
    trap = tmp_path / "trap"
    evil = f"-oProxyCommand=touch {trap}"
    host: Any = {"address": evil, "address of a host": Host(evil), "user of a host": Host("127.0.0.1", user=evil)}.get(where, "127.0.0.1")
    params: dict[str, Any] = {"user": {"user": evil}, "rewritten": {"host_rewrite_func": lambda address: evil}}.get(where, {})
    for make in (lambda: Remote("true", host, params), lambda: RemoteSerial(host, "/dev/null", 9600, params)):
        with pytest.raises(ValueError, match="-oProxyCommand"):
            make().run()
    assert not trap.exists()


# without a network

def test_no_host_ends_at_once() -> None:
    action = Remote("echo {{nothing_of_this_name}}", [])
    assert (action.run().finished_ok, action.processes, action.stats()["num_processes"]) == (True, [], 0)


def test_no_hosts_at_all_is_an_error() -> None:
    with pytest.raises(TypeError):
        Remote("true", None)  # type: ignore[arg-type]


def test_name_and_text() -> None:
    action = Remote("echo  {{x}}" + "y" * 40, [])
    assert action.name == "echo {{x}}" + "y" * 26 + "..."
    assert repr(Remote("true", ["h"], {"user": "u"}, {"timeout": 3}, fanout=2)) == (
        "Remote('true', [Host('h')], connection_params={'user': 'u'}, process_args={'timeout': 3}, fanout=2)")


def test_an_iterator_of_hosts_serves_once_and_is_enough() -> None:
    action = Remote("echo {{{host}}}", (name for name in ("a", "b")), LOCAL).run()
    assert outputs(action.reset().run()) == ["a\n", "b\n"]


def test_setting_the_hosts_takes_effect_at_reset() -> None:
    action = Remote("echo {{{host}}}", hosts(2), LOCAL)
    action.hosts = "other"  # type: ignore[assignment]
    assert outputs(action.run()) == ["h0\n", "h1\n"]
    assert outputs(action.reset().run()) == ["other\n"]
    assert action.hosts == [Host("other")]


def test_the_original_hosts_are_not_those_of_the_processes() -> None:
    host = Host("a")
    action = Remote("true", [host], LOCAL)
    host.user = "changed"
    assert action.processes[0].host == Host("a")


def test_connexion_params_is_a_deprecated_spelling() -> None:
    makers: list[Callable[..., Any]] = [Remote, get_remote]
    for make in makers:
        with pytest.warns(DeprecationWarning, match="connection_params") as caught:
            action = make("echo ok", "h", connexion_params=LOCAL)
        assert caught[0].filename == __file__
        assert outputs(action.run()) == ["ok\n"]
    with pytest.warns(DeprecationWarning, match="connexion_params"):
        action = Remote("true", "h", {"user": "new"}, connexion_params={"user": "old"})
    assert action.connection_params == {"user": "new"}


def test_no_warning_for_the_right_spelling() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Remote("true", "h", connection_params=LOCAL)


def test_unknown_keywords_are_refused_at_once() -> None:
    with pytest.raises(TypeError, match="no_such_option"):
        Remote("true", "h", no_such_option=1)
    with pytest.raises(TypeError, match="no_such_option"):
        Remote("true", "h", process_args={"no_such_option": 1})


def test_output_file_names_are_substituted(tmp_path: Path) -> None:
    names = ["x", "y"]                   # noqa: F841    # named in the command
    action = Remote("echo out {{{host}}}; echo err >&2", hosts(2), LOCAL, process_args={
        "stdout_handlers": [f"{tmp_path}/{{{{{{host}}}}}}.{{{{names}}}}"], "stderr_handlers": str(tmp_path / "{{names}}.err")})
    action.run()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "h0.x": "out h0\n", "h1.y": "out h1\n", "x.err": "err\n", "y.err": "err\n"}


def test_one_file_for_all_hosts_gets_all_output(tmp_path: Path) -> None:
    Remote("echo {{{host}}}", hosts(20), LOCAL, process_args={"stdout_handlers": [str(tmp_path / "all")]}).run()
    assert sorted((tmp_path / "all").read_text().split()) == sorted(hosts(20))


def test_the_caller_is_a_method() -> None:
    class Experiment:
        def __init__(self) -> None:
            mine = ["init"]                   # noqa: F841    # named in the command
            self.values = ["attribute"]
            self.action = Remote("echo {{mine}} {{self.values}}", "h", LOCAL)

        def method(self) -> Remote:
            local = ["method"]                   # noqa: F841    # named in the command
            return Remote("echo {{local}} {{self.values}} {{LEVEL}}", "h", LOCAL)

    mine = ["the caller's"]
    experiment = Experiment()
    assert outputs(experiment.action.run()) == ["init attribute\n"]
    assert outputs(experiment.method().run()) == ["method attribute module level\n"]
    assert mine == ["the caller's"]


def test_the_caller_of_a_subclass_of_remote_is_meant() -> None:
    class Mine(Remote):
        def __init__(self, command: str) -> None:
            super().__init__(command, "h", LOCAL)

    values = ["caller"]
    assert outputs(Mine("echo {{values}}").run()) == ["caller\n"]
    assert values == ["caller"]


def test_comprehensions_and_generators_see_their_variables() -> None:
    outer = ["outer"]
    in_list = [Remote("echo {{outer}} {{[i]}}", "h", LOCAL) for i in range(2)]
    in_generator = list(Remote("echo {{outer}} {{[i]}}", "h", LOCAL) for i in range(2))         # noqa: C400    # it is the subject

    def generator() -> Any:
        for i in range(2):
            inner = [i]                   # noqa: F841    # named in the command
            yield Remote("echo {{inner}}", "h", LOCAL)

    assert [outputs(action.run()) for action in in_list] == [["outer 0\n"], ["outer 1\n"]]
    assert [outputs(action.run()) for action in in_generator] == [["outer 0\n"], ["outer 1\n"]]
    assert [outputs(action.run()) for action in generator()] == [["0\n"], ["1\n"]]
    assert outer == ["outer"]


def test_the_caller_is_at_module_level() -> None:
    assert outputs(_made_at_module_level.run()) == ["module level\n"]
    assert [outputs(action.run()) for action in _made_in_a_comprehension] == [["module level 0\n"], ["module level 1\n"]]


def test_the_caller_is_in_another_thread() -> None:
    made = []

    def work(n: int) -> None:
        mine = [n]                   # noqa: F841    # named in the command
        made.append((n, Remote("echo {{mine}}", "h", LOCAL)))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(5)]
    for thread in threads:
        thread.start()
        thread.join()
    assert [outputs(action.run()) for n, action in made] == [[f"{n}\n"] for n in range(5)]


def test_reset_evaluates_again() -> None:
    values = ["old"]
    action = Remote("echo {{values}}", hosts(2), LOCAL)
    values[:] = ["new", "newer"]
    assert outputs(action.run()) == ["old\n", "old\n"]
    assert outputs(action.reset().run()) == ["new\n", "newer\n"]


@pytest.mark.parametrize(("command", "error"), [("{{no_such_name}}", NameError), ("{{1 +}}", SyntaxError), ("{{1}}", ValueError)])
def test_a_wrong_expression_fails_at_once(command: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        Remote(command, "h", LOCAL)


def test_a_lifecycle_handler_may_change_the_command_before_the_start() -> None:
    action = Remote("echo old", "h", LOCAL)
    action.processes[0].cmd = ("echo", "new")
    assert outputs(action.run()) == ["new\n"]


def test_remote_serial_makes_one_line_per_host() -> None:
    devices = ["/dev/ttyS0", "/dev/my tty", "-oX"]
    action = RemoteSerial(["a", "b", "c"], "{{devices}}", "9600; touch X", {"ssh": "ssh", "ssh_options": ()})
    commands = [process.cmd for process in action.processes]
    assert [command[:2] for command in commands] == [("ssh", name) for name in "abc"]
    for command, device in zip(commands, ("/dev/ttyS0", "'/dev/my tty'", "./-oX"), strict=True):
        assert command[2].startswith(f"stty -F {device} '9600; touch X' rows 0 ")
        assert command[2].endswith(f" ; cat {device} & cat > {device}")
    assert action.name == "RemoteSerial to 3 hosts"
    assert repr(action) == "RemoteSerial([Host('a'), Host('b'), Host('c')], '{{devices}}', '9600; touch X')"[:-1] + (
        ", connection_params={'ssh': 'ssh', 'ssh_options': ()})")
    assert devices


def test_jump_host_through_ssh_options(ssh_hosts: LocalCluster) -> None:
    params = without_tty(ssh_hosts.connection_params)
    jump = {**params, "ssh_options": (*params["ssh_options"], "-J", "node-1")}
    assert outputs(Remote("echo $SSH_CONNECTION", ["node-2"], jump).run())[0].split()[2] == ssh_hosts.hosts[1].address
    nowhere = {**params, "ssh_options": (*params["ssh_options"], "-J", "no-such-host.invalid")}
    failed = Remote("echo ok", ["node-2"], nowhere, process_args={"nolog_exit_code": True}).run()
    assert failed.processes[0].exit_code == 255


def test_proxy_command_through_ssh_options(ssh_hosts: LocalCluster, tmp_path: Path) -> None:
    params = without_tty(ssh_hosts.connection_params)
    script = tmp_path / "proxy"
    script.write_text(f"touch {tmp_path}/passed; exec ssh -F {params['ssh_options'][1]} -W $1:$2 node-1")
    proxy = f"sh {script} %h %p"
    through = {**params, "ssh_options": (*params["ssh_options"], "-o", f"ProxyCommand={proxy}")}
    assert outputs(Remote("echo ok", ["node-2"], through).run()) == ["ok\n"]
    assert (tmp_path / "passed").exists()


def test_the_command_line_is_what_ssh_takes(ssh_hosts: LocalCluster) -> None:
    process = Remote("echo ok", "node-1", without_tty(ssh_hosts.connection_params)).processes[0]
    assert subprocess.run(process.cmd, capture_output=True, text=True, timeout=60).stdout == "ok\n"
