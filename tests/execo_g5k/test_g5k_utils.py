"""Frontends, forwarded ports, names and addresses."""

from __future__ import annotations

import http.client
import http.server
import re
import socket
import threading
from pathlib import Path

import pytest
from kinds import require_kind

from execo import Host, SshProcess
from execo.localcluster import LocalCluster
from execo_g5k import G5kAutoPortForwarder, default_frontend_connection_params, g5k_configuration, get_kavlan_host_name, utils
from execo_g5k.utils import get_default_frontend, get_frontend_host, get_frontend_process, get_ipv4_range, get_mac_addresses, hosts_list


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No answer to which site this machine is part of is remembered."""
    monkeypatch.setattr(utils, "_local_site", [])
    return monkeypatch


@pytest.mark.parametrize(("name", "site"), [
    ("fnancy.nancy.grid5000.fr", "nancy"), ("graoully-1.nancy.grid5000.fr", "nancy"), ("laptop", None), ("nancy.grid5000.fr", None),
    ("a.b.nancy.grid5000.fr", None), ("evil.grid5000.fr.example.org", None),
])
def test_the_default_frontend_is_the_site_of_this_machine(at: pytest.MonkeyPatch, name: str, site: str | None) -> None:
    at.setattr("socket.gethostname", lambda: name)
    at.setattr("socket.getfqdn", lambda *_: name)
    assert get_default_frontend() == site
    g5k_configuration["default_frontend"] = "lyon"
    assert get_default_frontend() == "lyon"


def test_where_the_commands_of_a_frontend_run(at: pytest.MonkeyPatch) -> None:
    at.setattr("socket.gethostname", lambda *_: "laptop")
    at.setattr("socket.getfqdn", lambda *_: "laptop")
    assert get_frontend_host() is None
    assert get_frontend_host("lyon") == Host("lyon")
    g5k_configuration["default_frontend"] = "lyon"
    assert get_frontend_host() == Host("lyon")
    g5k_configuration["no_ssh_for_local_frontend"] = True
    assert get_frontend_host() is None
    assert get_frontend_host("lyon") is None
    assert get_frontend_host(Host("nancy", user="me")) == Host("nancy", user="me")


def test_the_command_line_for_a_frontend() -> None:
    process = get_frontend_process("oarstat | cat", "lyon", {"user": "me"})
    assert process.cmd[-2:] == ("lyon.grid5000.fr", "oarstat | cat")
    assert process.cmd[:2] == ("ssh", "-tt")
    assert process.pty
    g5k_configuration.update(default_frontend="lyon", no_ssh_for_local_frontend=True)
    assert get_frontend_process("echo one | cat", "lyon").run().stdout.split() == ["one"]


def test_a_jump_host_of_the_user_is_used() -> None:
    default_frontend_connection_params["ssh_options"] = ("-tt", "-J", "access.grid5000.fr")
    assert get_frontend_process("true", "lyon").cmd == ("ssh", "-tt", "-J", "access.grid5000.fr", "lyon.grid5000.fr", "true")


@pytest.mark.requires("namespaces", "sshd", "ssh")
def test_a_frontend_is_reached_from_outside_only_through_the_jump_host(at: pytest.MonkeyPatch, tmp_path: Path) -> None:
    at.setattr("socket.gethostname", lambda *_: "laptop")
    at.setattr("socket.getfqdn", lambda *_: "laptop")
    cluster = LocalCluster(2, "namespaces")
    cluster.names = ["access.grid5000.fr", "lyon.grid5000.fr"]
    with cluster:
        access, frontend = cluster.hosts
        with socket.socket(type=socket.SOCK_DGRAM) as question:
            question.connect((frontend.address, 9))
            outside = question.getsockname()[0]
        assert frontend.run_inside(["ip", "route", "add", "blackhole", outside]).returncode == 0
        known, common, rest = Path(cluster.connection_params["ssh_options"][1]).read_text().partition("Host *\n")
        config = tmp_path / "config"            # which does not know the frontend: its name is one for the access host
        config.write_text(known.partition("Host lyon")[0] + common + rest)
        direct = ("-tt", "-F", str(config))
        default_frontend_connection_params["ssh_options"] = (*direct, "-J", "access.grid5000.fr")
        told = get_frontend_process("hostname; echo $SSH_CONNECTION", "lyon", timeout=30).run().stdout.split()
        assert told[:2] + told[3:4] == ["lyon.grid5000.fr", access.address, frontend.address]
        with G5kAutoPortForwarder("lyon", "lyon.grid5000.fr", 22) as reached, socket.create_connection(reached, 20) as connection:
            assert connection.recv(8) == b"SSH-2.0-"
        without = SshProcess("true", frontend.address, {"ssh_options": direct, "connect_timeout": 1}, nolog_exit_code=True).run()
        assert without.exit_code == 255
        assert SshProcess("true", access.address, {"ssh_options": direct}).run().ok


def test_names_of_hosts_in_a_vlan() -> None:
    assert get_kavlan_host_name("h-1.nancy.grid5000.fr", 4) == "h-1-kavlan-4.nancy.grid5000.fr"
    assert get_kavlan_host_name(Host("h-1"), 14) == "h-1-kavlan-14"
    with pytest.raises(ValueError, match="already"):
        get_kavlan_host_name("h-1-kavlan-4.nancy.grid5000.fr", 5)


def test_hosts_as_a_string() -> None:
    assert hosts_list(["b-2.lyon.grid5000.fr", Host("a-1.lyon.grid5000.fr")]) == "a-1 b-2"
    assert hosts_list(["b-2.lyon.grid5000.fr", "a-1"], separator=",", site=True) == "a-1,b-2.lyon"


def test_addresses() -> None:
    assert get_ipv4_range((10, 0, 0, 0), 30) == [(10, 0, 0, 0), (10, 0, 0, 1), (10, 0, 0, 2), (10, 0, 0, 3)]
    with pytest.raises(ValueError):
        get_ipv4_range((10, 0, 0, 1), 30)
    addresses = get_mac_addresses(500)
    assert len(set(addresses)) == 500
    assert all(re.fullmatch("00:20:4e(:[0-9a-f]{2}){3}", address) for address in addresses)
    with pytest.raises(ValueError, match="-1"):
        get_mac_addresses(-1)


class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


def test_a_port_inside_is_forwarded_through_the_frontend(at: pytest.MonkeyPatch) -> None:
    require_kind("sshd")
    at.setattr("socket.gethostname", lambda *_: "laptop")
    at.setattr("socket.getfqdn", lambda *_: "laptop")
    with http.server.HTTPServer(("127.0.0.1", 0), Hello) as server, LocalCluster(1, server="sshd") as cluster:
        serving = threading.Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        default_frontend_connection_params.update({**cluster.connection_params, "host_rewrite_func": lambda site: cluster.hosts[0].address})
        try:
            with G5kAutoPortForwarder("nancy", "127.0.0.1", server.server_port) as (host, port):
                assert (host, port) != ("127.0.0.1", server.server_port)
                connection = http.client.HTTPConnection(host, port, timeout=20)
                connection.request("GET", "/")
                assert connection.getresponse().status == 204
                connection.close()
        finally:
            server.shutdown()
            serving.join()


def test_inside_a_port_is_reached_directly(at: pytest.MonkeyPatch) -> None:
    at.setattr("socket.gethostname", lambda: "flyon.lyon.grid5000.fr")
    with G5kAutoPortForwarder("nancy", "oardb.nancy.grid5000.fr", 5432) as reached:
        assert reached == ("oardb.nancy.grid5000.fr", 5432)
