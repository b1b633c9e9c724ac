"""What an agent would do now, computed by its own code, without doing it."""

from __future__ import annotations

from netorch.control.hosts import read_host
from netorch.diagnose.desired import compiled_agent
from netorch.errors import ApiError, NetorchError
from netorch.state.op import Op
from netorch.store.base import Store

_HERE = (
    "run this on a host (--host names it, if its hostname does not); in a lab: netorch lab exec --node HOST LAB -- netorch drift"
)


def pending_operations(host_name: str, store: Store) -> list[Op]:
    """Return the operations that would make this host's kernel what it should be.

    Raises:
      NetorchError: the host is unknown or elsewhere, or one of its VPCs cannot be compiled.
    """
    from netorch.drivers.linux import LinuxKernel

    try:
        underlay = read_host(store, host_name).host.underlay
    except ApiError as error:  # an unknown host would own nothing, so all would be drift
        raise NetorchError(f"host {host_name!r}: is none of the store's; {_HERE}") from error
    kernel = LinuxKernel(host_name)
    try:
        if kernel.underlay(underlay) is None:
            raise NetorchError(f"host {host_name}: nothing here has its underlay address {underlay}; {_HERE}")
        return compiled_agent(host_name, store, kernel, read_kernel=True).pending()
    finally:
        kernel.close()
