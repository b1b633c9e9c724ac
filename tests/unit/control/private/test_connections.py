"""VPN connections: their tunnels and keys, and EC2's refusals."""

from __future__ import annotations

import msgspec
import pytest

from netorch.control.actions import vpcs
from netorch.control.actions.private import changes
from netorch.control.actions.private.connections import Wanted, create_vpn_connection, delete_vpn_connection
from netorch.control.actions.private.customers import create_customer_gateway
from netorch.control.actions.private.gateways import create_vpn_gateway
from netorch.control.actions.private.wishes import TunnelWish
from netorch.control.actions.repair import damaged
from netorch.control.base.private.tunnels import free_inside
from netorch.control.base.quotas import set_quotas
from netorch.control.views.vpn import ConnectionState, describe_vpn_connection, describe_vpn_connections
from netorch.errors import ApiError
from netorch.model.addr import parse_prefix
from netorch.model.ids import make_id
from netorch.model.outside.secrets import Secret
from netorch.model.outside.vpn import CustomerGateway, DpdAction, TunnelOptions, VirtualPrivateGateway, VpnConnection
from netorch.model.outside.vpn_rules import INSIDE, INSIDE_RESERVED, psk
from netorch.model.status import TunnelStatus, VpnStatus
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import encode
from netorch.store.base import Delete, Put, Store
from tests.unit.control.conftest import refused
from tests.unit.control.private.conftest import MakeEdge, clean
from tests.unit.sealing import opened

CANARY = "Canary.0123456789"


def test_a_connection_has_a_tunnel_to_each_edge(
    store: Store, acme: Caller, gateway: VirtualPrivateGateway, device: CustomerGateway
) -> None:
    made, shown = create_vpn_connection(store, acme, gateway.id, device.id, Wanted(name="office"))
    assert {(tunnel.edge, tunnel.address) for tunnel in made.tunnels} == {("e1", "198.18.0.21"), ("e2", "198.18.0.22")}
    inside = [parse_prefix(tunnel.inside_cidr) for tunnel in made.tunnels]
    assert len(set(inside)) == 2
    assert all(INSIDE.contains(prefix) and prefix.length == 30 and prefix not in INSIDE_RESERVED for prefix in inside)
    assert set(shown) == {1, 2}
    for place, tunnel in enumerate(made.tunnels, 1):
        assert opened(store, tunnel.edge, made.id)[place].psk == shown[place].psk
        assert psk(shown[place].psk) is None
        assert len(shown[place].psk) == 32
    assert (made.number, made.asn, made.address, made.static) == (1, device.asn, device.address, False)
    clean(store)


def test_the_first_tunnel_is_at_another_edge_each_time(
    store: Store, acme: Caller, gateway: VirtualPrivateGateway, connection: VpnConnection
) -> None:
    other = create_customer_gateway(store, acme, address="203.0.113.2")
    second, _ = create_vpn_connection(store, acme, gateway.id, other.id, Wanted(name="two"))
    assert [tunnel.edge for tunnel in second.tunnels] == [tunnel.edge for tunnel in reversed(connection.tunnels)]
    assert second.number == 2


def test_keys_that_are_given_are_sealed_and_not_shown(
    store: Store, acme: Caller, gateway: VirtualPrivateGateway, device: CustomerGateway
) -> None:
    wishes = tuple(TunnelWish(secret=Secret(psk=f"{CANARY}{place}")) for place in (1, 2))
    made, shown = create_vpn_connection(store, acme, gateway.id, device.id, Wanted(name="office", tunnels=wishes))
    assert shown == {}
    for place, tunnel in enumerate(made.tunnels, 1):
        assert opened(store, tunnel.edge, made.id)[place].psk == f"{CANARY}{place}"
    assert not any(CANARY.encode() in kv.value or CANARY in kv.key for kv in store.list("").kvs)
    assert CANARY not in repr((made, shown, wishes, describe_vpn_connection(store, acme, made.id)))


