"""A hand-made NAT gateway for one VPC whose instances share one address: source NAT, by connection tracking.

`together` has everything in the host's namespace. `apart` has separate namespaces for the VPC's addresses, the connections and
the internet's addresses, joined by veth pairs, so that a second VPC with the same addresses would be possible. The VPC's
namespace forwards to the connections by MAC, as netorch does, because that is cheapest. `one_arm` is built like EC2 and
netorch: the gateway has a private address in the VPC, through which all packets come and go, and the internet gateway
translates that address.
"""

from __future__ import annotations

from typing import Final

from datapath_vm.topologies import ip, load_in, run

from edge_parts.hand import HOP, INNER, NEAR_MAC, RANGE, begin, border, forwarding, mapping, tc, uplink_settings
from edge_parts.hand import apart as apart_gateway
from edge_parts.records import NAT, PUBLIC, gateway_of, nat_of
from edge_parts.wires import EDGE, neighbour
from netorch.model.routing.next_hop import gateway_mac

TRACKER: Final = "nat"  # the namespace that tracks connections
FAR_HOP: Final = "192.0.0.9"
FAR_MACS: Final = ("02:00:00:00:03:02", "02:00:00:00:03:03")  # of the ends of the cable to the internet
_IN: Final = """
table inet hand {
    set passes {
        type ifname . ifname
        elements = { "n0" . "vx0", "n0" . "g0", "g0" . "n0" }
    }
    chain forward {
        type filter hook forward priority 0; policy drop;
        iifname . oifname @passes accept
    }
}
"""
_RULES: Final = """
table inet translation {
    chain forward {
        type filter hook forward priority 0; policy drop;
        ct state established,related accept
        iifname "NEAR" oifname "FAR" ct state new accept
    }
    chain translate {
        type nat hook postrouting priority 100; policy accept;
        oifname "FAR" snat ip to ADDRESS
    }
}
"""


def together(vni: int) -> None:
    """Build the gateway in one namespace."""
    begin(vni)
    mac = gateway_mac(nat_of(vni))
    ip(EDGE, f"link set vx0 address {mac} addrgenmode none", "link set vx0 up", *uplink_settings())
    mapping(EDGE)
    forwarding(EDGE)
    load_in(EDGE, _rules("vx0", "out0", PUBLIC))


def apart(vni: int) -> None:
    """Build the gateway in four namespaces."""
    begin(vni)
    for name in ("in", TRACKER, "out"):
        run("ip", "netns", "add", name)
        ip(name, "link set lo up")
    ip(EDGE, "link set vx0 netns in", "link set out0 netns out")
    mac, (far, near) = gateway_mac(nat_of(vni)), FAR_MACS
    run(
        *f"ip link add n0 netns in address {NEAR_MAC} mtu 1500 type veth peer eth0 netns {TRACKER} address {mac} mtu 1500".split()
    )
    run(*f"ip link add eth1 netns {TRACKER} address {near} mtu 1500 type veth peer o0 netns out address {far} mtu 1500".split())
    ip("in", "link set vx0 addrgenmode none up", "link set n0 addrgenmode none up")
    ip(
        TRACKER,
        *("link set eth0 addrgenmode none up", "link set eth1 addrgenmode none up"),
        *(neighbour(HOP, NEAR_MAC, "eth0"), neighbour(FAR_HOP, far, "eth1")),
        f"route add {RANGE} via {HOP} dev eth0 onlink",
        f"route add default via {FAR_HOP} dev eth1 onlink",
    )
    ip("out", *uplink_settings(), "link set o0 addrgenmode none up", neighbour(HOP, near, "o0"))
    ip("out", f"route add {PUBLIC}/32 via {HOP} dev o0 onlink")
    mapping("in")
    for name in ("in", TRACKER, "out"):
        forwarding(name)
    tc(
        "in",
        "qdisc add dev vx0 clsact",
        f"filter add dev vx0 ingress protocol ip pref 10 flower dst_mac {mac} action mirred egress redirect dev n0",
        "filter add dev vx0 ingress pref 20 matchall action drop",
    )
    load_in("in", INNER.replace("g0", "n0"))
    load_in(TRACKER, _rules("eth0", "eth1", PUBLIC))
    load_in("out", border("o0"))


def one_arm(vni: int) -> None:
    """Build the gateway behind an internet gateway, in four namespaces."""
    apart_gateway(vni, NAT)
    run("ip", "netns", "add", TRACKER)
    mac, far = gateway_mac(nat_of(vni)), f"eth0 netns {TRACKER}"
    run(*f"ip link add n0 netns in address {FAR_MACS[0]} mtu 1500 type veth peer {far} address {mac} mtu 1500".split())
    ip("in", "link set n0 addrgenmode none up", neighbour(NAT, mac, "n0"), f"route add {NAT}/32 dev n0")
    ip("in", neighbour(FAR_HOP, gateway_mac(gateway_of(vni)), "g0"), f"route add default via {FAR_HOP} dev g0 onlink")
    ip(TRACKER, "link set lo up", "link set eth0 addrgenmode none up", f"addr add {NAT}/32 dev eth0")
    ip(TRACKER, neighbour(HOP, FAR_MACS[0], "eth0"), f"route add default via {HOP} dev eth0 onlink")
    forwarding(TRACKER)
    for device in ("all", "eth0"):
        run("ip", "netns", "exec", TRACKER, "sysctl", "-q", "-w", f"net.ipv4.conf.{device}.send_redirects=0")
    tc("in", f"filter add dev vx0 ingress protocol ip pref 10 flower dst_mac {mac} action mirred egress redirect dev n0")
    load_in("in", "flush ruleset" + _IN)
    load_in(TRACKER, _rules("eth0", "eth0", NAT))


def _rules(near: str, far: str, address: str) -> str:
    return _RULES.replace("NEAR", near).replace("FAR", far).replace("ADDRESS", address)
