"""Features of the running kernel, tested in practice: devices and rules are created in a throw-away namespace and die with it.

A kernel's configuration files prove nothing: a module may be missing, blacklisted or forbidden to this user.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

TIMEOUT_S = 120.0  # an emulated machine takes 20 s to load all modules for the first time
_OWN_KERNEL = "use a kernel that has it, or let `netorch lab` boot the lab kernel (built once by scripts/kernel)"


class Feature(msgspec.Struct, frozen=True, kw_only=True):
    """A feature of a machine that netorch needs. `detail` is the message of the kernel or the tool when it is absent."""

    name: str
    present: bool
    why_needed: str
    what_to_do: str
    detail: str = ""
    only_edges: bool = False  # a machine without an edge does not need it


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """A test for one feature: a shell command that succeeds, in its own namespace, only where the feature is present."""

    name: str
    command: str
    why_needed: str
    what_to_do: str = _OWN_KERNEL
    only_edges: bool = False


def _esp(cipher: str) -> str:
    """Return the command that creates an SA of an xfrm interface, with a cipher or with a cipher and a digest."""
    return f"ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x100 reqid 1 mode tunnel if_id 1 {cipher}"


def _ciphers() -> str:
    """Return the command that tests each cipher and digest of EC2's proposals, and leaves nothing behind."""
    zeros = {size: f"0x{'00' * size}" for size in (16, 20, 32, 36, 48, 64)}
    tries = [f"aead 'rfc4106(gcm(aes))' {zeros[size]} 128" for size in (20, 36)]
    tries += [
        f"enc 'cbc(aes)' {zeros[size]} auth-trunc 'hmac({digest})' {zeros[key]} {bits}"
        for size in (16, 32)
        for digest, key, bits in (("sha1", 20, 96), ("sha256", 32, 128), ("sha384", 48, 192), ("sha512", 64, 256))
    ]
    return " && ".join(f"{_esp(each)} && ip xfrm state flush" for each in tries)


# Source: linux/tcp.h, TCP_MD5SIG and struct tcp_md5sig.
_MD5: Final = (
    "import socket, struct; address = bytes((192, 0, 2, 1)); "
    "signature = struct.pack('=H2x4s120xBBHi80s', socket.AF_INET, address, 0, 0, 1, 0, b'k'); "
    "socket.socket().setsockopt(socket.IPPROTO_TCP, 14, signature)"
)


def _nft(ruleset: str) -> str:
    return f"printf %s {shlex.quote(ruleset)} | nft -f -"


