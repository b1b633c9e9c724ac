"""A record states its schema; a record of a newer version is refused, never partly read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import msgspec
import pytest

from netorch.control.base.addresses import Cursor
from netorch.control.base.quotas import Quotas
from netorch.errors import NewerRecord, UnreadableRecord
from netorch.model.eni import Placement
from netorch.model.mapping import Mapping
from netorch.model.record import Part, Record
from netorch.model.vpc import Subnet, Vpc
from netorch.records import keys
from netorch.records.codec import decode_value, encode, encode_at, schema_of
from netorch.records.flows import HandedOver
from netorch.records.kinds import BY_PREFIX, kind_of

STORED = [*(kind.type for kind in BY_PREFIX.values()), Mapping, Placement, Quotas, Cursor, HandedOver]
VPC = Vpc(id="vpc-00138800000000007", vni=5000, owner="acme", name="a", cidrs=("10.0.0.0/24",))
KEY = keys.resource(VPC.id)
SUBNET = Subnet(id="subnet-00138800000000007", vni=5000, name="web", cidr="10.0.0.0/24")
SUBNET_KEY = keys.resource(SUBNET.id)


class Old(Record, frozen=True):
    """A record of the first schema."""

    name: str = ""


class New(Old, frozen=True):
    """The same record with one more field."""

    SCHEMA: ClassVar[int] = 12
    more: tuple[Part, ...] = ()


def structs_in(kind: msgspec.inspect.Type) -> Iterator[type]:
    """Yield the types of all structs that a value may contain."""
    if isinstance(kind, msgspec.inspect.StructType):
        yield kind.cls
        for field in kind.fields:
            yield from structs_in(field.type)
    elif isinstance(kind, msgspec.inspect.VarTupleType):
        yield from structs_in(kind.item_type)
    elif isinstance(kind, msgspec.inspect.UnionType):
        for one in kind.types:
            yield from structs_in(one)


@pytest.mark.parametrize("stored", STORED, ids=lambda kind: kind.__name__)
def test_no_record_and_no_part_of_one_takes_a_field_that_it_does_not_know(stored: type) -> None:
    for found in structs_in(msgspec.inspect.type_info(stored)):
        assert found.__struct_config__.forbid_unknown_fields, found  # type: ignore[attr-defined]


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(UnreadableRecord, match="unknown field"):
        decode_value(KEY, encode(VPC).replace(b"}", b',"outpost":"x"}'), Vpc)


def test_a_record_of_the_first_schema_has_no_number() -> None:
    old = Old(name="x")
    assert encode(old) == msgspec.json.encode(old)
    assert decode_value("k", encode(old), Old) == old
    assert decode_value("k", b'{"schema":1,' + encode(old)[1:], Old) == old
    plain = msgspec.json.encode(VPC)  # as written before VPCs had a second schema
    assert decode_value(KEY, plain, Vpc) == decode_value(KEY, encode(VPC), Vpc) == VPC


@pytest.mark.parametrize("record", [New(), New(name="x")])
def test_a_later_schema_is_written_and_read(record: New) -> None:
    assert encode(record).startswith(b'{"schema":12')
    assert msgspec.json.decode(encode(record))["schema"] == 12
    assert decode_value("k", encode(record), New) == record


@pytest.mark.parametrize("old", [b"{}", b'{"name":"x"}', b'{"schema":11,"name":"x"}', b'{"schema":3}'])
def test_older_schemas_stay_readable(old: bytes) -> None:
    assert decode_value("k", old, New).more == ()


@pytest.mark.parametrize("value", [b'{"schema":13}', b'{"schema":13,"name":1,"other":[]}', b'{"schema":9999999999999999,"x":0}'])
def test_a_newer_schema_is_told_from_damage(value: bytes) -> None:
    with pytest.raises(NewerRecord, match=r"^k: the record has schema \d+, .* New up to 12; upgrade netorch here$"):
        decode_value("k", value, New)


@pytest.mark.parametrize(
    "value",
    [
        b'{"schema":',
        b'{"schema":x}',
        b'{"schema":-1,"name":""}',
        b'{"name":"","schema":1}',
        b'{"schema":"2"}',
        b'{"schema":' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_no_number_is_damage(value: bytes) -> None:
    with pytest.raises(UnreadableRecord) as raised:
        decode_value("k", value, Old)
    assert not isinstance(raised.value, NewerRecord)


@pytest.mark.parametrize("keyed", [kind for kind in STORED if getattr(kind, "KEYED", False)], ids=lambda kind: kind.__name__)
def test_only_what_a_key_says_is_left_out(keyed: type[Record]) -> None:
    assert keyed.__struct_fields__[:2] == ("id", "vni")
    assert kind_of(keyed).shared_with is None  # a shared record is in the VPC of its key, its id in another
    assert schema_of(keyed) > 1


def test_a_value_leaves_out_what_its_key_says() -> None:
    value = encode_at(SUBNET_KEY, SUBNET)
    assert value == b'{"schema":3,"name":"web","cidr":"10.0.0.0/24"}'
    assert decode_value(SUBNET_KEY, value, Subnet) == SUBNET
    assert encode_at(KEY, VPC) == encode(VPC)


@pytest.mark.parametrize("old", [msgspec.json.encode(SUBNET), b'{"schema":2,' + msgspec.json.encode(SUBNET)[1:], encode(SUBNET)])
def test_a_value_that_says_it_itself_stays_readable(old: bytes) -> None:
    assert decode_value(SUBNET_KEY, old, Subnet) == SUBNET


@pytest.mark.parametrize(
    "other", [{"id": "subnet-00138800000000008"}, {"vni": 5001}, {"vni": 50001}, {"id": "subnet-00138900000000007", "vni": 5001}]
)
def test_a_value_of_another_key_says_so_and_is_refused(other: dict[str, object]) -> None:
    value = encode_at(SUBNET_KEY, msgspec.structs.replace(SUBNET, **other))
    with pytest.raises(UnreadableRecord, match="makes no sense"):
        decode_value(SUBNET_KEY, value, Subnet)


@pytest.mark.parametrize(
    "key", ["k", "vpc/001388/subnet/x", 'vpc/001388/subnet/subnet-0013880000000000"', "vpc/001388/sg/subnet-00138800000000007"]
)
def test_a_key_without_an_id_says_nothing(key: str) -> None:
    with pytest.raises(UnreadableRecord, match="missing required field `id`"):
        decode_value(key, encode_at(SUBNET_KEY, SUBNET), Subnet)
    assert encode_at(key, SUBNET) == encode(SUBNET)
