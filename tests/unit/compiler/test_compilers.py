from __future__ import annotations

import msgspec
import pytest

from netorch.compiler.base import IPV6_GATEWAY, PORT_MAC, LocalEni, Phase, VpcView, ipv6_next_hop, link_local, router_mac
from netorch.compiler.overlay import OverlayCompiler
from netorch.compiler.ports import PortCompiler, kept_keys
from netorch.compiler.registry import compile_host
from netorch.compiler.vrf import VrfCompiler, router_address
from netorch.errors import CompileError
from netorch.model.mapping import Mapping, MoveDirection
from netorch.state.base import KernelObject
from netorch.state.l2 import Fdb
from netorch.state.l3 import Address, Neighbour, Route, Rule
from netorch.state.link import AdminUp, Sysctl, TapPort, VethPort, Vxlan
from tests.golden.cases import EniCase, MoveCase, SubnetCase
from tests.golden.clouds import CloudCase, VpcCase, host_view, mappings, vpc_view
from tests.views import mapping_objects, vpc_objects

HOSTS = {"hv1": "192.0.2.11", "hv2": "192.0.2.12", "hv3": "192.0.2.13"}
V6 = "2001:db8:0:12::4"
SUBNETS = {"s": SubnetCase("10.0.12.0/24", "2001:db8:0:12::/64"), "t": SubnetCase("10.0.16.0/20", "2001:db8:0:16::/64")}


def cloud(eni: EniCase, ipv6: bool = True) -> tuple[CloudCase, VpcCase]:
    """Return a cloud with one moving interface, and another interface on every host, so that each carries the VPC."""
    others = {f"on-{host}": EniCase("s", f"10.0.12.{100 + i}", host) for i, host in enumerate(HOSTS)}
    vpc = VpcCase(
        vni=5000,
        cidrs=("10.0.0.0/16",),
        ipv6_cidrs=("2001:db8::/56",) if ipv6 else (),
        subnets=SUBNETS,
        enis={"a": eni, **others},
    )
    return CloudCase(hosts=HOSTS, vpcs=(vpc,)), vpc


def view_of(eni: EniCase, host: str, ipv6: bool = True) -> VpcView:
    """Return one host's view."""
    view = vpc_view(*cloud(eni, ipv6), host)
    assert view is not None
    return view


def way(eni: EniCase, host: str, address: str) -> set[KernelObject]:
    """Return a host's objects for the mapping of an address."""
    mapping = next(m for m in mappings(*cloud(eni)) if m.address == address)
    return set(mapping_objects([OverlayCompiler()], view_of(eni, host), mapping).values())


def to_hv2(address: str, metric: int = 0) -> set[KernelObject]:
    """Return the objects for a path to hv2."""
    return {
        Route(vni=5000, table=5000, dst=f"{address}/32", via="192.0.2.12", ifname="vx5000", metric=metric),
        Neighbour(vni=5000, ifname="vx5000", dst="192.0.2.12", lladdr="02:4e:c0:00:02:0c"),
        Fdb(vni=5000, ifname="vx5000", lladdr="02:4e:c0:00:02:0c", dst="192.0.2.12"),
    }


def settled(host: str) -> EniCase:
    return EniCase("s", "10.0.12.4", host, V6)


def moving(host: str, direction: MoveDirection, other: str, plugged: bool = False) -> EniCase:
    return EniCase("s", "10.0.12.4", host, V6, move=MoveCase(direction, other), plugged=plugged)


def test_a_remote_address_is_a_route_to_its_vtep_behind_the_router_mac() -> None:
    assert way(settled("hv2"), "hv1", "10.0.12.4") == to_hv2("10.0.12.4")


def test_a_remote_ipv6_address_has_a_link_local_next_hop_and_the_same_fdb_entry() -> None:
    assert way(settled("hv2"), "hv1", V6) == {
        Route(vni=5000, table=5000, dst=f"{V6}/128", via="fe80::c000:20c", ifname="vx5000", metric=1024),
        Neighbour(vni=5000, ifname="vx5000", dst="fe80::c000:20c", lladdr="02:4e:c0:00:02:0c"),
        Fdb(vni=5000, ifname="vx5000", lladdr="02:4e:c0:00:02:0c", dst="192.0.2.12"),
    }


def test_a_local_address_needs_no_way() -> None:
    assert way(settled("hv1"), "hv1", "10.0.12.4") == set()


def test_the_old_host_prepares_to_relay_behind_the_ports_route() -> None:
    eni = moving("hv1", MoveDirection.TO, "hv2")
    assert way(eni, "hv1", "10.0.12.4") == to_hv2("10.0.12.4", metric=4096)
    metrics = {obj.metric for obj in way(eni, "hv1", V6) if isinstance(obj, Route)}
    assert metrics == {4096}


def test_the_new_host_sends_to_the_old_one_until_the_port_is_here() -> None:
    incoming = moving("hv2", MoveDirection.TO, "hv1")
    assert way(incoming, "hv1", "10.0.12.4") == to_hv2("10.0.12.4")
    plugged = moving("hv2", MoveDirection.TO, "hv1", plugged=True)
    assert way(plugged, "hv1", "10.0.12.4") == set()


