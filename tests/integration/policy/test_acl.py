"""Network ACLs: numbered, stateless, and only at a subnet's border. The groups here permit everything but one port."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from scapy.layers.inet import ICMP
from scapy.layers.inet6 import ICMPv6EchoRequest
from scapy.packet import Packet, Raw

from netorch.control.actions.acls import (
    EntryRequest,
    create_network_acl_entry,
    delete_network_acl_entry,
    replace_network_acl_entry,
)
from netorch.control.actions.subnets import associate_network_acl
from netorch.control.views.describe import resolve
from netorch.model.security import Direction, NetworkAcl
from tests.rig.policed import (
    CLIENT,
    DB_FAR,
    DB_NEAR,
    FAR,
    NEAR,
    NET4,
    NET6,
    PASSED,
    Policed,
    Talk,
    address,
    cloud,
    ip,
    pieces,
    policed,
    tcp,
    udp,
    vpc,
)

pytestmark = pytest.mark.root

APP4, APP6 = "10.44.12.0/24", "fd00:44:0:100::/64"
GROUPS = f"""
  {{name: open, ingress: [
    {{protocol: tcp, source: {NET4}}}, {{protocol: udp, source: {NET4}}}, {{protocol: icmp, source: {NET4}}},
    {{protocol: tcp, ports: 0-5899, source: '{NET6}'}}, {{protocol: udp, source: '{NET6}'}},
    {{protocol: icmpv6, source: '{NET6}'}}]}}
"""
BORDER = f"""
  {{name: border, ingress: [
    {{rule: 80, action: allow, protocol: tcp, ports: 5000, cidr: {address(FAR)}/32}},
    {{rule: 90, action: deny, protocol: tcp, ports: 5000-5100, cidr: {APP4}}},
    {{rule: 91, action: deny, protocol: tcp, ports: 5000-5100, cidr: '{APP6}'}},
    {{rule: 100, action: allow, protocol: tcp, ports: 4000-6000, cidr: 10.44.0.0/16}},
    {{rule: 101, action: allow, protocol: tcp, ports: 4000-6000, cidr: '{NET6}'}},
    {{rule: 110, action: allow, protocol: udp, ports: 6000, cidr: 0.0.0.0/0}},
    {{rule: 111, action: allow, protocol: udp, ports: 6000, cidr: '::/0'}},
    {{rule: 120, action: allow, protocol: icmp, ports: 8, cidr: 0.0.0.0/0}},
    {{rule: 121, action: allow, protocol: icmpv6, ports: 128, cidr: '::/0'}},
    {{rule: 200, action: deny, protocol: all, cidr: 0.0.0.0/0}}],
   egress: [
    {{rule: 100, action: allow, protocol: tcp, ports: 32768-65535, cidr: 0.0.0.0/0}},
    {{rule: 101, action: allow, protocol: tcp, ports: 32768-65535, cidr: '::/0'}}]}},
  {{name: closed}}
