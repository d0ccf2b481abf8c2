"""Host and the lists of hosts."""

from __future__ import annotations

import pytest
from ClusterShell.NodeSet import NodeSet

from execo import Remote, filter_bad_hosts
from execo.config import configuration
from execo.host import Host, get_hosts_list, get_hosts_set, get_unique_hosts_list


def test_hosts_are_equal_by_their_four_attributes() -> None:
    assert Host("x") == Host("x")
    assert hash(Host("x")) == hash(Host("x"))
    different = [Host("x"), Host("y"), Host("x", user="u"), Host("x", keyfile="k"), Host("x", port=22)]
    assert len(set(different)) == 5
    assert not Host("x") != Host("x")  # noqa: SIM202  != is tested
    assert Host("x") != "x"
    assert Host("x") != None  # noqa: E711  the comparison itself is tested
    with pytest.raises(TypeError):
        sorted([Host("b"), Host("a")])  # type: ignore[type-var]  # not orderable


def test_host_is_copied_and_overridden() -> None:
    full = Host("x", user="u", keyfile="k", port=22)
    copied = Host(full)
    assert copied == full
    assert copied is not full
    assert repr(copied) == "Host('x', user='u', keyfile='k', port=22)"
    assert repr(Host(full, user=None)) == "Host('x', keyfile='k', port=22)"
    assert repr(Host(full, port=None, keyfile=False)) == "Host('x', user='u', keyfile='k')"
    assert repr(Host("x", port=0)) == "Host('x')"
    assert Host("x", port=0).port == 0
    assert Host("x", user="").user == ""
    assert [Host("y").user, Host("y").keyfile, Host("y").port] == [None] * 3


def test_repr_is_coloured_in_color_mode() -> None:
    configuration["color_mode"] = True
    assert repr(Host("h")) == "Host(\033[35m\033[1m'h'\033[m)"


@pytest.mark.parametrize("address", [None, 3, b"x", ["x"]])
def test_address_of_another_type_is_refused_and_named(address: object) -> None:
    with pytest.raises(TypeError) as refused:
        Host(address)  # type: ignore[arg-type]  # refused at run time
    assert repr(address) in str(refused.value)


def test_lists_keep_order_and_make_new_hosts() -> None:
    given: list[str | Host] = ["b", Host("a"), "b", Host("b", user="u"), "a"]
    made = get_hosts_list(given)
    assert made == [Host("b"), Host("a"), Host("b"), Host("b", user="u"), Host("a")]
    assert made[1] is not given[1]
    assert get_unique_hosts_list(given) == [Host("b"), Host("a"), Host("b", user="u")]
    assert get_hosts_set(iter(given)) == {Host("a"), Host("b"), Host("b", user="u")}
    assert get_hosts_list(()) == []


def test_one_string_or_host_is_one_host() -> None:
    host = Host("ab", user="u")
    assert get_hosts_list("ab") == [Host("ab")]
    assert get_hosts_list(host) == [host]
    assert get_hosts_list(host)[0] is not host
    assert get_hosts_set("ab") == {Host("ab")}


@pytest.mark.parametrize("function", [get_hosts_list, get_unique_hosts_list, get_hosts_set])
@pytest.mark.parametrize("hosts", [None, 3])
def test_what_is_no_collection_is_refused_and_named(function: object, hosts: object) -> None:
    with pytest.raises(TypeError, match=f"hosts: .*{hosts}"):
        function(hosts)  # type: ignore[operator]  # one of three functions


def test_a_nodeset_of_clustershell_is_a_list_of_hosts() -> None:
    nodes = NodeSet("node[1-3,5],front")
    names = sorted(nodes)
    assert sorted(host.address for host in get_hosts_list(nodes)) == names
    assert get_unique_hosts_list(nodes) == get_hosts_list(nodes)
    action = Remote("true", nodes)
    assert sorted(host.address for host in action.hosts) == names
    assert filter_bad_hosts(action, nodes) == list(nodes)
