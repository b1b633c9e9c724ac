"""Route tables, tested against the sentences of EC2's documentation; each case names its sentence."""

from __future__ import annotations

from collections.abc import Mapping

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from netorch.model.addr import Prefix, format_ip, parse_ip, parse_prefix
from netorch.model.routing.allowed import violation_of
from netorch.model.routing.effective import RESERVED, Effective, Learned, Origin, counts, effective, route_of
from netorch.model.routing.target import REPLACES_LOCAL, Target, TargetKind, target_of
from netorch.model.security import PrefixList, PrefixListEntry
from netorch.model.vpc import Vpc, VpcRoute

VPC = Vpc(id="vpc-00138800000000001", vni=5000, owner="acme", name="web", cidrs=("10.0.0.0/16", "10.9.0.0/24"))
VPC6 = msgspec.structs.replace(VPC, ipv6_cidrs=("fd00:1::/56",))


def ident(kind: str, number: int) -> str:
    return f"{kind}-001388{number:011x}"


FW, FW2, PCX, IGW, NAT, VGW, VPCE = (
    ident(kind, number) for number, kind in enumerate(("eni", "eni", "pcx", "igw", "nat", "vgw", "vpce"), 1)
)
ALIVE = frozenset({FW, FW2, PCX, IGW, NAT, VGW, VPCE})
S3, S4 = ident("pl", 1), ident("pl", 2)


def prefix_list(list_id: str, *cidrs: str, max_entries: int = 9) -> PrefixList:
    entries = tuple(PrefixListEntry(cidr=cidr) for cidr in cidrs)
    version = 6 if ":" in cidrs[0] else 4
    return PrefixList(id=list_id, vni=5000, name="s3", version=version, max_entries=max_entries, entries=entries)


def bgp(prefix: str, path: int = 1, gateway: str = VGW) -> Learned:
    return Learned(prefix=prefix, gateway=gateway, origin=Origin.VPN_BGP, as_path_length=path)


class Case(msgspec.Struct, kw_only=True):
    """A table, and the targets of packets."""

    says: str  # the documentation's sentence
    ways: dict[str, str]  # address -> target; "nothing": no route
    routes: dict[str, str] = {}  # destination -> target
    lists: tuple[PrefixList, ...] = ()
    learned: tuple[Learned, ...] = ()
    vpc: Vpc = VPC
    available: frozenset[str] = ALIVE
    own: str = ""  # the range of the sender's subnet, if relevant


