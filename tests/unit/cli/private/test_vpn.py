"""`netorch vpn`, `cgw`, `vgw` and `route-table propagate`: their output, and keys that are shown only once."""

from __future__ import annotations

import json
import re
from contextlib import closing
from pathlib import Path

import pytest

from netorch.model.status import TunnelStatus, VpnStatus
from netorch.records import keys
from netorch.records.codec import encode
from netorch.store.base import Put
from netorch.store.sqlite.store import SqliteStore
from tests.unit.cli.conftest import Run
from tests.unit.sealing import publish_keys
from tests.unit.spec.vpn_config.test_imported import TEXT

UPLINK = "eth2,198.18.0.{0}/24,198.18.0.254"
CANARY = "Canary.0123456789"


@pytest.fixture
def cloud(quick: Run, tmp_path: Path) -> Run:
    """Return a command line for a VPC with a virtual private gateway, and a customer gateway."""
    quick("apply", "--yes", "--no-wait")
    with closing(SqliteStore(tmp_path / "db")) as store:
        publish_keys(store, "e21", "e22")
    for number in (21, 22):
        words = ("--role", "edge", "--pair", "west", "--uplink", UPLINK.format(number))
        quick("host", "create", f"e{number}", "--underlay", f"192.0.2.{number}", *words)
    quick("vgw", "create", "home", "--vpc", "acme", "--asn", "64600")
    quick("--owner", "acme", "cgw", "create", "office", "--address", "203.0.113.1")
    return quick


def make(cloud: Run, *words: str) -> str:
    return cloud("vpn", "create", "office", "--vpc", "acme", "--customer-gateway", "acme/office", *words).stdout


def test_made_keys_are_shown_once(cloud: Run) -> None:
    found = re.findall(r"^tunnel ([12])  (\S{32})$", make(cloud), re.MULTILINE)
    assert [tunnel for tunnel, _ in found] == ["1", "2"]
    for words in (
        ("show", "office"),
        ("show", "office", "-o", "json"),
        ("list", "-o", "json"),
        ("list", "-o", "csv"),
        ("tag", "office", "a=b"),
    ):
        said = cloud("vpn", *words).stdout
        assert not any(psk in said for _, psk in found)
    rotated = json.loads(cloud("vpn", "rotate", "office", "--tunnel", "2", "-o", "json").stdout)
    assert set(rotated["pre_shared_keys"]) == {"2"}
    assert rotated["pre_shared_keys"]["2"] != found[1][1]


def test_a_key_that_is_given_is_never_shown(cloud: Run, tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"{number}.psk").write_text(f"{CANARY}{number}\n")
    (tmp_path / "bad.psk").write_text(f"{CANARY} \n")
    tried = make(cloud, "--psk-file", "1.psk", "--psk-file", "2.psk", "--dry-run")
    assert tried == "DryRunOperation: the request would have succeeded; nothing was changed\n"
    assert "Pre-shared" not in make(cloud, "--dry-run")
    said = make(cloud, "--psk-file", "1.psk", "--psk-file", "2.psk", "-o", "json")
    assert json.loads(said)["pre_shared_keys"] == {}
    error = cloud("vpn", "rotate", "office", "--tunnel", "1", "--psk-file", "bad.psk", code=1).stderr
    assert "a text of 18 characters is not a pre-shared key" in error
    assert CANARY not in tried + said + error
    assert CANARY.encode() not in (tmp_path / "db").read_bytes()


def test_status_tells_tunnels_that_are_down(cloud: Run, tmp_path: Path) -> None:
    made = json.loads(make(cloud, "--static", "--route", "192.168.0.0/24", "-o", "json"))
    assert made["state"] == "pending"
    up = TunnelStatus(ike="ESTABLISHED", child="INSTALLED", bytes_in=7, bytes_out=9)
    down = TunnelStatus(ike="CONNECTING", problem="silent", facts={"remote": "203.0.113.1"})
    with closing(SqliteStore(tmp_path / "db")) as store:
        for number, status in ((1, up), (2, down)):
            edge = made["edges"][number - 1]
            said = encode(VpnStatus(tunnels={number: status}))
            store.txn((), [Put(keys.tunnel_status(edge, made["id"]), said), Put(keys.host_live(edge), b"{}")])
    lines = cloud("vpn", "status", code=2).stdout.splitlines()
    assert lines[1].split()[:8] == ["acme/acme/office", "1", "UP", "ESTABLISHED", "INSTALLED", "7", "9", "-"]
    assert lines[1].endswith("IPSEC IS UP")
    assert "DOWN    CONNECTING" in lines[2]
    assert "IPSEC IS DOWN: " in lines[2]
    with closing(SqliteStore(tmp_path / "db")) as store:
        store.txn((), [Put(keys.tunnel_status(made["edges"][1], made["id"]), encode(VpnStatus(tunnels={2: up})))])
    cloud("vpn", "status", "office")
    assert json.loads(cloud("vpn", "show", "office", "-o", "json").stdout)["state"] == "available"


