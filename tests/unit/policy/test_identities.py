"""Numbers of sets of groups: a peer's owner gains nothing by finding a set with the number of another one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from netorch.compiler.base import HostView, LocalEni, Peer, PeerIdentity, ProblemPart, VpcView
from netorch.compiler.registry import parts_of
from netorch.model.addr import parse_prefix
from netorch.model.eni import Host, Instance
from netorch.model.ids import make_id
from netorch.model.mapping import Mapping
from netorch.model.security import TCP, SecurityGroup, default_acl
from netorch.model.vpc import Subnet, Vpc
from netorch.state.nft import NftChain, NftElement
from policy.chains import Chains
from policy.groups import MOST_ENTRIES
from policy.identities import identity_number, peer_number
from policy.skeleton import SLOW
from tests.unit.policy.small import VNI, group, interface, rule, sg
from tests.views import make_view, mapping_objects, vpc_objects

PEER, OTHER = VNI + 1, VNI + 2
OF_PEER, OF_OTHER = make_id("sg", PEER, 1), make_id("sg", OTHER, 1)
SUBNET = Subnet(id=make_id("subnet", VNI, 1), vni=VNI, name="s", cidr="10.0.0.0/24")
# More entries than a VPC may have: rules that refer to a peer's group, and the peer's identities that hold the group.
TO_PEER = [rule(port, OF_PEER, TCP, port, port) for port in range(1, 101)]
MANY = [PeerIdentity((OF_PEER, make_id("sg", PEER, number))) for number in range(2, MOST_ENTRIES // len(TO_PEER) + 3)]


class OneNumber:
    """A hash that gives all sets of groups the same number."""

    def __init__(self, _groups: bytes) -> None:
        pass

    def digest(self) -> bytes:
        return bytes.fromhex("1234beef")


@pytest.fixture
def one_number(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    identity_number.cache_clear()
    monkeypatch.setattr(hashlib, "sha256", OneNumber)
    yield
    identity_number.cache_clear()


@pytest.mark.parametrize("digest", ["00000000", "80000000", "00010000", "80010000", "ffffffff"])
def test_no_identity_has_the_number_of_the_mark_of_slow_packets(digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    identity_number.cache_clear()
    monkeypatch.setattr(OneNumber, "digest", lambda _: bytes.fromhex(digest))
    monkeypatch.setattr(hashlib, "sha256", OneNumber)
    assert int(SLOW, 16) not in (identity_number((sg(1),)), peer_number((OF_PEER,)), 0)
    identity_number.cache_clear()


def view_of(own: SecurityGroup, *of_peers: PeerIdentity) -> VpcView:
    """Return a VPC with one interface in a group, and these identities of its peers."""
    eni = interface(1, SUBNET.id, "10.0.0.10", "", [own.id])
    local = LocalEni(eni=eni, subnet=SUBNET, instance=Instance(id=make_id("i", VNI, 1), vni=VNI, name="i"))
    return make_view(
        HostView(host=Host(name="hv1", underlay="192.0.2.11"), underlay_ifname="eth0", underlay_mtu=1550),
        Vpc(id=make_id("vpc", VNI, 1), vni=VNI, owner="acme", name="v", cidrs=("10.0.0.0/16",)),
        subnets=[SUBNET],
        local=[local],
        groups=[own],
        acls=[default_acl(make_id("acl", VNI, 1), VNI)],
        identities=[(own.id,)],
        peers=[Peer(vni=PEER, ranges=(parse_prefix("10.1.0.0/16"),)), *sorted(of_peers)],
    )


def referred_to(view: VpcView) -> set[str]:
    """Return the known numbers that the rules refer to."""
    found = [obj for obj in vpc_objects([Chains()], view).values() if isinstance(obj, NftChain)]
    elements = {item for chain in found for part in chain.sets for element in part.elements for item in element.split(" . ")}
    known = {hex(number(groups)) for number in (identity_number, peer_number) for groups in ((sg(1),), (OF_PEER,), (OF_OTHER,))}
    return elements & known


def numbers(own: SecurityGroup, *of_peers: str) -> tuple[set[str], str]:
    """Return the numbers that the rules of an interface's group refer to, and the number of an address of the peer."""
    view = view_of(own, *(PeerIdentity((found,)) for found in of_peers))
    theirs = Mapping(
        vni=PEER,
        address="10.1.0.5",
        eni=make_id("eni", PEER, 1),
        mac="06:00:00:00:00:01",
        host="hv2",
        vtep="192.0.2.12",
        groups=(OF_PEER,),
    )
    (element,) = mapping_objects([Chains()], view, theirs).values()
    assert isinstance(element, NftElement)
    return referred_to(view), element.value


def test_a_rule_refers_to_a_peers_group(one_number: None) -> None:
    referred, value = numbers(group(1, [rule(1, OF_PEER)]), OF_PEER)
    assert referred == {value}


def test_a_peers_group_with_the_number_of_an_own_one_is_not_taken_for_it(one_number: None) -> None:
    referred, value = numbers(group(1, [rule(1, sg(1))]), OF_PEER)
    assert referred
    assert value not in referred


def test_two_peers_groups_with_one_number_are_nobodys(one_number: None) -> None:
    referred, _ = numbers(group(1, [rule(1, OF_OTHER)]), OF_PEER, OF_OTHER)
    assert referred == set()


def problems(view: VpcView) -> list[str]:
    """Return the problems of a VPC that omit rules; an empty text is none."""
    return [part.problem(view.only(part.inputs)) for part in parts_of([Chains()], ProblemPart)]


def test_a_peers_many_sets_of_groups_are_in_no_group_and_own_rules_apply() -> None:
    own = group(1, [*TO_PEER, rule(200, sg(1)), rule(201, OF_OTHER)])
    few = [PeerIdentity((OF_PEER,)), PeerIdentity((OF_OTHER,))]
    mine, of_peer, of_other = (
        hex(number) for number in (identity_number((sg(1),)), peer_number((OF_PEER,)), peer_number((OF_OTHER,)))
    )
    assert referred_to(view_of(own, *few)) == {mine, of_peer, of_other}
    assert problems(view_of(own, *few)) == [""]
    assert referred_to(view_of(own, *few, *MANY)) == {mine, of_other}
    (problem,) = problems(view_of(own, *few, *MANY))
    assert f"rules that refer to groups of the peer {PEER} permit nothing on this host" in problem


def test_the_number_of_a_peer_that_is_left_out_does_not_pass_for_another_peers(one_number: None) -> None:
    own = group(1, [*TO_PEER, rule(201, OF_OTHER)])
    view = view_of(own, *MANY, PeerIdentity((OF_OTHER,)))
    assert problems(view) != [""]
    assert referred_to(view) == set()
