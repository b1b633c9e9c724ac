"""`trace` to and from customers' sites: the edge and the tunnel or VLAN, and the reasons that stop a packet."""

from __future__ import annotations

from typing import Any

import pytest

from netorch.model.routing.effective import Origin
from netorch.model.status import TunnelStatus, VifStatus
from tests.unit.diagnose.conftest import traced
from tests.unit.diagnose.vpn.conftest import STATIC, UP, Site


def last(said: dict[str, Any]) -> dict[str, Any]:
    """Return the last hop before the reply."""
    found: dict[str, Any] = said["model"]["hops"][-1]
    return found


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("192.168.7.7", "left by tunnel {} of VPN connection office to 203.0.113.80"),
        ("172.20.7.7", "left by tunnel {} of VPN connection branch to 203.0.113.81"),
        ("10.44.7.7", "left by virtual interface dc, VLAN 101 of eth3"),
    ],
)
def test_a_packet_leaves_by_the_edge_that_reaches_it_and_the_answer_comes_by_any(site: Site, address: str, words: str) -> None:
    said = traced(site.run, "a1", address)
    assert (said["reachable"], said["disagreement"]) == (True, "")
    end = last(said)
    assert end["place"] == "site"
    name = words.split()[-3] if "tunnel" in words else ""
    numbers = {site.edge_of(name, number): number for number in (1, 2)} if name else {}
    assert end["said"] == words.format(numbers.get(end["host"]))
    on_edge = [hop["place"] for hop in said["model"]["hops"] if hop["host"] == end["host"]]
    assert on_edge == ["verify", "inlet", "zone", "route", "policy", "site"]
    assert sorted(said["answer"]["edges"]) == (["e1", "e2"] if name else ["e2"])


def test_the_answer_passes_the_gate_and_arrives(site: Site) -> None:
    said = traced(site.run, "a1", "172.20.7.7")
    first, *_ = hops = said["answer"]["model"]["hops"]
    assert first["place"] == "site"
    assert first["said"].startswith("172.20.7.7 to 10.0.1.5 comes by tunnel ")
    gate = next(hop for hop in hops if hop["place"] == "policy" and hop["host"] == first["host"])
    assert any(f"@gate-{site.records.vni:06x}.4" in rule for rule in gate["rules"])
    assert (hops[-1]["place"], hops[-1]["host"]) == ("delivery", "hv1")


@pytest.mark.parametrize("source", ["192.168.7.7", "172.20.7.7", "10.44.7.7"])
def test_what_a_site_opens_arrives_and_its_answer_leaves_for_the_site(site: Site, source: str) -> None:
    said = traced(site.run, source, "a1")
    assert (said["reachable"], said["code"]) == (True, "")
    assert (said["model"]["hops"][0]["place"], said["model"]["hops"][-1]["place"]) == ("site", "delivery")
    (back,) = {hop["place"] for hop in said["answer"]["model"]["hops"][-1:]}
    assert back == "site"
    said = traced(site.run, source, "a1", "tcp/22", code=2)
    assert said["code"] == "ENI_SG_RULES_MISMATCH"


def test_a_source_that_no_edge_reaches_is_refused_by_the_gate(site: Site) -> None:
    said = traced(site.run, "192.168.7.7", "a1")
    assert said["reachable"]
    said = traced(site.run, "10.99.0.1", "a1", code=2)
    assert (said["code"], said["model"]["counter"]) == ("VGW_REJECTS_SPOOFED_TRAFFIC", "unreached")
    assert said["fix"].endswith("vpn route add")


def test_nothing_goes_where_no_edge_reaches_and_the_trace_names_what_is_down(site: Site) -> None:
    site.run("route-table", "route", "add", "main", "172.20.0.0/16", "vgw")
    for number in (1, 2):
        site.tunnel("branch", number, TunnelStatus(ike="CONNECTING"))
        site.reach(site.edge_of("branch", number), (STATIC, Origin.VPN_STATIC))
    said = traced(site.run, "a1", "172.20.7.7", code=2)
    assert said["code"] == "BAD_STATE_ROUTE"
    assert "no edge reaches 172.20.7.7 through it" in said["sentence"]
    assert "tunnel 1 of VPN connection branch to 203.0.113.81 at" in said["sentence"]
    assert "IKE is CONNECTING" in said["sentence"]
    assert said["fix"] == "netorch --owner acme vpn doctor acme/shop/branch"


def test_a_tunnel_that_is_down_ends_what_a_route_still_leads_there(site: Site) -> None:
    """The edge still publishes the prefix as reached."""
    site.port(VifStatus(carrier=False, bgp="Established", accepted=1))
    said = traced(site.run, "a1", "10.44.7.7", code=2)
    assert (said["code"], last(said)["place"]) == ("VGW_REACHES_NO_SUCH_ADDRESS", "route")
    assert "virtual interface dc, VLAN 101 of eth3 at e2 is down: eth3 of e2 has no carrier" in said["sentence"]
    assert said["fix"].endswith("dx vif show acme/shop/dc")


def test_a_table_that_does_not_learn_what_the_gateway_reaches_is_told_to(site: Site) -> None:
    said = traced(site.run, "a2", "172.20.7.7", code=2)
    assert said["code"] == "NO_ROUTE_TO_DESTINATION"
    assert "172.20.0.0/16 is reached by e1, e2" in said["sentence"]
    assert said["fix"].endswith("route-table propagate acme/shop/alone")
    site.run("route-table", "propagate", "alone")
    assert traced(site.run, "a2", "172.20.7.7")["reachable"]


def test_an_edge_leads_to_the_tunnel_that_is_up(site: Site) -> None:
    down = site.edge_of("office", 1)
    site.tunnel("office", 1, TunnelStatus(ike="CONNECTING"))
    site.reach(down)
    site.tunnel("office", 2, UP)
    said = traced(site.run, "a1", "192.168.7.7")
    assert last(said)["said"] == "left by tunnel 2 of VPN connection office to 203.0.113.80"
    assert said["answer"]["edges"] == [site.edge_of("office", 2)]


def test_what_only_a_default_route_of_a_site_holds_comes_from_there_where_answers_go_there(site: Site) -> None:
    for edge in ("e1", "e2"):
        site.reach(edge, ("0.0.0.0/0", Origin.VPN_BGP))
    said = traced(site.run, "8.8.8.8", "a1")
    assert (said["reachable"], said["model"]["hops"][0]["place"]) == (True, "site")
    assert traced(site.run, "a1", "8.8.8.8")["model"]["hops"][-1]["place"] == "site"
    said = traced(site.run, "8.8.8.8", "a2", code=2)
    assert (said["code"], said["model"]["hops"]) == ("IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS", [])
