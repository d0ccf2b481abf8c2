"""Campaigns with real virtual machines: the steps, failures, and that nothing is left whatever happens."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import json
import os
import pprint
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import vm_campaign
from hypervisors import IMAGES, prepare_qemu, run, soon

from execo import Host
from execo.localcluster import LocalCluster, LocalHost
from execo_engine.sweep import SweepDirectory
from execo_engine.testbeds import StaticTestbed
from execo_g5k import g5k_configuration
from execo_g5k._gridbox import guest
from execo_g5k._vm.lending import Addresses
from execo_g5k._vm.remote import VMAction
from execo_g5k.vmengine import VMEngine, VMsFailed
from execo_g5k.vmutils import Hypervisor, create_disks, define_vms, domain_xml, install_vms, list_vm

TWO, THREE, SMALL = {"number": [1, 2]}, {"number": [1, 2, 3]}, {"memory": [80]}
needs_guests = [pytest.mark.requires("qemu"), pytest.mark.timeout(300)]


def guests(test: Any) -> Any:
    for mark in needs_guests:
        test = mark(test)
    return test


class Lab:
    """Two hosts where libvirt can be started, and what the configuration says of VMs on them."""

    def __init__(self, cluster: LocalCluster, folder: Path) -> None:
        self.cluster, self.params, self.folder = cluster, dict(cluster.connection_params), folder
        kernel, initrd, key = guest.build(folder)
        self.files = str(kernel), str(initrd)
        for host in cluster.hosts:
            self.equip(host)
        network = ipaddress.ip_network(f"{cluster.hosts[0].address}/24", strict=False)
        guest.make_disk(folder / "base.qcow2")
        self.hypervisor = Hypervisor(
            kind="qemu", directory=IMAGES, bridge="br0", kernel=f"{IMAGES}/{kernel.name}", initrd=f"{IMAGES}/{initrd.name}",
            kernel_args=guest.KERNEL_ARGS, console="/var/log/libvirt/{id}.console")
        self.settings = {
            "hypervisor": dataclasses.asdict(self.hypervisor), "vm_image": str(folder / "base.qcow2"),
            "vm_addresses": [(str(network[90 + number]), f"52:54:00:78:00:{number:02x}") for number in range(3)],
            "vm_connection_params": {"user": "root", "keyfile": str(key)}}

    def equip(self, host: LocalHost) -> None:
        """One that has just booted."""
        prepare_qemu(host, self.folder)
        run(host, f'cp "$1" "$2" {IMAGES}/', *self.files)

    def campaign(self, kind: type[VMEngine], hosts: int = 1) -> Any:
        made = kind()
        made.testbed = StaticTestbed(self.cluster.hosts[:hosts], connection_params=self.params)
        return made

    def running(self, hosts: int = 1) -> list[str]:
        """VMs of the first hosts, also those that are defined only."""
        listed = list_vm(self.cluster.hosts[:hosts], True, self.hypervisor, self.params)
        assert not listed.failures
        return [vm["id"] for vms in listed.values() for vm in vms]

    def disks(self) -> str:
        return "".join(run(host, f"cd {IMAGES}; ls *quick* *vm-* 2>/dev/null; true") for host in self.cluster.hosts)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    pytest.importorskip("requirements").require("qemu")
    with LocalCluster(2, "namespaces") as cluster:
        yield Lab(cluster, tmp_path_factory.mktemp("lab"))


@pytest.fixture
def _configured(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in lab.settings.items():
        monkeypatch.setitem(g5k_configuration, name, value)


def start(campaign: VMEngine, folder: Path) -> Any:
    campaign.start(["-c", str(folder), "-l", "ERROR"])
    return campaign


def states(folder: Path) -> dict[str, list[str | None]]:
    with SweepDirectory(str(folder / "sweep")) as sweep:
        return {state: [record.reason for record in sweep.records(state)] for state in ("done", "failed")}


class Whole(VMEngine):
    """One guest that answers."""

    parameters: Any = SMALL
    packages = ()
    keys = False
    boot_timeout = 150

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.allowed = ""

    def define(self, combination: Any, hosts: list[Host]) -> list[dict[str, Any]]:
        return define_vms(["vm-1"], mem=combination["memory"], hdd=1, cpusets="0")

    def install(self, combination: Any, vms: list[dict[str, Any]]) -> None:
        self.in_vms(vms, "echo installed > file")
        with pytest.raises(VMsFailed, match=r"in VMs: 1 failed: vm-1: exit code 3: no such thing$"):
            self.in_vms(vms, "echo no such thing >&2; exit 3")

    def measure(self, combination: Any, vms: list[dict[str, Any]], hosts: list[Host], directory: Path) -> Mapping[str, Any] | None:
        self.seen.append(self.in_vms(vms, "hostname; cat file").processes[0].stdout)
        return {"lines": 2}

    def collect(self, combination: Any, vms: list[dict[str, Any]], directory: Path) -> Mapping[str, Any] | None:
        (directory / vms[0]["id"]).write_text("collected")
        return {"ip": vms[0]["ip"]}


@guests
@pytest.mark.usefixtures("_configured")
def test_a_combination_goes_through_all_steps_with_a_guest_that_is_pinned(lab: Lab, tmp_path: Path) -> None:
    class Looked(Whole):
        def measure(self, combination: Any, vms: list[dict[str, Any]], hosts: list[Host], directory: Path) -> Any:
            self.allowed = run(lab.cluster.hosts[0], """
                for task in /proc/$(cat /run/libvirt/qemu/vm-1.pid)/task/*; do
                    if grep -q 'CPU 0' $task/comm; then cat $task/status; fi
                done""")
            return super().measure(combination, vms, hosts, directory)

    campaign = start(lab.campaign(Looked), tmp_path)
    assert states(tmp_path) == {"done": [None], "failed": []}
    (row,) = campaign.results.rows()
    assert (row["memory"], row["lines"], row["ip"]) == (80, 2, lab.settings["vm_addresses"][0][0])
    assert [line.split() for line in campaign.seen] == [["vm-1", "installed"]]
    assert "Cpus_allowed_list:\t0\n" in campaign.allowed
    assert [file.read_text() for file in tmp_path.glob("combinations/*/vm-1")] == ["collected"]
    assert lab.running() == []
    assert lab.disks() == ""
    steps = [json.loads(line) for line in (tmp_path / "steps.jsonl").read_text().splitlines()]
    assert [step["step"] for step in steps] == [
        "reserve", "deploy", "check hosts", "describe", "prepare", "make_disks", "start_vms", "install", "measure", "collect", "run",
        "destroy", "clean up", "release"]
    told = json.loads((tmp_path / "notebook.json").read_text())["steps"]
    assert 0 <= told["other"] < told["wall"] == pytest.approx(told["other"] + sum(told["steps"].values()))


