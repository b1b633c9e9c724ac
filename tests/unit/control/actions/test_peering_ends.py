"""How peering connections fail, expire and disappear: overlapping ranges, and EC2's periods."""

from __future__ import annotations

import pytest

from netorch.control.actions import peerings, vpcs
from netorch.control.apply.cloud import plan_cloud
from netorch.errors import ApiError
from netorch.model.cloud import Cloud, VpcDecl
from netorch.model.routing.peering import REQUEST_S, SHOWN_S, SHOWN_TO_OTHER_S, PeeringConnection, PeeringStatus
from netorch.model.vpc import Vpc
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.records.read import read_all
from netorch.store.base import Store
from tests.unit.control.actions.test_peerings import both
from tests.unit.control.conftest import Clock, refused


def test_a_rejected_request_is_shown_for_a_while_and_another_one_may_follow(
    store: Store, clock: Clock, acme: Caller, globex: Caller, vpc: Vpc, peer: Vpc, request_: PeeringConnection
) -> None:
    assert peerings.reject_peering(store, globex, request_.id).status is PeeringStatus.REJECTED
    with refused("InvalidStateTransition", "is rejected"):
        peerings.accept_peering(store, globex, request_.id)
    with refused("InvalidStateTransition", "is rejected"):
        peerings.delete_peering(store, acme, request_.id)
    assert peerings.describe_peering(store, acme, request_.id).status is PeeringStatus.REJECTED
    again = peerings.request_peering(store, acme, vpc.id, peer.id, name="to-data")
    clock.now += SHOWN_TO_OTHER_S
    with refused("InvalidVpcPeeringConnectionID.NotFound"):
        peerings.describe_peering(store, acme, request_.id)
    assert [info.connection.id for info in peerings.describe_peerings(store, acme, vpc.id)] == [again.id]


def shown_for(store: Store, caller: Caller, clock: Clock, connection: PeeringConnection) -> int:
    """Return how many seconds a caller still sees a connection: one of EC2's periods, or 0."""
    start, found = clock.now, 0
    for seconds in (0, SHOWN_S, SHOWN_TO_OTHER_S):
        if seconds:
            clock.now = start + seconds - 1
            assert peerings.describe_peering(store, caller, connection.id).connection.id == connection.id
            found = seconds
        clock.now = start + seconds
        try:
            peerings.describe_peering(store, caller, connection.id)
        except ApiError:
            break
    clock.now = start
    return found


@pytest.mark.parametrize("how", ["rejected", "deleted by the requester", "deleted by the accepter", "expired", "failed"])
def test_what_has_ended_is_shown_to_each_owner_for_as_long_as_ec2_shows_it(
    store: Store, clock: Clock, acme: Caller, globex: Caller, vpc: Vpc, peer: Vpc, request_: PeeringConnection, how: str
) -> None:
    """EC2: 2 hours to the owner that ended it, 2 days to the other; expired 2 days to both; failed 2 hours to the requester."""
    connection = request_
    expected = (SHOWN_TO_OTHER_S, SHOWN_S)
    if how == "rejected":
        peerings.reject_peering(store, globex, request_.id)
    elif how == "expired":
        clock.now += REQUEST_S
        expected = (SHOWN_TO_OTHER_S, SHOWN_TO_OTHER_S)
    elif how == "failed":
        same = vpcs.create_vpc(store, globex, name="same", cidrs=["10.0.0.0/16"])
        connection = peerings.request_peering(store, acme, vpc.id, same.id, name="same")
        expected = (SHOWN_S, 0)
    else:
        peerings.accept_peering(store, globex, request_.id)
        by_requester = how == "deleted by the requester"
        peerings.delete_peering(store, acme if by_requester else globex, request_.id)
        expected = (SHOWN_S, SHOWN_TO_OTHER_S) if by_requester else expected
    assert tuple(shown_for(store, caller, clock, connection) for caller in (acme, globex)) == expected
    assert read_inventory(store).unreadable == []


def test_what_one_owner_ended_between_two_vpcs_is_shown_for_two_hours(store: Store, clock: Clock, acme: Caller, vpc: Vpc) -> None:
    other = vpcs.create_vpc(store, acme, name="other", cidrs=["10.2.0.0/16"])
    connection = peerings.request_peering(store, acme, vpc.id, other.id, name="p")
    peerings.reject_peering(store, acme, connection.id)
    assert shown_for(store, acme, clock, connection) == SHOWN_S


def test_what_one_owner_still_sees_is_not_swept_away(
    store: Store, clock: Clock, acme: Caller, globex: Caller, vpc: Vpc, peer: Vpc, request_: PeeringConnection
) -> None:
    peerings.reject_peering(store, globex, request_.id)
    clock.now += SHOWN_S
    peerings.request_peering(store, globex, peer.id, vpc.id, name="back")
    assert peerings.describe_peering(store, acme, request_.id).status is PeeringStatus.REJECTED


def test_a_request_expires_by_itself(
    store: Store, clock: Clock, acme: Caller, globex: Caller, vpc: Vpc, peer: Vpc, request_: PeeringConnection
) -> None:
    clock.now += REQUEST_S - 1
    with refused("VpcPeeringConnectionAlreadyExists", "is pending-acceptance"):
        peerings.request_peering(store, acme, vpc.id, peer.id, name="other")
    clock.now += 1
    assert peerings.describe_peering(store, acme, request_.id).status is PeeringStatus.EXPIRED
    with refused("InvalidStateTransition", "is expired and cannot be accepted"):
        peerings.accept_peering(store, globex, request_.id)
    with refused("InvalidStateTransition", "is expired and cannot be deleted"):
        peerings.delete_peering(store, acme, request_.id)
    clock.now += SHOWN_TO_OTHER_S
    again = peerings.request_peering(store, acme, vpc.id, peer.id, name="to-data")
    for vni in (vpc.vni, peer.vni):
        assert list(read_all(store, PeeringConnection, vni)) == [again.id]  # hidden connections were deleted with it


