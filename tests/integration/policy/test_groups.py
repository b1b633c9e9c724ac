"""Groups by their members: joining, leaving, terminating; prefix lists; large sets; and an interface in no group."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import msgspec
import pytest
from scapy.layers.inet import ICMP
from scapy.layers.inet6 import ICMPv6EchoRequest
from scapy.packet import Raw

from netorch.control.actions.instances import terminate_instance
from netorch.control.actions.permissions import Permission
from netorch.control.actions.prefix_lists import modify_prefix_list
from netorch.control.views.describe import resolve
from netorch.model.ids import make_id
from netorch.model.mapping import Mapping
from netorch.model.security import TCP, Direction, SecurityGroupRule
from netorch.records import keys
from netorch.store.base import Delete, Put
from netorch.store.rules import MAX_OPS
from tests.rig.packets import PATIENCE_S, PacketListener
from tests.rig.policed import (
    CLIENT,
    DB_FAR,
    FAR,
    NEAR,
    PASSED,
    SERVERS,
    Policed,
    address,
    cloud,
    ip,
    policed,
    tcp,
    udp,
    vpc,
)

pytestmark = pytest.mark.root

GROUPS = """
  {name: friends, ingress: [], egress: [{protocol: all, destination: sg-servers}]},
  {name: strangers, egress: [{protocol: all, destination: 0.0.0.0/0}, {protocol: all, destination: '::/0'}]},
  {name: others},
  {name: servers, egress: [], ingress: [
    {protocol: tcp, ports: 100-200, source: sg-friends}, {protocol: udp, source: sg-friends},
    {protocol: icmp, ports: 8, source: sg-friends}, {protocol: icmpv6, ports: 128, source: sg-friends},
    {protocol: tcp, ports: 300, source: pl-offices4}, {protocol: tcp, ports: 300, source: pl-offices6}]}
"""
LISTS = "{name: offices4, cidrs: [10.99.0.0/24], max_entries: 5}, {name: offices6, cidrs: ['fd99::/64'], max_entries: 5}"
MEMBERS = {"client": "friends", "near": "servers", "far": "servers", "db-near": "strangers", "db-far": "strangers"}
_echo_ids = itertools.count(1)
TEXT = cloud(vpc("acme", GROUPS, MEMBERS, prefix_lists=LISTS))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Policed]:
    """Servers that accept packets from friends, and strangers."""
    with policed(tmp_path_factory.mktemp("groups"), TEXT) as lab:
        yield lab


def answers(lab: Policed, source: str, server: str) -> set[str]:
    """Return the verdicts on the friends' packets, IPv4 and IPv6, each the first of its connection."""
    packets = [make(source, server, 150, version=version) for make in (tcp, udp) for version in (4, 6)]
    echo = next(_echo_ids)
    packets += [ip(source, server) / ICMP(type=8, id=echo), ip(source, server, 6) / ICMPv6EchoRequest(id=echo)]
    return {lab.verdict(source, server, packet) for packet in packets}


# --- members -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", SERVERS)
def test_a_rule_that_names_a_group_permits_its_members_what_it_says(lab: Policed, server: str) -> None:
    wanted = {99: "sg_ingress", 100: PASSED, 200: PASSED, 201: "sg_ingress"}
    for version in (4, 6):
        assert {port: lab.verdict(CLIENT, server, tcp(CLIENT, server, port, version=version)) for port in wanted} == wanted
    assert answers(lab, CLIENT, server) == {PASSED}
    assert answers(lab, DB_FAR, server) == {"sg_ingress"}
    assert lab.verdict(CLIENT, server, ip(CLIENT, server) / ICMP(type=13)) == "sg_ingress"


@pytest.mark.parametrize("version", [4, 6])
def test_a_member_may_send_to_the_group_that_its_rule_names_only(lab: Policed, version: int) -> None:
    assert lab.verdict(CLIENT, DB_FAR, tcp(CLIENT, DB_FAR, 150, version=version)) == "sg_egress"


