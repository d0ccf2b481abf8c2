"""The sites of the other tests: the machine does not change, two do not meet, nothing is left."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from execo_g5k._gridbox.oar_real import RealOar, oarsite, why_not
from execo_g5k._gridbox.oar_real.oarsite import OarSite, rows_of
from execo_g5k._gridbox.site import SiteSetup

pytestmark = pytest.mark.requires("oar")
ROOT = Path(__file__).resolve().parents[2]
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
        folders = [site.directory for site in (one, other) if site.directory is not None]
        assert len(folders) == 2
    assert contents() == before
    assert not any(folder.exists() for folder in folders)


def test_a_site_ends_with_its_owner_however_that_ends(tmp_path: Path) -> None:
    code = ("import sys, time\n"
            f"sys.path.insert(0, {str(ROOT)!r})\n"
            "from execo_g5k._gridbox.oar_real.oarsite import OarSite\n"
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


@pytest.mark.parametrize(("password", "sql", "said"), [
    ("read", "SELECT count(*) FROM resources", "6\n"),
    ("read", "DELETE FROM jobs", "permission denied"),
    ("wrong", "SELECT 1", "password authentication failed"),
])
def test_the_database_is_reached_as_on_grid5000(home_site: OarSite, password: str, sql: str, said: str) -> None:
    done = home_site.run("env", f"PGPASSWORD={password}", "psql", "-h", "oardb.home.grid5000.fr", "-U", "oarreader", "-d", "oar2", "-Atc",
                         sql)
    assert said in done.stdout + done.stderr


def test_a_site_that_does_not_start_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    rows = rows_of("bad", ["node-1"]) * 2           # one number twice
    (tmp_path / "key.pub").write_text("none\n")
    oar = RealOar(SiteSetup("bad", tmp_path, rows, {}, tmp_path / "key", tmp_path / "ssh_config", time.time))
    with pytest.raises(RuntimeError, match=r"no OAR on bad:(.|\n)*duplicate key value"):
        oar.start()
    assert oar.site.directory is not None
    assert not oar.site.directory.exists()
    oar.stop()


def test_why_there_can_be_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert why_not() is None
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("shutil.which", lambda name, path: None if name == "oarsub" else name)
    assert "not installed here (oarsub): apt-get install" in str(why_not())
    monkeypatch.setattr(oarsite, "API", "/nowhere/oarapi.cgi")
    assert "not installed here (oarsub, /nowhere/oarapi.cgi): apt-get install" in str(why_not())
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert why_not() == "a real OAR needs root, for its namespaces"
