"""A pair of edges, and VPCs with the same addresses, each with a NAT gateway for its private subnet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.rig.outskirts import EDGES, Outskirts

VPC: Final = """
- name: {name}
  cidrs: [10.0.0.0/16]
  route_tables: [{{name: public}}]
  network_acls: [{{name: border, ingress: [{{rule: 10, action: allow, protocol: all, cidr: 0.0.0.0/0}}],
                  egress: [{{rule: 10, action: allow, protocol: all, cidr: 0.0.0.0/0}}]}}]
  subnets:
  - {{name: app, cidr: 10.0.1.0/24}}
  - {{name: pub, cidr: 10.0.9.0/24, route_table: public, network_acl: border}}
  security_groups: [{{name: open, ingress: [{{protocol: all, source: 0.0.0.0/0}}]}}]
  instances:
  - {{name: one, host: hv1, subnet: app, address: 10.0.1.5, security_groups: [open]}}
  - {{name: two, host: hv2, subnet: app, address: 10.0.1.6, security_groups: [open]}}
"""
PUBLIC: Final = {"a": "198.51.100.11", "b": "198.51.100.12"}
INSIDE: Final = "10.0.9.9"  # the private address of each gateway


@contextmanager
def natted(
    directory: Path, public: Mapping[str, str] = PUBLIC, edges: Iterable[str] = EDGES, vpc: str = VPC
) -> Iterator[Outskirts]:
    """Yield VPCs, by name, whose gateways have these public addresses; no instance has a public address."""
    found = Outskirts(directory)
    try:
        found.world.start_agents()
        found.world.apply("vpcs:" + "".join(vpc.format(name=name) for name in public))
        for name, address in public.items():
            found.seat(name, "public")
            found.seat_nat(name, "pub", INSIDE, address, edges)
        found.settle()
        yield found
    finally:
        found.close()
