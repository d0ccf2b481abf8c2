"""A program as an ordinary user of this machine, whatever user the tests have."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

DROP = """\
import os, sys
os.setgroups([]); os.setgid({uid}); os.setuid({uid}); os.environ["HOME"] = {home!r}; os.chdir("/")
sys.path[:0] = {path!r}
"""


def run_as_ordinary_user(public_tmp: Path, script: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a script of Python as a user with an account, a home and a shell, who can read our packages but not our home.

    :param public_tmp: an empty folder that any user can enter.
    """
    uid = 64000 + os.getpid() % 500
    home = public_tmp / "home"
    home.mkdir()
    os.chown(home, uid, uid)
    accounts = public_tmp / "passwd"
    accounts.write_text(Path("/etc/passwd").read_text() + f"gridbox:x:{uid}:{uid}::{home}:/bin/sh\n")
    # In a mount namespace of its own, the account exists, and Python is where others than its owner can read it.
    mounts = [f"mount --bind {accounts} /etc/passwd"]

    def visible(folder: str) -> str:
        target = public_tmp / f"mount-{len(mounts)}"
        target.mkdir()
        mounts.append(f"mount --bind {shlex.quote(folder)} {target}")
        return str(target)

    python = Path(sys.executable).resolve().relative_to(Path(sys.base_prefix).resolve())
    prefix = visible(sys.base_prefix)
    environment = {**os.environ, "TMPDIR": "/tmp", "LD_LIBRARY_PATH": f"{prefix}/lib"}      # of a Python that is shared
    folders = [path for path in sys.path if os.path.isdir(path) and not Path(path).is_relative_to(sys.base_prefix)]
    program = DROP.format(uid=uid, home=str(home), path=[*map(visible, folders)]) + script
    return subprocess.run(["unshare", "--mount", "sh", "-c", " && ".join([*mounts, 'exec "$@"']), "sh", f"{prefix}/{python}", "-c",
                           program], stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, timeout=timeout)
