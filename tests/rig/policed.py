"""A small cloud whose policy is tested packet by packet.

    hv1   client, near (subnet app)   db-near (subnet db)          each in acme and, with the same addresses, in globex
    hv2   far          (subnet app)   db-far  (subnet db)

The instances' own kernels answer nothing. So every packet is a test's, and every counter that rises has risen for it.
A packet's verdict is `passed`, or the name of the counter that the packet raises.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import nftables
from scapy.layers.inet import IP, TCP, UDP, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, fragment6
from scapy.packet import Packet, Raw

from netorch.control.actions.memberships import modify_instance_groups
from netorch.control.actions.permissions import Permission, authorize, revoke
from netorch.control.views.describe import resolve
from netorch.drivers import netns
from netorch.model.eni import Instance
from netorch.model.security import Direction, SecurityGroup
from netorch.store.base import Put
from tests.rig.crafted import framed, send_frames
from tests.rig.packets import PATIENCE_S, PacketListener
from tests.rig.world import World, wait_for

PASSED = "passed"
NEEDLE_BYTES = 12
CLIENT, NEAR, FAR, DB_NEAR, DB_FAR = "acme/client", "acme/near", "acme/far", "acme/db-near", "acme/db-far"
SERVERS = (NEAR, FAR)  # on the client's host; on the other host
PATHS = [(server, version) for server in SERVERS for version in (4, 6)]
_PLACES = {"client": ("hv1", "app", 4), "near": ("hv1", "app", 5), "far": ("hv2", "app", 6)}
_PLACES |= {"db-near": ("hv1", "db", 7), "db-far": ("hv2", "db", 8)}
_SUBNETS = {"app": ("10.44.12", "fd00:44:0:100:"), "db": ("10.44.13", "fd00:44:0:101:")}
NET4, NET6 = "10.44.0.0/16", "fd00:44:0:100::/56"
_DEAF = "add table inet deaf\nadd chain inet deaf input { type filter hook input priority 0; policy drop; }"
Cut = Callable[[Packet], list[bytes]]  # the packets to send for one packet
_idents = itertools.count(100)
_sports = itertools.cycle(range(20000, 60000))


def address(name: str, version: int = 4) -> str:
    """Return an instance's address, which is the same for the instance of that name in another VPC."""
    _, subnet, number = _PLACES[name.rpartition("/")[2]]
    net4, net6 = _SUBNETS[subnet]
    return f"{net4}.{number}" if version == 4 else f"{net6}:{number}"


def vpc(name: str, groups: str, members: dict[str, str], acls: str = "", acl_of_db: str = "", prefix_lists: str = "") -> str:
    """Return a VPC of a vpc.yaml: its groups as YAML flow text, and the groups of each member."""
    lines = [f"- name: {name}", f"  owner: {name}", f"  cidrs: [{NET4}]", f"  ipv6_cidrs: ['{NET6}']"]
    lines += [f"  security_groups: [{groups}]", f"  network_acls: [{acls}]", f"  prefix_lists: [{prefix_lists}]", "  subnets:"]
    lines += ["  - {name: app, cidr: 10.44.12.0/24, ipv6_cidr: 'fd00:44:0:100::/64'}"]
    lines += [
        f"  - {{name: db, cidr: 10.44.13.0/24, ipv6_cidr: 'fd00:44:0:101::/64', network_acl: '{acl_of_db}'}}",
        "  instances:",
    ]
    for member, chosen in members.items():
        host, subnet, _ = _PLACES[member]
        where = f"host: {host}, subnet: {subnet}, address: {address(member)}, ipv6_address: '{address(member, 6)}'"
        lines.append(f"  - {{name: {member}, {where}, security_groups: [{chosen}]}}")
    return "\n".join(lines) + "\n"


def cloud(*vpcs: str) -> str:
    """Return a vpc.yaml."""
    return "vpcs:\n" + "".join(vpcs)