"""
MEMBERS = dict.fromkeys(("client", "near", "far", "db-near", "db-far"), "open")
BORDERS = [(server, version) for server in (DB_NEAR, DB_FAR) for version in (4, 6)]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Policed]:
    """A subnet behind an ACL, and a subnet with an unchanged ACL."""
    with policed(tmp_path_factory.mktemp("acl"), cloud(vpc("acme", GROUPS, MEMBERS, BORDER, "border"))) as lab:
        yield lab


def acl(lab: Policed, name: str) -> NetworkAcl:
    """Return an ACL of acme."""
    found = resolve(lab.world.inventory(), lab.world.caller, "acl", f"acme/{name}")[1]
    assert isinstance(found, NetworkAcl)
    return found


def associate(lab: Policed, subnet: str, name: str) -> None:
    """Associate a subnet with an ACL, and wait until the ACL is in force."""
    found = resolve(lab.world.inventory(), lab.world.caller, "subnet", f"acme/{subnet}")[1]
    associate_network_acl(lab.world.store, lab.world.caller, found.id, acl(lab, name).id)
    lab.settle()


# --- order -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("server", "version"), BORDERS)
def test_the_lowest_number_that_matches_decides(lab: Policed, server: str, version: int) -> None:
    wanted = {3999: "acl_ingress", 4000: PASSED, 4999: PASSED, 5000: "acl_ingress", 5100: "acl_ingress", 5101: PASSED}
    assert {port: lab.verdict(CLIENT, server, tcp(CLIENT, server, port, version=version)) for port in wanted} == wanted
    assert lab.verdict(FAR, server, tcp(FAR, server, 5000, version=version)) == (PASSED if version == 4 else "acl_ingress")
    assert lab.verdict(FAR, server, tcp(FAR, server, 5001, version=version)) == "acl_ingress"


@pytest.mark.parametrize(("server", "version"), BORDERS)
def test_what_no_entry_allows_is_denied(lab: Policed, server: str, version: int) -> None:
    packets: list[Packet] = [udp(CLIENT, server, 6001, version=version), tcp(CLIENT, server, 443, version=version)]
    packets += [ip(CLIENT, server, 4) / ICMP(type=13), ip(CLIENT, server, version) / Raw(bytes(8))]
    assert {lab.verdict(CLIENT, server, packet) for packet in packets} <= {"acl_ingress", "invalid"}


@pytest.mark.parametrize(("server", "version"), BORDERS)
@pytest.mark.parametrize(("port", "end"), [(6000, PASSED), (6001, "acl_ingress")])
def test_all_fragments_share_the_port_that_an_entry_names(lab: Policed, server: str, version: int, port: int, end: str) -> None:
    large = udp(CLIENT, server, port, version=version) / Raw(bytes(8000))
    assert lab.verdict(CLIENT, server, large, pieces) == end


@pytest.mark.parametrize("server", [DB_NEAR, DB_FAR])
def test_an_echo_may_come_in_and_its_answer_not_go_out(lab: Policed, server: str) -> None:
    assert lab.verdict(CLIENT, server, ip(CLIENT, server) / ICMP(type=8, id=3)) == PASSED
    assert lab.verdict(server, CLIENT, ip(server, CLIENT) / ICMP(type=0, id=3)) == "acl_egress"
    assert lab.verdict(CLIENT, server, ip(CLIENT, server, 6) / ICMPv6EchoRequest(id=3)) == PASSED


@pytest.mark.parametrize("server", [DB_NEAR, DB_FAR])
def test_the_acl_is_judged_before_the_groups(lab: Policed, server: str) -> None:
    assert lab.verdict(CLIENT, server, tcp(CLIENT, server, 5900, version=6)) == "sg_ingress"
    assert lab.verdict(CLIENT, server, tcp(CLIENT, server, 6001, version=6)) == "acl_ingress"


@pytest.mark.parametrize("server", [DB_NEAR, DB_FAR])
def test_entries_that_come_and_go_are_in_force_at_once(lab: Policed, server: str) -> None:
    ends, border = (lab.world.store, lab.world.caller), acl(lab, "border").id
    shut = EntryRequest(number=50, allow=False, protocol="tcp", cidr=f"{address(CLIENT)}/32", ports="4000-4010")
    wide = EntryRequest(number=50, allow=True, protocol="tcp", cidr=f"{address(CLIENT)}/32")
    changes = (
        partial(create_network_acl_entry, *ends, border, Direction.INGRESS, shut),
        partial(replace_network_acl_entry, *ends, border, Direction.INGRESS, wide),
        partial(delete_network_acl_entry, *ends, border, Direction.INGRESS, 50),
    )
    verdicts = []
    for change in changes:
        change()
        lab.settle()
        verdicts.append([lab.verdict(CLIENT, server, tcp(CLIENT, server, port)) for port in (4010, 4011, 80)])
    refused = "acl_ingress"
    assert verdicts == [[refused, PASSED, refused], [PASSED, PASSED, PASSED], [PASSED, PASSED, refused]]


# --- statelessness ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("server", "version"), BORDERS)
def test_an_answer_needs_an_entry_of_its_own(lab: Policed, server: str, version: int) -> None:
    """TCP has an entry for clients' ports; UDP has none."""
    Talk(lab, CLIENT, server, 4000, version, client_port=32768).opens()
    low = Talk(lab, CLIENT, server, 4000, version, client_port=32767)
    assert [low.says(CLIENT, "S"), low.says(server, "SA")] == [PASSED, "acl_egress"]
    assert lab.verdict(CLIENT, server, udp(CLIENT, server, 6000, version=version, sport=40000)) == PASSED
    assert lab.verdict(server, CLIENT, udp(server, CLIENT, 40000, version=version, sport=6000)) == "acl_egress"


