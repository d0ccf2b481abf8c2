"""Hosts by what they are, and requests to OAR for such hosts."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import platforms
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from execo_g5k import OarSubmission, g5k_configuration
from execo_g5k._api import reference
from execo_g5k._api.expression import Comparison, Junction, Negation, parse, quoted_for_oar
from execo_g5k._api.properties import PROPERTIES
from execo_g5k._gridbox.reference import make_reference
from execo_g5k._gridbox.rest import RestServer, serve_reference
from execo_g5k.api_utils import (
    api_delete_job,
    api_get_job,
    api_submit_job,
    api_wait_job,
    get_cluster_jobtypes,
    get_g5k_hosts,
    get_host_attributes,
    get_host_cluster,
    get_host_site,
    get_host_switch,
    get_hosts_properties,
    get_oar_request,
)
from execo_g5k.gridbox import GridBox
from execo_g5k.oar import get_oarsub_commandline


@pytest.fixture(scope="module")
def server() -> Iterator[RestServer]:
    with serve_reference(reference=make_reference(other_scheduler=True)) as served:
        yield served


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def box(server: RestServer, folder: Path) -> RestServer:
    g5k_configuration.update(api_uri=server.uri, api_cache_dir=str(folder))
    return server


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_remembered() -> Iterator[None]:
    yield
    reference.forget()


def clusters_of(where: str, queues: str | None = None) -> set[str | None]:
    return {get_host_cluster(host) for host in get_g5k_hosts(queues, where)}


@pytest.mark.parametrize(("where", "clusters"), [
    ("cores >= 8", "saone rhone moselle"), ("cores > 8", "rhone"), ("cores = 4", "vilaine meurthe ille"),
    ("cores == 4", "vilaine meurthe ille"),
    ("cores <> 4", "saone rhone moselle"), ("cores != 4", "saone rhone moselle"), ("cores < 8", "vilaine meurthe ille"),
    ("memory >= 64GiB", "vilaine ille meurthe moselle rhone"), ("memory >= 64GB", "vilaine ille meurthe moselle rhone"),
    ("memory > 64GiB", "meurthe moselle rhone"), ("memory <= 32 GiB", "saone"), ("memory = 98304MiB", "meurthe"),
    ("memory > 0.1TB", "moselle rhone meurthe"),
    ("gpus >= 1", "rhone moselle"), ("gpus = 2 and arch = x86_64", "moselle"), ("arch = 'aarch64'", "rhone"), ('arch != "x86_64"', "rhone"),
    ("clock >= 2.5GHz", "moselle ille"), ("cpu ~ epyc", "moselle ille"), ("cpu ~ 'Gold 5218'", "meurthe"), ("exotic", "rhone"),
    ("not exotic and site = lyon", "saone"), ("exotic = no and site = lyon", "saone"), ("exotic != yes & site == lyon", "saone"),
    ("cluster in (saone, ille)", "saone ille"), ("cluster not in (saone, ille) and cores = 4", "vilaine meurthe"),
    ("cores in (16)", "rhone"), ("queue = production", "moselle"), ("queue = abaca", "moselle"),
    ("queue in (abaca, testing)", "moselle ille"),
    ("queue != abaca and gpus >= 1", "rhone"), ("switch = gw", "rhone ille"), ("reservable_disks >= 2", "meurthe"),
    ("infiniband >= 1", "rhone"),
    ("ethernet_rate >= 25Gbit/s", "rhone meurthe moselle"), ("ethernet_rate < 25Gbps", "saone vilaine ille"),
    ("model ~ dell and cores = 8", "saone moselle"),
    ("cores = 16 or cores = 4 and memory > 64GiB", "rhone meurthe"), ("(cores = 16 or cores = 4) and memory > 64GiB", "rhone meurthe"),
    ("not (cores = 4 or cores = 8)", "rhone"), ("!exotic && (cpus = 2 || gpus = 1)", "saone moselle vilaine"),
    ("memory > 0", "saone rhone meurthe moselle vilaine ille"),
    ("host = saone-3", "saone"), ("microarchitecture = 'Zen 3'", "moselle ille"), ("gpu != ''", "moselle rhone"),
    ("NOT exotic AND site IN (lyon)", "saone"),
])
def test_conditions(box: RestServer, where: str, clusters: str) -> None:
    assert clusters_of(where) == set(clusters.split())


@pytest.mark.parametrize(("where", "said"), [
    ("", "at its end: expected a property"), ("   ", "expected a property"),
    ("corse >= 8", "no property 'corse', do you mean 'cores'\\?; there are .*memory"),
    ("cores", "expected a comparison of 'cores'"), ("cores >=", "at its end: expected a value for 'cores'"),
    ("cores >= eight", "expected a number for 'cores', as 8"),
    ("cores ~ 8", "'cores' is a number; for these there are = !="), ("cluster > gros", "'cluster' is a name; for these there are = != ~"),
    ("memory >= 32", "'memory' is in B, as 32GB"), ("memory >= 32GHz", "'memory' is in B"),
    ("cores >= 8GB", "'cores' is in plain numbers, as 8"),
    ("clock > 2", "'clock' is in Hz, as 2.5GHz"), ("(cores > 3", "at its end: expected '\\)'"),
    ("cores > 3)", "at '\\)': expected 'and', 'or' or the end"),
    ("cores > 3 cores < 5", "at 'cores < 5': expected 'and'"), ("cluster in gros", "expected '\\(' after 'in'"),
    ("cluster in ()", "expected a value"),
    ("cluster in (gros", "expected ',' or '\\)'"), ("cluster not gros", "expected 'in' after 'not'"),
    ("exotic = maybe", "'exotic' is yes or no"),
    ("cores > 3; import os", "at ';"), ("cores >= 8 and", "at its end"), ("cluster = 'gros", "at \"'gros\""),
    ("exotic ~ yes", "'exotic' is a truth"),
    ("__class__ = 3", "no property '__class__'"), ("cores >= 8x", "cannot be read"),
])
def test_what_cannot_be_read_says_where_and_why(where: str, said: str) -> None:
    with pytest.raises(ValueError, match=f"condition on hosts .*{said}"):
        parse(where)


def test_a_condition_that_is_no_string_is_refused(box: RestServer) -> None:
    with pytest.raises(TypeError, match="expected a string"):
        get_g5k_hosts(where=8)  # type: ignore[arg-type]        # what is under test


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    said = f"condition on hosts {text!r}"
    try:
        parse(text)
    except ValueError as refused:
        said = str(refused)
    assert said.startswith(f"condition on hosts {text!r}")


def test_and_binds_closer_than_or() -> None:
    a, b, c = (Comparison("cores", "=", (Fraction(n),)) for n in (1, 2, 3))
    assert parse("cores = 1 or cores = 2 and not cores = 3") == Junction("or", (a, Junction("and", (b, Negation(c)))))


def test_the_request_of_the_paper(box: RestServer) -> None:
    hosts = get_g5k_hosts(where="cores >= 8 and memory >= 32GB", n=8, same="switch")
    assert len(set(hosts)) == 8
    assert len({(get_host_site(host), get_host_switch(host)) for host in hosts}) == 1
    for host in hosts:
        described = get_host_attributes(host)
        assert described["architecture"]["nb_cores"] >= 8
        assert described["main_memory"]["ram_size"] >= 32e9
    submission, site = get_oar_request("cores >= 8 and memory >= 32GB", 8, "switch", "2:00:00", name="paper")
    assert site == "lyon"
    assert vars(submission) == vars(OarSubmission("{core_count >= 8 AND memnode >= 30518}/switch=1/host=8", "2:00:00", name="paper"))
    assert '-l "{core_count >= 8 AND memnode >= 30518}/switch=1/host=8,walltime=2:0:0"' in get_oarsub_commandline(submission)


def test_hosts_on_the_same_something(box: RestServer) -> None:
    assert len(get_g5k_hosts(same="cluster")) == 12                                      # meurthe
    assert len(get_g5k_hosts(same="switch")) == 8                                        # sw-1 of lyon and of nancy are two switches
    assert {get_host_site(host) for host in get_g5k_hosts(same="site")} == {"nancy"}
    assert {get_host_site(host) for host in get_g5k_hosts(None, same="site", site="lyon")} == {"lyon"}
    assert get_g5k_hosts(where="cores > 99", same="switch") == []
    assert get_g5k_hosts(n=0) == []
    assert get_g5k_hosts(where="cluster = meurthe", n=5) == ["meurthe-1", "meurthe-2", "meurthe-3", "meurthe-4", "meurthe-6"]


@pytest.mark.parametrize(("wrong", "said"), [
    ({"n": 9, "same": "switch"}, "expected 9 hosts on the same switch, found 8"), ({"n": 99}, "expected 99 hosts, found 30"),
    ({"n": 3, "where": "gpus >= 1", "site": "lyon"}, "expected 3 hosts of lyon with gpus >= 1, found 2"),
    ({"n": -1}, "not negative, found -1"),
    ({"same": "rack"}, "same switch, cluster, site, not 'rack'"), ({"site": "paris"}, "unknown g5k site paris"),
])
def test_a_selection_that_cannot_be_met(box: RestServer, wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        get_g5k_hosts(**wrong)  # type: ignore[arg-type]        # a table of arguments


@pytest.mark.parametrize(("arguments", "resources", "more"), [
    ({}, "/host=1", {}),
    ({"where": "cores >= 4", "n": 2, "same": "cluster"}, "{core_count >= 4}/cluster=1/host=2", {}),
    ({"where": "memory >= 32GB"}, "{memnode >= 30518}/host=1", {}), ({"where": "memory > 32GB"}, "{memnode > 30517}/host=1", {}),
    ({"where": "memory = 32GiB"}, "{memnode = 32768}/host=1", {}),
    ({"where": "cluster = rhone"}, "{cluster = 'rhone'}/host=1", {"job_type": ["exotic"]}),
    ({"where": "cluster = rhone", "job_type": "deploy"}, "{cluster = 'rhone'}/host=1", {"job_type": ["deploy", "exotic"]}),
    ({"where": "cores >= 8", "job_type": ["exotic"], "site": "lyon"}, "{core_count >= 8}/host=1", {"job_type": ["exotic"]}),
    ({"where": "exotic"}, "{exotic = 'YES'}/host=1", {"job_type": ["exotic"]}),
    ({"where": "gpus = 2", "queues": "abaca"}, "{gpu_count = 2}/host=1", {"queue": "production"}),
    ({"where": "cores = 4", "queues": "testing"}, "{core_count = 4}/host=1", {"queue": "testing"}),
    ({"where": "cluster in (saone, vilaine) or not (model ~ dell)", "site": "lyon"},
     "{(cluster IN ('saone', 'vilaine') OR NOT (cluster IN ('saone')))}/host=1", {}),
    ({"where": "host in (saone-1, saone-3)", "n": 2}, "{host IN ('saone-1.lyon.grid5000.fr', 'saone-3.lyon.grid5000.fr')}/host=2", {}),
    ({"where": "clock > 2.2GHz and cores <= 8", "site": "nancy"}, "{cluster IN ('meurthe') AND core_count <= 8}/host=1", {}),
    ({"where": "site = nancy"}, "{cluster IN ('meurthe')}/host=1", {}),
    ({"where": "site = nancy", "queues": None}, "{cluster IN ('meurthe')}/host=1", {}),
    ({"where": "gpus = 2", "queues": None}, "{gpu_count = 2}/host=1", {"queue": "production"}),
    ({"where": "cores = 4", "queues": ["testing", "default"]}, "{core_count = 4}/host=1", {"queue": "testing"}),
    ({"where": "cores = 4", "queues": ["testing", "default"], "n": 5}, "{core_count = 4}/host=5", {}),
    ({"where": "cores = 4", "n": 1, "directory": "/tmp", "project": "p"}, "{core_count = 4}/host=1", {"directory": "/tmp", "project": "p"}),
])
def test_requests(box: RestServer, arguments: dict[str, object], resources: str, more: dict[str, object]) -> None:
    submission, site = get_oar_request(**arguments)  # type: ignore[arg-type]        # a table of arguments
    assert vars(submission) == vars(OarSubmission(resources, **more))  # type: ignore[arg-type]
    assert site in ("lyon", "nancy", "rennes")


@pytest.mark.parametrize(("arguments", "said"), [
    ({"n": 0}, "at least 1, found 0"), ({"n": 13}, "expected 13 hosts on the same site, found 12"), ({"where": "corse = 1"}, "no property"),
    ({"n": 18, "site": "nancy", "queues": None}, "several queues together, but in none"),
    ({"where": "model = 'a{b'"}, "expected 1 hosts"), ({"same": "rack"}, "not 'rack'"),
])
def test_a_request_that_cannot_be_met(box: RestServer, arguments: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        get_oar_request(**arguments)  # type: ignore[arg-type]        # a table of arguments


@pytest.mark.parametrize("text", ["it's", 'a"b', "a{b}", "a$b", "a`b", "a\\b", "a\nb", "a\0b"])
def test_no_value_leaves_its_quotes(text: str) -> None:
    with pytest.raises(ValueError, match="a value for OAR"):
        quoted_for_oar(text)


NUMBERS = {"cores": ["4", "7", "8", "16"], "memory": ["32GB", "33.5GB", "64GiB", "98304MiB", "1TB"], "gpus": ["0", "1", "2"],
           "cpus": ["1", "2"],
           "threads": ["8", "16"], "gpu_memory": ["0", "20GB", "24GiB"], "reservable_disks": ["0", "1", "2"], "clock": ["2.2GHz", "3GHz"],
           "disks": ["1", "2"], "ethernet_rate": ["10Gbit/s", "25Gbit/s"]}
NAMES = {"cluster": ["saone", "rhone", "moselle", "nope"], "arch": ["x86_64", "aarch64"],
         "cpu": ["'AMD EPYC 7313'", "'Intel Xeon Gold 5218'"],
         "switch": ["gw", "'sw-1'", "'sw-2'"],
         "model": ["'Dell PowerEdge R640'", "x"], "host": ["saone-1", "ille-2"], "site": ["lyon", "nancy"]}
COMPARISONS = st.one_of(
    st.tuples(st.sampled_from(sorted(NUMBERS)), st.sampled_from(["=", "!=", "<", "<=", ">", ">="])).flatmap(
        lambda both: st.sampled_from(NUMBERS[both[0]]).map(lambda value: f"{both[0]} {both[1]} {value}")),
    st.tuples(st.sampled_from(sorted(NAMES)), st.sampled_from(["=", "!=", "~"])).flatmap(
        lambda both: st.sampled_from(NAMES[both[0]]).map(lambda value: f"{both[0]} {both[1]} {value}")),
    st.sampled_from(sorted(NAMES)).flatmap(
        lambda name: st.lists(st.sampled_from(NAMES[name]), min_size=1, max_size=3).map(lambda values: f"{name} in ({', '.join(values)})")),
    st.sampled_from(["exotic", "deploy", "exotic = no"]),
)
CONDITIONS = st.recursive(COMPARISONS, lambda inner: st.one_of(
    inner.map(lambda part: f"not ({part})"),
    st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda parts: f"({parts[0]}) {parts[1]} ({parts[2]})")), max_leaves=5)


@pytest.fixture(scope="module")
def oar_database(server: RestServer) -> Iterator[sqlite3.Connection]:
    """The resources of all sites as their OARs list them, made apart from what is under test."""
    with sqlite3.connect(":memory:") as database:
        rows = [row for site in server.reference.sites for row in server.reference.oar_rows(site) if row["type"] == "default"]
        names = sorted({name for row in rows for name in row if name != "site"})
        database.execute(f"CREATE TABLE resources ({', '.join(names)}, at)")
        database.executemany(f"INSERT INTO resources VALUES ({', '.join('?' * (len(names) + 1))})",
                             [[*(row.get(name) for name in names), row["site"]] for row in rows])
        yield database
    database.close()


@given(condition=CONDITIONS)
@settings(max_examples=150, deadline=None)
def test_oar_understands_a_condition_as_we_do(server: RestServer, folder: Path, oar_database: sqlite3.Connection, condition: str) -> None:
    g5k_configuration.update(api_uri=server.uri, api_cache_dir=str(folder))
    for site, queue, rule in (("lyon", "default", "1"), ("nancy", "default", "production = 'NO'"), ("nancy", "abaca", "production = 'YES'"),
                              ("rennes", "testing", "maintenance = 'YES'"), ("rennes", "default", "maintenance = 'NO'")):
        hosts = get_g5k_hosts(queue, condition, site=site)
        if not hosts:
            with pytest.raises(ValueError, match="expected 1"):
                get_oar_request(condition, site=site, queues=queue)
            continue
        submission, _ = get_oar_request(condition, site=site, queues=queue)
        assert submission.queue == {"abaca": "production", "testing": "testing"}.get(queue)
        found = re.fullmatch(r"\{(.*)\}/host=1", str(submission.resources))
        assert found
        selected = oar_database.execute(f"SELECT DISTINCT host FROM resources WHERE at = ? AND {rule} AND {found[1]}", [site])
        assert {host.partition(".")[0] for (host,) in selected} == set(hosts)


def test_properties_of_hosts_are_told(box: RestServer) -> None:
    table = get_hosts_properties(["saone-1.lyon.grid5000.fr", "moselle-2"])
    assert list(table) == ["saone-1", "moselle-2"]
    assert set(table["saone-1"]) == set(PROPERTIES)
    assert table["saone-1"]["memory"] == 32 << 30
    assert table["moselle-2"]["queue"] == ["production", "production", "admin"]
    with pytest.raises(ValueError, match="unknown g5k host nope-1"):
        get_hosts_properties(["nope-1"])


@pytest.fixture(scope="module", params=platforms.PLATFORMS)
def any_platform(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    with platforms.serve(request.param) as uri:
        yield uri, tmp_path_factory.mktemp("cache")


def test_all_properties_are_known_of_all_hosts(any_platform: tuple[str, Path]) -> None:
    g5k_configuration.update(api_uri=any_platform[0], api_cache_dir=str(any_platform[1]), api_timeout=20)
    kinds = {"number": (int, float), "text": (str,), "truth": (bool,), "texts": (list,)}
    without = {"gpu"}           # most have none
    for host, properties in get_hosts_properties(get_g5k_hosts(None)).items():
        for name, value in properties.items():
            assert isinstance(value, kinds[PROPERTIES[name].kind]) or (name in without and value is None), (host, name, value)
    exotic = {host for host in get_g5k_hosts(None) for cluster in [get_host_cluster(host)] if cluster and get_cluster_jobtypes(cluster)}
    assert set(get_g5k_hosts(None, "exotic")) == exotic
    usual = "cores >= 1 and memory >= 1GB and clock > 1GHz and disks >= 1 and ethernet >= 1"
    assert len(get_g5k_hosts(None, usual)) == len(get_g5k_hosts(None))


def test_twenty_five_nodes_on_a_switch_are_one_call(any_platform: tuple[str, Path]) -> None:
    g5k_configuration.update(api_uri=any_platform[0], api_cache_dir=str(any_platform[1]), api_timeout=20)
    where = "cores >= 8 and memory >= 32GB"
    if len(get_g5k_hosts(where=where, same="switch")) < 25:
        with pytest.raises(ValueError, match="expected 25 hosts with cores >= 8 and memory >= 32GB on the same switch"):
            get_g5k_hosts(where=where, n=25, same="switch")
        return
    hosts = get_g5k_hosts(where=where, n=25, same="switch")
    submission, site = get_oar_request(where, 25, "switch")
    assert len(set(hosts)) == 25
    assert {get_host_site(host) for host in hosts} == {site}
    assert submission.resources == "{core_count >= 8 AND memnode >= 30518}/switch=1/host=25"


@pytest.mark.parametrize("kind", ["own", pytest.param("real", marks=pytest.mark.requires("oar"))])
def test_oar_gives_hosts_that_meet_the_condition(kind: str) -> None:
    requests = [("cores >= 8 and memory >= 32GB", 3, "switch", "lyon"), ("host in (saone-7, saone-8) or cluster = rhone", 1, None, "lyon"),
                ("clock > 2.2GHz and not (cluster in (rhone, saone))", 2, "cluster", "nancy"), ("gpus = 2 or cores > 99", 1, None, "nancy")]
    with GridBox(oar=kind, isolation=None, nodes_per_cluster=8):
        g5k_configuration.update(polling_interval=0.2, tiny_polling_interval=0.2)
        jobs = []
        for where, n, same, site in requests:
            submission, at = get_oar_request(where, n, same, 600, site=site, queues=None)
            jobs.append((api_submit_job(submission, at), at))
        for (where, n, same, _), (job, at) in zip(requests, jobs, strict=True):
            assert api_wait_job(job, at, timeout=90)
            given = {name.partition(".")[0] for name in api_get_job(job, at)["assigned_nodes"]}
            assert len(given) == n
            assert given <= set(get_g5k_hosts(None, where, site=at))
            if same is not None:
                assert len({get_hosts_properties([host])[host][same] for host in given}) == 1  # type: ignore[arg-type]   # a name
        for job, at in jobs:
            api_delete_job(job, at)
