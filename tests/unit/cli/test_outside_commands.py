"""`netorch igw`, `netorch address` and edges: commands and output of an operator and two customers."""

from __future__ import annotations

import json
import re
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from netorch.cli.context import names_of
from netorch.records import keys
from netorch.store.base import Delete, Put
from netorch.store.sqlite.store import SqliteStore
from tests.rig.seats import let_run
from tests.unit.cli.conftest import Run

DEFAULT = ("0.0.0.0/0", "via", "igw")
UPLINK = "eth2,198.18.0.{0}/24,198.18.0.254"


def as_json(run: Run, *words: str) -> Any:  # noqa: ANN401 - JSON
    return json.loads(run(*words, "-o", "json").stdout)


@pytest.fixture
def cloud(quick: Run) -> Run:
    """Return a command line for the file's cloud, a pair of edges, and a pool."""
    quick("apply", "--yes", "--no-wait")
    for number in (21, 22):
        words = ("--role", "edge", "--pair", "west", "--uplink", UPLINK.format(number))
        quick("host", "create", f"e{number}", "--underlay", f"192.0.2.{number}", *words)
    quick("address", "pool", "create", "p", "--pair", "west", "--cidr", "198.51.100.0/28")
    return quick


def test_an_edge_tells_its_pair_uplink_and_gateways(cloud: Run) -> None:
    cloud("igw", "create", "out", "--vpc", "acme")
    row = as_json(cloud, "host", "show", "e21")
    uplink = {"device": "eth2", "address": "198.18.0.21/24", "gateway": "198.18.0.254"}
    assert (row["pair"], row["uplink"], row["gateways"], row["interfaces"]) == ("west", uplink, 1, 0)
    assert cloud("host", "list", "--filter", "pair=west", "--filter", "gateways=1", "-o", "name").stdout.split() == ["e21", "e22"]
    assert as_json(cloud, "host", "show", "hv1")["uplink"] == {}
    said = cloud("host", "create", "e23", "--underlay", "192.0.2.23", "--role", "edge", "--pair", "west", code=1).stderr
    assert "InvalidParameterCombination" in said
    assert "has no uplink" in said


def test_an_operator_drains_an_edge(cloud: Run, tmp_path: Path) -> None:
    cloud("igw", "create", "out", "--vpc", "acme")
    said = cloud("host", "drain", "e21", code=1).stderr
    assert "the agent of e22, the other edge of its pair, is not running; start it on e22: systemctl start netorch-agent" in said
    with closing(SqliteStore(tmp_path / "db")) as store:
        let_run(store, "e22")
    assert cloud("host", "drain", "e21").stdout == "e21: is drained\n"
    assert "note: edge e21 is drained, and e22 may still send to it" in cloud("status", code=2).stdout
    late = cloud("host", "drain", "--wait", "--timeout", "0.3", "e21", code=1)
    assert "e21: e22 may still send to it\n" in late.stderr
    assert "e21: e22 may still send to it after 0.3 s; see netorch status. The hosts stay drained" in late.stderr
    with closing(SqliteStore(tmp_path / "db")) as store:
        store.txn([], [Delete(keys.host_live("e22"))])
    late = cloud("host", "drain", "--wait", "--timeout", "0.3", "e21", code=1)
    assert "the agent of e22, the other edge of its pair, is not running" in late.stderr
    with closing(SqliteStore(tmp_path / "db")) as store:
        let_run(store, "e22", silent=("192.0.2.21",))
    assert cloud("host", "drain", "--wait", "e21").stdout == "e21: is drained\ne21: no host sends to it any more\n"
    assert "note: edge e21 is drained, and no host sends to it" in cloud("status", code=2).stdout
    assert cloud("host", "undrain", "e21", "e22").stdout == "e21: is not drained\ne22: is not drained\n"
    assert "drained" not in cloud("status", code=2).stdout


