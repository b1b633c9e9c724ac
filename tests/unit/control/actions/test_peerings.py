"""Peering connections between owners: EC2's states, who may change them, and what is refused."""

from __future__ import annotations

import msgspec
import pytest

from netorch.control.actions import groups, peerings, subnets, vpcs
from netorch.control.actions.permissions import Permission, authorize, revoke
from netorch.control.actions.tags import set_tags
from netorch.control.apply.cloud import plan_cloud
from netorch.control.base.quotas import set_quotas
from netorch.errors import UnreadableRecord
from netorch.model.cloud import Cloud, VpcDecl
from netorch.model.routing.peering import PeeringConnection, PeeringStatus
from netorch.model.security import Direction
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.records.read import get, read_all
from netorch.store.base import Put, Store
from tests.unit.control.conftest import Clock, refused


def both(store: Store, connection: PeeringConnection) -> list[PeeringConnection]:
    """Return the records of a connection in both VPCs."""
    found = [get(store, keys.member(vni, connection.id), PeeringConnection) for vni in (connection.vni, connection.peer_vni)]
    return [stored.record for stored in found if stored is not None]


def test_a_request_stands_with_both_vpcs_and_its_name_and_tags_with_the_requester_only(
    store: Store, globex: Caller, vpc: Vpc, peer: Vpc, request_: PeeringConnection
) -> None:
    own, theirs = both(store, request_)
    assert (own.vni, own.name, own.tags, own.peer.id) == (vpc.vni, "to-data", {"team": "a"}, peer.id)
    assert (theirs.vni, theirs.name, theirs.tags, theirs.peer.id) == (peer.vni, "", {}, vpc.id)
    assert {own.status, theirs.status} == {PeeringStatus.PENDING}
    (seen,) = peerings.describe_peerings(store, globex, peer.id)
    assert (seen.connection, seen.status, seen.peer_ranges) == (theirs, PeeringStatus.PENDING, ())
    assert read_inventory(store).unreadable == []


def test_the_accepter_makes_it_active_and_then_both_see_each_others_ranges(
    store: Store, acme: Caller, globex: Caller, vpc: Vpc, peer: Vpc, request_: PeeringConnection
) -> None:
    with refused("OperationNotPermitted", "only the owner of vpc-.* can answer"):
        peerings.accept_peering(store, acme, request_.id)
    with refused("OperationNotPermitted"):
        peerings.reject_peering(store, acme, request_.id)
    accepted = peerings.accept_peering(store, globex, request_.id, name="to-web")
    assert (accepted.vni, accepted.name, accepted.status) == (peer.vni, "to-web", PeeringStatus.ACTIVE)
    assert [half.status for half in both(store, request_)] == [PeeringStatus.ACTIVE] * 2
    assert peerings.describe_peering(store, acme, request_.id).peer_ranges == ("10.1.0.0/16",)
    assert peerings.describe_peering(store, globex, request_.id).peer_ranges == vpc.cidrs + vpc.ipv6_cidrs
    for answer in (peerings.accept_peering, peerings.reject_peering):
        with refused("InvalidStateTransition", "is active and cannot be"):
            answer(store, globex, request_.id)


def test_a_third_owner_finds_no_connection(store: Store, clock: Clock, request_: PeeringConnection) -> None:
    initech = Caller(owner="initech", now=clock)
    for act in (peerings.accept_peering, peerings.reject_peering, peerings.delete_peering, peerings.describe_peering):
        with refused("InvalidVpcPeeringConnectionID.NotFound"):
            act(store, initech, request_.id)
    assert [half.status for half in both(store, request_)] == [PeeringStatus.PENDING] * 2


@pytest.mark.parametrize("who", ["acme", "globex"])
def test_either_owner_ends_an_active_connection_and_it_ends_for_both(
    store: Store, acme: Caller, globex: Caller, request_: PeeringConnection, who: str
) -> None:
    peerings.accept_peering(store, globex, request_.id)
    peerings.delete_peering(store, acme if who == "acme" else globex, request_.id)
    assert [half.status for half in both(store, request_)] == [PeeringStatus.DELETED] * 2
    assert peerings.describe_peering(store, acme, request_.id).peer_ranges == ()


def test_only_the_requester_withdraws_a_request(store: Store, acme: Caller, globex: Caller, request_: PeeringConnection) -> None:
    with refused("OperationNotPermitted", "reject it instead"):
        peerings.delete_peering(store, globex, request_.id)
    peerings.delete_peering(store, acme, request_.id)
    assert [half.status for half in both(store, request_)] == [PeeringStatus.DELETED] * 2


def test_a_second_connection_of_a_pair_is_refused_either_way_round(
    store: Store, acme: Caller, globex: Caller, vpc: Vpc, peer: Vpc, request_: PeeringConnection
) -> None:
    for caller, one, other in ((acme, vpc, peer), (globex, peer, vpc)):
        with refused("VpcPeeringConnectionAlreadyExists", request_.id):
            peerings.request_peering(store, caller, one.id, other.id, name="again")


