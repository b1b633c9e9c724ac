"""Problems and notes on virtual interfaces: those that are down, and those that wait for a confirmation."""

from __future__ import annotations

from collections.abc import Iterator

from netorch.model.outside.direct_connect import VifState, VirtualInterface, state_of
from netorch.model.status import VifStatus
from netorch.records.inventory import Inventory


def vif_problems(inventory: Inventory) -> Iterator[str]:
    """Yield a sentence for each virtual interface that is down, according to its edge's last status."""
    for path, vif in _each(inventory):
        said = inventory.vif_status.get((vif.edge, vif.id))
        if said is not None and state_of(vif, said) is VifState.DOWN:
            yield f"virtual interface {path} is down: {why_down(vif, said)}; netorch dx vif show {path}"


def why_down(vif: VirtualInterface, said: VifStatus) -> str:
    """Return why a virtual interface is down, according to its edge."""
    if not said.carrier:
        return f"{vif.device} of {vif.edge} has no carrier"
    reason = f" ({said.bgp_reason})" if said.bgp_reason else ""
    return f"its BGP session with {vif.peer} is {said.bgp or 'missing'}{reason}"


def vif_notes(inventory: Inventory) -> Iterator[str]:
    """Yield a sentence for each virtual interface that its VPC's owner has not answered, or has rejected."""
    for path, vif in _each(inventory):
        if vif.rejected:
            yield f"virtual interface {path} is rejected by its owner; delete it: netorch dx vif delete {path}"
        elif not vif.confirmed:
            yield f"virtual interface {path} waits for its owner: netorch dx vif confirm {path}, or reject"


def _each(inventory: Inventory) -> Iterator[tuple[str, VirtualInterface]]:
    """Yield all virtual interfaces with their paths."""
    for _, records in sorted(inventory.vpcs.items()):
        vpc = records.vpc.record
        yield from ((f"{vpc.owner}/{vpc.name}/{vif.name}", vif) for vif in records.each(VirtualInterface))