@pytest.mark.parametrize("member", ["acme/db-near", DB_FAR])
@pytest.mark.parametrize("server", SERVERS)
def test_joining_and_leaving_a_group_is_felt_on_every_host(lab: Policed, member: str, server: str) -> None:
    lab.regroup(member, "friends")
    assert answers(lab, member, server) == {PASSED}
    lab.regroup(member, "others")
    refused = answers(lab, member, server)
    lab.regroup(member, "others", "friends")
    assert answers(lab, member, server) == {PASSED}
    lab.regroup(member, "strangers")
    assert refused == answers(lab, member, server) == {"sg_ingress"}


def test_who_gets_a_terminated_members_address_is_no_member(lab: Policed) -> None:
    lab.regroup(DB_FAR, "friends")
    assert answers(lab, DB_FAR, NEAR) == {PASSED}
    terminate_instance(lab.world.store, lab.world.caller, lab.world.instance(DB_FAR).id)
    lab.settle()
    lab.forget(DB_FAR)
    lab.apply(TEXT)
    assert {answer for server in SERVERS for answer in answers(lab, DB_FAR, server)} == {"sg_ingress"}


@pytest.mark.parametrize("server", SERVERS)
def test_who_gets_a_terminated_members_address_gets_none_of_its_connections(lab: Policed, server: str) -> None:
    lab.regroup(DB_FAR, "friends")
    stream = udp(DB_FAR, server, 150)
    assert lab.verdict(DB_FAR, server, stream) == PASSED
    terminate_instance(lab.world.store, lab.world.caller, lab.world.instance(DB_FAR).id)
    lab.settle()
    lab.forget(DB_FAR)
    lab.apply(TEXT)
    assert lab.verdict(DB_FAR, server, stream) == "sg_ingress"


@pytest.mark.parametrize("server", SERVERS)
def test_rules_of_all_groups_of_an_interface_count(lab: Policed, server: str) -> None:
    rule = Permission(protocol="tcp", ports=777, peer="sg-friends")
    lab.allow("acme/others", Direction.INGRESS, rule)
    assert lab.verdict(CLIENT, server, tcp(CLIENT, server, 777)) == "sg_ingress"
    lab.regroup(server, "others", "servers")
    verdicts = [lab.verdict(CLIENT, server, tcp(CLIENT, server, port)) for port in (777, 150, 778)]
    lab.regroup(server, "servers")
    lab.revoke("acme/others", Direction.INGRESS, rule)
    assert verdicts == [PASSED, PASSED, "sg_ingress"]


@pytest.mark.parametrize("server", SERVERS)
def test_an_interface_without_groups_neither_sends_nor_receives(lab: Policed, server: str) -> None:
    eni = lab.world.eni(server)
    mappings = [stored.record for stored in lab.world.vpc("acme").mappings.values() if stored.record.eni == eni.id]
    _write_groups(lab, server, mappings, ())
    verdicts = {version: lab.verdict(CLIENT, server, udp(CLIENT, server, 1, version=version)) for version in (4, 6)}
    sent = {version: lab.verdict(server, CLIENT, udp(server, CLIENT, 1, version=version)) for version in (4, 6)}
    lab.allow("acme/strangers", Direction.INGRESS, Permission(protocol="all", peer="0.0.0.0/0"))
    stranger = lab.verdict(server, DB_FAR, udp(server, DB_FAR, 1))
    outside = lab.verdict(DB_FAR, server, udp(DB_FAR, server, 1))
    lab.revoke("acme/strangers", Direction.INGRESS, Permission(protocol="all", peer="0.0.0.0/0"))
    _write_groups(lab, server, mappings, eni.groups)
    # A friend may send to members of the servers' group, to which it no longer belongs.
    assert verdicts == dict.fromkeys((4, 6), "sg_egress")
    assert sent == dict.fromkeys((4, 6), "sg_egress")
    assert (stranger, outside) == ("sg_egress", "sg_ingress")
    assert answers(lab, CLIENT, server) == {PASSED}


def _write_groups(lab: Policed, name: str, mappings: list[Mapping], groups: tuple[str, ...]) -> None:
    eni = lab.world.eni(name)
    lab.write(keys.resource(eni.id), msgspec.structs.replace(eni, groups=groups))
    for mapping in mappings:
        lab.write(keys.mapping(mapping.vni, mapping.address), msgspec.structs.replace(mapping, groups=groups))
    lab.settle()


