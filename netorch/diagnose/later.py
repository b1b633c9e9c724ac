"""Where flowtables forward later packets of a connection by only one of model and kernels, and whether agents report it."""

from __future__ import annotations

import msgspec

from netorch.records.inventory import Inventory
from netorch.trace.way import Place, Walk


class Offloading(msgspec.Struct, frozen=True, kw_only=True):
    """The hosts where a flowtable forwards later packets by only one of model and kernels."""

    missing: dict[str, str] = {}  # by the model only; with the reason why the VPC is degraded there, if its agent reports that
    surplus: tuple[str, ...] = ()  # by the kernels only

    @property
    def hosts(self) -> tuple[str, ...]:
        """Return the hosts whose kernels differ from the model."""
        return (*self.missing, *self.surplus)

    @property
    def is_reported(self) -> bool:
        """Return whether packets are slower and nothing else, and each host's running agent reports the VPC as degraded."""
        return bool(self.missing) and not self.surplus and all(self.missing.values())

    @property
    def text(self) -> str:
        """Return what happens on each of these hosts; empty: there is none."""
        slower = "rules judge later packets that a flowtable should forward; the packets arrive, but more slowly"
        texts = [
            f"on {host} {slower}" + (f" (the VPC is degraded there: {reason})" if reason else "")
            for host, reason in self.missing.items()
        ]
        texts += [f"on {host} a flowtable forwards later packets that rules should judge" for host in self.surplus]
        return "; ".join(texts)


def compare_flowtables(inventory: Inventory, model: Walk | None, kernel: Walk | None) -> Offloading:
    """Return the difference between the ways of a later packet through model and kernels; None: there is no such way."""
    if model is None or kernel is None:
        return Offloading()
    offloaded = {hop.host: hop.vni for hop in model.hops if hop.place is Place.FLOWTABLE and hop.ok}
    return Offloading(
        missing={host: _degraded(inventory, host, vni) for host, vni in offloaded.items() if host not in kernel.offloaded_on},
        surplus=tuple(host for host in kernel.offloaded_on if host not in offloaded),
    )


def _degraded(inventory: Inventory, host: str, vni: int) -> str:
    """Return why a host's running agent reports a VPC as degraded, or "". Without an agent nothing tries again."""
    state, status = inventory.hosts.get(host), inventory.vpc_status.get((host, vni))
    return status.reason if status is not None and state is not None and state.live else ""