def test_an_edge_that_joins_a_pair_carries_its_gateways(cloud: Run, tmp_path: Path) -> None:
    edge = ("--role", "edge", "--pair", "north", "--uplink", "eth2,198.18.0.31/24,198.18.0.254")
    cloud("host", "create", "e31", "--underlay", "192.0.2.31", *edge)
    cloud("address", "pool", "create", "n", "--pair", "north", "--cidr", "203.0.113.0/28")
    made = as_json(cloud, "--owner", "acme", "igw", "create", "out", "--vpc", "acme")
    assert not {"edges", "pair"} & made.keys(), "customers see neither"
    assert as_json(cloud, "igw", "show", "acme/acme/out")["edges"] == ["e31"]
    seen = json.loads(cloud("--owner", "acme", "igw", "list", "-o", "json").stdout)
    assert [{"edges", "pair"} & found.keys() for found in seen] == [set()]
    row = as_json(cloud, "host", "create", "e32", "--underlay", "192.0.2.32", *edge[:-1], "eth2,198.18.0.32/24,198.18.0.254")
    assert row["gateways"] == 1
    assert as_json(cloud, "igw", "show", "acme/acme/out")["edges"] == ["e31", "e32"]
    with closing(SqliteStore(tmp_path / "db")) as store:
        placed = store.list("host/e32/placement/").kvs
        store.txn([], [Put(keys.host_drained("e32"), b'"e32"')])  # like after an interrupted command
    assert len(placed) == 1
    assert "edge e32 is drained" in cloud("status", code=2).stdout
    cloud("host", "undrain", "e32")
    assert "drained" not in cloud("status", code=2).stdout


def test_a_customer_reaches_the_internet_step_by_step(cloud: Run) -> None:
    acme = ("--owner", "acme")
    said = cloud(*acme, "route-table", "route", "add", "acme/main", *DEFAULT, code=1).stderr
    assert "InvalidInternetGatewayID.NotFound: internet gateway: the VPC has none; first: netorch --owner acme igw create" in said
    cloud(*acme, "igw", "create", "out", "--vpc", "acme")
    cloud(*acme, "route-table", "route", "add", "acme/main", *DEFAULT)
    assert "igw" in cloud(*acme, "route-table", "show", "acme/main").stdout
    made = as_json(cloud, *acme, "address", "allocate", "--name", "web")
    row = as_json(cloud, *acme, "address", "associate", "web", "--instance", "web-1")
    assert (row["address"], row["vpc"], row["private_address"]) == (made["address"], "acme/acme", "10.44.12.4")
    assert as_json(cloud, *acme, "instance", "show", "web-1")["public_address"] == made["address"]
    assert as_json(cloud, *acme, "eni", "show", "web-1")["association"] == row["association"]
    listed = cloud(*acme, "address", "list").stdout.splitlines()[1].split()
    assert listed == [made["address"], "elastic", "web", "acme", "acme/acme", "web-1", "10.44.12.4"]
    assert cloud("address", "audit").stdout == "every public address has exactly one holder, the recorded one\n"
    assert "DependencyViolation" in cloud(*acme, "igw", "delete", "out", code=1).stderr
    cloud(*acme, "address", "disassociate", row["association"])
    cloud(*acme, "address", "release", made["address"])
    cloud(*acme, "igw", "delete", "out")
    states = {
        route["target_id"][:3]: route["state"] for route in as_json(cloud, *acme, "route-table", "show", "acme/main")["routes"]
    }
    assert states["igw"] == "blackhole"


def test_ephemeral_addresses_are_listed_to_their_owner(cloud: Run) -> None:
    acme = ("--owner", "acme")
    cloud(*acme, "igw", "create", "out", "--vpc", "acme")
    cloud(*acme, "instance", "run", "open", "--subnet", "app", "--host", "hv1", "--public-address", "--no-wait")
    address = as_json(cloud, *acme, "instance", "show", "open")["public_address"]
    cloud(*acme, "address", "allocate", "--name", "web")
    kinds = {row["kind"]: row for row in as_json(cloud, *acme, "address", "list")}
    assert re.search(r"^vni +-$", cloud(*acme, "address", "show", "web").stdout, re.MULTILINE)  # it is not associated yet
    assert (set(kinds), kinds["ephemeral"]["address"]) == ({"elastic", "ephemeral"}, address)
    assert kinds["elastic"].keys() == kinds["ephemeral"].keys()
    (line,) = (line.split() for line in cloud(*acme, "address", "list").stdout.splitlines() if line.startswith(f"{address} "))
    assert line[1:] == ["ephemeral", "-", "acme", "acme/acme", "open", kinds["ephemeral"]["private_address"]]
    assert as_json(cloud, "--owner", "globex", "address", "list") == []
    (shown,) = (line.split() for line in cloud(*acme, "instance", "list").stdout.splitlines() if line.startswith("open "))
    assert address in shown


