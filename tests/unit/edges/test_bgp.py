"""An edge's announcements to the border router: whole pools, once the edge can forward packets, and nothing else."""

from __future__ import annotations

import errno

import msgspec
import pytest

from edges.bgp import Bgp
from edges.readiness import ready
from netorch.agent.tasks.readiness import HOLD_S
from netorch.compiler.base import HostView
from netorch.compiler.registry import compile_host
from netorch.drivers.base import Gone
from netorch.model.eni import Host, Role, Uplink
from netorch.model.outside.public import AddressPool
from netorch.records import keys
from netorch.records.codec import encode
from netorch.state.base import BORDER_SLICE, OUTSIDE, KernelObject
from netorch.state.daemons.bgp import Announcement, BgpPeer
from netorch.state.nft import NftElement
from netorch.state.op import Create, Delete, Op
from tests.unit.edges.pair import EDGES, POOL, UPLINK, Pair

SPEAKING = msgspec.structs.replace(UPLINK, asn=64601, gateway_asn=64512)
PEER = BgpPeer(local="198.18.0.21", local_asn=64601, remote="198.18.0.254", remote_asn=64512, local6="2001:db8:1::21")
POOL6 = "2001:db8:5::/48"


def speak(pair: Pair, edge: str, uplink: Uplink = SPEAKING) -> None:
    """Let an edge speak BGP, and pass the hold time of its session."""
    write(pair, edge, uplink)
    pair.world.settle(HOLD_S + 3)


def write(pair: Pair, edge: str, uplink: Uplink = SPEAKING) -> None:
    """Write the record of an edge."""
    pair.put_edge(Host(name=edge, underlay=EDGES[edge], role=Role.EDGE, pair="west", uplink=uplink))


def announced(pair: Pair, edge: str) -> set[KernelObject]:
    return {obj for obj in pair.world.kernels[edge].objects.values() if obj.vni == BORDER_SLICE}


def announcements(ops: list[Op]) -> list[str]:
    return [f"{type(op).__name__} {op.obj.prefix}" for op in ops if isinstance(op.obj, Announcement)]


def test_an_edge_announces_the_pools_of_its_pair_and_no_address(pair: Pair) -> None:
    vpc, _ = pair.vpc("a")
    pair.associate(vpc, "198.51.100.5", "10.0.0.4")
    pair.put_pool("203.0.113.0/24", pair="east")
    speak(pair, "e1")
    pair.world.settle(8)  # until hosts know that it is ready
    assert announced(pair, "e1") == {PEER, Announcement(prefix=POOL)}
    assert announced(pair, "e2") == set(), "it has no AS numbers"
    pair.world.assert_settled()


def test_an_edge_that_is_drained_announces_nothing_and_keeps_its_session(pair: Pair) -> None:
    speak(pair, "e1")
    pair.world.settle(3)
    pair.world.put(keys.host_drained("e1"), b"e1")
    pair.world.settle(3)
    assert announced(pair, "e1") == {PEER}
    pair.world.delete(keys.host_drained("e1"))
    pair.world.settle(3)
    assert announced(pair, "e1") == {PEER, Announcement(prefix=POOL)}


@pytest.mark.parametrize("value", [b'{"schema":1000,"cidrs":"of tomorrow"}', b"damaged"])
def test_an_edge_goes_on_announcing_a_pool_whose_record_it_can_no_longer_read(pair: Pair, value: bytes) -> None:
    speak(pair, "e1")
    pair.world.settle(3)
    pair.world.new_ops("e1")
    pair.world.put(keys.pool("west"), value)
    pair.world.settle(3)
    assert pair.world.new_ops("e1") == []
    assert announced(pair, "e1") == {PEER, Announcement(prefix=POOL)}
    for host, reports in (("e1", True), ("hv1", False)):
        said = pair.world.store.get(keys.agent_status(host))
        assert said is not None
        assert (b"this version cannot use pool/west; upgrade netorch here" in said.value) == reports
    pair.put_pool("203.0.113.0/24")
    pair.world.settle(3)
    assert announced(pair, "e1") == {PEER, Announcement(prefix="203.0.113.0/24")}


@pytest.mark.parametrize("local6", ["", PEER.local6])
def test_ipv6_is_announced_where_the_uplink_has_it(local6: str) -> None:
    uplink = msgspec.structs.replace(SPEAKING, ipv6_address=f"{local6}/64" if local6 else "")
    host = Host(name="e1", underlay=EDGES["e1"], role=Role.EDGE, pair="west", uplink=uplink)
    pool = AddressPool(name="west", pair="west", cidrs=(POOL, POOL6))
    found = compile_host(
        [Bgp()], HostView(host=host, underlay_ifname="eth0", underlay_mtu=1550, pools=(pool,), announces=True)
    ).values()
    prefixes = (POOL, POOL6) if local6 else (POOL,)
    wanted = {msgspec.structs.replace(PEER, local6=local6), *(Announcement(prefix=prefix) for prefix in prefixes)}
    assert {obj for obj in found if obj.vni == BORDER_SLICE} == wanted


