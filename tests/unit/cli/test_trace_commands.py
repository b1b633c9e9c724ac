"""`trace` and `reach` for their users, on a machine that is none of the hosts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from netorch.model.status import AgentStatus
from netorch.records import keys
from netorch.store.base import Put
from netorch.store.sqlite.store import SqliteStore
from tests.unit.cli.conftest import Run

CLOUD = """
hosts:
  - {name: hv1, underlay: 192.0.2.11}
  - {name: hv2, underlay: 192.0.2.12}
vpcs:
  - name: acme
    owner: acme
    cidrs: [10.44.0.0/16]
    security_groups:
      - name: web
        ingress:
          - {protocol: tcp, ports: 443, source: 0.0.0.0/0}
      - name: db
        ingress:
          - {protocol: tcp, ports: 5432, source: sg-web}
    network_acls:
      - name: strict
        ingress:
          - {rule: 100, action: deny, protocol: udp, cidr: 0.0.0.0/0}
          - {rule: 200, action: allow, protocol: all, cidr: 0.0.0.0/0}
        egress:
          - {rule: 100, action: allow, protocol: all, cidr: 0.0.0.0/0}
    subnets:
      - {name: app, cidr: 10.44.12.0/24}
      - {name: db, cidr: 10.44.13.0/24, network_acl: strict}
    instances:
      - {name: web-1, subnet: app, host: hv1, address: 10.44.12.4, security_groups: [web]}
      - {name: web-2, subnet: app, host: hv2, address: 10.44.12.5, security_groups: [web]}
      - {name: db-1, subnet: db, host: hv2, address: 10.44.13.4, security_groups: [db]}
  - name: globex
    owner: globex
    cidrs: [10.44.0.0/16]
    subnets:
      - {name: app, cidr: 10.44.12.0/24}
    instances:
      - {name: lone, subnet: app, host: hv1, address: 10.44.12.4}
