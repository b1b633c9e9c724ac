"""The command tree: what there is to call, and a cloud in which each command succeeds with the arguments below."""

from __future__ import annotations

from collections.abc import Iterator

import click

from netorch.cli.main import cli
from netorch.cli.words import COMMANDS

# Actions, each with arguments that succeed in the cloud below.
ACTIONS = {
    "apply": "-f changed.yaml --yes --no-wait",
    "destroy": "acme/acme --yes",
    "vpc create": "new --cidr 10.9.0.0/16",
    "vpc create-default": "",
    "vpc delete": "globex/bare",
    "vpc associate-cidr": "globex/bare 10.45.0.0/16",
    "vpc disassociate-cidr": "globex/bare 10.1.0.0/16",
    "vpc set-tags": "acme/acme env=prod",
    "vpc tag": "acme/acme env=prod",
    "vpc untag": "acme/acme colour",
    "subnet create": "new --vpc acme/acme --cidr 10.44.13.0/24",
    "subnet delete": "acme/acme/empty",
    "subnet set-tags": "acme/acme/app env=prod",
    "subnet tag": "acme/acme/app env=prod",
    "subnet untag": "acme/acme/app colour",
    "route-table create": "new --vpc acme/acme",
    "route-table associate": "acme/acme/other app",
    "route-table replace-association": "acme/acme/other own",
    "route-table set-main": "acme/acme/other",
    "route-table propagate": "acme/acme/other",
    "route-table disassociate": "acme/acme/own",
    "route-table route add": "acme/acme/main 192.0.2.0/24 via blackhole",
    "route-table route replace": "acme/acme/inner 192.0.2.0/24 via eni web-1",
    "route-table route delete": "acme/acme/inner 192.0.2.0/24",
    "route-table delete": "acme/acme/other",
    "route-table set-tags": "acme/acme/other env=prod",
    "route-table tag": "acme/acme/other env=prod",
    "route-table untag": "acme/acme/other colour",
    "sg create": "new --vpc acme/acme",
    "sg delete": "acme/acme/web",
    "sg set-tags": "acme/acme/web env=prod",
    "sg tag": "acme/acme/web env=prod",
    "sg untag": "acme/acme/web colour",
    "sg rule add": "acme/acme/web ingress tcp 22 --source 10.0.0.0/8",
    "sg rule remove": "acme/acme/web ingress tcp 443 --source 10.0.0.0/8",
    "nacl create": "new --vpc acme/acme",
    "nacl associate": "acme/acme/strict app",
    "nacl delete": "acme/acme/strict",
    "nacl set-tags": "acme/acme/strict env=prod",
    "nacl tag": "acme/acme/strict env=prod",
    "nacl untag": "acme/acme/strict colour",
    "nacl rule add": "acme/acme/strict ingress 200 deny tcp 22 --cidr 10.0.0.0/8",
    "nacl rule replace": "acme/acme/strict ingress 100 deny tcp 22 --cidr 10.0.0.0/8",
    "nacl rule remove": "acme/acme/strict ingress 100",
    "prefix-list create": "new 10.0.0.0/8 --vpc acme/acme",
    "prefix-list delete": "acme/acme/offices",
    "prefix-list set": "acme/acme/offices 10.0.0.0/9",
    "prefix-list set-tags": "acme/acme/offices env=prod",
    "prefix-list tag": "acme/acme/offices env=prod",
    "prefix-list untag": "acme/acme/offices colour",
    "eni create": "--subnet acme/acme/app --name new",
    "eni delete": "acme/acme/spare",
    "eni attach": "acme/acme/spare acme/acme/web-1",
    "eni detach": "acme/acme/second",
    "eni set-groups": "acme/acme/spare web",
    "eni modify": "acme/acme/spare --no-source-dest-check",
    "eni set-tags": "acme/acme/spare env=prod",
    "eni tag": "acme/acme/spare env=prod",
    "eni untag": "acme/acme/spare colour",
    "instance run": "new --subnet acme/acme/app --host hv1 --count 20 --no-wait",
    "instance create": "new --subnet acme/acme/app --host hv1 --no-wait",
    "instance move": "acme/acme/web-1 hv2 --no-wait",
    "instance set-groups": "acme/acme/web-1 web",
    "instance set-tags": "acme/acme/web-1 env=prod",
    "instance tag": "acme/acme/web-1 env=prod",
    "instance untag": "acme/acme/web-1 colour",
    "instance terminate": "acme/acme/web-1 acme/acme/web-2",
    "instance delete": "acme/acme/web-1",
    "host create": "hv3 --underlay 192.0.2.13",
    "host delete": "spare",
    "host drain": "e1",
    "host undrain": "drained",
    "host update": "drained --pair north --uplink eth3,198.18.0.30/24,198.18.0.254 --asn 64601 --gateway-asn 64512",
    "host set-tags": "hv1 rack=7",
    "host tag": "hv1 env=prod",
    "host untag": "hv1 colour",
    "quota set": "acme vpcs=7",
    "flow-log create": "new --subnet acme/acme/app",
    "flow-log delete": "acme/acme/all",
    "flow-log set-tags": "acme/acme/all env=prod",
    "flow-log tag": "acme/acme/all env=prod",
    "flow-log untag": "acme/acme/all colour",
    "peering request": "new --vpc acme/acme --peer globex/bare",
    "peering accept": "acme/acme/link",
    "peering reject": "acme/acme/link",
    "peering delete": "acme/acme/link",
    "peering set-tags": "acme/acme/link env=prod",
    "peering tag": "acme/acme/link env=prod",
    "peering untag": "acme/acme/link colour",
    "subnet modify": "acme/acme/app --public-on-launch",
    "igw create": "new --vpc globex/third",
    "igw delete": "globex/gated/out",
    "igw set-tags": "acme/acme/out env=prod",
    "igw tag": "acme/acme/out env=prod",
    "igw untag": "acme/acme/out colour",
    "eigw create": "new --vpc globex/third",
    "eigw delete": "acme/acme/away",
    "eigw set-tags": "acme/acme/away env=prod",
    "eigw tag": "acme/acme/away env=prod",
    "eigw untag": "acme/acme/away colour",
    "nat create": "new --subnet globex/gated/inner --elastic-ip globex/free",
    "nat associate-address": "acme/acme/nat acme/idle",
    "nat disassociate-address": "acme/acme/nat acme/second",
    "nat delete": "acme/acme/nat",
    "nat set-tags": "acme/acme/nat env=prod",
    "nat tag": "acme/acme/nat env=prod",
    "nat untag": "acme/acme/nat colour",
    "vgw create": "new --vpc globex/third",
    "vgw delete": "globex/gated/home",
    "vgw set-tags": "acme/acme/home env=prod",
    "vgw tag": "acme/acme/home env=prod",
    "vgw untag": "acme/acme/home colour",
    "cgw create": "new --address 203.0.113.9",
    "cgw delete": "globex/idle",
    "cgw set-tags": "acme/office env=prod",
    "cgw tag": "acme/office env=prod",
    "cgw untag": "acme/office colour",
    "vpn create": "new --vpc globex/gated --customer-gateway globex/idle",
    "vpn delete": "acme/acme/home",
    "vpn modify": "acme/acme/home --tunnel 1 --dpd-timeout 40",
    "vpn rotate": "acme/acme/home --tunnel 2",
    "vpn route add": "acme/acme/home 192.168.9.0/24",
    "vpn route delete": "acme/acme/home 192.168.1.0/24",
    "vpn set-tags": "acme/acme/home env=prod",
    "vpn tag": "acme/acme/home env=prod",
    "vpn untag": "acme/acme/home colour",
    "address allocate": "--pool p --name new",
    "address release": "acme/idle",
    "address associate": "acme/idle --eni acme/acme/spare",
    "address disassociate": "198.51.100.9",
    "address set-tags": "acme/idle env=prod",
    "address tag": "acme/idle env=prod",
    "address untag": "acme/idle colour",
    "address pool create": "new --pair west --cidr 203.0.113.0/28",
    "address pool add": "p 203.0.113.0/28",
    "address pool remove": "p 198.51.100.128/25",
    "address pool delete": "empty",
    "address pool set-tags": "p env=prod",
    "address pool tag": "p env=prod",
    "address pool untag": "p colour",
    "dx connection create": "new --host e1 --device eth9 --for acme",
    "dx connection update": "free --for globex",
    "dx connection hosted add": "port globex 8",
    "dx connection hosted remove": "port 7",
    "dx connection delete": "free",
    "dx connection set-tags": "port env=prod",
    "dx connection tag": "port env=prod",
    "dx connection untag": "port colour",
    "dx vif create": "new --vpc acme/acme --connection port --vlan 9 --asn 65010",
    "dx vif modify": "acme/acme/dc --mtu 8500",
    "dx vif confirm": "acme/acme/dc",
    "dx vif reject": "acme/acme/dc",
    "dx vif delete": "acme/acme/dc",
    "dx vif set-tags": "acme/acme/dc env=prod",
    "dx vif tag": "acme/acme/dc env=prod",
    "dx vif untag": "acme/acme/dc colour",
    "store put": "quota/damaged --file quota.json",
    "store delete": "quota/damaged",
}
# Commands that only read the store, each with arguments.
READERS = {
    **{f"{kind} list": "" for kind in ("vpc", "subnet", "route-table", "sg", "nacl", "prefix-list", "eni", "instance")},
    **{f"{kind} list": "" for kind in ("host", "map", "flow-log", "peering", "igw", "eigw", "nat", "address", "address pool")},
    "dx connection list": "",
    "dx vif list": "",
    **{f"{kind} list": "" for kind in ("vgw", "cgw", "vpn")},
    "plan": "",
    "diff": "",
    "export": "",
    "status": "",
    "reach": "--matrix",
    "vpc show": "acme/acme",
    "subnet show": "acme/acme/app",
    "route-table show": "acme/acme/main",
    "route-table route list": "acme/acme/main",
    "sg show": "acme/acme/web",
    "sg rule list": "acme/acme/web",
    "nacl show": "acme/acme/strict",
    "nacl rule list": "acme/acme/strict",
    "prefix-list show": "acme/acme/offices",
    "eni show": "acme/acme/spare",
    "instance show": "acme/acme/web-1",
    "host show": "hv1",
    "quota show": "acme",
    "map lookup": "acme/acme 10.44.12.4",
    "flow-log show": "acme/acme/all",
    "flow-log read": "acme/acme/all",
    "peering show": "acme/acme/link",
    "igw show": "acme/acme/out",
    "eigw show": "acme/acme/away",
    "nat show": "acme/acme/nat",
    "vgw show": "acme/acme/home",
    "cgw show": "acme/office",
    "vpn show": "acme/acme/home",
    "vpn route list": "acme/acme/home",
    "vpn status": "acme/acme/home",
    "vpn config": "acme/acme/home",
    "vpn doctor": "acme/acme/home",
    "address show": "198.51.100.9",
    "address pool show": "p",
    "dx connection show": "port",
    "dx vif show": "acme/acme/dc",
    "address audit": "",
    "store check": "",
    "store get": "quota/damaged",
}
# Commands about kernels, this machine or the command line itself: they call no action of the cloud.
OTHERS = {
    *(
        "vpn import",
        "map watch",
        "instance exec",
        "flows",
        "drift",
        "ping",
        "trace",
        "check",
        "doctor",
        "schema",
        "completion",
        "agent run",
    ),
    *(f"lab {verb}" for verb in ("up", "deploy", "down", "destroy", "list", "inspect", "exec", "shell", "restart-agent")),
}

