"""A site with a real OAR of its own: frontend, database, server and hosts, in private namespaces of this machine.

Nothing of the machine changes: see up.sh.  All of it ends with `OarSite.stop`, or with this process, however that ends.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from .sql import resources_sql

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from typing_extensions import Self

HERE = Path(__file__).parent
FILES = ("manager.pl", "site-tools.pl")
KADEPLOY_CLIENT = HERE.parent / "kadeploy" / "client.pl"
START_SECONDS = 60.0
CLEAR_SECONDS = 100.0
API = "/usr/lib/cgi-bin/oarapi/oarapi.cgi"
API_SECONDS = 60.0
TOO_LONG = 124
"""The exit code of what has taken longer."""
USER, UID = "experimenter", 58000
COMMANDS = ("oarsub", "oardel", "oarstat", "oarprint", "oarsh", "oarcp", "oarnodes", "oarwalltime", "g5k-subnets", "kavlan")
PATH = "/usr/lib/oar/site-tools:/usr/local/bin:/usr/bin:/bin"
_PROGRAMS = ("oarsub", "oarstat", "oarprint", "oar-database", "Almighty", "psql", "setpriv", "nsenter", "unshare", "sshd", "ssh-keygen",
             "perl")
_PACKAGES = "apt-get install oar-server-pgsql oar-user-pgsql oar-node oar-restful-api postgresql"
_LAYER = ("mount -t tmpfs layer /mnt && mkdir /mnt/up /mnt/work && "
          "mount -t overlay layer -o lowerdir=/etc,upperdir=/mnt/up,workdir=/mnt/work /etc")


def why_not() -> str | None:
    """Why a real OAR cannot run here, in words; None if it can."""
    if os.geteuid() != 0:
        return "a real OAR needs root, for its namespaces"
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin", "/sbin"])
    missing = [name for name in _PROGRAMS if shutil.which(name, path=search) is None]
    if not os.path.exists(API):
        missing.append(API)
    if missing or not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        return f"a real OAR is not installed here ({', '.join(missing) or 'initdb'}): {_PACKAGES}"
    tried = subprocess.run(["unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "sh", "-c", _LAYER], check=False,
                           stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if tried.returncode != 0:
        return f"a real OAR needs namespaces and layers of the file system, which are not allowed here: {tried.stderr.strip()}"
    return None


def rows_of(site: str, hosts: Sequence[str], cores: int = 2) -> list[dict[str, Any]]:
    """Resources of a cluster ``node``, of so many cores on each host."""
    return [{"resource_id": index * cores + core + 1, "type": "default", "network_address": host, "host": host, "cluster": "node",
             "site": site, "cpu": index + 1, "core": index * cores + core + 1, "cpuset": str(core), "deploy": "YES", "besteffort": "YES",
             "state": "Alive", "state_num": 1}
            for index, host in enumerate(hosts) for core in range(cores)]


class OarSite:
    """As a context manager it starts and stops.

    :param site: its name; the hosts are ``node-1.SITE.grid5000.fr`` and so on, with two cores each, unless there are `rows`.
    :param key_of: the site whose key logs in here too.
    :param rows: its resources.
    :param public_key: file of one that logs in.
    """

    def __init__(self, site: str, hosts: int = 3, key_of: OarSite | None = None, rows: Sequence[Mapping[str, Any]] | None = None,
                 public_key: Path | None = None) -> None:
        self.site = site
        self._key_of = key_of
        self._public_key = public_key
        self.rows = list(rows) if rows is not None else rows_of(site, [f"node-{i}.{site}.grid5000.fr" for i in range(1, hosts + 1)])
        self.hosts = list(dict.fromkeys(str(row["network_address"]) for row in self.rows if row.get("network_address")))
        self._unshare: subprocess.Popen[bytes] | None = None
        self._accounts = {USER: UID}
        self._accounts_lock = threading.Lock()
        self.directory: Path | None = None

    def start(self) -> Self:
        """Returns when it takes jobs.

        :raises RuntimeError: if it does not start, with what it printed.
        """
        self.directory = Path(tempfile.mkdtemp(prefix=f"execo-oar-{self.site}-"))
        self.directory.chmod(0o755)
        ready, tell = os.pipe()
        try:
            self._write_files(self.directory)
            with (self.directory / "log").open("wb") as log:
                self._unshare = subprocess.Popen(
                    ["unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--kill-child", "--mount-proc",
                     "bash", "-c", f'exec 3>&{tell} {tell}>&-; . "$0"', str(HERE / "up.sh"), str(self.directory), self.site, USER],
                    stdin=subprocess.PIPE, stdout=log, stderr=log, pass_fds=[tell], cwd="/")
            os.close(tell)
            tell = -1
            readable, _, _ = select.select([ready], [], [], START_SECONDS)
            if not readable or not os.read(ready, 100):
                raise RuntimeError(f"no OAR on {self.site}:\n" + (self.directory / "log").read_text(errors="replace"))
            init = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children").read_text().split()[0]
            self.enter = ["nsenter", "-t", init, "-m", "-u", "-i", "-n", "-p"]
            self._write_commands(self.directory)
        except BaseException:
            self.stop()
            raise
        finally:
            os.close(ready)
            if tell >= 0:
                os.close(tell)
        return self

    def _write_files(self, directory: Path) -> None:
        for name in FILES:
            shutil.copy(HERE / name, directory)
        for name in ("ssh_host_key", "key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)], check=True)
        other = (self._key_of or self).directory
        assert other is not None
        shutil.copy(self._public_key or other / "key.pub", directory / "authorized_keys")
        lines = [f"127.0.{1 + i // 250}.{1 + i % 250} {host} {host.partition('.')[0]}\n" for i, host in enumerate(self.hosts)]
        (directory / "hosts").write_text("".join(lines), encoding="utf-8")
        (directory / "resources.sql").write_text(resources_sql(self.rows), encoding="utf-8")

    def _write_commands(self, directory: Path) -> None:
        self.bin = directory / "bin"
        self.bin.mkdir()
        for command in COMMANDS:
            script = self.bin / command
            # a configuration of ssh that is for out here
            drop = 'while [ "$1" = -F ]; do shift 2; done\n' if command in ("oarsh", "oarcp") else ""
            script.write_text(f"#!/bin/sh\n{drop}exec {directory}/enter {command} \"$@\"\n")
            script.chmod(0o755)
        # The login shell of the frontend would set PWD, which oarsub wants.
        enter = directory / "enter"
        enter.write_text(f"""#!/bin/sh
