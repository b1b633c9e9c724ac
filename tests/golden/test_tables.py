"""What holds for the nftables tables of all clouds.

Base chains drop by rules of their own: Linux sets a drop policy only after a transaction's rules have taken effect. In between,
the old table's hooks are gone already. Source: net/netfilter/nf_tables_api.c, nft_chain_commit_drop_policy
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import yaml

from edges.interface_endpoint.parts import InterfaceEndpoints
from netorch.compiler.registry import compile_slice
from netorch.state.base import HOST_SLICE, KernelObject
from netorch.state.nft import NftTable
from tests.golden import test_interface_endpoint as endpoints
from tests.golden.clouds import compiled
from tests.golden.test_golden import CASES, Case


def all_objects() -> list[KernelObject]:
    """Return the objects of all cases."""
    objects = list(compile_slice((InterfaceEndpoints(),), endpoints.view("e2", endpoints.CONSUMER), []).values())
    for path in CASES:
        case = msgspec.convert(yaml.safe_load(Path(path).read_text()), Case)
        objects += [obj for host in case.hosts for obj in compiled(case, host).values()]
    return objects


def tables() -> set[NftTable]:
    """Return the tables of all cases."""
    return {obj for obj in all_objects() if isinstance(obj, NftTable)}


def lasts(table: NftTable) -> dict[str, str]:
    """Return the last rule of each base chain that drops by default."""
    found = re.findall(r"^chain (\w+) \{\n(.*?)\n\}", table.body, re.DOTALL | re.MULTILINE)
    rules = {name: [line.strip() for line in text.splitlines()] for name, text in found}
    return {name: lines[-1] for name, lines in rules.items() if "policy drop" in lines[0]}


def test_no_packet_reaches_the_end_of_a_base_chain_that_drops() -> None:
    ends = {(table.netns.partition("-")[0], table.family, *item) for table in tables() for item in lasts(table).items()}
    assert {netns for netns, *_ in ends} == {"eigw", "nat", "outside", "overlay", "vpce"}
    assert {end for end in ends if not re.fullmatch(r'accept|drop|counter name "\w+" drop|goto drop_\w+', end[3])} == set()


def test_a_gateways_table_has_objects_of_its_own_vpc_only() -> None:
    """So a change of the table concerns no other VPC (netorch.agent.reloads)."""
    owners = {table.key: table.vni for table in tables() if table.vni != HOST_SLICE}
    assert {obj.vni == owners[obj.within] for obj in all_objects() if obj.within in owners} == {True}
