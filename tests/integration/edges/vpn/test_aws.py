"""An edge as the customer gateway of a VPC at AWS, made from the file that AWS gives its customers.

a/one 10.0.1.5 - hv1 - e1 198.19.0.1 - border - AWS 198.18.81.2 and .3 - 172.31.0.9

AWS is a charon that never initiates and a bird, with the same values. It knows its customer by one address, as AWS does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from netorch.control.actions.private.connections import delete_vpn_connection
from netorch.control.actions.private.imports import import_vpn_connection
from netorch.control.views.vpn import Telemetry, describe_vpn_connection
from netorch.model.outside.proposals import proposals
from netorch.model.outside.vpn import inside_addresses
from netorch.records.caller import Caller
from netorch.spec.vpn_config.imported import ImportedConnection, read_gateway_configuration
from tests.integration.edges.vpn.office import CLOUD
from tests.integration.edges.vpn.sites import Site, Stage, vpn_gateway_of
from tests.rig.outskirts import EDGES, UPLINKS, Outskirts
from tests.rig.world import wait_for
from tests.unit.spec.vpn_config.test_imported import TEXT, without_bgp

pytestmark = pytest.mark.root

CUSTOMER_ASN: Final = 64512  # of the gateway at netorch
AWS_ASN: Final = 64600
VPC: Final = "172.31.0.0/16"  # at AWS
INSTANCE: Final = "172.31.0.9"  # at AWS
ENDS: Final = ("198.18.81.2", "198.18.81.3")
PATIENCE_S: Final = 90.0
FILE: Final = (
    TEXT.replace("<asn>64512<", f"<asn>{AWS_ASN}<")
    .replace("<asn>65000<", f"<asn>{CUSTOMER_ASN}<")
    .replace("203.0.113.80", UPLINKS[EDGES[0]].address.partition("/")[0])
    .replace("198.18.9.1", ENDS[0])
    .replace("198.18.9.2", ENDS[1])
)


def swanctl_conf(found: ImportedConnection, psks: dict[int, str]) -> str:
    """Return the configuration of AWS's ends: they wait for the customer, of whom they know only the address."""
    connections, secrets = "", ""
    for number, tunnel in enumerate(found.tunnels, 1):
        connections += f"""
  t{number} {{
    version = 0
    local_addrs = {tunnel.address}
    remote_addrs = {found.address}
    proposals = {", ".join(proposals(tunnel.options, 1))}
    local {{ auth = psk
      id = {tunnel.address} }}
    remote {{ auth = psk
      id = {found.address} }}
    children {{
      t{number} {{
        local_ts = 0.0.0.0/0
        remote_ts = 0.0.0.0/0
        esp_proposals = {", ".join(proposals(tunnel.options, 2))}
        if_id_in = {number}
        if_id_out = {number}
      }}
    }}
  }}"""
        secrets += f"""
  ike{number} {{ id-1 = {tunnel.address}
    id-2 = {found.address}
    secret = "{psks[number]}" }}"""
    return f"connections {{{connections}\n}}\nsecrets {{{secrets}\n}}\n"


def bird_conf(found: ImportedConnection) -> str:
    """Return AWS's configuration of BGP over both tunnels."""
    sessions = ""
    for number, tunnel in enumerate(found.tunnels, 1):
        aws, customer = inside_addresses(tunnel.inside_cidr)
        sessions += f"""
protocol bgp t{number} {{
  local {aws} as {found.amazon_asn};
  neighbor {customer} as {found.asn};
  ipv4 {{ import all; export where source = RTS_STATIC; }};
}}"""
    return f"""router id {found.tunnels[0].address};
protocol device {{ }}
protocol static {{ ipv4; route {VPC} unreachable; }}
protocol kernel {{ merge paths on; ipv4 {{ import none; export where source = RTS_BGP; }}; }}{sessions}
"""


def start_aws(site: Site, found: ImportedConnection, psks: dict[int, str]) -> None:
    """Start AWS's side of both tunnels, and an instance behind it."""
    device = site.device
    lines = [f"ip address add {found.tunnels[1].address}/24 dev eth0", f"ip address add {INSTANCE}/16 dev lan"]
    for number, tunnel in enumerate(found.tunnels, 1):
        inside = inside_addresses(tunnel.inside_cidr)[0]
        lines.append(f"ip link add x{number} type xfrm if_id {number}; ip address add {inside}/30 dev x{number}")
        lines.append(f"sysctl -qw net.ipv4.conf.x{number}.rp_filter=0; ip link set x{number} up mtu 1400")
    device.shell("\n".join([*lines, "sysctl -qw net.ipv4.conf.all.rp_filter=0"]))
    device.start_charon("charon { install_routes = no }")
    device.load(swanctl_conf(found, psks))
    device.start_bird(bird_conf(found))


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    outskirts = Outskirts(tmp_path)
    found = Stage(outskirts)
    try:
        outskirts.world.start_agents()
        outskirts.world.apply(CLOUD)
        found.private.seat("a")
        found.sites["a"] = Site(outskirts, "a", 81, tmp_path / "sites")
        yield found
    finally:
        found.close()


def test_a_vpc_at_aws_is_reached_by_both_tunnels_of_one_edge_and_then_without_bgp(stage: Stage) -> None:
    world, device = stage.outskirts.world, stage.sites["a"].device
    found, psks = read_gateway_configuration("aws.xml", FILE.encode())
    start_aws(stage.sites["a"], found, psks)
    vpc = world.vpc("a").vpc.record
    caller = Caller(owner=vpc.owner)
    made = import_vpn_connection(world.store, caller, vpn_gateway_of(vpc.vni), found, psks, name="aws")

    def tunnels_up() -> bool:
        tunnels = describe_vpn_connection(world.store, caller, made.id).tunnels
        return all((tunnel.status, tunnel.message) == (Telemetry.UP, "1 BGP ROUTES") for tunnel in tunnels)

    wait_for(tunnels_up, f"both tunnels; AWS says: {device.log()[-2000:]}", PATIENCE_S)
    assert device.bird("show protocols").count("Established") == len(ENDS)
    assert [route["dev"] for route in device.routes("10.0.0.0/16")] == ["x1", "x2"]
    wait_for(lambda: stage.reaches("a/one", INSTANCE), "the instance at AWS", PATIENCE_S)
    assert device.reaches(INSTANCE, "10.0.1.5")
    device.shell("ip link set x1 down")  # one of AWS's ends fails
    wait_for(lambda: stage.reaches("a/one", INSTANCE), "the instance at AWS by the other tunnel", PATIENCE_S)
    assert device.reaches(INSTANCE, "10.0.1.5")
    delete_vpn_connection(world.store, caller, made.id)
    found, psks = read_gateway_configuration("aws.xml", without_bgp(FILE).encode())
    made = import_vpn_connection(world.store, caller, vpn_gateway_of(vpc.vni), found, psks, name="static", routes=[VPC])

    def installed() -> bool:
        tunnels = describe_vpn_connection(world.store, caller, made.id).tunnels
        return all(tunnel.status is Telemetry.UP for tunnel in tunnels)

    wait_for(installed, f"both tunnels without BGP; AWS says: {device.log()[-2000:]}", PATIENCE_S)
    # Like AWS, to which the customer has given the static routes. The edge sends through the first tunnel.
    device.shell("ip link set x1 up; ip route replace 10.0.0.0/16 dev x2")
    wait_for(lambda: stage.reaches("a/one", INSTANCE), "the instance at AWS by static routes", PATIENCE_S)
    assert device.reaches(INSTANCE, "10.0.1.5")