@pytest.mark.parametrize("bad", ["0" + CANARY, "short", "x" * 65, CANARY + "-", CANARY + " ", CANARY + "\n", "é" * 10])
def test_no_refusal_has_anything_of_a_key(
    store: Store, acme: Caller, gateway: VirtualPrivateGateway, device: CustomerGateway, bad: str
) -> None:
    wanted = Wanted(name="office", tunnels=(TunnelWish(secret=Secret(psk=bad)),))
    with pytest.raises(ApiError, match=r"tunnel 1: a text of \d+ characters is not a pre-shared key; use 8 to 64") as raised:
        create_vpn_connection(store, acme, gateway.id, device.id, wanted)
    assert bad not in str(raised.value)
    assert list(store.list("secret/").kvs) == []


def test_certificates_take_the_place_of_keys(
    store: Store, acme: Caller, gateway: VirtualPrivateGateway, device: CustomerGateway
) -> None:
    pem = "-----BEGIN {0}-----\nAAAA\n-----END {0}-----\n"
    certificate, private = pem.format("CERTIFICATE"), pem.format("PRIVATE KEY")
    wishes = tuple(TunnelWish(certificate=certificate, secret=Secret(key=private)) for _ in range(2))
    wanted = Wanted(name="office", authority=certificate, tunnels=wishes)
    made, shown = create_vpn_connection(store, acme, gateway.id, device.id, wanted)
    assert shown == {}
    assert made.certificates == {"e1": certificate, "e2": certificate}
    assert opened(store, "e1", made.id)[1 + (made.tunnels[1].edge == "e1")].key == private
    with refused("MissingParameter", "needs the edge's certificate and its private key"):
        changes.rotate_secret(store, acme, made.id, 1)
    changed, _ = changes.rotate_secret(store, acme, made.id, 1, secret=Secret(key=private), certificate=certificate * 2)
    assert changed.certificates[made.tunnels[0].edge] == certificate * 2
    for wish, code in (
        (TunnelWish(certificate=certificate), "MissingParameter"),
        (TunnelWish(secret=Secret(psk=CANARY)), "InvalidParameterCombination"),
    ):
        with refused(code):
            create_vpn_connection(store, acme, gateway.id, device.id, msgspec.structs.replace(wanted, tunnels=(wish,)))
    clean(store)


def test_an_edge_without_a_key_gets_no_connection(
    store: Store, acme: Caller, gateway: VirtualPrivateGateway, device: CustomerGateway
) -> None:
    store.txn((), [Delete(keys.edge_key("e2"))])
    with refused(
        "IncorrectState", "host e2: its agent has not published its key yet, so nothing can be sealed for it; start it on"
    ):
        create_vpn_connection(store, acme, gateway.id, device.id, Wanted(name="office"))
    clean(store)


def test_a_pair_of_one_edge_has_one_tunnel(
    store: Store, acme: Caller, vpc: Vpc, device: CustomerGateway, make_edge: MakeEdge
) -> None:
    make_edge("e1", 21)
    gateway = create_vpn_gateway(store, acme, vpc.id)
    made, shown = create_vpn_connection(store, acme, gateway.id, device.id, Wanted(name="office"))
    assert [tunnel.edge for tunnel in made.tunnels] == ["e1", ""]
    assert set(shown) == {1}  # the other one's key could not be stored
    second = describe_vpn_connection(store, acme, made.id).tunnels[1]
    assert (second.status.value, second.message) == ("DOWN", "the pair has only one edge")
    with refused("IncorrectState", "ends at no edge, because the pair has only one edge"):
        changes.rotate_secret(store, acme, made.id, 2)
    make_edge("e2", 22)
    joined = describe_vpn_connection(store, acme, made.id)
    assert [(info.tunnel.edge, info.tunnel.address, info.has_secret) for info in joined.tunnels] == [
        ("e1", "198.18.0.21", True),
        ("e2", "198.18.0.22", False),
    ]
    assert joined.tunnels[1].message == "its edge has no secret for it; netorch vpn rotate office --tunnel 2"
    _, key = changes.rotate_secret(store, acme, made.id, 2)
    assert key is not None
    assert opened(store, "e2", made.id)[2].psk == key.psk
    clean(store)


