"""Route tables as VRFs: the routes of each, the VRF of each port, and the routes to an address."""

from __future__ import annotations

import msgspec

from netorch.compiler.base import HostView, LocalEni, VpcView
from netorch.compiler.overlay import OverlayCompiler
from netorch.compiler.ports import PortCompiler
from netorch.compiler.tables import local_tables, table_routes
from netorch.compiler.vrf import VrfCompiler
from netorch.model.addr import parse_prefix
from netorch.model.eni import Host, Instance, NetworkInterface
from netorch.model.ids import make_id
from netorch.model.mapping import Mapping
from netorch.model.routing.effective import overrides
from netorch.model.vpc import RouteTable, Subnet, Vpc, VpcRoute
from netorch.state.base import KernelObject
from netorch.state.l3 import Address, Route
from netorch.state.link import AdminUp, Settings, VethPort, Vrf, Vxlan
from netorch.state.nft import NftElement
from policy.chains import Chains
from tests.views import MAIN, make_view, mapping_objects, vpc_objects

VNI = 5000
VPC = Vpc(id=make_id("vpc", VNI, 1), vni=VNI, owner="o", name="v", cidrs=("10.0.0.0/16",), ipv6_cidrs=("2001:db8::/56",))
CLOSED = make_id("rtb", VNI, 2)
APP = Subnet(id=make_id("subnet", VNI, 1), vni=VNI, name="app", cidr="10.0.1.0/24", ipv6_cidr="2001:db8:0:1::/64")
WEB = Subnet(
    id=make_id("subnet", VNI, 2), vni=VNI, name="web", cidr="10.0.2.0/24", ipv6_cidr="2001:db8:0:2::/64", route_table=CLOSED
)
HOST = HostView(host=Host(name="hv1", underlay="192.0.2.11"), underlay_ifname="eth0", underlay_mtu=1500)
GONE = make_id("eni", VNI, 9)
BASE, OTHER = VNI, 1 << 24 | VNI


def local(subnet: Subnet, number: int) -> LocalEni:
    """Return an interface at the address `number` of its subnet."""
    eni = NetworkInterface(
        id=make_id("eni", VNI, number << 16),
        vni=VNI,
        subnet=subnet.id,
        mac=f"02:00:00:00:00:{number:02x}",
        address=subnet.cidr.replace("0/24", str(number)),
        ipv6_address=subnet.ipv6_cidr.replace("/64", str(number)),
        instance=make_id("i", VNI, number << 16),
    )
    return LocalEni(eni=eni, subnet=subnet, instance=Instance(id=eni.instance, vni=VNI, name=f"i{number}"))


def view(*routes: tuple[str, str], vpc: Vpc = VPC, main: tuple[tuple[str, str], ...] = ()) -> VpcView:
    """Return a VPC with a port in each subnet; the second route table, and the main one, have these routes."""
    tables = [
        RouteTable(
            id=MAIN.id if name == "main" else CLOSED,
            vni=VNI,
            name=name,
            main=name == "main",
            number=number,
            routes=tuple(VpcRoute(destination=destination, target=target) for destination, target in written),
        )
        for number, (name, written) in enumerate((("main", main), ("closed", routes)))
    ]
    return make_view(
        HOST,
        vpc,
        subnets=[APP, WEB],
        local=[local(APP, 4), local(WEB, 5)],
        tables=(found := local_tables(vpc, tables)),
        routes=table_routes(vpc, tables, found, frozenset(), {}),
    )


def lines(found: VpcView, table: int) -> set[str]:
    """Return the routes of route tables in a kernel table, without the last-resort routes of every VRF."""
    objects = vpc_objects([VrfCompiler()], found).values()
    routes = [obj for obj in objects if isinstance(obj, Route) and obj.table == table]
    return {f"{obj.type} {obj.dst} {obj.metric}" for obj in routes if obj.metric < 1 << 31}


