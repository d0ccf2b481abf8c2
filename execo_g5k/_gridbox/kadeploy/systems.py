"""The operating systems of the nodes: the default environment, or one that was deployed.

**With namespaces**, a node boots into a root of its own, a small file system whose source has the name of a partition, ``/dev/sda2`` for
the default environment and ``/dev/sda3`` for one that was deployed: it is what ``mount`` and /proc/mounts say, so that the checks of the
real nodes (root on partition 2) come out as there.  The folders of this machine are mounted in it.  A node that was deployed has another
/etc: a layer over that of this machine, with a hostname, an os-release, keys and an sshd_config of its own; and more, see `own`.  To deploy
is to crash the host and to boot it anew, so nothing that ran there is left.

**Without**, all nodes have the root and the account of this machine.  Then a file for each node says what ``mount`` would say, and
`Systems.check_command` reads it on the node.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import threading
from pathlib import Path

from execo._localcluster import params, tools
from execo.localcluster import LocalHost

from . import own

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .environments import Environment

DEFAULT_PARTITION, DEPLOYED_PARTITION = "/dev/sda2", "/dev/sda3"
_ROOT_CHECK = "grep -E '^/dev/[[:alpha:]]+2 on / '"

BOOT_SCRIPT = r"""
mkdir -p "$1/root"
system=$1/systems/$2 device=PARTITION
if [ -e "$system/device" ]; then read -r device <"$system/device"; fi
mount --make-unbindable -t tmpfs -o mode=755 "$device" "$1/root"
cd "$1/root"
mkdir -p .old etc DIRECTORIES
LINKS
echo "MOUNTS" >.fstab
mount -a -T .fstab
if [ -e "$system/etc" ]; then
    mkdir .layers
    mount -t tmpfs -o mode=755 layers .layers       # not in the root itself: what is unbindable cannot be a layer either
    layers=$1/root/.layers
    mkdir .layers/etc .layers/work
    if ! mount -t overlay etc -o "lowerdir=/etc,upperdir=$layers/etc,workdir=$layers/work" "$1/root/etc" 2>/dev/null; then
        cp -a /etc/. etc
    fi
    rm -rf etc/hostname etc/os-release etc/libvirt
    cp -a "$system/etc/." etc
    mount --bind "$1/hosts" "$1/root/etc/hosts"
    sshd_config=/etc/ssh/sshd_config
OWN
    umount -l .layers
    rm -d .layers
else
    mount --rbind /etc "$1/root/etc"