def test_a_device_has_one_connection_to_a_pair(
    store: Store, acme: Caller, globex: Caller, connection: VpnConnection, device: CustomerGateway
) -> None:
    other = vpcs.create_vpc(store, globex, name="other", cidrs=["10.0.0.0/16"])
    gateway = create_vpn_gateway(store, globex, other.id)
    twin = create_customer_gateway(store, globex, address=device.address)
    with refused("InvalidCustomerGateway.DuplicateIpAddress", "give the device another IKE identity"):
        create_vpn_connection(store, globex, gateway.id, twin.id, Wanted(name="twin"))
    named = create_customer_gateway(store, globex, address=device.address, identity="globex.example")
    create_vpn_connection(store, globex, gateway.id, named.id, Wanted(name="twin"))
    delete_vpn_connection(store, acme, connection.id)
    create_vpn_connection(store, globex, gateway.id, twin.id, Wanted(name="again"))
    clean(store)


def test_no_device_is_taken_for_another_one(store: Store, acme: Caller, gateway: VirtualPrivateGateway) -> None:
    ikev1 = (TunnelWish(options=TunnelOptions(ike_versions=("ikev1",))),)
    named = create_customer_gateway(store, acme, name="named", address="203.0.113.2", identity="Office.example")
    with refused("InvalidParameterValue", "IKEv1 tells such devices apart by their address only"):
        create_vpn_connection(store, acme, gateway.id, named.id, Wanted(name="named", tunnels=ikev1))
    made, _ = create_vpn_connection(store, acme, gateway.id, named.id, Wanted(name="named"))
    with refused("InvalidParameterValue", "IKEv1 tells such devices apart by their address only"):
        changes.modify_tunnel(
            store, acme, made.id, 2, options=lambda found: msgspec.structs.replace(found, ike_versions=("ikev1",))
        )
    same = create_customer_gateway(store, acme, name="same", identity="office.EXAMPLE")
    with refused("InvalidCustomerGateway.DuplicateIpAddress", "give the device another IKE identity"):
        create_vpn_connection(store, acme, gateway.id, same.id, Wanted(name="same"))
    edge = create_customer_gateway(store, acme, name="edge", address="198.18.0.22")
    with refused("InvalidParameterValue", "198.18.0.22, which belongs to an edge"):
        create_vpn_connection(store, acme, gateway.id, edge.id, Wanted(name="edge"))
    clean(store)


def test_networks_inside_are_apart(store: Store, acme: Caller, gateway: VirtualPrivateGateway, connection: VpnConnection) -> None:
    other = create_customer_gateway(store, acme, address="203.0.113.2")
    taken = connection.tunnels[0].inside_cidr
    with refused("InvalidParameterValue", f"{taken} is in use inside another tunnel"):
        create_vpn_connection(store, acme, gateway.id, other.id, Wanted(name="two", tunnels=(TunnelWish(inside_cidr=taken),)))
    same = TunnelWish(inside_cidr="169.254.77.0/30")
    with refused("InvalidParameterValue", "169.254.77.0/30 is in use"):
        create_vpn_connection(store, acme, gateway.id, other.id, Wanted(name="two", tunnels=(same, same)))
    for bad in ("169.254.0.0/30", "169.254.169.252/30", "169.254.77.0/29", "10.0.0.0/30", "169.254.77.1/30", "x"):
        with refused("InvalidParameterValue", "tunnel 1"):
            create_vpn_connection(store, acme, gateway.id, other.id, Wanted(name="two", tunnels=(TunnelWish(inside_cidr=bad),)))
    with refused("InsufficientAddressCapacity"):
        free_inside(acme, [INSIDE])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (TunnelOptions(ike_versions=()), "ike_versions: nothing is chosen"),
        (TunnelOptions(ike_versions=("ikev3",)), "'ikev3' is not known; choose among ikev1, ikev2"),
        (TunnelOptions(phase1_dh_groups=(5,)), "phase1_dh_groups: 5 is not known"),
        (TunnelOptions(phase2_dh_groups=(5, 5)), "phase2_dh_groups: an algorithm is listed twice"),
        (TunnelOptions(phase1_lifetime=899), "phase1_lifetime: 899 is out of range; choose 900 to 28800"),
        (TunnelOptions(phase1_lifetime=3600), "phase2_lifetime: 3600 is out of range; choose 900 to 3599"),
        (TunnelOptions(phase2_lifetime=1000, rekey_margin=501), "rekey_margin: 501 is out of range; choose 60 to 500"),
        (TunnelOptions(rekey_fuzz=101), "rekey_fuzz: 101 is out of range"),
        (TunnelOptions(replay_window=63), "replay_window: 63 is out of range; choose 64 to 2048"),
        (TunnelOptions(dpd_timeout=2), "dpd_timeout: 2 is out of range"),
    ],
)
def test_options_are_ec2s(store: Store, acme: Caller, connection: VpnConnection, options: TunnelOptions, match: str) -> None:
    with refused("InvalidParameterValue", match):
        changes.modify_tunnel(store, acme, connection.id, 1, options=lambda _: options)


