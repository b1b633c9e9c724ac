"""The table of handlers: the one place that lists them all.

A process imports only the handlers of its namespace: the process for a hypervisor's instances needs no HTTP client. A
handler is imported by its name, `module:class`, and created before the process drops its privileges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

from netorch.services.base import Handler, MakeHandler
from netorch.state.base import OUTSIDE, UNDERLAY

HANDLERS: Final[Mapping[str, Sequence[str]]] = {
    UNDERLAY: (
        "netorch.services.names.handler:Names",
        "netorch.services.dhcp.handler:Dhcp",
        "netorch.services.metadata.handler:Metadata",
    ),
    OUTSIDE: ("netorch.services.proxy.handler:Proxy", "netorch.services.relay.handler:Relay"),
}


def handlers(label: str, directory: Path) -> list[Handler]:
    """Return the handlers of the process in the namespace with this label."""
    made = []
    for name in HANDLERS[label]:
        module, _, cls = name.partition(":")
        make: MakeHandler = getattr(import_module(module), cls)
        made.append(make(directory))
    return made