CASES = [
    Case(
        says="Every route table contains a local route for communication within the VPC.",
        ways={"10.0.3.4": "local", "192.0.2.1": "nothing"},
    ),
    Case(
        says="If your VPC has more than one IPv4 CIDR block, your route tables contain a local route for each IPv4 CIDR block.",
        ways={"10.0.3.4": "local", "10.9.0.7": "local", "10.9.1.7": "nothing"},
    ),
    Case(
        says="If you've associated an IPv6 CIDR block with your VPC, your route tables contain a local route for it.",
        vpc=VPC6,
        ways={"fd00:1:0:1::4": "local", "fd00:2::4": "nothing"},
    ),
    Case(
        says="Traffic for the MAC address of another network interface in the subnet uses layer 2: the rules do not apply to it.",
        routes={"10.0.0.0/16": FW, "10.0.3.0/24": FW2, "0.0.0.0/0": IGW},
        own="10.0.3.0/24",
        ways={"10.0.3.4": "local", "10.0.4.4": FW, "8.8.8.8": IGW},
    ),
    Case(
        says="The same of a subnet that the route table leads elsewhere for other subnets.",
        routes={"10.0.3.0/24": FW2},
        own="10.0.3.0/24",
        ways={"10.0.3.4": "local", "10.0.4.4": "local"},
    ),
    Case(
        says="We use the most specific route that matches the traffic (longest prefix match).",
        routes={"0.0.0.0/0": IGW, "172.16.0.0/12": PCX, "172.16.1.0/24": FW},
        ways={"8.8.8.8": IGW, "172.17.0.1": PCX, "172.16.1.9": FW, "10.0.0.9": "local"},
    ),
    Case(
        says="Routes to IPv4 and IPv6 addresses or CIDR blocks are independent of each other.",
        vpc=VPC6,
        routes={"0.0.0.0/0": IGW},
        ways={"8.8.8.8": IGW, "2001:db8::1": "nothing", "fd00:1::4": "local"},
    ),
    Case(
        says="The local route is preferred over a wider route that holds the VPC's range.",
        routes={"10.0.0.0/8": PCX},
        ways={"10.0.0.9": "local", "10.1.0.9": PCX},
    ),
    Case(
        says="You can add a route that is more specific than the local route, to a network interface or a NAT gateway.",
        routes={"10.0.13.0/24": FW, "10.0.14.0/24": NAT},
        ways={"10.0.13.4": FW, "10.0.14.4": NAT, "10.0.12.4": "local"},
    ),
    Case(
        says="No other target is more specific than the local route.",
        routes={"10.0.13.0/24": PCX, "10.0.14.0/24": IGW, "10.0.15.0/24": "blackhole"},
        ways={"10.0.13.4": "local", "10.0.14.4": "local", "10.0.15.4": "local"},
    ),
    Case(
        says="You can replace the target of each local route with a network interface or a NAT gateway.",
        routes={"10.9.0.0/24": FW},
        ways={"10.9.0.9": FW, "10.0.0.9": "local"},
    ),
    Case(
        says="If a propagated route overlaps the local route, the local route is preferred even if it is less specific.",
        learned=(bgp("10.0.13.0/24"), bgp("10.0.0.0/16"), bgp("10.0.0.0/8")),
        ways={"10.0.13.4": "local", "10.0.0.9": "local", "10.1.0.1": VGW},
    ),
    Case(
        says="If a propagated route has the same destination as a static route, the static route is preferred.",
        routes={"172.16.0.0/16": PCX},
        learned=(bgp("172.16.0.0/16"),),
        ways={"172.16.0.1": PCX},
    ),
    Case(
        says="A more specific propagated route is preferred over a wider static route.",
        routes={"172.16.0.0/16": PCX},
        learned=(bgp("172.16.8.0/24"),),
        ways={"172.16.8.1": VGW, "172.16.9.1": PCX},
    ),
    Case(
        says="A static route to a CIDR takes priority over the same destination in a prefix list.",
        routes={S3: VPCE, "198.51.100.0/24": IGW},
        lists=(prefix_list(S3, "198.51.100.0/24", "203.0.113.0/24"),),
        ways={"198.51.100.1": IGW, "203.0.113.1": VPCE},
    ),
    Case(
        says="A route that references a prefix list takes priority over a propagated route with the same destination.",
        routes={S3: VPCE},
        lists=(prefix_list(S3, "198.51.100.0/24"),),
        learned=(bgp("198.51.100.0/24"),),
        ways={"198.51.100.1": VPCE},
    ),
    Case(
        says="More specific routes always take priority, whether propagated, static, or of a prefix list.",
        routes={S3: VPCE, "198.51.100.0/25": IGW},
        lists=(prefix_list(S3, "198.51.100.0/24", "198.51.100.0/26"),),
        learned=(bgp("198.51.100.0/28"),),
        ways={"198.51.100.1": VGW, "198.51.100.20": VPCE, "198.51.100.100": IGW, "198.51.100.200": VPCE},
    ),
    Case(
        says="Of prefix lists with overlapping CIDR blocks to different targets, the same one always takes priority.",
        routes={S4: IGW, S3: VPCE},
        lists=(prefix_list(S3, "198.51.100.0/24"), prefix_list(S4, "198.51.100.0/24")),
        ways={"198.51.100.1": VPCE},
    ),
    Case(
        says="No prefix list is more specific than the local route.",
        routes={S3: FW},
        lists=(prefix_list(S3, "10.0.13.0/24", "10.0.0.0/16", "10.0.0.0/8"),),
        ways={"10.0.13.4": "local", "10.1.0.1": FW},
    ),
    Case(
        says="Routes of a Direct Connect connection come first, then static routes of a VPN, then its BGP routes.",
        learned=(
            bgp("172.16.0.0/16"),
            Learned(prefix="172.16.0.0/16", gateway=ident("vgw", 8), origin=Origin.VPN_STATIC),
            Learned(prefix="172.16.0.0/16", gateway=ident("vgw", 9), origin=Origin.DIRECT_CONNECT, as_path_length=9),
            bgp("172.17.0.0/16"),
            Learned(prefix="172.17.0.0/16", gateway=ident("vgw", 8), origin=Origin.VPN_STATIC),
        ),
        available=ALIVE | {ident("vgw", 8), ident("vgw", 9)},
        ways={"172.16.0.1": ident("vgw", 9), "172.17.0.1": ident("vgw", 8)},
    ),
    Case(
        says="Of BGP routes with the same destination, the one with the shortest AS path is preferred.",
        learned=(bgp("172.16.0.0/16", 3), bgp("172.16.0.0/16", 2, ident("vgw", 9))),
        available=ALIVE | {ident("vgw", 9)},
        ways={"172.16.0.1": ident("vgw", 9)},
    ),
    Case(
        says="A route whose target is not available has the state blackhole.",
        routes={"0.0.0.0/0": IGW, "172.16.0.0/16": PCX, "10.0.13.0/24": FW},
        available=frozenset({IGW}),
        ways={"8.8.8.8": IGW, "172.16.0.1": "blackhole", "10.0.13.4": "blackhole"},
    ),
    Case(
        says="A static route in the state blackhole is still preferred over a propagated route.",
        routes={"172.16.0.0/16": PCX},
        learned=(bgp("172.16.0.0/16"),),
        available=frozenset({VGW}),
        ways={"172.16.0.1": "blackhole"},
    ),
    Case(
        says="Packets to 169.254.168.0/22 are not forwarded by a wider route.",
        routes={"0.0.0.0/0": IGW},
        ways={"169.254.169.254": "blackhole", "169.254.167.1": IGW, "169.254.172.1": IGW},
    ),
    Case(
        says="Packets to fd00:ec2::/32 are not forwarded by a wider route.",
        vpc=VPC6,
        routes={"fd00::/8": FW},
        ways={"fd00:ec2::254": "blackhole", "fd00:ec3::1": FW},
    ),
    Case(
        says="No route leads into the ranges that EC2 keeps for its services, whoever propagates it.",
        routes={"169.254.169.0/24": FW},
        learned=(bgp("169.254.168.0/22"), bgp("fd00:ec2:1::/48")),
        ways={"169.254.169.254": "nothing", "fd00:ec2:1::1": "nothing"},
    ),
]