def test_a_tunnel_is_modified_and_the_other_is_not(store: Store, acme: Caller, connection: VpnConnection) -> None:
    def slower(before: TunnelOptions) -> TunnelOptions:
        return msgspec.structs.replace(before, dpd_timeout=60, dpd_action=DpdAction.RESTART)

    changed = changes.modify_tunnel(store, acme, connection.id, 2, inside_cidr="169.254.88.4/30", options=slower)
    assert changed.tunnels[0] == connection.tunnels[0]
    assert (changed.tunnels[1].inside_cidr, changed.tunnels[1].options.dpd_timeout) == ("169.254.88.4/30", 60)
    with refused("InvalidParameterValue", "in use inside another tunnel"):
        changes.modify_tunnel(store, acme, connection.id, 1, inside_cidr="169.254.88.4/30")
    with refused("InvalidParameterValue", "3 is not one of its tunnels; choose 1 to 2"):
        changes.modify_tunnel(store, acme, connection.id, 3)
    assert changes.modify_networks(store, acme, connection.id, local_cidr="192.168.1.7/16").local_cidr == "192.168.0.0/16"
    with refused("InvalidParameterValue", "has IPv4 only"):
        changes.modify_networks(store, acme, connection.id, remote_cidr="::/0")


def test_static_routes_come_and_go(store: Store, acme: Caller, gateway: VirtualPrivateGateway, connection: VpnConnection) -> None:
    assert changes.create_static_route(store, acme, connection.id, "192.168.1.9/24").routes == (
        "192.168.0.0/24",
        "192.168.1.0/24",
    )
    with refused("RouteAlreadyExists"):
        changes.create_static_route(store, acme, connection.id, "192.168.1.0/24")
    with refused("InvalidRoute.NotFound"):
        changes.delete_static_route(store, acme, connection.id, "192.168.2.0/24")
    assert changes.delete_static_route(store, acme, connection.id, "192.168.0.0/24").routes == ("192.168.1.0/24",)
    with refused("InvalidParameterValue", "IPv4 only"):
        changes.create_static_route(store, acme, connection.id, "fd00::/8")
    other = create_customer_gateway(store, acme, address="203.0.113.2")
    dynamic, _ = create_vpn_connection(store, acme, gateway.id, other.id, Wanted(name="two"))
    with refused("InvalidVpnConnection.InvalidType", "has no static routes"):
        changes.create_static_route(store, acme, dynamic.id, "192.168.1.0/24")
    with refused("InvalidParameterCombination"):
        create_vpn_connection(store, acme, gateway.id, other.id, Wanted(name="three", routes=("192.168.1.0/24",)))


def test_the_number_of_connections_is_limited(
    store: Store, acme: Caller, gateway: VirtualPrivateGateway, connection: VpnConnection
) -> None:
    assert connection
    other = create_customer_gateway(store, acme, address="203.0.113.2")
    for limit, who in (
        ("vpn_connections_per_gateway", f"virtual private gateway {gateway.id}"),
        ("vpn_connections", "owner acme"),
    ):
        set_quotas(store, "acme", {limit: 1})
        with refused("VpnConnectionLimitExceeded", f"{who}: already has its quota of 1 VPN connections"):
            create_vpn_connection(store, acme, gateway.id, other.id, Wanted(name="two"))
        set_quotas(store, "acme", {limit: 50})
    with refused("InvalidParameterValue", "the VPC already has one with that name"):
        create_vpn_connection(store, acme, gateway.id, other.id, Wanted(name="office"))


def test_others_do_not_see_a_connection(store: Store, globex: Caller, operator: Caller, connection: VpnConnection) -> None:
    with refused("InvalidVpnConnectionID.NotFound"):
        delete_vpn_connection(store, globex, connection.id)
    with refused("InvalidVpnConnectionID.NotFound"):
        changes.rotate_secret(store, globex, connection.id, 1)
    assert describe_vpn_connection(store, operator, connection.id).customer == "office"


