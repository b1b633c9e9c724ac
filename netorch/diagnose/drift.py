"""The operations that an agent would execute now, computed by its own code but not executed."""

from __future__ import annotations

import os

import msgspec

from netorch.diagnose.desired import compiled_agent
from netorch.diagnose.sites import kernel_of
from netorch.drivers import netns
from netorch.errors import ApiError, KernelError, NetorchError
from netorch.model.eni import Host
from netorch.records.hosts import read_host
from netorch.state.op import Op
from netorch.state.owner import overlay_netns
from netorch.store.base import Store

_HERE = "run this on a host (--host, if it is not named so); in a lab: netorch lab exec --node HOST LAB -- netorch drift"


class Drift(msgspec.Struct, frozen=True):
    """The operations that would repair the drift, and the foreign objects, which stay."""

    operations: list[Op]
    foreign: tuple[str, ...]


def find_drift(host_name: str, store: Store) -> Drift:
    """Return the difference between this host's kernel and its desired state.

    Raises:
      NetorchError: the host is unknown or elsewhere, or one of its VPCs cannot be compiled.
    """
    try:
        host = read_host(store, host_name).host
    except ApiError as error:  # an unknown host would own nothing, so everything would be drift
        raise NetorchError(f"host {host_name!r}: is none of the store's; {_HERE}") from error
    _check_overlay(host)
    with kernel_of(host_name) as kernel:
        if kernel.underlay(host.underlay) is None:
            raise NetorchError(f"host {host_name}: nothing here has its underlay address {host.underlay}; {_HERE}")
        reconciler = compiled_agent(host_name, store, kernel, read_kernel=True)
        return Drift(reconciler.pending(), reconciler.foreign())


def _check_overlay(host: Host) -> None:
    """Raise NetorchError if the host's namespace is not on this machine. Opening the host would create it."""
    name = overlay_netns(host.name)
    try:
        os.close(netns.find(name))
    except KernelError as error:
        raise NetorchError(f"host {host.name}: its namespace {name} is not on this machine; {_HERE}") from error
