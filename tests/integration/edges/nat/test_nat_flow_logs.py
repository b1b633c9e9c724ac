"""Flow logs of a NAT gateway's interface: the lines of a connection, as many packets as the kernel counts, and drops."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import msgspec
import pytest

from netorch.agent.flowlog.files import log_directory, read_lines
from netorch.control.actions.flow_logs import create_flow_log
from netorch.drivers.linux import LinuxKernel
from netorch.lab.wiring import in_node
from netorch.model.eni import NetworkInterface
from netorch.model.security import AclEntry, NetworkAcl
from netorch.records import keys
from netorch.records.codec import encode
from netorch.state.netns import Namespace
from tests.integration.edges.nat.natted import INSIDE, natted
from tests.rig.outskirts import INTERNET, SERVER, Outskirts, connected, listening, udp_socket
from tests.rig.seats import nat_of
from tests.rig.world import wait_for

pytestmark = [pytest.mark.root, pytest.mark.slow]

PUBLIC, ONE = "198.51.100.11", "10.0.1.5"
FIELDS = (
    "srcaddr dstaddr srcport dstport pkt-srcaddr pkt-dstaddr protocol action flow-direction traffic-path packets bytes "
    "interface-id log-status"
)
PATIENCE_S = 60.0  # an interval lasts 10 s


@pytest.fixture(scope="module")
def outskirts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outskirts]:
    with natted(tmp_path_factory.mktemp("nat-logs"), {"a": PUBLIC}) as found:
        yield found


class Log:
    """A flow log of the NAT gateway's interface, or of the whole VPC."""

    def __init__(self, outskirts: Outskirts, resource: str, name: str) -> None:
        world = outskirts.world
        self._vpc = world.vpc("a").vpc.record
        self._root = world.directory / "flow-logs"
        log = create_flow_log(world.store, world.caller, resource, name=name, interval_s=10, log_format=FIELDS)
        self._id = log.id
        wait_for(self.lines, "the first interval's lines", PATIENCE_S)

    def lines(self) -> list[list[str]]:
        """Return all lines so far."""
        return [line.split() for line in read_lines(log_directory(self._root, self._vpc.owner, self._vpc.id, self._id))]

    def flows(self) -> dict[str, tuple[int, int]]:
        """Return packets and bytes by flow, summed over all intervals."""
        found: dict[str, tuple[int, int]] = {}
        for line in self.lines():
            if line[-1] == "OK":
                key, (packets, size) = " ".join(line[:10]), map(int, line[10:12])
                had = found.get(key, (0, 0))
                found[key] = had[0] + packets, had[1] + size
        return found


def interface(outskirts: Outskirts) -> str:
    """Return the id of the gateway's interface."""
    return next(eni.id for eni in outskirts.world.vpc("a").each(NetworkInterface) if eni.gateway)


def counted(outskirts: Outskirts) -> dict[str, tuple[int, int]]:
    """Return the packets and bytes counted by the gateway's table on the first edge."""
    with in_node("e1"):
        kernel = LinuxKernel("e1")
    with closing(kernel):
        kernel.dump(frozenset({Namespace.kind}))
        found = kernel.gateway_counters(nat_of(outskirts.world.vpc("a").vni))
    return {name: (count.packets, count.bytes) for name, count in found.items()}


def test_one_connection_has_four_lines_that_add_up_to_the_kernels_counters(outskirts: Outskirts) -> None:
    log = Log(outskirts, interface(outskirts), "gateway")
    assert {line[-1] for line in log.lines()} == {"NODATA"}
    before = counted(outskirts)
    with listening(INTERNET, 80) as server, connected(outskirts.place("a/one"), (SERVER, 80), 40000) as client:
        taken, (_, port) = server.accept()
        with taken:
            client.sendall(b"question" * 100)
            assert taken.recv(4096)
            taken.sendall(b"answer" * 1000)
            assert client.recv(65536)
    legs = {
        f"{ONE} {INSIDE} 40000 80 {ONE} {SERVER} 6 ACCEPT ingress -": "in_from_source",
        f"{INSIDE} {SERVER} {port} 80 {INSIDE} {SERVER} 6 ACCEPT egress 8": "out_to_destination",
        f"{SERVER} {INSIDE} 80 {port} {SERVER} {INSIDE} 6 ACCEPT ingress -": "in_from_destination",
        f"{INSIDE} {ONE} 80 40000 {SERVER} {ONE} 6 ACCEPT egress 1": "out_to_source",
    }

    def wanted() -> dict[str, tuple[int, int]]:
        now = counted(outskirts)
        return {leg: (now[name][0] - before[name][0], now[name][1] - before[name][1]) for leg, name in legs.items()}

    wait_for(lambda: log.flows() == wanted(), f"the lines of a connection, not {log.flows()}", PATIENCE_S)
    assert {line[-2] for line in log.lines()} == {interface(outskirts)}


def test_refused_packets_and_unasked_ones_have_the_lines_that_ec2_writes(outskirts: Outskirts) -> None:
    world = outskirts.world
    acl = next(each for each in world.vpc("a").each(NetworkAcl) if each.name == "border")
    deny = AclEntry(number=1, allow=False, protocol=17, cidr="203.0.113.0/24", from_port=7002, to_port=7002)
    outskirts.put(keys.resource(acl.id), encode(msgspec.structs.replace(acl, egress=(deny, *acl.egress))))
    world.settle()
    log = Log(outskirts, world.vpc("a").vpc.record.id, "vpc")
    with udp_socket(outskirts.place("a/one"), (ONE, 41000)) as client, udp_socket(INTERNET, (SERVER, 42000)) as stranger:
        client.sendto(b"denied", (SERVER, 7002))
        stranger.sendto(b"unasked", (PUBLIC, 5000))
    size = 20 + 8
    wanted = {
        f"{ONE} {SERVER} 41000 7002 {ONE} {SERVER} 17 ACCEPT egress 1": (1, size + 6),  # at the instance's own interface
        f"{ONE} {INSIDE} 41000 7002 {ONE} {SERVER} 17 ACCEPT ingress -": (1, size + 6),
        f"{INSIDE} {SERVER} 41000 7002 {INSIDE} {SERVER} 17 REJECT egress -": (1, size + 6),
        f"{SERVER} {INSIDE} 42000 5000 {SERVER} {INSIDE} 17 ACCEPT ingress -": (1, size + 7),  # not denied by an ACL
    }
    wait_for(lambda: log.flows() == wanted, f"the lines of three interfaces, not {log.flows()}", PATIENCE_S)
