"""Virtual machines, the parts that start nothing remote: descriptions, placement, XML, scripts, and what is read of their output."""

from __future__ import annotations

import random
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execo.host import Host
from execo_g5k._vm import setup
from execo_g5k._vm.actions import disk_commands
from execo_g5k._vm.description import describe
from execo_g5k._vm.moves import migration_script, read_migration, waves, where_to
from execo_g5k._vm.outcome import Block, VMResult, attribute, parse_blocks, reason_of, summary
from execo_g5k._vm.placement import place
from execo_g5k._vm.script import LONGEST, begin_line, end_line, shell_block, virsh_blocks, virsh_word
from execo_g5k._vm.virsh import parse_jobinfo, parse_names, parse_ping, parse_size
from execo_g5k.vmutils import (
    Hypervisor,
    PingProbes,
    VMDeployment,
    circular_moves,
    create_disks,
    create_disks_all_hosts,
    crossed_moves,
    default_vm,
    define_vms,
    distribute_vms,
    domain_xml,
    get_max_vms,
    migrate_vms,
    moves_to,
    pin_vms,
    split_moves,
    ssh_probe,
    start_vms,
    state_xml,
    wait_vms_have_started,
)

NONCE = "0123abcd"


def sh(script: str, **environment: str) -> str:
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL,
                          env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **environment}, check=False)
    return done.stdout


def vms_on(*hosts: str, **keys: Any) -> list[dict[str, Any]]:
    return define_vms([f"vm-{number}" for number in range(len(hosts))], host=list(hosts), **keys)


# descriptions


def test_a_vm_is_a_dict_with_the_defaults_and_what_was_given() -> None:
    vms = define_vms(["vm-1", "vm-2"], ip_mac=[("10.0.0.1", "00:16:3e:00:00:01"), ("10.0.0.2", "00:16:3e:00:00:02")], mem=[256, 512],
                     n_cpu=2, cpusets="0-1")
    assert vms[0] == {**default_vm, "id": "vm-1", "ip": "10.0.0.1", "mac": "00:16:3e:00:00:01", "mem": 256, "n_cpu": 2, "cpuset": "0-1"}
    assert (vms[1]["id"], vms[1]["mem"], vms[1]["ip"]) == ("vm-2", 512, "10.0.0.2")
    vms[0]["mem"] = 1
    assert default_vm["mem"] == 512


def test_a_template_gives_the_values_that_are_not_given() -> None:
    template = ElementTree.fromstring('<vm mem="1024" hdd="2" real_file="true" backing_file="/x.img" colour="red"/>')
    [vm] = define_vms("vm-1", template, hdd=5)
    assert (vm["mem"], vm["hdd"], vm["real_file"], vm["backing_file"]) == (1024, 5, True, "/x.img")
    assert "colour" not in vm


@pytest.mark.parametrize(("keys", "said"), [
    ({"vms_id": ["a", "a"]}, "more than once: a"),
    ({"vms_id": ["a b"]}, "'a b'"),
    ({"vms_id": ["$(x)"]}, r"\$\(x\)"),
    ({"vms_id": ["../a"]}, "../a"),
    ({"vms_id": ["a"], "mem": [1, 2]}, "mem: 2 values for 1 VMs"),
    ({"vms_id": ["a"], "mem": 0}, "a: mem: .*found 0"),
    ({"vms_id": ["a"], "n_cpu": True}, "n_cpu"),
    ({"vms_id": ["a"], "cpusets": "1;2"}, "cpuset: .*found '1;2'"),
    ({"vms_id": ["a", "b"], "ip_mac": [("10.0.0.1", "00:16:3e:00:00:01")]}, "1 addresses for 2 VMs"),
    ({"vms_id": ["a"], "ip_mac": [("10.0.0", "00:16:3e:00:00:01")]}, "ip"),
    ({"vms_id": ["a"], "ip_mac": [("10.0.0.1", "00:16:3e")]}, "mac"),
    ({"vms_id": ["a"], "template": ElementTree.fromstring('<vm mem="much"/>')}, "mem='much'"),
])
def test_what_cannot_be_a_vm_is_refused_and_named(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        define_vms(**keys)


def test_a_vm_without_host_is_named_before_anything_is_done() -> None:
    with pytest.raises(ValueError, match="without a host, see distribute_vms: a, b"):
        pin_vms(define_vms(["a", "b"]))


def test_a_line_tells_all_of_a_vm() -> None:
    assert describe(vms_on("h1", backing_file="/base")[0]) == "vm-0: h1, no ip no mac, 1 cpu (auto), 512 MiB, 10 GiB over /base, KO"


# placement

ROOM = {"h1": (2.0, 2048.0), "h2": (2.0, 2048.0), "h3": (1.0, 8192.0)}


@pytest.mark.parametrize(("distribution", "expected"), [
    ("round-robin", ["h1", "h2", "h3", "h1", "h2", "h3", "h1", "h2"]),
    ("concentrated", ["h1", "h1", "h1", "h1", "h2", "h2", "h2", "h2"]),        # memory is what ends first
    ("n_by_hosts", ["h1", "h1", "h2", "h2", "h3", "h3"]),
])
def test_vms_are_placed_in_order(distribution: str, expected: list[str]) -> None:
    vms = define_vms([f"vm-{number}" for number in range(8)])
    placed = place(vms, list(ROOM), ROOM, distribution)
    assert [vm["host"] for vm in placed] == expected


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4000)), max_size=30),
       st.sampled_from(["round-robin", "concentrated", "random"]), st.integers())
