"""How a packet is dropped: logged to listeners at a bounded rate, counted by its reason."""

from __future__ import annotations

from typing import Final

from netorch.model.drop_reason import SUPPRESSED
from netorch.state.nft import FLOW_LOG_GROUP, LIVE_GROUP

_LOGGED_BYTES: Final = 128  # whole headers fit, those of a VXLAN packet and of what is in it
_LOGGED: Final = "limit rate 2000/second burst 500 packets"  # of what belongs to no VPC, for one reason
# For all reasons together. In `forward` the device is a VPC's VRF, before that a port or a VPC's VXLAN device. A zone would not
# do: the kernel shows none before a connection is looked up, nor of what is in no connection.
_LOGGED_OF_VPC: Final = "update @logged { iif limit rate 400/second burst 400 packets }"
_SUPPRESSED_SAMPLE: Final = "update @suppressed { iif limit rate 1/second burst 1 packets }"


def _log(prefix: str, *groups: int) -> str:
    return " ".join(f'log prefix "{prefix}" group {group} snaplen {_LOGGED_BYTES}' for group in groups)


def drop_chain(reason: str) -> str:
    """Return the chain that logs, counts and drops what is refused for one reason before it belongs to a VPC."""
    drop = f'counter name "{reason}" drop'
    return _chain(f"drop_{reason}", f"{_LOGGED} {_log(reason, FLOW_LOG_GROUP, LIVE_GROUP)} {drop}", drop)


def vpc_drop_chain(reason: str, *first: str) -> str:
    """Return the same for what belongs to a VPC, behind the rules `first`.

    A VPC's flood is logged in part; of the rest one packet a second says so. The table needs the sets `logged` and `suppressed`.
    """
    log, drop = _log(reason, FLOW_LOG_GROUP, LIVE_GROUP), f'counter name "{reason}" drop'
    return _chain(
        f"drop_{reason}",
        *first,
        f"{_LOGGED_OF_VPC} {log} {drop}",
        f'{_SUPPRESSED_SAMPLE} {_log(SUPPRESSED, FLOW_LOG_GROUP)} counter name "{SUPPRESSED}" {drop}',
        f'counter name "{SUPPRESSED}" {drop}',
    )


def _chain(name: str, *rules: str) -> str:
    return "\n    ".join((f"chain {name} {{", *rules)) + "\n}"
