"""DNS as instances use it: two VPCs with the same addresses on one host, and instances that forge their source."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import dns.message
import dns.query
import dns.rcode
import pytest

from netorch.control.actions.services.attributes import modify_vpc
from netorch.control.actions.services.zones import describe_zones, put_record
from netorch.drivers import netns
from netorch.drivers.services.control import Control
from netorch.drivers.services.driver import services_directory
from netorch.model.services.near import METADATA, PACKETS_PER_S, RESOLVER, RESOLVER6
from netorch.model.services.zones import RecordSet, RecordType
from netorch.records.caller import Caller
from netorch.services.names.upstream import TRIES, TRY_S
from netorch.state.base import UNDERLAY
from tests.rig.world import World, wait_for

pytestmark = pytest.mark.root

CIDR2 = "10.0.0.2"
OPERATOR = Caller(operator=True)
VPC = """
- name: {name}
  cidrs: [10.0.0.0/16]
  ipv6_cidrs: [2001:db8:5::/56]
  enable_dns_hostnames: true
  subnets: [{{name: app, cidr: 10.0.1.0/24, ipv6_cidr: "2001:db8:5::/64"}}]
  instances:
  - {{name: a, host: hv1, address: 10.0.1.5, ipv6_address: "2001:db8:5::5"}}
  - {{name: b, host: hv1, address: 10.0.1.6, source_dest_check: false}}
  - {{name: c, host: hv2, address: 10.0.1.7}}
