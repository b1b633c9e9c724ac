"""Four customers with IPv6, on one pair of edges. Their ranges are from a pool, except c's, which is in no pool.

    a   an internet gateway; one instance has no route to it
    b   an egress-only gateway; one instance has no route to it
    c   an internet gateway, and a range that no pool has
    d   both gateways: one subnet's route leads to the first, the other subnet's to the second

No address is translated, so an instance has the same address inside and outside. Reachability: `customers.Rules`.
"""

from __future__ import annotations

from typing import Final

from netorch.compiler.base import IPV6_GATEWAY
from netorch.model.addr import format_ip, parse_prefix
from tests.integration.edges.isolation.customers import Instance, Rules, Site
from tests.rig.outskirts import EDGES, SERVER6, UPLINKS, Outskirts

PREFIX: Final = "2001:db8:f000::"
OWN: Final = f"{PREFIX}/56"  # in no pool


def _vpc(name: str, cidr: str, blocks: tuple[str, str], places: tuple[tuple[str, str, str, str], ...]) -> str:
    """Return the declaration of a VPC with the subnets `app` and `other`; instances have a name, host, subnet and address."""
    instances = ", ".join(
        f"{{name: {each}, host: {host}, subnet: {subnet}, security_groups: [open], ipv6_address: '{address}'}}"
        for each, host, subnet, address in places
    )
    return f"""
- name: {name}
  cidrs: [10.0.0.0/16]
  ipv6_cidrs: ['{cidr}']
  route_tables: [{{name: other}}]
  subnets:
  - {{name: app, cidr: 10.0.1.0/24, ipv6_cidr: '{blocks[0]}'}}
  - {{name: other, cidr: 10.0.2.0/24, ipv6_cidr: '{blocks[1]}', route_table: other}}
  security_groups: [{{name: open, ingress: [{{protocol: all, source: '::/0'}}]}}]
  instances: [{instances}]"""


_BLOCKS: Final = ("provided-0", "provided-1")
_ONE, _TWO, _OTHER = ("one", "hv1", "app", "::5"), ("two", "hv2", "app", "::6"), ("other", "hv1", "other", "::5")
CLOUD: Final = "vpcs:" + "".join(
    (
        *(_vpc(name, "provided", _BLOCKS, (_ONE, _TWO, _OTHER)) for name in "ab"),
        _vpc("c", OWN, ("2001:db8:f000::/64", "2001:db8:f000:1::/64"), ((*_ONE[:3], f"{PREFIX}5"), (*_TWO[:3], f"{PREFIX}6"))),
        _vpc("d", "provided", _BLOCKS, (_TWO, _OTHER)),
    )
)
LEADS_TO: Final = {
    "a/one": "igw",
    "a/two": "igw",
    "a/other": "",
    "b/one": "eigw",
    "b/two": "eigw",
    "b/other": "",
    "c/one": "igw",
    "c/two": "igw",
    "d/two": "eigw",
    "d/other": "igw",
}
HOST_OF: Final = {"one": "hv1", "two": "hv2", "other": "hv1"}
PUBLIC: Final = ("a/one", "a/two", "a/other", "d/other")  # reachable from the internet
LOUD6: Final = ("ff02::1", "ff02::2")
# Addresses without a host: of the pool, of cables; that no network announces; that Linux takes as its own.
NOBODYS6: Final = ("2001:db8:1ff::1", "fd00::7", "64:ff9b::a00:105", "2002:a00:105::1", "fe80::4f:8")
STRANGE6: Final = ("::1", "::", "::ffff:10.0.1.5", *LOUD6)
UPLINK6: Final = {edge: UPLINKS[edge].ipv6_address.partition("/")[0] for edge in EDGES}
GATEWAYS6: Final = {edge: UPLINKS[edge].ipv6_gateway for edge in EDGES}
BORDERS6: Final = (*GATEWAYS6.values(), "2001:db8:99::1")


def rules_of(outskirts: Outskirts) -> Rules:
    """Return the reachability rules, by the addresses that the instances have."""
    world = outskirts.world
    found = {name: world.eni(name).ipv6_address for name in LEADS_TO}
    instances = {
        name: Instance(
            host=HOST_OF[name.partition("/")[2]],
            private=found[name],
            public=found[name] if name in PUBLIC else "",
            leads_to=leads_to,
        )
        for name, leads_to in LEADS_TO.items()
    }
    ranges = {name: world.vpc(name).vpc.record.ipv6_cidrs[0] for name in "abcd"}
    routers = {name: _routers(cidr) for name, cidr in ranges.items()}
    return Rules(
        instances,
        site=Site(
            server=SERVER6,
            uplinks=UPLINK6,
            gateways=GATEWAYS6,
            borders=BORDERS6,
            loud=LOUD6,
            ranges=ranges,
            routers=routers,
            public=tuple(address for address in found.values() if not address.startswith(PREFIX)),
        ),
    )


def _routers(cidr: str) -> tuple[str, ...]:
    """Return the router's addresses in the two subnets of a VPC: the first of each, and the link-local one."""
    return (_in(cidr, 1), _in(cidr, (1 << 64) + 1), IPV6_GATEWAY)


def _in(cidr: str, number: int) -> str:
    """Return an address of a range."""
    return format_ip(6, parse_prefix(cidr).network + number)


def addresses_of(rules: Rules) -> list[str]:
    """Return every address to which packets are sent."""
    site = rules.site
    return sorted(
        {instance.private for instance in rules.instances.values()}
        | {address for routers in site.routers.values() for address in routers}
        | {_in(cidr, 0x77) for cidr in site.ranges.values()}
        | {site.server, *site.uplinks.values(), *site.borders, *NOBODYS6, *STRANGE6}
    )