@guests
@pytest.mark.usefixtures("_configured")
def test_what_fails_is_named_and_tried_again_with_new_vms(lab: Lab, tmp_path: Path) -> None:
    class Failing(vm_campaign.Quick):
        parameters: Any = TWO
        max_attempts = 2
        attempts: list[tuple[int, list[str]]] = []  # noqa: RUF012

        def make_disks(self, vms: list[dict[str, Any]], hosts: list[Host]) -> None:
            number, earlier = int(vms[0]["id"][-1]), [number for number, _ in self.attempts]
            self.attempts.append((number, lab.running()))
            if number != 2 or 2 in earlier:
                super().make_disks(vms, hosts)

        def measure(self, combination: Any, vms: list[dict[str, Any]], hosts: list[Host], directory: Path) -> Any:
            if combination["number"] == 1:
                raise OSError("no answer")
            return {}

    campaign = start(lab.campaign(Failing), tmp_path)
    assert states(tmp_path) == {"done": [None], "failed": ["OSError: no answer"]}
    assert sorted(number for number, _ in campaign.attempts) == [1, 1, 2, 2]
    assert all(left == [] for _, left in campaign.attempts)         # each began without those of the one before
    assert lab.running() == []
    assert lab.disks() == ""
    with SweepDirectory(str(tmp_path / "sweep")) as sweep:
        records = [*sweep.records("done"), *sweep.records("failed")]
    assert {record.combination["number"]: record.attempts for record in records} == {1: 2, 2: 2}
    (failure,) = [file.read_text() for file in tmp_path.glob("combinations/number-2*/failure.txt")]
    assert "VMsFailed: start: 1 failed: quick-2: " in failure
    assert "quick-2.qcow2" in failure                               # it has no disk


