"""bird's configuration: written from objects, and read back into them.

A configuration begins with the objects that it was written from, and with a name that no other has. `read` writes those objects
once more: a file in which anything else has been changed is none of ours. A running bird tells the name (as its host name, which
it sends nobody), so that one can see whether it runs this file or another.

What a bird is for says a class of its own: netorch.drivers.bird.border, netorch.drivers.bird.customers.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from typing import ClassVar, Final, Self, TypeVar

import msgspec

from netorch.state.base import KernelObject
from netorch.state.daemons.bgp import BgpPeer, CustomerPeer

Session = BgpPeer | CustomerPeer

# A neighbour is missed after 0.9 s. Source: RFC 5880 section 6.8.4. BGP alone would need three times the keepalive time.
BFD: Final = "bfd { interval 300 ms; multiplier 3; };"
_HEAD: Final = "# netorch "
# Everything in a block is indented, so this does not look beyond one.
_PASSWORD: Final = re.compile(r'^protocol bgp (\w+) \{\n(?:  .*\n)*?  password "(.*)";$', re.MULTILINE)


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What a bird runs with. `name` tells two configurations apart; of the same content, too."""

    kinds: ClassVar[frozenset[str]]  # of the objects in it
    refused: ClassVar[str]  # what is said of a session after Linux has refused segments for their password

    name: str

    @classmethod
    def of(cls, name: str, objects: Iterable[KernelObject]) -> Self:
        """Return a configuration with these objects, which are of its kinds."""
        raise NotImplementedError

    @property
    def objects(self) -> tuple[KernelObject, ...]:
        """Return all objects in it."""
        raise NotImplementedError

    @property
    def sessions(self) -> tuple[Session, ...]:
        """Return those of them that are sessions."""
        raise NotImplementedError

    @staticmethod
    def protocols_of(obj: KernelObject) -> tuple[str, ...]:
        """Return the names of the protocols of bird's that an object is in; a session's own comes first."""
        raise NotImplementedError

    @staticmethod
    def check(obj: KernelObject) -> None:
        """Raise Refused for an object that must not be written into the file."""

    def blocks(self, passwords: Mapping[str, str]) -> Iterable[str]:
        """Yield what bird is told, with the passwords of sessions by their protocol; without one there is none."""
        raise NotImplementedError

    @property
    def comparing(self) -> str:
        """Return the name of a protocol that, when it is reloaded, has bird compare its routes with Linux's; or nothing."""
        return ""

    def protocol_of(self, session: Session) -> str:
        """Return the name of a session's own protocol."""
        return self.protocols_of(session)[0]


C = TypeVar("C", bound=Config)


def config_of(kind: type[C], objects: Iterable[KernelObject]) -> C:
    """Return a new configuration with these objects."""
    found = sorted(objects, key=lambda obj: obj.key)
    return kind.of(f"netorch-{secrets.token_hex(8)}", map(without_mark, found))


def without_mark(obj: KernelObject) -> KernelObject:
    """Return an object as it is asked for."""
    return msgspec.structs.replace(obj, other_password=False) if isinstance(obj, Session) else obj


def write(config: Config, passwords: Mapping[str, str]) -> str:
    """Return the text of a configuration, with the passwords of sessions by their protocol."""
    head = [_HEAD + msgspec.json.encode(config).decode(), f'hostname "{config.name}";', "log syslog all;\n"]
    return "\n".join(head) + "\n".join(config.blocks(passwords))


def read(kind: type[C], text: str) -> tuple[C, dict[str, str]] | None:
    """Return the configuration and the passwords in a text, or None when `write` has not written it as it is."""
    head, _, _ = text.partition("\n")
    passwords = dict(_PASSWORD.findall(text))
    try:
        config = msgspec.json.decode(head.removeprefix(_HEAD), type=kind)
    except msgspec.MsgspecError:
        return None
    return (config, passwords) if text == write(config, passwords) else None


def block(head: str, *lines: str) -> str:
    """Return a block of a configuration; lines of nothing are left out."""
    return "\n".join([f"{head} {{", *(f"  {line}" for line in lines if line), "}"]) + "\n"


def password_line(passwords: Mapping[str, str], protocol: str) -> str:
    """Return the line that gives a session its password; nothing if it has none."""
    return f'password "{passwords[protocol]}";' if protocol in passwords else ""
