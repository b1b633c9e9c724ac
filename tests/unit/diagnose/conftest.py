"""A VPC with a private subnet behind a NAT gateway, and a public subnet, on the command line."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any, Final

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.cli.conftest import quick as quick

PUBLIC: Final = "198.51.100.7"  # of the NAT gateway
SERVER: Final = "203.0.113.10"
HOSTS: Final = """
hosts:
- {name: hv1, underlay: 192.0.2.11}
- {name: hv2, underlay: 192.0.2.12}
- {name: e1, underlay: 192.0.2.21, role: edge, pair: west,
   uplink: {device: eth2, address: 198.18.0.21/24, gateway: 198.18.0.254,
            ipv6_address: "2001:db8::21/64", ipv6_gateway: "2001:db8::fe"}}
- {name: e2, underlay: 192.0.2.22, role: edge, pair: west,
   uplink: {device: eth2, address: 198.18.0.22/24, gateway: 198.18.0.254,
            ipv6_address: "2001:db8::22/64", ipv6_gateway: "2001:db8::fe"}}
address_pools:
- {name: west, pair: west, cidrs: [198.51.100.0/24]}
"""
CLOUD: Final = """
vpcs:
- name: shop
  owner: acme
  cidrs: [10.0.0.0/16]
  internet_gateway: {name: gw}
  route_tables: [{name: public, routes: ["0.0.0.0/0 via igw"]}, {name: private}]
  network_acls: [{name: border, ingress: [{rule: 10, action: allow, protocol: all, cidr: 0.0.0.0/0}],
                  egress: [{rule: 10, action: allow, protocol: all, cidr: 0.0.0.0/0}]}]
  subnets:
  - {name: app, cidr: 10.0.1.0/24, route_table: private}
  - {name: pub, cidr: 10.0.9.0/24, route_table: public, network_acl: border}
  security_groups: [{name: web, ingress: [{protocol: tcp, ports: 443, source: 0.0.0.0/0}]}]
  instances:
  - {name: a1, host: hv1, subnet: app, address: 10.0.1.5, security_groups: [web]}
  - {name: a2, host: hv2, subnet: app, address: 10.0.1.6, security_groups: [web]}
  - {name: front, host: hv2, subnet: pub, address: 10.0.9.20, security_groups: [web], public_address: true}
"""


@pytest.fixture
def shop(quick: Run, tmp_path: Path) -> Run:
    """Return the command line of acme's owner, whose subnet `app` reaches the internet through the NAT gateway `out`."""
    (tmp_path / "hosts.yaml").write_text(HOSTS)
    (tmp_path / "vpc.yaml").write_text(CLOUD)
    for line in (
        "apply -f hosts.yaml --yes",
        f"--owner acme address allocate --name shared --address {PUBLIC}",  # first, as an instance could get any free address
        "apply -f vpc.yaml --yes",
        "--owner acme nat create out --subnet pub --elastic-ip shared --address 10.0.9.9",
        "--owner acme route-table route add private 0.0.0.0/0 nat-out",
    ):
        quick(*shlex.split(line))
    return lambda *arguments, code=0: quick("--owner", "acme", *arguments, code=code)


def traced(run: Run, source: str, destination: str, service: str = "tcp/443", *, code: int = 0) -> dict[str, Any]:
    """Return the JSON output of a trace; `code` is its exit code."""
    said: dict[str, Any] = json.loads(run("trace", source, destination, service, "-o", "json", code=code).stdout)
    return said
