"""An internet gateway made of filters alone: two VPCs with the same private addresses, an edge for both, and the internet.

    a (VNI 5000), b (VNI 6000) --VXLAN--> edge's underlay; edge's overlay --cable each--> outside ---> internet

An instance and its hypervisor are one namespace here: the instance's address is on the VXLAN device.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from netorch.drivers import netns
from netorch.drivers.tc.driver import Tc
from netorch.state import base
from netorch.state.op import Create
from netorch.state.tc import (
    EGRESS,
    INGRESS,
    IP,
    IPV6,
    VERIFIED,
    Action,
    Clsact,
    Drop,
    Match,
    Nat,
    OtherPriority,
    Pass,
    Redirect,
    TcFilter,
)

VNIS = {"a": 5000, "b": 6000}
NUMBERS = {"a": 11, "b": 12}  # the last part of each one's VTEP
PUBLIC = {"a": "198.51.100.5", "b": "198.51.100.6"}
PRIVATE, UNNAMED, PRIVATE_6 = "10.0.1.5", "10.0.1.7", "2001:db8:5::5"
INTERNET, INTERNET_6 = "203.0.113.10", "2001:db8:99::10"
EDGE, OVERLAY, OUTSIDE = "edge", "edge-overlay", "edge-outside"
NEAR_MAC = "02:4f:ff:ff:ff:01"


def mac_of(number: int) -> str:
    return f"02:4e:c0:00:02:{number:02x}"


def gateway_mac(vni: int) -> str:
    return f"02:4f:00:00:{vni >> 8:02x}:{vni & 255:02x}"


def cable(vni: int) -> str:
    return f"p-{vni:06x}0000001"


# --- the objects -------------------------------------------------------------------------------------------------------------


def on_vxlan(vni: int, step: int, match: Match | OtherPriority, *actions: Action) -> TcFilter:
    return TcFilter(vni=vni, ifname=f"vx{vni}", step=step, match=match, actions=actions)


def on_cable(vni: int, hook: str, step: int, match: Match, *actions: Action) -> TcFilter:
    return TcFilter(vni=vni, ifname=cable(vni), hook=hook, step=step, match=match, actions=actions)


def foreign_source(vni: int) -> TcFilter:
    """Return the filter that drops packets from the internet with a source inside the VPC."""
    return on_cable(vni, INGRESS, 5, Match(protocol=IP, src="10.0.0.0/16"), Drop())


def nobody_else(vni: int, hook: str, protocol: str = IP) -> TcFilter:
    return on_cable(vni, hook, 20, Match(protocol=protocol), Drop())


def gateway(vni: int) -> tuple[TcFilter, ...]:
    leaves = Redirect(cable(vni), EGRESS)
    return (
        on_vxlan(vni, 1, OtherPriority(VERIFIED), Drop()),
        on_vxlan(vni, 10, Match(protocol=IP, dst_mac=gateway_mac(vni)), leaves),
        on_vxlan(vni, 10, Match(protocol=IPV6, dst_mac=gateway_mac(vni), src="2001:db8:5::/64"), leaves),
        on_vxlan(vni, 20, Match(dst_mac=gateway_mac(vni)), Drop()),
        foreign_source(vni),
        on_cable(vni, INGRESS, 10, Match(protocol=IPV6, dst="2001:db8:5::/64"), Pass()),
        *(nobody_else(vni, hook) for hook in (INGRESS, EGRESS)),
        nobody_else(vni, INGRESS, IPV6),
    )


def elastic_ip(vni: int, public: str, private: str = PRIVATE) -> tuple[TcFilter, TcFilter]:
    return (
        on_cable(vni, INGRESS, 10, Match(protocol=IP, dst=f"{public}/32"), Nat(INGRESS, f"{public}/32", private)),
        on_cable(vni, EGRESS, 10, Match(protocol=IP, src=f"{private}/32"), Nat(EGRESS, f"{private}/32", public)),
    )


# --- the namespaces ----------------------------------------------------------------------------------------------------------


def ip(namespace: str, lines: str) -> None:
    subprocess.run(["ip", "-n", namespace, "-batch", "-"], input=lines, text=True, check=True, capture_output=True)


def bridge(namespace: str, words: str) -> None:
    subprocess.run(["bridge", "-n", namespace, *words.split()], check=True, capture_output=True)


def settle(namespace: str, *, forwards: bool) -> None:
    """Turn on forwarding in a new namespace; turn off source checks and DAD."""
    descriptor = netns.make(namespace)
    with netns.inside(descriptor):
        conf = Path("/proc/sys/net")
        for path in ("ipv4/conf/all/rp_filter", "ipv4/conf/default/rp_filter", "ipv6/conf/all/accept_dad"):
            (conf / path).write_text("0")
        (conf / "ipv6/conf/default/accept_dad").write_text("0")
        for path in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            (conf / path).write_text(str(int(forwards)))
    os.close(descriptor)
    ip(namespace, "link set lo up\n")


def make_edge() -> None:
    ip(EDGE, "link add br0 address 02:00:00:00:00:21 type bridge\nlink set br0 up mtu 1600\naddr add 192.0.2.21/24 dev br0\n")
    ip(
        OUTSIDE,
        f"""link add out0 type veth peer name out0 netns internet
