"""`netorch dx`: commands and output of an operator and a customer."""

from __future__ import annotations

import base64
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from nacl.public import PrivateKey

from netorch.cli.context import names_of
from netorch.model.status import SealingKey, VifStatus
from netorch.records import keys
from netorch.records.codec import encode
from netorch.store.base import Put
from netorch.store.sqlite.store import SqliteStore
from tests.unit.cli.conftest import Run

UPLINK = "eth2,198.18.0.{0}/24,198.18.0.254"
CREATE = ("dx", "vif", "create", "dc", "--vpc", "acme/acme", "--connection", "port", "--vlan", "101")


def as_json(run: Run, *words: str) -> Any:  # noqa: ANN401 - JSON
    return json.loads(run(*words, "-o", "json").stdout)


@pytest.fixture
def cloud(quick: Run) -> Run:
    """Return a command line for the file's cloud, a pair of edges with a port, and a gateway."""
    quick("apply", "--yes", "--no-wait")
    for number in (21, 22):
        words = ("--role", "edge", "--pair", "west", "--uplink", UPLINK.format(number))
        quick("host", "create", f"e{number}", "--underlay", f"192.0.2.{number}", *words)
    quick("dx", "connection", "create", "port", "--host", "e21", "--device", "eth3")
    quick("dx", "connection", "hosted", "add", "port", "acme", "101")
    quick("vgw", "create", "home", "--vpc", "acme/acme")
    return quick


def test_a_customer_sees_and_uses_what_is_hosted_for_him(cloud: Run) -> None:
    cloud("dx", "connection", "hosted", "add", "port", "globex", "7", "--outer-vlan", "300")
    (row,) = as_json(cloud, "dx", "connection", "list")
    assert (row["hosted"], row["for"], row["state"]) == (["acme:101", "globex:300.7"], "", "pending")
    (row,) = as_json(cloud, "--owner", "acme", "dx", "connection", "list")
    assert row["hosted"] == ["acme:101"]
    row = as_json(cloud, "--owner", "acme", *CREATE, "--asn", "65010", "--bfd")
    assert (row["state"], row["vlan"], row["asn"], row["gateway_asn"], row["bfd"]) == ("pending", 101, 65010, 64512, True)
    assert "edge" not in row
    assert as_json(cloud, "dx", "vif", "show", "acme/acme/dc")["edge"] == "e21"
    refused = cloud("--owner", "acme", "dx", "connection", "hosted", "add", "port", "acme", "8", code=1).stderr
    assert "UnauthorizedOperation" in refused
    assert cloud("dx", "connection", "delete", "port", code=1).stderr.count("it has 1 virtual interface(s)") == 1


def test_the_operators_is_confirmed_or_rejected(cloud: Run) -> None:
    assert as_json(cloud, *CREATE, "--asn", "65010")["state"] == "confirming"
    assert as_json(cloud, "--owner", "acme", "dx", "vif", "reject", "dc")["state"] == "rejected"
    assert cloud("dx", "vif", "list", "--state", "rejected", "-o", "name").stdout == "acme/acme/dc\n"
    cloud("dx", "vif", "delete", "acme/acme/dc")
    cloud(*CREATE, "--asn", "65010")
    assert as_json(cloud, "--owner", "acme", "dx", "vif", "confirm", "dc")["state"] == "pending"


def test_what_its_edge_says_is_shown(cloud: Run, tmp_path: Path) -> None:
    row = as_json(cloud, "--owner", "acme", *CREATE, "--asn", "65010")
    said = VifStatus(carrier=True, bgp="Active", bgp_reason="the router does not answer", accepted=0)
    with closing(SqliteStore(tmp_path / "db")) as store:
        store.txn((), [Put(keys.tunnel_status("e21", row["id"]), encode(said))])
    shown = as_json(cloud, "dx", "vif", "show", "acme/acme/dc")
    assert (shown["state"], shown["carrier"], shown["bgp_reason"]) == ("down", True, "the router does not answer")
    assert as_json(cloud, "dx", "connection", "show", "port")["state"] == "available"
    assert "Active" in cloud("dx", "vif", "list").stdout


