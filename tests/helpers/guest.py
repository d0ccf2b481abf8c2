"""A tiny guest for real virtual machines: a kernel of Debian, busybox, an ssh server; boots in seconds even when it is emulated.

The kernel comes from a package that was unpacked, not installed: see `KERNELS`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

KERNELS = [Path(os.environ.get("EXECO_GUEST_KERNEL", "/opt/execo-guest")), Path("/")]
"""Folders with boot/vmlinuz-* and lib/modules: ``dpkg-deb -x linux-image-*-cloud-amd64*.deb /opt/execo-guest``, or an installed kernel."""
MODULES = """
    drivers/virtio/virtio drivers/virtio/virtio_ring drivers/virtio/virtio_pci_legacy_dev drivers/virtio/virtio_pci_modern_dev
    drivers/virtio/virtio_pci drivers/block/virtio_blk net/core/failover drivers/net/net_failover drivers/net/virtio_net
""".split()

INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin:/sbin HOME=/root
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev; mkdir -p /dev/pts; mount -t devpts d /dev/pts
# Several times: which of them needs which is different in each kernel.
for again in 1 2 3; do for module in MODULES; do insmod /mod/$module.ko; done; done 2>/dev/null
for word in $(cat /proc/cmdline); do case $word in vmip=*|vmname=*) eval "$word";; esac; done
hostname ${vmname:-vm}
ip link set lo up
ip link set eth0 up; ip addr add $vmip dev eth0
[ -b /dev/vda ] && echo "disk $(cat /sys/block/vda/size)"
dropbear -E -s -p 22
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


def build(folder: Path) -> tuple[Path, Path, Path]:
    """Makes (kernel, initrd, private key) in the folder."""
    found = find_kernel()
    assert found is not None
    kernel, modules = found
    root = folder / "root"
    for name in ("bin", "sbin", "dev", "proc", "sys", "tmp", "etc/dropbear", "root/.ssh", "lib64", "mod", "run"):
        (root / name).mkdir(parents=True)
    busybox, dropbear = (shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") for name in ("busybox", "dropbear"))
    assert busybox is not None
    assert dropbear is not None
    shutil.copy(busybox, root / "bin" / "busybox")
    shutil.copy(dropbear, root / "sbin" / "dropbear")
    # A static busybox has none, and ldd says so by its exit code.
    libraries = "".join(subprocess.run(["ldd", program], check=False, capture_output=True, text=True).stdout
                        for program in (busybox, dropbear))
    for library in set(re.findall(r"/lib\S*", libraries)):
        (root / library.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(os.path.realpath(library), root / library.lstrip("/"))
    for library in Path("/lib").glob("*/libnss_files.so.2"):
        shutil.copy(library, root / "lib" / library.parent.name / library.name)
    for module in MODULES:
        shutil.copy(modules / f"{module}.ko", root / "mod")
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    subprocess.run(["dropbearkey", "-t", "ed25519", "-f", root / "etc/dropbear/dropbear_ed25519_host_key"], check=True, capture_output=True)
    (root / "root/.ssh/authorized_keys").write_text(key.with_suffix(".pub").read_text())
    for private in ("root", "root/.ssh"):
        (root / private).chmod(0o700)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/shadow").write_text("root:*:19000:0:99999:7:::\n")
    (root / "etc/group").write_text("root:x:0:\n")
    (root / "etc/shells").write_text("/bin/sh\n")
    (root / "etc/nsswitch.conf").write_text("passwd: files\ngroup: files\nshadow: files\n")
    (root / "init").write_text(INIT.replace("MODULES", " ".join(Path(module).name for module in MODULES)))
    (root / "init").chmod(0o755)
    initrd = folder / "initrd.gz"
    pack = f"find . | cpio -o -H newc --quiet | gzip -1 > '{initrd}'"
    subprocess.run(["sh", "-c", pack], cwd=root, check=True)
    shutil.copy(kernel, folder / "vmlinuz")
    return folder / "vmlinuz", initrd, key