link set out0 up
addr add 198.18.0.21/24 dev out0
route add default via 198.18.0.254
route add unreachable 198.51.100.0/24
addr add 2001:db8:1::21/64 dev out0 nodad
route add {INTERNET_6}/128 via 2001:db8:1::fe
""",
    )
    ip(
        "internet",
        f"""link set out0 up
addr add 198.18.0.254/24 dev out0
addr add {INTERNET}/32 dev lo
addr add 10.0.1.6/32 dev lo
route add 198.51.100.0/24 via 198.18.0.21 src {INTERNET}
addr add 2001:db8:1::fe/64 dev out0 nodad
addr add {INTERNET_6}/128 dev lo nodad
route add 2001:db8:5::/56 via 2001:db8:1::21
""",
    )


def make_vpc(name: str) -> None:
    vni, number, near = VNIS[name], NUMBERS[name], cable(VNIS[name])
    ip(
        name,
        f"""link add u0 type veth peer name u-{name} netns {EDGE}
link set u0 up mtu 1600
addr add 192.0.2.{number}/24 dev u0
link add vx{vni} address {mac_of(number)} type vxlan id {vni} dstport 4789 local 192.0.2.{number} nolearning
link set vx{vni} addrgenmode none mtu 1500 up
addr add {PRIVATE}/32 dev vx{vni}
addr add {UNNAMED}/32 dev vx{vni}
neigh add 240.0.0.1 lladdr {gateway_mac(vni)} dev vx{vni} nud permanent
route add default via 240.0.0.1 dev vx{vni} onlink src {PRIVATE}
""",
    )
    ip(
        EDGE,
        f"""link set u-{name} master br0 up mtu 1600
link add vx{vni} address {mac_of(21)} type vxlan id {vni} dstport 4789 local 192.0.2.21 nolearning
link set vx{vni} netns {OVERLAY}
""",
    )
    ip(
        OVERLAY,
        f"""link add vrf{vni} type vrf table {vni}
link set vrf{vni} up
link set vx{vni} master vrf{vni} addrgenmode none mtu 1500 up
link add {near} address {NEAR_MAC} type veth peer name o{vni} address {gateway_mac(vni)} netns {OUTSIDE}
link set {near} master vrf{vni} addrgenmode none up
neigh add 192.0.2.{number} lladdr {mac_of(number)} dev vx{vni} nud permanent
route add {PRIVATE}/32 via 192.0.2.{number} dev vx{vni} onlink table {vni}
""",
    )
    ip(
        OUTSIDE,
        f"""link set o{vni} addrgenmode none up
neigh add 192.0.0.8 lladdr {NEAR_MAC} dev o{vni} nud permanent
route add {PUBLIC[name]}/32 via 192.0.0.8 dev o{vni} onlink
""",
    )
    bridge(name, f"fdb replace {gateway_mac(vni)} dev vx{vni} dst 192.0.2.21 self permanent")
    bridge(OVERLAY, f"fdb replace {mac_of(number)} dev vx{vni} dst 192.0.2.{number} self permanent")


def give_ipv6_to_a() -> None:
    vni, number = VNIS["a"], NUMBERS["a"]
    ip(
        "a",
        f"""addr add {PRIVATE_6}/128 dev vx{vni} nodad
addr add 2001:db8:6::5/128 dev vx{vni} nodad
neigh add fe80::4f:1 lladdr {gateway_mac(vni)} dev vx{vni} nud permanent
route add default via fe80::4f:1 dev vx{vni} onlink src {PRIVATE_6}
""",
    )
    ip(
        OVERLAY,
        f"""neigh add fe80::c000:20b lladdr {mac_of(number)} dev vx{vni} nud permanent
route add {PRIVATE_6}/128 via fe80::c000:20b dev vx{vni} onlink table {vni}
route add 2001:db8:5:1::5/128 via fe80::c000:20b dev vx{vni} onlink table {vni}
""",
    )
    ip(
        OUTSIDE,
        f"""neigh add fe80::4f:8 lladdr {NEAR_MAC} dev o{vni} nud permanent
route add 2001:db8:5::/56 via fe80::4f:8 dev o{vni} onlink
""",
    )


def verify() -> None:
    """Mark VXLAN packets in the underlay as verified."""
    rules = "table ip t { chain i { type filter hook input priority -10; udp dport 4789 meta priority set 1:4e54 accept; }; }"
    subprocess.run(["ip", "netns", "exec", EDGE, "nft", rules], check=True)


@contextmanager
def edge() -> Iterator[Tc]:
    """Yield the traffic control of the edge's overlay, in which both VPCs have a gateway and a public address."""
    namespaces = (EDGE, OVERLAY, OUTSIDE, "internet", *VNIS)
    try:
        for namespace in namespaces:
            settle(namespace, forwards=namespace in (OVERLAY, OUTSIDE))
        make_edge()
        for name in VNIS:
            make_vpc(name)
        verify()
        descriptor = netns.find(OVERLAY)
        with netns.inside(descriptor):
            names = dict(socket.if_nameindex())
        driver = Tc(base.OVERLAY, descriptor, lambda: names)
        for name, vni in VNIS.items():
            clsacts = (Clsact(vni=vni, ifname=ifname) for ifname in (f"vx{vni}", cable(vni)))
            objects = (*clsacts, *gateway(vni), *elastic_ip(vni, PUBLIC[name]))
            assert driver.apply([Create(obj) for obj in objects]) == []
        yield driver
        driver.close()
        os.close(descriptor)
    finally:
        for namespace in namespaces:
            netns.remove(namespace)