@pytest.mark.parametrize(
    ("cidrs", "ipv6_cidrs"),
    [
        (["10.0.0.0/16"], []),
        (["10.0.8.0/24"], []),
        (["192.168.0.0/16", "10.0.0.0/16"], []),
        (["192.168.0.0/16"], ["2001:db8:1::/56"]),
    ],
)
def test_a_request_between_overlapping_ranges_has_failed_and_only_the_requester_sees_it(
    store: Store, acme: Caller, globex: Caller, vpc: Vpc, cidrs: list[str], ipv6_cidrs: list[str]
) -> None:
    """EC2: "If you create a request between VPCs with overlapping CIDR blocks, the connection has a status of failed"."""
    other = vpcs.create_vpc(store, globex, name="other", cidrs=cidrs, ipv6_cidrs=ipv6_cidrs)
    made = peerings.request_peering(store, acme, vpc.id, other.id, name="a")
    assert made.status is PeeringStatus.FAILED
    assert [half.status for half in both(store, made)] == [PeeringStatus.FAILED] * 2
    for act in (peerings.accept_peering, peerings.reject_peering):
        with refused("InvalidVpcPeeringConnectionID.NotFound"):
            act(store, globex, made.id)
    with refused("InvalidStateTransition", "is failed and cannot be deleted"):
        peerings.delete_peering(store, acme, made.id)
    assert peerings.describe_peerings(store, globex, other.id) == []
    assert peerings.describe_peering(store, acme, made.id).peer_ranges == ()
    assert peerings.request_peering(store, acme, vpc.id, other.id, name="a").id != made.id  # the failed one does not block it


def test_ranges_that_came_to_overlap_make_the_connection_fail(
    store: Store, acme: Caller, globex: Caller, vpc: Vpc, peer: Vpc, request_: PeeringConnection
) -> None:
    vpcs.associate_cidr(store, globex, peer.id, "10.0.4.0/24")
    assert peerings.accept_peering(store, globex, request_.id).status is PeeringStatus.FAILED
    assert [half.status for half in both(store, request_)] == [PeeringStatus.FAILED] * 2
    for caller in (acme, globex):
        assert peerings.describe_peering(store, caller, request_.id).status is PeeringStatus.FAILED


@pytest.mark.parametrize("new", ["10.1.4.0/24", "10.9.0.0/16", "2001:db8:2::/56"])
def test_the_requester_gets_no_new_range_while_its_request_is_pending(
    store: Store, clock: Clock, acme: Caller, vpc: Vpc, request_: PeeringConnection, new: str
) -> None:
    """EC2: "regardless of whether it overlaps with the CIDR block of the accepter VPC". Files are refused like commands."""
    cidrs, ipv6_cidrs = list(vpc.cidrs), list(vpc.ipv6_cidrs)
    (ipv6_cidrs if ":" in new else cidrs).append(new)
    decl = VpcDecl(name=vpc.name, owner=vpc.owner, cidrs=cidrs, ipv6_cidrs=ipv6_cidrs)
    what = f"cannot get {new} while its peering request {request_.id} is pending-acceptance"
    with refused("OperationNotPermitted", what):
        vpcs.associate_cidr(store, acme, vpc.id, new)
    with refused("OperationNotPermitted", what):
        plan_cloud(store, acme, Cloud(vpcs=[decl]))
    vpcs.disassociate_cidr(store, acme, vpc.id, "2001:db8:1::/56")  # removing a range is allowed
    clock.now += REQUEST_S
    changed = vpcs.associate_cidr(store, acme, vpc.id, new)
    assert new in changed.cidrs + changed.ipv6_cidrs


def test_a_request_that_was_pending_for_somebody_elses_clock_only_is_not_accepted_beside_an_active_connection(
    store: Store, clock: Clock, acme: Caller, globex: Caller, vpc: Vpc, peer: Vpc, request_: PeeringConnection
) -> None:
    clock.now += REQUEST_S  # the requester's clock is fast: by its time, the first request has expired
    second = peerings.request_peering(store, acme, vpc.id, peer.id, name="second")
    clock.now -= REQUEST_S
    peerings.accept_peering(store, globex, request_.id)
    with refused("VpcPeeringConnectionAlreadyExists", request_.id):
        peerings.accept_peering(store, globex, second.id)
    peerings.delete_peering(store, globex, request_.id)
    assert peerings.accept_peering(store, globex, second.id).status is PeeringStatus.ACTIVE


def test_a_later_range_that_overlaps_an_active_peer_is_refused(
    store: Store, acme: Caller, globex: Caller, vpc: Vpc, peer: Vpc, request_: PeeringConnection
) -> None:
    peerings.accept_peering(store, globex, request_.id)
    with refused("InvalidVpc.Range", f"overlaps 10.1.0.0/16 of {peer.id}, its peer through {request_.id}"):
        vpcs.associate_cidr(store, acme, vpc.id, "10.1.4.0/24")
    with refused("InvalidVpc.Range"):
        vpcs.associate_cidr(store, globex, peer.id, "2001:db8:1::/56")
    peerings.delete_peering(store, acme, request_.id)
    assert "10.1.4.0/24" in vpcs.associate_cidr(store, acme, vpc.id, "10.1.4.0/24").cidrs
