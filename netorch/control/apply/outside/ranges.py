"""The IPv6 ranges of a declared VPC, with those that netorch chooses; from here on all prefixes are known."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from netorch.control.actions.outside.ranges import choose_range, kept_pools
from netorch.control.apply.builder import PlanBuilder, canonical
from netorch.control.apply.outside.gateways import pair_for
from netorch.control.base.pools import Chosen
from netorch.control.base.writes import Writes
from netorch.model.addr import parse_prefix
from netorch.model.check.cloud import check_vpc
from netorch.model.cloud import VpcDecl
from netorch.model.outside.provided import PROVIDED, concrete
from netorch.records import keys
from netorch.records.errors import invalid
from netorch.records.vpc import VpcRecords


class Ranges(msgspec.Struct, frozen=True, kw_only=True):
    """A declared VPC with all ranges known."""

    decl: VpcDecl
    ipv6_cidrs: tuple[str, ...]  # in canonical form
    pools: dict[str, str]  # range from an address pool -> the pool's name
    new: tuple[Chosen, ...]  # ranges that the VPC does not have yet
    words: Mapping[str, str]  # value that depends on new ranges -> its text in the file: the next plan may choose other ranges

    def own(self) -> list[str]:
        """Return the customer's own ranges."""
        return [cidr for cidr in self.ipv6_cidrs if cidr not in self.pools]

    def take(self, builder: PlanBuilder, writes: Writes, vni: int) -> None:
        """Add the claims of new ranges. A simultaneous new gateway on another pair conflicts."""
        if self.new:
            writes.expect(keys.public_mark(vni), builder.revision_of(keys.public_mark(vni)))
        for chosen in self.new:
            chosen.take(writes)

    def said(self, text: str) -> str:
        """Return a range as a plan shows it."""
        return self.words.get(text, text)


def find_ranges(builder: PlanBuilder, decl: VpcDecl, records: VpcRecords) -> Ranges:
    """Return the ranges of a VPC. Provided ones are first existing ones that the file does not name, then new ones.

    `records` holds the VPC, which may be new.

    Raises:
      ApiError: InsufficientAddressCapacity, AddressLimitExceeded; InvalidParameterValue if a range contradicts another part of
        the file.
    """
    vpc = records.vpc.record
    named = {canonical(text) for text in decl.ipv6_cidrs if text != PROVIDED}
    count = decl.ipv6_cidrs.count(PROVIDED)
    had = [cidr for cidr in vpc.ipv6_cidrs if cidr in vpc.ipv6_pools and cidr not in named][:count]
    pair = pair_for(builder, decl, records) if len(had) < count else ""
    new: list[Chosen] = []
    for _ in range(count - len(had)):
        new.append(choose_range(builder.addresses, vpc, pair))
        pair = new[-1].pool.record.pair
    found = concrete(decl, [*had, *(chosen.cidr for chosen in new)])
    if count:
        _check(found)
    ipv6_cidrs = tuple(map(canonical, found.ipv6_cidrs))
    pools = kept_pools(vpc, ipv6_cidrs) | {chosen.cidr: chosen.pool.record.name for chosen in new}
    return Ranges(decl=found, ipv6_cidrs=ipv6_cidrs, pools=pools, new=tuple(new), words=_words(decl, found, new))


def _check(decl: VpcDecl) -> None:
    """Check routes and subnets beside ranges that were unknown when the file was checked. Raises ApiError."""
    for problem in check_vpc(decl):
        raise invalid(f"VPC {decl.owner}/{decl.name}: {problem.path}", problem.what, problem.fix)


def _words(decl: VpcDecl, found: VpcDecl, new: list[Chosen]) -> dict[str, str]:
    ranges = [parse_prefix(chosen.cidr) for chosen in new]
    words = {chosen.cidr: PROVIDED for chosen in new}
    for before, now in zip(decl.subnets, found.subnets, strict=True):
        if before != now and any(known.contains(parse_prefix(now.ipv6_cidr)) for known in ranges):
            words[now.ipv6_cidr] = before.ipv6_cidr
    return words