def ip(source: str, target: str, version: int = 4) -> Packet:
    """Return the IP header of a packet between two instances."""
    layer = IP if version == 4 else IPv6
    return layer(src=address(source, version), dst=address(target, version))


def tcp(source: str, target: str, port: int, flags: str = "S", *, version: int = 4, sport: int = 0) -> Packet:
    """Return a TCP segment; without a source port it is of no known connection."""
    return ip(source, target, version) / TCP(sport=sport or next(_sports), dport=port, flags=flags, seq=1000, ack=1000)


def udp(source: str, target: str, port: int, *, version: int = 4, sport: int = 0) -> Packet:
    """Return a UDP datagram; without a source port it is the first between its ports."""
    return ip(source, target, version) / UDP(sport=sport or next(_sports), dport=port)


def whole(packet: Packet) -> list[bytes]:
    """Return a packet in one piece."""
    return [bytes(packet)]


def pieces(packet: Packet, size: int = 1000) -> list[bytes]:
    """Return a packet in fragments with a fresh identification."""
    if packet.version == 4:
        packet.id = next(_idents)
        return [bytes(part) for part in fragment(packet, size)]
    whole = IPv6(bytes(packet))  # with its checksum
    upper = whole.payload
    header = IPv6ExtHdrFragment(id=next(_idents), nh=whole.nh)
    whole.remove_payload()
    whole.nh, whole.plen = 44, None
    return [bytes(part) for part in fragment6(whole / header / upper, size)]


class Policed:
    """The cloud and the actions of the tests on it."""

    def __init__(self, world: World, text: str) -> None:
        self.world = world
        self._ears: dict[str, PacketListener] = {}
        self._netns: dict[str, str] = {}
        self._macs: dict[str, str] = {}
        self.apply(text)

    def apply(self, text: str) -> None:
        """Apply a vpc.yaml and wait until it is in force."""
        self.world.apply(text)
        self.settle()
        vpcs = self.world.inventory().vpcs.values()
        names = [f"{found.vpc.record.name}/{stored.record.name}" for found in vpcs for stored in found.of(Instance).values()]
        self._netns = {name: self.world.instance(name).id for name in names}
        self._macs = {name: self.world.eni(name).mac for name in names}
        for place in self._netns.values():
            _deafen(place)

    def settle(self) -> None:
        """Wait until every agent has acted on everything that the store holds now."""
        self.world.settle()
        assert self.problems() == []

    def problems(self) -> list[str]:
        """Return the problems that the agents report."""
        told = [[*self.world.agent(host).reconciler.problems.values()] for host in self.world.agents]  # copies: agents go on
        return [text for of_host in told for text in of_host]

    # --- packets -------------------------------------------------------------------------------------------------------------

    def listener(self, name: str) -> PacketListener:
        """Return the listener at an instance, emptied."""
        if name not in self._ears:
            self._ears[name] = PacketListener(self._netns[name])
        self._ears[name].take()
        return self._ears[name]

    def forget(self, name: str) -> None:
        """Close the listener at an instance whose device is gone."""
        if name in self._ears:
            self._ears.pop(name).close()

    def emit(self, source: str, packets: Sequence[bytes]) -> None:
        """Let an instance send whole packets unchanged."""
        send_frames(self._netns[source], "eth0", [framed(self._macs[source], packet) for packet in packets])

    def verdict(self, source: str, target: str, packet: Packet, cut: Cut = whole) -> str:
        """Return PASSED, or the counters that rise, for a packet sent in the pieces that `cut` makes of it."""
        needle = os.urandom(NEEDLE_BYTES)
        listener, before = self.listener(target), self.counters()
        self.emit(source, cut(packet / Raw(needle)))

        def known() -> str:
            if listener.heard(needle):
                return PASSED
            return "+".join(name for name, count in sorted(self.counters().items()) if count > before[name])

        return wait_for(known, f"the verdict on {packet.summary()} from {source} to {target}")

    def vanishes(self, source: str, target: str, packets: Sequence[bytes], needle: bytes, marker: Packet) -> bool:
        """Return whether no packet arrives; the marker, which passes, is sent last and shows that no more can come."""
        listener = self.listener(target)
        self.emit(source, packets)
        sign = os.urandom(NEEDLE_BYTES)
        self.emit(source, [bytes(marker / Raw(sign))])
        assert listener.hears(sign, within_s=PATIENCE_S)
        return not listener.heard(needle)

    def counters(self) -> dict[str, int]:
        """Return the drops of all hosts by reason."""
        total: dict[str, int] = {}
        for host in self.world.hosts:
            for name, count in self.world.counters(host).items():
                total[name] = total.get(name, 0) + count
        return total

    # --- rules ---------------------------------------------------------------------------------------------------------------

    def group(self, name: str) -> SecurityGroup:
        """Return a security group by `vpc/name`."""
        found = resolve(self.world.inventory(), self.world.caller, "sg", name)[1]
        assert isinstance(found, SecurityGroup)
        return found

    def allow(self, name: str, direction: Direction, *permissions: Permission) -> None:
        """Add rules to a group, and wait until they are in force."""
        authorize(self.world.store, self.world.caller, self.group(name).id, direction, permissions)
        self.settle()

    def revoke(self, name: str, direction: Direction, *permissions: Permission) -> None:
        """Remove rules from a group, and wait until they are no longer in force."""
        revoke(self.world.store, self.world.caller, self.group(name).id, direction, permissions)
        self.settle()

    def regroup(self, name: str, *groups: str) -> None:
        """Put an instance into groups of its VPC, and wait until it is a member."""
        vpc = name.partition("/")[0]
        ids = [self.group(f"{vpc}/{group}").id for group in groups]
        modify_instance_groups(self.world.store, self.world.caller, self.world.instance(name).id, ids)
        self.settle()

    def write(self, key: str, record: object) -> None:
        """Write a record directly to the store, without checks; bytes are written unchanged."""
        value = record if isinstance(record, bytes) else msgspec.json.encode(record)
        assert self.world.store.txn((), (Put(key, value),)).succeeded

    def close(self) -> None:
        """Close the listeners."""
        for listener in self._ears.values():
            listener.close()


