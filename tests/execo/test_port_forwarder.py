"""Ports of this machine that lead to another one, through a host."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from connector import LOCAL
from gate import silent_port

from execo.exception import ProcessesFailed
from execo.localcluster import LocalCluster
from execo.process import PortForwarder, port_forwarder_stderr_handler

QUIET: Any = {"nolog_exit_code": True}


@pytest.fixture
def echo_port() -> Iterator[int]:
    """A server that answers each connection with what it is told, in capitals."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    client.sendall(client.recv(100).upper())

        thread = threading.Thread(target=serve, name="echo")
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


def ask(port: int, address: str = "127.0.0.1") -> bytes:
    with socket.create_connection((address, port), timeout=20) as connection:
        connection.sendall(b"hello")
        connection.settimeout(20)
        return connection.recv(100)


def test_traffic_flows_and_ends_with_the_block(any_hosts: LocalCluster, echo_port: int) -> None:
    with PortForwarder(any_hosts.hosts[0], "127.0.0.1", echo_port, connection_params=any_hosts.connection_params) as forwarder:
        assert forwarder.forwarding.is_set()
        assert ask(forwarder.local_port) == b"HELLO"
        assert ask(forwarder.local_port) == b"HELLO"
    assert forwarder.wait(30).ended
    assert forwarder.killed
    assert not forwarder.forwarding.is_set()
    with pytest.raises(OSError):
        ask(forwarder.local_port)


def test_it_can_be_reset_and_used_again(ssh_hosts: LocalCluster, echo_port: int) -> None:
    forwarder = PortForwarder(ssh_hosts.hosts[0], "127.0.0.1", echo_port, connection_params=ssh_hosts.connection_params)
    for _ in range(3):
        with forwarder:
            assert ask(forwarder.local_port) == b"HELLO"
        forwarder.reset()
        assert not forwarder.forwarding.is_set()


def test_a_name_and_another_address_to_bind_to(ssh_hosts: LocalCluster, echo_port: int) -> None:
    for bind in ("127.0.0.7", "localhost"):
        with PortForwarder(ssh_hosts.hosts[0], "127.0.0.1", echo_port, bind_address=bind,
                           connection_params=ssh_hosts.connection_params) as forwarder:
            assert ask(forwarder.local_port, bind) == b"HELLO"
        forwarder.wait(30)


def test_it_goes_through_a_jump_host(ssh_hosts: LocalCluster, echo_port: int) -> None:
    params = ssh_hosts.connection_params
    jump = {**params, "ssh_options": (*params["ssh_options"], "-J", ssh_hosts.names[0])}
    with PortForwarder(ssh_hosts.names[1], "127.0.0.1", echo_port, connection_params=jump) as forwarder:
        assert ask(forwarder.local_port) == b"HELLO"
    forwarder.wait(30)


def fails_at_once(forwarder: PortForwarder) -> PortForwarder:
    begin = time.monotonic()
    with pytest.raises(ProcessesFailed) as failure:
        forwarder.__enter__()
    assert time.monotonic() - begin < 15        # forwarding_timeout is 25
    assert failure.value.processes == [forwarder]
    assert forwarder.wait(30).ended
    return forwarder


def test_a_host_that_refuses_fails_at_once(ssh_hosts: LocalCluster) -> None:
    refused = {**ssh_hosts.connection_params, "port": 1}
    forwarder = fails_at_once(PortForwarder("127.0.0.1", "127.0.0.1", 9, connection_params=refused, **QUIET))
    assert forwarder.unreachable


def test_a_local_port_that_is_taken_fails_at_once(ssh_hosts: LocalCluster) -> None:
    with silent_port() as taken:
        fails_at_once(PortForwarder(ssh_hosts.hosts[0], "127.0.0.1", 9, local_port=taken, connection_params=ssh_hosts.connection_params,
                                    **QUIET))


def test_a_program_that_is_missing_fails_at_once() -> None:
    fails_at_once(PortForwarder("h", "127.0.0.1", 9, connection_params={"ssh": "/no/such/ssh"}, nolog_error=True, **QUIET))


def test_one_that_never_listens_fails_after_its_timeout() -> None:
    params = {**LOCAL, "ssh_options": ("-c", "exec sleep 60"), "forwarding_timeout": 0.2}
    forwarder = PortForwarder("h", "127.0.0.1", 9, connection_params=params)
    with pytest.raises(ProcessesFailed), forwarder:
        pass
    assert forwarder.wait(30).killed


def test_the_command_line() -> None:
    forwarder = PortForwarder("h", "inner", 80, local_port=9876, connection_params={"ssh_options": ("-x",)})
    assert re.search(r" -v -L 127\.0\.0\.1:9876:inner:80 h sleep 31536000$", " ".join(forwarder.cmd))
    assert (forwarder.local_port, forwarder.bind_address, forwarder.remote_host, forwarder.remote_port) == (9876, "127.0.0.1", "inner", 80)
    assert repr(forwarder).startswith("PortForwarder(Host('h'), 'inner', 80, local_port=9876, bind_address='127.0.0.1'")
    ipv6 = PortForwarder("h", "2001:db8::1", 80, local_port=9876, bind_address="::1", connection_params={"ssh_options": ("-x",)})
    assert "[::1]:9876:[2001:db8::1]:80" in ipv6.cmd


def test_the_default_local_ports_differ() -> None:
    assert PortForwarder("h", "inner", 80).local_port != PortForwarder("h", "inner", 80).local_port


def test_the_handler_knows_the_words_of_ssh() -> None:
    forwarder = PortForwarder("h", "inner", 80, local_port=80)
    handler = port_forwarder_stderr_handler(80, "127.0.0.1")
    for line in ("debug1: Local forwarding listening on 127.0.0.1 port 8080.", "debug1: Local connections to 127.0.0.1:80 forwarded"):
        handler.read_line(forwarder, 2, line)
        assert not forwarder.forwarding.is_set()
    handler.read_line(forwarder, 2, "debug1: Local forwarding listening on 127.0.0.1 port 80.")
    assert forwarder.forwarding.is_set()


def test_an_ssh_that_says_no_more_than_that_it_listens_will_do() -> None:
    params = {**LOCAL, "ssh_options": ("-c", "echo 'debug1: Local forwarding listening on 127.0.0.1 port 9876.' >&2; exec sleep 60")}
    with PortForwarder("h", "inner", 80, local_port=9876, connection_params=params) as forwarder:
        assert forwarder.forwarding.is_set()
    assert forwarder.wait(20).ended
