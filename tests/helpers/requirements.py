"""What the machine must have for a test: `require("sshd")`, or the marker `@pytest.mark.requires("sshd")`.

Each entry says whether the machine has it, and how to get it.  The reason of the skip is one line, the same for all
tests that lack the same thing, so that the end of the run can list it once.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

SYSTEM_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
"""Where servers are: the PATH of a plain user often lacks the sbin folders."""


class Requirement(NamedTuple):
    """One thing that a test may need."""

    available: Callable[[], bool]
    reason: str


def has_program(name: str) -> bool:
    """Whether this program is installed, also in the sbin folders."""
    return shutil.which(name, path=SYSTEM_PATH) is not None


def _can_make_namespaces() -> bool:
    if os.geteuid() != 0 or not (has_program("ip") and has_program("unshare")):
        return False
    # A container's root may not be allowed to; only a try tells.
    tried = subprocess.run(
        ["unshare", "--net", "--uts", "--pid", "--mount", "--fork", "true"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    return tried.returncode == 0


def _has_perl() -> bool:
    return has_program("perl") and subprocess.run(["perl", "-MTime::HiRes", "-e", "0"], stderr=subprocess.DEVNULL).returncode == 0


def _can_run_oar() -> bool:
    programs = ("oarsub", "oarstat", "oarprint", "oar-database", "Almighty", "psql", "setpriv", "nsenter", "sshd", "ssh-keygen", "perl")
    files = [*Path("/usr/lib/postgresql").glob("*/bin/initdb"), Path("/usr/lib/cgi-bin/oarapi/oarapi.cgi")]
    if not all(map(has_program, programs)) or len(files) < 2 or not files[-1].exists() or not _can_make_namespaces():
        return False
    # Nor may a container's root always mount.
    layer = ("mount -t tmpfs layer /mnt && mkdir /mnt/up /mnt/work &&"
             " mount -t overlay layer -o lowerdir=/etc,upperdir=/mnt/up,workdir=/mnt/work /etc")
    tried = subprocess.run(["unshare", "--mount", "sh", "-c", layer], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
    return tried.returncode == 0


def _has_guest() -> bool:
    from execo_g5k._gridbox.guest import why_not

    return why_not() is None and _can_make_namespaces()


def _program(name: str, package: str) -> Requirement:
    return Requirement(lambda: has_program(name), f"no {name} ({package}): make system-deps")


REQUIREMENTS: dict[str, Requirement] = {
    "ssh": _program("ssh", "openssh-client"),
    "scp": _program("scp", "openssh-client"),
    "sshd": _program("sshd", "openssh-server"),
    "ip": _program("ip", "iproute2"),
    "nft": _program("nft", "nftables"),
    "tc": _program("tc", "iproute2"),
    "taktuk": _program("taktuk", "taktuk"),
    "perl": Requirement(_has_perl, "no perl with Time::HiRes (perl): make system-deps"),     # perl-base of Debian lacks it
    "ps": _program("ps", "procps"),
    "script": _program("script", "bsdutils"),
    "git": _program("git", "git"),
    "slurm": Requirement(
        lambda: os.geteuid() == 0 and all(map(has_program, ("munged", "slurmctld", "slurmd", "salloc", "setpriv"))),
        "no Slurm (slurmctld, slurmd, slurm-client, munge): make system-deps, and run as root"
    ),
    "oar": Requirement(
        _can_run_oar, "no OAR (oar-server-pgsql, oar-user-pgsql, oar-node, oar-restful-api, postgresql): make system-deps, and run as root"
    ),
    "grid5000": Requirement(
        lambda: socket.gethostname().endswith(".grid5000.fr") and has_program("oarsub"), "not on a frontend of Grid'5000"
    ),
    "matplotlib": Requirement(
        lambda: importlib.util.find_spec("matplotlib") is not None, "no matplotlib: pip install 'execo-engine[plot]'"
    ),
    "root": Requirement(lambda: os.geteuid() == 0, "not root: run the tests as root"),
    "namespaces": Requirement(
        _can_make_namespaces, "no network namespaces (root, iproute2, util-linux): make system-deps, and run as root"
    ),
    "libvirt": Requirement(
        lambda: all(map(has_program, ("libvirtd", "virsh", "qemu-img", "taktuk"))) and _can_make_namespaces(),
        "no libvirt (libvirt-daemon, libvirt-clients, qemu-utils, taktuk): make system-deps, and run as root"
    ),
    "qemu": Requirement(
        _has_guest, "no guest (libvirt-daemon-driver-qemu, qemu-system-x86, busybox-static, dropbear-bin, cpio, iputils-ping, and a "
        "cloud kernel in /opt/execo-guest): make system-deps, and run as root"
    ),
    "paramiko": Requirement(
        lambda: importlib.util.find_spec("paramiko") is not None, "no paramiko: pip install 'execo[localcluster]'"
    ),
    "pandas": Requirement(lambda: importlib.util.find_spec("pandas") is not None, "no pandas: pip install 'execo-engine[pandas]'"),
    "ipython": Requirement(lambda: importlib.util.find_spec("IPython") is not None, "no IPython: pip install ipython"),
}


@functools.cache
def available(name: str) -> bool:
    """Whether the machine has it; asked once in a run."""
    if name not in REQUIREMENTS:
        raise LookupError(f"unknown requirement {name!r}; known are {', '.join(sorted(REQUIREMENTS))}")
    return REQUIREMENTS[name].available()


def require(*names: str) -> None:
    """Skip the test unless the machine has all of these."""
    for name in names:
        if not available(name):
            pytest.skip(REQUIREMENTS[name].reason)
