"""What kadeploy3 prints, read as it comes."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from execo_g5k._gridbox.kadeploy import standin as kadeploy3
from execo_g5k._kadeploy.parse import Names, step_of_reason
from execo_g5k.kadeploy import KadeployOutput

HOSTS = [f"fake-{number}.lab" for number in (1, 2, 3, 4)]

# As the real one printed it.
ALL_WELL = """\
Deployment #D-0f3a2b44-0000-4aaa-8bbb-123456789abc started
Grab the key file /root/.ssh/authorized_keys
Grab the tarball file server:///images/env.tgz
Launching a deployment on fake-[1-4].lab
Performing a Deploy[SetDeploymentEnvUntrusted] step
  switch_pxe
   ~ Time in switch_pxe: 0s
  reboot
   * Performing a soft reboot on fake-[1-4].lab
  wait_reboot
  send_key_in_deploy_env
  create_partition_table
  format_deploy_part
  mount_deploy_part
  format_swap_part
End of step Deploy[SetDeploymentEnvUntrusted] after 16s
Performing a Deploy[BroadcastEnvChain] step
  send_environment
   * Broadcast time: 3s
  manage_user_post_install
  check_kernel_files
  send_key
  install_bootloader
  sync
End of step Deploy[BroadcastEnvChain] after 5s
Performing a Deploy[BootNewEnvClassical] step
  switch_pxe
  umount_deploy_part
  reboot_from_deploy_env
  set_vlan
  wait_reboot
End of step Deploy[BootNewEnvClassical] after 15s
End of deployment for fake-[1-4].lab after 36s
End of deployment on cluster fake after 36s
Deployment #D-0f3a2b44-0000-4aaa-8bbb-123456789abc done

The deployment is successful on nodes
fake-1.lab
fake-2.lab
fake-3.lab
fake-4.lab
"""

ONE_FAILS = """\
Deployment #D-1 started
Launching a deployment on fake-[1-4].lab
Performing a Deploy[SetDeploymentEnvUntrusted] step
  switch_pxe
  reboot
   * Performing a soft reboot on fake-[1-4].lab
  wait_reboot
!!! The nodes fake-4.lab failed on step wait_reboot
Step Deploy[SetDeploymentEnvUntrusted] failed for fake-4.lab after 16s
---
Nodeset [0] split into :
  [1] fake-[1-3].lab
  [2] fake-4.lab
---
[1]   send_key_in_deploy_env
[1]   create_partition_table
[2] Performing a Deploy[SetDeploymentEnvUntrusted] step
[2]   switch_pxe
[2]   reboot
[2]    * Performing a hard reboot on fake-4.lab
[2]   wait_reboot
[1] End of step Deploy[SetDeploymentEnvUntrusted] after 16s
[1] Performing a Deploy[BroadcastEnvChain] step
[1]   send_environment
[2] !!! The nodes fake-4.lab failed on step wait_reboot
[2] Step Deploy[SetDeploymentEnvUntrusted] failed for fake-4.lab after 16s
[1] End of step Deploy[BroadcastEnvChain] after 4s
[1] Performing a Deploy[BootNewEnvClassical] step
[1]   wait_reboot
[1] End of step Deploy[BootNewEnvClassical] after 9s
[1] End of deployment for fake-[1-3].lab after 36s
End of deployment on cluster fake after 50s
Deployment #D-1 done

