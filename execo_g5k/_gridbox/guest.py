"""A tiny guest for virtual machines: a kernel of Debian, busybox, an ssh server; it boots in seconds even when it is emulated.

It is all in memory: its disk is there, and empty.  It has /dev/shm, and can log in to other guests (``ssh -y ADDRESS``).  Files come by
``cat``, for its ssh server has no sftp.  Words of the kernel's command line say what it is: ``vmname=NAME vmip=ADDRESS/PREFIX``; it takes
all addresses, whatever their network, to be on its link.

The kernel comes from a package that was unpacked, not installed: see `KERNELS`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from execo._localcluster import tools

KERNELS = [Path(os.environ.get("EXECO_GUEST_KERNEL", "/opt/execo-guest")), Path("/")]
"""Folders with boot/vmlinuz-* and lib/modules: ``dpkg-deb -x linux-image-*-cloud-amd64*.deb /opt/execo-guest``, or an installed kernel."""
PROGRAMS = {"busybox": "busybox", "dropbear": "dropbear-bin", "dropbearkey": "dropbear-bin", "dropbearconvert": "dropbear-bin",
            "dbclient": "dropbear-bin", "cpio": "cpio", "qemu-img": "qemu-utils", "ssh-keygen": "openssh-client"}
"""{program: Debian package}, for the guest."""
HOST_PROGRAMS = {"libvirtd": "libvirt-daemon", "virsh": "libvirt-clients", "qemu-system-x86_64": "qemu-system-x86", "taktuk": "taktuk",
                 "ping": "iputils-ping", "nc": "netcat-openbsd"}
"""The same, for hosts that run it."""
MODULES = """
    drivers/virtio/virtio_ring drivers/virtio/virtio drivers/virtio/virtio_pci_legacy_dev drivers/virtio/virtio_pci_modern_dev
    drivers/virtio/virtio_pci drivers/block/virtio_blk net/core/failover drivers/net/net_failover drivers/net/virtio_net
""".split()
KERNEL_ARGS = "console=ttyS0 quiet panic=-1 mitigations=off nokaslr tsc=reliable cryptomgr.notests vmname={id} vmip={ip}/24"
"""For `execo_g5k.vmutils.Hypervisor`; some of them save time where the processor is emulated."""

INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin:/sbin HOME=/root
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev; mkdir -p /dev/pts /dev/shm
mount -t devpts d /dev/pts; mount -t tmpfs m /dev/shm
# Those that fail are tried again: which of them needs which is different in each kernel.
left="MODULES"
for try in 1 2 3; do again=; for module in $left; do insmod /mod/$module.ko || again="$again $module"; done; left=$again; done 2>/dev/null
read -r words </proc/cmdline
for word in $words; do case $word in vmip=*|vmname=*) eval "$word";; esac; done
hostname ${vmname:-vm}
ip link set lo up
ip link set eth0 up; ip addr add $vmip dev eth0; ip route add default dev eth0
[ -b /dev/vda ] && read -r size </sys/block/vda/size && echo "disk $size"
dropbear -E -s -r /etc/dropbear/dropbear_ed25519_host_key -p 22
echo "ready ${vmname:-vm}"
while :; do sleep 1000; done
"""


def find_kernel() -> tuple[Path, Path] | None:
    """(kernel, its folder of modules), or None."""
    for root in KERNELS:
        for kernel in sorted((root / "boot").glob("vmlinuz-*"), reverse=True):
            modules = root / "lib" / "modules" / kernel.name.removeprefix("vmlinuz-") / "kernel"
            if (modules / "drivers" / "block" / "virtio_blk.ko").exists():
                return kernel, modules
    return None


def missing(programs: dict[str, str]) -> list[str]:
    """Debian packages of the programs that are not here."""
    return sorted({package for program, package in programs.items() if tools.find_tool(program) is None})