def test_no_host_gets_more_than_it_has_or_nothing_is_changed(needs: list[tuple[int, int]], distribution: str, seed: int) -> None:
    vms = define_vms([f"vm-{number}" for number in range(len(needs))], n_cpu=[cpu for cpu, _mem in needs], mem=[mem for _cpu, mem in needs])
    try:
        place(vms, list(ROOM), ROOM, distribution, random.Random(seed))
    except ValueError as error:
        if "first that fits nowhere" not in str(error) or any(vm["host"] is not None for vm in vms):
            raise
        return
    for host, (cores, memory) in ROOM.items():
        theirs = [vm for vm in vms if vm["host"] == host]
        assert sum(vm["n_cpu"] for vm in theirs) <= 3 * cores
        assert sum(vm["mem"] for vm in theirs) <= memory


def test_a_host_of_which_nothing_is_known_is_named() -> None:
    with pytest.raises(ValueError, match="nothing about h9"):
        place(define_vms("a"), ["h1", "h9"], ROOM)
    with pytest.raises(ValueError, match=r"expected one of round-robin.*'by chance'"):
        place(define_vms("a"), ["h1"], ROOM, "by chance")


# XML


def test_the_domain_says_what_the_vm_is() -> None:
    [vm] = vms_on("h1", mem=300, n_cpu=2, cpusets="0,2", ip_mac=[("10.0.0.9", "00:16:3e:00:00:01")])
    root = ElementTree.fromstring(domain_xml(vm, Hypervisor(bridge="br0", directory="/images")))
    assert root.get("type") == "kvm"
    assert (root.findtext("name"), root.findtext("memory"), root.findtext("vcpu")) == ("vm-0", "300", "2")
    found = {path: element.attrib for path in ("vcpu", "devices/disk/source", "devices/interface/source", "devices/interface/mac",
                                               "devices/disk/driver") if (element := root.find(path)) is not None}
    assert found["vcpu"]["cpuset"] == "0,2"
    assert found["devices/disk/source"] == {"file": "/images/vm-0.qcow2"}
    assert found["devices/disk/driver"]["cache"] == "none"
    assert (found["devices/interface/source"], found["devices/interface/mac"]) == ({"bridge": "br0"}, {"address": "00:16:3e:00:00:01"})


def test_an_emulated_machine_has_memory_whose_pages_are_not_lost() -> None:
    text = domain_xml(vms_on("h1", mem=128)[0], Hypervisor(kind="qemu"))
    [size] = re.findall(r"id=odd,size=(\d+)", text)
    assert int(size) % (256 * 1024) != 0
    assert int(size) >= 128 << 20


def test_kernel_arguments_are_filled_in_and_keys_are_credentials() -> None:
    [vm] = vms_on("h1", ip_mac=[("10.0.0.9", "00:16:3e:00:00:01")])
    hypervisor = Hypervisor(kernel="/k", initrd="/i", kernel_args="ip={ip}/24 name={id} <&>", authorized_keys=("ssh-ed25519 AAAA me",))
    text = domain_xml(vm, hypervisor)
    root = ElementTree.fromstring(text)
    assert root.findtext("os/cmdline") == "ip=10.0.0.9/24 name=vm-0 <&>"
    assert "ssh.authorized_keys.root=c3NoLWVkMjU1MTkgQUFBQSBtZQo=" in (root.findtext("sysinfo/oemStrings/entry") or "")
    with pytest.raises(ValueError, match="kernel_args"):
        Hypervisor(kernel_args="{colour}")


