"""A kernel whose flowtables are not those of the records: what `netorch trace` says about later packets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from netorch.diagnose import sites
from netorch.diagnose.later import compare_flowtables, why_judged
from netorch.model.eni import Host, Role, VpcStatus
from netorch.model.ids import port_name
from netorch.model.status import AgentRun
from netorch.records import keys
from netorch.records.codec import encode
from netorch.records.hosts import HostState
from netorch.records.inventory import Inventory, read_inventory
from netorch.state.base import OVERLAY
from netorch.state.nft import FlowtableDevice
from netorch.store.base import Put
from netorch.store.sqlite.store import SqliteStore
from netorch.trace.host_model import HostModel
from tests.unit.cli.conftest import Run
from tests.unit.policy.small import A, B, tcp
from tests.unit.trace.test_later import asked_of
from tests.unit.trace.test_walk import ALL, asked, compiled

CLOUD: Final = """
hosts:
- {name: hv1, underlay: 192.0.2.11}
- {name: hv2, underlay: 192.0.2.12}
vpcs:
- name: shop
  owner: acme
  vni: 4097
  cidrs: [10.0.0.0/16]
  route_tables: [{name: other}]
  security_groups: [{name: web, ingress: [{protocol: all, source: 10.0.0.0/16}]}]
  subnets: [{name: app, cidr: 10.0.1.0/24}, {name: back, cidr: 10.0.2.0/24, route_table: other}]
  instances:
  - {name: a, host: hv1, subnet: app, address: 10.0.1.4, security_groups: [web]}
  - {name: b, host: hv2, subnet: app, address: 10.0.1.5, security_groups: [web]}
  - {name: c, host: hv1, subnet: back, address: 10.0.2.4, security_groups: [web]}
"""
# Instances behind whose packets rules stand: see the test.
JUDGED: Final = """
hosts:
- {name: hv1, underlay: 192.0.2.11}
- {name: hv2, underlay: 192.0.2.12}
vpcs:
- name: shop
  owner: acme
  cidrs: [10.0.0.0/16]
  route_tables: [{name: other}, {name: inspected, routes: [10.0.1.0/24 via eni fw]}]
  security_groups: [{name: web, ingress: [{protocol: all, source: 10.0.0.0/8}]}]
  subnets:
  - {name: app, cidr: 10.0.1.0/24}
  - {name: back, cidr: 10.0.2.0/24, route_table: other}
  - {name: inside, cidr: 10.0.3.0/24, route_table: inspected}
  - {name: fire, cidr: 10.0.4.0/24}
  instances:
  - {name: a, host: hv1, subnet: app, security_groups: [web]}
  - {name: b, host: hv2, subnet: app, security_groups: [web]}
  - {name: c, host: hv1, subnet: back, security_groups: [web]}
  - {name: in, host: hv2, subnet: inside, security_groups: [web]}
  - {name: fw, host: hv1, subnet: fire, security_groups: [web], source_dest_check: false}
  peerings: [{name: to-stock, peer: stock}]
- name: stock
  owner: acme
  cidrs: [10.1.0.0/16]
  security_groups: [{name: web, ingress: [{protocol: all, source: 10.0.0.0/8}]}]
  subnets: [{name: app, cidr: 10.1.1.0/24}]
  instances:
  - {name: here, host: hv1, subnet: app, security_groups: [web]}
  - {name: there, host: hv2, subnet: app, security_groups: [web]}
"""
SLOW: Final = "on hv1 rules judge later packets that a flowtable should forward; the packets arrive, but more slowly"


@pytest.fixture
def cloud(quick: Run, tmp_path: Path) -> Run:
    """Return the command line of a cloud whose kernels are not on this machine."""
    (tmp_path / "vpc.yaml").write_text(CLOUD)
    quick("apply", "-f", "vpc.yaml", "--yes", "--no-wait")
    return quick


@pytest.fixture
def drifted(cloud: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return the same with kernels that hold what the records want, except that a's port is in no flowtable."""
    with closing(SqliteStore(tmp_path / "db")) as store:
        port = port_name(read_inventory(store).vpcs[4097].mappings["10.0.1.4"].record.eni)

    def dumped(hosts: list[str], desired: Mapping[str, HostModel]) -> dict[str, HostModel]:
        missing = ("nft-flowtable-device", OVERLAY, port)
        found = {host: desired[host].objects for host in hosts}
        return {host: HostModel(host, {key: obj for key, obj in kept.items() if key != missing}) for host, kept in found.items()}

    monkeypatch.setattr(sites, "is_here", lambda _: True)
    monkeypatch.setattr(sites, "dumped", dumped)
    return cloud


def put(path: Path, key: str, record: VpcStatus | AgentRun) -> None:
    """Write what hv1's agent would."""
    with closing(SqliteStore(path / "db")) as store:
        store.txn([], [Put(key, encode(record))])


def test_the_host_whose_kernel_lacks_a_flowtable_is_named_and_each_place_has_a_line(drifted: Run) -> None:
    done = drifted("trace", "a", "b", "tcp/5432", code=2)
    assert done.stderr == f"DISAGREEMENT: {SLOW}: drift (`netorch drift --host hv1`) or a bug in netorch\n"
    head, *rows = done.stdout.partition("later packets from a to b, once both ends have sent some:\n")[2].splitlines()[:10]
    assert head.split() == ["HOST", "PLACE", "WHAT", "MODEL", "KERNEL"]
    assert [(*row.split()[1:3], *row.split()[-2:]) for row in rows] == [
        ("hv1", "port", "pass", "pass"),
        ("hv1", "flowtable", "pass", "-"),
        ("hv1", "zone", "-", "pass"),
        ("hv1", "route", "-", "pass"),
        ("hv1", "policy", "-", "pass"),
        ("hv1", "tunnel", "pass", "pass"),
        ("hv2", "verify", "pass", "pass"),
        ("hv2", "flowtable", "pass", "pass"),
        ("hv2", "delivery", "pass", "pass"),
    ]