fi
pivot_root . .old
umount -l .old
rm -d .old .fstab
cd /
"""


def boot_script() -> str:
    """See `LocalCluster.boot_script`."""
    entries = sorted(os.scandir("/"), key=lambda entry: entry.name)
    plain = [entry for entry in entries if re.fullmatch(r"[\w.+-]+", entry.name)]
    links = [f"ln -s {shlex.quote(os.readlink(entry))} {entry.name}" for entry in plain if entry.is_symlink()]
    directories = [entry.name for entry in plain if entry.is_dir(follow_symlinks=False) and entry.name != "etc"]
    parts = {"PARTITION": DEFAULT_PARTITION, "DIRECTORIES": " ".join(directories), "LINKS": "\n".join(links),
             "OWN": own.SCRIPT, "MOUNTS": "\n".join(f"/{name} $1/root/{name} none rbind 0 0" for name in directories)}
    return re.sub("|".join(parts), lambda found: parts[found[0]], BOOT_SCRIPT)


class Systems:
    """What each node of the box runs.  Any thread may call the methods; each node is for one at a time.

    :param directory: of the cluster.
    :param hosts: {FQDN: host}.
    :param has_roots: nodes have namespaces.
    """

    def __init__(self, directory: Path, hosts: Mapping[str, LocalHost], has_roots: bool) -> None:
        self._directory = directory
        self._hosts = hosts
        self.has_roots = has_roots
        self._lock = threading.Lock()
        self._touched: dict[str, Environment | None] = {}
        self._off: set[str] = set()
        """Where nodes have no roots."""
        (directory / "systems").mkdir(mode=0o700)
        if not has_roots:
            for node in hosts:
                self._describe(node)

    @property
    def check_command(self) -> str | None:
        """The check of a deployed node, where `mount` cannot tell; None where it can."""
        if self.has_roots:
            return None
        # the third word is the address that the client called
        file = f'{shlex.quote(str(self._directory / "systems"))}/"$(set -- $SSH_CONNECTION; echo $3)"'
        return f"! (cat {file} | {_ROOT_CHECK})"

    def environment_of(self, node: str) -> Environment | None:
        """None: the default one, or none at all."""
        with self._lock:
            return self._touched.get(node)

    def touched(self) -> list[str]:
        """Nodes that run something else than the default environment, or nothing at all."""
        with self._lock:
            return list(self._touched)

    def shut_down(self, nodes: Iterable[str]) -> None:
        """They are off, or in the deployment environment, where only Kadeploy gets in."""
        nodes = list(nodes)
        with self._lock:
            for node in nodes:
                self._touched.setdefault(node, None)
        for node in nodes:
            if not self.has_roots:
                self._off.add(node)
                self._describe(node)
            elif self.is_on(node):
                self._hosts[node].crash()

    def write(self, nodes: Iterable[str], environment: Environment, keys: str) -> None:
        """Put an environment on their disks.

        :param keys: lines of authorized_keys.
        """
        nodes = list(nodes)
        with self._lock:
            for node in nodes:
                self._touched[node] = environment
        if not self.has_roots:
            return
        private = []
        for node in nodes:
            system = self._directory / "systems" / node
            shutil.rmtree(system, ignore_errors=True)
            etc = system / "etc"
            (etc / "ssh").mkdir(parents=True)
            (etc / "grid5000").mkdir()
            (system / "device").write_text(f"{DEPLOYED_PARTITION}\n", encoding="ascii")
            (etc / "hostname").write_text(f"{node.partition('.')[0]}\n", encoding="ascii")
            (etc / "os-release").write_text(environment.os_release(), encoding="utf-8")
            (etc / "grid5000" / "release").write_text(f"{environment.name}-{environment.version}\n", encoding="utf-8")
            (etc / "hosts").touch()
            (etc / "ssh" / "authorized_keys").write_text(keys, encoding="utf-8")
            config = (self._directory / params.SSHD_CONFIG).read_text(encoding="utf-8")
            # keys that are put into root's home there count too, as those between hypervisors
            for name, more in ((params.HOST_KEY, ""), (params.AUTHORIZED_KEYS, " .ssh/authorized_keys")):
                config = config.replace(params.quote_path(self._directory / name), f"/etc/ssh/{name}{more}")
            (etc / "ssh" / "sshd_config").write_text(config, encoding="utf-8")
            for name, text in own.FILES.items():
                (etc / name).parent.mkdir(parents=True, exist_ok=True)
                (etc / name).write_text(text, encoding="utf-8")
            private.append(str(etc / "ssh" / params.HOST_KEY))
        tools.make_keys(*private)

    def reset(self, nodes: Iterable[str]) -> None:
        """Put the default environment on their disks; they count as `touched` until `forget`."""
        nodes = list(nodes)
        with self._lock:
            self._touched.update(dict.fromkeys(nodes))
        for node in nodes:
            shutil.rmtree(self._directory / "systems" / node, ignore_errors=True)

    def forget(self, nodes: Iterable[str]) -> None:
        """They run the default environment again."""
        with self._lock:
            for node in nodes:
                self._touched.pop(node, None)

    def boot(self, nodes: Iterable[str]) -> None:
        """Returns when their sshd listen.  Those that are up are left alone."""
        if self.has_roots:
            LocalHost.boot_all([self._hosts[node] for node in nodes if not self.is_on(node)])
            return
        for node in nodes:
            self._off.discard(node)
            self._describe(node)

    def enter(self, node: str) -> list[str]:
        """Words of a program that runs others on a node, as root; [] where nodes are this machine.

        :raises RuntimeError: if it is down.
        """
        if not self.has_roots:
            return []
        init = self._hosts[node]._where(up=True)["pid"]
        nsenter = tools.require_tool("nsenter", "util-linux")
        return [nsenter, "-t", str(init), "-n", "-u", "-p", "-m", "--", "setpriv", "--pdeathsig", "KILL"]

    def is_on(self, node: str) -> bool:
        """Whether a node runs something that others reach."""
        return bool(self._hosts[node]._where()["pid"]) if self.has_roots else node not in self._off

    def _describe(self, node: str) -> None:
        """What `check_command` reads: one that is off is not deployed."""
        environment = self.environment_of(node)
        partition = DEFAULT_PARTITION if environment is None or node in self._off else DEPLOYED_PARTITION
        file = self._directory / "systems" / self._hosts[node].address
        file.write_text(f"{partition} on / type ext4 (rw,relatime)\n# {environment.name if environment else 'default'}\n", encoding="utf-8")
