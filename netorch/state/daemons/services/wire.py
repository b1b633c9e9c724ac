"""What the driver of netorch's own daemon and the daemon say to each other: one packet of a UNIX socket (SOCK_SEQPACKET) each.

The daemon speaks first, so that a connection proves that it answers: `Greeting`. Then each `Request` has an `Answer`. A request
to put an object has the object's sockets with it (SCM_RIGHTS). The answer to `dump` comes behind a packet for each object, and
that to `count` behind one for each thing of which something was counted.
"""

from __future__ import annotations

import errno
from typing import Final, Literal

import msgspec

from netorch.errors import NetorchError
from netorch.state.daemons.services.base import ServiceObject
from netorch.state.daemons.services.kinds import KINDS

PACKET: Final = 1 << 18  # bytes; Linux lets a packet have 212,960 at most (net.core.wmem_default)
SOCKETS: Final = 253  # with one packet at most. Source: include/net/scm.h, SCM_MAX_FD

Command = Literal["put", "delete", "dump", "count"]


class Malformed(NetorchError):
    """A packet that is none of these."""


class Greeting(msgspec.Struct, frozen=True, tag=True):
    """The daemon's first word. One of another version is replaced: it may know other kinds, or other fields of them."""

    version: str


class Request(msgspec.Struct, frozen=True, tag=True):
    """What the daemon is to do. `object` is that of `put` and `delete`."""

    command: Command
    kind: str = ""
    object: msgspec.Raw = msgspec.Raw(b"null")

    @classmethod
    def of(cls, command: Command, obj: ServiceObject) -> Request:
        """Return the request to do that with an object."""
        return cls(command, obj.kind, msgspec.Raw(msgspec.json.encode(obj)))


class Held(msgspec.Struct, frozen=True, tag=True):
    """An object that the daemon has."""

    kind: str
    object: msgspec.Raw


class Counted(msgspec.Struct, frozen=True, tag=True):
    """What the daemon has counted of a thing since it began; what is 0 is left out."""

    id: str  # e.g. of an endpoint
    counts: dict[str, int]


class Answer(msgspec.Struct, frozen=True, tag=True):
    """How a request ended; no error: it was done."""

    error: str = ""
    errno: int = 0


Packet = Greeting | Request | Held | Counted | Answer

_decoder: Final[msgspec.json.Decoder[Packet]] = msgspec.json.Decoder(Packet)


def encode(packet: Packet) -> bytes:
    """Return a packet's bytes."""
    return msgspec.json.encode(packet)


def decode(raw: bytes) -> Packet:
    """Return a packet. Raises Malformed."""
    try:
        return _decoder.decode(raw)
    except msgspec.MsgspecError as error:
        raise Malformed(f"a packet of the daemon's control socket: {error}") from error


def object_of(packet: Request | Held) -> ServiceObject:
    """Return the object in a packet. Raises Malformed: this side knows no such kind, or other fields of it."""
    cls = KINDS.get(packet.kind)
    if cls is None:
        raise Malformed(f"there is no kind of object {packet.kind!r}")
    try:
        return msgspec.json.decode(packet.object, type=cls)
    except msgspec.MsgspecError as error:
        raise Malformed(f"a {packet.kind}: {error}") from error


INVALID: Final = errno.EINVAL  # of an answer about an object that its handler does not take
