"""A VPN connection as EC2's DescribeVpnConnections returns it: JSON, and the XML of its field CustomerGatewayConfiguration."""

from __future__ import annotations

import json
from typing import Any, Final
from xml.etree import ElementTree

from netorch.model.outside.tunnel_mtu import inside_mss
from netorch.spec.vpn_config.facts import DPD_RETRIES, HOLD_TIME_S, Ends, Facts, Keys, placeholder

STATIC: Final = "NoBGPVPNConnection"  # vpn_connection_attributes of a connection without BGP

# The XML names one algorithm of each kind: the first of these that the tunnel permits. Routers that read such a file support CBC
# ciphers and MODP groups, so these come first. EC2 itself writes the last ones.
ENCRYPTION: Final = {
    "AES256": "aes-256-cbc",
    "AES256-GCM-16": "aes-256-gcm-16",
    "AES128-GCM-16": "aes-128-gcm-16",
    "AES128": "aes-128-cbc",
}
INTEGRITY: Final = {"SHA2-256": "sha2-256", "SHA2-384": "sha2-384", "SHA2-512": "sha2-512", "SHA1": "sha1"}
_BITS: Final = {"SHA2-256": 128, "SHA2-384": 192, "SHA2-512": 256, "SHA1": 96}  # length in ESP
CARRIED: Final = {name: f"hmac-{word}-{_BITS[name]}" for name, word in INTEGRITY.items()}
_GROUPS: Final = (14, 15, 16, 17, 18, 19, 20, 21, 24, 23, 22, 5, 2)

_Tree = dict[str, Any]  # element -> text or child elements


def gateway_configuration(facts: Facts, keys: Keys) -> str:
    """Return CustomerGatewayConfiguration as XML."""
    connection = facts.connection
    root = ElementTree.Element("vpn_connection", id=connection.id)
    fields: _Tree = {
        "customer_gateway_id": connection.customer_gateway,
        "vpn_gateway_id": connection.gateway,
        "vpn_connection_type": "ipsec.1",
        **({"vpn_connection_attributes": STATIC} if connection.static else {}),
    }
    _add(root, fields)
    for ends in facts.ends:
        _add(ElementTree.SubElement(root, "ipsec_tunnel"), _tunnel(facts, ends, keys))
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _add(element: ElementTree.Element, tree: _Tree) -> None:
    for name, value in tree.items():
        inner = ElementTree.SubElement(element, name)
        if isinstance(value, dict):
            _add(inner, value)
        else:
            inner.text = str(value)


def _tunnel(facts: Facts, ends: Ends, keys: Keys) -> _Tree:
    connection, options = facts.connection, ends.tunnel.options
    return {
        "customer_gateway": _side(facts, connection.address, ends.customer_inside, connection.asn),
        "vpn_gateway": _side(facts, ends.tunnel.address, ends.edge_inside, facts.gateway.asn),
        "ike": {
            "authentication_protocol": _first(INTEGRITY, options.phase1_integrity),
            "encryption_protocol": _first(ENCRYPTION, options.phase1_encryption),
            "lifetime": options.phase1_lifetime,
            "perfect_forward_secrecy": _group(options.phase1_dh_groups),
            "mode": "main",
            **({} if facts.has_certificates else {"pre_shared_key": keys.get(ends.number) or placeholder(ends.number)}),
        },
        "ipsec": {
            "protocol": "esp",
            "authentication_protocol": _first(CARRIED, options.phase2_integrity),
            "encryption_protocol": _first(ENCRYPTION, options.phase2_encryption),
            "lifetime": options.phase2_lifetime,
            "perfect_forward_secrecy": _group(options.phase2_dh_groups),
            "mode": "tunnel",
            "clear_df_bit": "true",
            "fragmentation_before_encryption": "true",
            "tcp_mss_adjustment": inside_mss(options),
            "dead_peer_detection": {"interval": max(options.dpd_timeout // DPD_RETRIES, 1), "retries": DPD_RETRIES},
        },
    }


def _side(facts: Facts, outside: str, inside: str, asn: int) -> _Tree:
    return {
        "tunnel_outside_address": {"ip_address": outside},
        "tunnel_inside_address": {"ip_address": inside, "network_mask": "255.255.255.252", "network_cidr": 30},
        **({} if facts.connection.static else {"bgp": {"asn": asn, "hold_time": HOLD_TIME_S}}),
    }


def _first(words: dict[str, str], permitted: tuple[str, ...]) -> str:
    return next(word for name, word in words.items() if name in permitted)


def _group(permitted: tuple[int, ...]) -> str:
    return f"group{next(group for group in _GROUPS if group in permitted)}"


def connection_json(facts: Facts, keys: Keys) -> str:
    """Return the JSON. `CustomerGateway`, `VpnGateway` and `Vpc` have the fields that EC2 returns in other calls."""
    connection = facts.connection
    customer = {"BgpAsn": str(connection.asn), "IpAddress": connection.address, "Identity": connection.identity}
    value = {
        "VpnConnectionId": connection.id,
        "VpnGatewayId": connection.gateway,
        "CustomerGatewayId": connection.customer_gateway,
        "Category": "VPN",
        "Type": "ipsec.1",
        "Options": {
            "StaticRoutesOnly": connection.static,
            "LocalIpv4NetworkCidr": connection.local_cidr,
            "RemoteIpv4NetworkCidr": connection.remote_cidr,
            "TunnelInsideIpVersion": "ipv4",
            "TunnelOptions": [_options(ends, keys) for ends in facts.ends],
        },
        "Routes": [{"DestinationCidrBlock": route} for route in connection.routes],
        "CustomerGateway": {name: text for name, text in customer.items() if text},
        "VpnGateway": {"AmazonSideAsn": facts.gateway.asn},
        "Vpc": {"CidrBlocks": list(facts.cidrs)},
    }
    return json.dumps(value, indent=2) + "\n"


def _options(ends: Ends, keys: Keys) -> dict[str, object]:
    options = ends.tunnel.options
    key = keys.get(ends.number)
    return {
        "OutsideIpAddress": ends.tunnel.address,
        "TunnelInsideCidr": ends.tunnel.inside_cidr,
        **({"PreSharedKey": key} if key else {}),
        "Phase1LifetimeSeconds": options.phase1_lifetime,
        "Phase2LifetimeSeconds": options.phase2_lifetime,
        "RekeyMarginTimeSeconds": options.rekey_margin,
        "RekeyFuzzPercentage": options.rekey_fuzz,
        "ReplayWindowSize": options.replay_window,
        "DpdTimeoutSeconds": options.dpd_timeout,
        "DpdTimeoutAction": options.dpd_action.value,
        "Phase1EncryptionAlgorithms": _values(options.phase1_encryption),
        "Phase2EncryptionAlgorithms": _values(options.phase2_encryption),
        "Phase1IntegrityAlgorithms": _values(options.phase1_integrity),
        "Phase2IntegrityAlgorithms": _values(options.phase2_integrity),
        "Phase1DHGroupNumbers": _values(options.phase1_dh_groups),
        "Phase2DHGroupNumbers": _values(options.phase2_dh_groups),
        "IkeVersions": _values(options.ike_versions),
        "StartupAction": options.startup_action.value,
    }


def _values(chosen: tuple[object, ...]) -> list[dict[str, object]]:
    return [{"Value": one} for one in chosen]