@pytest.mark.parametrize("server", [DB_NEAR, DB_FAR])
def test_a_question_may_go_out_and_its_answer_not_come_in(lab: Policed, server: str) -> None:
    ask = Talk(lab, server, NEAR, 33000, client_port=7000)
    assert [ask.says(server, "S"), ask.says(NEAR, "SA")] == [PASSED, "acl_ingress"]


@pytest.mark.parametrize("server", [DB_NEAR, DB_FAR])
def test_another_acl_ends_what_it_does_not_allow(lab: Policed, server: str) -> None:
    talk = Talk(lab, CLIENT, server, 4000, client_port=50000).opens()
    associate(lab, "db", "closed")
    assert talk.says(CLIENT, "PA") == "acl_ingress"
    assert talk.says(server, "PA") == "acl_egress"
    associate(lab, "db", "border")
    assert [talk.says(CLIENT, "PA"), talk.says(server, "PA")] == [PASSED] * 2


# --- the border --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(("source", "target"), [(DB_NEAR, DB_FAR), (DB_FAR, DB_NEAR)])
def test_within_a_subnet_no_acl_is_met(lab: Policed, source: str, target: str, version: int) -> None:
    associate(lab, "db", "closed")
    verdicts = [lab.verdict(source, target, udp(source, target, 7, version=version)), _opened(lab, source, target, version)]
    associate(lab, "db", "border")
    assert verdicts == [PASSED, PASSED]


@pytest.mark.parametrize("version", [4, 6])
def test_within_a_subnet_no_acl_is_met_on_one_host_either(lab: Policed, version: int) -> None:
    associate(lab, "app", "closed")
    verdicts = [_opened(lab, CLIENT, NEAR, version), _opened(lab, CLIENT, FAR, version)]
    verdicts += [lab.verdict(CLIENT, target, udp(CLIENT, target, 6000, version=version)) for target in (DB_NEAR, DB_FAR)]
    verdicts += [lab.verdict(source, NEAR, tcp(source, NEAR, 40000, version=4)) for source in (DB_NEAR, DB_FAR)]
    associate(lab, "app", "default")
    assert verdicts == [PASSED, PASSED, "acl_egress", "acl_egress", "acl_ingress", "acl_ingress"]


def _opened(lab: Policed, source: str, target: str, version: int) -> str:
    Talk(lab, source, target, 1, version).opens()
    return PASSED


def test_an_acl_with_entries_of_one_ip_version_denies_the_other(lab: Policed) -> None:
    store, caller, closed = lab.world.store, lab.world.caller, acl(lab, "closed")
    entry = EntryRequest(number=1, allow=True, protocol="all", cidr="0.0.0.0/0")
    for direction in Direction:
        create_network_acl_entry(store, caller, closed.id, direction, entry)
    associate(lab, "db", "closed")
    verdicts = {
        (server, version): lab.verdict(CLIENT, server, udp(CLIENT, server, 7, version=version)) for server, version in BORDERS
    }
    associate(lab, "db", "border")
    for direction in Direction:
        delete_network_acl_entry(store, caller, closed.id, direction, 1)
    lab.settle()
    assert verdicts == {key: PASSED if key[1] == 4 else "acl_ingress" for key in verdicts}