def why_not() -> str | None:
    """None if hosts that run the guest can be made here, else what is missing, in words."""
    packages = missing(PROGRAMS | HOST_PROGRAMS)
    if packages:
        return f"apt-get install {' '.join(packages)}"
    if find_kernel() is None:
        return f"no kernel with virtio_blk in {' or '.join(map(str, KERNELS))}: dpkg-deb -x linux-image-*-cloud-amd64*.deb {KERNELS[0]}"
    return None


def has_kvm() -> bool:
    """Whether guests can run on the processor itself; a /dev/kvm alone does not say so."""
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    return os.access("/dev/kvm", os.R_OK | os.W_OK) and re.search(r"^flags\s*:.*\b(vmx|svm)\b", flags, re.MULTILINE) is not None


def build(folder: Path) -> tuple[Path, Path, Path]:
    """Makes (kernel, initrd, private key) in the folder: ``vmlinuz``, ``initrd`` and ``key``.

    :raises OSError: if something is missing, or cannot be done; the message says what.
    """
    found = find_kernel()
    packages = missing(PROGRAMS)
    if found is None or packages:
        raise FileNotFoundError(f"a guest cannot be made: {why_not()}")
    kernel, modules = found
    folder = folder.resolve()
    root = folder / "root"
    for name in ("bin", "sbin", "dev", "proc", "sys", "tmp", "etc/dropbear", "root/.ssh", "lib64", "mod", "run"):
        (root / name).mkdir(parents=True)
    targets = {"busybox": "bin/busybox", "dropbear": "sbin/dropbear", "dbclient": "sbin/ssh"}
    programs = {name: tools.require_tool(name, PROGRAMS[name]) for name in targets}
    for name, target in targets.items():
        shutil.copy(programs[name], root / target)
    # A static busybox has none, and ldd says so by its exit code.
    libraries = "".join(subprocess.run(["ldd", program], check=False, capture_output=True, text=True).stdout
                        for program in programs.values())
    for library in set(re.findall(r"/lib\S*", libraries)):
        (root / library.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(os.path.realpath(library), root / library.lstrip("/"))
    for library in Path("/lib").glob("*/libnss_files.so.2"):
        shutil.copy(library, root / "lib" / library.parent.name / library.name)
    for module in MODULES:
        shutil.copy(modules / f"{module}.ko", root / "mod")
    key = folder / "key"
    _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    _run("dropbearkey", "-t", "ed25519", "-f", str(root / "etc/dropbear/dropbear_ed25519_host_key"))
    _run("dropbearconvert", "openssh", "dropbear", str(key), str(root / "root/.ssh/id_dropbear"))
    (root / "root/.ssh/authorized_keys").write_text(key.with_suffix(".pub").read_text(encoding="utf-8"), encoding="utf-8")
    for private in ("root", "root/.ssh"):
        (root / private).chmod(0o700)
    texts = {"passwd": "root:x:0:0:root:/root:/bin/sh", "shadow": "root:*:19000:0:99999:7:::", "group": "root:x:0:", "shells": "/bin/sh",
             "nsswitch.conf": "passwd: files\ngroup: files\nshadow: files"}
    for name, text in texts.items():
        (root / "etc" / name).write_text(f"{text}\n", encoding="utf-8")
    (root / "init").write_text(INIT.replace("MODULES", " ".join(Path(module).name for module in MODULES)), encoding="utf-8")
    (root / "init").chmod(0o755)
    initrd = folder / "initrd"          # not packed: an emulated processor takes longer to unpack it than to read it
    _run("sh", "-c", 'cd "$1" && find . | cpio -o -H newc --quiet >"$2"', "sh", str(root), str(initrd))
    shutil.rmtree(root)
    shutil.copy(kernel, folder / "vmlinuz")
    return folder / "vmlinuz", initrd, key


def make_disk(file: Path) -> None:
    """An empty image, on which the disks of the guests are based.

    :raises OSError: if it cannot be made.
    """
    _run("qemu-img", "create", "-q", "-f", "qcow2", str(file), "16M")


def _run(program: str, *arguments: str) -> None:
    path = tools.require_tool(program, PROGRAMS.get(program, "dash"))
    done = subprocess.run([path, *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{program}: exit code {done.returncode}: {(done.stderr or done.stdout).strip()}")