@guests
@pytest.mark.usefixtures("_configured")
def test_combinations_on_hosts_of_their_own_do_not_meddle(lab: Lab, tmp_path: Path) -> None:
    class Both(vm_campaign.Quick):
        parameters: Any = THREE
        meeting = threading.Barrier(2, timeout=60)
        ips: list[str] = []  # noqa: RUF012
        found: list[list[str]] = []  # noqa: RUF012

        def measure(self, combination: Any, vms: list[dict[str, Any]], hosts: list[Host], directory: Path) -> Any:
            if combination["number"] < 3:
                self.ips.append(vms[0]["ip"])
                self.meeting.wait()
                self.found.append(sorted(lab.running(2)))
                self.meeting.wait()
            return {"host": vms[0]["host"] == hosts[0].address}

    campaign = start(lab.campaign(Both, hosts=2), tmp_path)
    assert states(tmp_path) == {"done": [None] * 3, "failed": []}
    assert len(set(campaign.ips)) == 2
    assert campaign.found == [["quick-1", "quick-2"]] * 2
    assert lab.running(2) == []


@guests
def test_a_signal_leaves_no_vm_and_those_of_a_killed_run_end_with_the_next_one(lab: Lab, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    texts = {"g5k_configuration": lab.settings, "default_connection_params": lab.params}
    (home / ".execo.conf.py").write_text("".join(f"{name} = {pprint.pformat(value)}\n" for name, value in texts.items()))

    def ended_by(number: int) -> int:
        command = [sys.executable, vm_campaign.__file__, str(tmp_path / "run"), lab.cluster.hosts[0].address]
        paths = [str(Path(module.__file__ or "").parents[1]) for module in (sys.modules["execo"], sys.modules["execo_engine"])]
        environment = {**os.environ, "HOME": str(home), "PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")])}
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment) as program:
            try:
                assert program.stdout is not None
                said = []
                while (line := program.stdout.readline()) != "measuring\n":
                    said.append(line)
                    assert line, "".join(said)
                assert lab.running() == ["quick-1"]
                program.send_signal(number)
                program.communicate(timeout=60)
            finally:
                program.kill()
        return program.returncode

    assert ended_by(signal.SIGTERM) == 128 + signal.SIGTERM
    assert lab.running() == []
    assert ended_by(signal.SIGKILL) == -signal.SIGKILL
    assert lab.running() == ["quick-1"]

    class Continued(vm_campaign.Quick):
        before: list[str] = []  # noqa: RUF012

        def make_disks(self, vms: list[dict[str, Any]], hosts: list[Host]) -> None:
            self.before += lab.running()
            super().make_disks(vms, hosts)

        def measure(self, combination: Any, vms: list[dict[str, Any]], hosts: list[Host], directory: Path) -> Any:
            return {}

    with pytest.MonkeyPatch.context() as patch:
        for name, value in lab.settings.items():
            patch.setitem(g5k_configuration, name, value)
        campaign = start(lab.campaign(Continued), tmp_path / "run")
    assert campaign.before == []
    assert states(tmp_path / "run") == {"done": [None], "failed": []}
    assert lab.disks() == ""