"""
ZONES = """
private_zones:
- name: corp
  domain: corp.example
  vpcs: [acme]
  records:
  - {name: db, type: A, values: [10.0.1.7]}
  - {name: www, type: CNAME, values: [db.corp.example]}
  - {name: "*.apps", type: TXT, values: [it's here]}
- {name: blues, domain: corp.example, vpcs: [blue], records: [{name: db, type: A, values: [10.0.1.6]}]}
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("names"), ("hv1", "hv2"), serves=True)
    try:
        world.start_agents()
        world.apply("vpcs:" + VPC.format(name="acme") + VPC.format(name="blue") + ZONES)
        world.settle()
        yield world
    finally:
        world.close()


@contextmanager
def inside(world: World, instance: str) -> Iterator[None]:
    fd = netns.find(world.instance(instance).id)
    try:
        with netns.inside(fd):
            yield
    finally:
        os.close(fd)


def ask(world: World, instance: str, name: str, rdtype: str = "A", at: str = RESOLVER, *, tcp: bool = False) -> str:
    """Return the answer's code and records; `tcp` asks by TCP. Raises dns.exception.Timeout, OSError."""
    query = dns.message.make_query(name, rdtype)
    with inside(world, instance):
        method = dns.query.tcp if tcp else dns.query.udp
        reply = method(query, at, timeout=ANSWER_S)
    records = [item.to_text() for rrset in reply.answer for item in rrset]
    return " ".join([dns.rcode.to_text(reply.rcode()), *records])


def silent(world: World, instance: str, name: str, at: str, source: str = "") -> bool:
    """Return whether a question gets no answer."""
    query = dns.message.make_query(name, "A").to_wire()
    with inside(world, instance):
        sock = socket.socket(socket.AF_INET6 if ":" in at else socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.settimeout(0.5)
        if source:
            sock.bind((source, 0))
        sock.sendto(query, (at, 53))
        try:
            sock.recv(4096)
        except OSError:
            return True
        return False


def take(world: World, instance: str, address: str) -> None:
    """Give an instance an address that it does not own."""
    words = f"{address}/128 dev eth0 nodad" if ":" in address else f"{address}/32 dev eth0"
    subprocess.run(["ip", "-n", world.instance(instance).id, "addr", "replace", *words.split()], check=True)


def pid(host: str) -> int:
    with Control(services_directory(host, UNDERLAY) / "control", 2.0) as control:
        return control.pid()


NAME = "ip-10-0-1-7.compute.internal"
ANSWER_S = TRIES * TRY_S + 10.0  # more than it takes to find that no other server answers


@pytest.mark.parametrize("at", [RESOLVER, CIDR2, RESOLVER6])
@pytest.mark.parametrize("tcp", [False, True])
def test_instances_of_both_vpcs_are_answered(cloud: World, at: str, tcp: bool) -> None:
    for vpc in ("acme", "blue"):
        if at == RESOLVER6:
            assert ask(cloud, f"{vpc}/a", NAME, at=at, tcp=tcp) == "NOERROR 10.0.1.7"
            continue
        assert ask(cloud, f"{vpc}/a", NAME, at=at, tcp=tcp) == "NOERROR 10.0.1.7"
        assert ask(cloud, f"{vpc}/b", "7.1.0.10.in-addr.arpa", "PTR", at=at, tcp=tcp) == f"NOERROR {NAME}."
        assert ask(cloud, f"{vpc}/c", "ip-10-1-0-7.compute.internal", at=at, tcp=tcp) == "NXDOMAIN"


def test_each_vpc_has_its_own_zones_and_instances(cloud: World) -> None:
    instance = cloud.instance("acme/c").id
    for vpc, wanted in (("acme", "10.0.1.7"), ("blue", "10.0.1.6")):
        assert ask(cloud, f"{vpc}/a", "DB.corp.example") == f"NOERROR {wanted}"
    assert ask(cloud, "acme/a", "www.corp.example") == "NOERROR db.corp.example. 10.0.1.7"
    assert ask(cloud, "acme/a", "x.apps.corp.example", "TXT") == 'NOERROR "it\'s here"'
    assert ask(cloud, "acme/a", f"{instance}.compute.internal") == "NOERROR 10.0.1.7"
    for name in ("www.corp.example", "x.apps.corp.example", f"{instance}.compute.internal"):
        assert ask(cloud, "blue/a", name) == "NXDOMAIN"


def test_a_changed_zone_is_answered_at_once_and_one_that_ends_is_nobodys(cloud: World) -> None:
    zone = next(info.found for info in describe_zones(cloud.store, OPERATOR) if info.found.name == "blues")
    put_record(cloud.store, OPERATOR, zone.id, RecordSet(name="new", type=RecordType.A, values=("10.0.1.9",)))
    wait_for(lambda: ask(cloud, "blue/a", "new.corp.example") == "NOERROR 10.0.1.9", "the new record")
    assert ask(cloud, "acme/a", "new.corp.example") == "NXDOMAIN"
    modify_vpc(cloud.store, OPERATOR, cloud.vpc("blue").vpc.record.id, enable_dns_hostnames=False)
    wait_for(lambda: ask(cloud, "blue/a", "db.corp.example") == "SERVFAIL", "the zone to be gone")  # no other server may be asked
    assert ask(cloud, "acme/a", "db.corp.example") == "NOERROR 10.0.1.7"


def test_who_asks_as_another_or_elsewhere_is_not_answered(cloud: World) -> None:
    before = cloud.counters("hv1")
    for instance, source in (("acme/a", "10.0.1.6"), ("acme/b", "10.0.1.5")):  # b may send with other sources, to other instances
        take(cloud, instance, source)
        assert silent(cloud, instance, NAME, RESOLVER, source=source)
    assert silent(cloud, "acme/a", NAME, METADATA)
    assert silent(cloud, "acme/a", NAME, "10.0.1.1")
    for target, source in ((RESOLVER6, "2001:db8:5::6"), ("2001:db8:5::1", "2001:db8:5::5")):
        take(cloud, "acme/a", source)
        assert silent(cloud, "acme/a", NAME, target, source=source)
    after = cloud.counters("hv1")
    assert after["spoofed"] > before["spoofed"]
    assert after["to_near"] > before["to_near"]


def test_a_flood_of_one_interface_silences_nobody_else(cloud: World) -> None:
    query = dns.message.make_query(NAME, "A").to_wire()
    with inside(cloud, "blue/a"):
        flood = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    before = cloud.counters("hv1")["near_allowance"]
    with flood:
        for _ in range(4 * PACKETS_PER_S):
            flood.sendto(query, (RESOLVER, 53))
        assert ask(cloud, "acme/a", NAME) == "NOERROR 10.0.1.7"
    assert cloud.counters("hv1")["near_allowance"] > before


def test_nobody_pays_for_questions_with_connections(cloud: World) -> None:
    zone = cloud.agent("hv1").reconciler.view(cloud.vpc("acme").vni)
    assert zone is not None
    flows = cloud.reader("hv1").trackers["overlay"].flows(zone.zone)
    assert not [flow for flow in flows if 53 in (flow.dport, flow.sport)]


def test_a_restarted_agent_writes_nothing_and_a_killed_daemon_is_replaced(cloud: World) -> None:
    first = pid("hv1")
    cloud.stop_agent("hv1")
    assert ask(cloud, "acme/a", NAME) == "NOERROR 10.0.1.7"
    cloud.start_agents("hv1")
    cloud.settle()
    assert cloud.agent("hv1").reconciler.writes == 0
    assert pid("hv1") == first
    os.kill(first, signal.SIGKILL)
    for name in ("acme/a", "blue/a"):  # the next daemon serves one VPC after the other, and a question of UDP is not repeated
        wait_for(lambda n=name: not silent(cloud, n, NAME, RESOLVER), f"the next daemon to serve {name}")  # type: ignore[misc]
    assert pid("hv1") != first
    assert ask(cloud, "blue/a", NAME) == "NOERROR 10.0.1.7"