@given(st.text(min_size=1, max_size=20))
def test_any_file_name_is_kept_by_the_xml_or_refused(name: str) -> None:
    try:
        text = domain_xml(vms_on("h1")[0], Hypervisor(kernel=name))
    except ValueError as error:
        if not str(error).startswith("vm-0: its description holds what XML cannot"):
            raise
        return
    found = ElementTree.fromstring(text).findtext("os/kernel")
    assert found == name.replace("\r\n", "\n").replace("\r", "\n")


# scripts


@given(st.text(alphabet=st.characters(min_codepoint=32, exclude_categories=("Cs", "Cc")), min_size=1, max_size=20))
def test_any_word_reaches_virsh_as_it_is(word: str) -> None:
    # virsh's language: a blank ends a word, a double quote begins text in which a backslash guards the next character
    text = virsh_word(word)
    if not text.startswith('"'):
        assert text == word
        assert re.fullmatch(r"[A-Za-z0-9_./:=+,@%-]+", word)
        return
    assert re.sub(r"\\(.)", r"\1", text[1:-1]) == word
    assert re.fullmatch(r'"(?:[^"\\]|\\.)*"', text)


def test_a_block_tells_what_was_printed_and_the_exit_code_even_with_a_hostile_name() -> None:
    name = "it's $(touch /tmp/never) \"x\" \\n"
    out = sh(shell_block(NONCE, name, ["echo one; echo two >&2", ["sh", "-c", "exit 3"], "echo never"]) + shell_block(NONCE, "b", ["true"]))
    blocks, outside = parse_blocks(out, NONCE)
    assert blocks == {name: Block("3", "one\ntwo"), "b": Block("0", "")}
    assert outside == ""


def test_an_output_without_newline_does_not_hide_the_end() -> None:
    assert parse_blocks(sh(shell_block(NONCE, "a", ["printf 'no newline'"])), NONCE)[0] == {"a": Block("0", "no newline")}


def test_many_commands_are_few_arguments() -> None:
    blocks = [(f"vm-{number}", [("define", f"{number}.xml")]) for number in range(5000)]
    lines = virsh_blocks(NONCE, "qemu:///system", blocks).split(" 2>&1\n")
    assert all(len(line.encode()) < LONGEST + 1000 for line in lines)
    assert 2 < len(lines) < 12
    assert all(len(shlex.split(line)) == 5 for line in lines if line)


def test_virsh_tells_of_each_name(tmp_path: Path) -> None:
    pytest.importorskip("requirements").require("libvirt")
    (tmp_path / "a.xml").write_text(domain_xml(vms_on("h1")[0], Hypervisor(kind="test")))
    script = f"cd {tmp_path}; " + virsh_blocks(NONCE, "test:///default", [
        ("vm-0", [("define", "a.xml"), ("start", "vm-0")]), ('o "dd\\', [("start", 'o "dd\\')]),
        ("off", [("destroy", "test"), ("destroy", "test")])])
    told = attribute("h1", ["vm-0", 'o "dd\\', "off", "nobody"], sh(script), NONCE, None, ("Failed to destroy", "is not running"))
    assert told["vm-0"].ok
    assert "failed to get domain" in str(told['o "dd\\'].reason)
    assert told["off"].ok
    assert "told nothing" in str(told["nobody"].reason)


@pytest.mark.parametrize(("block", "reason"), [
    (Block("0", "error: only words"), None),
    (Block("1", "x\nerror: No space left"), "No space left"),
    (Block("1", "qemu-img: /x.part: Could not open '/base': No such file\nCould not open backing image."),
     "/x.part: Could not open '/base': No such file"),
    (Block("7", "last words\n"), "exit code 7: last words"),
    (Block(None, "half"), "it did not come to an end: half"),
    (Block("-", "fine"), None),
    (Block("-", "error: one\nerror: two"), "one; two"),
])
def test_the_reason_of_a_failure(block: Block, reason: str | None) -> None:
    assert reason_of(block) == reason


