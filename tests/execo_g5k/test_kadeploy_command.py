"""Deployments, and the command lines of kadeploy3."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execo.host import Host
from execo_g5k import config
from execo_g5k._kadeploy.request import request_of
from execo_g5k.kadeploy import Deployment, Kadeployer, deploy, get_kadeploy_commandline

NODE = "graoully-1.nancy.grid5000.fr"


def line(hosts: Any = (NODE,), **options: Any) -> str:
    return get_kadeploy_commandline(Deployment(hosts, **options), [Host(host).address for host in hosts])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"env_name": "debian12-min"}, "kadeploy3 -k -d -e debian12-min -m " + NODE),
        ({"env_file": "/home/jdoe/my.yaml"}, "kadeploy3 -k -d -a /home/jdoe/my.yaml -m " + NODE),
        ({"env_file": "https://a.example/e.yaml?x=1&y=2"}, "kadeploy3 -k -d -a 'https://a.example/e.yaml?x=1&y=2' -m " + NODE),
        ({"env_file": "~/my env.yaml"}, "kadeploy3 -k -d -a ~/'my env.yaml' -m " + NODE),
        ({"env_name": "e", "env_version": 3, "user": "root", "vlan": 5},
         "kadeploy3 -k -d -e e --env-version 3 -u root --vlan 5 -m " + NODE),
        ({"env_name": "e; rm -rf x", "user": "$HOME"}, "kadeploy3 -k -d -e 'e; rm -rf x' -u '$HOME' -m " + NODE),
        ({"env_name": "e", "other_options": "-r ext4 -V 4"}, "kadeploy3 -k -d -e e -r ext4 -V 4 -m " + NODE),
        ({"env_name": "e", "vlan": "0"}, "kadeploy3 -k -d -e e --vlan 0 -m " + NODE),
    ],
    ids=str,
)
def test_a_deployment_is_a_line_of_shell(options: dict[str, Any], expected: str) -> None:
    assert line(**options) == expected


@given(st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), min_size=1).filter(
    lambda text: text.strip() and not text.startswith("-")))
def test_any_name_of_an_environment_arrives_as_one_word(name: str) -> None:
    assert shlex.split(line(env_name=name)) == ["kadeploy3", "-k", "-d", "-e", name, "-m", NODE]


def test_only_the_home_of_a_path_is_left_to_the_shell() -> None:
    command = line(env_file="~/$(echo x)/*").partition(" -a ")[2].partition(" -m")[0]
    said = subprocess.run(["sh", "-c", f"HOME=/h; echo {command}"], capture_output=True, text=True, check=True).stdout
    assert said == "/h/$(echo x)/*\n"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"env_name": "a", "env_file": "b"}, "both env_file='b' and env_name='a'"),
        ({}, "without environment"),
        ({"env_name": " "}, "env_name"),
        ({"env_name": "-x"}, "env_name"),
        ({"env_name": "e", "vlan": "five"}, "vlan of a deployment: expected its number, found 'five'"),
        ({"env_name": "e", "vlan": True}, "vlan"),
        ({"hosts": ["-f"], "env_name": "e"}, "host to deploy"),
        ({"hosts": ["a b"], "env_name": "e"}, "host to deploy"),
    ],
    ids=str,
)
def test_a_bad_deployment_is_refused_where_it_is_used(options: dict[str, Any], text: str) -> None:
    deployment = Deployment(**{"hosts": [NODE], **options})
    with pytest.raises(ValueError, match=text):
        Kadeployer(deployment)


def test_without_an_environment_it_is_the_configured_one() -> None:
    config.g5k_configuration["default_env_name"] = "debian12-nfs"
    assert "-e debian12-nfs" in line()
    config.g5k_configuration["default_env_file"] = "/e"
    with pytest.raises(ValueError, match="both"):
        line()
    assert "-e mine -m" in line(env_name="mine")


def test_what_is_configured_is_taken_as_it_is() -> None:
    config.g5k_configuration.update(kadeploy3="sudo kadeploy3", kadeploy3_options="")
    assert line(env_name="e") == f"sudo kadeploy3 -e e -m {NODE}"


def test_a_new_option_does_not_show_until_it_is_used() -> None:
    assert set(vars(Deployment())) == {"hosts", "env_file", "env_name", "user", "vlan", "other_options"}
    assert repr(Deployment([NODE], env_name="e")) == f"Deployment(hosts=['{NODE}'], env_name='e')"
    assert repr(Deployment(env_version=2)) == "Deployment(env_version=2)"


@pytest.mark.parametrize("make", [list, tuple, set, iter, lambda hosts: (host for host in hosts)], ids=lambda make: make.__name__)
def test_hosts_may_be_any_iterable_of_names_and_hosts(make: Callable[[Any], Any]) -> None:
    deployment = Deployment(make([NODE, Host(NODE, user="root"), "graoully-2.nancy"]), env_name="e")
    for _ in range(2):
        kadeployer = Kadeployer(deployment)
        assert {host.address for host in kadeployer.hosts} == {NODE, "graoully-2.nancy"}
        assert len(kadeployer.processes[0].kadeploy_hosts) == 2


def test_a_single_name_is_one_host() -> None:
    assert [process.kadeploy_hosts for process in Kadeployer(Deployment(NODE, env_name="e")).processes] == [[NODE]]


def test_each_site_has_its_process() -> None:
    config.g5k_configuration["default_frontend"] = "rennes"
    hosts = [NODE, "a-1.lyon", "a-2.lyon.grid5000.fr", "paravance-3", "node.example.org"]
    kadeployer = Kadeployer(Deployment(hosts, env_name="e"))
    assert {process.frontend: process.kadeploy_hosts for process in kadeployer.processes} == {
        "nancy": [NODE], "lyon": ["a-1.lyon", "a-2.lyon.grid5000.fr"], "rennes": ["paravance-3", "node.example.org"]}
    assert kadeployer.name == "Kadeployer on 5 hosts / 3 frontends"
    assert repr(kadeployer) == f"Kadeployer({kadeployer.deployment!r})"


def test_sites_may_have_different_vlans() -> None:
    nodes = [NODE, "a-1.lyon", "parasilo-1.rennes.grid5000.fr"]
    deployment = Deployment(nodes, env_name="e", vlan={"nancy": 4, "lyon": "5"})
    lines = {process.frontend: str(process.cmd) for process in Kadeployer(deployment).processes}
    assert {site: line.partition(" --vlan ")[2][:1] for site, line in lines.items()} == {"nancy": "4", "lyon": "5", "rennes": ""}
    assert [request_of(deployment, [node]).get("vlan") for node in nodes] == ["4", "5", None]
    deployment.vlan = {"nancy": 4, "rennes": "five"}
    with pytest.raises(ValueError, match="expected its number, found 'five'"):
        deploy(deployment)


def test_a_deployment_of_nothing_ends_well() -> None:
    kadeployer = Kadeployer(Deployment([], env_name="e"))
    assert kadeployer.run(timeout=10).ok
    assert kadeployer.ended
    assert kadeployer.deployed_hosts == set()


def test_what_is_no_deployment_is_refused() -> None:
    with pytest.raises(TypeError, match="expected a Deployment, found 'e'"):
        Kadeployer("e")  # type: ignore[arg-type]     # that is what is tested
