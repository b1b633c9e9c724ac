"""The operations that an agent would execute now, computed by its own code but not executed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from netorch.diagnose.desired import compiled_agent
from netorch.diagnose.sites import kernel_of
from netorch.drivers import netns
from netorch.drivers.base import Kernel
from netorch.errors import ApiError, KernelError, NetorchError
from netorch.records.hosts import read_host
from netorch.state.op import Op
from netorch.state.owner import overlay_netns
from netorch.store.base import Store


class Drift(msgspec.Struct, frozen=True):
    """The operations that would repair the drift, and the foreign objects, which stay."""

    operations: list[Op]
    foreign: tuple[str, ...]


def find_drift(host_name: str, store: Store) -> Drift:
    """Return the difference between this host's kernel and its desired state.

    Raises:
      NetorchError: the host is unknown or elsewhere, or one of its VPCs cannot be compiled.
    """
    with kernel_here(host_name, store, "netorch drift", ", with --host if its name is another") as kernel:
        reconciler = compiled_agent(host_name, store, kernel, read_kernel=True)
        return Drift(reconciler.pending(), reconciler.foreign())


@contextmanager
def kernel_here(host_name: str, store: Store, command: str, option: str = "") -> Iterator[Kernel]:
    """Yield the kernel of a host on this machine, for a command; `option` tells how the command names another host.

    Raises NetorchError: the host is unknown or elsewhere.
    """
    run = f"run this on the host{option}; in a lab: netorch lab exec --node"
    try:
        host = read_host(store, host_name).host
    except ApiError as error:  # an unknown host would own nothing, so everything would be drift
        here = f"{run} HOST LAB -- {command}"
        raise NetorchError(f"host {host_name!r}: does not exist; choose one of `netorch host list`, and {here}") from error
    here = f"{run} {host.name} LAB -- {command}"
    name = overlay_netns(host.name)
    try:
        os.close(netns.find(name))  # opening the host's kernel would create the namespace
    except KernelError as error:
        raise NetorchError(f"host {host.name}: its namespace {name} is not on this machine; {here}") from error
    with kernel_of(host_name) as kernel:
        if kernel.underlay(host.underlay) is None:
            raise NetorchError(f"host {host_name}: nothing here has its underlay address {host.underlay}; {here}")
        yield kernel
