"""The parts of a LocalCluster that need no process."""

from __future__ import annotations

import ipaddress
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from execo._localcluster import params
from execo._localcluster.namespaces_server import listens, network_prefix, parse_routes
from execo._localcluster.sshd_server import listen, loopback_addresses
from execo._localcluster.supervisor import children, parse_ppid, scan_children


def test_loopback_addresses_are_distinct_and_never_end_in_0_or_255() -> None:
    assert loopback_addresses(3, 256 * 7 + 9) == ["127.7.9.1", "127.7.9.2", "127.7.9.3"]
    assert loopback_addresses(251, 256)[249:] == ["127.1.0.250", "127.1.1.1"]
    many = loopback_addresses(10000, 65535 - 41)
    assert len(set(many)) == 10000
    assert not {address.rpartition(".")[2] for address in many} & {"0", "255"}


def test_listening_on_an_address_in_use_fails_and_closes_the_others() -> None:
    listeners = listen(["127.77.77.1", "127.77.77.2"])
    port = listeners[0].getsockname()[1]
    assert [listener.getsockname() for listener in listeners] == [("127.77.77.1", port), ("127.77.77.2", port)]
    with pytest.raises(OSError, match="in use"):
        listen(["127.77.77.3", "127.77.77.3"])
    for listener in listeners:
        listener.close()


@pytest.mark.parametrize(("n", "prefix"), [(1, 24), (253, 24), (254, 23), (509, 23), (510, 22), (10000, 18)])
def test_a_network_holds_its_hosts_and_a_gateway(n: int, prefix: int) -> None:
    assert network_prefix(n) == prefix
    assert ipaddress.IPv4Network(f"198.18.0.0/{prefix}").num_addresses - 3 >= n


def test_routes_of_the_kernel_are_read() -> None:
    text = (
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "eth0\t0002A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
        "lc0\t000412C6\t00000000\t0001\t0\t0\t0\t00FEFFFF\t0\t0\t0\n"
    )
    assert parse_routes(text) == [ipaddress.IPv4Network("192.168.2.0/24"), ipaddress.IPv4Network("198.18.4.0/23")]


def test_listening_sockets_of_the_kernel_are_read() -> None:
    head = "  sl  local_address rem_address   st tx_queue rx_queue\n"
    assert listens(head + "   0: 00000000:0016 00000000:0000 0A 00000000:00000000\n", 22)
    assert not listens(head + "   0: 00000000:0016 0100007F:9000 01 00000000:00000000\n", 22)
    assert not listens(head + "   0: 00000000:1600 00000000:0000 0A 00000000:00000000\n", 22)
    assert not listens(head, 22)


@pytest.mark.parametrize("name", ["sleep", "a b", "a) S 1 (b", ") 7 7 7"])
def test_the_parent_is_found_behind_any_command_name(name: str) -> None:
    assert parse_ppid(f"12 ({name}) S 34 12 12 0 -1".encode()) == 34


@pytest.mark.parametrize("find", [children, scan_children])
def test_children_are_found_below_one_process_only(find: Callable[[int], list[int]]) -> None:
    with subprocess.Popen(["sh", "-c", "sleep 100 & echo $!; wait"], stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None
        sleep = int(shell.stdout.readline())
        try:
            assert shell.pid in find(os.getpid())
            assert sleep not in find(os.getpid())
            assert find(shell.pid) == [sleep]
            assert find(sleep) == []
        finally:
            os.kill(sleep, signal.SIGKILL)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.19 27 Jan 2026\n", (9, 2)),
        ("OpenSSH_9.2, OpenSSL 3.0.19 27 Jan 2026\n", (9, 2)),
        ("unknown option -- V\nOpenSSH_8.4p1, OpenSSL 1.1.1\nusage: sshd\n", (8, 4)),
        ("OpenSSH_10.0p2\n", (10, 0)),
        ("sshd: command not found", (0, 0)),
        ("", (0, 0)),
    ],
)
def test_version_of_openssh(text: str, version: tuple[int, int]) -> None:
    assert params.parse_openssh_version(text) == version


@pytest.mark.parametrize("name", ["a%b", 'a"b', "a\nb", "a\\b"])
def test_a_folder_that_openssh_would_misread_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="file name"):
        params.ssh_config(Path("/tmp") / name, "me", 22, {})


def test_options_of_the_client_come_before_those_of_the_factory(tmp_path: Path) -> None:
    made = params.connection_params(tmp_path, "me", 4242)
    for name in ("ssh_options", "scp_options", "taktuk_connector_options"):
        assert made[name][:2] == ("-F", str(tmp_path / "ssh_config"))
        assert "ConnectTimeout=20" in made[name]
    assert (made["user"], made["port"], made["keyfile"]) == ("me", 4242, str(tmp_path / "client_key"))
