"""The sites of the other tests: the machine does not change, two do not meet, nothing is left."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from oarsite import OarSite

pytestmark = pytest.mark.requires("oar")
HELPERS = Path(__file__).resolve().parents[1] / "helpers"
TOUCHED = ("/etc/oar/oar.conf", "/etc/passwd", "/etc/hosts", "/etc/ssh/sshd_config", "/usr/lib/oar/Almighty",
           "/var/lib/oar/.ssh/authorized_keys")


def contents() -> list[str]:
    return [hashlib.sha256(Path(name).read_bytes()).hexdigest() if Path(name).exists() else "" for name in TOUCHED]


def test_two_sites_of_one_name_do_not_meet_and_leave_the_machine_alone() -> None:
    before = contents()
    with OarSite("same", 1) as one, OarSite("same", 1) as other:
        assert one.run("oarsub", "-l", "nodes=1", "sleep 60").returncode == 0
        assert "OAR_JOB_ID" not in other.run("oarstat").stdout
        assert one.run("oarstat").stdout != ""
        assert other.run("oarstat").stdout == ""
        assert one.run("touch", "/tmp/seen").returncode == 0
        assert other.run("ls", "/tmp/seen").returncode != 0
        assert not Path("/tmp/seen").exists()
        folders = [one.directory, other.directory]
    assert contents() == before
    assert not any(folder.exists() for folder in folders)


def test_a_site_ends_with_its_owner_however_that_ends(tmp_path: Path) -> None:
    code = ("import sys, time\n"
            f"sys.path.insert(0, {str(HELPERS)!r})\n"
            "from oarsite import OarSite\n"
            "site = OarSite('short', 1).start()\n"
            "print(site.enter[2], flush=True)\n"
            "time.sleep(600)\n")
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        init = owner.stdout.readline().strip()
        assert Path(f"/proc/{init}").exists()
        owner.kill()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{init}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