PROBES = (
    Probe(name="veth", command="ip link add p0 type veth peer name p1", why_needed="an instance's port"),
    Probe(name="vrf", command="ip link add p2 type vrf table 5000", why_needed="one routing table per VPC"),
    Probe(
        name="vxlan",
        command="ip link add p3 type vxlan id 5000 dstport 4789 local 127.0.0.1 nolearning",
        why_needed="the tunnel between hosts",
    ),
    Probe(
        name="tc flower",
        command="ip link add p4 type veth peer name p5 && tc qdisc add dev p4 clsact && tc filter add dev p4 ingress pref 10 "
        "flower dst_mac 02:00:00:00:00:01 action skbedit ptype host mark 1 pipe action mirred ingress redirect dev p5",
        why_needed="routes to an interface with source/destination check off",
    ),
    Probe(
        name="tc nat",
        command="ip link add p6 type veth peer name p7 && tc qdisc add dev p6 clsact && "
        "tc filter add dev p6 egress protocol ip pref 10 flower src_ip 10.0.0.1 action nat egress 10.0.0.1/32 198.51.100.1 && "
        "tc filter add dev p6 egress pref 20 flower action drop",
        why_needed="public addresses at an internet gateway",
    ),
    Probe(
        name="tc ematch",
        command="ip link add p8 type veth peer name p9 && tc qdisc add dev p8 clsact && "
        "tc filter add dev p8 ingress pref 10 basic match 'not meta(priority eq 1)' action drop",
        why_needed="keeping unverified packets from internet gateways",
    ),
    Probe(
        name="nft inet",
        command=_nft(
            "table inet p { map z { typeof iifname : ct zone; }; "
            "chain c { type filter hook prerouting priority -450; ct zone set iifname map @z; }; "
            "chain d { type filter hook prerouting priority -300; udp dport 4789 notrack; }; }"
        ),
        why_needed="verification and anti-spoofing with conntrack zones",
    ),
    Probe(
        name="nft conntrack",
        command=_nft(
            "table inet r { set s { type mark . inet_proto . inet_service; flags interval; elements = { 1 . 6 . 22-23 }; }; "
            "chain c { type filter hook forward priority 0; ct state new ct mark set ct mark | 1; "
            "meta mark . meta l4proto . th dport @s log group 1; }; }"
        )
        + " && test -e /proc/sys/net/netfilter/nf_conntrack_acct",
        why_needed="security groups and flow logs",
    ),
    Probe(
        name="nft netdev",
        command=_nft(
            'table netdev p { chain c { type filter hook ingress device "lo" priority -500; policy drop; '
            "ether saddr 02:00:00:00:00:01 arp saddr ip 192.0.2.1 meta mark set 1 meta priority set 1:4e50 accept; }; }"
        ),
        why_needed="anti-spoofing at a port's ingress",
    ),
    Probe(
        name="nft flowtable",
        command=_nft(
            "table inet o { flowtable f { hook ingress priority -490; counter; devices = { lo }; }; "
            'chain g { type filter hook ingress device "lo" priority -495; policy drop; meta priority 1:4e50 accept; }; '
            "chain c { type filter hook forward priority 0; meta l4proto tcp ct status assured flow add @f; }; }"
        ),
        why_needed="forwarding packets of established connections; without it, every packet between instances is dropped",
        what_to_do="use kernel 6.1.76 or newer with flowtables of the inet family (CONFIG_NF_FLOW_TABLE_INET, "
        "CONFIG_NFT_FLOW_OFFLOAD), or the lab kernel (build it once with scripts/kernel)",
    ),
    Probe(
        name="nft fib",
        command=_nft(
            "table inet f { chain c { type filter hook forward priority 0; fib saddr . iif oif missing drop; }; "
            "chain d { type nat hook postrouting priority 100; meta l4proto { tcp, udp } snat ip to 192.0.2.1:4790-65535; }; }"
        ),
        why_needed="filtering of packets from the internet at an edge, and NAT gateways",
    ),
    Probe(
        name="nft arp",
        command=_nft(
            "table arp p { set s { type ipv4_addr; size 64; flags dynamic,timeout; timeout 1h; }; "
            "chain c { type filter hook input priority 0; arp saddr ip 192.0.2.0/24 update @s { arp saddr ip } accept; }; }"
        ),
        why_needed="limiting which neighbours an edge answers on its uplink",
    ),
    Probe(
        name="nft raw sets",
        command=_nft("table inet q { set s { typeof ip saddr . @th,96,24 . @th,336,32; }; }"),
        why_needed="matching the VNI and the inner source of a VXLAN packet",
        what_to_do="use nft 1.0.6 or newer and kernel 6.1 or newer, or the lab kernel (build it once with scripts/kernel)",
    ),
    Probe(
        name="xfrm interface",
        command="ip link add pa type xfrm if_id 1",
        why_needed="the tunnels of VPN connections",
        only_edges=True,
    ),
    Probe(
        name="ESP",
        command=_ciphers(),
        why_needed="the ciphers and digests of VPN connections",
        only_edges=True,
    ),
    Probe(
        name="VLAN",
        command="ip link add pb type veth peer name pc && ip link add link pb name pd type vlan protocol 802.1ad id 2 && "
        "ip link add link pd name pe type vlan id 3 loose_binding on",
        why_needed="virtual interfaces of Direct Connect, also inside a service tag",
        only_edges=True,
    ),
    Probe(
        name="TCP MD5",
        command=f"{shlex.quote(sys.executable)} -I -S -c {shlex.quote(_MD5)}",
        why_needed="passwords of BGP sessions",
        only_edges=True,
    ),
)
_TOOLS = {"ip": "iproute2", "tc": "iproute2", "nft": "nftables", "unshare": "util-linux", "setpriv": "util-linux"}
_EDGE_TOOLS = {  # needed only by edges
    "bird": ("bird2", "an edge that speaks BGP: with its border router, or with customers' routers"),
    "charon-systemd": ("charon-systemd libstrongswan-standard-plugins", "an edge that ends tunnels of a VPN"),
}