The deployment is successful on nodes
fake-1.lab
fake-2.lab
fake-3.lab
The deployment failed on nodes
fake-4.lab (SetDeploymentEnvUntrusted-wait_reboot: Unreachable after the reboot)
"""


def read(text: str, hosts: list[str] = HOSTS, stream: int = 1) -> KadeployOutput:
    """One line a second, from second 1 on."""
    output = KadeployOutput(hosts)
    output.progress.start = 0.0
    for number, line in enumerate(text.split("\n"), 1):
        output.feed(line, float(number), stream)
    return output


def steps_of(output: KadeployOutput, host: str) -> list[str]:
    return [step.name for step in output.progress.steps[host]]


def test_a_run_that_goes_well() -> None:
    output = read(ALL_WELL)
    assert output.deployed == set(HOSTS)
    assert output.undeployed == set()
    assert output.workflow_id == "D-0f3a2b44-0000-4aaa-8bbb-123456789abc"
    assert output.complaint == ""
    assert steps_of(output, "fake-2.lab") == [
        "SetDeploymentEnvUntrusted", *(f"SetDeploymentEnvUntrusted-{micro}" for micro in (
            "switch_pxe", "reboot", "wait_reboot", "send_key_in_deploy_env", "create_partition_table", "format_deploy_part",
            "mount_deploy_part", "format_swap_part")),
        "BroadcastEnvChain", *(f"BroadcastEnvChain-{micro}" for micro in (
            "send_environment", "manage_user_post_install", "check_kernel_files", "send_key", "install_bootloader", "sync")),
        "BootNewEnvClassical", *(f"BootNewEnvClassical-{micro}" for micro in (
            "switch_pxe", "umount_deploy_part", "reboot_from_deploy_env", "set_vlan", "wait_reboot"))]
    # The dates are the numbers of the lines: the disk is touched from line 11 on, the transfer begins with 17, the last boot with 26.
    assert output.progress.phases("fake-2.lab") == {
        "first check": 11.0, "pre-installation": 6.0, "transfer": 9.0, "last check": 7.0}


def test_each_line_of_a_run_that_goes_well_is_understood() -> None:
    output = KadeployOutput(HOSTS)
    for line in ALL_WELL.splitlines() + ONE_FAILS.splitlines():
        if not line.strip().startswith(("fake-", "[1] fake", "[2] fake")):        # it would end the list
            output.feed("nobody knows this", 1.0)
        output.feed(line, 1.0)
        if line:
            assert output.complaint == "", line     # what is understood has what came before it forgotten


def test_progress_is_known_as_it_comes() -> None:
    output = KadeployOutput(HOSTS)
    seen = []
    for number, line in enumerate(ONE_FAILS.splitlines()):
        output.feed(line, float(number))
        now = output.progress.look()
        seen.append([(now[host].state, now[host].micro) for host in ("fake-1.lab", "fake-4.lab")])
    assert [pair for pair, _ in itertools.groupby(seen)] == [
        [("waiting", "")] * 2, [("deploying", "")] * 2, [("deploying", "switch_pxe")] * 2, [("deploying", "reboot")] * 2,
        [("deploying", "wait_reboot")] * 2,
        [("deploying", "send_key_in_deploy_env"), ("deploying", "wait_reboot")],
        [("deploying", "create_partition_table"), ("deploying", "wait_reboot")],
        [("deploying", "create_partition_table"), ("deploying", "")],
        [("deploying", "create_partition_table"), ("deploying", "switch_pxe")],
        [("deploying", "create_partition_table"), ("deploying", "reboot")],
        [("deploying", "create_partition_table"), ("deploying", "wait_reboot")],
        [("deploying", ""), ("deploying", "wait_reboot")],
        [("deploying", "send_environment"), ("deploying", "wait_reboot")],
        [("deploying", ""), ("deploying", "wait_reboot")],
        [("deploying", "wait_reboot"), ("deploying", "wait_reboot")],
        [("deployed", "wait_reboot"), ("deploying", "wait_reboot")],
        [("deployed", "wait_reboot"), ("failed", "wait_reboot")]]


def test_a_node_that_fails_has_its_reason() -> None:
    output = read(ONE_FAILS)
    assert (output.deployed, output.undeployed) == (set(HOSTS[:3]), {"fake-4.lab"})
    assert output.progress.reasons == {"fake-4.lab": "SetDeploymentEnvUntrusted-wait_reboot: Unreachable after the reboot"}
    assert step_of_reason(output.progress.reasons["fake-4.lab"]) == ("SetDeploymentEnvUntrusted", "wait_reboot")
    assert output.progress.phases("fake-4.lab")["transfer"] == 0


@pytest.mark.parametrize("ending", ["\r", "", "  ", "\x1b[0m"], ids=repr)
@pytest.mark.parametrize("prefix", ["", "[here]    "], ids=["one server", "several servers"])
def test_terminals_and_several_servers_change_nothing(ending: str, prefix: str) -> None:
    text = "\n".join(prefix + line + ending for line in ONE_FAILS.split("\n"))
    plain, other = read(ONE_FAILS), read(text)
    assert (other.deployed, other.undeployed, other.progress.reasons) == (plain.deployed, plain.undeployed, plain.progress.reasons)
    assert other.progress.steps == plain.progress.steps


def test_two_servers_that_talk_at_once_are_told_apart() -> None:
    output = read("[one]    Launching a deployment on fake-[1-2].lab\n[two]    Launching a deployment on fake-[3-4].lab\n"
                  "[one]    Performing a Deploy[SetDeploymentEnvKexec] step\n[two]    Performing a Deploy[SetDeploymentEnvUntrusted] step\n"
                  "[one]      kexec\n[two]      reboot\n")
    assert steps_of(output, "fake-1.lab") == ["SetDeploymentEnvKexec", "SetDeploymentEnvKexec-kexec"]
    assert steps_of(output, "fake-4.lab") == ["SetDeploymentEnvUntrusted", "SetDeploymentEnvUntrusted-reboot"]


def test_a_part_may_be_split_again() -> None:
    output = read("Launching a deployment on fake-[1-4].lab\nPerforming a Deploy[BootNewEnvClassical] step\n---\nNodeset [0] split into :\n"
                  "  [1] fake-[1-3].lab\n  [2] fake-4.lab\n---\n[1] ---\n[1] Nodeset [1] split into :\n[1]   [3] fake-1.lab,fake-2.lab\n"
                  "[1]   [4] fake-3.lab\n[1] ---\n[3]   sync\n[4]   reboot\n")
    assert [output.progress.step_of(host) for host in HOSTS] == [
        "BootNewEnvClassical-sync", "BootNewEnvClassical-sync", "BootNewEnvClassical-reboot", "BootNewEnvClassical"]


def test_the_lists_before_3_2() -> None:
    output = read("Nodes correctly deployed on cluster fake\nfake-1.lab\nfake-2.lab\nNodes not correctly deployed on cluster fake\n"
                  "fake-3.lab\nfake-4.lab (not reachable after the reboot)\n")
    assert (output.deployed, output.undeployed) == ({"fake-1.lab", "fake-2.lab"}, {"fake-3.lab", "fake-4.lab"})
    assert output.progress.reasons == {"fake-3.lab": "kadeploy3 gives no reason", "fake-4.lab": "not reachable after the reboot"}


def test_names_that_nobody_asked_for_do_not_count() -> None:
    output = read("fake-1.lab\nThe deployment is successful on nodes\nfake-9.lab\nfake-1.lab\nthe script says:\nfake-2.lab\n")
    assert output.deployed == {"fake-1.lab"}


def test_names_may_be_given_short() -> None:
    output = read("Launching a deployment on gros-[1-3].nancy.grid5000.fr\nPerforming a Deploy[X] step\n"
                  "The deployment is successful on nodes\ngros-1.nancy.grid5000.fr\nGROS-2.nancy.grid5000.fr\n", ["gros-1", "gros-2.nancy"])
    assert output.deployed == {"gros-1", "gros-2.nancy"}
    assert steps_of(output, "gros-1") == ["X"]


@pytest.mark.parametrize(
    ("folded", "expected"),
    [("fake-[1-3].lab", "123"), ("fake-[1,4].lab", "14"), ("fake-[1-2,4].lab", "124"), ("fake-2.lab,fake-4.lab", "24"),
     ("fake-[1-2].lab, fake-4.lab", "124"),
     ("fake-[1-999999999999].lab", "1234"), ("fake-[3-1].lab", ""), ("other-[1-4].lab", ""),
     ("fake-[1-4].elsewhere", ""), ("fake-[].lab", ""),
     ("fake-[1-", ""), ("", "")],
)
def test_folded_lists(folded: str, expected: str) -> None:
    assert Names(HOSTS).fold(folded) == {f"fake-{number}.lab" for number in expected}


@pytest.mark.parametrize("stream", [1, 2])
@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("Invalid file -- Checksum of the file 'x' does not match (an update is necessary)\n[Kadeploy Error #5]",
         "Kadeploy error 5 (file): Invalid file -- Checksum of the file 'x' does not match (an update is necessary)"),
        ("Database issue -- gone\n[Kadeploy Error #20]\nConnection to nancy closed.",
         "Kadeploy error 20 (database): Database issue -- gone"),
        ("[Kadeploy Error #99]", "Kadeploy error 99 (unknown kind)"),
        ("[Internal Server Error]\nNoMethodError: undefined method\n/usr/lib/x.rb:3",
         "the Kadeploy server failed: NoMethodError: undefined method"),
        ("Option parsing error: invalid option: --bogus", "Option parsing error: invalid option: --bogus"),
        ("No node is chosen", "No node is chosen"),
        ("The nodes unknown-1.lab does not belongs to any server", "The nodes unknown-1.lab does not belongs to any server"),
        ("The H server is unreachable\nConnection to nancy.grid5000.fr closed.", "The H server is unreachable"),
        ("\nSIGINT trapped", "kadeploy3 was interrupted"),
    ],
)
def test_errors_in_words(text: str, complaint: str, stream: int) -> None:
    output = read(text, stream=stream)
    assert output.complaint == complaint
    output.finish(99.0, "why")
    assert output.progress.reasons == dict.fromkeys(HOSTS, "why")


def test_what_was_not_judged_fails_with_what_is_known_of_it() -> None:
    output = read("Launching a deployment on fake-[1-3].lab\nThe nodes fake-4.lab are already involved in deployment, let's discard them\n"
                  "Performing a Deploy[BootNewEnvClassical] step\n  wait_reboot\nTimeout in the wait_reboot step, let's kill the instance\n"
                  "!!! The nodes fake-3.lab failed on step wait_reboot\nThe deployment is successful on nodes\nfake-1.lab")
    output.finish(99.0, "the line is dead")
    assert output.progress.reasons == {
        "fake-2.lab": "the line is dead, in BootNewEnvClassical-wait_reboot",
        "fake-3.lab": "BootNewEnvClassical-wait_reboot: timeout; the line is dead",
        "fake-4.lab": "already involved in another deployment; the line is dead"}
    assert output.progress.ends["fake-2.lab"] == 99.0


PIECES = [*ALL_WELL.splitlines(), *ONE_FAILS.splitlines(), "Nodes correctly deployed on cluster fake",
          "[Kadeploy Error #3]", "[Internal Server Error]", "SIGINT trapped", "[", "[]", "[1]", "  [", "---", "\x1b[",
          "The  failed on nodes", "a" * 3000, "[" * 500]
LINES = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=30),
                           st.builds("{}{}".format, st.sampled_from(["[1] ", "[x]    ", "[2] ", "  "]), st.sampled_from(PIECES))),
                 max_size=40)


@settings(max_examples=300)
@example(["The deployment failed on nodes", "fake-1.lab", "Performing a Deploy[SetDeploymentEnvUntrusted] step"])
@given(LINES)
def test_any_lines_in_any_order_make_up_no_result(lines: list[str]) -> None:
    output = read("\n".join(lines))
    output.finish(1000.0, "why")
    words = " ".join(lines).split()
    listed = {host for host in HOSTS if host in words}
    assert output.deployed <= set(HOSTS) & listed
    assert output.undeployed <= set(HOSTS) & listed
    assert set(output.progress.states.values()) <= {"deployed", "failed"}
    assert set(output.progress.reasons) >= set(HOSTS) - output.deployed
    assert all(sum(output.progress.phases(host).values()) >= 0 for host in HOSTS)
    assert len(output.complaint) < 600


class Told(kadeploy3.Run):
    """The stand-in, with what it says, and what it did to each node."""

    def __init__(self, faults: dict[str, list[Any]]) -> None:
        super().__init__({"step": 0, "fail": faults}, 4)
        self.lines: list[str] = []
        self.done: dict[str, list[str]] = {host: [] for host in HOSTS}

    def say(self, prefix: str, text: str) -> None:
        self.lines.append(prefix + text)

    def micro(self, prefix: str, nodes: list[str], macro: str, micro: str, attempt: int) -> None:
        for node in nodes:
            self.done[node].append(micro)
        super().micro(prefix, nodes, macro, micro, attempt)


FAULTS = st.fixed_dictionaries({}, optional={
    host: st.tuples(st.sampled_from(["reboot", "wait_reboot", "sync", "send_environment", "switch_pxe"]), st.just("bad"),
                    st.integers(1, 3)).map(list) for host in HOSTS})


@settings(max_examples=60)
@given(FAULTS)
def test_each_node_is_followed_through_whatever_splits(faults: dict[str, list[Any]]) -> None:
    run = Told(faults)
    run.go(list(HOSTS), "", 0, 0, 0, 0.0)
    output = KadeployOutput(HOSTS)
    for number, line in enumerate(run.lines):
        output.feed(line, float(number))
    followed = {host: [step.micro for step in output.progress.steps[host] if step.micro] for host in HOSTS}
    assert followed == run.done
    for host in HOSTS:
        if host in run.ko:
            assert output.progress.step_of(host) == run.ko[host].partition(":")[0]
    output.finish(1e6, "why")
    assert {host for host, date in output.progress.ends.items() if date < 1e6} == set(HOSTS)


def test_a_thousand_nodes_and_long_lines_take_no_time() -> None:
    hosts = [f"fake-{number}.lab" for number in range(1000)]
    text = ALL_WELL.replace("[1-4]", "[0-999]").replace("fake-1.lab\n", "\n".join(hosts) + "\n")
    output = read(text + "\n" + "x" * 1_000_000 + "\n" + ",".join(hosts), hosts)
    assert len(output.deployed) == 1000
