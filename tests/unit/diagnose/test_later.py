"""A kernel whose flowtables are not those of the records: what `netorch trace` says about later packets."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from netorch.diagnose import sites
from netorch.diagnose.later import compare_flowtables
from netorch.model.eni import VpcStatus
from netorch.model.ids import port_name
from netorch.model.status import AgentRun
from netorch.records import keys
from netorch.records.codec import encode
from netorch.records.inventory import Inventory, read_inventory
from netorch.state.base import OVERLAY
from netorch.store.base import Put
from netorch.store.sqlite.store import SqliteStore
from netorch.trace.host_model import HostModel
from tests.unit.cli.conftest import Run
from tests.unit.policy.small import A, B, tcp
from tests.unit.trace.test_walk import ALL, asked

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


def test_the_heading_says_what_is_shown_and_where_no_flowtable_is_why(cloud: Run) -> None:
    alone = "(by the records alone; of the kernels: `netorch flows` on hv1, hv2):\n"
    assert f"later packets from a to b, once both ends have sent some {alone}" in cloud("trace", "a", "b", "tcp/5432").stdout
    out = cloud("trace", "b", "a", "udp/53").stdout
    assert "later packets from b to a, once both ends have sent some and two seconds have passed (by the records" in out
    said = 'no flowtable forwards them (why: docs/design/policy.md, "Offloaded connections", "A slow connection")\n'
    assert f"later packets from a to c: rules judge each of them; {said}" in cloud("trace", "a", "c", "tcp/5432").stdout
