"""The indexes of the records: each equals the result of a walk over all records."""

from __future__ import annotations

import msgspec

from netorch.agent.moves import Moves
from netorch.agent.records import Records
from netorch.model.eni import Host, NetworkInterface, Placement, Role
from netorch.model.ids import make_id
from netorch.model.mapping import Mapping, Move, MoveDirection, PublicMapping
from netorch.records import keys

ENI = make_id("eni", 5000, 1)
OTHER = make_id("eni", 5001, 2)
ADDRESS = "10.44.12.4"


def put(records: Records, key: str, record: msgspec.Struct, revision: int = 1) -> None:
    records.put(key, msgspec.json.encode(record), revision)


def mapping(move: Move | None = None, host: str = "hv2", vtep: str = "192.0.2.12") -> Mapping:
    return Mapping(vni=5000, address=ADDRESS, eni=ENI, mac="06:00:00:00:00:01", host=host, vtep=vtep, move=move)


def incoming() -> Records:
    records = Records("hv1")
    put(records, keys.placement("hv1", ENI), Placement(id=ENI))
    eni = NetworkInterface(
        id=ENI,
        vni=5000,
        subnet=make_id("subnet", 5000, 1),
        instance=make_id("i", 5000, 1),
        address=ADDRESS,
        mac="06:00:00:00:00:01",
    )
    put(records, keys.resource(ENI), eni)
    put(records, keys.mapping(5000, ADDRESS), mapping(Move(direction=MoveDirection.TO, host="hv1", vtep="192.0.2.11")))
    return records


def test_a_vpc_is_carried_and_followed_until_its_last_interface_is_unwanted() -> None:
    records = Records("hv1")
    second = make_id("eni", 5000, 3)
    for eni in (ENI, second, OTHER):
        put(records, keys.placement("hv1", eni), Placement(id=eni))
    assert set(records.carried()) == {5000, 5001}
    assert set(records.placements_of(5000)) == {ENI, second}
    records.drop(keys.placement("hv1", ENI), 2)
    assert set(records.carried()) == {5000, 5001}
    records.drop(keys.placement("hv1", second), 3)
    assert set(records.carried()) == {5001}
    assert records.prefixes == {
        keys.host_prefix("hv1"),
        keys.secret_prefix("hv1"),
        keys.mtu_prefix(),
        keys.pool_prefix(),
        keys.vpc_prefix(5001),
        keys.map_prefix(5001),
    }


def test_services_and_buckets_are_followed_by_edges_alone() -> None:
    records, served = Records("e1"), {keys.service_prefix(), keys.bucket_prefix()}
    put(records, keys.host_spec("e1"), Host(name="e1", underlay="192.0.2.21", role=Role.EDGE))
    assert served <= records.prefixes
    changes = records.prefix_changes
    put(records, keys.host_spec("e1"), Host(name="e1", underlay="192.0.2.21"), 2)
    assert served.isdisjoint(records.prefixes)
    assert records.prefix_changes > changes


def test_a_listing_removes_what_it_lacks_below_its_own_prefix_only() -> None:
    records = Records("hv1")
    put(records, keys.mapping(5000, ADDRESS), mapping())
    put(records, keys.mapping(5000, "10.44.12.5"), mapping())
    put(records, keys.mapping(5001, ADDRESS), mapping())
    kept = keys.mapping(5000, ADDRESS)
    records.replace([keys.map_prefix(5000)], {kept: records.raw[kept]}, 2)
    assert set(records.raw) == {kept, keys.mapping(5001, ADDRESS)}
    assert set(records.vpcs[5000].mappings) == {ADDRESS}


def test_only_a_moving_interface_that_is_wanted_here_is_arriving() -> None:
    records = incoming()
    moves = Moves(records)
    assert [found.eni for found in moves.incoming()] == [ENI]
    assert moves.watched_prefixes() == {keys.eni_status("hv2", ENI), keys.eni_flows("hv2", ENI)}
    put(records, keys.mapping(5000, ADDRESS), mapping(host="hv1", vtep="192.0.2.11"), 2)
    assert moves.incoming() == []
    assert moves.watched_prefixes() == set()


def test_a_forgotten_vpc_leaves_nothing_behind() -> None:
    records = incoming()
    records.drop(keys.placement("hv1", ENI), 2)
    records.forget_vpc(5000)
    assert records.raw == {}
    assert records.vpcs == {}
    assert Moves(records).incoming() == []
    put(records, keys.mapping(5000, ADDRESS), mapping(), 1)  # listed again when the VPC comes back
    assert set(records.vpcs[5000].mappings) == {ADDRESS}


def test_only_elastic_ips_that_stand_for_something_are_counted() -> None:
    records = Records("hv1")
    first, second = (
        PublicMapping(
            vni=5000,
            address=f"198.51.100.{number}",
            association=make_id("eipassoc", 5000, number),
            eni=ENI,
            private_address=ADDRESS,
            pool="west",
            allocation=make_id("eipalloc", 0, number),
        )
        for number in (1, 2)
    )
    for public in (first, second):
        put(records, keys.public_mapping(5000, public.address), public)
    assert (set(records.elastic_ips.vnis()), records.elastic_ips.of(5000)) == ({5000}, {first.address, second.address})
    put(records, keys.public_mapping(5000, first.address), msgspec.structs.replace(first, allocation=""), 2)
    assert records.elastic_ips.of(5000) == {second.address}
    records.drop(keys.public_mapping(5000, second.address), 3)
    assert (set(records.elastic_ips.vnis()), records.elastic_ips.of(5000)) == (set(), set())
    put(records, keys.public_mapping(5000, second.address), second, 4)
    records.forget_vpc(5000)
    assert set(records.elastic_ips.vnis()) == set()
