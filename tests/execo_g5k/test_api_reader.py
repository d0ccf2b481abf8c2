"""Reading the description of a site piece by piece gives what reading it at once does, and the texts of the pieces."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execo_g5k._api.fetch import read_deep_site
from execo_g5k._api.reader import Reader

VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8),
                      lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=8)
NAMES = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=6)


def items(prefix: str) -> st.SearchStrategy[list[dict[str, object]]]:
    """Items with different uids."""
    return st.lists(st.dictionaries(NAMES, VALUES, max_size=3), max_size=4).map(
        lambda found: [{**item, "uid": f"{prefix}-{number}"} for number, item in enumerate(found)])


@given(attributes=st.dictionaries(NAMES, VALUES, max_size=4),
       clusters=st.lists(st.tuples(NAMES, items("n"), VALUES), max_size=3, unique_by=lambda cluster: cluster[0]),
       equipments=items("sw"), indent=st.sampled_from([None, 1]), escaped=st.booleans())
def test_a_site_is_what_it_is_at_once(attributes: dict[str, object], clusters: list[tuple[str, list[dict[str, object]], object]],
                                      equipments: list[dict[str, object]], indent: int | None, escaped: bool) -> None:
    nodes = {name: [{**node, "uid": f"{name}-{node['uid']}"} for node in found] for name, found, _ in clusters}
    inside = {**attributes, "uid": "here", "network_equipments": equipments, "servers": [{"uid": "no"}],
              "clusters": {name: {"uid": name, "nodes": nodes[name], "more": more} for name, _, more in clusters}}
    body = json.dumps({"total": 4, "items": inside, "links": []}, indent=indent, ensure_ascii=escaped)
    site = read_deep_site(body)
    assert site is not None
    others = ("clusters", "network_equipments", "servers", "pdus", "sensors")
    kept = {name: value for name, value in attributes.items() if name not in others}
    assert site.attributes == {**kept, "uid": "here"}
    assert site.nodes.values == nodes
    assert site.clusters.values == {name: {"uid": name, "more": more} for name, _, more in clusters}
    assert site.equipments == equipments
    for parts in (site.nodes, site.clusters):
        assert json.loads(b"".join(parts.json())) == parts.values
    assert json.loads(site.equipments_text) == equipments


WHOLE = '{"total": 1, "items": {"uid": "s", "clusters": {"c": {"uid": "c", "nodes": [{"uid": "c-1"}, {"uid": "c-2"}]}}}, "links": []}'


@pytest.mark.parametrize("end", range(len(WHOLE)))
def test_half_a_site_is_none(end: int) -> None:
    assert read_deep_site(WHOLE) is not None
    with pytest.raises(ValueError):
        read_deep_site(WHOLE[:end])


@pytest.mark.parametrize("body", ['{"uid": "s"}', "[]", "3", '{"items": []}', '{"items": {"no": "uid"}}', "{}"])
def test_another_answer_is_no_site(body: str) -> None:
    assert read_deep_site(body) is None


@pytest.mark.parametrize("body", [
    WHOLE + "x", WHOLE.replace('"c-1"}, ', '"c-1"} '), WHOLE.replace('"s", ', '"s" '), WHOLE.replace(": [{", " [{"),
    WHOLE.replace('{"uid": "c-1"}', "7"), WHOLE.replace('{"uid": "c-1"}', "{}"), WHOLE.replace('"total"', "total"),
])
def test_what_is_no_json_or_has_no_uid_is_refused(body: str) -> None:
    with pytest.raises(ValueError):
        read_deep_site(body)


def test_the_text_of_a_value_is_as_it_came() -> None:
    reader = Reader(' { "a" : [ 1 , {"b":\t2} ] } ')
    for name in reader.members():
        assert name == "a"
        assert reader.read() == [1, {"b": 2}]
        assert reader.text() == b'[ 1 , {"b":\t2} ]'
    reader.end()
