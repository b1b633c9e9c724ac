"""The commands of the command line, and their names in other command lines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

# name -> (module in netorch.cli.commands, one line of help); the module holds a click command called `command`.
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "plan": ("plan", "Show what applying a file would change."),
    "apply": ("apply", "Apply a file: create, change and delete what it declares."),
    "destroy": ("destroy", "Delete VPCs with everything in them, or everything that a file created."),
    "diff": ("diff", "Show how the cloud differs from a file, as text."),
    "export": ("export", "Print the cloud as a file for `apply`."),
    "schema": ("schema", "Print the JSON Schema of vpc.yaml, for editors."),
    "vpc": ("vpc", "Create, list, show and delete VPCs."),
    "zone": ("zone", "Create, associate, list, show and delete private zones, and their record sets."),
    "dhcp-options": ("dhcp_options", "Create, associate, list, show and delete DHCP options sets."),
    "subnet": ("subnet", "Create, list, show and delete subnets."),
    "route-table": ("route_table", "Create, list, show and delete route tables."),
    "igw": ("igw", "Create, list, show and delete internet gateways."),
    "eigw": ("eigw", "Create, list, show and delete egress-only internet gateways."),
    "nat": ("nat", "Create, list, show and delete NAT gateways."),
    "vgw": ("vgw", "Create, list, show and delete virtual private gateways."),
    "cgw": ("cgw", "Create, list, show and delete customer gateways."),
    "vpn": ("vpn", "Create, list, show, change and delete VPN connections."),
    "endpoint-service": ("endpoint_service", "Create, list, show, change and delete services that other VPCs use by endpoints."),
    "address": ("address", "Allocate, associate, list, show and release public addresses; pools of them."),
    "dx": ("dx", "Direct Connect: connections, and virtual interfaces on them."),
    "endpoint": ("endpoint", "Create, list, show, change and delete endpoints; services; policies of buckets."),
    "peering": ("peering", "Request, accept, reject, list, show and delete peering connections."),
    "sg": ("sg", "Create, list, show and delete security groups and their rules."),
    "nacl": ("nacl", "Create, list, show and delete network ACLs and their entries."),
    "prefix-list": ("prefix_list", "Create, list, show, change and delete prefix lists."),
    "eni": ("eni", "Create, list, show and delete network interfaces."),
    "instance": ("instance", "Run, move, list, show and terminate instances."),
    "host": ("host", "Create, list, show and delete hosts."),
    "ca": ("ca", "Identities: the certificate authority, operators, and the service by which hosts join."),
    "quota": ("quota", "Show and change an owner's limits."),
    "map": ("map", "Query the mapping service: (VNI, address) -> host."),
    "flow-log": ("flow_log", "Create, list, show, delete and read flow logs."),
    "flows": ("flows", "Show live connections; with -f, new ones and dropped packets."),
    "status": ("status", "Show hosts, agents, dropped packets and problems."),
    "history": ("history", "Show who changed what and when, from the store's revisions."),
    "drift": ("drift", "Show how this host's kernel differs from the desired state."),
    "ping": ("ping", "Ping from one instance to another, layer by layer."),
    "trace": ("trace", "Follow a packet through model and kernels, and with a live packet."),
    "reach": ("reach", "Show who reaches whom, and what a file would open or close."),
    "check": ("check", "Compare who reaches whom with a file of expectations."),
    "doctor": ("doctor", "Show what this machine lacks, and how to fix it."),
    "bugreport": ("bugreport", "Write a file for fault analysis, without secrets."),
    "store": ("store", "Find and repair unreadable records; copy the store."),
    "agent": ("agent", "Run this host's agent."),
    "config": ("config", "Show the settings of this machine, and where each comes from."),
    "lab": ("lab", "Run a containerlab topology on this machine."),
    "completion": ("completion", "Print the shell completion script."),
}

# Commands that never run inside a lab: they are about labs, or about the command line itself.
OUTSIDE: Final = frozenset({"lab", "schema", "completion"})

# Commands for operators only, which take no --owner.
OPERATORS: Final = frozenset(
    {
        "host",
        "ca",
        "quota",
        "status",
        "drift",
        "check",
        "doctor",
        "store",
        "agent",
        "config",
        "history",
        "address pool",
        "address audit",
    }
)

# a word of another command line -> netorch's; it may be part of a longer word, e.g. `describe-instances`.
_OTHERS: Final = {
    "acl": "nacl",
    "addresses": "address",
    "allocate-address": "address",
    "eip": "address",
    "elastic-ip": "address",
    "floating-ip": "address",
    "egress-only-internet-gateway": "eigw",
    "internet-gateway": "igw",
    "nat-gateway": "nat",
    "authorize": "add",
    "customer-gateway": "cgw",
    "deploy": "apply",
    "describe": "show",
    "destroy": "delete",
    "dump": "export",
    "edge": "host",
    "get": "show",
    "hypervisor": "host",
    "info": "show",
    "label": "tag",
    "inspect": "show",
    "interface": "eni",
    "launch": "run",
    "ls": "list",
    "mapping": "map",
    "migrate": "move",
    "network": "vpc",
    "network-acl": "nacl",
    "network-interface": "eni",
    "new": "create",
    "pcx": "peering",
    "peer": "peering",
    "direct-connect": "dx",
    "directconnect": "dx",
    "virtual-interface": "vif",
    "dhcp-options-set": "dhcp-options",
    "dns": "zone",
    "hosted-zone": "zone",
    "record-set": "record",
    "vpc-endpoint": "endpoint",
    "vpc-endpoint-connections": "connection",
    "vpc-endpoint-service": "endpoint-service",
    "vpce-svc": "endpoint-service",
    "vpce": "endpoint",
    "vpc-peering": "peering",
    "vpc-peering-connection": "peering",
    "nic": "eni",
    "node": "host",
    "port": "eni",
    "preview": "plan",
    "remove": "delete",
    "revoke": "remove",
    "rm": "delete",
    "routes": "route-table",
    "secgroup": "sg",
    "security-group": "sg",
    "server": "instance",
    "start": "run",
    "traceroute": "trace",
    "update": "apply",
    "validate": "plan",
    "virtual-private-gateway": "vgw",
    "vm": "instance",
    "vpn-connection": "vpn",
    "vpn-gateway": "vgw",
}
_COMMON: Final = ("create", "delete", "list", "set-tags", "show", "tag", "untag")  # verbs of every kind
_OTHER_OPTIONS: Final = {
    "--auto-approve": "--yes",
    "--force": "--yes",
    "--format": "--output",
    "--ip": "--address",
    "--json": "--output",
    "--label": "--tag",
    "--namespace": "--netns",
    "--private-ip-address": "--address",
    "--selector": "--tag",
    "--sg": "--security-group",
}


def meant_option(word: str, known: Iterable[str]) -> str:
    """Return the similar option of a command for an unknown one, in quotes; "" if there is none."""
    from difflib import get_close_matches

    options = list(known)
    other = _OTHER_OPTIONS.get(word, "")
    found = [other] if other in options else get_close_matches(word, options, n=1)
    return repr(found[0]) if found else ""


def meant(word: str, known: Iterable[str]) -> str:
    """Return the similar command for an unknown word, in quotes; "" if there is none."""
    found = _meant(word, known)
    return repr(found) if found else ""


def _meant(word: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    words = list(known)
    plain = word.lower().replace("_", "-")
    singular = plain.removesuffix("s")
    for form in (plain, singular):
        if form in words:
            return form
        if _OTHERS.get(form) in words:
            return _OTHERS[form]
    close = get_close_matches(plain, words, n=1)
    return close[0] if close else next((_OTHERS[part] for part in plain.split("-") if _OTHERS.get(part) in words), "")


def verb_first(word: str) -> str:
    """Return a sentence for `describe vpc` or `create vpc`, where the kind must come first; "" for another word."""
    verb = _OTHERS.get(word.lower(), word.lower())
    return f" The kind comes first, e.g. `netorch vpc {verb}`." if verb in _COMMON else ""
