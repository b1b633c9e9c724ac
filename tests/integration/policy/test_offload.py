"""Connections that flowtables forward: which ones, what ends that, and that nobody gains what a rule refuses."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from scapy.layers.inet import ICMP, TCP
from scapy.packet import Raw

from netorch.control.actions.moves import move_instance
from netorch.control.actions.permissions import revoke
from netorch.control.actions.route_tables import create_route_table
from netorch.control.actions.subnets import associate_network_acl
from netorch.control.views.describe import resolve
from netorch.diagnose.flows import Wanted, Watcher
from netorch.diagnose.trace import Report, trace
from netorch.model.security import Direction
from netorch.state.l3 import Route
from netorch.state.link import VethPort
from netorch.state.names import vxlan_name
from netorch.state.nft import NftChain
from netorch.trace.codes import Code
from tests.integration.policy.offloaded import HOSTS, Flow, is_let_go, nft, offloaded
from tests.integration.policy.test_connections import FREE, GROUPS, TRACKED, both
from tests.integration.test_mtu import set_underlay
from tests.rig.crafted import framed, send_frames
from tests.rig.policed import (
    CLIENT,
    DB_FAR,
    DB_NEAR,
    FAR,
    NEAR,
    PASSED,
    PATHS,
    Policed,
    Talk,
    address,
    cloud,
    ip,
    policed,
    udp,
    vpc,
)
from tests.rig.tables import use_table
from tests.rig.world import UNDERLAY_MTU, wait_for

pytestmark = pytest.mark.root

MEMBERS = {"client": "clients", "near": "servers", "far": "servers", "db-near": "servers", "db-far": "servers"}
_IN = f"ingress: [{{rule: 100, action: allow, protocol: tcp, ports: {TRACKED}, cidr: 0.0.0.0/0}}]"
_OUT = "egress: [{rule: 100, action: allow, protocol: tcp, ports: 1024-65535, cidr: 0.0.0.0/0}]"
ACLS = f"{{name: strict, {_IN}, {_OUT}}}, {{name: inward, {_IN}}}, {{name: outward, {_OUT}}}, {{name: closed}}"
_ALL = '"0.0.0.0/0"', '"::/0"'
_IN_ALL = ", ".join(f"{{rule: {100 + n}, action: allow, protocol: all, cidr: {cidr}}}" for n, cidr in enumerate(_ALL))
_OUT_ICMP = "{rule: 100, action: allow, protocol: icmp, cidr: 0.0.0.0/0}"
ACLS += f", {{name: errors, ingress: [{_IN_ALL}], egress: [{_OUT_ICMP}]}}"
LOSSES = ["flush chain netdev netorch {0}; delete chain netdev netorch {0}", "delete table netdev netorch"]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Policed]:
    """Servers with a tracked and an untracked port; another VPC with the same addresses."""
    text = cloud(vpc("acme", GROUPS, MEMBERS, ACLS), vpc("globex", GROUPS, MEMBERS))
    with policed(tmp_path_factory.mktemp("offload"), text) as lab:
        yield lab


@pytest.mark.parametrize(("server", "version"), PATHS)
def test_a_connection_that_its_ends_track_is_offloaded_until_it_closes(lab: Policed, server: str, version: int) -> None:
    flow = Flow(lab, server, version)
    assert [flow.says(server, "FA"), flow.says(CLIENT, "PA"), flow.says(CLIENT, "FA"), flow.says(server, "A")] == [PASSED] * 4
    assert not any(offloaded(lab, HOSTS[end], flow.port) for end in (CLIENT, server))
    question = udp(CLIENT, server, TRACKED, version=version)
    answer = udp(server, CLIENT, question.sport, version=version, sport=TRACKED)

    def is_offloaded() -> bool:
        assert [lab.verdict(CLIENT, server, question), lab.verdict(server, CLIENT, answer)] == [PASSED] * 2
        return all(offloaded(lab, HOSTS[end], question.sport) for end in (CLIENT, server))

    wait_for(is_offloaded, "the datagrams to be offloaded")  # once conntrack has seen them for two seconds
    assert is_offloaded()


@pytest.mark.parametrize(("server", "version"), PATHS)
def test_what_an_end_does_not_track_is_offloaded_until_its_rule_goes(lab: Policed, server: str, version: int) -> None:
    flow = Flow(lab, server, version, port=FREE)
    rules = both(FREE, nets=("0.0.0.0/0", "::/0"))
    lab.revoke("acme/servers", Direction.INGRESS, *rules)
    assert flow.says(CLIENT, "PA") == "sg_ingress"
    is_let_go(lab, HOSTS[server], flow.port)
    assert flow.says(CLIENT, "PA") == "sg_ingress"
    assert not offloaded(lab, HOSTS[server], flow.port)
    lab.allow("acme/servers", Direction.INGRESS, *rules)
    flow.is_offloaded()
    lab.regroup(server, "clients")
    assert flow.says(CLIENT, "PA") == "sg_ingress"
    lab.regroup(server, "servers")
    flow.is_offloaded()


@pytest.mark.parametrize(("server", "version"), PATHS)
def test_a_syn_on_an_offloaded_connection_is_judged(lab: Policed, server: str, version: int) -> None:
    flow = Flow(lab, server, version)
    assert flow.syn(CLIENT) == PASSED
    flow = Flow(lab, server, version)
    assert flow.syn(server) == "invalid"
    rules = both(TRACKED) + both(TRACKED, "udp")
    lab.revoke("acme/servers", Direction.INGRESS, *rules)
    flow.is_offloaded()  # a tracked connection outlives its rule
    assert flow.syn(CLIENT) == "sg_ingress"
    assert flow.syn(server) == "invalid"
    flow.exchanges()  # and a dropped SYN
    lab.allow("acme/servers", Direction.INGRESS, *rules)


def test_a_trace_judges_new_packets_and_shows_that_flowtables_forward_later_ones(lab: Policed) -> None:
    flow, world = Flow(lab, FAR), lab.world

    def traced(timeout_s: float) -> Report:
        return trace(world.store, world.inventory(), world.caller, CLIENT, FAR, f"tcp/{TRACKED}", timeout_s=timeout_s)

    found = traced(5.0)
    assert (found.disagreement, found.live.arrived) == ("", True)
    for trip in (found.model, found.kernel):
        assert trip is not None
        assert trip.later is not None
        assert trip.later.offloaded_on == ("hv1", "hv2")
    flow.exchanges()
    watcher = Watcher(world.inventory(), world.caller, Wanted())
    seen = {(one.host, one.source_port): one.offloaded for one in watcher.living()}
    watcher.close()
    assert [seen[host, flow.port] for host in ("hv1", "hv2")] == [True, True]
    lab.revoke("acme/servers", Direction.INGRESS, *both(TRACKED))
    found = traced(1.0)
    assert (found.disagreement, found.live.arrived, found.verdict.code) == ("", False, Code.ENI_SG_RULES_MISMATCH)
    flow.exchanges()
    lab.allow("acme/servers", Direction.INGRESS, *both(TRACKED))


@pytest.mark.parametrize("server", [NEAR, FAR])
def test_terminated_connections_end(lab: Policed, server: str) -> None:
    flow = Flow(lab, server)
    rules = both(TRACKED)
    group = lab.group("acme/servers")
    revoke(lab.world.store, lab.world.caller, group.id, Direction.INGRESS, rules, terminate_established=True)
    lab.settle()
    assert flow.says(CLIENT, "PA") != PASSED
    assert flow.says(server, "PA") != PASSED
    lab.allow("acme/servers", Direction.INGRESS, *rules)


def associate(lab: Policed, name: str, *, waits: bool = True) -> None:
    """Associate the subnet db with an ACL, and wait until it is in force."""
    world = lab.world
    subnet, acl = (
        resolve(world.inventory(), world.caller, *what)[1] for what in (("subnet", "acme/db"), ("acl", f"acme/{name}"))
    )
    associate_network_acl(world.store, world.caller, subnet.id, acl.id)
    if waits:
        lab.settle()


def test_another_acl_is_in_force_at_once_and_what_it_allows_both_ways_is_offloaded(lab: Policed) -> None:
    flows = [Flow(lab, server) for server in (DB_NEAR, DB_FAR)]
    associate(lab, "closed")
    for flow in flows:
        assert [flow.says(CLIENT, "PA"), flow.says(flow.server, "PA")] == ["acl_ingress", "acl_egress"]
    for name, verdicts in (("inward", [PASSED, "acl_egress"]), ("outward", ["acl_ingress", PASSED])):
        associate(lab, name)
        for flow in flows:
            is_let_go(lab, HOSTS[flow.server], flow.port)
        for flow in flows * 2:
            assert [flow.says(CLIENT, "PA"), flow.says(flow.server, "PA")] == verdicts
            assert not offloaded(lab, HOSTS[flow.server], flow.port)
    for name in ("strict", "default"):
        associate(lab, name)
        for flow in flows:
            flow.is_offloaded()


@pytest.mark.parametrize("server", [DB_NEAR, DB_FAR])
def test_an_icmp_error_does_not_offload_the_connection_that_it_quotes(lab: Policed, server: str) -> None:
    """Its ACL permits ICMP and denies the connection; Linux takes the error for a packet of the connection."""
    flow = Flow(lab, server)
    associate(lab, "errors")
    is_let_go(lab, HOSTS[server], flow.port)
    network = ip(CLIENT, server)
    network.id = 0  # Linux would read the identification as TCP's flags, e.g. FIN
    quoted = bytes(network / TCP(sport=flow.port, dport=TRACKED, flags="PA", seq=77))
    for _ in range(2):
        assert [flow.says(CLIENT, "PA"), flow.says(server, "PA")] == [PASSED, "acl_egress"]
        assert lab.verdict(server, CLIENT, ip(server, CLIENT) / ICMP(type=3, code=3) / Raw(quoted)) == PASSED
        assert not offloaded(lab, HOSTS[server], flow.port)
    assert flow.says(server, "PA") == "acl_egress"
    associate(lab, "default")


def test_a_port_that_another_host_is_to_take_over_obeys_another_acl(lab: Policed) -> None:
    """Its host leaves the port alone until the other one has it, and yet no flowtable passes its packets past new rules."""
    flow, world = Flow(lab, DB_NEAR), lab.world
    with world.agent("hv2").busy:  # it does not take the port
        move_instance(world.store, world.caller, world.instance(DB_NEAR).id, "hv2")
        associate(lab, "closed", waits=False)
        revision = world.store.revision()
        wait_for(lambda: world.agent("hv1").has_done(revision), "hv1 to act")
        assert world.port(DB_NEAR) in port_names(lab, "hv1")
        is_let_go(lab, "hv1", flow.port)
        assert [flow.says(DB_NEAR, "PA"), flow.says(CLIENT, "PA")] == ["acl_egress", "acl_ingress"]
        assert not offloaded(lab, "hv1", flow.port)
    world.wait_attached()
    lab.forget(DB_NEAR)
    associate(lab, "default")
    move_instance(world.store, world.caller, world.instance(DB_NEAR).id, "hv1")
    world.wait_attached()
    lab.forget(DB_NEAR)
    lab.settle()


def port_names(lab: Policed, host: str) -> set[str]:
    """Return the ports that a host's kernel has."""
    return {obj.ifname for obj in lab.world.reader(host).dump().values() if isinstance(obj, VethPort)}


