"""Hand-packed messages have the same effect as libnftables with the same text: in the kernel's dump and in nft's listing."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing

import pytest

from netorch.compiler.registry import compile_slice, load_compilers
from netorch.drivers import netns
from netorch.drivers.netlink import Channel, attr, attr_text, attrs, each_attr
from netorch.drivers.nft import commands
from netorch.drivers.nft.monitor import NETLINK_NETFILTER
from netorch.drivers.nft.wire.commit import CommitSocket
from netorch.drivers.nft.wire.encode import messages
from netorch.drivers.nft.wire.messages import GET_CHAIN, GET_ELEMENTS, GET_RULE, GET_SET, transaction
from netorch.model.routing.next_hop import TARGET_HOPS
from netorch.state.base import OVERLAY, KernelObject
from netorch.state.nft import Flowtable, NftChain, NftElement, NftMap, PortChain
from netorch.state.op import Create, Op
from netorch.state.owner import NFT_TABLE
from policy import nftgen, skeleton
from tests import chains
from tests.property.policy_scripts import stored_scripts

pytestmark = pytest.mark.root

BY_TEXT, BY_HAND = "wire-text", "wire-hand"
PORT = "v-0013880000001"
BORDER = "border-001388-00000000002-0000beef-egress"
# A few intervals become rules without sets.
LITERALS = (
    "ip saddr 10.0.0.0/8 th dport 22 meta l4proto 6 goto sent",
    "ip saddr 10.0.0.0-10.0.2.255 th dport 80-443 meta l4proto 6 return",
    "ip daddr 0.0.0.0/0 th dport 0-65535 meta l4proto 17 goto sent",
    "ip6 daddr ::/0 meta l4proto 0-255 goto sent",
    "ip6 saddr 2001:db8::-2001:db8::5 th dport 1-65535 meta l4proto 6 goto sent",
    "meta nfproto ipv4 th dport 443 meta l4proto 6 goto freely_sent",
    "meta nfproto ipv6 th sport 1024-65535 meta l4proto 17 goto freely_sent",
    "ip saddr 10.0.0.0/30 meta l4proto 50-51 goto sent",
    "ip saddr 10.0.0.0/8 meta l4proto 1 goto sent",
    "ip saddr 10.0.0.1 icmp type 8 icmp code 0 goto sent",
    "ip saddr 10.0.0.1 icmp type 3 icmp code 0-3 goto sent",
    "ip6 daddr 2001:db8::/33 icmpv6 type 0-255 icmpv6 code 4 goto sent",
    "th dport 80-443 meta l4proto 6 ip saddr 10.0.0.0/8 goto sent",
    "meta mark 0x4e55 return",
    "meta mark & 0xffff != 0x0 return",
    "meta mark 0x4e5a iifname vrf5000 meta l4proto 6 ct status & 0x4 != 0x0 accept",
    "meta mark 0x0 oifname vx5000 meta l4proto 17 accept",
    "ct status & 0x4 != 0x0 meta mark 0x0 meta l4proto 6-17 oifname vx5000 accept",
    "meta mark 0x0 oifgroup 0x4e54 accept",
    "meta priority 1:4e54 meta pkttype host accept",
    "meta priority set 1:4e50 accept",
    "@th,96,32 & 0x30000 == 0x20000 meta l4proto 6 goto sent",
    f"ct status & 0x4 != 0x0 ip daddr != 10.0.0.0/24 jump {chains.ACL}",
    f"ip saddr 10.0.0.0/24 rt ip nexthop 240.0.0.1 jump {chains.ACL}",
    f"ip6 saddr 2001:db8::/64 rt ip6 nexthop fe80::4f:0:1 jump {chains.ACL}",
    f"ip daddr 10.0.0.0/16 rt ip nexthop {TARGET_HOPS[4]} goto sent",
    f"ip6 daddr 2001:db8::/56 rt ip6 nexthop {TARGET_HOPS[6]} goto sent",
)
EVERY_LENGTH = NftChain(
    name=BORDER,
    rules=(
        *LITERALS,
        *(f"ip daddr != {'128.0.0.0' if bits < 8 else '10.0.0.0'}/{bits} jump {chains.ACL}" for bits in range(1, 32)),
        *(f"ip6 saddr != {'8000::' if bits < 16 else '2001::'}/{bits} jump {chains.ACL}" for bits in range(1, 128)),
        f"ip daddr != 10.0.0.7 jump {chains.ACL}",
        f"meta nfproto ipv6 jump {chains.ACL}",
        "meta mark set 0x0",
        f"goto {chains.EGRESS}",
    ),
)
MANY = "egress-001388-0000beee"
MANY_SETS = {
    "many4": ("th dport . meta l4proto . ip daddr", "inet_service . inet_proto . ipv4_addr", "80-443 . 6 . 10.0.0.0/8"),
    "many6": ("th dport . meta l4proto . ip6 daddr", "inet_service . inet_proto . ipv6_addr", "53 . 17 . ::/0"),
    "peer_many": ("th dport . meta l4proto . meta mark", "inet_service . inet_proto . mark", "0-9 . 6 . 0xdeadbeef"),
    "answers4": ("meta nfproto ipv4 th sport . meta l4proto", "inet_service . inet_proto", "0-65535 . 17"),
}
MANY_CHAIN = NftChain(
    name=MANY,
    rules=(*(f"{match} @{MANY}.{name} goto sent" for name, (match, _, _) in MANY_SETS.items()), "goto drop_sg_egress"),
    sets=chains.sets_of(MANY, {name: (spec, (element,)) for name, (_, spec, element) in MANY_SETS.items()}),
)
PORT_CHAIN = nftgen.port_chain(chains.VNI, PORT, "06:00:00:00:00:01", "10.44.12.4", ("2001:db8::4", "fe80::1:2", "::"))
FORMS: list[KernelObject] = [*chains.POLICY, EVERY_LENGTH, MANY_CHAIN, *chains.verdicts(PORT), PORT_CHAIN]
OF_TABLES = Flowtable | NftMap | NftChain | NftElement | PortChain


@pytest.fixture
def homes() -> Iterator[dict[str, int]]:
    """Two namespaces with netorch's tables, loaded in the same way."""
    found = {name: netns.make(name) for name in (BY_TEXT, BY_HAND)}
    for name in found:
        for table in skeleton.overlay_tables():
            nft(name, f"table {table.family} {NFT_TABLE} {{\n{table.body}\n}}\n")
    yield found
    for name, descriptor in found.items():
        netns.remove(name)
        os.close(descriptor)