def said(store: Store, connection: VpnConnection, number: int, **words: object) -> None:
    edge = connection.tunnels[number - 1].edge
    status = VpnStatus(tunnels={number: TunnelStatus(**words)})  # type: ignore[arg-type]
    store.txn((), [Put(keys.tunnel_status(edge, connection.id), encode(status)), Put(keys.host_live(edge), b"{}")])


def test_the_state_is_what_the_edges_say(
    store: Store, acme: Caller, vpc: Vpc, gateway: VirtualPrivateGateway, connection: VpnConnection
) -> None:
    assert describe_vpn_connection(store, acme, connection.id).state is ConnectionState.PENDING
    said(store, connection, 1, ike="ESTABLISHED", child="INSTALLED")
    said(store, connection, 2, ike="CONNECTING")
    (info,) = describe_vpn_connections(store, acme, vpc.id)
    assert info.state is ConnectionState.AVAILABLE
    assert [(tunnel.status.value, tunnel.message) for tunnel in info.tunnels] == [
        ("UP", "IPSEC IS UP"),
        ("DOWN", "IPSEC IS DOWN"),
    ]
    store.txn((), [Delete(keys.host_live(connection.tunnels[0].edge))])
    stale = describe_vpn_connection(store, acme, connection.id).tunnels[0]
    assert stale.is_stale
    assert stale.message == "IPSEC IS UP (as last reported: the edge's agent is not running)"
    other = create_customer_gateway(store, acme, address="203.0.113.2")
    dynamic, _ = create_vpn_connection(store, acme, gateway.id, other.id, Wanted(name="two"))
    said(store, dynamic, 1, ike="ESTABLISHED", child="INSTALLED", bgp="Established", accepted=3)
    said(store, dynamic, 2, ike="ESTABLISHED", child="INSTALLED", bgp="Connect")
    found = [(tunnel.status.value, tunnel.message) for tunnel in describe_vpn_connection(store, acme, dynamic.id).tunnels]
    assert found == [("UP", "3 BGP ROUTES"), ("DOWN", "IPSEC IS UP")]


def test_store_check_names_what_does_not_agree_with_the_connections(
    store: Store, device: CustomerGateway, connection: VpnConnection
) -> None:
    use, peer = keys.vpn_use("acme", device.id, connection.id), keys.ike_peer("west", "203.0.113.1")
    other, known = keys.ike_peer("west", "203.0.113.99"), store.list("").kvs
    assert damaged(store) == {}

    def said(*ops: Put | Delete) -> dict[str, str]:
        store.txn((), ops)
        found = {key: str(error) for key, (_, error) in damaged(store).items()}
        store.txn((), [Delete(other), *(Put(kv.key, kv.value) for kv in known)])
        return found

    assert said(Delete(use), Delete(peer)).keys() == {use, peer}
    assert f"is missing, but {connection.id} leads there" in said(Delete(peer))[peer]
    stranger = make_id("vpn", connection.vni, 0xABC)
    assert f"is held by {stranger}, which does not exist" in said(Put(peer, encode(stranger)))[peer]
    assert said(Put(other, encode(connection.id))).keys() == {other}
    assert said(Put(keys.resource(connection.id), b"{")).keys() == {keys.resource(connection.id)}, "who it leads to is not known"
    assert damaged(store) == {}


def test_bgp_is_not_left_out_of_its_own_tunnels(
    store: Store, acme: Caller, gateway: VirtualPrivateGateway, device: CustomerGateway
) -> None:
    for field in ("local_cidr", "remote_cidr"):
        narrow = msgspec.structs.replace(Wanted(name="dynamic"), **{field: "10.0.0.0/8"})
        with refused("InvalidParameterValue", "10.0.0.0/8 does not contain 169.254.0.0/16, which BGP uses"):
            create_vpn_connection(store, acme, gateway.id, device.id, narrow)
    made, _ = create_vpn_connection(store, acme, gateway.id, device.id, Wanted(name="dynamic"))
    with refused("InvalidParameterValue", "does not contain"):
        changes.modify_networks(store, acme, made.id, remote_cidr="10.0.0.0/16")
    assert changes.modify_networks(store, acme, made.id, remote_cidr="128.0.0.0/1").remote_cidr == "128.0.0.0/1"
    clean(store)
