"""The command line of a tree and its list of hosts, as words."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from execo._taktuk.command import guarded, host_item, ranks, shell_command, tree_command
from execo._taktuk.copies import feed, receiver, sender, unreadable
from execo.action import TaktukGet, TaktukPut, TaktukRemote
from execo.host import Host
from execo.process import TaktukProcess


def words(params: dict[str, Any] | None = None, keyfile: str | None = None, port: int | None = None, window: int | None = None,
          flat: bool = False) -> tuple[str, ...]:
    """As TakTuk reads them."""
    taktuk, *rest = tree_command(keyfile, port, params, window, flat)
    return (taktuk, *(word if place < 6 else word.replace("%%", "%") for place, word in enumerate(rest)))


def option(words: tuple[str, ...], name: str) -> str:
    return words[words.index(name) + 1]


def connector(words: tuple[str, ...]) -> list[str]:
    return shlex.split(option(words, "-c"))


# the tree

def test_parsing_rules_come_first_and_the_factory_options_follow() -> None:
    command = words()
    assert command[:7] == ("taktuk", "-E", "%", "-O", " ", "-C", ";")
    assert command[7] == "-s"
    assert "-d" not in command
    assert "-w" not in command
    assert command[command.index("-c"):].count("-o") == 8


def test_the_tool_and_its_options_are_those_of_the_connection_params() -> None:
    command = words({"taktuk": "/opt/taktuk", "taktuk_options": ("-d", "1"), "taktuk_connector": "myssh",
                     "taktuk_connector_options": ("-4",)})
    assert command[0] == "/opt/taktuk"
    assert command[7:9] == ("-d", "1")
    assert connector(command) == ["myssh", "-4"]


def test_a_percent_in_an_option_is_doubled_for_the_command_line() -> None:
    params = {"taktuk_connector_options": ("-o", "ControlPath=/x/%h %p")}
    assert "%%h %%p" in " ".join(tree_command(None, None, params, None, False))
    assert connector(words(params))[2] == "ControlPath=/x/%h %p"


def test_key_and_port_of_the_hosts_win_and_the_user_is_not_in_the_connector() -> None:
    params = {"user": "u", "keyfile": "/key", "port": 22}
    of_params, of_hosts = connector(words(params)), connector(words(params, "/mine", 2222))
    assert ("/key" in of_params, "Port=22" in of_params) == (True, True)
    assert ("/mine" in of_hosts, "Port=2222" in of_hosts, "/key" in of_hosts) == (True, True, False)
    assert "User=u" not in of_params


@pytest.mark.parametrize(("tool", "alive"), [("ssh", True), ("/usr/bin/ssh", True), ("oarsh", True), ("rsh", False), ("./connect", False)])
def test_only_openssh_is_told_to_look_whether_the_link_lives(tool: str, alive: bool) -> None:
    assert ("ServerAliveInterval=5" in connector(words({"taktuk_connector": tool}))) is alive


@pytest.mark.parametrize("options", [("-o", "ServerAliveInterval=1"), ("-oserveraliveinterval 1",)])
def test_a_limit_of_the_user_for_dead_links_is_left_alone(options: tuple[str, ...]) -> None:
    found = connector(words({"taktuk_connector_options": options}))
    assert [word for word in found if "alive" in word.lower()] == [word for word in options if "alive" in word.lower()]


@pytest.mark.parametrize(("params", "limit"), [({}, "60"), ({"connect_timeout": 100}, "300"), ({"connect_timeout": 1}, "60")])
def test_a_node_has_a_limited_time_to_come(params: dict[str, Any], limit: str) -> None:
    assert option(words(params), "-t") == limit


def test_a_time_limit_of_the_user_is_the_only_one() -> None:
    command = words({"taktuk_options": ("-s", "-t", "3")})
    assert (command.count("-t"), option(command, "-t")) == (1, "3")


def test_width_and_flat() -> None:
    assert option(words(window=7), "-w") == "7"
    assert option(words(flat=True), "-d") == "-1"


def test_a_port_that_is_none_is_refused() -> None:
    with pytest.raises(TypeError, match="port"):
        tree_command(None, "x", None, None, False)  # type: ignore[arg-type]


def test_the_guardian_knows_what_to_do_at_the_end() -> None:
    assert guarded(("taktuk", "-s"), 12, end=True)[2:] == ("end", "12", "taktuk", "-s")
    assert guarded(("taktuk",), 0, end=False)[2:4] == ("keep", "0")


# hosts

def test_a_host_with_its_command() -> None:
    assert host_item(Host("n1"), None, None, b"a;b") == b"-m n1 -[ exec [ a%%%;b ] -] "


def test_the_login_is_told_when_it_changes() -> None:
    host = Host("n1", user="me")
    assert host_item(host, None, None, b"c").startswith(b"-l me -m n1 ")
    assert host_item(host, None, "me", b"c").startswith(b"-m n1 ")
    assert host_item(Host("n1"), {"user": "other"}, "me", b"c").startswith(b"-l other -m n1 ")
    with pytest.raises(ValueError, match="without a user"):
        host_item(Host("n1"), None, "me", b"c")


def test_the_address_is_rewritten_and_each_special_character_escaped() -> None:
    assert host_item(Host("n"), {"host_rewrite_func": lambda address: address + ".a-b"}, None, b"c").startswith(b"-m n%.a%-b ")


BAD = ["n[1-3]", "a/b", "a,b", "-oProxyCommand=x", "é", ""]


@pytest.mark.parametrize("address", BAD)
def test_an_address_that_would_be_misread_is_refused_at_construction(address: str) -> None:
    def check(make: Any) -> None:
        with pytest.raises(ValueError) as caught:
            make()
        assert repr(address) in str(caught.value)

    host = Host(address)
    check(lambda: TaktukProcess("true", host))
    check(lambda: TaktukRemote("true", [host]))
    check(lambda: TaktukPut([host], ["f"]))
    check(lambda: TaktukGet([host], ["f"]))


def test_a_user_that_would_be_misread_is_refused_at_construction() -> None:
    for host, params in (Host("h", user="-oX"), None), (Host("h"), {"user": "-oX"}):
        with pytest.raises(ValueError, match="-oX"):
            TaktukRemote("true", [host], params)


@pytest.mark.parametrize(("cmd", "error"), [("a\0b", ValueError), (3, TypeError), (None, TypeError), (b"x", TypeError)])
def test_a_command_that_is_none_is_refused(cmd: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="command"):
        shell_command(cmd)


def test_words_of_a_command_are_joined_as_ssh_does() -> None:
    assert shell_command(["echo", "a  b", "$HOME"]) == b":; echo a  b $HOME"
    assert shell_command("é\udcff") == ":; é".encode() + b"\xff"


@pytest.mark.parametrize(("numbers", "text"), [([3], b"3"), ([3, 1, 2], b"1-3"), ([1, 2, 4, 6, 7], b"1-2/4/6-7"), ({5, 4}, b"4-5")])
def test_ranks(numbers: Any, text: bytes) -> None:
    assert ranks(numbers) == text


# copies

def test_a_stream_of_files_names_each_directory_once() -> None:
    assert sender(["/a/x", "/a/y y", "/b/-z"], home=False) == "w=$(pwd); exec tar -chf - -C /a x 'y y' -C /b ./-z"
    assert sender(["x", "sub/y", "~/z", "d/"], home=True) == (
        """w=$(pwd); exec tar -chf - -C "$w"/. x -C "$w"/sub y -C "$HOME" z -C "$w"/. d""")
    assert sender(["~"], home=True) == 'w=$(pwd); exec tar -chf - -C "$HOME" .'


def test_the_home_directory_is_meant_by_a_tilde_of_the_other_side_only() -> None:
    assert receiver("~/a b", ["x", "y"], home=True).startswith("""d="$HOME"'/a b'; """)
    assert receiver("~/a b", ["x", "y"], home=False).startswith("d='~/a b'; ")
    assert receiver("-x", ["x", "y"], home=True).startswith("d=./-x; ")


def test_no_character_of_a_file_name_is_seen_by_a_shell_of_taktuk() -> None:
    order = feed(["/tmp/`id`/$x|;] "])
    assert order.startswith(b"input file [ perl")
    assert not set(b"`$") & set(order)


def test_too_many_names_are_an_error() -> None:
    with pytest.raises(OSError, match="too many files") as caught:
        feed([f"/tmp/{n:060}" for n in range(2000)])
    assert caught.value.filename == "2000 files"


def test_a_missing_file_is_found_before_the_start(tmp_path: Any) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "broken").symlink_to("nowhere")
    assert unreadable([str(tmp_path)]).filename == str(tmp_path / "d" / "broken")  # type: ignore[union-attr]
    (tmp_path / "d" / "nowhere").touch()
    assert unreadable([str(tmp_path)]) is None
    assert isinstance(unreadable([str(tmp_path / "gone")]), FileNotFoundError)
