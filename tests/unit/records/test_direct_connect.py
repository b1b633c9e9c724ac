"""Stored records of Direct Connect: valid ones are accepted, invalid ones are not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from netorch.errors import UnreadableRecord
from netorch.model.ids import make_id
from netorch.model.outside.direct_connect import BgpAuthentication, Connection, HostedConnection, VirtualInterface
from netorch.records import keys
from netorch.records.codec import check_value

VNI = 5000
VIF = VirtualInterface(
    id=make_id("dxvif", VNI, 7),
    vni=VNI,
    name="dc",
    gateway=make_id("vgw", VNI, 7),
    connection="port-1",
    edge="e1",
    device="eth3",
    vlan=101,
    asn=65010,
    address="169.254.100.1/30",
    peer="169.254.100.2",
)
STATIC: dict[str, Any] = {"asn": 0, "routes": ("192.168.0.0/16",)}
CONNECTION = Connection(
    name="port-1",
    host="e1",
    device="eth3",
    owner="acme",
    hosted=(HostedConnection(owner="globex", vlan=101), HostedConnection(owner="initech", vlan=101, outer_vlan=300)),
)


def check_vif(**changed: object) -> None:
    check_value(keys.resource(VIF.id), msgspec.structs.replace(VIF, **changed))


@pytest.mark.parametrize(
    "changed",
    [
        {},
        STATIC,
        {"address": "10.9.0.1/31", "peer": "10.9.0.0"},
        {"bfd": True, "authentication": BgpAuthentication.MD5, "mtu": 8500, "outer_vlan": 4094},
        {"confirmed": False, "rejected": True},
    ],
)
def test_a_virtual_interface_makes_sense(changed: dict[str, Any]) -> None:
    check_vif(**changed)


@pytest.mark.parametrize(
    "changed",
    [
        {"id": make_id("dxvif", VNI + 1, 7)},
        {"gateway": make_id("vgw", VNI + 1, 7)},
        {"gateway": make_id("igw", VNI, 7)},
        {"name": "a b"},
        {"connection": ""},
        {"edge": "e/1"},
        {"device": "a/b"},
        {"vlan": 0},
        {"vlan": 4095},
        {"outer_vlan": 4095},
        {"mtu": 9000},
        {"asn": -1},
        {"asn": 4294967295},
        {"asn": 0},
        {"routes": ("192.168.0.0/16",)},
        STATIC | {"routes": ("192.168.0.1/16",)},
        STATIC | {"routes": ("fd00::/8",)},
        STATIC | {"routes": ("192.168.0.0/16", "192.168.0.0/16")},
        STATIC | {"bfd": True},
        STATIC | {"authentication": BgpAuthentication.MD5},
        {"address": "169.254.100.1/29"},
        {"address": "169.254.100.3/30"},
        {"address": "169.254.100.1"},
        {"address": "169.254.0.1/30", "peer": "169.254.0.2"},
        {"address": "198.51.100.1/30", "peer": "198.51.100.2"},
        {"peer": "169.254.100.1"},
        {"peer": "fe80::1"},
        {"rejected": True},
        {"tags": {"aws:x": ""}},
    ],
)
def test_a_virtual_interface_makes_no_sense(changed: dict[str, Any]) -> None:
    with pytest.raises(UnreadableRecord, match="makes no sense"):
        check_vif(**changed)


def test_a_connection_makes_sense() -> None:
    check_value(keys.connection("port-1"), CONNECTION)


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "port-2"},
        {"host": ""},
        {"device": "averyverylongname"},
        {"owner": "a/b"},
        {"hosted": (HostedConnection(owner="", vlan=101),)},
        {"hosted": (HostedConnection(owner="globex", vlan=0),)},
        {"hosted": (HostedConnection(owner="globex", vlan=1, outer_vlan=5000),)},
        {"hosted": (HostedConnection(owner="globex", vlan=101), HostedConnection(owner="initech", vlan=101))},
    ],
)
def test_a_connection_makes_no_sense(changed: dict[str, Any]) -> None:
    with pytest.raises(UnreadableRecord, match="makes no sense"):
        check_value(keys.connection("port-1"), msgspec.structs.replace(CONNECTION, **changed))
