"""The names that a VPC's hosts answer besides those of addresses."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from netorch.agent.indexes.named import NamedAddresses
from netorch.compiler.base import LocalTable, MappingPart, VpcPart, VpcView
from netorch.compiler.services.metadata import MetadataCompiler
from netorch.compiler.services.names import EndpointNames, NamesCompiler
from netorch.model.endpoints.endpoint import EndpointState, EndpointType, VpcEndpoint
from netorch.model.eni import NetworkInterface
from netorch.model.mapping import Mapping, PublicMapping
from netorch.model.services.zones import RecordSet, RecordType, VpcZone
from netorch.model.vpc import Vpc
from netorch.state.daemons.services.metadata import InstanceMetadata
from tests.unit.compiler.test_compilers import settled, view_of

PUBLIC = PublicMapping(
    vni=5000,
    address="203.0.113.5",
    association="eipassoc-00138800000000001",
    eni="eni-00138800000000001",
    private_address="10.0.0.5",
    pool="isp",
)


def view(*, hostnames: bool = True, interfaces: tuple[NetworkInterface, ...] | None = None, **inputs: object) -> VpcView:
    found = view_of(settled("hv1"), "hv1")
    vpc = msgspec.structs.replace(found.vpc, enable_dns_hostnames=hostnames)
    enis = tuple(item.eni for item in found.local)
    named = {
        "PublicMapping": PublicMapping,
        "LocalTable": LocalTable,
        "EndpointNames": EndpointNames,
        "VpcZone": VpcZone,
        "VpcEndpoint": VpcEndpoint,
    }
    more = {kind: () for kind in named.values() if kind is not LocalTable} | {
        named[name]: value for name, value in inputs.items()
    }
    known = NamedAddresses()
    for eni in enis if interfaces is None else interfaces:
        known.update(5000, None, eni)
    return msgspec.structs.replace(found, inputs={**found.inputs, Vpc: (vpc,), **more}, named=known.of(5000))


def texts(found: VpcView) -> Iterator[str]:
    for part in NamesCompiler().parts:
        seen = found.only(part.inputs)
        if isinstance(part, MappingPart):
            for item in found.local:
                for address in (*item.eni.addresses, "10.0.0.99"):
                    mapping = Mapping(vni=5000, address=address, eni=item.eni.id, mac=item.eni.mac, host="hv1", vtep="192.0.2.11")
                    yield from (obj.text() for obj in part.compile(seen, mapping))
        else:
            assert isinstance(part, VpcPart)
            yield from (obj.text() for obj in part.compile(seen))


def test_instances_have_names_by_their_ids_and_public_addresses_lead_inside() -> None:
    found = list(texts(view(PublicMapping=(PUBLIC,))))
    item = view().local[0]
    assert f"names of vpc 5000 {item.instance.id}.compute.internal 60 A {item.eni.address}" in found
    assert f"names of vpc 5000 {item.instance.id}.compute.internal 60 AAAA {item.eni.ipv6_address}" in found
    assert "names of vpc 5000 ec2-203-0-113-5.compute.internal 60 A 10.0.0.5" in found


def test_the_longest_domain_above_a_name_decides() -> None:
    def zone(digits: str, domain: str, *records: RecordSet) -> VpcZone:
        return VpcZone(vni=5000, zone=f"zone-000000{digits:0>11}", domain=domain, records=records)

    def a(name: str) -> RecordSet:
        return RecordSet(name=name, type=RecordType.A, values=("10.0.0.9",))

    text = RecordSet(name="@", type=RecordType.TXT, ttl=5, values=("it's here",))
    zones = (
        zone("1", "example", a("x.corp"), a("corporate")),
        zone("2", "corp.example", text),
        zone("3", "internal", a("i.compute")),
    )
    assert list(texts(view(VpcZone=zones, interfaces=()))) == [
        "names of vpc 5000 zone example",
        "names of vpc 5000 corporate.example 300 A 10.0.0.9",
        "names of vpc 5000 zone corp.example",
        'names of vpc 5000 corp.example 5 TXT "it\'s here"',
        "names of vpc 5000 zone internal",
    ]
    assert list(texts(view(hostnames=False, VpcZone=zones))) == []


def test_interfaces_beside_an_instances_own_have_no_such_names() -> None:
    item = view().local[0]
    second = msgspec.structs.replace(item.eni, id="eni-001388fffffffffff", address="10.0.0.99")
    detached = msgspec.structs.replace(item.eni, instance="")
    assert list(texts(view(interfaces=(second, detached)))) == []


def test_a_vpc_without_host_names_and_a_host_without_interfaces_have_none() -> None:
    assert list(texts(view(hostnames=False, PublicMapping=(PUBLIC,)))) == []
    assert list(texts(view(LocalTable=(LocalTable(id="", number=0),), PublicMapping=(PUBLIC,)))) == []


def test_an_endpoint_that_is_available_has_a_name_by_its_ids_and_a_private_one() -> None:
    item = view().local[0]
    enis = tuple(
        msgspec.structs.replace(item.eni, id=f"eni-00138800000000e0{k}", instance="", address=f"10.0.0.{k}") for k in (1, 2)
    )
    endpoint = VpcEndpoint(
        id="vpce-00138800000000001",
        vni=5000,
        type=EndpointType.INTERFACE,
        service="vpce-svc-00177000000000001",
        interfaces=tuple(eni.id for eni in enis),
        private_dns=True,
        private_dns_name="db.acme.example",
    )
    zone = VpcZone(
        vni=5000,
        zone="zone-00000000000000001",
        domain="acme.example",
        records=(RecordSet(name="a.db", type=RecordType.A, values=("10.0.0.9",)),),
    )
    named = EndpointNames(endpoint=endpoint, addresses=tuple(eni.address for eni in enis))
    found = list(texts(view(interfaces=enis, EndpointNames=(named,), VpcEndpoint=(endpoint,), VpcZone=(zone,))))
    assert found == [
        "names of vpc 5000 vpce-00138800000000001.vpce-svc-00177000000000001.vpce.netorch.internal 60 A 10.0.0.1 10.0.0.2",
        "names of vpc 5000 zone db.acme.example",
        "names of vpc 5000 db.acme.example 60 A 10.0.0.1 10.0.0.2",
        "names of vpc 5000 zone acme.example",
    ]
    pending = msgspec.structs.replace(endpoint, state=EndpointState.PENDING_ACCEPTANCE)
    assert list(texts(view(interfaces=enis, VpcEndpoint=(pending,), VpcZone=(zone,)))) == [
        "names of vpc 5000 zone acme.example",
        "names of vpc 5000 a.db.acme.example 300 A 10.0.0.9",
    ]


def test_metadata_tell_the_public_name_where_there_are_host_names() -> None:
    (part,) = [part for part in MetadataCompiler().parts if part.id == "metadata"]
    assert isinstance(part, VpcPart)
    item = view().local[0]
    for hostnames, wanted in ((True, "ec2-203-0-113-5.compute.internal"), (False, None)):
        found = view(hostnames=hostnames, PublicMapping=(msgspec.structs.replace(PUBLIC, eni=item.eni.id),))
        trees = [dict(obj.tree) for obj in part.compile(found.only(part.inputs)) if isinstance(obj, InstanceMetadata)]
        (own,) = [tree for tree in trees if tree["meta-data/instance-id"] == item.instance.id]
        assert own.get("meta-data/public-hostname") == wanted
        assert own["meta-data/public-ipv4"] == "203.0.113.5"
