"""`reach` with the prefixes at customers' sites as ends; it agrees with `trace` packet by packet."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from netorch.model.routing.effective import Origin
from tests.unit.diagnose.conftest import traced
from tests.unit.diagnose.vpn.conftest import BY_BGP, BY_VLAN, CLOUD, STATIC, Site

Line = tuple[str, str, str, str]  # from, to, services, code


def with_sites(site: Site) -> set[Line]:
    """Return the lines of the matrix with a site as an end."""
    flows = json.loads(site.run("reach", "--matrix", "--vpc", "shop", "-o", "json").stdout)
    lines = {(",".join(f["sources"]), ",".join(f["destinations"]), ";".join(f["services"]), f["code"]) for f in flows}
    return {line for line in lines if "on-prem" in f"{line[0]} {line[1]}"}


def label(site: Site, prefix: str) -> str:
    return f"on-prem {prefix} via {site.gateway.id}"


def test_what_edges_reach_is_an_end_of_interfaces_that_routes_lead_there(site: Site) -> None:
    there = {("a1", label(site, prefix), "all", "") for prefix in (STATIC, BY_BGP, BY_VLAN)}
    back = {(label(site, prefix), "a1", "tcp 443", "") for prefix in (STATIC, BY_BGP, BY_VLAN)}
    assert with_sites(site) == there | back
    site.run("route-table", "propagate", "alone")
    assert {line[0] for line in with_sites(site)} >= {"a2"}


def test_a_route_by_which_no_edge_reaches_anything_is_shown_as_one(site: Site) -> None:
    site.run("route-table", "route", "add", "alone", "172.16.0.0/16", "vgw")
    nothing = label(site, "172.16.0.0/16")
    found = {line for line in with_sites(site) if nothing in line}
    assert found == {("a2", nothing, "all", "BAD_STATE_ROUTE"), (nothing, "a2", "tcp 443", "BAD_STATE_ROUTE")}


def test_rules_tell_parts_of_a_site_apart(site: Site) -> None:
    site.run("sg", "rule", "add", "web", "ingress", "tcp", "22", "--source", "172.20.7.0/24")
    part = label(site, "172.20.7.0/24")
    assert {line for line in with_sites(site) if part in line} == {(part, "a1", "tcp 22,443", "")}
    for source, code in (("172.20.7.7", 0), ("172.20.8.8", 2)):
        assert traced(site.run, source, "a1", "tcp/22", code=code)["reachable"] is (code == 0)


@pytest.mark.parametrize("instance", ["a1", "a2"])
def test_reach_says_what_trace_finds(site: Site, instance: str) -> None:
    site.run("route-table", "route", "add", "alone", STATIC, "vgw")
    site.reach("e2", (BY_VLAN, Origin.DIRECT_CONNECT))
    opened = {line[1] for line in with_sites(site) if line[0] == instance and not line[3]}
    for prefix in (STATIC, BY_BGP, BY_VLAN):
        inside = prefix.replace(".0.0/16", ".9.9")
        reachable = label(site, prefix) in opened
        assert traced(site.run, instance, inside, code=0 if reachable else 2)["reachable"] is reachable


def test_a_file_that_lets_a_table_learn_opens_flows_with_sites(site: Site, tmp_path: Path) -> None:
    (tmp_path / "vpc.yaml").write_text(CLOUD.replace("{name: alone}", "{name: alone, propagate: true}"))
    changes = json.loads(site.run("reach", "--diff", "-f", "vpc.yaml", "-o", "json", code=2).stdout)
    assert all(change["opened"] for change in changes)
    ends = {(",".join(c["flows"]["sources"]), ",".join(c["flows"]["destinations"])) for c in changes}
    sites = [label(site, prefix) for prefix in (STATIC, BY_BGP, BY_VLAN)]
    assert ends == {pair for end in sites for pair in (("a2", end), (end, "a2"))}
