"""Model, kernels and live packets agree on packets through a NAT gateway, and on those that the gateway drops."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import partial

import msgspec
import pytest

import edges.nat
from netorch.diagnose.reach import matrix
from netorch.drivers.linux import LinuxKernel
from netorch.lab.wiring import in_node
from netorch.model.security import AclEntry, NetworkAcl
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import encode
from netorch.records.inventory import read_inventory
from netorch.state.l3 import Route
from netorch.state.op import Delete
from netorch.store import open_store
from netorch.trace.codes import Code
from netorch.trace.way import Place
from tests.integration.edges.nat.natted import INSIDE, PUBLIC, VPC, natted
from tests.rig.datagrams import kept_up
from tests.rig.outskirts import SERVER, Outskirts, udp_socket
from tests.rig.seats import nat_of
from tests.rig.world import wait_for

pytestmark = [pytest.mark.root, pytest.mark.long]

OWN = VPC.replace("cidrs", "owner: {name}\n  cidrs") + (
    "  - {{name: front, host: hv2, subnet: pub, address: 10.0.9.20, security_groups: [open]}}\n"
)
FRONT = "198.51.100.21"  # of a/front


@pytest.fixture(scope="module")
def outskirts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outskirts]:
    """Two VPCs with the same addresses; only a/front has a public address."""
    with natted(tmp_path_factory.mktemp("nat-trace"), vpc=OWN) as found:
        found.associate("a/front", FRONT)
        found.world.settle()
        wait_for(found.is_calm, "all hosts to say that the edges answer")
        yield found


@pytest.mark.parametrize("service", ["icmp", "tcp/80", "udp/53"])
@pytest.mark.parametrize(("source", "destination"), [("a/one", SERVER), ("b/two", SERVER), ("a/two", FRONT), ("b/one", FRONT)])
def test_model_kernel_and_live_packet_agree(outskirts: Outskirts, source: str, destination: str, service: str) -> None:
    found = outskirts.traced(source, destination, service)
    assert (found.disagreement, found.kernel_problem, found.live.why_not) == ("", "", "")
    assert (found.verdict.code, found.live.arrived, found.reachable) == (None, True, True)
    assert Place.NAT in {hop.place for hop in found.model.there.hops} if found.model is not None else False
    if service == "icmp":
        assert found.live.answered


@pytest.mark.parametrize(
    ("source", "destination", "service", "code", "counter"),
    [
        ("a/one", SERVER, "47", Code.PROTOCOL_RESTRICTION, "protocol"),
        ("b/one", SERVER, "132", Code.PROTOCOL_RESTRICTION, "protocol"),
        ("a/one", INSIDE, "tcp/80", Code.NGW_REQUIRES_SOURCE_IN_VPC, "to_gateway"),
        ("a/front", PUBLIC["a"], "udp/53", Code.NGW_REQUIRES_SOURCE_IN_VPC, "to_gateway"),
        ("b/one", PUBLIC["a"], "icmp", Code.NGW_REQUIRES_SOURCE_IN_VPC, "to_gateway"),
        (SERVER, PUBLIC["b"], "tcp/22", Code.NGW_REQUIRES_SOURCE_IN_VPC, "to_gateway"),
        (SERVER, PUBLIC["a"], "icmp", Code.NGW_REQUIRES_SOURCE_IN_VPC, "to_gateway"),
    ],
)
def test_what_a_gateway_drops_is_found_by_all_three(
    outskirts: Outskirts, source: str, destination: str, service: str, code: Code, counter: str
) -> None:
    found = outskirts.traced(source, destination, service)
    assert (found.disagreement, found.kernel_problem, found.live.why_not) == ("", "", "")
    assert (found.verdict.code, found.live.arrived, found.reachable) == (code, False, False)
    assert ("e1", counter) in found.live.drops


def test_the_acl_of_its_subnet_stops_packets_and_answers(outskirts: Outskirts) -> None:
    world = outskirts.world
    acl = next(each for each in world.vpc("a").each(NetworkAcl) if each.name == "border")
    for direction, cidr in (("ingress", "10.0.1.0/24"), ("egress", "203.0.113.0/24"), ("ingress", "203.0.113.0/24")):
        deny = AclEntry(number=1, allow=False, protocol=-1, cidr=cidr)
        changed = msgspec.structs.replace(acl, **{direction: (deny, *getattr(acl, direction))})
        outskirts.put(keys.resource(acl.id), encode(changed))
        world.settle()
        try:
            found = outskirts.traced("a/one", SERVER, "udp/53")
            assert (found.disagreement, found.kernel_problem, found.live.why_not) == ("", "", "")
            assert (found.verdict.code, found.verdict.rule) == (Code.SUBNET_ACL_RESTRICTION, "1")
            assert "nat-out" in found.verdict.sentence
            assert outskirts.traced("b/one", SERVER, "udp/53").reachable
        finally:
            outskirts.put(keys.resource(acl.id), encode(acl))
            world.settle()


def test_a_gateway_that_has_drifted_is_named(outskirts: Outskirts) -> None:
    world, nat = outskirts.world, nat_of(outskirts.world.vpc("a").vni)
    world.stop_agent("e1")
    try:
        with in_node("e1"):
            kernel = LinuxKernel("e1")
        with closing(kernel):
            kernel.apply([Delete(obj) for obj in kernel.dump().values() if isinstance(obj, Route) and obj.netns == nat])
        found = outskirts.traced("a/one", SERVER)
        assert found.disagreement == "model says reachable, kernel says unreachable, probe says unreachable"
        assert found.kernel is not None
        assert (found.kernel.there.host, found.kernel.there.hops[-1].place) == ("e1", Place.NAT)
    finally:
        world.start_agents("e1")
        world.settle()
    assert outskirts.traced("a/one", SERVER).reachable


def test_a_gateway_without_a_free_port_is_named(outskirts: Outskirts, monkeypatch: pytest.MonkeyPatch) -> None:
    world = outskirts.world
    acl = next(each for each in world.vpc("b").each(NetworkAcl) if each.name == "border")
    more = AclEntry(number=2, allow=True, protocol=17, cidr="203.0.113.0/24", from_port=0, to_port=65535)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(edges.nat, "gateway_table", partial(edges.nat.gateway_table, ports="5000-5000"))
            outskirts.put(keys.resource(acl.id), encode(msgspec.structs.replace(acl, egress=(more, *acl.egress))))
            world.settle()
            first = (b"first", (SERVER, 53))
            with udp_socket(outskirts.place("b/one")) as client, kept_up(partial(client.sendto, *first)):
                client.sendto(*first)
                found = outskirts.traced("b/two", SERVER, "udp/53")
        assert (found.verdict.code, found.reachable, found.disagreement) == (Code.NGW_NO_FREE_PORT, False, "")
        assert found.verdict.fix == (
            "netorch --owner b address allocate --name out-more && netorch --owner b nat associate-address b/out out-more"
        )
    finally:
        outskirts.put(keys.resource(acl.id), encode(acl))
        world.settle()
    assert outskirts.traced("b/two", SERVER, "udp/53").reachable


def opened(outskirts: Outskirts, vpc: str) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return what reach reports as open between the internet and instances, by ends."""
    with closing(open_store(str(outskirts.world.store_path))) as store:
        flows = [flow for flow in matrix(read_inventory(store), Caller(operator=True)) if flow.vpc.endswith(f"/{vpc}")]
    return {
        (source, destination): flow.services
        for flow in flows
        for source in flow.sources
        for destination in flow.destinations
        if "internet" in (source, destination) and not flow.code
    }