def test_in_another_route_tables_vrf_what_leaves_the_host_is_offloaded(lab: Policed) -> None:
    world = lab.world
    subnet, owner = (resolve(world.inventory(), world.caller, *what)[1] for what in (("subnet", "acme/db"), ("vpc", "acme")))
    table = create_route_table(world.store, world.caller, owner.id, name="apart")
    use_table(world.store, world.caller, subnet.id, table.id)
    lab.settle()
    for version in (4, 6):
        Flow(lab, DB_FAR, version)
    near = Talk(lab, CLIENT, DB_NEAR, TRACKED, client_port=TRACKED + 1).opens()
    for _ in range(3):
        assert [near.says(CLIENT, "PA"), near.says(DB_NEAR, "PA")] == [PASSED] * 2
    assert not offloaded(lab, HOSTS[DB_NEAR], TRACKED + 1)
    use_table(world.store, world.caller, subnet.id, "")
    lab.settle()
    for version in (4, 6):
        Flow(lab, DB_FAR, version)


@pytest.mark.parametrize("version", [4, 6])
def test_who_forges_an_offloaded_packet_gains_nothing(lab: Policed, version: int) -> None:
    """Neither with another MAC at the same port, nor at another port, nor in another VPC."""
    flow = Flow(lab, FAR, version)
    forged = bytes(ip(CLIENT, FAR, version) / TCP(sport=flow.port, dport=TRACKED, flags="PA", seq=5, ack=5) / b"forged bytes")
    listener, before = lab.listener(FAR), lab.counters()["spoofed"]
    for name, mac in ((CLIENT, "06:00:00:00:00:99"), (NEAR, lab.world.eni(NEAR).mac)):
        send_frames(lab.world.instance(name).id, "eth0", [framed(mac, forged)])
    wait_for(lambda: lab.counters()["spoofed"] == before + 2, "the drops to be counted")
    globex = ("globex/client", "globex/far")
    assert (
        lab.verdict(*globex, ip(CLIENT, FAR, version) / TCP(sport=flow.port, dport=TRACKED, flags="PA", seq=5, ack=5))
        == "invalid"
    )
    assert not listener.heard(b"forged bytes")
    flow.exchanges()