def test_packets_are_only_slower_where_a_running_agent_reports_the_vpc_as_degraded(drifted: Run, tmp_path: Path) -> None:
    put(tmp_path, keys.vpc_status("hv1", 4097), VpcStatus(reason="the kernel refuses it"))
    assert "DISAGREEMENT" in drifted("trace", "a", "b", "tcp/5432", code=2).stderr  # no agent tries again
    put(tmp_path, keys.host_live("hv1"), AgentRun(run="1"))
    done = drifted("trace", "a", "b", "tcp/5432")
    said = f"slower than by the records: {SLOW} (the VPC is degraded there: the kernel refuses it); see `netorch status`\n"
    assert said in done.stdout
    assert done.stderr == ""


def test_a_flowtable_that_the_records_do_not_want_is_a_disagreement() -> None:
    later = asked(ALL, tcp(A, B)).later
    judged = asked(ALL, tcp(A, B)).there
    found = compare_flowtables(Inventory(0), judged, later)
    assert (found.hosts, found.is_reported) == (("hv1", "hv2"), False)
    assert found.text.startswith("on hv1 a flowtable forwards later packets that rules should judge; on hv2 ")
    assert compare_flowtables(Inventory(0), later, later).text == compare_flowtables(Inventory(0), later, None).text == ""


def test_the_heading_says_what_is_shown(cloud: Run) -> None:
    alone = "(by the records alone; for the kernels, run `netorch flows` on hv1, hv2):\n"
    assert f"later packets from a to b, once both ends have sent some {alone}" in cloud("trace", "a", "b", "tcp/5432").stdout
    out = cloud("trace", "b", "a", "udp/53").stdout
    assert "later packets from b to a, once both ends have sent some and two seconds have passed (by the records" in out


@pytest.fixture
def judged(quick: Run, tmp_path: Path) -> Run:
    """Return the command line of a cloud where rules judge the packets of some connections."""
    (tmp_path / "vpc.yaml").write_text(JUDGED)
    quick("apply", "-f", "vpc.yaml", "--yes", "--no-wait")
    (peering,) = json.loads(quick("peering", "list", "-o", "json").stdout)
    for vpc, peer in (("shop", "10.1.0.0/16"), ("stock", "10.0.0.0/16")):
        quick("route-table", "route", "add", f"{vpc}/main", peer, "via", peering["id"])
    return quick


@pytest.mark.parametrize(
    ("source", "destination", "said"),
    [
        ("shop/a", "shop/c", "both ends are on hv1, and not both in the VPC's first VRF, vrf4097"),
        ("shop/a", "stock/here", "the ends are in peered VPCs"),
        ("shop/a", "stock/there", "the ends are in peered VPCs"),
        ("shop/in", "shop/a", "an appliance is on their way"),
    ],
)
def test_where_no_flowtable_forwards_them_the_reason_is_told(judged: Run, source: str, destination: str, said: str) -> None:
    out = judged("trace", source, destination, "tcp/5432").stdout
    text = f"later packets from {source} to {destination}: rules judge each of them; no flowtable forwards them: {said}\n"
    assert text in out


def test_the_host_where_only_rules_forward_them_is_told_with_the_reason(judged: Run) -> None:
    out = judged("trace", "shop/fw", "shop/b", "tcp/5432").stdout
    later = out.partition("later packets from shop/fw to shop/b, once both ends have sent some")[2]
    assert [line.split()[2] for line in later.splitlines()[2:11]] == [
        *("port", "zone", "route", "policy", "tunnel"),
        *("verify", "flowtable", "delivery", "rules"),
    ]
    assert "\non hv1 rules judge each of them: the end on hv1 has no source/destination check\n" in later
    said = json.loads(judged("trace", "shop/fw", "shop/b", "tcp/5432", "-o", "json").stdout)
    assert said["later"]["judged_on"] == {"hv1": "the end on hv1 has no source/destination check"}


def test_flowtables_forward_no_other_protocols(judged: Run) -> None:
    said = "later packets from shop/a to shop/b: rules judge each of them; flowtables forward TCP and UDP only\n"
    assert said in judged("trace", "shop/a", "shop/b").stdout
    router = judged("trace", "shop/a", "10.0.1.1").stdout
    assert "later packets" not in router
    assert "permitted by" not in router


def test_what_the_host_itself_answers_meets_no_rules(judged: Run) -> None:
    out = judged("trace", "shop/a", "169.254.169.253", "udp/53").stdout
    said = "hv1 itself answers each of them; groups, ACLs and flowtables do not apply"
    assert f"later packets from shop/a to 169.254.169.253: {said}\n" in out


def test_a_vpc_without_a_flowtable_is_told_and_an_edge_never_has_one() -> None:
    objects = {
        host: {key: obj for key, obj in found.items() if not isinstance(obj, FlowtableDevice)}
        for host, found in compiled(ALL).items()
    }
    host_models = {host: HostModel(host, found) for host, found in objects.items()}
    trip = asked_of(objects, tcp(A, B))
    hosts = [Host(name="hv1", underlay="192.0.2.11"), Host(name="hv2", underlay="192.0.2.12", role=Role.EDGE)]
    inventory = Inventory(0)
    inventory.hosts = {host.name: HostState(host=host, mod_revision=1) for host in hosts}
    assert why_judged(inventory, host_models, trip, ()) == {"hv1": "the VPC has no flowtable on hv1"}