def in_force(case: Case) -> tuple[Effective, ...]:
    routes = [VpcRoute(destination=destination, target=target) for destination, target in case.routes.items()]
    lists = {found.id: found for found in case.lists}
    own = [parse_prefix(case.own)] if case.own else []
    return effective(case.vpc, routes, available=case.available, lists=lists, learned=case.learned, own=own)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.says)
def test_packets_go_where_ec2_says(case: Case) -> None:
    found = in_force(case)
    assert list(found) == sorted(found, key=lambda route: route.prefix)
    for address, way in case.ways.items():
        route = route_of(found, address)
        assert (str(route.target) if route else "nothing") == way, address


def test_a_prefix_list_that_is_gone_leaves_the_other_routes() -> None:
    found = in_force(Case(says="", ways={}, routes={S3: VPCE, "0.0.0.0/0": IGW}))
    assert {str(route.target) for route in found} == {"local", IGW, "blackhole"}


# --- the same, by definition: of all routes that contain an address, the longest prefix; of equal ones, the best rank

PREFIXES = st.sampled_from(
    [
        "0.0.0.0/0",
        "10.0.0.0/8",
        "10.0.0.0/16",
        "10.0.2.0/24",
        "10.0.2.0/25",
        "10.9.0.0/24",
        "10.9.0.0/25",
        "172.16.0.0/12",
        "169.254.0.0/16",
        "169.254.168.0/22",
        "169.254.170.0/24",
        "::/0",
        "fd00::/8",
        "fd00:1::/56",
        "fd00:1:0:2::/64",
        "fd00:ec2::/32",
        "fd00:ec2::/48",
    ]
)
STATIC = st.dictionaries(PREFIXES, st.sampled_from([FW, FW2, PCX, IGW, NAT, VPCE, "blackhole"]), max_size=8)
LEARNED = st.lists(
    st.builds(
        lambda prefix, origin, path, number: Learned(
            prefix=prefix, gateway=ident("vgw", number), origin=origin, as_path_length=path
        ),
        PREFIXES,
        st.sampled_from([Origin.DIRECT_CONNECT, Origin.VPN_STATIC, Origin.VPN_BGP]),
        st.integers(0, 2),
        st.integers(1, 3),
    ),
    max_size=5,
)
IPV4 = ("10.0.0.0/8", "10.0.2.0/24", "172.16.0.0/12", "169.254.170.0/24")
LISTS = st.lists(st.lists(st.sampled_from(IPV4), min_size=1, max_size=3, unique=True), max_size=2)
EDGES = [parse_prefix(text) for text in ("10.0.2.0/24", "10.9.0.0/25", "172.16.0.0/12", "169.254.168.0/22", "fd00:1:0:2::/64")]
ADDRESSES = st.builds(
    lambda prefix, last, by: format_ip(prefix.version, (prefix.last if last else prefix.network) + by),
    st.sampled_from([*EDGES, parse_prefix("fd00:ec2::/32")]),
    st.booleans(),
    st.integers(-1, 1),
)