def test_reach_says_what_packets_do(outskirts: Outskirts) -> None:
    assert opened(outskirts, "a") == {
        ("one", "internet"): ("icmp", "tcp", "udp"),
        ("two", "internet"): ("icmp", "tcp", "udp"),
        ("front", "internet"): ("all",),
        ("internet", "front"): ("all",),
    }
    assert opened(outskirts, "b") == {(name, "internet"): ("icmp", "tcp", "udp") for name in ("one", "two")}
    for source, destination, arrives in (
        ("a/one", SERVER, True),
        ("a/front", SERVER, True),
        ("b/front", SERVER, False),
        (SERVER, FRONT, True),
        (SERVER, PUBLIC["a"], False),
        (SERVER, PUBLIC["b"], False),
    ):
        for service in ("tcp/443", "udp/53", "icmp") if arrives else ("tcp/443",):
            assert outskirts.traced(source, destination, service).live.arrived is arrives, (source, destination, service)
    assert outskirts.traced("a/front", SERVER, "47").live.arrived


@pytest.mark.parametrize("service", ["icmp", "udp/53"])
def test_to_a_customer_another_ones_address_is_the_internet(outskirts: Outskirts, service: str) -> None:
    found = outskirts.traced("b/one", FRONT, service, owner="b")
    assert (found.disagreement, found.kernel_problem, found.live.why_not) == ("", "", "")
    assert (found.verdict.code, found.live.arrived, found.reachable) == (None, True, True)
    assert found.model is not None
    assert found.model.there.hops[-1].place is Place.UPLINK
    shown = " ".join(hop.said for way in found.model.ways for hop in way.hops)
    assert f"{outskirts.world.vpc('a').vni:06x}" not in shown
    assert "10.0.9.20" not in shown
