"""A job on each of several frontends: the same ssh commands, from xargs and from execo_g5k.

Each connection is an sshd of its own on standard input; the `oarsub` that it finds prints the id of a job at once, so that what is measured
is ours.
"""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

from execobench.meter import Meter, expect_equal, scratch
from execobench.registry import OURS, Implementation, Metric, Workload

REQUEST = 'oarsub -l "nodes=2,walltime=0:10:0" -t "origin=execo" "sleep 31536000"'
SSHD = shutil.which("sshd", path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin", "/sbin"]))
ANSWER = "[ADMISSION RULE] Modify resource description with type constraints"


def frontends() -> tuple[str, tuple[str, ...]]:
    """(private key, options of ssh): any host name is a frontend."""
    folder = Path(scratch("frontends"))
    folder.mkdir()
    for name in ("host_key", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    command = folder / "oarsub"
    command.write_text(f"#!/bin/sh\necho '{ANSWER}'\necho OAR_JOB_ID=$$\n")
    command.chmod(0o755)
    (folder / "sshd_config").write_text(
        f"HostKey {folder}/host_key\nAuthorizedKeysFile {folder}/key.pub\nUsePAM no\nStrictModes no\nPidFile none\nLogLevel ERROR\n"
        f"UseDNS no\nPrintMotd no\nPrintLastLog no\nSetEnv SHLVL=1 PATH={folder}:/usr/bin:/bin\n")
    if os.getuid() == 0:
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    proxy = shlex.join([SSHD or "sshd", "-i", "-f", str(folder / "sshd_config")])
    return str(folder / "key"), (
        "-tt", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no",
        "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", f"ProxyCommand={proxy}")


def xargs(n: int) -> dict[str, float]:
    key, options = frontends()
    user = pwd.getpwuid(os.getuid()).pw_name
    words = ["xargs", "-P", str(n), "-I{}", "ssh", *options, "-o", f"User={user}", "-i", key, "{}.grid5000.fr", REQUEST]
    names = "".join(f"site-{i}\n" for i in range(n))
    with Meter() as meter:
        done = subprocess.run(words, input=names, text=True, stdout=subprocess.PIPE, check=True)
    expect_equal("jobs", done.stdout.count("OAR_JOB_ID="), n)
    return meter.values


def execo_g5k(n: int) -> dict[str, float]:
    from execo_g5k.config import default_frontend_connection_params
    from execo_g5k.oar import OarSubmission, oarsub

    key, options = frontends()
    params: dict[str, Any] = {"user": pwd.getpwuid(os.getuid()).pw_name, "keyfile": key, "ssh_options": options}
    default_frontend_connection_params.update(params)
    specs = [(OarSubmission("nodes=2", "0:10:0"), f"site-{i}") for i in range(n)]
    with Meter() as meter:
        jobs = oarsub(specs)
    expect_equal("jobs", sum(job is not None for job, _ in jobs), n)
    return meter.values


WORKLOADS = [
    Workload(
        name="oarsub",
        title="A job on each of N frontends, by ssh",
        size="frontends",
        sizes=(8,),
        quick_sizes=(8,),
        base="xargs -P ssh",
        metrics=(Metric("wall", ratio=True), Metric("cpu", ratio=True)),
        implementations=(
            Implementation("xargs -P ssh", xargs, needs=("xargs", "ssh", "ssh-keygen")),
            Implementation("execo", execo_g5k, OURS, needs=("ssh", "ssh-keygen")),
        ),
        reps=9,
        note="The oarsub of these frontends answers at once. Nearly all of the time is that of ssh and sshd.",
    ),
]
