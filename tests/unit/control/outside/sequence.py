"""The initial cloud of random sequences of actions, and their actions for internet access."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from typing import TypeVar

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from netorch.control.actions import hosts, subnets
from netorch.control.actions.outside import addresses, egress_only, gateways, pools
from netorch.errors import ApiError
from netorch.model.eni import NetworkInterface, Role
from netorch.model.outside.gateway import EgressOnlyInternetGateway, InternetGateway
from netorch.model.vpc import Subnet
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.store.memory import MemoryStore

T = TypeVar("T")
SEED = st.integers(0, 1000)
UPLINK = "eth2,198.18.0.21/24,198.18.0.254"


class OutsideActions(RuleBasedStateMachine):
    """Three owners and an operator, with an edge and a pool of public addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore()
        self.time = 0.0
        counter = itertools.count(1)

        def caller(owner: str, *, operator: bool = False) -> Caller:
            def entropy() -> int:
                return next(counter) * 0x9E3779B97F4A7C15

            return Caller(owner=owner, operator=operator, now=lambda: self.time, entropy=entropy)

        self.callers = {owner: caller(owner) for owner in ("acme", "globex", "default")}
        self.operator = caller("default", operator=True)

    def try_to(self, act: Callable[[], object]) -> None:
        with contextlib.suppress(ApiError):
            act()

    def one_of(self, found: dict[str, T] | list[T], seed: int) -> T | None:
        values = list(found.values()) if isinstance(found, dict) else found
        return values[seed % len(values)] if values else None

    def vpc_id(self, seed: int) -> str:
        records = self.one_of(list(read_inventory(self.store).vpcs.values()), seed)
        return records.vpc.record.id if records is not None else "vpc-00100100000000000"

    def some(self, of: type, seed: int) -> str:
        found = [resource_id for records in read_inventory(self.store).vpcs.values() for resource_id in records.of(of)]
        return self.one_of(sorted(found), seed) or "none"

    @initialize()
    def lead_outside(self) -> None:
        """Make an edge and small pools."""
        hosts.create_host(
            self.store, self.operator, name="edge", underlay="192.0.2.21", role=Role.EDGE, pair="west", uplink=UPLINK
        )
        pools.create_pool(self.store, self.operator, name="p", pair="west", cidrs=["198.51.100.0/28"])

    @rule(seed=SEED, on=st.booleans())
    def make_public(self, seed: int, on: bool) -> None:
        self.try_to(lambda: subnets.modify_subnet(self.store, self.operator, self.some(Subnet, seed), public_on_launch=on))

    @rule(seed=SEED, delete=st.booleans())
    def create_or_delete_gateway(self, seed: int, delete: bool) -> None:
        if delete:
            gateway = self.some(InternetGateway, seed)
            self.try_to(lambda: gateways.delete_internet_gateway(self.store, self.operator, gateway))
        else:
            self.try_to(lambda: gateways.create_internet_gateway(self.store, self.operator, self.vpc_id(seed), name="g"))

    @rule(seed=SEED, delete=st.booleans())
    def create_or_delete_egress_only_gateway(self, seed: int, delete: bool) -> None:
        if delete:
            gateway = self.some(EgressOnlyInternetGateway, seed)
            self.try_to(lambda: egress_only.delete_egress_only_gateway(self.store, self.operator, gateway))
        else:
            self.try_to(lambda: egress_only.create_egress_only_gateway(self.store, self.operator, self.vpc_id(seed), name="e"))

    @rule(seed=SEED, owner=st.sampled_from(["acme", "globex"]), act=st.sampled_from(["allocate", "associate", "end", "release"]))
    def change_elastic_ips(self, seed: int, owner: str, act: str) -> None:
        elastic = self.one_of(sorted(read_inventory(self.store).elastic_ips), seed) or "none"
        eni = self.some(NetworkInterface, seed)
        acts: dict[str, Callable[[], object]] = {
            "allocate": lambda: addresses.allocate_address(self.store, self.callers[owner]),
            "associate": lambda: addresses.associate_address(self.store, self.operator, elastic, interface=eni),
            "end": lambda: addresses.disassociate_address(self.store, self.operator, elastic),
            "release": lambda: addresses.release_address(self.store, self.operator, elastic),
        }
        self.try_to(acts[act])

    def end_outside(self) -> None:
        """Delete everything for internet access that is unused."""
        for elastic in read_inventory(self.store).elastic_ips:
            addresses.release_address(self.store, self.operator, elastic)
        for pool in read_inventory(self.store).pools:
            pools.delete_pool(self.store, self.operator, pool)
