"""A Slurm of our own: daemons, ports, key and state are this object's, and the machine's configuration is neither read nor changed."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

from requirements import SYSTEM_PATH

START_SECONDS = 60.0

CONFIGURATION = """\
ClusterName=execotest
SlurmctldHost={hostname}(127.0.0.1)
SlurmctldPort={port}
AuthType=auth/munge
AuthInfo=socket={directory}/munge.socket
CredType=cred/munge
SlurmUser={user}
SlurmdUser={user}
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0,sched_min_interval=0
ReturnToService=2
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool/%n
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd.%n.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd.%n.log
SlurmdTimeout=30
KillWait=1
SwitchType=switch/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
{nodes}
PartitionName=main Nodes=node-[1-{n}] Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(n: int) -> list[int]:
    """Ports that nobody has now."""
    sockets = []
    for _ in range(n):
        one = socket.socket()
        one.bind(("127.0.0.1", 0))
        sockets.append(one)
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class PrivateSlurm:
    """Nodes node-1 to node-N, whose daemons all run here: use it with `with`.

    `environment` is what the commands of Slurm need.
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self.directory = Path()
        self.environment: dict[str, str] = {}
        self._daemons: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> PrivateSlurm:  # noqa: PYI034   # typing_extensions is not there at run time
        # A short path: that of a socket has a hundred characters.
        self.directory = Path(tempfile.mkdtemp(prefix="execo-slurm-", dir="/tmp"))
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop()

    def run(self, *command: str) -> str:
        """What a command of Slurm prints."""
        return subprocess.run(command, env=self._all_environment(), check=True, capture_output=True, text=True).stdout

    def _all_environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": SYSTEM_PATH, **self.environment}

    def _start(self) -> None:
        directory = self.directory
        directory.chmod(0o755)
        (directory / "state").mkdir()
        for number in range(1, self.n + 1):
            (directory / "spool" / f"node-{number}").mkdir(parents=True)
        key = directory / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        self._daemon("munged", "--foreground", "--force", "--num-threads=2", f"--key-file={key}", f"--socket={directory}/munge.socket",
                     f"--pid-file={directory}/munged.pid", f"--seed-file={directory}/munged.seed", f"--log-file={directory}/munged.log")
        self._wait("munged", (directory / "munge.socket").exists)
        ports = free_ports(self.n + 1)
        hostname = socket.gethostname().partition(".")[0]
        nodes = "\n".join(f"NodeName=node-{number} NodeHostname={hostname} NodeAddr=127.0.0.1 Port={port} CPUs=2 State=UNKNOWN"
                          for number, port in enumerate(ports[1:], 1))
        file = directory / "slurm.conf"
        file.write_text(CONFIGURATION.format(directory=directory, hostname=hostname, port=ports[0], user=getpass.getuser(), nodes=nodes,
                                             n=self.n))
        self.environment = {"SLURM_CONF": str(file)}
        self._daemon("slurmctld", "-D", "-f", str(file))
        for number in range(1, self.n + 1):
            self._daemon("slurmd", "-D", "-N", f"node-{number}", "-f", str(file))
        self._wait("slurmctld", self._all_idle)

    def _all_idle(self) -> bool:
        command = ["sinfo", "-h", "-t", "idle", "-o", "%D", "-p", "main"]
        asked = subprocess.run(command, env=self._all_environment(), capture_output=True, text=True)
        return asked.stdout.strip() == str(self.n)

    def _daemon(self, *command: str) -> None:
        with open(self.directory / f"{Path(command[0]).name}.out", "ab") as out:
            # They must not outlive a test run that is killed.
            self._daemons.append(subprocess.Popen(["setpriv", "--pdeathsig", "TERM", *command], env=self._all_environment(),
                                                  stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True))

    def _wait(self, what: str, ready: object) -> None:
        assert callable(ready)
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            dead = [daemon for daemon in self._daemons if daemon.poll() is not None]
            if dead or time.monotonic() > deadline:
                logs = "".join(f"== {file.name}\n{file.read_text(errors='replace')[-2000:]}\n" for file in self.directory.glob("*.[lo]*"))
                raise OSError(f"{what} is not ready:\n{logs}")
            time.sleep(0.05)                            # it is asked, for nothing tells when it is

    def _stop(self) -> None:
        for daemon in reversed(self._daemons):
            if daemon.poll() is None:
                daemon.terminate()
        for daemon in reversed(self._daemons):
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons.clear()
        shutil.rmtree(self.directory, ignore_errors=True)