def test_what_a_dead_host_did_not_tell_has_its_reason() -> None:
    out = sh(shell_block(NONCE, "a", ["true"]) + begin_line(NONCE, "b") + "echo half")
    told = attribute("h1", ["a", "b", "c"], out, NONCE, "connection lost")
    assert [told[name].reason for name in "abc"] == [None, "connection lost, while it was at it: half", "connection lost"]
    assert summary("start", told) == ("start: 2 of 3 failed: b on h1: connection lost, while it was at it: half; c on h1: connection lost")


@given(st.text(alphabet="@>< \n-0ab" + NONCE))
def test_no_output_breaks_the_reader(text: str) -> None:
    blocks, _outside = parse_blocks(text, NONCE)
    for block in blocks.values():
        reason_of(block)
    attribute("h", ["a"], text, NONCE, None)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.text(alphabet="xyz @\n")), max_size=6,
                unique_by=lambda row: row[0]))
def test_blocks_are_read_as_they_were_written(rows: list[tuple[str, int, str]]) -> None:
    out = "".join(f"\n@{NONCE} > {name}\n{text}\n@{NONCE} < {status} {name}\n" for name, status, text in rows)
    assert parse_blocks(out, NONCE)[0] == {name: Block(str(status), text.strip("\n")) for name, status, text in rows}


def test_a_disk_is_whole_or_not_there(tmp_path: Path) -> None:
    hypervisor = Hypervisor(directory=str(tmp_path))
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "qemu-img").write_text('#!/bin/sh\nfor word; do case $word in *.part) echo half > "$word";; esac; done; exit $FAIL\n')
    (tools / "qemu-img").chmod(0o755)
    [command] = disk_commands(vms_on("h1")[0], hypervisor, "qcow2", keep=False)
    path = f"{tools}:/usr/bin:/bin"
    assert parse_blocks(sh(shell_block(NONCE, "a", [command]), PATH=path, FAIL="1"), NONCE)[0]["a"].status == "1"
    assert [file.name for file in tmp_path.iterdir()] == ["tools"]
    assert parse_blocks(sh(shell_block(NONCE, "a", [command]), PATH=path, FAIL="0"), NONCE)[0]["a"].status == "0"
    assert (tmp_path / "vm-0.qcow2").read_text() == "half\n"
    [keep] = disk_commands(vms_on("h1")[0], hypervisor, "qcow2", keep=True)
    assert parse_blocks(sh(shell_block(NONCE, "a", [keep]), PATH=path, FAIL="1"), NONCE)[0]["a"].status == "0"


@pytest.mark.requires("libvirt")
@pytest.mark.parametrize("real_file", [False, True])
def test_a_disk_is_as_large_as_wanted_and_never_smaller_than_its_image(tmp_path: Path, real_file: bool) -> None:
    hypervisor = Hypervisor(directory=str(tmp_path))
    sh(f"qemu-img create -q -f qcow2 {tmp_path}/base.qcow2 2G")
    for hdd, size in ((1, 2), (3, 3)):
        [command] = disk_commands(vms_on("h1", hdd=hdd, backing_file="base.qcow2", real_file=real_file)[0], hypervisor, "qcow2", keep=False)
        assert parse_blocks(sh(shell_block(NONCE, "a", [command])), NONCE)[0] == {"a": Block("0", "")}
        assert f"virtual size: {size} GiB" in sh(f"qemu-img info {tmp_path}/vm-0.qcow2")
    (tmp_path / "base.qcow2").unlink()
    assert parse_blocks(sh(shell_block(NONCE, "a", [command])), NONCE)[0]["a"].status == "1"
    assert [file.name for file in tmp_path.iterdir()] == ["vm-0.qcow2"]


# what cannot be


def test_one_host_is_a_host_not_its_letters() -> None:
    assert [vm["host"] for vm in distribute_vms(define_vms(["a", "b"]), "h1", capacities=ROOM)] == ["h1", "h1"]
    assert get_max_vms("h1", capacities=ROOM) == 4
    assert [host.address for host in VMDeployment("h1").hosts] == ["h1"]
    assert [process.host.address for process in create_disks_all_hosts(define_vms("a"), "h1").processes] == ["h1"]


