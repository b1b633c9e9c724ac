"""Filters as messages: ours, foreign ones, and counters."""

from __future__ import annotations

import socket
import struct

import msgspec
import pytest

from netorch.drivers.base import Count
from netorch.drivers.netlink import attr, attr_u32, each_attr
from netorch.drivers.tc import decode, encode
from netorch.drivers.tc.uapi import ACT, BASIC, FLOWER, SKBEDIT, STATS, TC_ACT_PIPE, TCA, TCMSG
from netorch.state.tc import (
    ALL,
    EGRESS,
    INGRESS,
    IP,
    IPV6,
    Action,
    Drop,
    Match,
    Nat,
    OtherPriority,
    Receive,
    StrangeFilter,
    TcFilter,
)

NAMES = {7: "vx5000"}
MAC = "06:00:00:00:00:01"
KEY_TCP_DST = 19  # TCA_FLOWER_KEY_TCP_DST
NAT_10 = Nat(EGRESS, "10.0.1.5/32", "198.51.100.5")
FLOWER_FILTER = TcFilter(
    vni=5000, ifname="vx5000", step=10, match=Match(protocol=IP, dst_mac=MAC, src="10.0.1.5/32"), actions=(NAT_10, Drop())
)
BASIC_FILTER = msgspec.structs.replace(FLOWER_FILTER, match=OtherPriority(0x14E54), actions=(Drop(),))


def body_of(obj: TcFilter) -> bytes:
    return encode.pack(obj, {name: number for number, name in NAMES.items()}.__getitem__)[2]


def with_options(body: bytes, more: bytes = b"", *, without: int = 0, instead: bytes = b"") -> bytes:
    """Return a filter's message with more options, or without one, or with one replaced."""
    found = b""
    for kind, raw in each_attr(body, TCMSG.SIZE):
        inner = b"".join(instead if number == without else attr(number, value) for number, value in each_attr(raw))
        found += attr(kind, inner + more) if kind == TCA.OPTIONS else attr(kind, raw)
    return body[: TCMSG.SIZE] + found


def placed(body: bytes, *, handle: int, pref: int) -> bytes:
    return encode.head_of(7, handle, encode.HOOKS[INGRESS], pref << 16 | socket.htons(0x0800)) + body[TCMSG.SIZE :]


@pytest.mark.parametrize(
    "obj",
    [
        FLOWER_FILTER,
        BASIC_FILTER,
        msgspec.structs.replace(FLOWER_FILTER, hook=EGRESS, match=Match(protocol=IPV6, dst="2001:db8::/32")),
        msgspec.structs.replace(FLOWER_FILTER, match=Match(), actions=(Receive(mark=7), NAT_10)),
        msgspec.structs.replace(FLOWER_FILTER, match=Match(protocol=IP, dst="10.0.1.5/32", ip_proto=1)),
    ],
    ids=TcFilter.text,
)
def test_what_is_packed_is_read_again(obj: TcFilter) -> None:
    assert decode.tc_filter(body_of(obj), NAMES) == obj


OURS = body_of(FLOWER_FILTER)
MARKED = body_of(msgspec.structs.replace(FLOWER_FILTER, actions=(Receive(mark=7),)))
STRANGE = {
    "one more condition": (with_options(OURS, attr(KEY_TCP_DST, b"\0\x50")), "flower with other conditions"),
    "many MACs": (
        with_options(OURS, without=FLOWER.KEY_ETH_DST_MASK, instead=attr(FLOWER.KEY_ETH_DST_MASK, b"\xff" * 5 + b"\0")),
        "flower of many MACs",
    ),
    "a mask with holes": (
        with_options(OURS, without=FLOWER.KEY_IPV4_SRC_MASK, instead=attr(FLOWER.KEY_IPV4_SRC_MASK, b"\xff\0\xff\0")),
        "flower of many prefixes",
    ),
    "an ethertype missing": (with_options(OURS, without=FLOWER.KEY_ETH_TYPE), "flower of another protocol"),
    "another handle": (placed(OURS, handle=5, pref=FLOWER_FILTER.pref), f"{FLOWER_FILTER.match.text()} in another place"),
    "another pref": (
        placed(OURS, handle=FLOWER_FILTER.handle, pref=FLOWER_FILTER.pref + 1),
        f"{FLOWER_FILTER.match.text()} in another place",
    ),
    "another action": (OURS.replace(b"gact\0", b"samp\0"), "flower action samp"),
    "a last action that is to be followed": (
        MARKED.replace(attr(SKBEDIT.PARMS, bytes(20)), attr(SKBEDIT.PARMS, struct.pack("=IIiii", 0, 0, TC_ACT_PIPE, 0, 0))),
        "flower action skbedit",
    ),
    "another comparison": (
        with_options(body_of(BASIC_FILTER), without=BASIC.EMATCHES, instead=attr(BASIC.EMATCHES, b"")),
        "basic with other conditions",
    ),
    "another classifier": (OURS.replace(b"flower\0", b"cgroup\0"), "cgroup of another kind or protocol"),
}