def test_another_customers_address_is_not_there(cloud: Run) -> None:
    made = as_json(cloud, "--owner", "acme", "address", "allocate", "--name", "web")
    globex = ("--owner", "globex")
    for name, code in (
        (made["address"], "InvalidAddress.NotFound"),
        (made["id"], "InvalidAllocationID.NotFound"),
        ("web", "InvalidAllocationID.NotFound"),
    ):
        for verb in ("show", "release", "disassociate"):
            assert code in cloud(*globex, "address", verb, name, code=1).stderr
    assert as_json(cloud, *globex, "address", "list") == []
    assert [row["owner"] for row in as_json(cloud, "address", "list")] == ["acme"]
    for words in (("address", "pool", "list"), ("address", "audit")):
        assert "UnauthorizedOperation" in cloud(*globex, *words, code=1).stderr


def test_instances_get_addresses_as_their_subnet_or_their_command_says(cloud: Run) -> None:
    subnet = "acme/acme/app"
    cloud("subnet", "modify", subnet, "--public-on-launch")
    assert as_json(cloud, "subnet", "show", subnet)["public_on_launch"] is True
    (public,) = as_json(cloud, "instance", "run", "a", "--subnet", subnet, "--no-wait")
    (private,) = as_json(cloud, "instance", "run", "b", "--subnet", subnet, "--no-public-address", "--no-wait")
    assert public["public_address"].startswith("198.51.100.")
    assert private["public_address"] == ""
    assert as_json(cloud, "address", "pool", "show", "p")["held"] == 1
    cloud("subnet", "modify", subnet, "--no-public-on-launch")
    cloud("instance", "terminate", "a")
    shown = as_json(cloud, "address", "pool", "show", "p")
    assert (shown["held"], shown["held_down"], shown["free"]) == (0, 1, 15)
    assert "--public-on-launch" in cloud("subnet", "modify", subnet, code=2).stderr


def test_an_export_has_it_all_but_addresses_without_a_name(cloud: Run, tmp_path: Path) -> None:
    cloud("igw", "create", "out", "--vpc", "acme")
    cloud("subnet", "modify", "acme/acme/app", "--public-on-launch")
    cloud("instance", "run", "a", "--subnet", "acme/acme/app", "--no-wait")
    cloud("instance", "run", "b", "--subnet", "acme/acme/app", "--no-public-address", "--no-wait")
    cloud("--owner", "acme", "address", "allocate", "--name", "web")
    cloud("--owner", "acme", "address", "associate", "web", "--instance", "b")
    file = tmp_path / "exported.yaml"
    file.write_text(cloud("export").stdout)
    assert "No changes" in cloud("plan", "-f", str(file)).stdout
    cloud("diff", "-f", str(file))
    nameless = as_json(cloud, "--owner", "acme", "address", "allocate")["address"]
    assert f"elastic IP addresses without a name are left out: {nameless}" in cloud("export", code=2).stderr
    customers = cloud("--owner", "globex", "export")
    assert customers.stderr == ""
    assert "elastic_ips" not in customers.stdout
    assert "address_pools" not in customers.stdout


def test_a_file_may_have_pools_and_leave_out_the_edges_that_there_are(cloud: Run, tmp_path: Path) -> None:
    file, saved = tmp_path / "pools.yaml", tmp_path / "saved"
    pool = "{name: q, pair: PAIR, cidrs: [203.0.113.0/26]}"
    host = "hosts: [{name: hv9, underlay: 192.0.2.99}]"
    file.write_text(f"{host}\naddress_pools: [{pool.replace('PAIR', 'west')}]\n")
    assert "cidrs + 203.0.113.0/26" in cloud("plan", "-f", str(file), "--out", str(saved), code=2).stdout
    assert "+    cidrs: [203.0.113.0/26]" in cloud("diff", "-f", str(file), code=2).stdout
    cloud("apply", str(saved), "--no-wait")
    assert as_json(cloud, "address", "pool", "show", "q")["cidrs"] == ["203.0.113.0/26"]
    cloud("diff", "-f", str(file))
    file.write_text(f"address_pools: [{pool.replace('PAIR', 'north')}]\n")
    assert "$.address_pools[0].pair: pair 'north' has no edges" in cloud("plan", "-f", str(file), code=65).stderr


