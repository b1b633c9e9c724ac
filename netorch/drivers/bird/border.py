"""The bird of an edge's outside namespace: it announces to the border router the addresses that the edge serves.

bird neither imports routes from Linux nor exports any: it has no `kernel` protocol. So it announces nothing unrequested, and
announcements of the border router change nothing on the edge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar, Final, Self

from netorch.drivers.bird.config import BFD, Config, Session, block, password_line
from netorch.model.addr import version_of
from netorch.state.base import KernelObject
from netorch.state.daemons.bgp import Announcement, BgpPeer

_STATICS: Final = {4: "announced4", 6: "announced6"}


class Border(Config, frozen=True, kw_only=True):
    """Sessions with the border router, and the prefixes announced in each."""

    kinds: ClassVar[frozenset[str]] = frozenset({BgpPeer.kind, Announcement.kind})
    refused: ClassVar[str] = "packets arrived with another password than this edge has, or with none"

    peers: tuple[BgpPeer, ...] = ()
    announcements: tuple[Announcement, ...] = ()

    @classmethod
    def of(cls, name: str, objects: Iterable[KernelObject]) -> Self:
        found = tuple(objects)
        return cls(
            name=name,
            peers=tuple(obj for obj in found if isinstance(obj, BgpPeer)),
            announcements=tuple(obj for obj in found if isinstance(obj, Announcement)),
        )

    @property
    def objects(self) -> tuple[KernelObject, ...]:
        return (*self.peers, *self.announcements)

    @property
    def sessions(self) -> tuple[Session, ...]:
        return self.peers

    @staticmethod
    def protocols_of(obj: KernelObject) -> tuple[str, ...]:
        if isinstance(obj, BgpPeer):
            return (f"border_{obj.remote.replace('.', '_')}",)
        assert isinstance(obj, Announcement)
        return (_STATICS[version_of(obj.prefix)],)

    def blocks(self, passwords: Mapping[str, str]) -> Iterator[str]:
        routers = [f"router id {peer.local};" for peer in self.peers[:1]]
        yield "\n".join([*routers, "protocol device { }", "protocol bfd { accept ipv4 direct; }"]) + "\n"
        for version, name in _STATICS.items():
            prefixes = [found.prefix for found in self.announcements if version_of(found.prefix) == version]
            yield block(f"protocol static {name}", f"ipv{version};", *(f"route {prefix} unreachable;" for prefix in prefixes))
        for peer in self.peers:
            yield _peer(self.protocol_of(peer), peer, passwords)


def _peer(name: str, peer: BgpPeer, passwords: Mapping[str, str]) -> str:
    export = "import none; export where source = RTS_STATIC;"
    return block(
        f"protocol bgp {name}",
        f"local {peer.local} as {peer.local_asn};",
        f"neighbor {peer.remote} as {peer.remote_asn};",
        password_line(passwords, name),
        BFD,
        "ttl security on;",  # RFC 5082: drops TCP segments that have crossed a router
        "hold time 9;",
        "connect delay time 1;",
        "connect retry time 3;",
        "error wait time 1, 5;",
        f"ipv4 {{ {export} }};",
        f"ipv6 {{ {export} next hop address {peer.local6}; }};" if peer.local6 else "",
    )
