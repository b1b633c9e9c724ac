"""An interface endpoint as text: the objects of edges and a hypervisor for the consumer's VPC and the provider's.

NETORCH_UPDATE_GOLDEN=1 rewrites the text; read the difference before committing it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import pytest

from edges.interface_endpoint.parts import InterfaceEndpoints
from netorch.compiler.base import Gateway, HostView, LocalTable, VpcView
from netorch.compiler.interface_endpoint import BACK, FRONT, Backend, EndpointEnd
from netorch.compiler.overlay import OverlayCompiler
from netorch.compiler.registry import compile_slice
from netorch.model.endpoints.endpoint_service import ServicePort
from netorch.model.eni import Host, Role, Uplink
from netorch.model.ids import make_id, port_name
from netorch.model.mapping import Mapping, Seat
from netorch.model.security import TCP, UDP, AclEntry, NetworkAcl, SecurityGroup, SecurityGroupRule
from netorch.model.vpc import Subnet, Vpc
from netorch.plan.explain import explain_state
from netorch.state.link import Sysctl
from netorch.state.nft import NftTable
from policy.verify import Verify
from tests.views import make_view

GOLDEN: Final = Path(__file__).with_name("interface_endpoint.txt")
CONSUMER, PROVIDER = 5000, 6000
CONNECTION: Final = make_id("vpce-con", CONSUMER, 0xA0B0C0D0E)
SERVICE: Final = make_id("vpce-svc", PROVIDER, 0xB0C0D0E0F)
SEATS: Final = tuple(Seat(host=name, vtep=vtep) for name, vtep in (("e1", "192.0.2.21"), ("e2", "192.0.2.22")))
VTEPS: Final = {"hv1": "192.0.2.11", **{seat.host: seat.vtep for seat in SEATS}}
UPLINK: Final = Uplink(device="eth1", address="198.18.0.21/24", gateway="198.18.0.254")
CLIENTS: Final = make_id("sg", CONSUMER, 1)
GROUP: Final = make_id("sg", CONSUMER, 2)
OPEN: Final = (AclEntry(number=100, allow=True, protocol=-1, cidr="0.0.0.0/0"),)
NARROW: Final = (AclEntry(number=100, allow=True, protocol=TCP, cidr="0.0.0.0/0", from_port=1024, to_port=65535),)


def host(name: str) -> HostView:
    """Return the compilers' view of a host."""
    is_edge = name != "hv1"
    role, pair, uplink = (Role.EDGE, "west", UPLINK) if is_edge else (Role.HYPERVISOR, "", None)
    record = Host(name=name, underlay=VTEPS[name], role=role, pair=pair, uplink=uplink)
    return HostView(host=record, underlay_ifname="eth0", underlay_mtu=1500)


def subnet(vni: int) -> Subnet:
    """Return the subnet in which a VPC has its end; both subnets have the same range."""
    return Subnet(id=make_id("subnet", vni, 1), vni=vni, name="link", cidr="10.0.9.0/24")


def beside(vni: int) -> Subnet:
    """Return the endpoint's other subnet, which has its own ACL."""
    return Subnet(id=make_id("subnet", vni, 2), vni=vni, name="beside", cidr="10.0.10.0/24", acl=make_id("acl", vni, 2))


def acl(vni: int) -> NetworkAcl:
    """Return the default ACL; the provider's allows little ingress."""
    ingress = OPEN if vni == CONSUMER else NARROW
    return NetworkAcl(id=make_id("acl", vni, 1), vni=vni, name="default", ingress=ingress, egress=OPEN)


def narrow(vni: int) -> NetworkAcl:
    """Return the ACL of the endpoint's other subnet."""
    return NetworkAcl(id=make_id("acl", vni, 2), vni=vni, name="narrow", ingress=NARROW, egress=NARROW)


def end(vni: int) -> EndpointEnd:
    """Return a VPC's end of the connection."""
    gateway, inside = (CONNECTION, FRONT) if vni == CONSUMER else (SERVICE, BACK)
    return EndpointEnd(
        connection=CONNECTION,
        inside=inside,
        gateway=Gateway(id=gateway, seats=SEATS, seat=SEATS[0]),
        eni=make_id("eni", vni, 0xC0D0E0F01),
        mac=f"02:00:00:00:00:{vni & 255:02x}",
        addresses=("10.0.9.4", "10.0.10.4") if vni == CONSUMER else ("10.0.9.4",),
        subnets=(subnet(vni), beside(vni)) if vni == CONSUMER else (subnet(vni),),
        groups=(GROUP,) if vni == CONSUMER else (),
    )


