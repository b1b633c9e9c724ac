"""The interface of a handler, which serves some kinds of objects."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from netorch.errors import NetorchError
from netorch.state.daemons.services.base import ServiceObject


class RefusedObject(NetorchError):
    """An object that its handler cannot serve. The text gives the reason and the remedy."""


class Handler(Protocol):
    """Serves objects of its kinds in the one event loop of the process. A handler must not block the loop.

    Its methods are called one after the other. An exception from a method becomes the answer to the driver, and concerns
    this object only. Other code of a handler (transport callbacks, tasks) logs its errors and continues.

    No packet names its VPC. The VPC is that of the object whose socket received the packet. The port's chain has
    checked the source address, so it belongs to an interface in this VPC.
    """

    @property
    def kinds(self) -> frozenset[str]:
        """Return the kinds of objects that this handler serves. No other handler serves any of them."""
        ...

    async def put(self, obj: ServiceObject, sockets: Sequence[socket.socket]) -> None:
        """Serve an object, and replace the one with the same key.

        `sockets` are the sockets of `obj.sockets`, in that order and non-blocking. TCP sockets listen. The handler
        must close them.
        """
        ...

    async def delete(self, obj: ServiceObject) -> None:
        """Stop serving an object, and close its sockets. An unknown object is no error."""
        ...


@runtime_checkable
class Ending(Protocol):
    """The interface of a handler that has long-running work, such as transfers."""

    async def end(self) -> None:
        """Accept nothing new, and return when the open work has ended or its time is over. No `put` follows."""
        ...


@runtime_checkable
class Counting(Protocol):
    """The interface of a handler that has counters."""

    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Return the counters since the start of the process, by the id of the counted thing and by name."""
        ...


class MakeHandler(Protocol):
    """Makes a handler. The process calls it before it drops its privileges, so that all imports are done by then."""

    def __call__(self, directory: Path) -> Handler:
        """Return a handler. The handler may write to the directory, e.g. a log. The directory outlives the process."""
        ...
