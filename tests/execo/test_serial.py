"""Serial lines, on pairs of pseudo terminals in place of devices."""

from __future__ import annotations

import os
import select
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from connector import until, without_tty

from execo.action import RemoteSerial
from execo.localcluster import LocalCluster
from execo.process import Process, Serial, SerialSsh


class Device:
    """The other end of the line, and the name of ours."""

    def __init__(self) -> None:
        self.fd, slave = os.openpty()
        self.name = os.ttyname(slave)
        tty.setraw(slave)
        self._slave = slave             # kept open, so that the line stays when nobody has it

    def read(self, n: int) -> bytes:
        data = b""
        while len(data) < n:
            assert select.select([self.fd], [], [], 20)[0], f"only {data!r}"
            data += os.read(self.fd, 1000)
        return data

    def close(self) -> None:
        os.close(self.fd)
        os.close(self._slave)


@pytest.fixture
def device() -> Iterator[Device]:
    made = Device()
    yield made
    made.close()


def talk(process: Any, device: Device) -> None:
    """Both directions, unchanged."""
    process.write("to the device\n")
    # stty has done its work before cat begins
    assert device.read(14).replace(b"\r\n", b"\n") == b"to the device\n"
    os.write(device.fd, b"from the device\xff\r\n")
    assert process.expect("from the device\udcff\r?\n", timeout=20)[0] == 0


@pytest.mark.parametrize("options", [{}, {"shell": True}])
def test_both_directions_of_a_local_line(device: Device, options: Any) -> None:
    with Serial(device.name, 115200, **options) as process:
        process.start()
        talk(process, device)
        assert process.stdout == "from the device\udcff\r\n"
    assert process.wait(20).killed


def test_nothing_holds_the_device_after_kill(device: Device) -> None:
    process = Serial(device.name, 9600).start()
    talk(process, device)
    process.kill().wait(20)

    def holders() -> list[str]:
        found = []
        for link in Path("/proc").glob("[0-9]*/fd/*"):
            try:
                if os.readlink(link) == device.name and int(link.parts[2]) != os.getpid():
                    found.append(str(link))
            except OSError:
                continue
        return found

    assert until(lambda: not holders())


def test_both_directions_through_a_host(ssh_hosts: LocalCluster, device: Device) -> None:
    with SerialSsh(ssh_hosts.hosts[0], device.name, 9600, without_tty(ssh_hosts.connection_params)) as process:
        process.start()
        talk(process, device)
    process.wait(20)
    assert repr(process).startswith(f"SerialSsh(Host('{ssh_hosts.hosts[0].address}'), '{device.name}', 9600")


def test_a_line_on_each_host(ssh_hosts: LocalCluster) -> None:
    devices = [Device(), Device()]
    names = [device.name for device in devices]
    with RemoteSerial(ssh_hosts.hosts[:2], "{{names}}", 9600, without_tty(ssh_hosts.connection_params)) as action:
        action.start()
        for process, device in zip(action.processes, devices, strict=True):
            talk(process, device)
    action.wait(20)
    for device in devices:
        device.close()
    assert names


def test_a_device_that_is_missing_fails(tmp_path: Path) -> None:
    process = Serial(str(tmp_path / "no such folder" / "tty"), 9600, nolog_exit_code=True).run(20)
    assert process.ended
    assert process.exit_code != 0
    assert "No such" in process.stderr or "cannot create" in process.stderr


@pytest.mark.parametrize("device", ["-oX; touch trap", "$(touch trap)", "'; touch trap '"])
def test_neither_name_nor_speed_of_a_device_runs_anything(device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    process = Serial(device, "9600; touch trap", nolog_exit_code=True).start()
    process.close_stdin()
    assert process.wait(20).ended
    assert not (tmp_path / "trap").exists()


def test_text_and_defaults() -> None:
    process = Serial("/dev/ttyS0", 9600)
    assert process.shell
    assert isinstance(process, Process)
    assert repr(process).startswith("Serial('/dev/ttyS0', 9600")
    assert "stty -F /dev/ttyS0 9600 rows 0 columns 0 " in str(process.cmd)
