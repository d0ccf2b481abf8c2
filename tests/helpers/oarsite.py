"""A site with a real OAR of its own: frontend, database, server and a few hosts, in private namespaces of this machine.

Nothing of the machine changes: see oarsite_files/up.sh.  All of it ends with `OarSite.stop`, or with this process, however that ends.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

FILES = Path(__file__).with_name("oarsite_files")
START_SECONDS = 60.0
CLEAR_SECONDS = 100.0
USER, UID = "experimenter", 58000
COMMANDS = ("oarsub", "oardel", "oarstat", "oarprint", "oarsh", "oarcp", "oarnodes")


class OarSite:
    """As a context manager it starts and stops.

    :param site: its name; the hosts are ``node-1.SITE.grid5000.fr`` and so on, with two cores each.
    :param key_of: the site whose key logs in here too.
    """

    def __init__(self, site: str, hosts: int = 3, key_of: OarSite | None = None) -> None:
        self.site = site
        self._key_of = key_of
        self.hosts = [f"node-{i}.{site}.grid5000.fr" for i in range(1, hosts + 1)]
        self._unshare: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        self.directory = Path(tempfile.mkdtemp(prefix=f"execo-oar-{self.site}-"))
        self.directory.chmod(0o755)
        shutil.copy(FILES / "manager.pl", self.directory)
        for name in ("ssh_host_key", "key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.directory / name)], check=True)
        shutil.copy((self._key_of or self).directory / "key.pub", self.directory / "authorized_keys")
        ready, tell = os.pipe()
        try:
            with (self.directory / "log").open("wb") as log:
                self._unshare = subprocess.Popen(
                    ["unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--kill-child", "--mount-proc",
                     "bash", "-c", f'exec 3>&{tell} {tell}>&-; . "$0"', str(FILES / "up.sh"),
                     str(self.directory), self.site, str(len(self.hosts))],
                    stdin=subprocess.PIPE, stdout=log, stderr=log, pass_fds=[tell], cwd="/")
            os.close(tell)
            tell = -1
            readable, _, _ = select.select([ready], [], [], START_SECONDS)
            if not readable or not os.read(ready, 100):
                raise RuntimeError(f"no OAR on {self.site}:\n" + (self.directory / "log").read_text(errors="replace"))
        except BaseException:
            self.stop()
            raise
        finally:
            os.close(ready)
            if tell >= 0:
                os.close(tell)
        init = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children").read_text().split()[0]
        self.enter = ["nsenter", "-t", init, "-m", "-u", "-i", "-n", "-p"]
        self._write_commands()
        return self

    def _write_commands(self) -> None:
        self.bin = self.directory / "bin"
        self.bin.mkdir()
        for command in COMMANDS:
            script = self.bin / command
            script.write_text(f"#!/bin/sh\nexec {self.directory}/enter /usr/bin/{command} \"$@\"\n")
            script.chmod(0o755)
        # The login shell of the frontend would set PWD, which oarsub wants.
        enter = self.directory / "enter"
        enter.write_text(f"""#!/bin/sh
exec {' '.join(self.enter)} setpriv --reuid {UID} --regid {UID} --clear-groups env -i HOME=/home/{USER} USER={USER} LC_ALL=C.UTF-8 \\
    PATH=/usr/local/bin:/usr/bin:/bin ${{OAR_JOB_ID:+OAR_JOB_ID="$OAR_JOB_ID"}} bash -c 'cd && exec "$0" "$@"' "$@"
""")
        enter.chmod(0o755)

    def run(self, *command: str, timeout: float = 60, root: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a command on the frontend, as its user."""
        words = [*self.enter, "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"] if root else [str(self.directory / "enter")]
        return subprocess.run([*words, *command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)

    def clear(self) -> None:
        """Delete all jobs of its user, and wait until they are gone."""
        deadline = time.monotonic() + CLEAR_SECONDS
        while jobs := [line.split() for line in self.run("oarstat", "-u").stdout.splitlines() if line[:1].isdecimal()]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"jobs on {self.site} do not end: {jobs}")
            # OAR may miss the deletion of a job that it is launching.
            if settled := [job[0] for job in jobs if job[1] != "L"]:
                self.run("oardel", *settled)
            time.sleep(0.2)

    def stop(self) -> None:
        unshare, self._unshare = self._unshare, None
        if unshare is not None:
            assert unshare.stdin is not None
            unshare.stdin.close()           # its pid 1 ends, and with it all that is in there
            try:
                unshare.wait(20)
            except subprocess.TimeoutExpired:
                unshare.kill()              # --kill-child
                unshare.wait()
        shutil.rmtree(self.directory)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()


def connection_params(*sites: OarSite) -> dict[str, Any]:
    """To log in on their frontends, each by the name of its site; they share the key of the first.

    Each connection has an sshd of its own, on its standard input: there is no network between us.
    """
    first = sites[0]
    reach = first.directory / f"reach-{'-'.join(site.site for site in sites)}"
    cases = "".join(f"{site.site}|{site.site}.*) exec {' '.join(site.enter)} /usr/sbin/sshd -i ;;\n" for site in sites)
    reach.write_text(f'#!/bin/sh\ncase $1 in\n{cases}*) echo "no site $1" >&2; exit 1 ;;\nesac\n')
    reach.chmod(0o755)
    return {
        "user": USER, "keyfile": str(first.directory / "key"),
        "ssh_options": ("-tt", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no",
                        "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", f"ProxyCommand={reach} %h"),
    }