def test_each_route_table_in_use_has_a_vrf_with_the_routers_addresses() -> None:
    found: dict[type, list[KernelObject]] = {}
    for obj in vpc_objects([VrfCompiler()], view()).values():
        found.setdefault(type(obj), []).append(obj)
    names = ["vrf5000", "vrf5000.1"]
    assert [(obj.ifname, obj.table) for obj in found[Vrf] if isinstance(obj, Vrf)] == [(names[0], BASE), (names[1], OTHER)]
    for of in (AdminUp, Settings):
        assert [obj.ifname for obj in found[of] if isinstance(obj, of)] == names
    routers = ["10.0.1.1/32", "2001:db8:0:1::1/128", "10.0.2.1/32", "2001:db8:0:2::1/128"]
    assert [(obj.ifname, obj.address) for obj in found[Address] if isinstance(obj, Address)] == [
        (name, address) for name in names for address in routers
    ]
    last = [(obj.table, obj.dst, obj.type) for obj in found[Route] if isinstance(obj, Route)]
    assert last == [(table, dst, "unreachable") for table in (BASE, OTHER) for dst in ("0.0.0.0/0", "::/0")]


def test_a_table_with_local_routes_only_has_no_routes_of_its_own() -> None:
    assert lines(view(), BASE) == lines(view(), OTHER) == set()


def test_a_route_that_leads_nowhere_is_a_black_hole_in_its_own_table_only() -> None:
    found = view(("192.0.2.0/24", "blackhole"), ("198.51.100.0/24", GONE), ("2001:db8:1::/48", "igw-" + GONE[4:]))
    assert lines(found, BASE) == set()
    assert lines(found, OTHER) == {"blackhole 192.0.2.0/24 0", "blackhole 198.51.100.0/24 0", "blackhole 2001:db8:1::/48 1024"}


def test_a_wider_route_takes_nothing_of_the_vpc() -> None:
    assert lines(view(("0.0.0.0/0", "blackhole")), OTHER) == {
        "unreachable 10.0.0.0/16 0",
        "blackhole 0.0.0.0/0 0",
        "blackhole 169.254.168.0/22 0",
    }
    assert lines(view(("10.0.0.0/8", "blackhole")), OTHER) == {"unreachable 10.0.0.0/16 0", "blackhole 10.0.0.0/8 0"}


def test_a_vpc_without_ipv6_has_no_ipv6_routes() -> None:
    plain = msgspec.structs.replace(VPC, ipv6_cidrs=())
    assert lines(view(("::/0", "blackhole"), vpc=plain), OTHER) == set()


def test_a_port_is_in_the_vrf_of_its_subnets_table_and_reached_from_all() -> None:
    objects = vpc_objects([PortCompiler()], view()).values()
    ports = {obj.ifname: obj.vrf for obj in objects if isinstance(obj, VethPort)}
    assert list(ports.values()) == ["vrf5000", "vrf5000.1"]
    app, web = ports
    ways = {(obj.table, obj.dst, obj.ifname) for obj in objects if isinstance(obj, Route) and not obj.dst.startswith("fe80")}
    addresses = [(app, "10.0.1.4/32"), (app, "2001:db8:0:1::4/128"), (web, "10.0.2.5/32"), (web, "2001:db8:0:2::5/128")]
    assert ways == {(table, dst, port) for table in (BASE, OTHER) for port, dst in addresses}


def test_a_mapping_has_a_way_in_every_table_and_one_next_hop() -> None:
    mapping = Mapping(
        vni=VNI, address="10.0.1.9", eni=make_id("eni", VNI, 8), mac="02:00:00:00:00:09", host="hv2", vtep="192.0.2.12"
    )
    found = list(mapping_objects([OverlayCompiler()], view(), mapping).values())
    assert [obj.table for obj in found if isinstance(obj, Route)] == [BASE, OTHER]
    assert len(found) == 4  # plus a neighbour and an FDB entry