def probe_script(probes: Sequence[Probe] = PROBES) -> str:
    """Return a shell script that prints for each probe `<name>\\t<exit status>\\t<output>`."""
    lines = []
    for probe in probes:
        lines.append(f"said=$({{ {probe.command}; }} 2>&1); status=$?")
        lines.append(f"printf '%s\\t%s\\t%s\\n' {shlex.quote(probe.name)} $status \"$(printf %s \"$said\" | tr '\\n\\t' '  ')\"")
    return "\n".join(lines)


def read_report(report: str, probes: Sequence[Probe] = PROBES) -> list[Feature]:
    """Return the features from the script's output; a probe that is missing in it counts as absent."""
    told = {}
    for line in report.splitlines():
        name, _, rest = line.partition("\t")
        status, _, said = rest.partition("\t")
        told[name] = (status == "0", said.strip())
    features = []
    for probe in probes:
        present, said = told.get(probe.name, (False, "the test did not run"))
        features.append(
            Feature(
                name=probe.name,
                present=present,
                why_needed=probe.why_needed,
                what_to_do=probe.what_to_do,
                detail="" if present else said,
                only_edges=probe.only_edges,
            )
        )
    return features


def probe_features(*, which: Callable[[str], str | None] = shutil.which, root: bool | None = None) -> list[Feature]:
    """Return the features of this machine for this user, the tools first.

    Cost: about 20 forks, 0.1 s. For an ordinary user everything is tested in a user namespace.
    """
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"

    def command_feature(tool: str, package: str, why_needed: str, only_edges: bool = False) -> Feature:
        present = which(tool) is not None or shutil.which(tool, path=path) is not None
        what_to_do = f"apt-get install {package}"
        return Feature(
            name=f"command {tool}", present=present, why_needed=why_needed, what_to_do=what_to_do, only_edges=only_edges
        )

    tools = [command_feature(tool, package, "creating and reading kernel objects of hosts") for tool, package in _TOOLS.items()]
    tools += [command_feature(tool, package, why, only_edges=True) for tool, (package, why) in _EDGE_TOOLS.items()]
    as_root = os.geteuid() == 0 if root is None else root
    command = ["unshare", *([] if as_root else ["--user", "--map-root-user"]), "--net", "--", "sh", "-c", probe_script()]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, env={"PATH": path}, check=False)
        report, said = done.stdout, done.stderr.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        report, said = "", str(error)
    namespace = Feature(
        name="network namespaces" if as_root else "user and network namespaces",
        present=bool(report),
        why_needed="hosts and instances are network namespaces",
        what_to_do="run as root" if not as_root else "give this container CAP_SYS_ADMIN",
        detail="" if report else said,
    )
    return [*tools, namespace, *read_report(report)]


def missing(features: Sequence[Feature]) -> list[Feature]:
    """Return the features that a lab lacks here. The daemons of edges may be absent; another kernel is easily had."""

    def spared(feature: Feature) -> bool:
        return feature.only_edges and feature.name.startswith("command ")

    return [feature for feature in features if not feature.present and not spared(feature)]