Candidate = tuple[Prefix, Target, tuple[int, ...], str]


def candidates(static: Mapping[str, str], lists: list[PrefixList], targets: list[str], learned: list[Learned]) -> list[Candidate]:
    """Return every route with its rank among routes of the same length, and the tie-breaker of equal ranks."""
    found: list[Candidate] = [(parse_prefix(p), target_of(t), (Origin.STATIC,), "") for p, t in static.items()]
    for one, target in zip(lists, targets, strict=True):
        found += [(parse_prefix(e.cidr), target_of(target), (Origin.PREFIX_LIST,), one.id) for e in one.entries]
    found += [(parse_prefix(o.prefix), target_of(o.gateway), (o.origin, o.as_path_length), o.gateway) for o in learned]
    return found


@given(static=STATIC, lists=LISTS, learned=LEARNED, address=ADDRESSES, alive=st.sets(st.sampled_from(sorted(ALIVE))))
def test_the_route_of_an_address_is_the_one_that_its_definition_names(
    static: dict[str, str], lists: list[list[str]], learned: list[Learned], address: str, alive: set[str]
) -> None:
    held = [prefix_list(ident("pl", n), *cidrs) for n, cidrs in enumerate(lists, 1)]
    targets = [FW, VPCE][: len(held)]
    routes = [VpcRoute(destination=d, target=t) for d, t in static.items()]
    routes += [VpcRoute(destination=one.id, target=t) for one, t in zip(held, targets, strict=True)]
    found = effective(VPC6, routes, available=alive, lists={one.id: one for one in held}, learned=learned)
    version, value = parse_ip(address)
    ranges = [parse_prefix(text) for text in VPC6.cidrs + VPC6.ipv6_cidrs]
    mine = [own for own in ranges if own.holds(version, value)]
    holding = [one for one in candidates(static, held, targets, learned) if one[0].holds(version, value)]
    if mine:  # inside the VPC: local, or a static route to an interface or a NAT gateway
        replacing = [one for one in holding if one[2] == (Origin.STATIC,) and one[1].kind in REPLACES_LOCAL]
        holding = [one for one in replacing if mine[0].contains(one[0])]
    holding = [one for one in holding if not any(block.contains(one[0]) for block in RESERVED)]
    best = min(holding, key=lambda one: (-one[0].length, one[2], one[3]), default=None)
    if best is None:
        expected = "local" if mine else "nothing"
    elif any(block.holds(version, value) for block in RESERVED):
        expected = "blackhole"
    else:
        expected = "blackhole" if best[1].id and best[1].id not in alive else str(best[1])
    route = route_of(found, address)
    assert (str(route.target) if route else "nothing") == expected