def backend(*, relays: bool) -> Backend:
    """Return two targets; one has the address of a consumer's instance, the other one does not answer."""
    found = end(PROVIDER)
    ports = (ServicePort(protocol=TCP, port=443, target_port=8443), ServicePort(protocol=UDP, port=53, target_port=53))
    return Backend(
        connection=CONNECTION,
        endpoint=make_id("vpce", CONSUMER, 0xA0B0C0D0E),
        port=port_name(found.eni),
        mac=found.mac,
        address=found.addresses[0],
        subnet=found.subnet,
        acl=acl(PROVIDER),
        ports=ports,
        targets=("10.0.1.5", "10.0.1.6"),
        ailing=frozenset({("10.0.1.6", 8443)}) if relays else frozenset(),
        proxy_protocol=relays,
    )


def view(name: str, vni: int) -> VpcView:
    """Return the compilers' view of one of the two VPCs on a host."""
    rules = (
        SecurityGroupRule(id=make_id("sgr", vni, 1), protocol=TCP, from_port=443, to_port=443, group=CLIENTS),
        SecurityGroupRule(id=make_id("sgr", vni, 2), protocol=UDP, from_port=53, to_port=53, cidr="10.0.1.0/24"),
    )
    groups = [SecurityGroup(id=CLIENTS, vni=vni, name="clients"), SecurityGroup(id=GROUP, vni=vni, name="front", ingress=rules)]
    return make_view(
        host(name),
        Vpc(id=make_id("vpc", vni, 1), vni=vni, owner="o", name="v", cidrs=("10.0.0.0/16",)),
        tables=(LocalTable(id="", number=0), LocalTable(id=make_id("rtb", vni, 1), number=255, is_main=True)),
        groups=groups if vni == CONSUMER else (),
        identities=[(CLIENTS,)] if vni == CONSUMER else (),
        acls=[acl(vni), *([narrow(vni)] if vni == CONSUMER else [])],
        endpoints=[end(vni), *([backend(relays=name == "e2")] if vni == CONSUMER and name != "hv1" else [])],
    )


def mappings(vni: int) -> list[Mapping]:
    """Return the mapping of an instance of either VPC, on one hypervisor."""
    groups = (CLIENTS,) if vni == CONSUMER else ()
    eni = make_id("eni", vni, 7)
    return [Mapping(vni=vni, address="10.0.1.5", eni=eni, mac="02:00:00:00:01:05", host="hv1", vtep=VTEPS["hv1"], groups=groups)]


def story() -> Iterator[str]:
    """Yield each host's objects for each VPC, without sysctls, and the tables of the connection's namespace."""
    compilers = (OverlayCompiler(), Verify(), InterfaceEndpoints())
    for name in VTEPS:
        for vni in (CONSUMER, PROVIDER):
            objects = compile_slice(compilers, view(name, vni), mappings(vni))
            shown = {key: obj for key, obj in objects.items() if not isinstance(obj, Sysctl)}
            yield f"=== {name}: VPC {vni} ===\n{explain_state(shown)}"
            if name in ("e1", "e2") and vni == CONSUMER:
                tables = (obj for obj in objects.values() if isinstance(obj, NftTable) and obj.netns == CONNECTION)
                yield from (f"=== {name}: table of {CONNECTION} ===\n{table.body}\n" for table in tables)


def test_what_hosts_hold_is_as_written() -> None:
    text = "\n".join(story())
    if os.environ.get("NETORCH_UPDATE_GOLDEN") == "1":
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


@pytest.mark.parametrize("missing", ["backend", "targets"])
def test_without_a_service_nothing_begins(missing: str) -> None:
    found = view("e1", CONSUMER)
    backends = () if missing == "backend" else (msgspec.structs.replace(backend(relays=missing == "targets"), targets=()),)
    found = msgspec.structs.replace(found, inputs={**found.inputs, Backend: backends})
    objects = compile_slice((InterfaceEndpoints(),), found, [])
    bodies = [obj.body for obj in objects.values() if isinstance(obj, NftTable)]
    assert not any("dnat" in line and "ct status" not in line for body in bodies for line in body.splitlines())
    assert len(bodies) == (0 if missing == "backend" else 1)
