"""Each case is a VPN connection, and its configuration for the customer's device in each format.

NETORCH_UPDATE_GOLDEN=1 rewrites the texts; read the difference before committing it.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from netorch.errors import ApiError
from netorch.model.outside.vpn import Authentication, StartupAction, Tunnel, TunnelOptions, VirtualPrivateGateway, VpnConnection
from netorch.spec.vpn_config.facts import Facts, Keys, facts_of
from netorch.spec.vpn_config.formats import FORMATS

HERE = Path(__file__).parent
GATEWAY = VirtualPrivateGateway(id="vgw-00138800000000001", vni=5000, name="main")
CIDRS = ("10.0.0.0/16", "10.9.0.0/20")
KEYS = {1: "first.key_of.a.test", 2: "second.key_of.a.test"}
PEM = "-----BEGIN CERTIFICATE-----\nMIIBnotone{}\n-----END CERTIFICATE-----\n"

BGP = VpnConnection(
    id="vpn-0013880000000000a",
    vni=5000,
    name="office",
    gateway=GATEWAY.id,
    customer_gateway="cgw-00000000000000001",
    number=1,
    asn=65000,
    address="203.0.113.80",
    tunnels=(
        Tunnel(inside_cidr="169.254.10.0/30", edge="e1", address="198.18.0.21"),
        Tunnel(inside_cidr="169.254.10.4/30", edge="e2", address="198.18.0.22"),
    ),
)
# Behind a NAT, with a device that supports only IKEv1; the gateway's pair has one edge.
STATIC = msgspec.structs.replace(
    BGP,
    address="",
    identity='C=DE, O="acme\\", CN=office',
    static=True,
    routes=("192.168.7.0/24",),
    local_cidr="192.168.0.0/16",
    remote_cidr="10.0.0.0/8",
    tunnels=(
        Tunnel(
            inside_cidr="169.254.10.0/30",
            edge="e1",
            address="198.18.0.21",
            options=TunnelOptions(
                ike_versions=("ikev1",),
                phase1_encryption=("AES128",),
                phase1_integrity=("SHA1", "SHA2-256"),
                phase1_dh_groups=(2, 14),
                phase1_lifetime=14400,
                phase2_encryption=("AES128", "AES128-GCM-16"),
                phase2_integrity=("SHA2-256",),
                phase2_dh_groups=(14,),
                phase2_lifetime=1800,
                rekey_margin=120,
                rekey_fuzz=50,
                replay_window=64,
                dpd_timeout=10,
                startup_action=StartupAction.START,
            ),
        ),
        Tunnel(inside_cidr="169.254.10.4/30"),
    ),
)
CERTIFICATE = msgspec.structs.replace(
    BGP,
    identity="CN=office.acme.example",
    authentication=Authentication.CERTIFICATE,
    certificates={"e1": PEM.format(1), "e2": PEM.format(2)},
    authority=PEM.format(3),
)
CASES: dict[str, tuple[VpnConnection, Keys]] = {"bgp": (BGP, KEYS), "static": (STATIC, {}), "certificate": (CERTIFICATE, {})}
TEXTS = [(case, form) for case in CASES for form in FORMATS if case != "static" or form not in ("bird", "frr")]


@pytest.mark.parametrize(("case", "form"), TEXTS)
def test_a_customer_gets_this_text(case: str, form: str) -> None:
    connection, keys = CASES[case]
    text = FORMATS[form](facts_of(connection, GATEWAY, CIDRS), keys)
    golden = HERE / f"{case}.{form.replace('aws-', '')}.txt"
    if os.environ.get("NETORCH_UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


def test_each_text_of_the_folder_is_one_of_a_case() -> None:
    assert {path.name for path in HERE.glob("*.txt")} == {f"{case}.{form.replace('aws-', '')}.txt" for case, form in TEXTS}


@pytest.mark.parametrize("form", ["bird", "frr"])
def test_a_routing_daemon_has_nothing_to_do_for_static_routes(form: str) -> None:
    with pytest.raises(ApiError, match=r"InvalidParameterCombination: vpn-\w+ has static routes"):
        FORMATS[form](Facts(connection=STATIC, gateway=GATEWAY, cidrs=CIDRS), {})


def test_a_connection_of_which_no_tunnel_ends_anywhere_has_no_configuration() -> None:
    nowhere = tuple(Tunnel(inside_cidr=tunnel.inside_cidr) for tunnel in BGP.tunnels)
    with pytest.raises(ApiError, match=r"IncorrectState: vpn-.*: none of its tunnels ends at an edge"):
        facts_of(msgspec.structs.replace(BGP, tunnels=nowhere), GATEWAY, CIDRS)


@pytest.mark.parametrize("form", FORMATS)
def test_a_key_that_nobody_gave_is_in_no_text(form: str) -> None:
    text = FORMATS[form](facts_of(BGP, GATEWAY, CIDRS), {1: KEYS[1]})
    assert KEYS[2] not in text
    assert (KEYS[1] in text) == (form not in ("bird", "frr"))
