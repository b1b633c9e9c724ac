"""Edges: hosts with a pair and an uplink."""

from __future__ import annotations

import msgspec
import pytest

from netorch.control.actions import hosts
from netorch.control.actions.outside import gateways, pools
from netorch.control.actions.outside.edges import update_edge
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.control.base.pairs import edges_of
from netorch.errors import Conflict
from netorch.model.cloud import Cloud, HostDecl
from netorch.model.eni import Host, Role, Uplink
from netorch.model.outside.gateway import InternetGateway
from netorch.model.outside.public import AddressPool
from netorch.model.outside.uplink import parse_uplink, uplink_text
from netorch.model.rules import Violation
from netorch.model.vpc import Vpc
from netorch.records.caller import Caller
from netorch.store.base import Store
from tests.unit.control.conftest import refused
from tests.unit.control.outside.conftest import MakeEdge


@pytest.mark.parametrize(
    "text",
    [
        "eth2,198.18.0.21/24,198.18.0.254",
        "eth2,198.18.0.0/31,198.18.0.1,2001:db8::21/64,fe80::1",
        "eth2,198.18.0.1/31,198.18.0.0",
        "eth2,198.18.0.255/23,198.18.0.254,2001:db8::ffff:ffff:ffff:ffff/64,fe80::1",
    ],
)
def test_an_uplink_is_read_and_written_alike(text: str) -> None:
    uplink = parse_uplink(text)
    assert isinstance(uplink, Uplink)
    assert uplink_text(uplink) == text


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("eth2", "is not an uplink"),
        ("eth2,198.18.0.21/24,198.18.0.254,2001:db8::21/64", "is not an uplink"),
        ("eth/2,198.18.0.21/24,198.18.0.254", "is not the name of a network device"),
        ("eth2,198.18.0.21,198.18.0.254", "not a prefix"),
        ("eth2,198.18.0.21/32,198.18.0.254", "in a network without room for a gateway"),
        ("eth2,198.18.0.255/24,198.18.0.254", "198.18.0.255 is the broadcast address of 198.18.0.0/24"),
        ("eth2,198.18.0.0/24,198.18.0.254", "198.18.0.0 is the network address of 198.18.0.0/24"),
        ("eth2,198.18.0.21/24,198.18.0.21", "the edge's own address"),
        ("eth2,198.18.0.21/24,198.18.1.254", "is not in 198.18.0.0/24"),
        ("eth2,2001:db8::21/64,2001:db8::1", "are not both IPv4"),
        ("eth2,198.18.0.21/24,nobody", "nobody"),
    ],
)
def test_a_bad_uplink_says_what_is_wrong(text: str, what: str) -> None:
    found = parse_uplink(text)
    assert isinstance(found, Violation)
    assert what in found.what


@pytest.mark.parametrize(
    ("asn", "gateway_asn", "what"),
    [
        (64601, 0, "has only one of the AS numbers"),
        (0, 64512, "has only one of the AS numbers"),
        (64601, 64601, "have the same AS number"),
        (23456, 64512, "23456 is not the number"),
        (64601, 1 << 32, "is not the number"),
        (-1, 64512, "-1 is not the number"),
    ],
)
def test_an_edge_and_its_gateway_have_an_as_number_each_or_none(asn: int, gateway_asn: int, what: str) -> None:
    found = parse_uplink("eth2,198.18.0.21/24,198.18.0.254", asn, gateway_asn)
    assert isinstance(found, Violation)
    assert what in found.what


def test_as_numbers_are_an_uplinks(store: Store, operator: Caller) -> None:
    with refused("InvalidParameterCombination", "no uplink"):
        hosts.create_host(store, operator, name="e", underlay="192.0.2.1", role=Role.EDGE, asn=64601, gateway_asn=64512)
    uplink = "eth2,198.18.0.21/24,198.18.0.254"
    edge = {"role": Role.EDGE, "pair": "west", "uplink": uplink, "asn": 64601, "gateway_asn": 64512}
    host = hosts.create_host(store, operator, name="e", underlay="192.0.2.1", **edge)  # type: ignore[arg-type]
    assert host.uplink is not None
    assert (host.uplink.asn, host.uplink.gateway_asn) == (64601, 64512)