class Addressed(vm_campaign.Quick):
    """Of the hosts, no VM is made."""

    check_hosts = False
    parameters: Any = TWO

    def run_combination(self, combination: Any, hosts: list[Host], directory: Path) -> dict[str, Any]:
        return {"address": hosts[0].address}


@guests
@pytest.mark.usefixtures("_configured")
@pytest.mark.parametrize("why", ["a VM that does not end", "it is dead"])
def test_a_host_that_cannot_be_prepared_is_left_out(lab: Lab, tmp_path: Path, why: str) -> None:
    good, bad = lab.cluster.hosts
    campaign = lab.campaign(Addressed, hosts=2)
    with contextlib.ExitStack() as stack:
        if why == "it is dead":
            stack.callback(lab.equip, bad)
            stack.enter_context(bad.crash())
            campaign.testbed = StaticTestbed(lab.cluster.hosts, connection_params=soon(lab.cluster))
        else:
            start(lab.campaign(Addressed, hosts=2), tmp_path / "before")            # starts libvirt
            vms = define_vms(["stubborn"], host=bad.address, hdd=1, backing_file="base.qcow2")
            for action in (create_disks, install_vms):
                assert action(vms, lab.hypervisor, lab.params).run().ok
            run(bad, "virsh -q snapshot-create-as stubborn one")                    # with one, libvirt does not forget it
            stack.callback(run, bad, f"virsh -q undefine --snapshots-metadata stubborn; rm -f {IMAGES}/stubborn.qcow2")
        start(campaign, tmp_path / "run")
    assert states(tmp_path / "run") == {"done": [None] * 2, "failed": []}
    assert [row["address"] for row in campaign.results.rows()] == [good.address] * 2
    assert [row["run.attempt"] for row in campaign.results.rows()] == [1, 1]


# Without guests


class Nothing(VMEngine):
    parameters: Any = range(1)
    check_hosts = False

    def prepare(self, hosts: list[Host]) -> None:
        self.seen = (self.hypervisor, self.image, self.vm_connection_params, self.destination, list(self.addresses()))

    def clean_up(self, hosts: list[Host]) -> None:
        pass

    def run_combination(self, combination: Any, hosts: list[Host], directory: Path) -> dict[str, Any]:
        return {}


def seen(tmp_path: Path, testbed: Any = None, **attributes: Any) -> Any:
    campaign = type("Told", (Nothing,), attributes)()
    campaign.testbed = testbed or StaticTestbed("h1")
    return start(campaign, tmp_path).seen


def test_what_the_class_does_not_say_is_asked_of_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ssh = "qemu+ssh://{host}/system"
    assert seen(tmp_path / "1") == (Hypervisor(), None, {"user": "root"}, ssh, [])
    pairs = [("10.0.0.1", "52:54:00:00:00:01")]
    for name, value in {"hypervisor": {"kind": "test"}, "vm_image": "i", "vm_connection_params": {"user": "u"}, "vm_destination": "d",
                        "vm_addresses": lambda: pairs}.items():
        monkeypatch.setitem(g5k_configuration, name, value)
    assert seen(tmp_path / "2") == (Hypervisor(kind="test"), "i", {"user": "u"}, "d", pairs)
    mine = {"hypervisor": Hypervisor(kind="qemu"), "image": lambda self: "mine", "vm_connection_params": {"user": "me"}, "destination": "e"}
    assert seen(tmp_path / "3", **mine) == (Hypervisor(kind="qemu"), "mine", {"user": "me"}, "e", pairs)
    with pytest.raises(TypeError, match="hypervisor: expected a Hypervisor, or its keywords, found 'qemu'"):
        seen(tmp_path / "4", hypervisor="qemu")


