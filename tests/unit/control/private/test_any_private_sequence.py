"""Random sequences of owners' VPN and Direct Connect actions, and the operator's actions on edges: records stay consistent."""

from __future__ import annotations

from collections.abc import Callable

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import initialize, invariant, rule

from netorch.control.actions import hosts, vpcs
from netorch.control.actions.direct_connect import connections as ports
from netorch.control.actions.direct_connect import interfaces
from netorch.control.actions.direct_connect.making import Wanted as WantedInterface
from netorch.control.actions.private import changes
from netorch.control.actions.private.connections import Wanted, create_vpn_connection, delete_vpn_connection
from netorch.control.actions.private.customers import create_customer_gateway, delete_customer_gateway
from netorch.control.actions.private.gateways import create_vpn_gateway, delete_vpn_gateway
from netorch.model.eni import Role
from netorch.model.outside.direct_connect import HostedConnection, VirtualInterface
from netorch.model.outside.vpn import VirtualPrivateGateway, VpnConnection
from netorch.records.inventory import read_inventory
from tests.unit.control.consistent import check_mappings, check_ranges, check_references
from tests.unit.control.outside.sequence import SEED, OutsideActions
from tests.unit.control.private.conftest import clean
from tests.unit.sealing import publish_keys

OWNERS = st.sampled_from(["acme", "globex"])
EDGES = {"edge": 21, "other": 22, "third": 23}
PORTS = st.sampled_from(["port-1", "port-2"])
VLANS = st.sampled_from([101, 102])


class PrivateActions(OutsideActions):
    """Two owners with a VPC each, and an operator with up to three edges."""

    @initialize()
    def begin(self) -> None:
        """Create enough for most actions to succeed."""
        publish_keys(self.store, *EDGES)
        self.make_edge("other")
        for owner in ("acme", "globex"):
            vpc = vpcs.create_vpc(self.store, self.callers[owner], name="a", cidrs=["10.0.0.0/16"])
            create_vpn_gateway(self.store, self.callers[owner], vpc.id)
            self.create_customer(owner, 1, "")

    def make_edge(self, name: str) -> None:
        number = EDGES[name]
        uplink = f"eth2,198.18.0.{number}/24,198.18.0.254"
        underlay = f"192.0.2.{number}"
        self.try_to(
            lambda: hosts.create_host(
                self.store, self.operator, name=name, underlay=underlay, role=Role.EDGE, pair="west", uplink=uplink
            )
        )

    @rule(name=st.sampled_from(sorted(EDGES)), leave=st.booleans())
    def create_or_delete_edge(self, name: str, leave: bool) -> None:
        if leave:
            self.try_to(lambda: hosts.delete_host(self.store, self.operator, name))
        else:
            self.make_edge(name)

    @rule(seed=SEED, delete=st.booleans())
    def create_or_delete_private_gateway(self, seed: int, delete: bool) -> None:
        if delete:
            self.try_to(lambda: delete_vpn_gateway(self.store, self.operator, self.some(VirtualPrivateGateway, seed)))
        else:
            self.try_to(lambda: create_vpn_gateway(self.store, self.operator, self.vpc_id(seed)))

    @rule(owner=OWNERS, number=st.sampled_from([1, 2]), identity=st.sampled_from(["", "", "Router.example"]))
    def create_customer(self, owner: str, number: int, identity: str) -> None:
        caller, address = self.callers[owner], f"203.0.113.{number}"
        self.try_to(lambda: create_customer_gateway(self.store, caller, address=address, identity=identity))

    @rule(seed=SEED)
    def delete_customer(self, seed: int) -> None:
        self.try_to(lambda: delete_customer_gateway(self.store, self.operator, self.customer(seed)))

    def customer(self, seed: int) -> str:
        return self.one_of(sorted(read_inventory(self.store).customer_gateways), seed) or "none"

    @rule(seed=SEED, device=SEED, name=st.sampled_from(["a", "b"]), static=st.booleans())
    def create_vpn(self, seed: int, device: int, name: str, static: bool) -> None:
        wanted = Wanted(name=name, static=static, routes=("192.168.0.0/24",) if static else ())
        gateway, customer = self.some(VirtualPrivateGateway, seed), self.customer(device)
        self.try_to(lambda: create_vpn_connection(self.store, self.operator, gateway, customer, wanted))

    @rule(seed=SEED, act=st.sampled_from(["rotate", "add", "remove", "delete"]))
    def change_vpn(self, seed: int, act: str) -> None:
        vpn = self.some(VpnConnection, seed)
        acts: dict[str, Callable[[], object]] = {
            "rotate": lambda: changes.rotate_secret(self.store, self.operator, vpn, 1 + seed % 2),
            "add": lambda: changes.create_static_route(self.store, self.operator, vpn, "172.16.0.0/12"),
            "remove": lambda: changes.delete_static_route(self.store, self.operator, vpn, "172.16.0.0/12"),
            "delete": lambda: delete_vpn_connection(self.store, self.operator, vpn),
        }
        self.try_to(acts[act])

    @rule(name=PORTS, host=st.sampled_from(sorted(EDGES)), owner=OWNERS, delete=st.booleans())
    def create_or_delete_port(self, name: str, host: str, owner: str, delete: bool) -> None:
        if delete:
            self.try_to(lambda: ports.delete_connection(self.store, self.operator, name))
        else:
            device = f"eth{name[-1]}"
            self.try_to(
                lambda: ports.create_connection(self.store, self.operator, name=name, host=host, device=device, owner=owner)
            )

    @rule(name=PORTS, owner=OWNERS, vlan=VLANS, remove=st.booleans())
    def host_vlan(self, name: str, owner: str, vlan: int, remove: bool) -> None:
        if remove:
            self.try_to(lambda: ports.remove_hosted(self.store, self.operator, name, vlan))
        else:
            self.try_to(lambda: ports.add_hosted(self.store, self.operator, name, HostedConnection(owner=owner, vlan=vlan)))

    @rule(seed=SEED, port=PORTS, vlan=VLANS, by=st.sampled_from(["operator", "acme", "globex"]))
    def create_interface(self, seed: int, port: str, vlan: int, by: str) -> None:
        wanted = WantedInterface(name="v", connection=port, vlan=vlan, asn=65010)
        caller = self.callers.get(by, self.operator)
        self.try_to(lambda: interfaces.create_virtual_interface(self.store, caller, self.vpc_id(seed), wanted))

    @rule(seed=SEED, owner=OWNERS, act=st.sampled_from(["confirm", "reject", "delete"]))
    def answer_interface(self, seed: int, owner: str, act: str) -> None:
        vif, caller = self.some(VirtualInterface, seed), self.callers[owner]
        acts: dict[str, Callable[[], object]] = {
            "confirm": lambda: interfaces.confirm_virtual_interface(self.store, caller, vif),
            "reject": lambda: interfaces.reject_virtual_interface(self.store, caller, vif),
            "delete": lambda: interfaces.delete_virtual_interface(self.store, self.operator, vif),
        }
        self.try_to(acts[act])

    @invariant()
    def the_records_are_consistent(self) -> None:
        inventory = read_inventory(self.store)
        check_ranges(inventory)
        check_mappings(self.store, inventory)
        check_references(inventory, {kv.key for kv in self.store.list("host/").kvs if "/placement/" in kv.key})
        clean(self.store)


TestPrivateActions = PrivateActions.TestCase
TestPrivateActions.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
