"""Connections of an interface endpoint that an edge takes over lead from the endpoint's address to the service's VPC."""

from __future__ import annotations

from netorch.model.eni import NetworkInterface
from netorch.model.security import TCP
from netorch.records import keys
from netorch.records.codec import encode
from netorch.records.flows import HandedOver, HandoverWord
from netorch.records.read import read_all
from netorch.state.flow import Flow
from tests.unit.edges.endpoints.test_target_checks import Shop
from tests.unit.edges.pair import Pair


def test_an_edge_takes_over_connections_of_an_endpoint_to_interfaces_of_the_service_only(pair: Pair) -> None:
    shop = Shop(pair)
    source, target = shop.connection.address, shop.addresses[0]
    enis = read_all(pair.world.store, NetworkInterface, shop.connection.provider)
    untargeted = next(one.record.address for one in enis.values() if one.record.address not in (source, *shop.addresses))
    ends = ((source, target), (source, untargeted), ("", target), (source, ""), (source, "10.0.99.99"), (target, target))
    flows = [
        Flow(
            zone=0,
            protocol=TCP,
            source="10.0.0.4",
            destination="10.0.0.200",
            sport=place,
            dport=443,
            timeout_s=300,
            tcp_state=3,
            nat_source=nat_source,
            nat_port=5000 + place,
            nat_destination=nat_destination,
            nat_dport=8443,
            original_zone=1,
        )
        for place, (nat_source, nat_destination) in enumerate(ends)
    ]
    pair.world.kill(shop.used)
    pair.world.put(keys.handover_flows(shop.used, shop.connection.id, 0), encode(HandedOver(flows=tuple(flows))))
    gives = HandoverWord(gives=shop.other, token="t", gateways=(shop.connection.id,), parts=1)
    pair.world.put(keys.handover_word(shop.used), encode(gives))
    pair.world.turn(shop.other)
    taken = pair.world.kernels[shop.other].trackers[shop.connection.id].flows(0)
    assert {(flow.nat_source, flow.nat_destination, flow.original_zone) for flow in taken} == {
        (source, target, 1),
        (source, untargeted, 1),
    }
