"""Which programs a `LocalCluster` runs, and errors that say what is missing."""

from __future__ import annotations

import functools
import grp
import os
import pwd
import shutil
import subprocess
import sys

from execo._localcluster.params import locked, parse_openssh_version

SBIN = ("/usr/sbin", "/usr/local/sbin", "/sbin")
"""Not in the PATH of ordinary users."""


def find_tool(name: str) -> str | None:
    """Absolute path of a program in PATH or where administrators' programs are."""
    found = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", os.defpath), *SBIN)))
    return os.path.abspath(found) if found else None


def require_tool(name: str, debian_package: str) -> str:
    """As `find_tool`; FileNotFoundError that names the package if there is none."""
    found = find_tool(name)
    if found is None:
        raise FileNotFoundError(f"a local cluster needs {name!r}: apt-get install {debian_package}")
    return found


def require_linux() -> None:
    if not sys.platform.startswith("linux"):
        raise OSError(f"a local cluster needs Linux (127.0.0.0/8, subreapers), found {sys.platform}")


def current_account() -> pwd.struct_passwd:
    """The account of this process; KeyError if its uid has none, as ssh refuses to run then."""
    try:
        return pwd.getpwuid(os.getuid())
    except KeyError:
        raise KeyError(f"uid {os.getuid()} has no account (getent passwd): ssh does not run without one") from None


def sshd_problem(sshd: str | None) -> str | None:
    """Why an sshd of this user could not serve this user; None if it can."""
    account = current_account()
    if sshd is None:
        return "sshd is not installed (apt-get install openssh-server)"
    if os.path.basename(account.pw_shell) in ("nologin", "false"):
        return f"sshd runs commands by the login shell, and that of {account.pw_name} is {account.pw_shell}"
    return terminal_problem(account)


def terminal_problem(account: pwd.struct_passwd) -> str | None:
    """Why sshd could not open a terminal: it gives each to the group tty, which only root can, unless it has it."""
    try:
        group = grp.getgrnam("tty").gr_gid
    except KeyError:  # so does sshd
        group = account.pw_gid
    master, slave = os.openpty()
    try:
        os.chown(os.ttyname(slave), account.pw_uid, group)
    except PermissionError:
        return (
            f"/dev/pts does not give terminals to the group tty, so that only root's sshd can: "
            f"mount -o remount,gid={group},mode=620 /dev/pts"
        )
    finally:
        os.close(master)
        os.close(slave)
    return None


def needs_pam() -> bool:
    """Whether the account is locked, as root's is on some systems: sshd as root reads that, and PAM lets keys pass."""
    if os.getuid() != 0:
        return False
    try:
        with open("/etc/shadow", encoding="utf-8") as shadow:
            passwords = [line.split(":")[1] for line in shadow if line.startswith("root:")]
    except OSError:
        return False
    return any(map(locked, passwords)) and os.path.exists("/etc/pam.d/sshd")


@functools.lru_cache
def sshd_version(sshd: str) -> tuple[int, int]:
    done = subprocess.run([sshd, "-V"], check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return parse_openssh_version(done.stderr + done.stdout)


def make_privilege_separation_directory() -> None:
    """As root, sshd insists on this empty directory, which the service of the distribution makes at boot."""
    if os.getuid() == 0:
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)


def make_keys(*files: str) -> None:
    """A key pair in each file and file + ".pub"."""
    ssh_keygen = require_tool("ssh-keygen", "openssh-client")
    commands = [
        subprocess.Popen(
            [ssh_keygen, "-q", "-t", "ed25519", "-N", "", "-C", "execo local cluster", "-f", file],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for file in files
    ]
    errors = [(command.communicate()[1], command.returncode) for command in commands]
    if any(code for _, code in errors):
        raise OSError(f"ssh-keygen failed: {' '.join(error.strip() for error, _ in errors)}")


def check_config(sshd: str, config: str) -> None:
    """OSError with what sshd says of a configuration that it does not take."""
    command = [sshd, "-t", "-f", config]
    done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError(f"{sshd} refuses its configuration: {done.stderr.strip()}")