@pytest.mark.parametrize("timeout", [None, 0, -1, float("inf"), "soon"])
@pytest.mark.parametrize("function", [ssh_probe, wait_vms_have_started, start_vms, create_disks,
                                      lambda vms, timeout: migrate_vms([(vms[0], Host("b"))], timeout=timeout)])
def test_a_time_that_is_none_is_refused(function: Any, timeout: Any) -> None:
    [vm] = vms_on("a", ip_mac=[("10.0.0.9", "00:16:3e:00:00:01")])
    with pytest.raises(ValueError, match=re.escape(repr(timeout))):
        function([vm], timeout=timeout)


@pytest.mark.parametrize("options", [
    {"bandwidth": "32"}, {"bandwidth": 1.5}, {"bandwidth": True}, {"bandwidth": 0}, {"destination": "qemu+ssh://{x}/{host}"},
    {"destination": "qemu+ssh://{host"}, {"destination": "qemu:///system"}, {"destination": None}, {"destination": "{}{host}"}])
def test_options_of_a_migration_that_cannot_be_are_named(options: dict[str, Any]) -> None:
    [(name, value)] = options.items()
    with pytest.raises(ValueError, match=f"^{name}: .*found {re.escape(repr(value))}$"):
        migrate_vms([(vms_on("a")[0], Host("b"))], **options)


@pytest.mark.parametrize("interval", ["1", None, 0, float("nan")])
def test_an_interval_of_pings_that_cannot_be_is_named(interval: Any) -> None:
    with pytest.raises(ValueError, match=f"interval: .*found {interval!r}"):
        PingProbes(vms_on("a", ip_mac=[("10.0.0.9", "00:16:3e:00:00:01")]), interval=interval)


# moves


def hosts_of(moves: Any) -> list[tuple[str, str]]:
    return [(vm["id"], to.address) for vm, to in moves]


def test_patterns_of_moves() -> None:
    vms = vms_on("a", "a", "b", "c")
    assert hosts_of(crossed_moves(vms[:3], ["a", "b"])) == [("vm-0", "b"), ("vm-2", "a"), ("vm-1", "b")]
    assert hosts_of(circular_moves(vms, ["a", "b", "c"])) == [("vm-0", "b"), ("vm-2", "c"), ("vm-3", "a"), ("vm-1", "b")]
    assert hosts_of(moves_to(vms, "a")) == [("vm-2", "a"), ("vm-3", "a")]
    assert hosts_of(split_moves(vms, ["a", "b"])) == [("vm-1", "b"), ("vm-2", "a"), ("vm-3", "b")]
    with pytest.raises(ValueError, match="3 or more different hosts"):
        circular_moves(vms, ["a", "b"])
    with pytest.raises(ValueError, match="vm-3 is on c, which is none of a, b"):
        crossed_moves(vms, ["a", "b"])


def test_in_sequence_only_what_leaves_one_host_goes_together() -> None:
    moves = crossed_moves(vms_on("a", "a", "b"), ["a", "b"])
    assert [hosts_of(wave) for wave in waves(moves, "sequential")] == [[("vm-0", "b")], [("vm-2", "a")], [("vm-1", "b")]]
    assert [len(wave) for wave in waves(moves, "parallel")] == [3]
    with pytest.raises(ValueError, match="vm-0"):
        migrate_vms([(vms_on("a")[0], "a")])  # type: ignore[list-item]


FAKE_VIRSH = """#!/bin/sh
shift 3
case $1 in
    migrate) [ "$2" = quick ] && exit 0; while ! [ -e "$FLAG" ]; do sleep 0.05; done; echo 'error: operation aborted' >&2; exit 1;;
    domjobinfo) printf 'Time elapsed:  1500   ms\\nData processed: 96.500 MiB\\nIteration: 7\\nTotal downtime: 250 ms\\n';;
    domjobabort) : > "$FLAG";;
    domstate) echo running;;
esac
"""


