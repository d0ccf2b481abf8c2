"""Hosts of a `LocalCluster` with namespaces that become hypervisors: each has a libvirtd, directories and a network of its own.

Nothing of the machine's own libvirt is touched: what libvirt owns is hidden, in each host's own view of the files, behind directories of
the test.  All that is started ends with its host.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from execo.localcluster import LocalCluster, LocalHost

TEST_URI = "test+unix:///default"
IMAGES = "/var/lib/libvirt/images"
"""A directory that each host has for itself."""

_OWN_FILES = """
set -e
mkdir -p /etc/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt /run/libvirt
mkdir -p "$1/etc" "$1/lib/images" "$1/cache" "$1/log"
mount --bind "$1/etc" /etc/libvirt
mount --bind "$1/lib" /var/lib/libvirt
mount --bind "$1/cache" /var/cache/libvirt
mount --bind "$1/log" /var/log/libvirt
mount -t tmpfs -o mode=755 own /run/libvirt
mount -t sysfs own /sys
"""

_SETTINGS = """\
host_uuid = "{uuid}"
auth_unix_rw = "none"
auth_tcp = "none"
listen_tls = 0
listen_tcp = 1
listen_addr = "{address}"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""

_QEMU_SETTINGS = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = [ ]
cgroup_controllers = [ ]
stdio_handler = "file"
migration_address = "{address}"
migration_host = "{address}"
"""

_START = """
libvirtd -l -d -f /etc/libvirt/libvirtd.conf -p /run/libvirt/libvirtd.pid </dev/null >/dev/null 2>&1 || exit 1
for try in $(seq 300); do virsh -q -c "$1" version >/dev/null 2>&1 && exit 0; sleep 0.1; done
cat /var/log/libvirt/libvirtd.log; exit 1
"""

def run(host: LocalHost, script: str, *arguments: str, timeout: float = 90) -> str:
    """What the script printed, in this host; AssertionError if it failed."""
    done = host.run_inside(["sh", "-c", script, "sh", *arguments], timeout=timeout)
    assert done.returncode == 0, f"{host.name}: {done.stdout}{done.stderr}"
    return done.stdout


def start_test_driver(host: LocalHost, directory: Path) -> None:
    """A libvirtd with libvirt's test driver only, whose state one connection keeps; see `TEST_URI`."""
    run(host, _OWN_FILES, str(directory / host.name))
    (directory / host.name / "etc" / "libvirtd.conf").write_text(_SETTINGS.format(uuid=uuid.uuid4(), address=host.address))
    no_drivers = directory / "no-drivers"
    no_drivers.mkdir(exist_ok=True)
    run(host, f"export LIBVIRT_DRIVER_DIR={no_drivers}\n{_START}", TEST_URI)
    # The state of the driver lasts as long as a connection; the machine that it begins with is in the way.
    run(host, f"""
        ( {{ echo "destroy test"; echo "undefine test"; sleep 100000; }} | virsh -q -c {TEST_URI} ) </dev/null >/dev/null 2>&1 &
        for try in $(seq 300); do [ -n "$(virsh -q -c {TEST_URI} list --all --name | tr -d '\\n')" ] || exit 0; sleep 0.05; done; exit 1""")


def prepare_qemu(host: LocalHost, directory: Path) -> None:
    """Files and settings for a libvirtd with the qemu driver, which others start; all hosts have the same number, as with one image."""
    run(host, _OWN_FILES, str(directory / host.name))
    etc = directory / host.name / "etc"
    (etc / "libvirtd.conf").write_text(_SETTINGS.format(uuid="11111111-2222-4333-8444-555555555555", address=host.address))
    (etc / "qemu.conf").write_text(_QEMU_SETTINGS.format(address=host.address))


def soon(cluster: LocalCluster) -> dict[str, Any]:
    """Connection params that give up soon on a host that is dead."""
    options = [option.replace("ConnectTimeout=20", "ConnectTimeout=3") for option in cluster.connection_params["taktuk_connector_options"]]
    return {**cluster.connection_params, "taktuk_connector_options": tuple(options)}


def own_home(host: LocalHost, cluster: LocalCluster) -> None:
    """A home of its own for root, where keys can be put: those of ~/.ssh/authorized_keys may log in then, beside that of the cluster."""
    run(host, """
        set -e
        mount -t tmpfs -o mode=700 own ~root
        mkdir -m 700 ~root/.ssh
        cp "$1" ~root/.ssh/authorized_keys
        mount --bind ~root/.ssh/authorized_keys "$1" """, str(cluster.directory / "authorized_keys"))