@contextmanager
def policed(directory: Path, text: str) -> Iterator[Policed]:
    """Yield the cloud of a vpc.yaml, with agents in threads."""
    world = World(directory, ("hv1", "hv2"))
    try:
        world.start_agents()
        cloud = Policed(world, text)
        try:
            yield cloud
        finally:
            cloud.close()
    finally:
        world.close()


def _deafen(place: str) -> None:
    fd = netns.find(place)
    try:
        with netns.inside(fd):
            code, _, error = nftables.Nftables().cmd(_DEAF)
    finally:
        os.close(fd)
    assert code == 0, error


class Talk:
    """A TCP connection whose segments are made by hand at both ends."""

    def __init__(self, cloud: Policed, client: str, server: str, port: int, version: int = 4, *, client_port: int = 0) -> None:
        self._cloud = cloud
        self._ends = (client, server)
        self._ports = {client: client_port or next(_sports), server: port}
        self._next = {client: 1000, server: 5000}
        self._version = version

    def says(self, speaker: str, flags: str) -> str:
        """Return the verdict on the speaker's next segment; a dropped segment does not advance the sequence number."""
        other = self._ends[speaker == self._ends[0]]
        header = TCP(sport=self._ports[speaker], dport=self._ports[other], flags=flags, seq=self._next[speaker])
        header.ack = self._next[other] if "A" in flags else 0
        verdict = self._cloud.verdict(speaker, other, ip(speaker, other, self._version) / header)
        if verdict == PASSED:
            self._next[speaker] += NEEDLE_BYTES + ("S" in flags) + ("F" in flags)
        return verdict

    def opens(self) -> Talk:
        """Return the connection after its handshake."""
        client, server = self._ends
        assert [self.says(client, "S"), self.says(server, "SA"), self.says(client, "A")] == [PASSED] * 3
        return self