def test_customers_do_not_see_edges(cloud: Run) -> None:
    make(cloud)
    shown = json.loads(cloud("--owner", "acme", "vpn", "show", "office", "-o", "json").stdout)
    assert "edges" not in shown
    assert not any("e21" in str(value) or "e22" in str(value) for value in shown.values())


def test_a_tunnel_is_modified(cloud: Run) -> None:
    make(cloud)
    assert "name the tunnel" in cloud("vpn", "modify", "office", "--dpd-timeout", "40", code=2).stderr
    assert "name at least one option to change" in cloud("vpn", "modify", "office", "--tunnel", "1", code=2).stderr
    words = ("--dpd-timeout", "40", "--ike-version", "ikev2", "--phase2-dh-group", "19", "--phase2-dh-group", "20")
    shown = cloud("vpn", "modify", "office", "--tunnel", "1", *words).stdout
    rows = {
        line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.startswith(("dpd_timeout", "ike_v", "phase2_dh"))
    }
    assert rows["dpd_timeout"] == ["40", "30"]
    assert rows["ike_versions"] == ["ikev2", "ikev1", "ikev2"]
    assert rows["phase2_dh_groups"][:2] == ["19", "20"]


def test_a_table_learns_and_a_route_leads_to_the_gateway(cloud: Run) -> None:
    cloud("route-table", "create", "private", "--vpc", "acme")
    cloud("route-table", "route", "add", "private", "192.168.0.0/16", "vgw")
    found = json.loads(cloud("route-table", "propagate", "private", "-o", "json").stdout)
    assert len(found["propagating"]) == 1
    assert found["routes"][-1]["target"] == "vgw"
    assert json.loads(cloud("route-table", "propagate", "private", "--off", "-o", "json").stdout)["propagating"] == []
    bare = cloud("vgw", "delete", "home").stdout
    assert bare.startswith("deleted vgw-")
    assert "first: netorch vgw create" in cloud("route-table", "propagate", "private", code=1).stderr


def test_a_file_that_makes_a_connection_shows_its_keys_once(cloud: Run, tmp_path: Path) -> None:
    cloud("--owner", "acme", "cgw", "delete", "office")
    text = (tmp_path / "vpc.yaml").read_text()
    declared = "  vpn_gateway: {name: home, asn: 64600}\n  vpn_connections: [{name: office, customer_gateway: office}]\n"
    devices = "customer_gateways: [{name: office, owner: acme, address: 203.0.113.1}]\n"
    text = devices + text.replace("  owner: acme\n", f"  owner: acme\n{declared}", 1)
    (tmp_path / "vpc.yaml").write_text(text)
    assert "tunnel 1" not in cloud("plan", code=2).stdout
    said = cloud("apply", "--yes", "--no-wait").stdout
    found = re.findall(r"^  acme/acme/office tunnel ([12])  (\S{32})$", said, re.MULTILINE)
    assert [tunnel for tunnel, _ in found] == ["1", "2"]
    assert cloud("plan").stdout.startswith("No changes")
    assert cloud("diff").stdout == ""
    exported = cloud("export").stdout
    assert not any(psk in exported for _, psk in found)


def test_an_edge_becomes_the_customer_gateway_of_a_vpc_at_aws(cloud: Run, tmp_path: Path) -> None:
    file = tmp_path / "aws.xml"
    file.write_text(TEXT.replace("203.0.113.80", "198.18.0.21").replace("<asn>65000<", "<asn>64600<"))
    said = cloud("--owner", "acme", "vpn", "import", str(file), "--vpc", "acme", "--name", "aws", "-o", "json").stdout
    shown = json.loads(said)
    assert (shown["far_side"], shown["asn"]) == ("AWS", 64512)
    ends = [(tunnel["address"], tunnel["remote"]) for tunnel in shown["tunnels"]]
    assert ends == [("198.18.0.21", "198.18.9.1"), ("198.18.0.21", "198.18.9.2")]
    table = cloud("vpn", "show", "aws").stdout + cloud("vpn", "list").stdout + cloud("vpn", "status", code=2).stdout
    assert table.count("AWS") == 4  # the record, the list, the status of each tunnel
    assert "key_of" not in said + table
    assert b"key_of" not in (tmp_path / "db").read_bytes()
    assert "UnsupportedOperation" in cloud("vpn", "config", "aws", code=1).stderr