def test_a_key_comes_out_of_a_file_and_nobody_sees_it(cloud: Run, tmp_path: Path) -> None:
    public = base64.b64encode(bytes(PrivateKey.generate().public_key)).decode()
    with closing(SqliteStore(tmp_path / "db")) as store:
        store.txn((), [Put(keys.edge_key("e21"), encode(SealingKey(public=public)))])
    (tmp_path / "dc.key").write_text("canary-of-bgp\n")
    words = (*CREATE, "--asn", "65010", "--key-file")
    assert "the file cannot be read" in cloud(*words, str(tmp_path / "none"), code=65).stderr
    made = cloud("--owner", "acme", *words, str(tmp_path / "dc.key"), "-o", "json").stdout
    assert json.loads(made)["authentication"] == "md5"
    assert "canary" not in made
    cloud("dx", "vif", "modify", "acme/acme/dc", "--key-file", str(tmp_path / "dc.key"))
    (tmp_path / "dc.key").write_text("short")
    assert "short" not in cloud("dx", "vif", "modify", "acme/acme/dc", "--key-file", str(tmp_path / "dc.key"), code=1).stderr
    assert b"canary" not in (tmp_path / "db").read_bytes()
    assert "give an MTU, a key or routes" in cloud("dx", "vif", "modify", "acme/acme/dc", code=2).stderr


def test_static_routes_are_replaced(cloud: Run) -> None:
    cloud("--owner", "acme", *CREATE, "--route", "192.168.0.0/16")
    routes = ("--route", "172.16.0.0/12", "--route", "192.168.7.0/24")
    row = as_json(cloud, "dx", "vif", "modify", "acme/acme/dc", "--mtu", "8500", *routes)
    assert (row["routes"], row["mtu"]) == (["172.16.0.0/12", "192.168.7.0/24"], 8500)


def test_names_are_completed(cloud: Run, tmp_path: Path) -> None:
    cloud("--owner", "acme", *CREATE, "--asn", "65010")
    options = {"store": str(tmp_path / "db")}
    assert names_of("dxcon", options) == ["port"]
    assert names_of("dxcon", options | {"owner": "acme"}) == ["port"]
    assert names_of("dxcon", options | {"owner": "globex"}) == []
    assert names_of("dxvif", options) == ["acme/dc"]


def test_a_file_names_a_key_beside_it(cloud: Run, tmp_path: Path) -> None:
    public = base64.b64encode(bytes(PrivateKey.generate().public_key)).decode()
    with closing(SqliteStore(tmp_path / "db")) as store:
        store.txn((), [Put(keys.edge_key("e21"), encode(SealingKey(public=public)))])
    vif = "{name: dc, connection: port, vlan: 101, asn: 65010, key_file: keys/dc}"
    text = f"vpcs: [{{name: dx, owner: acme, cidrs: [10.7.0.0/16], vpn_gateway: {{}}, virtual_interfaces: [{vif}]}}]\n"
    file = tmp_path / "dx.yaml"
    file.write_text(text)
    assert "keys/dc: $: the file cannot be read" in cloud("plan", "-f", str(file), code=65).stderr
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "dc").write_text("canary-of-bgp\n")
    plan = cloud("plan", "-f", str(file), "--out", str(tmp_path / "saved"), code=2).stdout
    assert "virtual-interface" in plan
    assert "authentication md5" in plan
    assert "canary" not in (tmp_path / "saved").read_text()
    cloud("apply", "--no-wait", "--yes", str(tmp_path / "saved"))
    (tmp_path / "keys" / "dc").unlink()
    assert "No changes" in cloud("plan", "-f", str(file)).stdout
    assert cloud("diff", "-f", str(file)).stdout == ""
    exported = cloud("export", code=2)
    assert "key_file: dc.key" in exported.stdout
    assert "keys of virtual interfaces cannot be exported" in exported.stderr


def test_a_trace_says_that_nobody_reaches_a_network_elsewhere(cloud: Run) -> None:
    cloud("--owner", "acme", *CREATE, "--route", "192.168.0.0/16")
    cloud("route-table", "route", "add", "acme/acme/main", "192.168.0.0/16", "via", "vgw")
    said = cloud("trace", "acme/acme/web-1", "192.168.3.4", "tcp/443", code=2).stdout
    assert "of route table main leads to nothing: no edge reaches 192.168.3.4 through it" in said
    assert "virtual interface dc, VLAN 101 of eth3 at e21 is down: eth3 of e21 has no carrier" in said
    assert "fix: netorch dx vif show acme/acme/dc" in said