def test_a_third_host_sees_nothing_of_a_move_until_the_mapping_changes() -> None:
    assert way(moving("hv2", MoveDirection.TO, "hv1"), "hv3", "10.0.12.4") == to_hv2("10.0.12.4")
    assert way(moving("hv2", MoveDirection.FROM, "hv1"), "hv3", "10.0.12.4") == to_hv2("10.0.12.4")


def test_the_old_host_sends_on_what_still_comes() -> None:
    eni = moving("hv2", MoveDirection.FROM, "hv1")
    assert way(eni, "hv1", "10.0.12.4") == to_hv2("10.0.12.4")
    assert way(eni, "hv2", "10.0.12.4") == set()


def test_the_relays_route_and_the_ports_stand_side_by_side_and_the_remote_one_shares_the_ports_key() -> None:
    eni = moving("hv1", MoveDirection.TO, "hv2")
    port = {key for key in vpc_objects([PortCompiler()], view_of(eni, "hv1")) if key[0] == "route"}
    for address, length in (("10.0.12.4", 32), (V6, 128)):
        relay = {obj.key for obj in way(eni, "hv1", address) if isinstance(obj, Route)}
        remote = {obj.key for obj in way(eni, "hv2", address) if isinstance(obj, Route)}
        assert not relay & port
        assert remote <= port
        assert {key[3] for key in relay | remote} == {f"{address}/{length}"}


def test_the_vxlan_device_never_asks_and_speaks_ipv6_only_when_the_vpc_does() -> None:
    for ipv6 in (False, True):
        objects = vpc_objects([OverlayCompiler()], view_of(settled("hv1"), "hv1", ipv6))
        assert objects[("link", "overlay", "vx5000")] == Vxlan(
            ifname="vx5000", vni=5000, local="192.0.2.11", lladdr="02:4e:c0:00:02:0b", mtu=1450, vrf="vrf5000"
        )
        assert ("up", "overlay", "vx5000") in objects
        solicits = {key: obj.value for key, obj in objects.items() if isinstance(obj, Sysctl) and "solicit" in obj.path}
        assert set(solicits.values()) == {"0"}
        assert any("ipv6" in str(key[2]) for key in objects if key[0] == "sysctl") == ipv6


def test_an_ipv6_underlay_is_refused_with_its_address() -> None:
    mapping = Mapping(vni=5000, address="10.0.12.9", eni="e", mac="02:00:00:00:00:01", host="hv9", vtep="2001:db8::9")
    with pytest.raises(CompileError, match="underlay address 2001:db8::9: an IPv6 underlay is not supported"):
        mapping_objects([OverlayCompiler()], view_of(settled("hv1"), "hv1"), mapping)


def test_router_mac_and_ipv6_next_hop_name_the_vtep() -> None:
    assert router_mac("192.0.2.11") == "02:4e:c0:00:02:0b"
    assert ipv6_next_hop("192.0.2.11") == "fe80::c000:20b"
    assert ipv6_next_hop("0.0.1.2") == "fe80::102"  # as the kernel prints it


def test_every_host_looks_into_the_vrfs_before_its_own_addresses() -> None:
    objects = compile_host([VrfCompiler()], host_view(cloud(settled("hv1"))[0], "hv1"))
    for version in (4, 6):
        assert objects[("rule", "overlay", version, 32765)] == Rule(version=version, priority=32765, table=255)
    assert objects[("sysctl", "overlay", "ipv4/udp_l3mdev_accept")] == Sysctl(path="ipv4/udp_l3mdev_accept", value="0")


def test_a_vrf_answers_for_the_router_of_every_subnet() -> None:
    objects = vpc_objects([VrfCompiler()], view_of(settled("hv1"), "hv1"))
    addresses = {obj.address for obj in objects.values() if isinstance(obj, Address)}
    assert addresses == {"10.0.12.1/32", "10.0.16.1/32", "2001:db8:0:12::1/128", "2001:db8:0:16::1/128"}


@pytest.mark.parametrize(("ipv6", "defaults"), [(False, {"0.0.0.0/0"}), (True, {"0.0.0.0/0", "::/0"})])
def test_nothing_falls_through_a_vrf(ipv6: bool, defaults: set[str]) -> None:
    objects = vpc_objects([VrfCompiler()], view_of(settled("hv1"), "hv1", ipv6))
    routes = [obj for obj in objects.values() if isinstance(obj, Route)]
    assert {route.dst for route in routes} == defaults
    assert {(route.ifname, route.metric) for route in routes} == {("", 4278198272)}


def test_router_address_is_the_first_after_the_network() -> None:
    assert router_address("10.0.16.0/20") == "10.0.16.1"
    assert router_address("2001:db8:0:16::/64") == "2001:db8:0:16::1"


def _ifname(obj: KernelObject) -> str:
    return str(getattr(obj, "ifname", ""))


def ports(view: VpcView) -> dict[str, set[KernelObject]]:
    """Return the objects of each port by device."""
    found: dict[str, set[KernelObject]] = {}
    for obj in vpc_objects([PortCompiler()], view).values():
        found.setdefault(_ifname(obj), set()).add(obj)
    return found


