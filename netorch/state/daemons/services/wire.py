"""The protocol between the driver and netorch's own daemon: each message is one packet on a UNIX socket (SOCK_SEQPACKET).

The daemon sends the first packet, `Greeting`, which proves that it is responsive. Then each `Request` has an `Answer`.
A request to put an object carries the object's sockets (SCM_RIGHTS). A packet for each object precedes the answer to
`dump`, and a packet for each thing with counters precedes the answer to `count`.
"""

from __future__ import annotations

import errno
from typing import Final, Literal

import msgspec

from netorch.decoding import decoder_of
from netorch.errors import NetorchError
from netorch.state.daemons.services.base import ServiceObject
from netorch.state.daemons.services.kinds import KINDS

PACKET: Final = 1 << 18  # bytes; Linux's limit for a packet is 212,960 (net.core.wmem_default)
SOCKETS: Final = 253  # with one packet, at most. Source: include/net/scm.h, SCM_MAX_FD

Command = Literal["put", "delete", "dump", "count"]


class Malformed(NetorchError):
    """An invalid packet."""


class Greeting(msgspec.Struct, frozen=True, tag=True):
    """The daemon's first packet. A daemon of another version is replaced: it may know other kinds, or other fields."""

    version: str


class Request(msgspec.Struct, frozen=True, tag=True):
    """A command to the daemon. `object` is for `put` and `delete`."""

    command: Command
    kind: str = ""
    object: msgspec.Raw = msgspec.Raw(b"null")

    @classmethod
    def of(cls, command: Command, obj: ServiceObject) -> Request:
        """Return the request for a command with an object."""
        return cls(command, obj.kind, msgspec.Raw(msgspec.json.encode(obj)))


class Held(msgspec.Struct, frozen=True, tag=True):
    """An object of the daemon."""

    kind: str
    object: msgspec.Raw


class Counted(msgspec.Struct, frozen=True, tag=True):
    """The daemon's counters of one thing since its start. Zeros are left out."""

    id: str  # e.g. of an endpoint
    counts: dict[str, int]


class Answer(msgspec.Struct, frozen=True, tag=True):
    """The result of a request; success if `error` is empty."""

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
    """Return the object in a packet. Raises Malformed: the kind or a field is unknown to this side."""
    cls = KINDS.get(packet.kind)
    if cls is None:
        raise Malformed(f"there is no kind of object {packet.kind!r}")
    try:
        return decoder_of(cls).decode(packet.object)
    except msgspec.MsgspecError as error:
        raise Malformed(f"a {packet.kind}: {error}") from error


INVALID: Final = errno.EINVAL  # of an answer: the handler refuses the object