CLOUD = """
hosts:
- {name: hv1, underlay: 192.0.2.11}
- {name: hv2, underlay: 192.0.2.12}
- {name: spare, underlay: 192.0.2.14}
vpcs:
- name: acme
  owner: acme
  cidrs: [10.44.0.0/16]
  route_tables: [{name: other}, {name: inner, routes: [192.0.2.0/24 via blackhole]}]
  prefix_lists: [{name: offices, cidrs: [10.0.0.0/8]}]
  security_groups: [{name: web, ingress: [{protocol: tcp, ports: 443, source: 10.0.0.0/8}]}]
  network_acls: [{name: strict, ingress: [{rule: 100, action: allow, protocol: all, cidr: 0.0.0.0/0}]}]
  flow_logs: [{name: all}]
  subnets:
  - {name: app, cidr: 10.44.12.0/24}
  - {name: empty, cidr: 10.44.14.0/24}
  - {name: own, cidr: 10.44.15.0/24, route_table: inner}
  instances: [{name: web-1, subnet: app, host: hv1, address: 10.44.12.4}, {name: web-2, subnet: app, host: hv2}]
- {name: bare, owner: globex, cidrs: [10.0.0.0/16, 10.1.0.0/16]}
- {name: third, owner: globex, cidrs: [10.50.0.0/16]}
- {name: gated, owner: globex, cidrs: [10.60.0.0/16], subnets: [{name: inner, cidr: 10.60.1.0/24}]}
"""
TAGGED = {
    "vpc": "acme/acme",
    "subnet": "acme/acme/app",
    "route-table": "acme/acme/other",
    "sg": "acme/acme/web",
    "nacl": "acme/acme/strict",
    "prefix-list": "acme/acme/offices",
    "eni": "acme/acme/spare",
    "instance": "acme/acme/web-1",
    "flow-log": "acme/acme/all",
    "host": "hv1",
    "peering": "acme/acme/link",
    "igw": "acme/acme/out",
    "eigw": "acme/acme/away",
    "nat": "acme/acme/nat",
    "vgw": "acme/acme/home",
    "cgw": "acme/office",
    "vpn": "acme/acme/home",
    "address": "acme/idle",
    "address pool": "p",
    "dx connection": "port",
    "dx vif": "acme/acme/dc",
}
SETUP = (
    "apply --yes --no-wait -f {}",
    "eni create --subnet acme/acme/app --name spare",
    "eni create --subnet acme/acme/app --name second",
    "eni attach acme/acme/second acme/acme/web-1",
    "peering request link --vpc acme/acme --peer globex/third",
    "host create e1 --underlay 192.0.2.21 --role edge --pair west --uplink eth2,198.18.0.21/24,198.18.0.254"
    " --asn 64601 --gateway-asn 64512",
    "host create e2 --underlay 192.0.2.22 --role edge --pair west --uplink eth2,198.18.0.22/24,198.18.0.254",
    "host create drained --underlay 192.0.2.23 --role edge",
    "address pool create p --pair west --cidr 198.51.100.0/25 --cidr 198.51.100.128/25",
    "address pool create empty --pair west --cidr 203.0.113.128/25",
    "dx connection create port --host e1 --device eth3 --for acme",
    "dx connection create free --host e1 --device eth4",
    "dx connection hosted add port globex 7",
    "igw create out --vpc acme/acme",
    "igw create out --vpc globex/gated",
    "eigw create away --vpc acme/acme",
    "--owner acme address allocate --address 198.51.100.9 --name used",
    "--owner acme address allocate --address 198.51.100.10 --name idle",
    "address associate acme/used --instance acme/acme/web-2",
    "--owner acme address allocate --address 198.51.100.11 --name shared",
    "--owner globex address allocate --address 198.51.100.12 --name free",
    "nat create nat --subnet acme/acme/app --elastic-ip acme/shared",
    "--owner acme address allocate --address 198.51.100.13 --name second",
    "nat associate-address acme/acme/nat acme/second",
    "vgw create home --vpc acme/acme",
    "vgw create home --vpc globex/gated",
    "--owner acme cgw create office --address 203.0.113.1",
    "--owner globex cgw create idle --address 203.0.113.2",
    "vpn create home --vpc acme/acme --customer-gateway acme/office --static --route 192.168.1.0/24",
    "dx vif create dc --vpc acme/acme --connection port --vlan 101 --asn 65010",
    *(f"{kind} tag {name} colour=red" for kind, name in TAGGED.items()),
)


def leaves() -> Iterator[tuple[str, click.Command]]:
    """Yield every command that does something, by its words; an alias is another command."""
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        yield from _below(name, command)


def _below(words: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name, sub in command.commands.items():
            yield from _below(f"{words} {name}", sub)
    else:
        yield words, command