def test_a_diff_shows_what_a_file_changes_of_addresses(cloud: Run, tmp_path: Path) -> None:
    cloud("igw", "create", "out", "--vpc", "acme")
    cloud("instance", "run", "a", "--subnet", "acme/acme/app", "--public-address", "--no-wait")
    file = tmp_path / "cloud.yaml"
    exported = cloud("export").stdout
    assert "public_address: true" in exported
    added = exported.replace("vpcs:", "elastic_ips:\n  - {name: web, owner: acme}\nvpcs:", 1)
    file.write_text(added.replace("public_address: true", "elastic_ip: web"))
    shown = cloud("diff", "-f", str(file), code=2).stdout.splitlines()
    changed = [line for line in shown if line[0] in "+-" and not line.startswith(("---", "+++"))]
    assert [line.replace(" ", "") for line in changed] == [
        "+elastic_ips:",
        "+-name:web",
        "+owner:acme",
        "-public_address:true",
        "+elastic_ip:web",
    ]
    said = cloud("plan", "-f", str(file), code=2).stdout
    assert re.search(r"elastic_ip web  public_address 198.51.100.\d+ -> none  \(connections through 198.51.100.\d+ end\)", said)
    assert "+  elastic-ip     acme/web" in said


def test_what_follows_packets_and_asks_who_reaches_whom_bears_a_route_to_a_gateway(cloud: Run) -> None:
    cloud("igw", "create", "out", "--vpc", "acme")
    cloud("route-table", "route", "add", "acme/acme/main", *DEFAULT)
    cloud("reach", "--matrix")
    cloud("trace", "acme/acme/web-1", "acme/acme/web-2")
    cloud("status", code=2)
    (row,) = as_json(cloud, "map", "list", "--vpc", "acme/acme", "--host", "hv1")
    assert row["address"] == "10.44.12.4"


def test_the_audit_says_what_does_not_agree(cloud: Run, tmp_path: Path) -> None:
    made = as_json(cloud, "--owner", "acme", "address", "allocate")
    with closing(SqliteStore(tmp_path / "db")) as store:
        store.txn((), [Delete(f"eip/acme/{made['id']}")])
    found = cloud("address", "audit", code=2).stdout
    assert f"alloc/eip/{made['address']}" in found
    assert "has leaked" in found
    assert f"alloc/eip/{made['address']}" in cloud("store", "check", code=2).stdout


def test_addresses_pools_and_gateways_are_completed(cloud: Run) -> None:
    cloud("igw", "create", "out", "--vpc", "acme")
    made = as_json(cloud, "--owner", "acme", "address", "allocate")
    assert names_of("eipalloc", {}) == [made["address"]]
    assert names_of("eipalloc", {"owner": "globex"}) == []
    assert names_of("pool", {}) == ["p"]
    assert names_of("igw", {}) == ["acme/out"]


def test_a_vpc_gets_an_ipv6_range_of_a_pool_and_leads_it_to_the_internet(cloud: Run, tmp_path: Path) -> None:
    acme = ("--owner", "acme")
    cloud("address", "pool", "add", "p", "2001:db8:100::/40")
    made = as_json(cloud, *acme, "vpc", "create", "six", "--cidr", "10.0.0.0/16", "--provided-ipv6", "--pool", "p")
    (cidr,) = made["ipv6_cidrs"]
    assert cidr.startswith("2001:db8:1")
    assert made["ipv6_pools"] == {cidr: "p"}
    pool = as_json(cloud, "address", "pool", "show", "p")
    assert (pool["addresses"], pool["ipv6_ranges"], pool["ipv6_held"], pool["ipv6_free"]) == (16, 65536, 1, 65535)
    cloud(*acme, "igw", "create", "out", "--vpc", "six")
    cloud(*acme, "route-table", "route", "add", "six/main", "::/0", "via", "igw")
    routes = as_json(cloud, *acme, "route-table", "show", "six/main")["routes"]
    assert {(route["destination"], route["state"]) for route in routes} >= {(cidr, "active"), ("::/0", "active")}
    assert "ipv6_cidrs: [provided]" in cloud("export").stdout
    text = f'vpcs: [{{name: six, owner: acme, cidrs: [10.0.0.0/16], ipv6_cidrs: ["{cidr}"], tags: {{a: b}}}}]'
    (tmp_path / "six.yaml").write_text(text)
    differing = [line for line in cloud("diff", "-f", str(tmp_path / "six.yaml"), code=2).stdout.splitlines() if line[0] in "+-"]
    assert any("a: b" in line for line in differing)
    assert not any("ipv6_cidrs" in line for line in differing)
    assert "--pool names the pool" in cloud("vpc", "associate-cidr", "six", "--pool", "p", code=2).stderr
    assert "give a CIDR, or use --provided-ipv6" in cloud("vpc", "associate-cidr", "six", code=2).stderr
    more = as_json(cloud, *acme, "vpc", "associate-cidr", "six", "--provided-ipv6")["ipv6_cidrs"][1]
    assert "is in address pool p" in cloud("vpc", "create", "b", "--cidr", "10.0.0.0/16", "--ipv6-cidr", more, code=1).stderr
    cloud(*acme, "vpc", "disassociate-cidr", "six", more)
    assert as_json(cloud, *acme, "vpc", "show", "six")["ipv6_cidrs"] == [cidr]
    assert cloud("address", "audit").stdout == "every public address has exactly one holder, the recorded one\n"


