"""A session of IPython, typed through its standard input."""

import subprocess
import sys

import pytest

CELLS = """\
from execo import *
p = Process("sleep 30").start()
q = Process("echo from-a-cell").run()
print("said", q.stdout.strip(), q.finished_ok, p.running)
q
p.kill().wait().exit_code
import asyncio
await asyncio.sleep(0)
print("after-await", Local("echo still-here").run().processes[0].stdout.strip())
"""


@pytest.mark.requires("ipython")
def test_processes_run_between_the_cells_of_ipython(tmp_path):
    ipython = [sys.executable, "-m", "IPython", "--simple-prompt", "--no-banner", "--no-confirm-exit", "--colors=NoColor"]
    session = subprocess.run(ipython, input=CELLS, capture_output=True, text=True, timeout=60, env=None, cwd=tmp_path, check=False)
    printed = session.stdout
    assert "said from-a-cell True True" in printed, session
    assert "Process('echo from-a-cell')" in printed
    assert "-15" in printed
    assert "after-await still-here" in printed
    assert "Traceback" not in printed
