"""Rules change while packets are sent: no verdict is ever wrong, and no VPC's error affects another VPC."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec
import pytest

from netorch.control.actions.acls import EntryRequest, create_network_acl_entry, delete_network_acl_entry
from netorch.control.actions.permissions import Permission, authorize
from netorch.control.views.describe import resolve
from netorch.model.security import TCP, Direction, SecurityGroupRule
from netorch.records import keys
from tests.rig.policed import (
    CLIENT,
    DB_FAR,
    NET4,
    NET6,
    PASSED,
    SERVERS,
    Policed,
    address,
    cloud,
    policed,
    tcp,
    vpc,
)
from tests.rig.probing import Probe, end_of, probing
from tests.rig.world import wait_for

pytestmark = pytest.mark.root

OPEN, SHUT, BY_GROUP = 6000, 6001, 6002
_OPEN = f"{{protocol: udp, ports: {OPEN}, source: {NET4}}}, {{protocol: udp, ports: {OPEN}, source: '{NET6}'}}"
_TCP = f"{{protocol: tcp, ports: 8000, source: {NET4}}}"
_BY_GROUP = f"{{protocol: udp, ports: {BY_GROUP}, source: sg-clients}}, {{protocol: udp, source: sg-trusted}}"
_SERVERS = f"{{name: servers, egress: [], ingress: [{_OPEN}, {_TCP}, {_BY_GROUP}]}}"
GROUPS = f"{{name: clients}}, {{name: others}}, {{name: trusted}}, {_SERVERS}"
ACLS = """
  {name: border,
   ingress: [{rule: 100, action: allow, protocol: all, cidr: 0.0.0.0/0}, {rule: 101, action: allow, protocol: all, cidr: '::/0'},
     {rule: 10, action: deny, protocol: udp, ports: 6001, cidr: 0.0.0.0/0}],
   egress: [{rule: 100, action: allow, protocol: all, cidr: 0.0.0.0/0}]}
"""
MEMBERS = {"client": "clients", "near": "servers", "far": "servers", "db-near": "others", "db-far": "servers"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Policed]:
    """Two VPCs with the same addresses and rules."""
    vpcs = [vpc(name, GROUPS, MEMBERS, ACLS, "border") for name in ("acme", "globex")]
    with policed(tmp_path_factory.mktemp("updates"), cloud(*vpcs)) as lab:
        yield lab


def standing_probes(lab: Policed) -> list[Probe]:
    """Return probes of ports that stay permitted, or forbidden, on each path, IPv4 and IPv6."""
    client = end_of(lab.world, CLIENT)
    return [
        Probe(client, end_of(lab.world, server), port, permitted=port == OPEN, version=version)
        for server in (*SERVERS, DB_FAR)
        for version in (4, 6)
        for port in (OPEN, SHUT)
    ]


def other_changes(lab: Policed) -> list[Callable[[], object]]:
    """Return changes that undo each other in pairs; none of them concerns the probed ports."""
    ends, border = (lab.world.store, lab.world.caller), resolve(lab.world.inventory(), lab.world.caller, "acl", "acme/border")[1]
    wide = [Permission(protocol="udp", ports="7000-7999", peer=net) for net in (NET4, NET6)]
    narrow = [Permission(protocol="udp", ports=SHUT, peer="10.44.99.0/24"), Permission(protocol="icmp", peer="sg-clients")]
    free = [Permission(protocol="tcp", peer="0.0.0.0/0"), Permission(protocol="tcp", peer="::/0")]
    entry = EntryRequest(number=5, allow=False, protocol="tcp", cidr="10.44.12.0/25", ports="1-100")
    return [
        lambda: lab.allow("acme/servers", Direction.INGRESS, *wide),
        lambda: lab.allow("acme/servers", Direction.INGRESS, *narrow),
        lambda: lab.allow("globex/servers", Direction.INGRESS, Permission(protocol="udp", ports=SHUT, peer=NET4)),
        lambda: lab.regroup("acme/db-near", "servers", "clients"),
        lambda: create_network_acl_entry(*ends, border.id, Direction.INGRESS, entry),
        lambda: lab.allow("acme/clients", Direction.INGRESS, *free),
        lambda: lab.revoke("acme/servers", Direction.INGRESS, *wide),
        lambda: lab.revoke("acme/servers", Direction.INGRESS, *narrow),
        lambda: lab.revoke("globex/servers", Direction.INGRESS, Permission(protocol="udp", ports=SHUT, peer=NET4)),
        lambda: lab.regroup("acme/db-near", "others"),
        lambda: delete_network_acl_entry(*ends, border.id, Direction.INGRESS, entry.number),
        lambda: lab.revoke("acme/clients", Direction.INGRESS, *free),
    ]


def probes_by_group(lab: Policed) -> list[Probe]:
    """Return probes that are permitted because of the client's group."""
    client = end_of(lab.world, CLIENT)
    return [
        Probe(client, end_of(lab.world, server), BY_GROUP, permitted=True, version=version)
        for server in SERVERS
        for version in (4, 6)
    ]


