"""What a handler offers: it serves some kinds of objects."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from netorch.errors import NetorchError
from netorch.state.daemons.services.base import ServiceObject


class RefusedObject(NetorchError):
    """An object that its handler cannot serve; the text says why, and what to do."""


class Handler(Protocol):
    """Serves objects of its kinds, in the one event loop of the process, which it may not keep busy.

    Its methods are called one after the other. What it raises is the answer to the driver, and reported; it concerns this object
    and nothing else. What else runs in a handler (a transport's callbacks, tasks) logs what goes wrong, and goes on.

    Nothing in a packet says who asks: the VPC is that of the object whose socket it came by, and the source address, which the
    port's chain has checked, is that of an interface in this VPC.
    """

    @property
    def kinds(self) -> frozenset[str]:
        """Return the kinds of objects that it serves; no other handler has one of them."""
        ...

    async def put(self, obj: ServiceObject, sockets: Sequence[socket.socket]) -> None:
        """Serve an object from now on, in place of what it has by this key.

        `sockets` are those of `obj.sockets`, in that order, not blocking; those of TCP listen. They are the handler's to close.
        """
        ...

    async def delete(self, obj: ServiceObject) -> None:
        """Serve an object no longer, and close its sockets; all is well when there is no such object."""
        ...


@runtime_checkable
class Ending(Protocol):
    """What a handler offers as well if something of its may last: a transfer."""

    async def end(self) -> None:
        """Take nothing new, and return when what is under way has ended, or has had time enough. Nothing is put any more."""
        ...


@runtime_checkable
class Counting(Protocol):
    """What a handler offers as well if it counts."""

    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Return what was counted since the process began, by the id of the thing that it was counted of, and by name."""
        ...


class MakeHandler(Protocol):
    """How a handler is made: before the process gives up its privileges, so that everything is imported by then."""

    def __call__(self, directory: Path) -> Handler:
        """Return a handler. It may write into the directory, e.g. a log, which outlives the process."""
        ...
