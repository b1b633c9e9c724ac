"""What the tables of all gateways have in common that track connections: there are times when none begins.

    over_allowance    the VPC holds too many (netorch.agent.tasks.allowance)
    handing_over      they are handed over to another edge (netorch.agent.tasks.handover)

The agent puts the zone of all the namespace's connections into the set. Each reason has a set of its own, so that the end of one
leaves the other in force. Elements expire, so that without an agent nobody is locked out. Only what begins a connection is looked
up.
"""

from __future__ import annotations

from typing import Final

from netorch.state.nft import HANDING_OVER, OVER_ALLOWANCE

_COUNTER_OF: Final = {OVER_ALLOWANCE: "allowance", HANDING_OVER: "handing_over"}
_PARTS: Final = """set {name} {{
    typeof ct zone
    size 8
    timeout 10s
}}
counter {counter} {{
}}"""
NO_NEW_PARTS: Final = "\n".join(_PARTS.format(name=name, counter=counter) for name, counter in _COUNTER_OF.items())
# For a chain of the forward hook, in front of what accepts new connections.
NO_NEW_RULES: Final = "\n    ".join(
    f'ct state new ct zone @{name} counter name "{counter}" drop' for name, counter in _COUNTER_OF.items()
)