def wrong_verdicts(
    lab: Policed, probes: list[Probe], changes: Sequence[Callable[[], object]], updates: int
) -> tuple[int, dict[str, int]]:
    """Return how many probes were sent during so many updates, one each millisecond, and which met a wrong verdict."""
    with probing(probes, 0.001) as prober:
        for number in range(updates):
            changes[number % len(changes)]()
            lab.settle()
            prober.goes_round()
    return sum(probe.sent for probe in prober.probes), prober.wrong()


def test_no_verdict_is_wrong_while_other_rules_change(lab: Policed) -> None:
    changes = other_changes(lab)
    sent, wrong = wrong_verdicts(lab, standing_probes(lab), changes, updates=9 * len(changes))
    assert wrong == {}
    print(f"{sent} probes during {9 * len(changes)} updates")
    assert sent > 1000


@pytest.mark.parametrize("groups", [("clients", "others"), ("trusted",)], ids=["by the same rule", "by a rule of another kind"])
def test_no_verdict_is_wrong_while_a_member_goes_over_to_a_set_of_groups_that_nobody_had(
    lab: Policed, groups: tuple[str, ...]
) -> None:
    """Nor while the member comes back, and leaves a set of groups without members."""
    changes = [lambda: lab.regroup(CLIENT, *groups), lambda: lab.regroup(CLIENT, "clients")]
    sent, wrong = wrong_verdicts(lab, probes_by_group(lab), changes, updates=40)
    assert wrong == {}
    assert sent > 200


def test_probes_notice_a_rule_that_is_away_for_a_moment(lab: Policed) -> None:
    rule, other = Permission(protocol="udp", ports=OPEN, peer=NET6), Permission(protocol="udp", ports=SHUT, peer=NET4)
    moment = [
        lambda: lab.revoke("acme/servers", Direction.INGRESS, rule),
        lambda: lab.allow("acme/servers", Direction.INGRESS, rule, other),
        lambda: lab.revoke("acme/servers", Direction.INGRESS, other),
    ]
    _, wrong = wrong_verdicts(lab, standing_probes(lab), moment, len(moment))
    lost = [f"{address(CLIENT, 6)} to {address(server, 6)} port {OPEN}" for server in (*SERVERS, DB_FAR)]
    leaked = [f"{address(CLIENT)} to {address(server)} port {SHUT}" for server in SERVERS]  # the third server is behind an ACL
    assert sorted(wrong) == sorted(lost + leaked)


# --- a customer with broken rules ---------------------------------------------------------------------------------------------

VIOLATIONS: dict[str, SecurityGroupRule | bytes] = {
    "a record that cannot be read": b"{",
    "a record of another shape": b'{"id": 7}',
    "a CIDR that is none": SecurityGroupRule(id="sgr-1", protocol=TCP, from_port=1, to_port=2, cidr="10.44.0.0/99"),
    "a prefix list that is missing": SecurityGroupRule(id="sgr-1", protocol=TCP, prefix_list="pl-0"),
    "a range that ends before it begins": SecurityGroupRule(
        id="sgr-1", protocol=TCP, from_port=9, to_port=3, cidr="10.44.0.0/16"
    ),
    "a port that is none": SecurityGroupRule(id="sgr-1", protocol=TCP, from_port=70000, to_port=70001, cidr="10.44.0.0/16"),
    "a protocol that is none": SecurityGroupRule(id="sgr-1", protocol=300, cidr="10.44.0.0/16"),
}


def verdicts(lab: Policed, vpc_name: str, *ports: int) -> list[str]:
    """Return the verdicts on a client's first packets to ports of both servers."""
    client, servers = f"{vpc_name}/client", (f"{vpc_name}/near", f"{vpc_name}/far")
    return [lab.verdict(client, server, tcp(client, server, port)) for server in servers for port in ports]


@pytest.mark.parametrize("violation", sorted(VIOLATIONS))
def test_an_error_in_one_vpcs_rules_changes_nothing_there_and_holds_up_nobody_else(lab: Policed, violation: str) -> None:
    group, rule = lab.group("acme/servers"), VIOLATIONS[violation]
    key, more = keys.resource(group.id), Permission(protocol="tcp", ports=8001, peer=NET4)
    broken = rule if isinstance(rule, bytes) else msgspec.structs.replace(group, ingress=(*group.ingress[:2], rule), egress=())
    globex = lab.group("globex/servers").id
    lab.write(key, broken)
    wait_for(lab.problems, "the error to be reported")
    assert verdicts(lab, "acme", 8000, 8001) == [PASSED, "sg_ingress"] * 2
    authorize(lab.world.store, lab.world.caller, globex, Direction.INGRESS, [more])
    lab.world.settle()
    assert verdicts(lab, "globex", 8000, 8001) == [PASSED, PASSED] * 2
    assert verdicts(lab, "acme", 8000, 8001) == [PASSED, "sg_ingress"] * 2
    lab.write(key, group)
    lab.world.settle()
    wait_for(lambda: not lab.problems(), "the error to be forgotten")
    lab.allow("acme/servers", Direction.INGRESS, more)
    assert verdicts(lab, "acme", 8000, 8001) == [PASSED, PASSED] * 2
    lab.revoke("acme/servers", Direction.INGRESS, more)
    lab.revoke("globex/servers", Direction.INGRESS, more)