@pytest.mark.parametrize("version", [4, 6])
def test_nothing_unverified_is_offloaded(lab: Policed, version: int) -> None:
    """While the receiving host's own tables are flushed."""
    flow = Flow(lab, FAR, version)
    with lab.world.agent("hv2").busy:
        assert nft("hv2", "flush ruleset") == (0, "")
        assert flow.says(CLIENT, "PA") == "unproven"
    lab.settle()
    wait_for(lambda: flow.says(CLIENT, "PA") == PASSED, "the table to be restored")
    flow.is_offloaded()


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_port_that_lost_its_chain_is_mute(lab: Policed, loss: str, version: int) -> None:
    flows = [Flow(lab, server, version) for server in (NEAR, FAR)]
    port, overlay = lab.world.port(CLIENT), lab.world.hosts["hv1"].overlay
    with lab.world.agent("hv1").busy:
        assert nft(overlay, loss.format(port)) == (0, "")
        assert [flow.says(CLIENT, "PA") for flow in flows] == ["unchecked"] * 2
    for flow in flows:
        wait_for(lambda: flow.says(CLIENT, "PA") == PASSED, "the chain to be restored")  # noqa: B023
        flow.is_offloaded()


def test_a_smaller_host_gets_no_larger_packets(lab: Policed) -> None:
    """Once the other host's MTU is smaller, the sender's router no longer lets larger packets pass."""
    flows = [Flow(lab, FAR, version) for version in (4, 6)]
    large = [flow.segment(bytes(1380)) for flow in flows]
    assert [lab.verdict(CLIENT, FAR, packet) for packet in large] == [PASSED] * 2
    try:
        set_underlay("hv2", 1400)
        lab.world.settle()
        wait_for(lambda: all(mtu_of_route(lab, flow.version) for flow in flows), "the routes to say the other host's MTU")
        for flow in flows:
            needle = os.urandom(12)
            marker = flow.segment(b"")
            assert lab.vanishes(CLIENT, FAR, [bytes(flow.segment(bytes(1380) + needle))], needle, marker)
    finally:
        set_underlay("hv2", UNDERLAY_MTU)
        lab.world.settle()


