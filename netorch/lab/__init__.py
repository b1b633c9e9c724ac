"""Throw-away networks of hosts on one machine, from a containerlab file.

Modules are imported on first use: `python -m netorch.lab.kernel` needs none of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netorch.lab.containerlab.ignored import ignored_lines
    from netorch.lab.features import Feature, probe_features
    from netorch.lab.hosts import Row
    from netorch.lab.session import Lab, Way, down, exec_in, inspect, list_labs, node_names, restart_agent, shell, up

__all__ = [
    "Feature",
    "Lab",
    "Row",
    "Way",
    "down",
    "exec_in",
    "ignored_lines",
    "inspect",
    "list_labs",
    "node_names",
    "probe_features",
    "restart_agent",
    "shell",
    "up",
]
_MODULES = {"Feature": "features", "probe_features": "features", "Row": "hosts", "ignored_lines": "containerlab.ignored"}


def __getattr__(name: str) -> object:
    """Return one of the names above."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_MODULES.get(name, 'session')}"), name)
    return value