@pytest.mark.parametrize("parallel", [True, False])
def test_a_migration_that_does_not_converge_is_aborted_and_tells_how_far_it_came(tmp_path: Path, parallel: bool) -> None:
    (tmp_path / "virsh").write_text(FAKE_VIRSH)
    (tmp_path / "virsh").chmod(0o755)
    moves = [("slow", ["qemu+ssh://b/system"]), ("quick", ["qemu+ssh://c/system"])]
    script = migration_script(NONCE, "qemu:///system", moves, ["--live"], 32, 1, parallel)
    out = sh(f"cd {tmp_path}\n{script}", PATH=f"{tmp_path}:/usr/bin:/bin", FLAG=str(tmp_path / "flag"))
    told = attribute("a", ["slow", "quick"], out, NONCE, None)
    slow, quick = read_migration(told["slow"], "b"), read_migration(told["quick"], "c")
    assert (quick.ok, quick.aborted) == (True, False)
    assert (quick.job.rounds, quick.job.data_bytes, quick.job.downtime) == (7, int(96.5 * 2**20), 0.25)
    assert quick.seconds is not None
    assert quick.seconds < 1
    assert (slow.ok, slow.aborted, slow.still_runs, slow.job.rounds) == (False, True, True, 7)
    assert re.match(r"did not converge: aborted after [\d.]+ s, 7 rounds, 96 MiB sent; the VM still runs on a", str(slow.reason))


@pytest.mark.parametrize(("address", "options", "words"), [
    ("node-1-kavlan-4", (), ["qemu+ssh://node-1-kavlan-4/system", "--migrateuri", "tcp://node-1-kavlan-4"]),
    ("fd00::1", (), ["qemu+ssh://fd00::1/system", "--migrateuri", "tcp://[fd00::1]"]),
    ("node-1", ("--migrateuri", "tcp://10.0.0.9"), ["qemu+ssh://node-1/system"]),
    ("node-1", ("--migrateuri=tcp://10.0.0.9",), ["qemu+ssh://node-1/system"]),
])
def test_the_memory_goes_to_the_address_of_the_host_unless_told_otherwise(address: str, options: tuple[str, ...], words: list[str]) -> None:
    assert where_to(address, "qemu+ssh://{host}/system", options) == words


@given(st.text(alphabet="@startendjobabortstate 0123456789.:\nIteration"))
def test_no_output_breaks_the_reader_of_migrations(text: str) -> None:
    read_migration(VMResult("a", "h", "why", text), "b")


# what virsh and ping print

JOB = """Job type:         Completed
Operation:        Outgoing migration
Time elapsed:     1130         ms
Time elapsed w/o network: 1127         ms
Data processed:   96.218 MiB
Data remaining:   0.000 B
Memory processed: 96.031 MiB
Memory bandwidth: 104.101 MiB/s
Constant pages:   8713
Iteration:        3
Total downtime:   221          ms
"""


def test_job_info_is_read() -> None:
    info = parse_jobinfo(JOB)
    assert (info.seconds, info.data_bytes, info.memory_bytes, info.rounds, info.downtime) == (1.13, 100891886, 100695802, 3, 0.221)
    assert info.values["Operation"] == "Outgoing migration"
    assert parse_jobinfo("Job type:         None\n\n").rounds is None


@pytest.mark.parametrize(("text", "size"), [
    ("0.000 B", 0), ("1.5 KiB", 1536), ("2 GiB", 2 << 30), ("many", None), ("", None), ("104 MiB/s", None),
])
def test_sizes(text: str, size: int | None) -> None:
    assert parse_size(text) == size


@given(st.text())
def test_no_text_breaks_the_readers(text: str) -> None:
    parse_jobinfo(text)
    parse_names(text)
    parse_ping(text, 0.2).lines()
    parse_size(text)


def test_a_list_of_names() -> None:
    assert parse_names("vm-1\nan other\n\n") == ["vm-1", "an other"]


PING = """PING 10.0.0.1 (10.0.0.1) 56(84) bytes of data.
[1700000000.000000] 64 bytes from 10.0.0.1: icmp_seq=1 ttl=64 time=0.500 ms
[1700000000.200000] 64 bytes from 10.0.0.1: icmp_seq=2 ttl=64 time=0.400 ms
[1700000000.200100] 64 bytes from 10.0.0.1: icmp_seq=2 ttl=64 time=0.600 ms (DUP!)
[1700000000.600000] no answer yet for icmp_seq=3
[1700000000.800000] no answer yet for icmp_seq=4
[1700000001.000000] 64 bytes from 10.0.0.1: icmp_seq=6 ttl=64 time=0.300 ms
[1700000001.200000] From 10.0.0.7 icmp_seq=7 Destination Host Unreachable
[1700000001.400000] 64 bytes fr"""


