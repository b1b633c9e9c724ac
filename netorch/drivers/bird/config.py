"""bird's configuration: generated from objects, and read back into them.

A configuration starts with its objects and a unique name. `read` generates the configuration from those objects again: a file
with any other change is not accepted. A running bird reports the name (as its hostname, which it does not send to peers),
which shows whether it runs this file.

Each use of bird has its own class: netorch.drivers.bird.border, netorch.drivers.bird.customers.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from typing import ClassVar, Final, Self, TypeVar

import msgspec

from netorch.decoding import decoder_of
from netorch.state.base import KernelObject
from netorch.state.daemons.bgp import BgpPeer, CustomerPeer

Session = BgpPeer | CustomerPeer

# A neighbour is down after 0.9 s. Source: RFC 5880 section 6.8.4. BGP alone would need three times the keepalive time.
BFD: Final = "bfd { interval 300 ms; multiplier 3; };"
_HEAD: Final = "# netorch "
# All lines in a block are indented, so this does not match beyond the block.
_PASSWORD: Final = re.compile(r'^protocol bgp (\w+) \{\n(?:  .*\n)*?  password "(.*)";$', re.MULTILINE)


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a bird configuration. `name` distinguishes two configurations even with the same content."""

    kinds: ClassVar[frozenset[str]]  # of its objects
    refused: ClassVar[str]  # the reason shown for a session after Linux has dropped segments for a wrong password

    name: str

    @classmethod
    def of(cls, name: str, objects: Iterable[KernelObject]) -> Self:
        """Return a configuration with these objects, all of its kinds."""
        raise NotImplementedError

    @property
    def objects(self) -> tuple[KernelObject, ...]:
        """Return all its objects."""
        raise NotImplementedError

    @property
    def sessions(self) -> tuple[Session, ...]:
        """Return those of its objects that are sessions."""
        raise NotImplementedError

    @staticmethod
    def protocols_of(obj: KernelObject) -> tuple[str, ...]:
        """Return the names of an object's bird protocols; a session's own comes first."""
        raise NotImplementedError

    @staticmethod
    def check(obj: KernelObject) -> None:
        """Raise Refused for an object that must not be written to the file."""

    def blocks(self, passwords: Mapping[str, str]) -> Iterable[str]:
        """Yield blocks of the file, with sessions' passwords by protocol; a session may have none."""
        raise NotImplementedError

    @property
    def comparing(self) -> str:
        """Return the protocol whose reload makes bird compare its routes with Linux's, or an empty string."""
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
    """Return an object without its observed state, as it was requested."""
    return msgspec.structs.replace(obj, other_password=False) if isinstance(obj, Session) else obj


def write(config: Config, passwords: Mapping[str, str]) -> str:
    """Return the text of a configuration, with sessions' passwords by protocol."""
    head = [_HEAD + msgspec.json.encode(config).decode(), f'hostname "{config.name}";', "log syslog all;\n"]
    return "\n".join(head) + "\n".join(config.blocks(passwords))


def read(kind: type[C], text: str) -> tuple[C, dict[str, str]] | None:
    """Return the configuration and passwords of a text, or None if `write` would not generate exactly this text."""
    head, _, _ = text.partition("\n")
    passwords = dict(_PASSWORD.findall(text))
    try:
        config = decoder_of(kind).decode(head.removeprefix(_HEAD))
    except msgspec.MsgspecError:
        return None
    return (config, passwords) if text == write(config, passwords) else None


def block(head: str, *lines: str) -> str:
    """Return a block of a configuration; empty lines are left out."""
    return "\n".join([f"{head} {{", *(f"  {line}" for line in lines if line), "}"]) + "\n"


def password_line(passwords: Mapping[str, str], protocol: str) -> str:
    """Return a session's password line; empty if it has no password."""
    return f'password "{passwords[protocol]}";' if protocol in passwords else ""