# --- valid routes

SUBNETS = [parse_prefix("10.0.13.0/24"), parse_prefix("fd00:1:0:1::/64")]


@pytest.mark.parametrize(
    ("destination", "kind", "what"),
    [
        ("0.0.0.0/0", TargetKind.INTERNET_GATEWAY, ""),
        ("10.0.0.0/8", TargetKind.PEERING, ""),
        ("192.0.2.0/24", TargetKind.BLACKHOLE, ""),
        ("10.0.13.0/24", TargetKind.INTERFACE, ""),
        ("fd00:1:0:1::/64", TargetKind.NAT_GATEWAY, "fd00:1:0:1::/64 is IPv6"),
        ("10.0.0.0/16", TargetKind.INTERFACE, ""),
        ("10.0.0.0/16", TargetKind.LOCAL, ""),
        ("10.0.13.0/24", TargetKind.LOCAL, "10.0.13.0/24 is not a range of the VPC, and only those are local"),
        ("192.0.2.0/24", TargetKind.LOCAL, "192.0.2.0/24 is not a range of the VPC, and only those are local"),
        ("10.0.0.0/16", TargetKind.PEERING, "10.0.0.0/16 is a range of the VPC itself"),
        ("10.0.13.0/24", TargetKind.PEERING, "10.0.13.0/24 is more specific than 10.0.0.0/16, a range of the VPC itself"),
        ("10.0.13.0/24", TargetKind.BLACKHOLE, "10.0.13.0/24 is more specific than 10.0.0.0/16, a range of the VPC itself"),
        ("10.0.13.0/25", TargetKind.INTERFACE, "10.0.13.0/25 is more specific than the VPC's 10.0.0.0/16, and is not the whole"),
        ("10.0.12.0/23", TargetKind.INTERFACE, "10.0.12.0/23 is more specific than the VPC's 10.0.0.0/16, and is not the whole"),
        ("169.254.168.0/22", TargetKind.INTERFACE, "169.254.168.0/22 is inside 169.254.168.0/22, which EC2 reserves"),
        ("169.254.169.254/32", TargetKind.INTERNET_GATEWAY, "169.254.169.254/32 is inside 169.254.168.0/22, which EC2 reserves"),
        ("169.254.0.0/16", TargetKind.INTERFACE, ""),
        ("fd00:ec2::/32", TargetKind.INTERFACE, "fd00:ec2::/32 is inside fd00:ec2::/32, which EC2 reserves"),
        ("fd00:ec2:0:1::/64", TargetKind.INTERFACE, "fd00:ec2:0:1::/64 is inside fd00:ec2::/32, which EC2 reserves"),
    ],
)
def test_routes_that_ec2_refuses_are_refused(destination: str, kind: TargetKind, what: str) -> None:
    ranges = [parse_prefix(text) for text in VPC6.cidrs + VPC6.ipv6_cidrs]
    violation = violation_of(parse_prefix(destination), kind, ranges, SUBNETS)
    assert (violation.what if violation else "").startswith(what)
    assert (violation is None) == (what == "")


def test_a_prefix_list_counts_as_many_routes_as_it_may_hold_and_each_ip_version_by_itself() -> None:
    routes = [VpcRoute(destination=d, target=IGW) for d in ("0.0.0.0/0", "192.0.2.0/24", "::/0", S3)]
    assert counts(routes, {S3: prefix_list(S3, "198.51.100.0/24", max_entries=40)}) == {4: 42, 6: 1}