def test_the_router_and_nobody_else_is_let_in(pair: Pair) -> None:
    speak(pair, "e1")
    pair.world.settle(3)
    for edge, wanted in (("e1", [("198.18.0.254",)]), ("e2", [])):
        found = pair.world.kernels[edge].objects.values()
        assert [obj.items for obj in found if isinstance(obj, NftElement) and obj.set == "routers"] == wanted


def test_a_pool_is_announced_and_withdrawn_by_one_operation(pair: Pair) -> None:
    speak(pair, "e1")
    pair.world.settle(3)
    pair.world.new_ops("e1")
    pair.put_pool(POOL, "203.0.113.0/24")
    pair.world.settle(3)
    assert announcements(pair.world.new_ops("e1")) == ["Create 203.0.113.0/24"]
    pair.put_pool("203.0.113.0/24")
    pair.world.settle(3)
    assert announcements(pair.world.new_ops("e1")) == [f"Delete {POOL}"]


def test_an_edge_that_starts_announces_last(pair: Pair) -> None:
    """Packets arrive as soon as the pool is announced: by then each VPC's objects exist."""
    vpc, _ = pair.vpc("a")
    pair.associate(vpc, "198.51.100.5", "10.0.0.4")
    speak(pair, "e1")
    pair.world.kill("e1")
    kernel = pair.boot("e1")
    pair.world.start("e1")
    pair.world.settle(HOLD_S + 3)
    ops = kernel.applied
    first = next(place for place, op in enumerate(ops) if isinstance(op.obj, Announcement))
    assert {op.obj.vni for op in ops[first:] if op != Create(ready(EDGES["e1"]))} == {BORDER_SLICE}
    assert {op.obj.vni for op in ops[:first]} >= {0, vpc.vni}


def test_an_edge_that_is_not_ready_any_more_withdraws_and_keeps_its_session(pair: Pair) -> None:
    speak(pair, "e1")
    pair.world.settle(3)
    kernel = pair.world.kernels["e1"]
    kernel.unplugged.add(UPLINK.device)
    pair.world.settle(3)
    assert announced(pair, "e1") == {PEER}
    kernel.unplugged.clear()
    pair.world.settle(3)
    assert announced(pair, "e1") == {PEER, Announcement(prefix=POOL)}


def test_a_vpc_whose_records_are_damaged_keeps_nobody_from_announcing(pair: Pair) -> None:
    vpc, _ = pair.vpc("a")
    pair.world.settle(3)
    pair.world.put(keys.resource(vpc.id), b"{}")
    speak(pair, "e1")
    pair.world.kill("e1")
    pair.boot("e1")
    pair.world.start("e1")
    pair.world.settle(HOLD_S + 3)
    assert announced(pair, "e1") == {PEER, Announcement(prefix=POOL)}
    assert vpc.vni in pair.world.agents["e1"].reconciler.problems


def test_vpcs_go_on_without_a_daemon_and_the_status_says_what_is_missing(pair: Pair) -> None:
    pair.world.kernels["e1"].fail_next(BgpPeer.kind, errno.ENOENT, times=3)
    write(pair, "e1")
    pair.world.turn("e1")
    vpc, _ = pair.vpc("a")
    pair.world.turn("e1")
    assert any(obj.vni == vpc.vni for obj in pair.world.kernels["e1"].objects.values())
    assert "bgp local 198.18.0.21" in pair.world.agents["e1"].status.of_agent().trouble
    pair.world.settle()
    assert announced(pair, "e1") == {PEER, Announcement(prefix=POOL)}
    assert pair.world.agents["e1"].status.of_agent().trouble == ""


def test_what_a_daemon_has_lost_comes_back(pair: Pair) -> None:
    speak(pair, "e1")
    pair.world.settle(3)
    kernel = pair.world.kernels["e1"]
    for obj in (PEER, Announcement(prefix=POOL)):
        kernel.disturb(Delete(obj))
    pair.world.new_ops("e1")
    pair.world.turn("e1")
    assert pair.world.new_ops("e1") == [Create(PEER), Create(Announcement(prefix=POOL))]
    kernel.tell(Gone(PEER.key, BORDER_SLICE))
    pair.world.settle(3)
    pair.world.assert_settled()


def test_an_edge_without_an_uplink_any_more_has_no_daemon(pair: Pair) -> None:
    speak(pair, "e1")
    pair.world.settle(3)
    pair.put_edge(Host(name="e1", underlay=EDGES["e1"], role=Role.EDGE))
    pair.world.settle(3)
    assert announced(pair, "e1") == set()
    assert not [key for key in pair.world.kernels["e1"].objects if key[1] == OUTSIDE]
    pair.world.assert_settled()


@pytest.mark.parametrize("field", ["address", "gateway"])
def test_what_is_no_address_gets_into_no_file(pair: Pair, field: str) -> None:
    bad = msgspec.structs.replace(SPEAKING, **{field: '198.18.0.21"; include "/etc/shadow'})
    pair.world.put(keys.host_spec("e1"), encode(Host(name="e1", underlay=EDGES["e1"], role=Role.EDGE, pair="west", uplink=bad)))
    pair.world.settle(3)
    assert announced(pair, "e1") == set()


def test_hypervisors_have_no_part_in_it() -> None:
    assert {part.role for part in Bgp.parts} == {Role.EDGE}
