"""VPN connections to AWS: made from AWS's configuration file, only on the edge with the address in the file."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from netorch.control.actions import hosts
from netorch.control.actions.outside.drains import drain_host
from netorch.control.actions.outside.edges import update_edge
from netorch.control.actions.private.changes import rotate_secret
from netorch.control.actions.private.connections import delete_vpn_connection
from netorch.control.actions.private.gateways import create_vpn_gateway
from netorch.control.actions.private.imports import import_vpn_connection
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.control.views.export import export_inventory
from netorch.control.views.vpn import describe_vpn_connection
from netorch.control.views.vpn_config import customer_facts
from netorch.control.views.vpn_health import vpn_notes
from netorch.model.eni import Host
from netorch.model.outside.secrets import Secret
from netorch.model.outside.vpn import CustomerGateway, VirtualPrivateGateway, VpnConnection
from netorch.model.status import AgentStatus
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import encode
from netorch.records.inventory import read_inventory
from netorch.records.read import read
from netorch.spec.vpn_config.imported import ImportedConnection, read_gateway_configuration
from netorch.store.base import Put, Store
from tests.rig.seats import let_run
from tests.unit.control.conftest import refused
from tests.unit.control.private.conftest import MakeEdge, clean
from tests.unit.sealing import opened
from tests.unit.spec.vpn_config.test_imported import TEXT, without_bgp

FILE = TEXT.replace("203.0.113.80", "198.18.0.22").replace("<asn>65000<", "<asn>64600<")  # e2
PSKS = {1: Secret(psk="key_of.tunnel.1"), 2: Secret(psk="key_of.tunnel.2")}


@pytest.fixture
def gateway(store: Store, acme: Caller, vpc: Vpc, west: list[Host]) -> VirtualPrivateGateway:
    let_run(store, *(edge.name for edge in west))
    return create_vpn_gateway(store, acme, vpc.id, name="home", asn=64600)


def imported(
    store: Store, caller: Caller, gateway: VirtualPrivateGateway, text: str = FILE, routes: Sequence[str] = ()
) -> VpnConnection:
    found, psks = read_gateway_configuration("aws.xml", text.encode())
    return import_vpn_connection(store, caller, gateway.id, found, psks, name="aws", routes=routes)


def ends(store: Store, caller: Caller, connection: VpnConnection) -> list[tuple[str, str, str]]:
    tunnels = read(store, caller, VpnConnection, connection.id)[1].record.tunnels
    return [(tunnel.edge, tunnel.address, tunnel.remote) for tunnel in tunnels]


def test_both_tunnels_end_at_the_edge_that_aws_knows(store: Store, acme: Caller, gateway: VirtualPrivateGateway) -> None:
    made = imported(store, acme, gateway)
    assert ends(store, acme, made) == [("e2", "198.18.0.22", "198.18.9.1"), ("e2", "198.18.0.22", "198.18.9.2")]
    assert [tunnel.inside_cidr for tunnel in made.tunnels] == ["169.254.80.16/30", "169.254.80.32/30"]
    assert (made.asn, made.static) == (64512, False)
    assert opened(store, "e2", made.id) == PSKS
    assert store.get(keys.secret("e1", made.id)) is None
    clean(store)
    delete_vpn_connection(store, acme, made.id)
    clean(store)
    assert store.list("secret/").kvs == ()


def test_without_bgp_routes_lead_to_aws(store: Store, acme: Caller, gateway: VirtualPrivateGateway) -> None:
    made = imported(store, acme, gateway, without_bgp(FILE), ["172.31.0.0/16"])
    assert (made.static, made.routes) == (True, ("172.31.0.0/16",))
    clean(store)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (FILE.replace("198.18.0.22", "203.0.113.80"), "AWS expects 203.0.113.80, and no edge of virtual private gateway"),
        (FILE.replace("64600", "65000"), "AWS expects AS 65000, and virtual private gateway vgw-.* has AS 64600"),
    ],
)
def test_what_aws_knows_must_be_true(store: Store, acme: Caller, gateway: VirtualPrivateGateway, text: str, why: str) -> None:
    with refused("InvalidParameterValue", why):
        imported(store, acme, gateway, text)
    clean(store)
    assert imported(store, acme, gateway).customer_gateway  # AWS's record is that of the first attempt
    assert len(read_inventory(store).customer_gateways) == 1


def test_a_file_is_imported_once(store: Store, acme: Caller, gateway: VirtualPrivateGateway) -> None:
    imported(store, acme, gateway)
    found, psks = read_gateway_configuration("aws.xml", FILE.replace("198.18.9.2", "198.18.9.3").encode())
    moved = [msgspec.structs.replace(one, inside_cidr=f"169.254.81.{4 * n}/30") for n, one in enumerate(found.tunnels)]
    other: ImportedConnection = msgspec.structs.replace(found, tunnels=tuple(moved))
    with refused("InvalidCustomerGateway.DuplicateIpAddress", "198.18.9.1 or 198.18.9.3"):
        import_vpn_connection(store, acme, gateway.id, other, psks, name="again")
    clean(store)


def test_each_edge_of_the_pair_may_have_a_connection(store: Store, acme: Caller, gateway: VirtualPrivateGateway) -> None:
    imported(store, acme, gateway)
    text = FILE.replace("198.18.0.22", "198.18.0.21").replace("198.18.9.", "198.18.8.").replace("169.254.80.", "169.254.90.")
    found, psks = read_gateway_configuration("aws.xml", text.encode())
    other = import_vpn_connection(store, acme, gateway.id, found, psks, name="aws-2")
    assert {edge for edge, _, _ in ends(store, acme, other)} == {"e1"}
    clean(store)


def test_no_other_edge_takes_them_over(
    store: Store, operator: Caller, acme: Caller, gateway: VirtualPrivateGateway, make_edge: MakeEdge
) -> None:
    made = imported(store, acme, gateway)
    drain_host(store, operator, "e2")
    said = AgentStatus(version="1", pid=1, started_at=0.0, silent=("192.0.2.22",))
    store.txn([], [Put(keys.agent_status("e1"), encode(said))])
    update_edge(store, operator, "e2", uplink="bond0.100,198.18.5.22/24,198.18.5.254")
    assert [(edge, address) for edge, address, _ in ends(store, acme, made)] == [("e2", "198.18.5.22")] * 2
    hosts.delete_host(store, operator, "e2")
    make_edge("e3", 23)
    assert ends(store, acme, made) == [("", "", "198.18.9.1"), ("", "", "198.18.9.2")]
    assert store.list("secret/").kvs == ()
    clean(store)
    infos = describe_vpn_connection(store, acme, made.id).tunnels
    assert {info.message for info in infos} == {"the edge whose address AWS knows was deleted"}
    (note,) = vpn_notes(read_inventory(store))
    assert note.startswith("tunnel 1 and tunnel 2 of VPN connection acme/web/aws has no edge; AWS knows only its former edge: ")
    with refused("IncorrectState", "was deleted; import a connection to another edge"):
        rotate_secret(store, acme, made.id, 1, secret=PSKS[1])


def test_keys_are_awss(store: Store, acme: Caller, gateway: VirtualPrivateGateway) -> None:
    made = imported(store, acme, gateway)
    with refused("MissingParameter", "AWS generates its pre-shared key"):
        rotate_secret(store, acme, made.id, 1)
    new = Secret(psk="another.key_of.aws")
    rotate_secret(store, acme, made.id, 1, secret=new)
    assert opened(store, "e2", made.id) == {1: new, 2: PSKS[2]}


def test_aws_is_not_configured_here(store: Store, acme: Caller, gateway: VirtualPrivateGateway) -> None:
    made = imported(store, acme, gateway)
    with refused("UnsupportedOperation", "the customer's device is an edge"):
        customer_facts(store, acme, made.id)


def test_a_file_leaves_it_alone_while_the_gateway_stays(
    store: Store, operator: Caller, acme: Caller, gateway: VirtualPrivateGateway
) -> None:
    made = imported(store, acme, gateway)
    cloud = export_inventory(read_inventory(store), operator)
    (vpc,) = cloud.vpcs
    assert (vpc.vpn_connections, cloud.customer_gateways) == ([], [])
    assert plan_cloud(store, operator, cloud).changes == ()
    without = msgspec.structs.replace(vpc, vpn_gateway=msgspec.UNSET)
    apply_cloud(store, plan_cloud(store, operator, msgspec.structs.replace(cloud, vpcs=[without])))
    assert made.id not in {kv.key.rpartition("/")[2] for kv in store.list("alloc/vpn/").kvs}
    assert list(read_inventory(store).vpcs[made.vni].each(VirtualPrivateGateway)) == []
    assert [type(stored.record) for stored in read_inventory(store).customer_gateways.values()] == [CustomerGateway]
    clean(store)
