"""Virtual interfaces: where they may be, their valid fields, and whose confirmation they need."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from nacl.public import PrivateKey, SealedBox

from netorch.control.actions import subnets, vpcs
from netorch.control.actions.direct_connect import connections, interfaces
from netorch.control.actions.direct_connect.making import Wanted
from netorch.control.actions.outside import pools
from netorch.control.actions.repair import damaged
from netorch.control.base.quotas import set_quotas
from netorch.control.views.health import read_health
from netorch.model.addr import parse_prefix
from netorch.model.outside.direct_connect import BgpAuthentication, Connection, HostedConnection, VifState, VirtualInterface
from netorch.model.outside.secrets import Secret
from netorch.model.outside.vpn import AMAZON_ASN, VirtualPrivateGateway
from netorch.model.outside.vpn_rules import INSIDE_RESERVED
from netorch.model.status import Sealed, SealingKey, VifStatus
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import encode
from netorch.records.read import get
from netorch.store.base import Put, Store
from tests.unit.control.conftest import refused
from tests.unit.control.direct_connect.conftest import clean, make_gateway
from tests.unit.control.outside.conftest import MakeEdge

CLIENT = "DirectConnectClientException"
VIF = Wanted(name="dc", connection="port-1", vlan=101, asn=65010)
STATIC: dict[str, Any] = {"asn": 0, "routes": ("192.168.0.0/16",)}


def create(store: Store, caller: Caller, vpc: Vpc, **changed: object) -> VirtualInterface:
    return interfaces.create_virtual_interface(store, caller, vpc.id, msgspec.structs.replace(VIF, **changed))


def state(store: Store, caller: Caller, vif: VirtualInterface) -> VifState:
    return interfaces.describe_virtual_interface(store, caller, vif.id).state


@pytest.fixture
def wired(connection: Connection, gateway: VirtualPrivateGateway) -> Connection:
    """Return the connection; the VPC has a gateway on its edge."""
    del gateway
    return connection


def test_it_says_what_its_edge_needs(
    store: Store, acme: Caller, wired: Connection, vpc: Vpc, gateway: VirtualPrivateGateway
) -> None:
    vif = create(store, acme, vpc, outer_vlan=300, bfd=True, mtu=8500, tags={"a": "b"})
    assert (vif.edge, vif.device, vif.gateway, vif.confirmed) == ("e1", "eth3", gateway.id, True)
    link = parse_prefix(vif.address, strict=False)
    assert link.length == 30
    assert parse_prefix("169.254.0.0/16").contains(link)
    assert link not in INSIDE_RESERVED
    (info,) = interfaces.describe_virtual_interfaces(store, acme, vpc.id)
    assert (info.vif, info.state, info.gateway_asn) == (vif, VifState.PENDING, AMAZON_ASN)
    clean(store)


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"vlan": 0}, "0 is not a VLAN"),
        ({"vlan": 4095}, "4095 is not a VLAN"),
        ({"outer_vlan": 4095}, "4095 is not a service tag"),
        ({"mtu": 9000}, "choose 1500 or 8500"),
        ({"asn": 2**32 - 1}, "not the number of an autonomous system"),
        ({"asn": AMAZON_ASN}, "AS number 64512, the same as gateway"),
        ({"asn": 0}, "neither an AS number nor static routes"),
        ({"routes": ("192.168.0.0/16",)}, "an AS number and static routes"),
        (STATIC | {"bfd": True}, "BFD or a BGP key and no AS number"),
        (STATIC | {"routes": ("10.0.7.0/24",)}, "inside 10.0.0.0/16, which is the VPC's own"),
        (STATIC | {"routes": ("fd00::/8",)}, "IPv6"),
        (STATIC | {"routes": [f"192.168.{n}.0/24" for n in range(101)]}, "101 static routes"),
        ({"peer": "10.9.0.2"}, "only the address of the customer's router"),
        ({"address": "10.9.0.1/29", "peer": "10.9.0.2"}, "neither in a /30 nor in a /31"),
        ({"address": "10.9.0.1/30", "peer": "10.9.0.3"}, "write 10.9.0.1/30 and 10.9.0.2"),
        ({"address": "10.9.0.0/30"}, "not the two ends"),
        ({"address": "10.0.9.1/30"}, "overlaps 10.0.0.0/16, which the VPC already uses"),
        ({"address": "8.8.8.1/30"}, "is not private"),
        ({"address": "169.254.169.253/30"}, "is reserved"),
        ({"name": "taken"}, "the VPC already has one with that name"),
        ({"vlan": 7}, "VLAN 7 of connection port-1 is used by virtual interface dxvif-"),
        ({"address": "10.9.1.5/30"}, "overlaps 10.9.1.4/30"),
        (
            {"vlan": 8},
            "VLAN 8 of connection port-1 does not belong to acme; ask the operator .* hosted add port-1 acme 8",
        ),
        ({"connection": "port-9"}, "connection 'port-9': does not exist"),
    ],
)
def test_what_cannot_be_is_refused(
    store: Store, operator: Caller, acme: Caller, wired: Connection, vpc: Vpc, changed: dict[str, Any], what: str
) -> None:
    create(store, acme, vpc, name="taken", vlan=7, address="10.9.1.6/30")
    connections.add_hosted(store, operator, "port-1", HostedConnection(owner="globex", vlan=8))
    with refused(CLIENT, what):
        create(store, acme, vpc, **changed)
    assert len(interfaces.describe_virtual_interfaces(store, acme, vpc.id)) == 1


@pytest.mark.parametrize(
    ("given", "ends"),
    [
        (("10.9.0.2/30", "10.9.0.1"), ("10.9.0.2/30", "10.9.0.1")),
        (("10.9.0.2/30", ""), ("10.9.0.2/30", "10.9.0.1")),
        (("172.16.0.1/31", ""), ("172.16.0.1/31", "172.16.0.0")),
        (("172.16.0.0/31", "172.16.0.1"), ("172.16.0.0/31", "172.16.0.1")),
    ],
)
def test_a_customer_may_choose_the_addresses(
    store: Store, acme: Caller, wired: Connection, vpc: Vpc, given: tuple[str, str], ends: tuple[str, str]
) -> None:
    vif = create(store, acme, vpc, address=given[0], peer=given[1])
    assert (vif.address, vif.peer) == ends


def test_drawn_addresses_differ_within_a_vpc(store: Store, acme: Caller, wired: Connection, vpc: Vpc) -> None:
    same = msgspec.structs.replace(acme, entropy=iter(range(7, 100)).__next__)
    drawn = {create(store, same, vpc, name=f"v{vlan}", vlan=vlan).address for vlan in range(1, 20)}
    assert len(drawn) == 19


def test_a_vlan_inside_a_service_tag_is_another_one(store: Store, acme: Caller, wired: Connection, vpc: Vpc) -> None:
    for outer_vlan in (0, 300, 301):
        create(store, acme, vpc, name=f"v{outer_vlan}", outer_vlan=outer_vlan)
    with refused(CLIENT, r"VLAN 300.101 of connection port-1 is used by virtual interface"):
        create(store, acme, vpc, name="again", outer_vlan=300)


def test_a_vpc_needs_a_gateway_at_the_edge_of_the_connection(
    store: Store, acme: Caller, operator: Caller, connection: Connection, vpc: Vpc, make_edge: MakeEdge
) -> None:
    with refused("InvalidVpnGatewayID.NotFound", "create one: netorch vgw create NAME --vpc web"):
        create(store, acme, vpc)
    make_edge("e3", 23, "east")
    make_edge("e4", 24, "east")
    pools.create_pool(store, operator, name="p", pair="east", cidrs=["203.0.113.0/28"])
    make_gateway(store, acme, vpc)
    with refused(CLIENT, "is at edge e1, and gateway vgw-.* is at e[34] and e[34]; choose a connection at one of these"):
        create(store, acme, vpc)


def test_the_operators_waits_for_its_owners_word(
    store: Store, operator: Caller, acme: Caller, globex: Caller, wired: Connection, vpc: Vpc
) -> None:
    vif = create(store, operator, vpc)
    assert state(store, acme, vif) is VifState.CONFIRMING
    with refused(CLIENT, "does not exist"):
        interfaces.confirm_virtual_interface(store, globex, vif.id)
    assert interfaces.confirm_virtual_interface(store, acme, vif.id).confirmed
    assert state(store, acme, vif) is VifState.PENDING
    for answer in (interfaces.confirm_virtual_interface, interfaces.reject_virtual_interface):
        with refused(CLIENT, "is confirmed already"):
            answer(store, acme, vif.id)


def test_what_is_rejected_gives_up_its_vlan(store: Store, operator: Caller, acme: Caller, wired: Connection, vpc: Vpc) -> None:
    vif = create(store, operator, vpc)
    interfaces.reject_virtual_interface(store, acme, vif.id)
    assert state(store, operator, vif) is VifState.REJECTED
    second = create(store, acme, vpc, name="mine", address=vif.address)
    with refused(CLIENT, "is rejected"):
        interfaces.confirm_virtual_interface(store, acme, vif.id)
    with refused(CLIENT, "is rejected"):
        interfaces.modify_virtual_interface(store, acme, vif.id, mtu=8500)
    interfaces.delete_virtual_interface(store, operator, vif.id)
    with refused(CLIENT, "is used by virtual interface " + second.id):
        create(store, acme, vpc)
    clean(store)


def test_its_state_is_its_edges_last_word(store: Store, acme: Caller, wired: Connection, vpc: Vpc) -> None:
    bgp, static = create(store, acme, vpc), create(store, acme, vpc, name="static", vlan=102, **STATIC)
    for said, states in (
        (VifStatus(), (VifState.DOWN, VifState.DOWN)),
        (VifStatus(carrier=True, bgp="Active"), (VifState.DOWN, VifState.AVAILABLE)),
        (VifStatus(carrier=True, bgp="Established"), (VifState.AVAILABLE, VifState.AVAILABLE)),
        (VifStatus(bgp="Established"), (VifState.DOWN, VifState.DOWN)),
    ):
        store.txn((), [Put(keys.tunnel_status("e1", vif.id), encode(said)) for vif in (bgp, static)])
        assert (state(store, acme, bgp), state(store, acme, static)) == states


def test_an_operator_reads_which_are_down_and_which_wait(
    store: Store, operator: Caller, acme: Caller, wired: Connection, vpc: Vpc
) -> None:
    def told() -> list[str]:
        health = read_health(store, 0.0)
        return [text for text in (*health.problems, *health.notes) if text.startswith("virtual interface")]

    vif = create(store, operator, vpc)
    assert told() == ["virtual interface acme/web/dc waits for its owner: netorch dx vif confirm acme/web/dc, or reject"]
    interfaces.confirm_virtual_interface(store, acme, vif.id)
    assert told() == []
    for said, why in (
        (VifStatus(), "eth3 of e1 has no carrier"),
        (
            VifStatus(carrier=True, bgp="Active", bgp_reason="it does not answer"),
            f"its BGP session with {vif.peer} is Active (it",
        ),
    ):
        store.txn((), [Put(keys.tunnel_status("e1", vif.id), encode(said))])
        assert f"virtual interface acme/web/dc is down: {why}" in told()[0]
        assert damaged(store) == {}
    store.txn((), [Put(keys.tunnel_status("e1", vif.id), encode(VifStatus(carrier=True, bgp="Established")))])
    assert told() == []


def test_mtu_and_static_routes_change(store: Store, acme: Caller, wired: Connection, vpc: Vpc) -> None:
    vif = create(store, acme, vpc, **STATIC)
    routes = ["192.168.7.0/24", "172.20.0.0/16", "172.20.0.0/16"]
    changed = interfaces.modify_virtual_interface(store, acme, vif.id, mtu=8500, routes=routes)
    assert changed == msgspec.structs.replace(vif, mtu=8500, routes=("172.20.0.0/16", "192.168.7.0/24"))
    with refused(CLIENT, "neither an AS number nor static routes"):
        interfaces.modify_virtual_interface(store, acme, vif.id, routes=[])
    with refused(CLIENT, "9000"):
        interfaces.modify_virtual_interface(store, acme, vif.id, mtu=9000)
    before = store.revision()
    interfaces.modify_virtual_interface(store, acme, vif.id, mtu=8500)
    assert store.revision() == before


def test_a_deleted_one_leaves_nothing(store: Store, acme: Caller, wired: Connection, vpc: Vpc) -> None:
    def known() -> set[str]:
        return {kv.key for kv in store.list("").kvs if not kv.key.startswith("alloc/use/")}

    before = known()
    vif = create(store, acme, vpc)
    with refused("DependencyViolation", r"1 virtual interface"):
        vpcs.delete_vpc(store, acme, vpc.id)
    interfaces.delete_virtual_interface(store, acme, vif.id)
    assert known() == before
    with refused(CLIENT, "does not exist"):
        interfaces.delete_virtual_interface(store, acme, vif.id)


def test_a_key_is_sealed_for_the_edge(store: Store, acme: Caller, wired: Connection, vpc: Vpc) -> None:
    secret = Secret(md5="canary-of-bgp")
    with refused("IncorrectState", "host e1: its agent has not published its key yet"):
        create(store, acme, vpc, secret=secret)
    private = PrivateKey.generate()
    public = base64.b64encode(bytes(private.public_key)).decode()
    store.txn((), [Put(keys.edge_key("e1"), encode(SealingKey(public=public)))])
    with refused(CLIENT, "the BGP key cannot be one; use 6 to 80") as raised:
        create(store, acme, vpc, secret=Secret(md5="ca nary"))
    assert "nary" not in str(raised.value)

    def sealed(vif: VirtualInterface) -> str:
        known = get(store, keys.secret("e1", vif.id), Sealed)
        assert known is not None
        return SealedBox(private).decrypt(base64.b64decode(known.record.boxes[0])).decode()

    vif = create(store, acme, vpc, secret=secret)
    assert damaged(store) == {}
    assert (sealed(vif), vif.authentication) == ('{"md5":"canary-of-bgp"}', BgpAuthentication.MD5)
    interfaces.modify_virtual_interface(store, acme, vif.id, secret=Secret(md5="another-one"))
    assert sealed(vif) == '{"md5":"another-one"}'
    assert b"canary" not in b"".join(kv.value for kv in store.list("").kvs)
    interfaces.delete_virtual_interface(store, acme, vif.id)
    assert store.list("secret/").kvs == ()
    static = create(store, acme, vpc, **STATIC)
    with refused(CLIENT, "BFD or a BGP key and no AS number"):
        interfaces.modify_virtual_interface(store, acme, static.id, secret=secret)


def test_there_are_so_many_and_no_more(store: Store, operator: Caller, acme: Caller, wired: Connection, vpc: Vpc) -> None:
    set_quotas(store, "acme", {"virtual_interfaces_per_gateway": 2})
    first, _ = (create(store, acme, vpc, name=f"v{vlan}", vlan=vlan) for vlan in (1, 2))
    with refused(CLIENT, "already has its quota of 2 virtual interfaces; delete one, or ask the operator to raise the quota"):
        create(store, acme, vpc)
    set_quotas(store, "acme", {"virtual_interfaces_per_gateway": 100})
    for vlan in range(3, 51):
        create(store, acme, vpc, name=f"v{vlan}", vlan=vlan)
    with refused(CLIENT, "connection port-1 already has 50 virtual interfaces"):
        create(store, acme, vpc)
    interfaces.delete_virtual_interface(store, acme, first.id)
    create(store, acme, vpc)


def test_a_vpc_gets_no_range_that_a_virtual_interface_has(store: Store, acme: Caller, wired: Connection, vpc: Vpc) -> None:
    vif = create(store, acme, vpc, address="10.9.0.1/30")
    with refused("InvalidVpc.Range", f"10.9.0.0/16 overlaps 10.9.0.0/30 of {vif.id}"):
        vpcs.associate_cidr(store, acme, vpc.id, "10.9.0.0/16")
    assert vpcs.associate_cidr(store, acme, vpc.id, "10.10.0.0/16").cidrs == ("10.0.0.0/16", "10.10.0.0/16")
    subnets.create_subnet(store, acme, vpc.id, name="a", cidr="10.10.0.0/24")
