"""Makes the hosts of a `LocalCluster` with ``isolation="namespaces"``, as root.

``python -I -S namespaces_server.py PARAMETERS`` with the JSON of the keywords of `main`.

This process moves into a network namespace of its own, the switch: it holds the bridge and one end of each host's
link.  A single link, the uplink, joins it to the namespace of the owner.  Neither the switch nor the hosts have a
name in `ip netns list` or a file in /etc/netns, so the kernel removes all of it with the last process in it, whatever
way it ends.  Each host is an `unshare` whose child, pid 1 of the host, becomes sshd, and takes the host with it.

Two clusters cannot take the same network: an abstract socket, which the kernel closes for us, claims it.
"""

from __future__ import annotations

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

CLONE_NEWNET = 0x40000000  # <sched.h>
POOL = ipaddress.IPv4Network("198.18.0.0/15")
"""Networks are taken from here: reserved for benchmarks (RFC 2544), so neither sites nor VPNs route it."""
READY_TIMEOUT = 60.0
"""Seconds that all sshd have to listen."""
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
exec "$4" -D -e -f "$1/sshd_config" </dev/null >&2
"""
"""Arguments: directory, name, address/prefix, sshd.  The line that it reads comes when eth0 is there.

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


def wait_until_listening(hosts: dict[str, subprocess.Popen[bytes]], inits: dict[str, int], directory: str) -> None:
    deadline = time.monotonic() + READY_TIMEOUT
    for name, host in hosts.items():
        while True:
            try:
                with open(f"/proc/{inits[name]}/net/tcp", encoding="ascii") as sockets:
                    if listens(sockets.read(), 22):
                        break
            except OSError:  # it has ended; its exit code and log say why
                pass
            if host.poll() is not None or time.monotonic() > deadline:
                raise host_error(name, directory)
            time.sleep(0.002)


def host_error(name: str, directory: str) -> SetupError:
    with open(os.path.join(directory, f"{name}.log"), encoding="utf-8", errors="replace") as log:
        return SetupError(f"host {name} did not start: {log.read().strip() or 'no message'}")


def make_hosts(names: list[str], directory: str, sshd: str, uplink: str) -> list[dict[str, object]]:
    """Make them all, and return what the owner is told of each: name, address, pid of its init, link in the switch."""
    network = claim_network(len(names))
    gateway = str(network.broadcast_address - 1)
    addresses = {name: str(network[i]) for i, name in enumerate(names, 1)}
    with open(os.path.join(directory, "hosts"), "w", encoding="ascii") as file:
        file.write("127.0.0.1 localhost\n::1 localhost\n" + "".join(f"{a} {n}\n" for n, a in addresses.items()))
    make_switch(network, uplink, gateway)
    hosts = {
        name: start_host(directory, name, f"{address}/{network.prefixlen}", sshd) for name, address in addresses.items()
    }
    links = ""
    for i, (name, host) in enumerate(hosts.items(), 1):
        assert host.stdout is not None
        if host.stdout.readline() != b"ready\n":
            raise host_error(name, directory)
        links += f"link add v{i} type veth peer name eth0 netns {host.pid}\nlink set v{i} master br0 up\n"
    run("ip", "-batch", "-", batch=links)
    for host in hosts.values():
        assert host.stdin is not None
        assert host.stdout is not None
        host.stdin.write(b"go\n")
        host.stdin.close()
        host.stdout.close()
    children = children_of({host.pid for host in hosts.values()})
    inits = {name: children.get(host.pid, 0) for name, host in hosts.items()}
    wait_until_listening(hosts, inits, directory)
    return [
        {"name": name, "address": address, "pid": inits[name], "link": f"v{i}"}
        for i, (name, address) in enumerate(addresses.items(), 1)
    ]


def announce(**what: object) -> None:
    """Tell the owner that we are ready, or why not, and close the line."""
    os.write(1, json.dumps(what).encode() + b"\n")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def main(names: list[str], directory: str, sshd: str, uplink: str) -> None:
    os.environ["PATH"] = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    try:
        told = make_hosts(names, directory, sshd, uplink)
    except SetupError as error:
        announce(error=str(error))
        return
    announce(hosts=told, switch=os.getpid(), port=22)
    select.select([0], [], [])
    # The supervisor kills the hosts; the kernel would remove the link some time after the last of them.
    subprocess.run(["ip", "link", "del", "uplink"], check=False)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