def nft(home: str, text: str) -> None:
    subprocess.run(["ip", "netns", "exec", home, "nft", "-f", "-"], input=text.encode(), check=True)


def listed(home: str) -> str:
    """Return the ruleset as nft lists it."""
    command = ["ip", "netns", "exec", home, "nft", "list", "ruleset"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def pack(descriptor: int, ops: list[Op]) -> None:
    with netns.inside(descriptor):
        socket = CommitSocket()
    with closing(socket):
        for steps in (commands.preparations(ops), commands.steps(ops)):
            assert socket.commit(transaction(messages(steps, lambda change: change.spec or SPECS[change.set]))) == 0


SPECS = {
    name: " ".join(spec.split())
    for table in skeleton.overlay_tables()
    for name, spec in re.findall(r"^ *(?:set|map) (\S+) \{\s*(type(?:of)? [^\n]+)", table.body, re.MULTILINE)
}
SPECS |= {f"identity-{vni:06x}.{version}": f"type ipv{version}_addr : mark" for vni in (5000,) for version in (4, 6)}


def raw(descriptor: int) -> dict[str, list[object]]:
    """Return the kernel's dump: chains, sets, rules and elements without handles, since handles depend on history."""
    channel = Channel(descriptor, NETLINK_NETFILTER)
    handles = {"chain": (GET_CHAIN, 2), "set": (GET_SET, 16), "rule": (GET_RULE, 3, 6)}
    found: dict[str, list[object]] = {}
    for kind, (request, *handle) in handles.items():
        for _, _, body in channel.dump(request, bytes(4)):
            found.setdefault(kind, []).append(
                (body[0], [part for part in each_attr(body, 4) if part[0] not in (*handle, 8, 9, 14)])
            )
            if kind == "set":
                name = attrs(body, 4)[2]
                found.setdefault("description", []).append((name, attrs(body, 4)[9]))
                request_of_elements = bytes((body[0], 0, 0, 0)) + _set(name)
                items = [attrs(answer, 4).get(3, b"") for _, _, answer in channel.dump(GET_ELEMENTS, request_of_elements)]
                found.setdefault("element", []).append((name, sorted(item for part in items for item in each_attr(part))))
    channel.close()
    return found


def _set(name: bytes) -> bytes:
    return attr_text(1, NFT_TABLE) + attr(2, name)


def compare(homes: dict[str, int], objects: list[KernelObject]) -> None:
    for ifname in [obj.ifname for obj in objects if isinstance(obj, PortChain)]:
        for home in homes:
            subprocess.run(["ip", "-n", home, "link", "add", ifname, "type", "dummy"], check=True)
    ops: list[Op] = [Create(obj) for obj in sorted(objects, key=lambda obj: obj.order) if isinstance(obj, OF_TABLES)]
    nft(BY_TEXT, commands.as_text(commands.preparations(ops)))
    nft(BY_TEXT, commands.as_text(commands.steps(ops)))
    pack(homes[BY_HAND], ops)
    by_text, by_hand = raw(homes[BY_TEXT]), raw(homes[BY_HAND])
    for kind, found in by_text.items():
        assert len(found) == len(by_hand[kind])
        for one, other in zip(found, by_hand[kind], strict=True):
            assert one == other
    assert listed(BY_TEXT) == listed(BY_HAND)


def test_every_form_is_in_the_kernel_as_libnftables_makes_it(homes: dict[str, int]) -> None:
    compare(homes, FORMS)


@pytest.mark.parametrize("name", sorted(stored_scripts()))
def test_a_stored_policy_is_in_the_kernel_as_libnftables_makes_it(homes: dict[str, int], name: str) -> None:
    case = stored_scripts()[name].case
    objects = list(compile_slice(load_compilers(), case.view("hv1"), case.mappings()).values())
    SPECS.update({obj.name: obj.spec for obj in objects if isinstance(obj, NftMap)})
    compare(homes, [obj for obj in objects if obj.netns == OVERLAY])