def test_what_cannot_be_peers_is_refused(store: Store, acme: Caller, globex: Caller, vpc: Vpc, peer: Vpc) -> None:
    with refused("InvalidParameterValue", "cannot peer with itself"):
        peerings.request_peering(store, acme, vpc.id, vpc.id, name="a")
    with refused("InvalidVpcID.NotFound"):
        peerings.request_peering(store, acme, vpc.id, "vpc-00200000000000000", name="a")
    with refused("InvalidVpcID.NotFound"):
        peerings.request_peering(store, acme, peer.id, vpc.id, name="a")  # an owner cannot request for another owner's VPC
    with refused("InvalidParameterValue", "is not a name"):
        peerings.request_peering(store, acme, vpc.id, peer.id, name="a b")


def test_a_vpc_takes_its_connections_along_on_both_sides(
    store: Store, acme: Caller, globex: Caller, vpc: Vpc, peer: Vpc, request_: PeeringConnection
) -> None:
    peerings.accept_peering(store, globex, request_.id)
    third = vpcs.create_vpc(store, acme, name="third", cidrs=["10.2.0.0/16"])
    other = peerings.request_peering(store, acme, third.id, peer.id, name="a")
    vpcs.delete_vpc(store, acme, vpc.id)
    assert store.list(keys.vpc_prefix(vpc.vni)).kvs == ()
    assert list(read_all(store, PeeringConnection, peer.vni)) == [other.id]
    with refused("InvalidVpcPeeringConnectionID.NotFound"):
        peerings.describe_peering(store, globex, request_.id)


def test_a_vpc_that_cannot_be_deleted_keeps_its_requests(
    store: Store, acme: Caller, vpc: Vpc, request_: PeeringConnection
) -> None:
    subnets.create_subnet(store, acme, vpc.id, name="app", cidr="10.0.1.0/24")
    with refused("DependencyViolation"):
        vpcs.delete_vpc(store, acme, vpc.id)
    assert len(both(store, request_)) == 2


def test_a_vpc_with_as_many_connections_as_it_may_have_goes_with_all_of_them(store: Store, acme: Caller) -> None:
    hub = vpcs.create_vpc(store, acme, name="hub", cidrs=["10.200.0.0/16"])
    for index in range(75):
        spoke = vpcs.create_vpc(store, acme, name=f"s{index}", cidrs=[f"10.{index}.0.0/16"])
        asked = peerings.request_peering(store, acme, spoke.id, hub.id, name="hub")
        if index < 50:
            peerings.accept_peering(store, acme, asked.id)
    with refused("OutstandingVpcPeeringConnectionLimitExceeded", "already has its quota of 25 requests"):
        more = vpcs.create_vpc(store, acme, name="more", cidrs=["10.100.0.0/16"])
        peerings.request_peering(store, acme, more.id, hub.id, name="hub")
    with refused("ActiveVpcPeeringConnectionPerVpcLimitExceeded", "already has its quota of 50 active"):
        peerings.accept_peering(store, acme, asked.id)
    vpcs.delete_vpc(store, acme, hub.id)
    assert [kv.key for kv in store.list("vpc/").kvs if "/pcx/" in kv.key] == []


def test_requests_are_counted_with_whoever_sent_and_whoever_received_them(
    store: Store, acme: Caller, operator: Caller, vpc: Vpc, peer: Vpc, request_: PeeringConnection
) -> None:
    set_quotas(store, "acme", {"peering_requests_per_vpc": 1})
    second = vpcs.create_vpc(store, acme, name="second", cidrs=["10.2.0.0/16"])
    with refused("OutstandingVpcPeeringConnectionLimitExceeded"):
        peerings.request_peering(store, acme, vpc.id, second.id, name="b")
    peerings.request_peering(store, acme, second.id, vpc.id, name="b")  # received requests do not use the quota for sent ones


def test_ended_connections_do_not_pile_up(store: Store, acme: Caller, vpc: Vpc, peer: Vpc) -> None:
    for _ in range(40):
        made = peerings.request_peering(store, acme, vpc.id, peer.id, name="a")
        peerings.delete_peering(store, acme, made.id)
    for vni in (vpc.vni, peer.vni):
        assert len(read_all(store, PeeringConnection, vni)) <= 26


def test_a_name_is_taken_while_its_connection_lives(
    store: Store, acme: Caller, vpc: Vpc, peer: Vpc, request_: PeeringConnection
) -> None:
    third = vpcs.create_vpc(store, acme, name="third", cidrs=["10.2.0.0/16"])
    with refused("InvalidParameterValue", "the VPC already has one with that name"):
        peerings.request_peering(store, acme, vpc.id, third.id, name="to-data")
    peerings.delete_peering(store, acme, request_.id)
    assert peerings.request_peering(store, acme, vpc.id, third.id, name="to-data").name == "to-data"