def test_the_downtime_is_the_longest_silence() -> None:
    log = parse_ping(PING, 0.2)
    assert [round(date - 1700000000, 3) for date, _rtt in log.answers] == [0, 0.2, 1.0]
    assert (log.sent, log.lost) == (7, 4)
    assert log.downtime == pytest.approx(0.6)
    assert [line.split()[1] for line in log.lines().splitlines()] == ["0.5", "0.4", "0", "0", "0", "0.3"]
    assert parse_ping("", 0.2).downtime == 0


# setup of hosts


def test_a_vm_that_cannot_be_waited_for_is_named_before_anything_is_done() -> None:
    with pytest.raises(ValueError, match="VMs without ip cannot be waited for, see wait_timeout: vm-0, vm-1"):
        VMDeployment(["h1"], vms_on("h1", "h1")).run()
    with pytest.raises(ValueError, match=r"steps: expected some of deploy_hosts.* found 'launch'"):
        VMDeployment(["h1"]).run(["launch"])


def test_keys_are_added_once_in_the_home_of_the_user(tmp_path: Path) -> None:
    command = setup.keys_command("PRIVATE\nKEY\n", "ssh-ed25519 AAAA it's me\n")
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text("Host x\n")
    for _again in range(2):
        sh(command, HOME=str(tmp_path))
    assert (tmp_path / ".ssh" / "authorized_keys").read_text() == "ssh-ed25519 AAAA it's me\n"
    assert (tmp_path / ".ssh" / "execo_vm").read_text() == "PRIVATE\nKEY\n"
    assert (tmp_path / ".ssh" / "execo_vm").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / ".ssh" / "config").read_text().count("IdentityFile ~/.ssh/execo_vm") == 1


def test_of_keys_that_were_added_earlier_none_is_left(tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    known = tmp_path / "elsewhere"
    known.write_text("ssh-rsa BBBB you\nssh-ed25519 CCCC execo-between-hypervisors you\n")
    (tmp_path / ".ssh" / "authorized_keys").symlink_to(known)
    for key in ("DDDD", "EEEE", "EEEE"):
        sh(setup.keys_command("PRIVATE\n", f"ssh-ed25519 {key} {setup.KEY_COMMENT}\n"), HOME=str(tmp_path))
    assert known.read_text().splitlines() == ["ssh-rsa BBBB you", "ssh-ed25519 CCCC execo-between-hypervisors you",
                                              "ssh-ed25519 EEEE execo-between-hypervisors"]
    assert {file.name for file in tmp_path.iterdir()} == {".ssh", "elsewhere"}


def test_a_host_keeps_the_number_that_it_was_given(tmp_path: Path) -> None:
    conf = tmp_path / "libvirtd.conf"
    conf.write_text('# host_uuid is below\nhost_uuid = "of the image"\nlisten_tls = 0\n')
    sh(f"cd {tmp_path}; " + setup.uuid_command(str(conf)))
    first = conf.read_text()
    assert "of the image" not in first
    assert re.search(r'^host_uuid = "[0-9a-f-]{36}" # execo$', first, re.MULTILINE)
    sh(f"cd {tmp_path}; " + setup.uuid_command(str(conf)))
    assert conf.read_text() == first


def test_only_missing_packages_are_installed(tmp_path: Path) -> None:
    for name, text in (("apt-get", 'echo "apt-get $*"'), ("dpkg-query", '[ "$4" != there ] || echo " install ok installed"')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:/usr/bin:/bin"
    assert sh(setup.packages_command(["there"]), PATH=path) == ""
    assert sh(setup.packages_command(["there", "not"]), PATH=path).splitlines()[-1].endswith("--no-install-recommends install not")


def test_the_state_is_a_tree_of_sites_clusters_and_hosts() -> None:
    root = ElementTree.fromstring(state_xml(vms_on("h1", "h2", "h1"), {"h1": ("nancy", "gros")}))
    assert [vm.get("id") for vm in root.findall("site[@id='nancy']/cluster[@id='gros']/host[@id='h1']/vm")] == ["vm-0", "vm-2"]
    assert [vm.get("mem") for vm in root.findall("site[@id='unknown']//vm")] == ["512"]


def test_lines_of_the_protocol_are_what_the_reader_expects() -> None:
    assert parse_blocks(sh(begin_line(NONCE, "a b") + "false\n" + end_line(NONCE, "a b")), NONCE)[0] == {"a b": Block("1", "")}
