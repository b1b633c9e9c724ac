"""Two owners' VPCs, and a request for a peering connection between them."""

from __future__ import annotations

import pytest

from netorch.control.actions import peerings, vpcs
from netorch.model.routing.peering import PeeringConnection
from netorch.model.vpc import Vpc
from netorch.records.caller import Caller
from netorch.store.base import Store


@pytest.fixture
def vpc(store: Store, acme: Caller) -> Vpc:
    return vpcs.create_vpc(store, acme, name="web", cidrs=["10.0.0.0/16"], ipv6_cidrs=["2001:db8:1::/56"])


@pytest.fixture
def peer(store: Store, globex: Caller) -> Vpc:
    return vpcs.create_vpc(store, globex, name="data", cidrs=["10.1.0.0/16"])


@pytest.fixture
def request_(store: Store, acme: Caller, vpc: Vpc, peer: Vpc) -> PeeringConnection:
    return peerings.request_peering(store, acme, vpc.id, peer.id, name="to-data", tags={"team": "a"})
