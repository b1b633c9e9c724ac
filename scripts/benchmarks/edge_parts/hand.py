"""A hand-made gateway for one VPC with one public address: translation by tc, routing, and rules that drop what netorch drops.

`together` has everything in the host's namespace. `apart` has separate namespaces for the VPC's addresses and the internet's,
joined by a veth pair, so that a VPC's addresses cannot be mistaken for those of the host, the border or another VPC, and a
second VPC would be possible. Both verify which VTEP sends VXLAN packets for which address, drop sources from outside that no
network announces, and forward nothing untranslated.
"""

from __future__ import annotations

from typing import Final

from datapath_vm.topologies import VERIFY_BY_HAND, ip, load_in, run
from datapath_vm.traffic import FOREIGN_MAC

from edge_parts.records import HYPERVISOR, INSTANCE, POOL, PUBLIC, VTEPS, gateway_of
from edge_parts.wires import EDGE, UPLINK, neighbour, wire
from netorch.model.routing.next_hop import gateway_mac
from netorch.state.nft import VERIFIED_TEXT
from policy.nftgen import raw

HOP_MAC: Final = "02:00:00:00:02:0b"  # of the hypervisor, in inner frames
NEAR_MAC: Final = "02:00:00:00:03:01"  # of the cable's end in the VPC
HOP: Final = "192.0.0.8"
RANGE: Final = "10.0.0.0/16"
_BORDER: Final = """
table inet border {
    set foreign {
        type ipv4_addr
        flags interval
        elements = { 10.0.0.0/8, 100.64.0.0/10, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16, 224.0.0.0/3, POOL }
    }
    chain forward {
        type filter hook forward priority 0; policy drop;
        iifname "INSIDE" oifname "out0" accept
        iifname "out0" oifname "INSIDE" ip saddr != @foreign accept
    }
}
""".replace("POOL", POOL)
INNER: Final = """
table inet hand {
    chain forward {
        type filter hook forward priority 0; policy drop;
        iifname "g0" oifname "vx0" accept
    }
}
"""


def border(inside: str) -> str:
    """Return the rules for packets between the uplink and an inside device."""
    return _BORDER.replace("INSIDE", inside)


def together(vni: int) -> None:
    """Build the gateway in one namespace."""
    begin(vni)
    ip(EDGE, *_vxlan_settings(vni), *uplink_settings())
    mapping(EDGE)
    forwarding(EDGE)
    tc(
        EDGE,
        "qdisc add dev vx0 clsact",
        "qdisc add dev out0 clsact",
        f"filter add dev vx0 ingress protocol ip pref 10 flower src_ip {INSTANCE} {_egress()}",
        "filter add dev vx0 ingress pref 20 matchall action drop",
        f"filter add dev out0 ingress protocol ip pref 5 flower src_ip {RANGE} action drop",
        f"filter add dev out0 ingress protocol ip pref 10 flower dst_ip {PUBLIC} {_ingress()}",
    )
    load_in(EDGE, border("vx0"))


def apart(vni: int, inside: str = INSTANCE) -> None:
    """Build the gateway in three namespaces; the public address is translated to `inside`."""
    begin(vni)
    for name in ("in", "out"):
        run("ip", "netns", "add", name)
        ip(name, "link set lo up")  # otherwise there is no local table, and no gateway on the link
    ip(EDGE, "link set vx0 netns in", "link set out0 netns out")
    mac = gateway_mac(gateway_of(vni))
    run(*f"ip link add g0 netns in address {NEAR_MAC} mtu 1500 type veth peer o0 netns out address {mac} mtu 1500".split())
    ip("in", *_vxlan_settings(vni), "link set g0 addrgenmode none up")
    ip("out", *uplink_settings(), "link set o0 addrgenmode none up", neighbour(HOP, NEAR_MAC, "o0"))
    ip("out", f"route add {PUBLIC}/32 via {HOP} dev o0 onlink")
    mapping("in")
    for name in ("in", "out"):
        forwarding(name)
    tc(
        "in",
        "qdisc add dev vx0 clsact",
        "qdisc add dev g0 clsact",
        f"filter add dev vx0 ingress protocol ip pref 10 flower dst_mac {mac} action mirred egress redirect dev g0",
        "filter add dev vx0 ingress pref 20 matchall action drop",
        f"filter add dev g0 egress protocol ip pref 10 flower src_ip {inside} {_egress(inside)}",
        "filter add dev g0 egress pref 20 matchall action drop",
        f"filter add dev g0 ingress protocol ip pref 5 flower src_ip {RANGE} action drop",
        f"filter add dev g0 ingress protocol ip pref 10 flower dst_ip {PUBLIC} {_ingress(inside)}",
        "filter add dev g0 ingress pref 20 matchall action drop",
    )
    load_in("in", INNER)
    load_in("out", border("o0"))


def begin(vni: int) -> None:
    """Make the wires, the VXLAN device, and the rules for senders on it."""
    wire(vni)
    ip(EDGE, f"link add vx0 mtu 1500 type vxlan id {vni} dstport 4789 local {VTEPS[EDGE]} nolearning")
    inner = {"peer": VTEPS[HYPERVISOR], "vni": vni << 8, "inner": raw(INSTANCE), "verified": VERIFIED_TEXT}
    load_in(EDGE, VERIFY_BY_HAND % inner)


def _vxlan_settings(vni: int) -> tuple[str, ...]:
    return (f"link set vx0 address {gateway_mac(gateway_of(vni))} addrgenmode none", "link set vx0 up")


def uplink_settings() -> tuple[str, ...]:
    """Return the lines of `ip` for the uplink."""
    return (
        f"addr add {UPLINK.address} dev out0",
        "link set out0 addrgenmode none up",
        f"route add default via {UPLINK.gateway}",
        neighbour(UPLINK.gateway, FOREIGN_MAC, "out0"),
        f"route add unreachable {POOL}",
    )


def mapping(namespace: str) -> None:
    """Add the route, the neighbour and the FDB entry of the instance."""
    hypervisor = VTEPS[HYPERVISOR]
    ip(namespace, f"route add {INSTANCE}/32 via {hypervisor} dev vx0 onlink", neighbour(hypervisor, HOP_MAC, "vx0"))
    run(*f"bridge -n {namespace} fdb add {HOP_MAC} dev vx0 dst {hypervisor} self permanent".split())


def forwarding(namespace: str) -> None:
    """Turn on forwarding in a namespace."""
    for setting in ("ip_forward=1", "conf.all.rp_filter=0"):
        run("ip", "netns", "exec", namespace, "sysctl", "-q", "-w", f"net.ipv4.{setting}")


def tc(namespace: str, *lines: str) -> None:
    """Run lines of `tc` in a namespace."""
    run("tc", "-n", namespace, "-batch", "-", text="\n".join(lines))


def _egress(inside: str = INSTANCE) -> str:
    return f"action nat egress {inside}/32 {PUBLIC}"


def _ingress(inside: str = INSTANCE) -> str:
    return f"action nat ingress {PUBLIC}/32 {inside}"