def mtu_of_route(lab: Policed, version: int) -> bool:
    """Return whether the client's host knows that FAR takes smaller packets."""
    found = [
        obj
        for obj in lab.world.reader("hv1").dump().values()
        if isinstance(obj, Route) and obj.dst.partition("/")[0] == address(FAR, version) and obj.table == lab.world.eni(FAR).vni
    ]
    return any(obj.mtu == 1350 for obj in found)


def test_what_somebody_takes_from_a_flowtable_is_restored(lab: Policed) -> None:
    """A guard first: without it, neither a SYN nor an unverified packet would be told from others."""
    overlay, vni = lab.world.hosts["hv2"].overlay, lab.world.eni(FAR).vni
    flow = Flow(lab, FAR)
    guard = f"inet netorch guard-{vni:06x}-{vxlan_name(vni)}"
    assert nft(overlay, f"flush chain {guard}; delete chain {guard}") == (0, "")
    wait_for(lambda: nft(overlay, f"list chain {guard}")[0] == 0, "the guard to be restored")
    flow.is_offloaded()
    assert flow.syn(FAR) == "invalid"


def test_flows_that_somebody_elses_rules_may_have_let_in_end_with_them(lab: Policed) -> None:
    flow = Flow(lab, FAR)
    vni, found = lab.world.eni(CLIENT).vni, lab.world.reader("hv1").dump().values()
    chains = sorted(obj.name for obj in found if isinstance(obj, NftChain) and obj.vni == vni)
    for start in ("border-", "egress-", "flow-"):
        chain = next(name for name in chains if name.startswith(start))
        assert nft(lab.world.hosts["hv1"].overlay, f"insert rule inet netorch {chain} accept") == (0, "")
        is_let_go(lab, "hv1", flow.port)
        lab.world.settle()
        flow.is_offloaded()


def test_a_connection_moves_with_its_interface(lab: Policed) -> None:
    flows = [Flow(lab, NEAR), Flow(lab, NEAR, client=FAR)]
    move_instance(lab.world.store, lab.world.caller, lab.world.instance(NEAR).id, "hv2")
    lab.world.wait_attached()
    lab.forget(NEAR)
    lab.settle()
    HOSTS[NEAR] = "hv2"
    try:
        for flow in flows:
            flow.is_offloaded()
    finally:
        HOSTS[NEAR] = "hv1"
