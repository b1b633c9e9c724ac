"""bird's configuration: written from objects, and read back into them.

A configuration begins with the objects that it was written from, and with a name that no other has. `read` writes those objects
once more: a file in which anything else has been changed is none of ours. A running bird tells the name (as its host name, which
it sends nobody), so that one can see whether it runs this file or another.

bird neither takes routes from Linux nor gives it any: there is no protocol `kernel`. So it cannot announce what nobody asked for,
and whatever the border router announces changes nothing here.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from typing import Final

import msgspec

from netorch.model.addr import version_of
from netorch.state.base import KernelObject
from netorch.state.daemons.bgp import Announcement, BgpPeer

# The router is missed after 0.9 s. Source: RFC 5880 section 6.8.4. BGP alone would need three times the keepalive time.
BFD_INTERVAL_MS: Final = 300
BFD_MULTIPLIER: Final = 3
_HEAD: Final = "# netorch "
_PASSWORD: Final = re.compile(r'^  password "(.*)";$', re.MULTILINE)
_STATICS: Final = {4: "announced4", 6: "announced6"}


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What a bird runs with. `name` tells two configurations apart; of the same content, too."""

    name: str
    peers: tuple[BgpPeer, ...] = ()
    announcements: tuple[Announcement, ...] = ()

    @property
    def objects(self) -> tuple[KernelObject, ...]:
        """Return all objects in it."""
        return (*self.peers, *self.announcements)


def config_of(objects: Iterable[KernelObject]) -> Config:
    """Return a new configuration with these objects."""
    found = sorted(objects, key=lambda obj: obj.key)
    return Config(
        name=f"netorch-{secrets.token_hex(8)}",
        peers=tuple(msgspec.structs.replace(obj, other_password=False) for obj in found if isinstance(obj, BgpPeer)),
        announcements=tuple(obj for obj in found if isinstance(obj, Announcement)),
    )


def protocol_of(obj: KernelObject) -> str:
    """Return the name of the protocol of bird's that an object is in."""
    if isinstance(obj, BgpPeer):
        return f"border_{obj.remote.replace('.', '_')}"
    assert isinstance(obj, Announcement)
    return _STATICS[version_of(obj.prefix)]


def write(config: Config, password: str) -> str:
    """Return the text of a configuration; no password: sessions have none."""
    blocks = [
        _head(config),
        *(_statics(config, version) for version in _STATICS),
        *(_peer(peer, password) for peer in config.peers),
    ]
    return "\n".join(blocks)


def read(text: str) -> tuple[Config, str] | None:
    """Return the configuration and the password in a text, or None when `write` has not written it as it is."""
    head, _, _ = text.partition("\n")
    found = _PASSWORD.search(text)
    password = found[1] if found is not None else ""
    try:
        config = msgspec.json.decode(head.removeprefix(_HEAD), type=Config)
    except msgspec.MsgspecError:
        return None
    return (config, password) if text == write(config, password) else None


def _head(config: Config) -> str:
    routers = [f"router id {peer.local};" for peer in config.peers[:1]]
    lines = [
        _HEAD + msgspec.json.encode(config).decode(),
        f'hostname "{config.name}";',
        "log syslog all;",
        *routers,
        "protocol device { }",
        "protocol bfd { accept ipv4 direct; }",
    ]
    return "\n".join(lines) + "\n"


def _statics(config: Config, version: int) -> str:
    routes = [f"  route {found.prefix} unreachable;" for found in config.announcements if version_of(found.prefix) == version]
    return "\n".join([f"protocol static {_STATICS[version]} {{", f"  ipv{version};", *routes, "}"]) + "\n"


def _peer(peer: BgpPeer, password: str) -> str:
    lines = [
        f"protocol bgp {protocol_of(peer)} {{",
        f"  local {peer.local} as {peer.local_asn};",
        f"  neighbor {peer.remote} as {peer.remote_asn};",
        *([f'  password "{password}";'] if password else []),
        f"  bfd {{ interval {BFD_INTERVAL_MS} ms; multiplier {BFD_MULTIPLIER}; }};",
        "  ttl security on;",  # RFC 5082: segments of neither side have come over a router
        "  hold time 9;",
        "  connect delay time 1;",
        "  connect retry time 3;",
        "  error wait time 1, 5;",
        "  ipv4 { import none; export where source = RTS_STATIC; };",
        *(
            [f"  ipv6 {{ import none; export where source = RTS_STATIC; next hop address {peer.local6}; }};"]
            if peer.local6
            else []
        ),
        "}",
    ]
    return "\n".join(lines) + "\n"