def test_a_pair_has_two_edges_and_a_place_is_free_again_after_a_deletion(
    store: Store, operator: Caller, make_edge: MakeEdge, west: list[Host]
) -> None:
    with refused("InvalidParameterValue", "pair west has two edges, e1 and e2"):
        make_edge("e3", 23)
    make_edge("e4", 24, pair="east")
    assert edges_of(store) == {"west": ["e1", "e2"], "east": ["e4"]}
    hosts.delete_host(store, operator, "e1")
    make_edge("e3", 23)
    assert sorted(edges_of(store, "west")["west"]) == ["e2", "e3"]
    assert west[0].pair == "west"


@pytest.mark.parametrize(
    ("role", "pair", "uplink"),
    [
        (Role.HYPERVISOR, "west", "eth2,198.18.0.21/24,198.18.0.254"),
        (Role.EDGE, "west", ""),
        (Role.EDGE, "", "eth2,198.18.0.21/24,198.18.0.254"),
    ],
)
def test_a_pair_and_an_uplink_come_together_and_for_an_edge_only(
    store: Store, operator: Caller, role: Role, pair: str, uplink: str
) -> None:
    with refused("InvalidParameterCombination"):
        hosts.create_host(store, operator, name="e", underlay="192.0.2.1", role=role, pair=pair, uplink=uplink)
    assert store.list("").kvs == ()


def test_an_edge_without_a_pair_carries_nothing(store: Store, operator: Caller, acme: Caller, vpc: Vpc) -> None:
    hosts.create_host(store, operator, name="e", underlay="192.0.2.1", role=Role.EDGE)
    with refused("InsufficientInstanceCapacity", "netorch host create NAME --underlay IP --role edge --pair PAIR"):
        gateways.create_internet_gateway(store, acme, vpc.id)


def test_an_edge_that_carries_gateways_is_not_deleted_and_says_how_many(
    store: Store, operator: Caller, acme: Caller, gateway: InternetGateway
) -> None:
    info = hosts.describe_host(store, operator, "e1")
    assert (info.host.pair, info.gateways, info.interfaces) == ("west", 1, 0)
    with refused("DependencyViolation", r"still has 1 gateway\(s\)"):
        hosts.delete_host(store, operator, "e1")
    gateways.delete_internet_gateway(store, acme, gateway.id)
    hosts.delete_host(store, operator, "e1")
    hosts.delete_host(store, operator, "e2")
    assert [kv.key for kv in store.list("alloc/pair/").kvs] == []
    assert [kv.key for kv in store.list("alloc/ranges/").kvs] == []


@pytest.mark.parametrize(
    ("underlay", "uplink"),
    [("198.51.100.3", "eth2,198.18.0.21/24,198.18.0.254"), ("192.0.2.9", "eth2,198.51.100.129/24,198.51.100.254")],
)
def test_a_host_keeps_off_the_ranges_of_pools(
    store: Store, operator: Caller, pool: AddressPool, underlay: str, uplink: str
) -> None:
    with refused("InvalidParameterValue", r"overlaps 198.51.100.0/28 of address pool p"):
        hosts.create_host(store, operator, name="e9", underlay=underlay, role=Role.EDGE, pair="east", uplink=uplink)
    declared = Cloud(hosts=[HostDecl(name="h9", underlay="198.51.100.3")])
    with refused("InvalidParameterValue", "address pool p"):
        plan_cloud(store, operator, declared)
    pools.delete_pool(store, operator, pool.name)
    apply_cloud(store, plan_cloud(store, operator, declared))
    with refused("InvalidParameterValue", "overlaps 198.51.100.3/32 of host h9"):
        pools.create_pool(store, operator, name="p", pair="west", cidrs=["198.51.100.0/28"])