def test_a_port_has_the_same_mac_everywhere_and_permanent_neighbours() -> None:
    objects = ports(view_of(settled("hv1"), "hv1"))["v-0013880000001"]
    mac = "02:00:00:00:88:01"
    device = next(obj for obj in objects if isinstance(obj, VethPort))
    assert (device.lladdr, device.mtu, device.vrf) == (PORT_MAC, 1450, "vrf5000")
    assert (device.instance_netns, device.make_netns) == ("i-00138800000010000", True)
    assert (device.inside.ifname, device.inside.lladdr) == ("eth0", mac)
    assert device.inside.addresses == ("10.0.12.4/24", f"{V6}/128")
    assert device.inside.gateways == ("10.0.12.1", IPV6_GATEWAY)
    neighbours = {(obj.dst, obj.lladdr) for obj in objects if isinstance(obj, Neighbour)}
    assert neighbours == {("10.0.12.4", mac), (V6, mac), ("fe80::ff:fe00:8801", mac)}
    assert {obj for obj in objects if isinstance(obj, Route)} == {
        Route(vni=5000, table=5000, dst="10.0.12.4/32", ifname="v-0013880000001"),
        Route(vni=5000, table=5000, dst=f"{V6}/128", ifname="v-0013880000001", metric=1024),
        Route(vni=5000, table=5000, dst="fe80::ff:fe00:8801/128", ifname="v-0013880000001", metric=1024),
    }
    assert Address(vni=5000, ifname="v-0013880000001", address="fe80::1/128") in objects
    assert AdminUp(vni=5000, ifname="v-0013880000001") in objects


def test_a_port_without_an_ipv6_address_has_no_ipv6() -> None:
    objects = ports(view_of(settled("hv1"), "hv1"))["v-0013880000002"]
    assert not [obj for obj in objects if "ipv6" in repr(obj) or "fe80" in repr(obj)]


def test_attachments_differ_in_the_device_only() -> None:
    eni = settled("hv1")
    existing = msgspec.structs.replace(eni, attachment="existing", netns="/proc/4711/ns/net")
    veth = next(obj for obj in ports(view_of(_typed(existing), "hv1"))["v-0013880000001"] if isinstance(obj, VethPort))
    assert (veth.instance_netns, veth.make_netns) == ("/proc/4711/ns/net", False)
    tap = ports(view_of(_typed(msgspec.structs.replace(eni, attachment="tap")), "hv1"))["v-0013880000001"]
    assert TapPort(vni=5000, ifname="v-0013880000001", lladdr=PORT_MAC, mtu=1450, vrf="vrf5000") in tap
    assert {obj for obj in tap if obj.key[0] != "link"} == {
        obj for obj in ports(view_of(eni, "hv1"))["v-0013880000001"] if obj.key[0] != "link"
    }


def _typed(eni: EniCase) -> EniCase:
    return msgspec.convert(msgspec.to_builtins(eni), EniCase)


def test_an_arriving_interface_has_no_port_yet() -> None:
    incoming = view_of(moving("hv2", MoveDirection.TO, "hv1"), "hv1")
    assert {item.phase for item in incoming.local} == {Phase.ACTIVE, Phase.INCOMING}
    assert set(ports(incoming)) == {"v-0013880000002"}


def test_a_departing_port_is_kept_with_all_that_is_its_own() -> None:
    view = view_of(moving("hv1", MoveDirection.TO, "hv2"), "hv1")
    kept, objects = kept_keys(view), vpc_objects([PortCompiler()], view)
    own = {key for key, obj in objects.items() if _ifname(obj) == "v-0013880000001"}
    assert {key for key, obj in objects.items() if key in kept or obj.parent in kept} == own
    assert kept_keys(view_of(settled("hv1"), "hv1")) == frozenset()


def test_link_local_flips_the_universal_bit() -> None:
    assert link_local("02:00:00:00:88:01") == "fe80::ff:fe00:8801"
    assert link_local("34:56:78:9a:bc:de") == "fe80::3656:78ff:fe9a:bcde"  # the example of RFC 2464 section 4


def test_a_second_interface_has_a_name_and_routers_of_its_own_which_are_not_the_default_ones() -> None:
    view = view_of(settled("hv1"), "hv1")
    first = view.local[0]
    other = {"id": "eni-0013880abcdef1234", "address": "10.0.12.44", "ipv6_address": "2001:db8::44", "mac": "02:00:00:00:88:44"}
    second = msgspec.structs.replace(first, eni=msgspec.structs.replace(first.eni, **other))
    both = msgspec.structs.replace(view, inputs={**view.inputs, LocalEni: (first, second)})
    insides = {obj.inside.ifname: obj.inside for objects in ports(both).values() for obj in objects if isinstance(obj, VethPort)}
    assert set(insides) == {"eth0", "eni0abcdef"}
    assert [insides[name].is_primary for name in ("eth0", "eni0abcdef")] == [True, False]
    assert insides["eth0"].gateways == insides["eni0abcdef"].gateways == ("10.0.12.1", IPV6_GATEWAY)