def test_what_a_table_routes_elsewhere_is_not_there_one_by_one() -> None:
    found = view((APP.cidr, GONE), (APP.ipv6_cidr, GONE))
    assert lines(found, OTHER) == {f"blackhole {APP.cidr} 0", f"blackhole {APP.ipv6_cidr} 1024"}
    ways = [obj for obj in vpc_objects([PortCompiler()], found).values() if isinstance(obj, Route)]
    app = {obj.table for obj in ways if obj.dst in ("10.0.1.4/32", "2001:db8:0:1::4/128")}
    web = {obj.table for obj in ways if obj.dst in ("10.0.2.5/32", "2001:db8:0:2::5/128")}
    assert (app, web) == ({BASE}, {BASE, OTHER})
    for address, tables in (("10.0.1.9", [BASE]), ("10.0.2.9", [BASE, OTHER])):
        mapping = Mapping(
            vni=VNI, address=address, eni=make_id("eni", VNI, 8), mac="02:00:00:00:00:09", host="hv2", vtep="192.0.2.12"
        )
        objects = mapping_objects([OverlayCompiler()], found, mapping).values()
        assert [obj.table for obj in objects if isinstance(obj, Route)] == tables


def test_a_main_table_that_leads_elsewhere_leaves_the_first_vrf_to_what_comes_from_other_hosts() -> None:
    found = view(main=((APP.cidr, GONE),))
    apart = 255 << 24 | VNI
    assert lines(found, BASE) == set()
    assert lines(found, apart) == {f"blackhole {APP.cidr} 0"}
    objects = vpc_objects([PortCompiler(), OverlayCompiler()], found).values()
    assert [obj.vrf for obj in objects if isinstance(obj, VethPort)] == ["vrf5000.255", "vrf5000.1"]
    assert [obj.vrf for obj in objects if isinstance(obj, Vxlan)] == ["vrf5000"]
    ways = {obj.table for obj in objects if isinstance(obj, Route) and obj.dst == "10.0.1.4/32"}
    assert ways == {BASE, OTHER}


def test_only_what_may_replace_local_overrides() -> None:
    written = [VpcRoute(destination="10.0.1.0/24", target="blackhole"), VpcRoute(destination="10.0.0.0/16", target=GONE)]
    assert overrides(VPC, written) == (parse_prefix("10.0.0.0/16"),)


def test_the_zone_of_a_vpc_is_that_of_all_its_vrfs() -> None:
    objects = vpc_objects([Chains()], _without_rules(view())).values()
    zones = {obj.items[0]: obj.value for obj in objects if isinstance(obj, NftElement) and obj.set == "zone"}
    assert zones == dict.fromkeys(("vrf5000", "vrf5000.1", "vx5000"), "0x1")


def _without_rules(found: VpcView) -> VpcView:
    inputs = dict(found.inputs)
    inputs[LocalEni] = ()
    return msgspec.structs.replace(found, inputs=inputs)


def test_a_main_table_with_a_number_keeps_its_vrf_and_leaves_the_first_one_to_local_routes() -> None:
    """When another table becomes the main one, only ports of subnets without an explicit table change their VRF."""
    first = RouteTable(id=MAIN.id, vni=VNI, name="main", number=2, routes=(VpcRoute(destination="0.0.0.0/0", target=GONE),))
    closed = RouteTable(
        id=CLOSED, vni=VNI, name="closed", main=True, number=1, routes=(VpcRoute(destination="::/0", target=GONE),)
    )
    found = make_view(
        HOST,
        VPC,
        subnets=[APP, WEB],
        local=[local(APP, 4), local(WEB, 5)],
        tables=(tables := local_tables(VPC, [closed])),
        routes=table_routes(VPC, [closed], tables, frozenset(), {}),
    )
    assert {found.vrf_of(subnet) for subnet in (APP, WEB)} == {f"vrf{VNI}.1"}
    assert found.vrf == f"vrf{VNI}"
    assert not [line for line in lines(found, BASE) if line.startswith("blackhole")]
    assert [line for line in lines(found, OTHER) if line.startswith("blackhole ::/0")]
    assert {table.number for table in local_tables(VPC, [closed, first])} == {0, 1, 2}