"""


@pytest.fixture
def cloud(run: Run, tmp_path: Path) -> Path:
    path = tmp_path / "vpc.yaml"
    path.write_text(CLOUD)
    run("apply", "--yes", "--no-wait")
    return path


@pytest.mark.usefixtures("cloud")
def test_a_trace_tells_the_rules_and_leaves_with_0_when_the_packet_arrives(run: Run) -> None:
    out = run("trace", "web-1", "db-1", "tcp/5432").stdout
    assert "ingress: ACL strict entry 200, group db sgr-" in out
    assert "kernel: not on this machine: hv1, hv2" in out
    assert "host hv1: its agent is not running" in out
    assert "REACHABLE: web-1 -> db-1, permitted by sgr-" in out
    later = out.partition("later packets from web-1 to db-1, once both ends have sent some ")[2]
    assert [line.split()[1:3] for line in later.splitlines()[2:8]] == [
        ["hv1", "port"],
        ["hv1", "flowtable"],
        ["hv1", "tunnel"],
        ["hv2", "verify"],
        ["hv2", "flowtable"],
        ["hv2", "delivery"],
    ]


@pytest.mark.usefixtures("cloud")
@pytest.mark.parametrize(
    ("destination", "service", "code", "fix"),
    [
        ("db-1", "tcp/22", "ENI_SG_RULES_MISMATCH", "netorch sg rule add acme/acme/db ingress tcp 22 --source sg-web"),
        ("db-1", "icmp", "ENI_SG_RULES_MISMATCH", "netorch sg rule add acme/acme/db ingress icmp 8/0 --source sg-web"),
        ("db-1", "47", "ENI_SG_RULES_MISMATCH", "netorch sg rule add acme/acme/db ingress 47 --source sg-web"),
        (
            "db-1",
            "udp/53",
            "SUBNET_ACL_RESTRICTION",
            "netorch nacl rule add acme/acme/strict ingress 99 allow udp 53 --cidr 10.44.12.4/32",
        ),
        ("10.44.12.99", "icmp", "NO_MAPPING", "see which interface has which address: netorch map list --vpc acme/acme"),
        (
            "198.51.100.1",
            "icmp",
            "NO_ROUTE_TO_DESTINATION",
            "add a route, or choose an address that has one: netorch route-table list --vpc acme/acme",
        ),
        ("lone", "icmp", "DIFFERENT_VPCS", ""),
    ],
)
def test_a_packet_that_dies_has_a_code_and_a_fix(run: Run, destination: str, service: str, code: str, fix: str) -> None:
    said = json.loads(run("trace", "web-1", destination, service, "-o", "json", code=2).stdout)
    assert (said["reachable"], said["code"], said["fix"]) == (False, code, fix)


@pytest.mark.usefixtures("cloud")
def test_an_answer_that_an_acl_refuses_is_no_way_back(run: Run) -> None:
    run("nacl", "rule", "remove", "acme/strict", "egress", "100")
    said = json.loads(run("trace", "web-1", "db-1", "tcp/5432", "-o", "json", code=2).stdout)
    assert (said["reachable"], said["code"]) == (False, "SUBNET_ACL_RESTRICTION")
    assert said["sentence"].startswith("10.44.13.4 is reached, but its answer is lost on host hv2: network ACL strict denies")
    assert said["fix"] == "netorch nacl rule add acme/acme/strict egress 10 allow tcp 1024-65535 --cidr 10.44.12.4/32"
    run(*said["fix"].removeprefix("netorch ").split())
    run("trace", "web-1", "db-1", "tcp/5432")


@pytest.mark.usefixtures("cloud")
def test_the_command_of_a_fix_makes_the_packet_arrive(run: Run) -> None:
    for service in ("tcp/22", "udp/53", "udp/53", "icmp", "47"):  # the ACL rejects udp first, then the group
        said = json.loads(run("trace", "web-1", "db-1", service, "-o", "json", code=2).stdout)
        run(*said["fix"].split()[1:])
    for service in ("tcp/22", "udp/53", "icmp", "47"):
        run("trace", "web-1", "db-1", service)


@pytest.mark.usefixtures("cloud")
def test_the_other_versions_icmp_is_refused(run: Run) -> None:
    assert "trace: protocol 58 does not exist in IPv4" in run("trace", "web-1", "db-1", "58", code=1).stderr


@pytest.mark.usefixtures("cloud")
@pytest.mark.parametrize("service", ["tcp", "tcp/65536", "http", "icmp/8", "256", "47/1", "udp/-1"])
def test_a_service_that_is_none_is_refused(run: Run, service: str) -> None:
    assert f"{service!r} is not a service" in run("trace", "web-1", "db-1", service, code=1).stderr


@pytest.mark.usefixtures("cloud")
@pytest.mark.parametrize("destination", ["web-1", "10.44.12.4"])
def test_a_trace_of_an_instance_to_itself_is_refused(run: Run, destination: str) -> None:
    assert "one interface" in run("trace", "web-1", destination, "tcp/443", code=1).stderr


@pytest.mark.usefixtures("cloud")
@pytest.mark.parametrize("destination", ["127.0.0.1", "0.0.0.0", "::1", "::"])
def test_a_trace_to_an_address_that_every_machine_has_is_refused(run: Run, destination: str) -> None:
    assert f"{destination} is an address of the sender itself" in run("trace", "web-1", destination, "tcp/443", code=1).stderr


@pytest.mark.usefixtures("cloud")
def test_an_interface_that_is_not_attached_is_said_to_be_so(run: Run) -> None:
    eni = json.loads(run("eni", "create", "--subnet", "acme/app", "-o", "json").stdout)["id"]
    assert "INTERFACE_NOT_ATTACHED" in run("trace", "web-1", eni, code=2).stdout


@pytest.mark.usefixtures("cloud")
def test_the_matrix_has_every_open_flow_and_no_other(run: Run) -> None:
    rows = json.loads(run("reach", "--matrix", "--vpc", "acme", "-o", "json").stdout)
    assert {(*row["sources"], "->", *row["destinations"], *row["services"]) for row in rows} == {
        ("web-1", "web-2", "->", "web-1", "web-2", "tcp 443"),
        ("web-1", "web-2", "->", "db-1", "tcp 5432"),
        ("db-1", "->", "web-1", "web-2", "tcp 443"),
    }


def test_a_file_that_changes_no_flow_leaves_with_0(run: Run, cloud: Path) -> None:
    cloud.write_text(CLOUD.replace("name: acme\n    owner", "name: acme\n    tags: {stage: test}\n    owner"))
    assert run("reach", "--diff", "-f", str(cloud)).stdout == "The file opens and closes no flow.\n"
    assert run("reach", "--diff", "-f", str(cloud), "--vpc", "acme").stdout == "The file opens and closes no flow.\n"
    assert "VPC 'acmee': does not exist" in run("reach", "--diff", "-f", str(cloud), "--vpc", "acmee", code=1).stderr


def test_a_file_that_changes_flows_tells_them_and_changes_nothing(run: Run, cloud: Path) -> None:
    cloud.write_text(CLOUD.replace("ports: 443", "ports: 440-442").replace("ports: 5432", "ports: 5432-5433"))
    out = run("reach", "--diff", "-f", str(cloud), code=2).stdout
    assert "+ acme/acme  web-1, web-2 -> db-1: tcp 5433\n" in out
    assert "+ acme/acme  db-1 -> web-1, web-2: tcp 440-442\n" in out
    assert "- acme/acme  db-1 -> web-1, web-2: tcp 443\n" in out
    assert "5432" not in out
    assert run("trace", "web-2", "web-1", "tcp/443")


def test_an_instance_that_a_file_takes_away_loses_its_flows(run: Run, cloud: Path) -> None:
    line = next(line for line in CLOUD.splitlines() if "name: web-2" in line)
    cloud.write_text(CLOUD.replace(line + "\n", ""))
    out = run("reach", "--diff", "-f", str(cloud), code=2).stdout
    assert sorted(out.splitlines()) == [
        "- acme/acme  db-1 -> web-2: tcp 443",
        "- acme/acme  web-1 -> web-2: tcp 443",
        "- acme/acme  web-2 -> db-1: tcp 5432",
        "- acme/acme  web-2 -> web-1: tcp 443",
    ]


ANSWERS = "          - {rule: 100, action: allow, protocol: tcp, ports: 32768-60999, cidr: 0.0.0.0/0}\n"
ALL_OUT = "          - {rule: 100, action: allow, protocol: all, cidr: 0.0.0.0/0}\n"


def test_a_flow_whose_answers_are_let_back_to_some_ports_only_is_partly_open(run: Run, cloud: Path) -> None:
    cloud.write_text(CLOUD.replace(ALL_OUT, ANSWERS))
    out = run("reach", "--diff", "-f", str(cloud), code=2).stdout
    ports = "(partly: answers only to ports 1024-32767,61000-65535)"
    assert f"- acme/acme  web-1, web-2 -> db-1: tcp 5432 {ports}\n" in out
    assert "- acme/acme  db-1 -> web-1, web-2: tcp 443\n" in out  # packets from db-1 to port 443 are rejected
    assert "1 of 2 lines: partly open" in out
    run("apply", "--yes", "--no-wait")
    told = run("reach", "--matrix", "--vpc", "acme").stdout
    assert "tcp 5432 (partly: answers only to ports 32768-60999)" in told
    assert "1 of 2 lines: partly open" in told
    rows = json.loads(run("reach", "--matrix", "--vpc", "acme", "-o", "json").stdout)
    assert [(row["services"], row["answers"]) for row in rows if row["destinations"] == ["db-1"]] == [
        (["tcp 5432"], "32768-60999")
    ]


def test_a_gate_sees_a_flow_that_a_file_opens_for_common_ports_only(run: Run, cloud: Path) -> None:
    cloud.write_text(CLOUD.replace("        egress:\n" + ALL_OUT, ""))
    run("apply", "--yes", "--no-wait")
    cloud.write_text(CLOUD.replace(ALL_OUT, ANSWERS))
    out = run("reach", "--diff", "-f", str(cloud), code=2).stdout
    assert "+ acme/acme  web-1, web-2 -> db-1: tcp 5432 (partly: answers only to ports 32768-60999)\n" in out


@pytest.fixture
def edges(run: Run, cloud: Path) -> Run:
    """Add a pair of edges, with a pool of public addresses."""
    assert cloud
    for number in (21, 22):
        uplink = f"eth2,198.18.0.{number}/24,198.18.0.254,2001:db8:1::{number}/64,2001:db8:1::fe"
        words = ("--role", "edge", "--pair", "west", "--uplink", uplink)
        run("host", "create", f"e{number}", "--underlay", f"192.0.2.{number}", *words)
    run("address", "pool", "create", "p", "--pair", "west", "--cidr", "198.51.100.0/28")
    return run


def repaired(run: Run, *words: str, codes: Sequence[str]) -> None:
    """Trace, and run the commands of each fix until the packet arrives; `codes` are the expected reasons in turn."""
    for code in codes:
        said = json.loads(run("trace", *words, "-o", "json", code=2).stdout)
        assert said["code"] == code
        for command in said["fix"].split(" && "):
            run(*command.split()[1:])
    run("trace", *words)


OUT = ("NO_ROUTE_TO_DESTINATION", "IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS")


def test_the_commands_of_the_fixes_lead_to_the_internet(edges: Run) -> None:
    repaired(edges, "web-1", "internet", "tcp/443", codes=OUT)
    repaired(edges, "internet", "web-1", "tcp/443", codes=())
    repaired(edges, "internet", "web-1", "udp/53", codes=("ENI_SG_RULES_MISMATCH",))
    said = json.loads(edges("trace", "internet", "web-1", "udp/54", "-o", "json", code=2).stdout)
    assert said["fix"] == "netorch sg rule add acme/acme/web ingress udp 54 --source 0.0.0.0/0"


def test_the_commands_of_the_fixes_lead_from_the_internet(edges: Run) -> None:
    codes = ("IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS", "NO_ROUTE_TO_DESTINATION")
    repaired(edges, "internet", "web-2", "tcp/443", codes=codes)


def test_a_route_to_a_gateway_that_is_gone_is_replaced(edges: Run) -> None:
    repaired(edges, "web-1", "internet", codes=OUT)
    edges("address", "disassociate", "web-1")
    edges("igw", "delete", "acme")
    said = json.loads(edges("trace", "internet", "web-1", "-o", "json", code=2).stdout)
    assert said["code"] == "IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS"
    repaired(edges, "web-1", "internet", codes=("BAD_STATE_ROUTE", *OUT[1:]))


def test_the_answer_by_another_edge_is_told_in_a_line(edges: Run) -> None:
    repaired(edges, "web-1", "internet", codes=OUT)
    out = edges("trace", "web-1", "internet").stdout
    assert "the answer, if it comes through e21:" in out
    assert "the answer, if it comes through e22, arrives" in out
    assert "source 10.44.12.4 becomes 198.51.100." in out
    assert "REACHABLE: web-1 -> internet, permitted by sgr-" in out


def test_ends_outside_that_lead_nowhere_are_told(edges: Run) -> None:
    said = json.loads(edges("trace", "internet", "198.51.100.9", "-o", "json", code=2).stdout)
    assert said["code"] == "IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS"
    assert "both ends are on the internet" in edges("trace", "internet", "internet", code=1).stderr
    repaired(edges, "web-1", "internet", codes=OUT)
    (address,) = json.loads(edges("address", "list", "-o", "json").stdout)
    theirs = json.loads(edges("--owner", "globex", "trace", "internet", address["address"], "-o", "json", code=2).stdout)
    nobodys = json.loads(edges("--owner", "globex", "trace", "internet", "198.51.100.9", "-o", "json", code=2).stdout)
    assert theirs["sentence"] == nobodys["sentence"].replace("198.51.100.9", address["address"])


@pytest.mark.usefixtures("cloud")
def test_where_no_edge_is_the_operator_is_to_be_asked(run: Run) -> None:
    said = json.loads(run("trace", "internet", "web-1", "-o", "json", code=2).stdout)
    assert said["fix"].startswith("ask the operator for a pair of edges")


def internet_flows(run: Run) -> list[tuple[list[str], list[str], list[str], str]]:
    """Return the lines of the matrix with the internet as an end."""
    flows = json.loads(run("reach", "--matrix", "--vpc", "acme", "-o", "json").stdout)
    lines = [(flow["sources"], flow["destinations"], flow["services"], flow.get("code", "")) for flow in flows]
    return [line for line in lines if any(name.startswith("internet") for name in (*line[0], *line[1]))]


def test_the_matrix_has_the_internet_as_an_end_where_a_gateway_and_public_addresses_are(edges: Run) -> None:
    assert internet_flows(edges) == []
    repaired(edges, "web-1", "internet", codes=OUT)
    out, into = (["web-1"], ["internet"], ["all"], ""), (["internet"], ["web-1"], ["tcp 443"], "")
    assert internet_flows(edges) == [out, into]
    edges("sg", "rule", "add", "acme/web", "ingress", "tcp", "22", "--source", "203.0.113.0/24")
    assert internet_flows(edges) == [out, into, (["internet 203.0.113.0/24"], ["web-1"], ["tcp 22,443"], "")]
    edges("sg", "rule", "remove", "acme/web", "ingress", "tcp", "22", "--source", "203.0.113.0/24")
    edges("route-table", "route", "replace", "acme/main", "0.0.0.0/0", "via", "blackhole")
    assert {line[3] for line in internet_flows(edges)} == {"BAD_STATE_ROUTE"}


def test_a_file_that_opens_something_to_the_internet_is_told(edges: Run, tmp_path: Path) -> None:
    repaired(edges, "web-1", "internet", codes=OUT)
    (tmp_path / "vpc.yaml").write_text(edges("export").stdout.replace("ports: 443", "ports: 444"))
    out = edges("reach", "--diff", code=2).stdout
    assert "+ acme/acme  internet -> web-1: tcp 444" in out
    assert "- acme/acme  internet -> web-1: tcp 443" in out
    assert "web-1 -> internet" not in out


def test_ipv6_addresses_of_a_pool_are_traced_to_the_internet_and_from_there(edges: Run) -> None:
    edges("address", "pool", "add", "p", "2001:db8:100::/40")
    made = json.loads(edges("vpc", "create", "six", "--cidr", "10.0.0.0/16", "--provided-ipv6", "-o", "json").stdout)
    (cidr,) = made["ipv6_cidrs"]
    edges("subnet", "create", "app", "--vpc", "six", "--cidr", "10.0.0.0/24", "--ipv6-cidr", cidr.replace("/56", "/64"))
    edges("instance", "run", "i6", "--subnet", "six/app", "--host", "hv1", "--no-wait")
    edges("igw", "create", "six", "--vpc", "six")
    said = json.loads(edges("trace", "i6", "2001:db8:99::10", "-o", "json", code=2).stdout)
    assert said["code"] == "NO_ROUTE_TO_DESTINATION"
    edges("route-table", "route", "add", "six/main", "::/0", "via", "igw")
    edges("trace", "i6", "2001:db8:99::10")
    (eni,) = json.loads(edges("eni", "list", "--vpc", "six", "-o", "json").stdout)
    assert "ENI_SG_RULES_MISMATCH" in edges("trace", "2001:db8:99::10", eni["ipv6_address"], code=2).stdout
    edges("sg", "rule", "add", "six/default", "ingress", "all", "--source", "::/0")
    edges("trace", "2001:db8:99::10", eni["ipv6_address"])


def test_a_host_that_hears_no_edge_reaches_no_internet(edges: Run, tmp_path: Path) -> None:
    repaired(edges, "web-1", "internet", codes=OUT)
    for silent, code in ((("192.0.2.21",), ""), (("192.0.2.21", "192.0.2.22"), "NO_EDGE_ANSWERS")):
        status = AgentStatus(version="1", pid=1, started_at=0.0, silent=silent)
        with closing(SqliteStore(tmp_path / "db")) as store:
            store.txn([], [Put(keys.agent_status("hv1"), msgspec.json.encode(status))])
        said = json.loads(edges("trace", "web-1", "internet", "-o", "json", code=2 if code else 0).stdout)
        assert said["code"] == code
        if not code:
            assert {hop["host"] for hop in said["model"]["hops"]} == {"hv1", "e22"}