def test_each_owner_has_tags_of_its_own(store: Store, acme: Caller, globex: Caller, request_: PeeringConnection) -> None:
    set_tags(store, globex, "pcx", request_.id, {"cost": "7"})
    set_tags(store, acme, "pcx", request_.id, {"team": "b"})
    assert [half.tags for half in both(store, request_)] == [{"team": "b"}, {"cost": "7"}]


def test_a_rule_may_refer_to_a_group_of_an_active_peer_by_its_id(
    store: Store, acme: Caller, globex: Caller, vpc: Vpc, peer: Vpc, request_: PeeringConnection
) -> None:
    theirs = groups.create_security_group(store, globex, peer.id, name="web")
    own = groups.create_security_group(store, acme, vpc.id, name="app")
    rule = [Permission(protocol="tcp", ports=443, peer=theirs.id)]
    with refused("InvalidGroup.NotFound"):
        authorize(store, acme, own.id, Direction.INGRESS, rule)
    peerings.accept_peering(store, globex, request_.id)
    with refused("InvalidGroup.NotFound"):
        authorize(store, acme, own.id, Direction.INGRESS, [Permission(protocol="tcp", peer="sg-web")])
    (added,) = authorize(store, acme, own.id, Direction.INGRESS, rule)
    assert added.group == theirs.id
    assert read_inventory(store).unreadable == []
    groups.delete_security_group(store, globex, theirs.id)  # the reference is stale now, which is valid
    assert read_inventory(store).unreadable == []
    with refused("InvalidGroup.NotFound"):
        authorize(store, acme, own.id, Direction.EGRESS, rule)
    assert revoke(store, acme, own.id, Direction.INGRESS, rule).ingress == ()


def _damage(store: Store, vni: int, connection_id: str) -> None:
    """Make a record of a connection unreadable: put a name where none is allowed. Other owners must not see the name."""
    key = keys.member(vni, connection_id)
    known = store.get(key)
    assert known is not None
    store.txn((), [Put(key, msgspec.json.encode(msgspec.json.decode(known.value) | {"name": "secret plan"}))])


def test_nobody_hears_of_anothers_damaged_record_of_a_connection(
    store: Store, acme: Caller, globex: Caller, operator: Caller, vpc: Vpc, peer: Vpc, request_: PeeringConnection
) -> None:
    peerings.accept_peering(store, globex, request_.id)
    _damage(store, peer.vni, request_.id)
    with refused("InvalidVpcPeeringConnectionID.NotFound") as error:
        peerings.delete_peering(store, acme, request_.id)
    assert "secret" not in str(error.value)
    assert peerings.describe_peering(store, acme, request_.id).connection.id == request_.id
    for caller in (operator, globex):
        with pytest.raises(UnreadableRecord, match="secret plan"):
            peerings.delete_peering(store, caller, request_.id)


def test_a_damaged_connection_of_the_peer_with_somebody_else_stops_nobody_else(
    store: Store, acme: Caller, globex: Caller, operator: Caller, vpc: Vpc, peer: Vpc, request_: PeeringConnection
) -> None:
    third = vpcs.create_vpc(store, operator, name="third", cidrs=["10.3.0.0/16"])
    other = peerings.request_peering(store, globex, peer.id, third.id, name="other")
    more = vpcs.create_vpc(store, acme, name="more", cidrs=["10.4.0.0/16"])
    _damage(store, peer.vni, other.id)
    made = peerings.request_peering(store, acme, more.id, peer.id, name="to-data")
    assert made.status is PeeringStatus.PENDING
    with pytest.raises(UnreadableRecord):
        peerings.accept_peering(store, globex, made.id)


@pytest.mark.parametrize("damaged", ["vpc", "subnet"])
def test_a_range_is_compared_with_those_of_a_peer_of_which_something_cannot_be_read(
    store: Store, acme: Caller, globex: Caller, operator: Caller, vpc: Vpc, peer: Vpc, request_: PeeringConnection, damaged: str
) -> None:
    """By commands and by files. The ranges of a peer with a damaged VPC record are unknown."""
    peerings.accept_peering(store, globex, request_.id)
    subnet = subnets.create_subnet(store, globex, peer.id, name="s", cidr="10.1.0.0/24")
    store.txn((), [Put(keys.vpc(peer.vni) if damaged == "vpc" else keys.resource(subnet.id), b"{")])
    cidrs = [*vpc.cidrs, "10.1.128.0/20"]
    decl = VpcDecl(name=vpc.name, owner=vpc.owner, cidrs=cidrs, ipv6_cidrs=list(vpc.ipv6_cidrs))
    code = "IncorrectState" if damaged == "vpc" else "InvalidVpc.Range"
    with refused(code, peer.id):
        vpcs.associate_cidr(store, acme, vpc.id, cidrs[-1])
    with refused(code, peer.id):
        plan_cloud(store, acme, Cloud(vpcs=[decl]))
    if damaged == "vpc":
        with pytest.raises(UnreadableRecord):
            vpcs.associate_cidr(store, operator, vpc.id, cidrs[-1])
