"""Makes the hosts of a `LocalCluster` with ``isolation="namespaces"``, as root.

``python -I -S namespaces_server.py PARAMETERS`` with the JSON of the keywords of `main`.

This process moves into a network namespace of its own, the switch: it holds the bridge and one end of each host's
link.  A single link, the uplink, joins it to the namespace of the owner.  Neither the switch nor the hosts have a
name in `ip netns list` or a file in /etc/netns, so the kernel removes all of it with the last process in it, whatever
way it ends.  Each host is an `unshare` whose child, pid 1 of the host, becomes sshd, and takes the host with it.

When all hosts are there, it serves their faults on a socket in the directory of the cluster (one question per
connection, a line of JSON each way): where a host is, to boot one that crashed, to delay one.  What needs no child of
ours is done by who asks.

Two clusters cannot take the same network: an abstract socket, which the kernel closes for us, claims it.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import json
import os
import random
import select
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field

CLONE_NEWNET = 0x40000000  # <sched.h>
POOL = ipaddress.IPv4Network("198.18.0.0/15")
"""Networks are taken from here: reserved for benchmarks (RFC 2544), so neither sites nor VPNs route it."""
READY_TIMEOUT = 60.0
"""Seconds that all sshd have to listen."""
LINK_TIMEOUT = 10.0
_claims: list[socket.socket] = []  # open until the process ends

HOST_SCRIPT = r"""
set -e
mount --bind "$1/hosts" /etc/hosts
echo "$2" >/proc/sys/kernel/hostname
echo ready
read -r go
ip -batch - <<END
link set lo up
addr add $3 dev eth0
link set eth0 up
END
sshd_config=$1/sshd_config
if [ -e "$1/boot" ]; then . "$1/boot"; fi
exec "$4" -D -e -f "$sshd_config" </dev/null >&2
"""
"""Arguments: directory, name, address/prefix, sshd.  The line that it reads comes when eth0 is there.  The file `boot` is
`LocalCluster.boot_script`.

No default route: a closed network, in which a question to a name server fails at once instead of after 10 s.
"""


class SetupError(Exception):
    """Told to the owner."""


def network_prefix(n: int) -> int:
    """Length of the prefix that holds `n` hosts, the gateway, and the two addresses that no host has; 24 at most."""
    return min(24, 32 - (n + 2).bit_length())


def parse_routes(proc_net_route: str) -> list[ipaddress.IPv4Network]:
    """Networks in the text of /proc/net/route, without the default routes (numbers there are little-endian hex)."""
    networks = []
    for line in proc_net_route.splitlines()[1:]:
        fields = line.split()
        destination, mask = (int.from_bytes(bytes.fromhex(fields[i]), sys.byteorder) for i in (1, 7))
        if mask:
            networks.append(ipaddress.IPv4Network((destination, bin(mask).count("1"))))
    return networks


def claim_network(n: int) -> ipaddress.IPv4Network:
    """A network for `n` hosts that nothing on this machine uses, and that no other cluster gets while we live."""
    with open("/proc/net/route", encoding="ascii") as routes:
        taken = parse_routes(routes.read())
    networks = list(POOL.subnets(new_prefix=network_prefix(n)))
    random.shuffle(networks)
    for network in networks:
        if not any(network.overlaps(other) for other in taken) and claim(network):
            return network
    raise SetupError(f"no free network for {n} hosts in {POOL}")


def claim(network: ipaddress.IPv4Network) -> bool:
    """Each /24 has its claim, so that networks of different sizes see each other."""
    claims = []
    try:
        for part in network.subnets(new_prefix=24):
            claims.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            claims[-1].bind(f"\0execo-localcluster-{part.network_address}")
    except OSError:
        for each in claims:
            each.close()
        return False
    _claims.extend(claims)
    return True


def run(*command: str, batch: str | None = None) -> None:
    done = subprocess.run(command, check=False, input=batch, text=True, capture_output=True)
    if done.returncode != 0:
        raise SetupError(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr.strip()}")


def make_switch(network: ipaddress.IPv4Network, uplink: str, gateway: str) -> None:
    """Move this process into a new network namespace with the bridge, linked to the namespace of its parent."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise SetupError(
            f"a network namespace cannot be made ({os.strerror(ctypes.get_errno())}): "
            "needs root with CAP_SYS_ADMIN and CAP_NET_ADMIN (a container: --privileged)"
        )
    outside = os.getppid()
    links = f"link add br0 type bridge\nlink set br0 up\nlink add uplink type veth peer name {uplink} netns {outside}\n"
    run("ip", "-batch", "-", batch=links + "link set uplink master br0 up\n")
    inside = f"addr add {gateway}/{network.prefixlen} dev {uplink}\nlink set {uplink} up\n"
    run("nsenter", f"--net=/proc/{outside}/ns/net", "ip", "-batch", "-", batch=inside)


