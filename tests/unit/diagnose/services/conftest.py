"""Three VPCs with the same addresses on the command line: the operator's service, a provider's service, and an alias."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from click.testing import CliRunner

from netorch.cli.main import cli
from tests.unit.cli.conftest import Run
from tests.unit.cli.conftest import quick as quick
from tests.unit.diagnose.conftest import HOSTS

VPC: Final = """
- name: {name}
  owner: {name}
  cidrs: [10.0.0.0/16]
  route_tables: [{{name: main, main: true{routes}}}, {{name: closed}}]
  network_acls: [{{name: border, ingress: [{{rule: 10, action: allow, protocol: all, cidr: 0.0.0.0/0}}],
                  egress: [{{rule: 10, action: allow, protocol: all, cidr: 0.0.0.0/0}}]}}]
  peerings: [{peerings}]
  subnets:
  - {{name: app, cidr: 10.0.1.0/24, network_acl: border}}
  - {{name: inner, cidr: 10.0.2.0/24, route_table: closed}}
  - {{name: link, cidr: 10.0.9.0/24, network_acl: border}}
  security_groups:
  - {{name: web, ingress: [{{protocol: tcp, ports: 8443, source: 0.0.0.0/0}}, {{protocol: tcp, ports: 443, source: 0.0.0.0/0}}]}}
  - {{name: front, ingress: [{{protocol: tcp, ports: 443, source: sg-web}}, {{protocol: tcp, ports: 80, source: 10.0.2.0/24}}]}}
  instances:
  - {{name: one, host: hv1, subnet: app, address: 10.0.1.5, security_groups: [web]}}
  - {{name: two, host: hv2, subnet: app, address: 10.0.1.6, security_groups: [web]}}
  - {{name: lone, host: hv2, subnet: inner, address: 10.0.2.5, security_groups: [web]}}
"""
MAPPED: Final = "{name: to-globex, peer: globex/globex, map_own: 10.0.0.0/16=100.66.0.0/16, map_peer: 10.0.0.0/16=100.65.0.0/16}"
OTHER_END: Final = "{name: of-acme, peer: acme/acme}"
CLOUD: Final = "vpcs:" + "".join(
    (
        VPC.format(name="acme", peerings=MAPPED, routes=', routes: ["100.65.0.0/16 via pcx-to-globex"]'),
        VPC.format(
            name="globex", peerings="{name: of-acme, peer: acme/acme}", routes=', routes: ["100.66.0.0/16 via pcx-of-acme"]'
        ),
        VPC.format(name="bank", peerings="", routes=""),
    )
)
SERVICE: Final = "198.19.0.10"  # of the operator's S3
SETUP: Final = (
    "apply -f {path}/hosts.yaml --yes",
    "endpoint service create s3 --prefix 198.19.0.0/24 --upstream http://203.0.113.90:9000",
    "apply -f {path}/vpc.yaml --yes",
    "--owner acme endpoint create s3 --vpc acme --service com.netorch.s3 --route-table main",
)
OFFER: Final = (
    "--owner bank endpoint-service create ledger --vpc bank --subnet link --port tcp/443:8443 --target one --target two"
    " --principal acme -o json"
)
ASK: Final = (
    "--owner acme endpoint create ledger --vpc acme --type Interface --service {service} --subnet link --security-group front"
)


class Cloud(NamedTuple):
    """The command line, and the ids and addresses of its cloud."""

    run: Run
    service: str  # vpce-svc-...
    connection: str  # vpce-con-...
    front: str  # the address of the endpoint in acme's VPC
    back: str  # the address of its connection in the bank's VPC


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, dict[str, str]]:
    """Return a store and the values of `Cloud`: acme has an endpoint of S3, one of the bank's service, and a mapped peer."""
    path = tmp_path_factory.mktemp("services")
    (path / "hosts.yaml").write_text(HOSTS)
    (path / "vpc.yaml").write_text(CLOUD)

    def run(line: str) -> str:
        done = CliRunner().invoke(cli, ["--store", str(path / "db"), *shlex.split(line)])
        assert done.exit_code == 0, (line, done.output, done.exception)
        return done.stdout

    for line in SETUP:
        run(line.format(path=path))
    service = json.loads(run(OFFER))["id"]
    run(ASK.format(service=service))
    listing = "endpoint-service connection list --vpc bank -o json"
    connection = json.loads(run(listing))[0]["id"]
    run(f"endpoint-service connection accept {connection}")
    front = json.loads(run("endpoint show acme/acme/ledger -o json"))["addresses"][0]
    back = json.loads(run(listing))[0]["address"]
    return (path / "db").read_bytes(), {"service": service, "connection": connection, "front": front, "back": back}


@pytest.fixture
def cloud(quick: Run, built: tuple[bytes, dict[str, str]], tmp_path: Path) -> Cloud:
    """Return the command line for a copy of that store."""
    (tmp_path / "db").write_bytes(built[0])
    (tmp_path / "vpc.yaml").write_text(CLOUD)
    return Cloud(quick, **built[1])