def test_the_configuration_for_grid5000_makes_machines_of_its_image_on_its_bridge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_ed25519.pub").write_text("ssh-ed25519 AAAA me\n")
    names = runpy.run_path(str(Path(__file__).resolve().parents[2] / "doc" / "code_samples" / "vm_conf.py"))
    for name, value in names["g5k_configuration"].items():
        monkeypatch.setitem(g5k_configuration, name, value)
    hypervisor, image, params, _, _ = seen(tmp_path / "1")
    text = domain_xml(define_vms("vm-1", backing_file=image)[0], hypervisor)
    assert all(word in text for word in ('type="kvm"', 'bridge="br0"', "io.systemd.credential.binary:ssh.authorized_keys.root="))
    assert (image, params) == (f"{tmp_path}/debian12.qcow2", {"user": "root", "keyfile": f"{tmp_path}/.ssh/id_ed25519"})


def test_addresses_of_the_testbed_come_first_if_it_has_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class InVlan(StaticTestbed):
        pairs: list[tuple[str, str]] = [("10.1.0.1", "52:54:00:00:01:01")]  # noqa: RUF012

        def addresses(self) -> list[tuple[str, str]]:
            return self.pairs

    monkeypatch.setitem(g5k_configuration, "vm_addresses", [("10.0.0.1", "52:54:00:00:00:01")])
    assert seen(tmp_path / "1", InVlan("h1"))[-1] == InVlan.pairs
    monkeypatch.setattr(InVlan, "pairs", [])
    assert seen(tmp_path / "2", InVlan("h1"))[-1] == [("10.0.0.1", "52:54:00:00:00:01")]


def test_an_init_of_ones_own_takes_no_setting_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(g5k_configuration, "hypervisor", {"kind": "test"})
    assert seen(tmp_path, init=lambda self: None)[0] == Hypervisor(kind="test")


class GivenUp(Exception):
    pass


def give_up() -> None:
    raise GivenUp


def test_addresses_are_lent_to_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("execo_g5k._vm.lending.SLICE", 0.01)
    pool = Addresses([("a", "1"), ("b", "2"), ("c", "3"), ("a", "1")])
    first, second = pool.lend(1), pool.lend(1, ["b"])
    assert (first.pairs, second.pairs) == ([("a", "1")], [("c", "3")])
    for wanted in ((1,), (0, ["b"])):   # b was chosen
        with pytest.raises(GivenUp):
            pool.lend(*wanted, check=give_up)
    pool.give_back(second)
    assert pool.lend(1).pairs == [("b", "2")]
    pool.give_back(first)
    assert sorted(pool.lend(2).pairs) == [("a", "1"), ("c", "3")]
    assert pool.lend(0).pairs == []


def test_who_needs_more_addresses_than_are_free_waits_without_keeping_any() -> None:
    pool, got = Addresses([("a", "1"), ("b", "2"), ("c", "3")]), []
    waits = threading.Event()
    first = pool.lend(2)
    thread = threading.Thread(target=lambda: got.append(pool.lend(2, check=waits.set)))
    thread.start()
    assert waits.wait(30)
    second = pool.lend(1)               # those that wait have none
    pool.give_back(second)
    assert not got                      # one is not enough
    pool.give_back(first)
    thread.join(30)
    assert len(got[0].pairs) == 2
    with pytest.raises(ValueError, match="4 addresses are needed for VMs, 3 of 3 can be had"):
        pool.lend(4)
    with pytest.raises(ValueError, match="3 addresses are needed for VMs, 2 of 3 can be had"):
        pool.lend(3, ["b"])


def test_addresses_of_vms_that_are_left_are_nobody_elses() -> None:
    pool = Addresses([("a", "1"), ("b", "2")])
    loan = pool.lend(2)
    pool.give_back(loan, ["h1", "h2"])
    for clean, left in (("h3", ["h1", "h2"]), ("h1", ["h2"])):
        pool.cleaned([clean])
        assert pool.unclean(["h1", "h2", "h3"]) == left
        with pytest.raises(ValueError, match="0 of 2 can be had"):
            pool.lend(1)
    pool.cleaned(["h2"])
    assert pool.unclean(["h1", "h2"]) == []
    assert sorted(pool.lend(2).pairs) == [("a", "1"), ("b", "2")]