def start_host(directory: str, name: str, address: str, sshd: str) -> subprocess.Popen[bytes]:
    script = ["sh", "-c", HOST_SCRIPT, "sh", directory, name, address, sshd]
    unshare = ["unshare", "--net", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child"]
    with open(os.path.join(directory, f"{name}.log"), "wb") as log:
        return subprocess.Popen([*unshare, *script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)


def children_of(parents: set[int]) -> dict[int, int]:
    """{parent: its only child} for processes of this machine."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as stat:
                parent = int(stat.read().rpartition(b")")[2].split()[1])
        except OSError:  # it ended between the listing and the reading
            continue
        if parent in parents:
            found[parent] = int(name)
    return found


def listens(proc_net_tcp: str, port: int) -> bool:
    """Whether the text of a /proc/PID/net/tcp has a socket that listens (state 0A) on that port."""
    lines = (line.split() for line in proc_net_tcp.splitlines()[1:])
    return any(line[1].endswith(f":{port:04X}") and line[3] == "0A" for line in lines)


def wait_until_listening(host: Host, directory: str, deadline: float) -> None:
    while True:
        try:
            with open(f"/proc/{host.init}/net/tcp", encoding="ascii") as sockets:
                if listens(sockets.read(), 22):
                    return
        except OSError:  # it has ended; its exit code and log say why
            pass
        if host.unshare.poll() is not None or time.monotonic() > deadline:
            raise host_error(host.name, directory)
        time.sleep(0.002)


def hardware_address(address: str) -> str:
    """That of a host, the same after each boot, so that its neighbours need not learn a new one."""
    return "02:ec:" + ":".join(f"{int(part):02x}" for part in address.split("/", maxsplit=1)[0].split("."))


def arp_announcement(address: str) -> bytes:
    """The frame with which a host tells all others where it is (RFC 5227)."""
    mac = bytes.fromhex(hardware_address(address).replace(":", ""))
    ip = ipaddress.IPv4Address(address.split("/", maxsplit=1)[0]).packed
    ethernet = b"\xff" * 6 + mac + b"\x08\x06"
    return ethernet + b"\x00\x01\x08\x00\x06\x04\x00\x01" + mac + ip + bytes(6) + ip


def announce_hosts(hosts: list[Host]) -> None:
    """A neighbour that looked for a host while it was gone would not find it for some seconds, unless it is told."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as bridge:
        bridge.bind(("br0", 0))
        for host in hosts:
            bridge.send(arp_announcement(host.address))


def forwarding(ip_link: str) -> set[str]:
    """Links that carry frames, in what ``ip -d -o link show`` prints."""
    lines = (line.split() for line in ip_link.splitlines())
    return {line[1].split("@")[0].rstrip(":") for line in lines if "forwarding" in line and "LOWER_UP" in line[2]}


def wait_until_forwarding(links: set[str]) -> None:
    """The kernel tells the bridge that a link is up some time after it is; until then frames are lost."""
    deadline = time.monotonic() + LINK_TIMEOUT
    while not links <= forwarding(subprocess.run(["ip", "-d", "-o", "link", "show"], check=True, capture_output=True, text=True).stdout):
        if time.monotonic() > deadline:
            raise SetupError(f"links do not come up within {LINK_TIMEOUT:.0f} s: {' '.join(sorted(links))}")
        time.sleep(0.005)


def host_error(name: str, directory: str) -> SetupError:
    with open(os.path.join(directory, f"{name}.log"), encoding="utf-8", errors="replace") as log:
        return SetupError(f"host {name} did not start: {log.read().strip() or 'no message'}")


@dataclass
class Host:
    """What the server knows of a host."""

    name: str
    address: str
    """With the length of the prefix."""
    link: str
    """Its end in the switch."""
    unshare: subprocess.Popen[bytes] = field(init=False)
    init: int = 0
    """Pid of its pid 1, as we see it."""
    relay: subprocess.Popen[bytes] | None = None
    """What delays it."""

    def tell(self) -> dict[str, object]:
        """What the owner is told of it; the pid is 0 if it is down."""
        up = self.init and self.unshare.poll() is None and is_alive(self.init)
        return {"name": self.name, "address": self.address.split("/")[0], "pid": self.init if up else 0, "link": self.link}


def is_alive(pid: int) -> bool:
    """False for a zombie, which is still there while `unshare` wakes up to reap it."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def start_hosts(hosts: list[Host], directory: str, sshd: str) -> None:
    """Start them at the same time; returns when all their sshd listen."""
    for host in hosts:
        host.unshare = start_host(directory, host.name, host.address, sshd)
    links = ""
    for host in hosts:
        assert host.unshare.stdout is not None
        if host.unshare.stdout.readline() != b"ready\n":
            raise host_error(host.name, directory)
        peer = f"peer name eth0 address {hardware_address(host.address)} netns {host.unshare.pid}"
        links += f"link add {host.link} type veth {peer}\nlink set {host.link} master br0 up\n"
    run("ip", "-batch", "-", batch=links)
    for host in hosts:
        assert host.unshare.stdin is not None
        assert host.unshare.stdout is not None
        host.unshare.stdin.write(b"go\n")
        host.unshare.stdin.close()
        host.unshare.stdout.close()
    children = children_of({host.unshare.pid for host in hosts})
    deadline = time.monotonic() + READY_TIMEOUT
    for host in hosts:
        host.init = children.get(host.unshare.pid, 0)
        wait_until_listening(host, directory, deadline)
    wait_until_forwarding({host.link for host in hosts})
    announce_hosts(hosts)


def make_hosts(names: list[str], directory: str, sshd: str, uplink: str) -> dict[str, Host]:
    """Make them all."""
    network = claim_network(len(names))
    gateway = str(network.broadcast_address - 1)
    addresses = {name: str(network[i]) for i, name in enumerate(names, 1)}
    with open(os.path.join(directory, "hosts"), "w", encoding="ascii") as file:
        file.write("127.0.0.1 localhost\n::1 localhost\n" + "".join(f"{a} {n}\n" for n, a in addresses.items()))
    make_switch(network, uplink, gateway)
    hosts = {
        name: Host(name, f"{address}/{network.prefixlen}", f"v{i}") for i, (name, address) in enumerate(addresses.items(), 1)
    }
    start_hosts(list(hosts.values()), directory, sshd)
    return hosts


def boot(hosts: list[Host], directory: str, sshd: str) -> None:
    for host in hosts:
        if host.tell()["pid"]:
            raise SetupError(f"{host.name} is not down")
    for host in hosts:
        undelay(host)
        host.unshare.kill()
        host.unshare.wait()
        # The kernel removes the link some time after the last process of the host, but the name is needed now.
        subprocess.run(["ip", "link", "del", host.link], check=False, stderr=subprocess.DEVNULL)
    start_hosts(hosts, directory, sshd)


def delay(host: Host, seconds: float) -> None:
    if host.relay is not None:
        raise SetupError("it is delayed already")
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "relay.py")
    command = [sys.executable, "-I", "-S", program, host.link, str(seconds)]
    host.relay = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert host.relay.stdout is not None
    if host.relay.stdout.readline() != b"ready\n":
        undelay(host)
        raise SetupError("the relay that delays did not start: see the log of the cluster")
    wait_until_forwarding({f"{host.link}far"})


def undelay(host: Host) -> None:
    relay, host.relay = host.relay, None
    if relay is not None:
        assert relay.stdin is not None
        assert relay.stdout is not None
        relay.stdin.close()
        relay.wait()
        relay.stdout.close()
        if host.tell()["pid"]:
            wait_until_forwarding({host.link})


def serve(listener: socket.socket, hosts: dict[str, Host], directory: str, sshd: str) -> None:
    """Answer questions until the life line ends."""
    while 0 not in select.select([0, listener.fileno()], [], [])[0]:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError, ValueError):  # who asks may end at any time
            connection.settimeout(10)
            question = json.loads(connection.makefile().readline())
            host = hosts[question["host"]]
            answer: dict[str, object] = {}
            try:
                if question["do"] == "boot":
                    boot([host, *(hosts[name] for name in question.get("with", ()))], directory, sshd)
                elif question["do"] == "delay":
                    delay(host, float(question["seconds"]))
                elif question["do"] == "undelay":
                    undelay(host)
                elif question["do"] == "wait":
                    wait_until_forwarding({host.link if host.relay is None else f"{host.link}far"})
                    announce_hosts([host])
                answer = {**host.tell(), "switch": os.getpid()}
            except (SetupError, OSError) as error:
                answer = {"error": str(error)}
            connection.sendall(json.dumps(answer).encode() + b"\n")


def listen(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    os.chdir(os.path.dirname(path))  # the name of a socket must be short
    listener.bind(os.path.basename(path))
    os.chdir("/")
    listener.listen(64)
    return listener


def announce(**what: object) -> None:
    """Tell the owner that we are ready, or why not, and close the line."""
    os.write(1, json.dumps(what).encode() + b"\n")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def main(names: list[str], directory: str, sshd: str, uplink: str, control: str) -> None:
    os.environ["PATH"] = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    try:
        hosts = make_hosts(names, directory, sshd, uplink)
        listener = listen(os.path.join(directory, control))
    except (SetupError, OSError) as error:
        announce(error=str(error))
        return
    announce(hosts=[host.tell() for host in hosts.values()], switch=os.getpid(), port=22)
    serve(listener, hosts, directory, sshd)
    # The supervisor kills the hosts; the kernel would remove the link some time after the last of them.
    subprocess.run(["ip", "link", "del", "uplink"], check=False)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
