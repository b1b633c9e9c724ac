"""The output of `netorch vpn config` for a customer's device works unchanged: tunnels come up, BGP is established, pings pass.

The edges' side is hand-written here, from the same values.

    lan 192.168.7.9 - 192.168.7.1 device 203.0.113.80 - net - 198.18.0.21 edge1 10.0.1.5
                                                            - 198.18.0.22 edge2 10.0.1.5
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import pytest

from netorch.model.outside.proposals import proposals
from netorch.model.outside.vpn import Authentication, Tunnel, TunnelOptions, VirtualPrivateGateway, VpnConnection
from netorch.spec.vpn_config.bgp import bird_conf, frr_conf
from netorch.spec.vpn_config.facts import Ends, Facts, facts_of
from netorch.spec.vpn_config.swanctl import COMMAND, swanctl_conf
from tests.integration.edges.vpn.device import Device
from tests.rig.services.authority import Authority
from tests.rig.world import wait_for

pytestmark = [pytest.mark.root, pytest.mark.long]

GATEWAY: Final = VirtualPrivateGateway(id="vgw-00138800000000001", vni=5000)
KEYS: Final = {1: "first.key_of.a.test", 2: "second.key_of.a.test"}
CIDR: Final = "10.0.0.0/16"
SITE: Final = "192.168.7.0/24"
INSTANCE: Final = "10.0.1.5"
LAN: Final = "192.168.7.9"
EDGES: Final = {1: "198.18.0.21", 2: "198.18.0.22"}
PATIENCE_S: Final = 60.0

BGP: Final = VpnConnection(
    id="vpn-0013880000000000a",
    vni=5000,
    name="office",
    gateway=GATEWAY.id,
    customer_gateway="cgw-00000000000000001",
    number=1,
    asn=65000,
    address="203.0.113.80",
    tunnels=tuple(
        Tunnel(inside_cidr=f"169.254.10.{4 * number - 4}/30", edge=f"e{number}", address=address)
        for number, address in EDGES.items()
    ),
)


class Stage:
    """The devices, and the wires between them."""

    def __init__(self, directory: Path) -> None:
        self.device = Device("printed-device", directory / "device")
        self.lan = Device("printed-lan", directory / "lan")
        self.net = Device("printed-net", directory / "net")
        self.edges = {number: Device(f"printed-edge{number}", directory / f"edge{number}") for number in EDGES}
        self.net.shell("sysctl -q -w net.ipv4.ip_forward=1")
        self._wire(self.device, "203.0.113.80", "203.0.113.1")
        for number, address in EDGES.items():
            self._wire(self.edges[number], address, f"198.18.0.{number}")
            self.edges[number].shell(f"ip link add vpc type dummy; ip address add {INSTANCE}/32 dev vpc; ip link set vpc up")
        self.lan.shell(
            f"ip link add eth0 type veth peer name lan0 netns {self.device.netns}; ip address add {LAN}/24 dev eth0;"
            "ip link set eth0 up; ip route add default dev eth0 via 192.168.7.1 onlink"
        )
        self.device.shell("ip address add 192.168.7.1/24 dev lan0; ip link set lan0 up")

    def _wire(self, end: Device, address: str, router: str) -> None:
        """Connect a device to the internet."""
        port = f"to-{end.netns.partition('-')[2]}"
        end.shell(
            f"ip link add eth0 type veth peer name {port} netns {self.net.netns}; ip address add {address}/32 dev eth0;"
            f"ip link set eth0 up; ip route add default via {router} dev eth0 onlink src {address}"
        )
        self.net.shell(f"ip address add {router}/32 dev {port}; ip link set {port} up; ip route add {address} dev {port}")

    def follow(self, text: str) -> None:
        """Carry out swanctl.conf as the customer does: the settings and commands in its comments, then the file itself."""
        lines = [line.removeprefix(COMMAND) for line in text.splitlines() if line.startswith(COMMAND)]
        end = lines.index("}")
        self.device.start_charon("\n".join(lines[: end + 1]))
        self.device.shell("\n".join(lines[end + 1 :]))
        self.device.load(text)

    def up(self) -> bool:
        return all(edge.installed() == 1 for edge in self.edges.values())

    def close(self) -> None:
        for end in (self.device, self.lan, self.net, *self.edges.values()):
            end.close()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    found = Stage(tmp_path)
    try:
        yield found
    finally:
        found.close()


def start_edge(edge: Device, facts: Facts, ends: Ends) -> None:
    """Start an edge's side of a tunnel."""
    options, connection = ends.tunnel.options, ends.connection
    edge.shell(
        f"ip link add x1 type xfrm if_id {ends.if_id}; ip address add {ends.edge_inside}/30 dev x1; ip link set x1 up mtu 1446"
    )
    if connection.static:
        edge.shell("\n".join(f"ip route add {route} dev x1" for route in connection.routes))
    else:
        edge.start_bird(
            f"""router id {ends.tunnel.address};
protocol device {{ }}
protocol static {{ ipv4; route {CIDR} unreachable; }}
protocol kernel {{ ipv4 {{ import none; export where source = RTS_BGP; }}; }}
protocol bfd {{ }}
protocol bgp customer {{
  local {ends.edge_inside} as {facts.gateway.asn};
  neighbor {ends.customer_inside} as {connection.asn};
  bfd on;
  ipv4 {{ import all; export where source = RTS_STATIC; }};
}}
"""
        )
    edge.start_charon("charon { install_routes = no }")
    if connection.authentication is Authentication.CERTIFICATE:
        ours, theirs = f"auth = pubkey\ncerts = {ends.name}.pem", "auth = pubkey\ncacerts = customer-ca.pem"
    else:
        ours, theirs = f"auth = psk\nid = {ends.tunnel.address}", f'auth = psk\nid = "{ends.identity}"'
    edge.load(
        f"""connections {{
  t {{
    version = 0
    local_addrs = {ends.tunnel.address}
    proposals = {", ".join(proposals(options, 1))}
    unique = replace
    local {{ {ours} }}
    remote {{ {theirs} }}
    children {{
      t {{
        local_ts = {connection.remote_cidr}
        remote_ts = {connection.local_cidr}
        esp_proposals = {", ".join(proposals(options, 2))}
        if_id_in = {ends.if_id}
        if_id_out = {ends.if_id}
      }}
    }}
  }}
}}
secrets {{
  ike {{ id-1 = {ends.tunnel.address}
    id-2 = "{ends.identity}"
    secret = "{KEYS[ends.number]}" }}
}}
"""
    )


