"""What a deployed node has of its own beside its /etc, so that it can be made a hypervisor as a real one: pure.

/run, /tmp and root's home, empty or without the keys of this machine's user; /sys, which shows its own network; and the folders of libvirt.
Nothing of this machine's libvirt is seen, or touched.  Disks and /tmp outlast a reboot, until the node is deployed anew.
"""

from __future__ import annotations

IMAGES = "/var/lib/libvirt/images"
NETWORKS = "networks"
"""File in the folder of the guest, in that of the cluster: networks that are on the links of nodes."""

# In the new root of the node, before it becomes the root; $1 is the directory of the cluster, which has to be seen in it, for the nodes log
# in to each other with what is there.  Root's home is a layer in memory over that of this machine; where there can be none, it is empty.
SCRIPT = f"""\
    if [ -e "$1/guest/{NETWORKS}" ]; then
        while read -r network; do ip route replace "$network" dev eth0; done <"$1/guest/{NETWORKS}"
    fi
    mount -t sysfs own sys
    mount -t tmpfs -o mode=755 own run
    mkdir -p run/sshd run/lock run/libvirt "$system/own/tmp" .layers/home .layers/homework
    chmod 1777 run/lock "$system/own/tmp"
    mount --bind "$system/own/tmp" tmp
    mkdir -p ".$1"
    mount --bind "$1" ".$1"
    mount -t overlay home -o "lowerdir=/root,upperdir=$layers/home,workdir=$layers/homework" root 2>/dev/null ||
        mount -t tmpfs -o mode=700 own root
    rm -rf root/.ssh
    for place in var/cache/libvirt var/lib/libvirt var/log/libvirt; do
        if [ -d "$place" ]; then
            mkdir -p "$system/own/$place"
            mount --bind "$system/own/$place" "$place"
        fi
    done
    if [ -d var/lib/libvirt ]; then mkdir -p var/lib/libvirt/images; fi
"""

_LIBVIRTD = """\
# No TCP: whoever runs programs on this machine could then run them as root.  qemu+ssh is what migrations use.
listen_tcp = 0
listen_tls = 0
auth_unix_rw = "none"
unix_sock_rw_perms = "0700"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""
_QEMU = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = [ ]
cgroup_controllers = [ ]
stdio_handler = "file"
"""
_NO_PACKAGES = "the node has the packages of the machine that runs the box, and no network to get others: install them there"
_APT = f"""\
Acquire::Retries "0";
APT::Update::Pre-Invoke {{ "echo '{_NO_PACKAGES}' >&2; exit 1"; }};
DPkg::Pre-Invoke {{ "echo '{_NO_PACKAGES}' >&2; exit 1"; }};
"""

FILES = {"libvirt/libvirtd.conf": _LIBVIRTD, "libvirt/qemu.conf": _QEMU, "apt/apt.conf.d/zz-box": _APT}
"""{name in /etc: text}."""
