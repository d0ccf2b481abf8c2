"""What `oarsub -l` and `-p` take, as the box's own scheduler reads it.  That a real OAR reads it so too: test_gridbox_oar.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execo_g5k._gridbox.scheduler.predicate import PredicateError, columns_of, parse_predicate
from execo_g5k._gridbox.scheduler.request import Request, RequestError, Wanted, parse_request

ROWS = [{"resource_id": 4 * host + core, "type": "default", "network_address": f"h-{host}", "host": f"h-{host}",
         "cluster": "a" if host < 3 else "b", "switch": f"s{host % 2}", "cpu": 2 * host + core // 2, "core": 4 * host + core,
         "memnode": 16 << host, "gpu_model": None if host < 3 else "A100"}
        for host in range(1, 5) for core in range(4)]
ROWS += [{"resource_id": 100 + vlan, "type": "kavlan", "vlan": str(vlan), "network_address": "", "host": ""} for vlan in range(4, 7)]
COLUMNS = columns_of(ROWS)
ALL = {row["resource_id"] for row in ROWS}


def chosen(text: str, free: set[int] = ALL, properties: str = "") -> list[int] | None:
    return Wanted(parse_request(text), ROWS, COLUMNS, properties).choose(free)


@pytest.mark.parametrize(("text", "groups", "walltime"), [
    ("nodes=2,walltime=2", ["/network_address=2"], 7200),
    ("{cluster='gros'}/nodes=2+{type='kavlan'}/vlan=1,walltime=1:30:00",
     ["{cluster='gros'}/network_address=2", "{type='kavlan'}/vlan=1"], 5400),
    ("{type='kavlan'}/vlan=1,{cluster='suno'}/nodes=3", ["{type='kavlan'}/vlan=1", "{cluster='suno'}/network_address=3"], None),
    ("slash_22=1+nodes=1,walltime=0:30", ["/slash_22=1", "/network_address=1"], 1800),
    ("{(type='default' or type='disk') AND cluster='gros'}/host=1/disk=1,walltime=1",
     ["{(type='default' or type='disk') AND cluster='gros'}/host=1/disk=1"], 3600),
    ("walltime=2", ["/host=1"], 7200),
    ("{host NOT IN ('x')}/+nodes=2,walltime=1:0:0", ["{host NOT IN ('x')}", "/network_address=2"], 3600),      # a filter of nothing
    ("/switch=ALL/host=BEST/core=BESTHALF", ["/switch=ALL/host=BEST/core=BESTHALF"], None),
    ("nodes = 1 , walltime=0:0:5", ["/network_address=1"], 5),
])
def test_requests_are_read(text: str, groups: list[str], walltime: int | None) -> None:
    request = parse_request(text)
    assert ([str(group) for group in request.groups], request.walltime) == (groups, walltime)


@pytest.mark.parametrize("text", [
    "foo", "", "nodes=2+{type='kavlan'}/vlan=1+,walltime=2:0:0", "nodes=1+", "walltime=1,nodes=1", "nodes=1,walltime=a:b",
    "nodes=-1", "nodes=1.5", "{cluster='x'", "{}/nodes=1", "/nodes=1//core=1", "nodes=1 core=1", "nodes=best", "nodes=1;nodes=2"])
def test_what_is_no_request_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="Cannot recognize"):
        parse_request(text)


@given(st.text("{}/+=,:'walltimenodescore0123 ()", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        request = parse_request(text)
    except RequestError:
        return
    assert isinstance(request, Request)
    assert request.groups


@pytest.mark.parametrize(("text", "ids"), [
    ("host=1", [4, 5, 6, 7]),
    ("host=1/core=2", [4, 5]),
    ("host=1/cpu=1", [4, 5]),
    ("host=2/core=1", [4, 8]),
    ("{cluster='b'}/host=ALL", [12, 13, 14, 15, 16, 17, 18, 19]),
    ("{cluster='b'}/host=BESTHALF/core=1", [12, 16]),
    ("switch=1/host=2", [4, 5, 6, 7, 12, 13, 14, 15]),
    ("switch=2/host=1/core=1", [4, 8]),
    ("{type='kavlan'}/vlan=1+core=1", [104, 4]),
    ("core=1+core=1", [4, 5]),
    ("host=5", None),
    ("switch=1/host=3", None),
    ("host=0", None),
])
def test_resources_are_chosen_in_their_order(text: str, ids: list[int] | None) -> None:
    assert chosen(text) == ids


def test_what_is_given_as_a_whole_must_be_free_as_a_whole() -> None:
    assert chosen("host=1", ALL - {5}) == [8, 9, 10, 11]
    assert chosen("host=1/core=3", ALL - {5}) == [4, 6, 7]
    assert chosen("{cluster='b'}/host=ALL", ALL - {13}) is None
    assert chosen("{cluster='b'}/host=BEST", ALL - {13}) == [16, 17, 18, 19]


def test_a_host_of_a_lower_level_is_taken_once() -> None:
    assert chosen("host=2+host=2") == list(range(4, 20))
    assert chosen("host=2+host=3") is None


def matches(condition: str) -> set[int]:
    wanted = parse_predicate(condition, COLUMNS)
    return {row["resource_id"] for row in ROWS if wanted(row)}


@pytest.mark.parametrize(("condition", "same"), [
    ("cluster='a'", "host IN ('h-1', 'h-2')"),
    ("cluster != 'a' and type='default'", "cluster='b'"),
    ("NOT cluster='a'", "cluster='b'"),                          # of a VLAN it is neither true nor false
    ("host not in ('h-1') AND type = 'default'", "host='h-2' OR host='h-3' OR host='h-4'"),
    ("memnode >= 128", "host IN ('h-3','h-4')"),
    ("memnode >= '128'", "memnode >= 128"),                      # PostgreSQL casts what is quoted
    ("memnode BETWEEN 64 AND 128", "memnode=64 or memnode=128"),
    ("host LIKE 'h-_' AND cluster ~ '^b'", "cluster='b'"),
    ("gpu_model IS NULL AND type='default'", "cluster='a'"),
    ("gpu_model IS NOT NULL", "cluster='b'"),
    ("cluster='a' AND (switch='s0' OR switch='s1') AND NOT (host='h-1' OR host='h-9')", "host='h-2'"),
    ("cluster='a' OR cluster='b' AND host='h-4'", "host='h-1' OR host='h-2' OR host='h-4'"),
    ("host = 'it''s'", "host='h-9'"),
    ("HOST='h-1'", "host='h-1'"),
])
def test_conditions_are_those_of_sql(condition: str, same: str) -> None:
    assert matches(condition) == matches(same)


@pytest.mark.parametrize(("condition", "words"), [
    ("nosuch='x'", 'column "nosuch" does not exist'),
    ("cluster=a", 'column "a" does not exist'),
    ("cluster='a' AND", "syntax error"),
    ("(cluster='a'", "syntax error"),
    ("cluster='a')", "syntax error"),
    ("cluster", "syntax error"),
    ("cluster='a' host='b'", 'syntax error at or near "host"'),
    ("cluster='a", "unterminated"),
    ("memnode='a'", "invalid input syntax for type integer"),
    ("cluster=3", "operator does not exist: character varying = integer"),
    ("cluster='a'; DROP TABLE jobs", 'syntax error at or near ";"'),
    ("", "syntax error"),
])
def test_what_is_no_condition_is_refused(condition: str, words: str) -> None:
    with pytest.raises(PredicateError, match=words):
        parse_predicate(condition, COLUMNS)


@given(st.text("cluster host='ab() <>ANDORNOTIN,%", max_size=40))
def test_any_condition_is_read_or_refused(condition: str) -> None:
    try:
        found = matches(condition)
    except PredicateError:
        return
    assert found <= ALL


def test_properties_are_for_all_groups() -> None:
    assert chosen("host=1", properties="cluster='b'") == [12, 13, 14, 15]
    assert chosen("{memnode > 64}/host=1+core=1", properties="NOT host='h-3'") == [16, 17, 18, 19, 4]
    assert chosen("{type='kavlan'}/vlan=1", properties="cluster='b'") is None