class Bare(VMEngine):
    """Without hosts: its steps note that they were called."""

    check_hosts = False
    parameters: Any = TWO
    retry_delay = 0.01

    def __init__(self) -> None:
        super().__init__()
        self.testbed = StaticTestbed("h1")
        self.calls: list[tuple[Any, ...]] = []

    def addresses(self) -> list[tuple[str, str]]:
        return [("10.0.0.1", "52:54:00:00:00:01")]

    def prepare(self, hosts: list[Host]) -> None:
        self._addresses = Addresses(self.addresses())

    def clean_up(self, hosts: list[Host]) -> None:
        pass

    def define(self, combination: Any, hosts: list[Host]) -> list[dict[str, Any]]:
        return define_vms([f"vm-{combination['number']}"])

    def make_disks(self, vms: list[dict[str, Any]], hosts: list[Host]) -> None:
        pass

    def start_vms(self, vms: list[dict[str, Any]]) -> None:
        pass

    def measure(self, combination: Any, vms: list[dict[str, Any]], hosts: list[Host], directory: Path) -> Any:
        self.calls.append(("measure", vms[0]["id"], vms[0]["ip"]))
        return {}

    def destroy(self, vms: list[dict[str, Any]], hosts: list[Host]) -> None:
        self.calls.append(("destroy", vms[0]["id"]))


def test_one_that_was_given_up_destroys_no_vms_of_its_successor(tmp_path: Path) -> None:
    awake = threading.Event()

    class Late(Bare):
        parameters: Any = vm_campaign.ONE
        end_timeout = 0.1

        def measure(self, combination: Any, vms: list[dict[str, Any]], hosts: list[Host], directory: Path) -> Any:
            super().measure(combination, vms, hosts, directory)
            if len(self.calls) == 1:
                threads.append(threading.current_thread())
                self._testbed._end = 0.0            # its reservation is over, and the next one has no end
                self._testbed.walltime = None
                awake.wait(60)
            else:
                awake.set()
                threads[0].join(60)
            return {}

    threads: list[threading.Thread] = []
    late = Late()
    late.testbed = StaticTestbed("h1", walltime=60)
    try:
        start(late, tmp_path)
    finally:
        awake.set()
    assert late.calls == [("measure", "vm-1", "10.0.0.1")] * 2 + [("destroy", "vm-1")]


def test_after_a_destroy_that_failed_the_address_is_lent_when_the_host_is_clean(tmp_path: Path) -> None:
    class Dirty(Bare):
        def destroy(self, vms: list[dict[str, Any]], hosts: list[Host]) -> None:
            super().destroy(vms, hosts)
            if vms[0]["id"] == "vm-1":
                raise OSError("no answer")

        def _destroy_all(self, hosts: Any, vms: Any) -> Any:
            assert self._addresses.unclean(["h1"]) == ["h1"]
            self.calls.append(("clean", *hosts))
            return VMAction("destroy", [], "nonce").run()

    dirty = start(Dirty(), tmp_path)
    assert states(tmp_path) == {"done": [None] * 2, "failed": []}
    assert dirty.calls == [("measure", "vm-1", "10.0.0.1"), ("destroy", "vm-1"), ("clean", Host("h1")),
                           ("measure", "vm-2", "10.0.0.1"), ("destroy", "vm-2")]


def test_without_the_engine_its_extra_is_named() -> None:
    code = "import sys; sys.modules['execo_engine'] = None; from execo_g5k import *; import execo_g5k.vmengine"
    paths = os.pathsep.join(str(Path(sys.modules[name].__file__ or "").parents[1]) for name in ("execo", "execo_g5k"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join([paths, os.environ.get("PYTHONPATH", "")])})
    assert done.stderr.splitlines()[-1] == "ImportError: VMEngine needs execo_engine: pip install 'execo-g5k[engine]'"