# --- prefix lists ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "version", "own"), [("offices4", 4, "10.44.13.0/24"), ("offices6", 6, "fd00:44:0:101::/64")])
def test_what_a_prefix_list_gains_and_loses_rules_gain_and_lose(lab: Policed, name: str, version: int, own: str) -> None:
    found = resolve(lab.world.inventory(), lab.world.caller, "pl", f"acme/{name}")[1]
    before = [entry.cidr for entry in found.entries]

    def verdicts() -> set[str]:
        return {lab.verdict(DB_FAR, server, tcp(DB_FAR, server, 300, version=version)) for server in SERVERS}

    assert verdicts() == {"sg_ingress"}
    for cidrs, wanted in (([*before, own], PASSED), (before, "sg_ingress")):
        modify_prefix_list(lab.world.store, lab.world.caller, found.id, cidrs=cidrs)
        lab.settle()
        assert verdicts() == {wanted}


# --- large sets ---------------------------------------------------------------------------------------------------------------


def test_a_group_of_a_thousand_rules_permits_each_of_them_and_nothing_else(lab: Policed) -> None:
    group = lab.group("acme/servers")
    port, near_peer = 10000, address(CLIENT)
    rules = tuple(
        SecurityGroupRule(
            id=make_id("sgr", group.vni, number),
            protocol=TCP,
            from_port=port + number * 10,
            to_port=port + number * 10 + number % 5,
            cidr=f"{near_peer}/32" if number % 100 == 0 else f"10.{number % 250}.{number // 250}.0/24",
        )
        for number in range(1000)
    )
    lab.allow("acme/friends", Direction.EGRESS, Permission(protocol="tcp", peer="0.0.0.0/0"))
    lab.write(keys.resource(group.id), msgspec.structs.replace(group, ingress=group.ingress + rules))
    lab.settle()
    verdicts = {
        (server, number, extra): lab.verdict(CLIENT, server, tcp(CLIENT, server, port + number * 10 + extra))
        for server in SERVERS
        for number in (0, 100, 101, 500, 900, 999)
        for extra in (-1, 0, 1)
    }
    lab.write(keys.resource(group.id), group)
    lab.settle()
    assert verdicts == {key: PASSED if key[1] % 100 == 0 and key[2] == 0 else "sg_ingress" for key in verdicts}


def batches(ops: list[Put] | list[Delete]) -> Iterator[tuple[Put | Delete, ...]]:
    """Yield operations in batches of as many as one transaction takes."""
    for first in range(0, len(ops), MAX_OPS):
        yield tuple(ops[first : first + MAX_OPS])


def test_a_group_of_two_thousand_members_means_each_of_them_and_nobody_else(lab: Policed) -> None:
    """Packets to its absent members leave for the hosts in their mappings; packets to other addresses do not."""
    crowd, sample = lab.group("acme/servers").id, lab.world.mapping(FAR)
    members = [f"10.44.{14 + number // 250}.{number % 250 + 1}" for number in range(2001)]
    groups = dict.fromkeys(members, (crowd,)) | {members[2000]: (lab.group("acme/others").id,)}
    records = [msgspec.structs.replace(sample, address=member, groups=groups[member]) for member in members]
    for some in batches([Put(keys.mapping(sample.vni, found.address), msgspec.json.encode(found)) for found in records]):
        lab.world.store.txn((), some)
    lab.settle()
    with PacketListener("spine", "to-hv1") as wire:
        needles = {}
        *known, stranger = members[0], members[999], members[1999], members[2000]
        for member in (*known, stranger):
            needles[member] = os.urandom(16)
            packet = ip(CLIENT, FAR)
            packet.dst = member
            lab.emit(CLIENT, [bytes(packet / Raw(needles[member]))])
        assert all(wire.hears(needles[member], within_s=PATIENCE_S) for member in known)
        assert not wire.hears(needles[stranger])
    assert answers(lab, CLIENT, FAR) == {PASSED}
    for some in batches([Delete(keys.mapping(sample.vni, member)) for member in members]):
        lab.world.store.txn((), some)
    lab.settle()
    assert answers(lab, CLIENT, FAR) == {PASSED}