def start(stage: Stage, connection: VpnConnection) -> Facts:
    """Start all ends of a connection, and wait until its tunnels are up."""
    facts = facts_of(connection, GATEWAY, (CIDR,))
    for ends in facts.ends:
        start_edge(stage.edges[ends.number], facts, ends)
    stage.follow(swanctl_conf(facts, KEYS))
    wait_for(stage.up, f"both tunnels; the device says: {stage.device.log()[-2000:]}", PATIENCE_S)
    return facts


def test_both_tunnels_carry_what_bgp_says(stage: Stage) -> None:
    facts = start(stage, BGP)
    stage.device.start_bird(bird_conf(facts, KEYS))
    wait_for(lambda: len(stage.device.routes(CIDR)) == 2, "the VPC by both tunnels", PATIENCE_S)
    for edge in stage.edges.values():
        wait_for(lambda edge=edge: edge.routes(SITE), "the site", PATIENCE_S)  # type: ignore[misc]
        assert edge.bird("show route protocol customer").count("unicast") == 1  # neither the tunnels nor the uplink
    assert stage.device.bird("show protocols").count("Established") == 2
    assert stage.device.bird("show bfd sessions").count(" Up ") == 2
    assert stage.lan.reaches(LAN, INSTANCE)


def test_frr_takes_the_file_and_uses_both_tunnels(stage: Stage) -> None:
    facts = start(stage, BGP)
    stage.device.start_frr(frr_conf(facts, KEYS))
    wait_for(lambda: len(stage.device.routes(CIDR)) == 2, "the VPC by both tunnels", PATIENCE_S)
    for edge in stage.edges.values():
        wait_for(lambda edge=edge: edge.routes(SITE), "the site", PATIENCE_S)  # type: ignore[misc]
        assert edge.bird("show route protocol customer").count("unicast") == 1
    wait_for(lambda: stage.device.bfd_states() == ["up", "up"], "both BFD sessions", PATIENCE_S)
    assert stage.lan.reaches(LAN, INSTANCE)


@pytest.mark.parametrize(("version", "address", "identity"), [("ikev1", BGP.address, ""), ("ikev2", "", "office.acme.example")])
def test_static_routes_by_ikev1_or_a_name(stage: Stage, version: str, address: str, identity: str) -> None:
    options = TunnelOptions(ike_versions=(version,), phase1_dh_groups=(14, 19), phase2_dh_groups=(14,))
    connection = msgspec.structs.replace(
        BGP,
        address=address,
        identity=identity,
        static=True,
        routes=(SITE,),
        tunnels=tuple(msgspec.structs.replace(tunnel, options=options) for tunnel in BGP.tunnels),
    )
    start(stage, connection)
    assert [route["dev"] for route in stage.device.routes(CIDR)] == ["vpn138802", "vpn138803"]
    assert stage.lan.reaches(LAN, INSTANCE)


def test_certificates(stage: Stage, tmp_path: Path) -> None:
    """Each end has a certificate of an authority of its own: the device knows the edges' own, the edges the customer's CA."""
    customers, providers = Authority(tmp_path, "customer-ca"), Authority(tmp_path, "provider-ca")
    issued = {number: providers.issue(f"edge{number}", address) for number, address in EDGES.items()}
    connection = msgspec.structs.replace(
        BGP,
        static=True,
        routes=(SITE,),
        authentication=Authentication.CERTIFICATE,
        authority=customers.file.read_text(),
        certificates={f"e{number}": certificate.read_text() for number, (certificate, _) in issued.items()},
    )
    facts = facts_of(connection, GATEWAY, (CIDR,))
    mine, my_key = customers.issue("customer", BGP.address)
    stage.device.keep("x509/customer.pem", mine.read_text())
    stage.device.keep("private/customer.pem", my_key.read_text())
    for name, text in printed_certificates(swanctl_conf(facts, {})).items():
        stage.device.keep(f"x509/{name}", text)
    for ends in facts.ends:
        certificate, key = issued[ends.number]
        edge = stage.edges[ends.number]
        edge.keep(f"x509/{ends.name}.pem", certificate.read_text())
        edge.keep("private/edge.pem", key.read_text())
        edge.keep("x509ca/customer-ca.pem", customers.file.read_text())
    start(stage, connection)
    assert stage.lan.reaches(LAN, INSTANCE)


def printed_certificates(text: str) -> dict[str, str]:
    """Return the certificates in the comments of swanctl.conf, by the names of the files that they are for."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("# ") and line.endswith(".pem:"):
            name = line.removeprefix("# ").removesuffix(":")
        elif name and line.startswith("# "):
            found[name] = found.get(name, "") + line.removeprefix("# ") + "\n"
        else:
            name = ""
    return found
