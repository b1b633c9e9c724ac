"""Random small clouds: VPCs with the same addresses, interfaces in every phase of a move, and drift of a kernel."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st

from netorch.compiler.base import PORT_MAC
from netorch.compiler.registry import Objects
from netorch.model.eni import Attachment
from netorch.model.mapping import MoveDirection
from netorch.state.base import OVERLAY, KernelObject
from netorch.state.l2 import Fdb
from netorch.state.l3 import Neighbour, Route
from netorch.state.link import IncompleteLink, TapPort, VethPort, Vrf, Vxlan
from netorch.state.nft import NftElement, NftTable
from tests.golden.cases import EniCase, MoveCase, SubnetCase
from tests.golden.clouds import CloudCase, VpcCase
from tests.property.dict_kernel import DictKernel

HOSTS = {"hv1": "192.0.2.11", "hv2": "192.0.2.12", "hv3": "192.0.2.13"}
NAMES = ("a", "b", "c", "d")


TABLES = st.sampled_from(("", "t1", "t2"))
DESTINATIONS = st.sampled_from(
    ("0.0.0.0/0", "::/0", "192.0.2.0/24", "10.0.0.0/16", "10.0.0.0/29", "10.0.0.8/29", "2001:db8::/64", "2001:db8:0:1::/64")
)
TARGETS = st.sampled_from(("blackhole", "eni a", "eni b", "eni nobody", "igw-00138800000000001", "igw"))
SEATS = st.sampled_from(((), ("hv3",), ("hv2", "hv3")))
ROUTES = st.dictionaries(DESTINATIONS, TARGETS, max_size=3)


@st.composite
def enis(draw: st.DrawFn, place: int, dual_stack: bool) -> EniCase:
    """An interface in any phase, whose address depends only on its place."""
    host = draw(st.sampled_from(sorted(HOSTS)))
    other = draw(st.sampled_from(sorted(HOSTS.keys() - {host})))
    move = draw(st.none() | st.sampled_from(MoveDirection).map(lambda direction: MoveCase(direction, other)))
    return EniCase(
        subnet="st"[place % 2],
        address=f"10.0.0.{place // 2 + 4 + 8 * (place % 2)}",
        host=host,
        ipv6_address=f"2001:db8:0:{place % 2}::{place + 4:x}" if dual_stack and draw(st.booleans()) else "",
        attachment=draw(st.sampled_from(Attachment)),
        move=move,
        plugged=draw(st.booleans()),
    )


@st.composite
def vpcs(draw: st.DrawFn, vni: int) -> VpcCase:
    """A VPC; all VPCs have the same addresses."""
    dual_stack = draw(st.booleans())
    names = draw(st.lists(st.sampled_from(NAMES), unique=True))
    return VpcCase(
        vni=vni,
        cidrs=("10.0.0.0/16",),
        ipv6_cidrs=("2001:db8::/56",) if dual_stack else (),
        subnets={
            "s": SubnetCase("10.0.0.0/29", "2001:db8::/64" if dual_stack else "", draw(TABLES)),
            "t": SubnetCase("10.0.0.8/29", "2001:db8:0:1::/64" if dual_stack else "", draw(TABLES)),
        },
        route_tables={name: draw(ROUTES) for name in ("", "t1", "t2")},
        seats=draw(SEATS),
        enis={name: draw(enis(NAMES.index(name), dual_stack)) for name in names},
    )


@st.composite
def clouds(draw: st.DrawFn) -> CloudCase:
    """A cloud of up to three VPCs."""
    vnis = draw(st.lists(st.sampled_from((5000, 5001, 0xABCDE)), unique=True, min_size=1))
    silent = tuple(draw(st.lists(st.sampled_from(sorted(HOSTS)), unique=True)))
    mtus = draw(st.dictionaries(st.sampled_from(sorted(HOSTS)), st.sampled_from((1400, 9000))))
    return CloudCase(hosts=HOSTS, vpcs=tuple(draw(vpcs(vni)) for vni in vnis), silent=silent, mtus=mtus)


def with_policy(objects: Objects, text: str = "chain a { }") -> Objects:
    """Return the objects plus a table and one element of it for each port, in place of those of the policy compilers."""
    table = NftTable(netns=OVERLAY, family="inet", body=text)
    ports = [obj for obj in objects.values() if isinstance(obj, VethPort | TapPort)]
    elements = [NftElement(netns=OVERLAY, family="inet", set="src4", items=(p.ifname,), vni=p.vni) for p in ports]
    return {**objects, **{obj.key: obj for obj in (table, *elements)}}


@st.composite
def drifted(draw: st.DrawFn, objects: Objects) -> Objects:
    """The objects of a kernel that others changed: some lost with all that depends on them, altered, or of another kind."""
    kernel = DictKernel(objects)
    if objects:
        keys = st.sampled_from(sorted(objects, key=repr))
        for key in draw(st.lists(keys, max_size=6)):
            kernel.lose(key)
        links = [key for key in sorted(objects, key=repr) if key[0] == "link"]
        for key in draw(st.lists(st.sampled_from(links) | keys if links else keys, max_size=6)):
            obj = kernel.objects.get(key)
            if obj is not None:
                kernel.objects[key] = draw(st.sampled_from(_variants(obj)))
    return kernel.objects


def _variants(obj: KernelObject) -> list[KernelObject]:
    replace = msgspec.structs.replace
    match obj:
        case Vrf():
            return [replace(obj, table=4242), IncompleteLink(vni=obj.vni, ifname=obj.ifname), obj]
        case Vxlan():
            changes: list[dict[str, Any]] = [{"local": "192.0.2.99"}, {"mtu": 1000}, {"vrf": ""}, {"lladdr": PORT_MAC}]
            return [IncompleteLink(vni=obj.vni, ifname=obj.ifname), *(replace(obj, **change) for change in changes)]
        case VethPort() | TapPort():
            tap = TapPort(vni=obj.vni, ifname=obj.ifname, lladdr=PORT_MAC, mtu=obj.mtu, vrf=obj.vrf)
            return [IncompleteLink(vni=obj.vni, ifname=obj.ifname), tap, replace(obj, mtu=1000), replace(obj, vrf="")]
        case Route() if obj.via:
            return [replace(obj, via="192.0.2.99")]
        case Neighbour():
            return [replace(obj, lladdr="02:00:00:00:00:99")]
        case Fdb():
            return [replace(obj, dst="192.0.2.99")]
        case NftTable():
            return [replace(obj, body="chain z { }")]
        case _:
            return [obj]