exec {' '.join(self.as_user(USER, '${OAR_JOB_ID:+OAR_JOB_ID="$OAR_JOB_ID"}'))} bash -c 'cd && exec "$0" "$@"' "$@"
""")
        enter.chmod(0o755)

    def add_commands(self, names: Iterable[str], socket: str) -> None:
        """Commands that ask a server behind a socket; users must be able to reach it."""
        assert self.directory is not None
        shutil.copy(KADEPLOY_CLIENT, self.directory)
        client = self.directory / KADEPLOY_CLIENT.name
        lines = []
        for name in names:
            script = self.directory / f"{name}.sh"
            script.write_text(f'#!/bin/sh\nexec perl {client} {socket} {name} "$@"\n', encoding="utf-8")
            lines.append(f"install -m 755 {script} /usr/lib/oar/site-tools/{name}")
            outside = self.bin / name
            outside.write_text(f'#!/bin/sh\nexec {self.directory}/enter {name} "$@"\n', encoding="utf-8")
            outside.chmod(0o755)
        done = self.run("sh", "-ec", "\n".join(lines), root=True)
        if done.returncode:
            raise OSError(f"commands on the frontend of {self.site}: {done.stderr.strip()}")

    def as_user(self, user: str, *variables: str) -> list[str]:
        """Words before a command that a user runs on the frontend."""
        uid = str(self._accounts[user])
        return [*self.enter, "setpriv", "--reuid", uid, "--regid", uid, "--clear-groups", "env", "-i", f"HOME=/home/{user}", f"USER={user}",
                f"LOGNAME={user}", "LC_ALL=C.UTF-8", f"PATH={PATH}", *variables]

    def add_account(self, user: str) -> None:
        """Let a user of that name submit jobs.

        :raises ValueError: for what is no name of a user.
        """
        if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,30}", user) or user in ("root", "oar"):
            raise ValueError(f"not the name of a user who may submit jobs: {user!r}")
        with self._accounts_lock:
            if user in self._accounts:
                return
            uid = UID + len(self._accounts)
            script = (f'echo "{user}:x:{uid}:{uid}::/home/{user}:/bin/bash" >>/etc/passwd; echo "{user}:x:{uid}:" >>/etc/group; '
                      f'echo "{user}:*:1::::::" >>/etc/shadow; install -d -o {uid} -g {uid} /home/{user}')
            subprocess.run([*self.enter, "sh", "-c", script], check=True, stdin=subprocess.DEVNULL)
            self._accounts[user] = uid

    def run(self, *command: str, timeout: float = 60, root: bool = False, user: str = USER) -> subprocess.CompletedProcess[str]:
        """Run a command on the frontend, as its user."""
        words = ([*self.enter, "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"] if root
                 else [*self.as_user(user), "bash", "-c", 'cd && exec "$0" "$@"'])
        return subprocess.run([*words, *command], check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)

    def cgi(self, variables: Mapping[str, str], body: bytes) -> subprocess.CompletedProcess[bytes]:
        """Ask OAR's REST API, a program of CGI, for one request; it ends after `API_SECONDS`, with the exit code `TOO_LONG`.

        :raises ValueError: for what cannot be in an environment.
        """
        # Scripts of jobs are written there, and copied to where the job runs, which may be /tmp.
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TMPDIR": "/dev/shm", **variables}
        words = [*self.enter, "setpriv", "--reuid", "oar", "--regid", "oar", "--clear-groups", "env", "-i",
                 *(f"{name}={value}" for name, value in environment.items()), "timeout", "--kill-after=2", f"{API_SECONDS:g}", API]
        return subprocess.run(words, check=False, input=body, capture_output=True, cwd="/", timeout=API_SECONDS + 10)

    def query(self, sql: str) -> str:
        """What its database answers, without a head.

        :raises RuntimeError: with what the database says.
        """
        done = self.run("psql", "-h", "/run/postgresql", "-U", "oaradmin", "-d", "oar2", "-v", "ON_ERROR_STOP=1", "-XAtqc", sql, root=True)
        if done.returncode:
            raise RuntimeError(f"the database of OAR on {self.site}: {done.stderr.strip()}")
        return done.stdout

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
        """Returns when nothing of it runs any more."""
        unshare, self._unshare = self._unshare, None
        if unshare is not None:
            assert unshare.stdin is not None
            unshare.stdin.close()           # its pid 1 ends, and with it all that is in there
            try:
                unshare.wait(20)
            except subprocess.TimeoutExpired:
                unshare.kill()              # --kill-child
                unshare.wait()
        if self.directory is not None:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()


def connection_params(*sites: OarSite) -> dict[str, Any]:
    """To log in on their frontends, each by the name of its site; they share the key of the first.

    Each connection has an sshd of its own, on its standard input: there is no network between us.
    """
    first = sites[0]
    assert first.directory is not None
    reach = first.directory / f"reach-{'-'.join(site.site for site in sites)}"
    cases = "".join(f"{site.site}|{site.site}.*) exec {' '.join(site.enter)} /usr/sbin/sshd -i ;;\n" for site in sites)
    reach.write_text(f'#!/bin/sh\ncase $1 in\n{cases}*) echo "no site $1" >&2; exit 1 ;;\nesac\n')
    reach.chmod(0o755)
    return {
        "user": USER, "keyfile": str(first.directory / "key"),
        "ssh_options": ("-tt", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no",
                        "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", f"ProxyCommand={reach} %h"),
    }