def test_mappings_of_all_three_kinds_are_listed(cloud: Run) -> None:
    cloud("igw", "create", "out", "--vpc", "acme")
    made = as_json(cloud, "--owner", "acme", "address", "allocate", "--name", "web")
    cloud("--owner", "acme", "address", "associate", "web", "--instance", "web-1")
    rows = as_json(cloud, "map", "list", "--vpc", "acme")
    found = [(row["address"].partition("-")[0], row["private_address"], row["host"], row["vtep"]) for row in rows]
    assert ("igw", "", "e21", "192.0.2.21") in found
    assert ("igw", "", "e22", "192.0.2.22") in found
    assert (made["address"], "10.44.12.4", "", "") in found
    assert [row["address"].partition("-")[0] for row in as_json(cloud, "map", "list", "--filter", "host=e21")] == ["igw"]


def test_status_has_a_line_for_each_edge(cloud: Run) -> None:
    cloud("igw", "create", "out", "--vpc", "acme")
    lines = cloud("status", code=2).stdout.splitlines()
    assert [line.split() for line in lines if line.startswith("e2") and "eth2" in line] == [
        [f"e{n}", "west", "1", "0", "not", "known", "-", UPLINK.format(n), "-"] for n in (21, 22)
    ]
    said = {host["name"]: host["edge"] for host in as_json_of(cloud, "status")["hosts"]}
    idle = {"gateways": 1, "left_by": [], "connections": 0, "no_port": 0, "proxy": None}
    assert said["e21"] == {"pair": "west", "uplink": UPLINK.format(21), **idle}
    assert said["hv1"] is None


def as_json_of(run: Run, *words: str) -> Any:  # noqa: ANN401 - JSON
    """Return the output of a command that reports a problem."""
    return json.loads(run(*words, "-o", "json", code=2).stdout)


def test_a_pool_of_private_addresses_is_made_with_a_note(cloud: Run, tmp_path: Path) -> None:
    note = "address pool {0}: {1} has private addresses ({2}), which the internet does not route\n"
    create = ("address", "pool", "create", "lab", "--pair", "west", "--cidr")
    assert cloud(*create, "10.0.0.0/24").stderr == f"warning: {note.format('lab', '10.0.0.0/24', 'RFC 1918')}"
    said = cloud("address", "pool", "add", "lab", "100.64.0.0/24", "203.0.113.0/24", "172.0.0.0/8").stderr
    expected = (("100.64.0.0/24", "RFC 6598"), ("172.0.0.0/8", "RFC 1918"))
    assert said == "".join(f"warning: {note.format('lab', *range)}" for range in expected)
    assert cloud("address", "pool", "add", "p", "192.0.2.128/25", "2001:db8:100::/40").stderr == ""
    (tmp_path / "pools.yaml").write_text("address_pools: [{name: new, pair: west, cidrs: [192.168.0.0/24, 198.51.100.128/25]}]\n")
    assert f"note: {note.format('new', '192.168.0.0/24', 'RFC 1918')}" in cloud("plan", "-f", "pools.yaml", code=2).stdout
    cloud("apply", "-f", "pools.yaml", "--yes")
    assert "note: address pool" not in cloud("plan", "-f", "pools.yaml").stdout
