"""The cost of the kernel alone: a host built from messages packed before the clock runs, and a dump that is not parsed."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from unittest import mock

from common import lab_underlay, stopwatch

from netorch.drivers import netns
from netorch.drivers.linux import LinuxKernel
from netorch.drivers.netlink import F_DUMP, F_REQUEST, HEADER, Channel, Message
from netorch.drivers.nft import commands
from netorch.drivers.nft.commands import preparations
from netorch.drivers.nft.transactions import transactions
from netorch.drivers.nft.wire.commit import CommitSocket
from netorch.drivers.nft.wire.encode import messages
from netorch.drivers.nft.wire.messages import transaction
from netorch.drivers.rtnl import encode
from netorch.drivers.rtnl.uapi import RTM
from netorch.state.base import OVERLAY, UNDERLAY, KernelObject
from netorch.state.l2 import Fdb
from netorch.state.l3 import Address, Neighbour, Route
from netorch.state.link import AdminUp, Link, Sysctl, TapPort, Vrf, Vxlan
from netorch.state.nft import Flowtable, FlowtableDevice, NftChain, NftElement, NftMap, PortChain
from netorch.state.op import Create, Op
from netorch.state.owner import overlay_netns
from policy.skeleton import overlay_tables, underlay_table

ROUNDS = 2
_OF_NFT = NftMap | NftChain | NftElement | PortChain | Flowtable | FlowtableDevice
VTEP = "192.0.2.11"


class Raw:
    """A second host, to which packed messages are sent without an agent."""

    def __init__(self) -> None:
        underlay = netns.find(lab_underlay("raw", VTEP))
        with netns.inside(underlay):
            self.kernel = LinuxKernel("raw")
        self.overlay_fd = netns.find(overlay_netns("raw"))
        self.underlay = Channel(underlay)
        self.overlay = Channel(self.overlay_fd)
        self.commits = {}
        for namespace, descriptor in ((UNDERLAY, underlay), (OVERLAY, self.overlay_fd)):
            with netns.inside(descriptor):
                self.commits[namespace] = CommitSocket()
        self.seconds = 0.0

    def build(self, objects: Sequence[KernelObject]) -> float:
        """Create the objects of a host; return the seconds of netlink alone. Taps, sysctls and skeletons are not clocked."""
        self.seconds = 0.0
        self.unclocked(
            [*overlay_tables(), underlay_table(), *(obj for obj in objects if isinstance(obj, Sysctl) and not obj.ifname)]
        )
        vrfs = [obj for obj in objects if isinstance(obj, Vrf)]
        self.send(self.overlay, [encode.new_vrf(obj) for obj in vrfs] + [encode.set_altname(obj.ifname) for obj in vrfs])
        vxlans = [obj for obj in objects if isinstance(obj, Vxlan)]
        index = self.indexes(vrfs)
        self.send(self.underlay, [encode.new_vxlan(obj, self.overlay_fd, index[obj.vrf]) for obj in vxlans])
        self.send(self.overlay, [encode.set_altname(obj.ifname) for obj in vxlans])
        self.unclocked([obj for obj in objects if isinstance(obj, TapPort)])
        self.unclocked([obj for obj in objects if isinstance(obj, Sysctl) and obj.ifname])
        self.build_nft([obj for obj in objects if not isinstance(obj, FlowtableDevice)])
        index = self.indexes([obj for obj in objects if isinstance(obj, Link)])
        entries = [obj for obj in objects if isinstance(obj, AdminUp | Address | Neighbour | Fdb | Route)]
        self.send(self.overlay, [message for obj in entries for message in encode.pack(obj, index.__getitem__)])
        self.build_nft([obj for obj in objects if isinstance(obj, FlowtableDevice)])
        return self.seconds

    def build_nft(self, objects: Sequence[KernelObject]) -> None:
        """Create chains, rules, sets, elements, and flowtables or their devices, in as many transactions as the agent uses."""
        made = [obj for obj in objects if isinstance(obj, _OF_NFT)]
        specs = {name: spec for driver in self.kernel._nft for (_, name), spec in driver._specs.items()}  # from the skeletons
        specs |= {obj.name: obj.spec for obj in made if isinstance(obj, NftMap)}
        for namespace, socket in self.commits.items():
            own: list[Op] = [Create(obj) for obj in made if obj.netns == namespace]
            for together, _ in transactions(own):
                for steps in (preparations(together), commands.steps(together)):
                    packed = transaction(messages(steps, lambda change: change.spec or specs[change.set]))
                    begin = time.perf_counter()
                    assert socket.commit(packed) == 0
                    self.seconds += time.perf_counter() - begin

    def unclocked(self, objects: Sequence[KernelObject]) -> None:
        """Create objects as the agent does, without the clock."""
        assert [str(failure.error) for failure in self.kernel.apply([Create(obj) for obj in objects])] == []

    def send(self, channel: Channel, messages: Sequence[Message]) -> None:
        """Send messages and add up the seconds. Fails when the kernel refuses one."""
        begin = time.perf_counter()
        refused = channel.batch(messages)
        self.seconds += time.perf_counter() - begin
        assert not refused, next(iter(refused.items()))

    def indexes(self, links: Sequence[Link]) -> dict[str, int]:
        """Return the interface indexes of devices."""
        answers = {obj.ifname: self.overlay.get(RTM.GETLINK, encode.get_link(obj.ifname)) for obj in links}
        return {name: int.from_bytes(data[4:8], sys.byteorder) for name, data in answers.items() if data is not None}


def dump_seconds(kernel: LinuxKernel) -> float:
    """Return how long the kernel alone takes to answer all requests of a dump; the answers are not parsed."""
    asked: list[tuple[Channel, int, bytes]] = []
    ask = Channel._ask

    def noted(channel: Channel, kind: int, flags: int, body: bytes) -> None:
        if flags & F_DUMP:
            asked.append((channel, kind, body))
        ask(channel, kind, flags, body)

    with mock.patch.object(Channel, "_ask", noted):
        kernel.dump()
    return min(stopwatch(lambda: drain(asked)) for _ in range(ROUNDS))


def drain(asked: Sequence[tuple[Channel, int, bytes]]) -> None:
    """Request dumps and read each until the message that ends it."""
    for channel, kind, body in asked:
        channel.socket.send(HEADER.pack(HEADER.size + len(body), kind, F_REQUEST | F_DUMP, 0, 0) + body)
        while not ends_dump(channel.socket.recv(1 << 16)):
            pass


def ends_dump(data: bytes) -> bool:
    """Return whether a datagram contains the message that ends a dump, or an error."""
    offset = 0
    while offset + HEADER.size <= len(data):
        length, kind, *_ = HEADER.unpack_from(data, offset)
        if kind in (2, 3):
            return True
        offset += (length + 3) & ~3
    return False