@pytest.mark.parametrize(("body", "what"), STRANGE.values(), ids=STRANGE)
def test_what_is_not_of_our_making_is_strange_and_says_why(body: bytes, what: str) -> None:
    found = decode.tc_filter(body, NAMES)
    assert isinstance(found, StrangeFilter)
    assert found.what == what
    assert found.key[:4] == FLOWER_FILTER.key[:4]


def test_somebody_elses_device_has_no_filters_of_ours() -> None:
    assert decode.tc_filter(OURS, {7: "eth0"}) is None
    assert decode.tc_filter(OURS + attr_u32(TCA.CHAIN, 5), NAMES) is None


@pytest.mark.parametrize(("more", "packets"), [(b"", 3), (attr(STATS.PKT64, struct.pack("=Q", 1 << 32 | 3)), 1 << 32 | 3)])
def test_a_filter_has_taken_what_its_first_action_counted(more: bytes, packets: int) -> None:
    def counted(size: int, number: int, rest: bytes = b"") -> bytes:
        return attr(ACT.STATS, attr(STATS.BASIC, struct.pack("=QI4x", size, number)) + rest)

    actions = attr(1, counted(400, 3, more)) + attr(2, counted(200, 2))
    assert decode.count(with_options(OURS, without=FLOWER.ACT, instead=attr(FLOWER.ACT, actions))) == Count(
        packets=packets, bytes=400
    )
    assert decode.count(with_options(OURS, without=FLOWER.ACT)) == Count(packets=0, bytes=0)


def test_a_protocol_within_ip_is_a_condition_of_ip_packets_and_tells_filters_apart() -> None:
    every, icmp, udp = (Match(protocol=IP, dst="10.0.1.5/32", ip_proto=number) for number in (0, 1, 17))
    assert len({every.digest, icmp.digest, udp.digest}) == 3
    assert icmp.text() == "flower ip_proto 1 dst_ip 10.0.1.5/32"
    with pytest.raises(ValueError, match="no condition"):
        Match(ip_proto=1)


@pytest.mark.parametrize(
    ("protocol", "src"), [(ALL, "10.0.0.0/8"), (IPV6, "10.0.0.0/8"), (IP, "2001:db8::/32"), (IP, "0.0.0.0/0")]
)
def test_a_prefix_that_is_no_condition_of_its_protocol_is_refused(protocol: str, src: str) -> None:
    with pytest.raises(ValueError, match="no condition"):
        Match(protocol=protocol, src=src)
    with pytest.raises(ValueError, match="no condition"):
        Match(protocol=protocol, dst=src)


def placed_at(match: Match | OtherPriority, step: int, *actions: Action) -> TcFilter:
    return TcFilter(vni=5000, ifname="vx5000", step=step, match=match, actions=actions)


def test_filters_that_linux_does_not_take_at_one_preference_have_several() -> None:
    matches = (OtherPriority(1), Match(), Match(protocol=IP), Match(protocol=IPV6))
    prefs = [placed_at(match, step).pref for step in (1, 2, 16383) for match in matches]
    assert prefs == sorted(set(prefs))
    assert 0 < prefs[0] <= prefs[-1] <= 0xFFFF


def test_addresses_of_a_whole_pool_have_handles_of_their_own() -> None:
    matches = [Match(protocol=IP, dst=f"198.51.{number >> 8}.{number & 255}/32") for number in range(0, 1 << 16, 3)]
    assert len({match.digest for match in matches}) == len(matches)
    same = Match(protocol=IP, src="10.0.0.0/16"), Match(protocol=IP, dst="10.0.0.0/16"), Match(protocol=IP, src="10.0.0.0/24")
    assert len({match.digest for match in same}) == len(same)