def test_two_edges_have_different_uplink_addresses(store: Store, operator: Caller, make_edge: MakeEdge) -> None:
    make_edge("e1", 21)
    free = "eth2,198.18.0.22/24,198.18.0.254,2001:db8::21/64,2001:db8::fe"
    hosts.create_host(store, operator, name="e2", underlay="192.0.2.22", role=Role.EDGE, pair="west", uplink=free)
    east = {"name": "e3", "underlay": "192.0.2.23", "role": Role.EDGE, "pair": "east"}
    for uplink, address, other in (
        ("eth3,198.18.0.21/24,198.18.0.253", "198.18.0.21", "e1"),
        ("eth3,198.18.0.23/24,198.18.0.254,2001:db8::21/64,fe80::1", "2001:db8::21", "e2"),
    ):
        found = parse_uplink(uplink)
        assert isinstance(found, Uplink)
        text = f"host 'e3': edge {other} has the uplink address {address}; give each edge its own"
        with refused("InvalidParameterValue", text):
            hosts.create_host(store, operator, **east, uplink=uplink)  # type: ignore[arg-type]
        with refused("InvalidParameterValue", text):
            plan_cloud(store, operator, Cloud(hosts=[HostDecl(**east, uplink=found)]))  # type: ignore[arg-type]
        with refused("InvalidParameterValue", text.replace("e3", "e4")):
            make_edge("e4", 24, pair="east")
            update_edge(store, operator, "e4", uplink=uplink)
        hosts.delete_host(store, operator, "e4")


def test_edges_that_a_file_changes_may_exchange_their_uplinks(store: Store, operator: Caller, west: list[Host]) -> None:
    one, two = (HostDecl(name=host.name, underlay=host.underlay, role=host.role, pair="west") for host in west)
    swapped = [
        msgspec.structs.replace(one, uplink=west[1].uplink),
        msgspec.structs.replace(two, uplink=west[0].uplink),
    ]
    apply_cloud(store, plan_cloud(store, operator, Cloud(hosts=swapped)))
    assert hosts.describe_host(store, operator, "e1").host.uplink == west[1].uplink


def test_of_two_edges_with_one_uplink_address_that_are_made_at_once_one_is_refused(store: Store, operator: Caller) -> None:
    """The plan was made before the other edge existed."""
    uplink = Uplink(device="eth2", address="198.18.0.21/24", gateway="198.18.0.254")
    made = [HostDecl(name=name, underlay=underlay) for name, underlay in (("hv1", "192.0.2.11"), ("e1", "192.0.2.21"))]
    declared = Cloud(hosts=[made[0], msgspec.structs.replace(made[1], role=Role.EDGE, pair="west", uplink=uplink)])
    plan = plan_cloud(store, operator, declared)
    text = uplink_text(uplink)
    hosts.create_host(store, operator, name="e2", underlay="192.0.2.22", role=Role.EDGE, pair="east", uplink=text)
    with pytest.raises(Conflict):
        apply_cloud(store, plan)
    with refused("InvalidParameterValue", "edge e2 has the uplink address 198.18.0.21"):
        plan_cloud(store, operator, declared)


def test_an_underlay_address_is_not_of_the_uplinks_network(store: Store, operator: Caller, make_edge: MakeEdge) -> None:
    text = "the underlay address 198.18.0.77 is inside 198.18.0.0/24, the network of its own uplink; choose an underlay address"
    edge = {"name": "e1", "underlay": "198.18.0.77", "role": Role.EDGE, "pair": "west"}
    uplink = Uplink(device="eth2", address="198.18.0.21/24", gateway="198.18.0.254")
    with refused("InvalidParameterValue", text):
        hosts.create_host(store, operator, **edge, uplink=uplink_text(uplink))  # type: ignore[arg-type]
    with refused("InvalidParameterValue", text):
        plan_cloud(store, operator, Cloud(hosts=[HostDecl(**edge, uplink=uplink)]))  # type: ignore[arg-type]
    make_edge("e2", 22)
    with refused("InvalidParameterValue", "the underlay address 192.0.2.22 is inside 192.0.2.0/24"):
        update_edge(store, operator, "e2", uplink="eth2,192.0.2.122/24,192.0.2.254")
