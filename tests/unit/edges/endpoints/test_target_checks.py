"""Targets of an endpoint service that do not answer: they get no new connections, and the provider sees them."""

from __future__ import annotations

import pytest

from netorch.control.actions.endpoints import connections, interface, offered
from netorch.model.endpoints.endpoint_service import EndpointConnection, EndpointService, ServicePort
from netorch.model.eni import NetworkInterface
from netorch.model.mapping import GatewayMapping
from netorch.model.security import TCP, UDP
from netorch.records import keys
from netorch.records.codec import encode
from netorch.records.read import get, read_all
from netorch.state.nft import NftTable
from tests.unit.edges.pair import EDGES, Pair

PORTS = (ServicePort(protocol=TCP, port=443, target_port=8443), ServicePort(protocol=UDP, port=53, target_port=53))
LONG_S = 30.0  # enough for two checks of a silent target, and for the provider's view


class Shop:
    """A service with two targets, and a consumer."""

    def __init__(self, pair: Pair) -> None:
        self.pair, self.world = pair, pair.world
        store, caller = self.world.store, self.world.operator
        for place, edge in enumerate(EDGES):
            self.world.put(keys.pair_place("west", place), encode(edge))
        provider, subnet = pair.vpc("p")
        targets = [self.world.run(subnet, "hv1") for _ in range(2)]
        self.service: EndpointService = offered.create_endpoint_service(
            store,
            caller,
            provider.id,
            name="db",
            subnets=[subnet.id],
            ports=PORTS,
            targets=[target.instance.id for target in targets],
            acceptance_required=False,
        )
        consumer, theirs = pair.vpc("c")
        interface.create_interface_endpoint(store, caller, consumer.id, self.service.id, subnets=[theirs.id])
        (connection,) = read_all(store, EndpointConnection, provider.vni).values()
        self.connection = connection.record
        mapping = get(store, keys.gateway_mapping(consumer.vni, self.connection.id), GatewayMapping)
        assert mapping is not None
        self.used, self.other = (seat.host for seat in mapping.record.seats)
        enis = read_all(store, NetworkInterface, provider.vni)
        self.addresses = sorted(enis[target].record.address for target in self.service.targets)
        self.world.settle()

    def mute(self, *addresses: str) -> None:
        """Make these targets silent, and no others."""
        for edge in EDGES:
            kernel = self.world.kernels[edge]
            kernel.muted.clear()
            kernel.muted.update((address, 8443) for address in addresses)
        self.world.settle(LONG_S)

    def led_to(self, edge: str, port: str = ":8443") -> set[str]:
        """Return the targets for new connections to a port."""
        table = next(
            obj
            for obj in self.world.kernels[edge].objects.values()
            if isinstance(obj, NftTable) and obj.netns == self.connection.id
        )
        return {line.split()[-1].partition(":")[0] for line in table.body.splitlines() if "dnat ip to" in line and port in line}

    def shown(self) -> tuple[str, ...]:
        """Return the silent targets in the provider's view."""
        return offered.describe_endpoint_service(self.world.store, self.world.operator, self.service.id).ailing


@pytest.fixture
def shop(pair: Pair) -> Shop:
    return Shop(pair)


def test_one_that_does_not_answer_gets_nothing_new_until_it_answers_again(shop: Shop) -> None:
    well, ill = shop.addresses
    assert shop.led_to(shop.used) == {well, ill}
    shop.mute(ill)
    assert shop.led_to(shop.used) == {well}
    assert shop.led_to(shop.used, ":53") == {well, ill}  # there are no checks of UDP ports
    assert shop.led_to(shop.other) == {well, ill}  # the connection is not in use there, and its checks get no answers
    assert shop.shown() == (f"{ill}:8443",)
    info = connections.describe_connection(shop.world.store, shop.world.operator, shop.connection.id)
    assert info.use.ailing == (f"{ill}:8443",)
    shop.mute()
    assert shop.led_to(shop.used) == {well, ill}
    assert shop.shown() == ()
    shop.world.assert_settled()


def test_if_none_answers_all_get_some(shop: Shop) -> None:
    shop.mute(*shop.addresses)
    assert shop.led_to(shop.used) == set(shop.addresses)
    assert shop.shown() == tuple(f"{address}:8443" for address in shop.addresses)


def test_an_agent_that_starts_knows_who_did_not_answer(shop: Shop) -> None:
    shop.mute(shop.addresses[0])
    shop.world.new_ops(shop.used)
    shop.world.start(shop.used)
    shop.world.settle(LONG_S)
    assert shop.world.new_ops(shop.used) == []
    assert shop.led_to(shop.used) == {shop.addresses[1]}


def test_one_silence_is_no_illness(shop: Shop) -> None:
    shop.world.new_ops(shop.used)
    kernel = shop.world.kernels[shop.used]
    for _ in range(6):
        kernel.muted.add((shop.addresses[0], 8443))
        shop.world.settle(5)
        kernel.muted.clear()
        shop.world.settle(5)
    assert shop.world.new_ops(shop.used) == []


def test_what_was_known_goes_with_the_connection(shop: Shop) -> None:
    shop.mute(shop.addresses[0])
    connections.reject_connection(shop.world.store, shop.world.operator, shop.connection.id)
    shop.world.settle(LONG_S)
    assert shop.world.agents[shop.used].records.ailing == {}
    assert shop.shown() == ()
    shop.world.assert_settled()
