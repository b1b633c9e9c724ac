"""The overlay's table of an edge: unintended packets are dropped and counted, and no connection is tracked."""

from __future__ import annotations

import re

import msgspec
import pytest

from edges import skeleton
from netorch.compiler.base import HostView
from netorch.compiler.registry import compile_host, load_compilers
from netorch.model.drop_reason import DROP_REASONS
from netorch.model.eni import Host, Role
from netorch.state.base import OVERLAY, UNDERLAY
from netorch.state.names import vni_of_element
from netorch.state.nft import VERIFIED_TEXT, NftTable
from policy import skeleton as hypervisors

EDGE = HostView(host=Host(name="e1", underlay="192.0.2.21", role=Role.EDGE), underlay_ifname="eth0", underlay_mtu=1550)


def chains() -> dict[str, list[str]]:
    """Return the rules of each chain."""
    found = re.findall(r"^chain (\w+) \{\n(.*?)\n\}", skeleton.OVERLAY_INET, re.DOTALL | re.MULTILINE)
    return {name: [line.strip() for line in body.splitlines()] for name, body in found}


@pytest.mark.parametrize("role", Role)
def test_each_role_has_one_table_of_a_namespace_and_family(role: Role) -> None:
    host = msgspec.structs.replace(EDGE, host=msgspec.structs.replace(EDGE.host, role=role))
    tables = {obj for obj in compile_host(load_compilers(), host).values() if isinstance(obj, NftTable)}
    own = hypervisors.overlay_tables() if role is Role.HYPERVISOR else skeleton.overlay_tables()
    assert {table for table in tables if table.netns in (OVERLAY, UNDERLAY)} == {hypervisors.underlay_table(), *own}


def test_every_base_chain_drops_what_no_rule_accepts() -> None:
    policies = {name: rules[0].rpartition("policy ")[2] for name, rules in chains().items() if rules[0].startswith("type filter")}
    assert policies == {"forward": "drop;", "input": "drop;", "output": "drop;"}


def test_a_chain_that_is_entered_for_good_ends_in_a_drop() -> None:
    entered = set(re.findall(r"goto (\w+)", skeleton.OVERLAY_INET))
    assert entered == {"drop_unproven", "drop_no_gateway", "drop_unreached", "spoken", "asked", "flooded"}
    assert all(chains()[name][-1].endswith(" drop") for name in entered)


def test_what_goes_on_by_a_tunnel_is_accepted_for_what_led_to_the_chain() -> None:
    assert [chains()[name][-1] for name in ("outward", "inward")] == ["accept", "accept"]
    assert not any("inward" in rule or "outward" in rule for rules in chains().values() for rule in rules)  # `passes` does


def test_what_comes_by_an_inlet_reaches_the_ports_of_web_servers_and_no_other() -> None:
    assert [rule for rule in chains()["input"] if "goto asked" in rule] == ["meta sdifname @inlets goto asked"]
    assert chains()["asked"][0].startswith("tcp flags & (fin | syn | rst | ack) == syn update @beginnings { meta sdifname limit")
    assert chains()["asked"][1:] == ["tcp dport { 80, 443 } accept", 'counter name "endpoint_port" drop']


def test_no_connection_is_tracked() -> None:
    assert re.search(r"\bct\b|\bnat\b|masquerade", skeleton.OVERLAY_INET) is None


def test_connection_tracking_is_loaded_all_the_same_so_that_its_sysctls_can_be_set() -> None:
    assert chains()["output"][1] == "notrack"


def test_the_edge_itself_says_nothing_but_bgp_answers_for_endpoints_and_two_errors() -> None:
    assert chains()["output"][2:] == [
        "oifname . ip daddr @speakers accept",
        "oifname @outlets tcp sport { 80, 443 } accept",
        "ip saddr 192.0.0.8 icmp type { destination-unreachable, time-exceeded } accept",
        "drop",
    ]


def test_a_packet_by_vxlan_is_forwarded_only_where_a_filter_has_verified_it() -> None:
    assert chains()["forward"][1:4] == [
        "meta sdifname . oifname vmap @passes",
        'meta sdifname { "x-*", "y-*", "d-*" } goto drop_unreached',
        f'meta priority != {VERIFIED_TEXT} meta sdifname "vx*" goto drop_unproven',
    ]


def test_every_counter_has_words() -> None:
    assert set(re.findall(r"^counter (\w+) \{", skeleton.OVERLAY_INET + skeleton.OVERLAY_ARP, re.MULTILINE)) <= {
        *DROP_REASONS,
        "suppressed",
    }


def test_an_element_tells_its_vpc() -> None:
    element = skeleton.passes("g-001388abcdef0", "vx5000", 5000)
    assert vni_of_element(element.set, element.items) == element.vni
