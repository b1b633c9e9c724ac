"""Two concurrent callers, one of which requests, answers or deletes a peering connection."""

from __future__ import annotations

import pytest

from netorch.control.actions import peerings, vpcs
from netorch.model.routing.peering import REQUEST_S, PeeringStatus
from netorch.model.vpc import Vpc
from netorch.records.caller import Caller
from tests.unit.control.conftest import Clock, refused
from tests.unit.control.test_races import Interrupted


@pytest.fixture
def store() -> Interrupted:
    return Interrupted()


@pytest.fixture
def vpc(store: Interrupted, acme: Caller) -> Vpc:
    return vpcs.create_vpc(store, acme, name="web", cidrs=["10.0.0.0/16"])


def test_a_connection_and_a_range_that_overlaps_do_not_meet(store: Interrupted, acme: Caller, globex: Caller, vpc: Vpc) -> None:
    peer = vpcs.create_vpc(store, globex, name="data", cidrs=["10.1.0.0/16"])
    first = peerings.request_peering(store, acme, vpc.id, peer.id, name="first")
    store.meanwhile = lambda: vpcs.associate_cidr(store, globex, peer.id, "10.0.128.0/20")
    assert peerings.accept_peering(store, globex, first.id).status is PeeringStatus.FAILED
    vpcs.disassociate_cidr(store, globex, peer.id, "10.0.128.0/20")
    second = peerings.request_peering(store, acme, vpc.id, peer.id, name="second")
    store.meanwhile = lambda: peerings.accept_peering(store, globex, second.id)
    with refused("InvalidVpc.Range"):
        vpcs.associate_cidr(store, globex, peer.id, "10.0.128.0/20")
    assert peerings.describe_peering(store, acme, second.id).status is PeeringStatus.ACTIVE


def test_a_request_and_a_new_range_of_the_requester_do_not_meet(
    store: Interrupted, acme: Caller, globex: Caller, vpc: Vpc
) -> None:
    peer = vpcs.create_vpc(store, globex, name="data", cidrs=["10.1.0.0/16"])
    store.meanwhile = lambda: peerings.request_peering(store, acme, vpc.id, peer.id, name="p")
    with refused("OperationNotPermitted", "pending-acceptance"):
        vpcs.associate_cidr(store, acme, vpc.id, "10.1.128.0/20")
    (found,) = peerings.describe_peerings(store, acme, vpc.id)
    peerings.delete_peering(store, acme, found.connection.id)
    store.meanwhile = lambda: vpcs.associate_cidr(store, acme, vpc.id, "10.1.128.0/20")
    assert peerings.request_peering(store, acme, vpc.id, peer.id, name="p").status is PeeringStatus.FAILED


def test_of_two_requests_of_a_pair_that_are_accepted_at_once_one_becomes_active(
    store: Interrupted, clock: Clock, acme: Caller, globex: Caller, vpc: Vpc
) -> None:
    peer = vpcs.create_vpc(store, globex, name="data", cidrs=["10.1.0.0/16"])
    first = peerings.request_peering(store, acme, vpc.id, peer.id, name="first")
    clock.now += REQUEST_S
    second = peerings.request_peering(store, acme, vpc.id, peer.id, name="second")
    clock.now -= REQUEST_S
    store.meanwhile = lambda: peerings.accept_peering(store, globex, second.id)
    with refused("VpcPeeringConnectionAlreadyExists", second.id):
        peerings.accept_peering(store, globex, first.id)


def test_two_ranges_of_two_peers_that_overlap_are_not_both_given(
    store: Interrupted, acme: Caller, globex: Caller, vpc: Vpc
) -> None:
    peer = vpcs.create_vpc(store, globex, name="data", cidrs=["10.1.0.0/16"])
    peerings.accept_peering(store, globex, peerings.request_peering(store, acme, vpc.id, peer.id, name="p").id)
    store.meanwhile = lambda: vpcs.associate_cidr(store, globex, peer.id, "10.2.0.0/16")
    with refused("InvalidVpc.Range"):
        vpcs.associate_cidr(store, acme, vpc.id, "10.2.128.0/20")


def test_an_answer_and_a_withdrawal_do_not_meet(store: Interrupted, acme: Caller, globex: Caller, vpc: Vpc) -> None:
    peer = vpcs.create_vpc(store, globex, name="data", cidrs=["10.1.0.0/16"])
    made = peerings.request_peering(store, acme, vpc.id, peer.id, name="p")
    store.meanwhile = lambda: peerings.delete_peering(store, acme, made.id)
    with refused("InvalidStateTransition"):
        peerings.accept_peering(store, globex, made.id)


def test_a_vpc_that_ends_takes_a_connection_along_that_is_accepted_meanwhile(
    store: Interrupted, acme: Caller, globex: Caller, vpc: Vpc
) -> None:
    peer = vpcs.create_vpc(store, globex, name="data", cidrs=["10.1.0.0/16"])
    made = peerings.request_peering(store, acme, vpc.id, peer.id, name="p")
    store.meanwhile = lambda: peerings.accept_peering(store, globex, made.id)
    vpcs.delete_vpc(store, acme, vpc.id)
    assert peerings.describe_peerings(store, globex, peer.id) == []
