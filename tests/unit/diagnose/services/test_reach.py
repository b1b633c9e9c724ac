"""`reach` with services by endpoints, consumers of a provider, and mapped peers; `trace` agrees with it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from tests.unit.diagnose.conftest import traced
from tests.unit.diagnose.services.conftest import SERVICE, Cloud


def flows(cloud: Cloud, *options: str) -> dict[tuple[str, str, str], tuple[str, ...]]:
    """Return the open flows by VPC, source and destination."""
    found: list[dict[str, Any]] = json.loads(cloud.run(*options, "reach", "--matrix", "-o", "json").stdout)
    return {
        (flow["vpc"], source, destination): tuple(flow["services"])
        for flow in found
        if not flow["code"]
        for source in flow["sources"]
        for destination in flow["destinations"]
    }


def test_a_gateway_endpoint_is_an_end_for_those_whose_table_leads_there(cloud: Cloud) -> None:
    found = {key: services for key, services in flows(cloud).items() if "vpce-s3" in key[2]}
    label = "s3 198.19.0.0/24 via vpce-s3"
    assert found == {("acme/acme", name, label): ("tcp 80,443",) for name in ("one", "two")}
    for name in ("one", "two", "lone"):
        for service in ("tcp/80", "tcp/443"):
            said = json.loads(
                cloud.run("trace", f"acme/acme/{name}", SERVICE, service, "-o", "json", code=0 if name != "lone" else 2).stdout
            )
            assert said["reachable"] is (name != "lone")


def test_an_interface_endpoint_is_an_end_with_the_ports_of_its_service(cloud: Cloud) -> None:
    found = {key: services for key, services in flows(cloud).items() if "vpce-ledger" in key[2]}
    assert found == {("acme/acme", name, f"vpce-ledger {cloud.front}"): ("tcp 443",) for name in ("one", "two", "lone")}
    consumer = {key: services for key, services in flows(cloud, "--owner", "acme").items() if "vpce-ledger" in key[2]}
    assert set(consumer.values()) == {("tcp 443",), ("tcp 80,443",)}, (
        "who does not see the service is told what the groups permit"
    )
    cloud.run("endpoint-service", "connection", "reject", cloud.connection)
    assert not any("vpce-ledger" in key[2] for key in flows(cloud))


def test_a_provider_sees_what_consumers_reach(cloud: Cloud) -> None:
    label = f"acme by ledger {cloud.back}"
    found = {key: services for key, services in flows(cloud, "--owner", "bank").items() if key[1] == label}
    assert found == {("bank/bank", label, name): ("tcp 8443",) for name in ("one", "two")}
    cloud.run(*shlex.split("nacl rule add bank/bank/border egress 5 deny tcp 8443 --cidr 10.0.1.0/24"))
    assert not any(key[1] == label for key in flows(cloud))
    traced(cloud.run, "acme/acme/one", cloud.front, code=2)


def test_mapped_peers_are_told_by_rules_about_aliases(cloud: Cloud) -> None:
    crossing = {key: services for key, services in flows(cloud).items() if key[2].startswith("globex/") and key[0] == "acme/acme"}
    assert crossing == {
        ("acme/acme", source, f"globex/globex/{name}"): ("tcp 443,8443",) for source in ("one", "two") for name in ("one", "two")
    }
    cloud.run(*shlex.split("sg rule add globex/globex/web ingress udp 53 --source 100.66.1.5/32"))
    cloud.run(*shlex.split("sg rule add globex/globex/web ingress udp 54 --source 10.0.1.5/32"))  # no address of acme's there
    changed = flows(cloud)
    assert changed["acme/acme", "one", "globex/globex/two"] == ("tcp 443,8443", "udp 53")
    assert changed["acme/acme", "two", "globex/globex/two"] == ("tcp 443,8443",)
    for source, service, reachable in (("one", "udp/53", True), ("two", "udp/53", False), ("one", "udp/54", False)):
        said = traced(cloud.run, f"acme/acme/{source}", "globex/globex/two", service, code=0 if reachable else 2)
        assert said["reachable"] is reachable


def test_a_file_that_changes_what_reaches_an_endpoint_says_so(cloud: Cloud, tmp_path: Path) -> None:
    file = tmp_path / "vpc.yaml"
    rule = "ports: 443, source: {}}}, {{protocol: tcp, ports: 80"
    file.write_text(file.read_text().replace(rule.format("sg-web"), rule.format("10.0.1.5/32"), 1))
    out = cloud.run("reach", "--diff", code=2).stdout
    assert f"-> vpce-ledger {cloud.front}: tcp 443" in out
    assert "two" in out
    assert "+" not in {line[0] for line in out.splitlines()}
